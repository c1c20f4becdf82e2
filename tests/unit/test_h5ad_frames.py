"""Columns, indices and embeddings by block, against what AnnData reads."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from celldock.errors import InvalidSubmission
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.frames import iter_blocks
from celldock.h5ad.headers import ColumnHeader
from celldock.h5ad.source import LocalSource
from tests import builders
from tests.reading import assert_reads_as_anndata, values_of

pytestmark = pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")

COLUMNS: dict[str, Any] = {
    "text": pd.Series(["a", "é", "", "日本", "a"], dtype=object, index=builders.cell_names(5)),
    "pandas_text": pd.Series(["a", None, "c", "d", "e"], dtype="str", index=builders.cell_names(5)),
    "categorical": pd.Categorical(["x", None, "y", "x", "y"]),
    "ordered": pd.Categorical([3, 1, 1, 2, 3], ordered=True),
    "of_booleans": pd.Categorical([True, False, True, True, False]),
    "of_floats": pd.Categorical([0.5, 1.5, np.nan, 0.5, 1.5]),
    "small": np.arange(5, dtype="int8"),
    "unsigned": np.arange(5, dtype="uint32"),
    "big_endian": np.arange(5, dtype=">i4"),
    "real": np.array([1.5, np.nan, np.inf, -np.inf, 0.0], dtype="float32"),
    "flag": np.array([True, False, True, True, False]),
    "maybe_integer": pd.array([1, None, 3, 4, None], dtype="Int64"),
    "maybe_flag": pd.array([True, None, False, True, None], dtype="boolean"),
    "maybe_text": pd.array(["q", None, "w", "e", "r"], dtype="string"),
    "all/nested": np.arange(5),
}


@pytest.fixture
def every_encoding(tmp_path: Path) -> Path:
    """A file with a column of each kind, whose index is a nullable string array as pandas 3 makes it."""
    data = builders.make_anndata(n_obs=5)
    for name, values in COLUMNS.items():
        data.obs[name] = values
    data.obs.index = pd.Index(builders.cell_names(5), dtype="str")
    with anndata.settings.override(allow_write_nullable_strings=True, disallow_forward_slash_in_h5ad=False):
        data.write_h5ad(tmp_path / "every.h5ad", convert_strings_to_categoricals=False)
    return tmp_path / "every.h5ad"


@pytest.mark.parametrize("rows", [1, 2, 5, 100])
def test_every_encoding_reads_as_anndata_reads_it(every_encoding: Path, rows: int) -> None:
    assert_reads_as_anndata(every_encoding, rows)


def test_every_kind_is_told(every_encoding: Path) -> None:
    with open_h5ad(LocalSource(every_encoding)) as file:
        header = file.header()
    with h5py.File(every_encoding, "r") as stored:
        assert stored["obs/_index"].attrs["encoding-type"] == "nullable-string-array"
    kinds = {column.name: (column.kind, column.dtype) for column in header.obs.columns}
    assert {name: kinds[name] for name in COLUMNS} == {
        "text": ("string", "str"),
        "pandas_text": ("nullable-string", "str"),
        "categorical": ("categorical", "int8"),
        "ordered": ("categorical", "int8"),
        "of_booleans": ("categorical", "int8"),
        "of_floats": ("categorical", "int8"),
        "small": ("integer", "int8"),
        "unsigned": ("integer", "uint32"),
        "big_endian": ("integer", "int32"),
        "real": ("float", "float32"),
        "flag": ("boolean", "bool"),
        "maybe_integer": ("nullable-integer", "int64"),
        "maybe_flag": ("nullable-boolean", "bool"),
        "maybe_text": ("nullable-string", "str"),
        "all/nested": ("integer", "int64"),
    }
    assert {column.name for column in header.obs.columns if column.ordered} == {"ordered"}


def test_categoricals_by_reference_are_read_without_a_larger_file(tmp_path: Path) -> None:
    path = as_written_by_0_7(tmp_path)
    assert_reads_as_anndata(path, 3)
    with open_h5ad(LocalSource(path)) as file:
        donor = next(column for column in file.header().obs.columns if column.name == "donor_id")
        assert (donor.kind, donor.categories, donor.ordered) == ("categorical", 1, False)
        assert file.categories(donor).tolist() == ["donor_1"]


def as_written_by_0_7(tmp_path: Path) -> Path:
    """The categoricals of obs turned into the form of AnnData 0.7, and no encoding at the root."""
    path = builders.make_h5ad(tmp_path / "old.h5ad")
    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        obs.attrs["encoding-version"] = "0.1.0"
        stored = obs.create_group("__categories")
        for name in list(obs.attrs["column-order"]):
            if not isinstance(obs[name], h5py.Group):
                continue
            codes, categories = obs[name]["codes"][:], obs[name]["categories"][:]
            del obs[name]
            stored[name] = categories
            stored[name].attrs["ordered"] = False
            obs[name] = codes
            obs[name].attrs["categories"] = stored[name].ref
        del file.attrs["encoding-type"], file.attrs["encoding-version"]
    return path


def column_of(path: Path, name: str) -> ColumnHeader:
    with open_h5ad(LocalSource(path)) as file:
        return next(column for column in file.header().obs.columns if column.name == name)


def _shorten(file: h5py.File) -> None:
    del file["obs/is_primary_data"]
    file["obs/is_primary_data"] = np.zeros(7, dtype=bool)


def _point_outside(file: h5py.File) -> None:
    file["obs/donor_id/codes"][3] = 90


def _point_below(file: h5py.File) -> None:
    file["obs/donor_id/codes"][3] = -2


def _repeat_category(file: h5py.File) -> None:
    del file["obs/donor_id/categories"]
    file["obs/donor_id/categories"] = ["a", "b", "a"]


def _lose_category(file: h5py.File) -> None:
    del file["obs/donor_id/categories"]
    file["obs/donor_id/categories"] = [1.5, np.nan]


def _spoil_text(file: h5py.File) -> None:
    del file["obs/donor_id/categories"]
    file["obs/donor_id"].create_dataset("categories", data=[b"\xff"], dtype=h5py.string_dtype())


def _spoil_chunk(file: h5py.File) -> None:
    del file["obs/is_primary_data"]
    flags = file["obs"].create_dataset("is_primary_data", (20,), "int8", chunks=(20,), compression="gzip")
    flags.id.write_direct_chunk((0,), b"not deflated")


@pytest.mark.parametrize(
    ("spoil", "name", "code"),
    [
        (_shorten, "is_primary_data", "file.too_short"),
        (_spoil_chunk, "is_primary_data", "file.damaged"),
        (_point_outside, "donor_id", "file.category_out_of_range"),
        (_point_below, "donor_id", "file.category_out_of_range"),
        (_spoil_text, "donor_id", "file.not_utf8"),
        (_repeat_category, "donor_id", "file.category_repeated"),
        (_lose_category, "donor_id", "file.category_missing"),
    ],
)
def test_a_broken_column_says_where(tmp_path: Path, spoil: Callable[[h5py.File], None], name: str, code: str) -> None:
    path = builders.make_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(path, "r+") as file:
        spoil(file)
    column = column_of(path, name)
    with open_h5ad(LocalSource(path)) as file, pytest.raises(InvalidSubmission) as broken:
        values_of(file, column, 20, rows=20)
    assert broken.value.code == code
    assert broken.value.where.startswith(f"obs/{name}")


def test_an_unsupported_column_cannot_be_read(tmp_path: Path) -> None:
    path = builders.make_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(path, "r+") as file:
        del file["obs/donor_id"]
    column = column_of(path, "donor_id")
    assert column.kind == "unsupported"
    with open_h5ad(LocalSource(path)) as file, pytest.raises(InvalidSubmission, match="obs/donor_id"):
        file.column_length(column)


def test_rows_that_share_one_long_text_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    n_obs = 20_000
    path = builders.make_h5ad(tmp_path / "cells.h5ad", n_obs=n_obs, n_vars=2, obs={"note": "short"})
    with h5py.File(path, "r+") as file:
        del file["obs/note"]
        note = file["obs"].create_dataset("note", (n_obs,), h5py.string_dtype(), chunks=(n_obs,))
        note.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
        note[0] = "x" * 16_384
        file.flush()
        _, references = note.id.read_direct_chunk((0,))
        note.id.write_direct_chunk((0,), references[:16] * n_obs)
    assert path.stat().st_size < 4 * 1024**2
    column = column_of(path, "note")
    with open_h5ad(LocalSource(path)) as file, pytest.raises(InvalidSubmission) as refused:
        file.column(column, 0, n_obs)
    assert refused.value.code == "file.declares_more"


def test_a_big_obs_is_read_in_memory_bounded_by_the_block(tmp_path: Path) -> None:
    n_obs, rows = 2_000_000, 50_000
    path = builders.make_h5ad(tmp_path / "cells.h5ad", n_obs=4)
    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        for name in list(obs):
            del obs[name]
        names = np.char.add(b"c", np.arange(n_obs).astype("S7"))
        obs.create_dataset("_index", data=names, chunks=(rows,), compression="gzip", compression_opts=1)
        obs.create_dataset("score", data=np.arange(n_obs, dtype="f8"), chunks=(rows,))
        group = obs.create_group("kind")
        group.attrs.update({"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False})
        group.create_dataset("codes", data=np.arange(n_obs, dtype="i4") % 3, chunks=(rows,))
        group["categories"] = np.array(["a", "b", "c"], dtype=object)
        obs.attrs["column-order"] = ["score", "kind"]
    with open_h5ad(LocalSource(path)) as file:
        header = file.header()
        assert header.n_obs == n_obs
        tracemalloc.start()
        try:
            seen = 0
            for start, stop in iter_blocks(n_obs, rows):
                assert file.index(header.obs, start, start + 1)[0] == f"c{start}"
                score, kind = (file.column(column, start, stop) for column in header.obs.columns)
                assert score.values[0] == start
                seen += len(score.values) + len(kind.values)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert seen == 2 * n_obs
    assert peak < 4 * rows * 8 + 20 * 1024 * 1024, "a whole column of numbers would be 16 MB, names over 100 MB"


@pytest.mark.parametrize(
    ("length", "rows", "blocks"),
    [(0, 5, []), (5, 5, [(0, 5)]), (11, 5, [(0, 5), (5, 10), (10, 11)]), (3, 100, [(0, 3)])],
)
def test_blocks_cover_every_row_once(length: int, rows: int, blocks: list[tuple[int, int]]) -> None:
    assert list(iter_blocks(length, rows)) == blocks

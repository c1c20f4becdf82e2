"""The cell table holds what AnnData reads from the file, whatever its columns are called and wherever it is cut."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import duckdb
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celldock.errors import InvalidSubmission, ServiceFault
from celldock.formats.cells import Cells
from celldock.formats.cells_layout import MAX_COLUMNS, layout_of, unique_names
from celldock.formats.protocol import Partition
from celldock.formats.sink import LocalSink
from celldock.h5ad.file import read_header
from celldock.h5ad.headers import ArrayHeader, ColumnHeader
from celldock.h5ad.source import LocalSource
from tests.builders import OBS, make_h5ad
from tests.subjects import converted, subject_of

CELLS = Cells()
convert = partial(converted, CELLS)
CATEGORIES = 100_000

type Row = tuple[Any, ...]


@dataclass(frozen=True)
class Table:
    """The Parquet files of a folder, as DuckDB reads them."""

    names: list[str]
    types: list[str]
    rows: list[Row]

    def column(self, name: str) -> list[Any]:
        place = self.names.index(name)
        return [row[place] for row in self.rows]

    def type(self, name: str) -> str:
        return self.types[self.names.index(name)]


def make_bare(path: Path, n_obs: int, obs: Mapping[str, Any], **overrides: Any) -> Path:
    """A file with these columns of obs alone, and no matrix."""
    return make_h5ad(path, n_obs=n_obs, n_vars=1, obs=obs, drop=set(OBS) - set(obs), x=None, raw=False, **overrides)


def read(folder: Path) -> Table:
    with duckdb.connect() as database:
        result = database.execute("SELECT * FROM read_parquet($1)", [str(folder / "*.parquet")])
        names, types = zip(*((name, str(kind)) for name, kind, *_ in result.description or ()), strict=True)
        return Table(list(names), list(types), result.fetchall())


def query(sql: str, file: Path) -> list[Row]:
    with duckdb.connect() as database:
        return database.execute(sql, [str(file)]).fetchall()


def metadata(file: Path) -> dict[str, Any]:
    ((value,),) = query("SELECT decode(value) FROM parquet_kv_metadata($1) WHERE decode(key) = 'celldock'", file)
    return json.loads(value)


def expected(series: Any) -> list[Any]:
    """The values of a column as AnnData gives them: None for what is missing, text for categories."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        return [None if pd.isna(value) else str(value) for value in series]
    return [None if value is pd.NA else value for value in series.tolist()]


def same(left: Sequence[Any], right: Sequence[Any]) -> bool:
    """Equality in which NaN equals NaN, and neither equals None."""
    return [_nan_as_text(value) for value in left] == [_nan_as_text(value) for value in right]


def _nan_as_text(value: Any) -> Any:
    return "not a number" if isinstance(value, float) and math.isnan(value) else value


EVERY_KIND: Mapping[str, tuple[Any, str]] = {
    "category": (pd.Categorical(["b", None, "a", "b"]), "VARCHAR"),
    "ordered": (pd.Categorical(["low", "high", None, "low"], ["low", "high"], ordered=True), "VARCHAR"),
    "numbers as categories": (pd.Categorical([10, 2, None, 10]), "VARCHAR"),
    "unique strings": (["é", "", "\N{GRINNING FACE}", "NULL"], "VARCHAR"),
    "nullable string": (pd.array(["x", pd.NA, "", "z"], dtype="string"), "VARCHAR"),
    "bool": (np.array([True, False, True, True]), "BOOLEAN"),
    "nullable bool": (pd.array([True, pd.NA, False, True], dtype="boolean"), "BOOLEAN"),
    "i1": (np.array([-128, 127, 0, 1], np.int8), "TINYINT"),
    "i2": (np.array([-(2**15), 2**15 - 1, 0, 1], np.int16), "SMALLINT"),
    "i4": (np.array([-(2**31), 2**31 - 1, 0, 1], np.int32), "INTEGER"),
    "i8": (np.array([-(2**63), 2**63 - 1, 0, 1], np.int64), "BIGINT"),
    "u1": (np.array([255, 0, 1, 2], np.uint8), "UTINYINT"),
    "u2": (np.array([2**16 - 1, 0, 1, 2], np.uint16), "USMALLINT"),
    "u4": (np.array([2**32 - 1, 0, 1, 2], np.uint32), "UINTEGER"),
    "u8": (np.array([2**64 - 1, 0, 1, 2], np.uint64), "UBIGINT"),
    "nullable i8": (pd.array([2**63 - 1, pd.NA, 0, -5], dtype="Int64"), "BIGINT"),
    "nullable u1": (pd.array([255, pd.NA, 0, 1], dtype="UInt8"), "UTINYINT"),
    "f2": (np.array([0.5, np.nan, np.inf, -2], np.float16), "FLOAT"),
    "f4": (np.array([0.1, np.nan, np.inf, -np.inf], np.float32), "FLOAT"),
    "f8": (np.array([0.1, np.nan, 1e308, -0.0], np.float64), "DOUBLE"),
}


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds")
    columns = {name: values for name, (values, _) in EVERY_KIND.items()}
    with anndata.settings.override(allow_write_nullable_strings=True):
        return make_h5ad(folder / "kinds.h5ad", n_obs=4, obs=columns)


@pytest.mark.parametrize("cuts", [[], [2], [1, 2, 3]])
def test_every_kind_of_column_comes_back_as_anndata_reads_it(every_kind: Path, tmp_path: Path, cuts: list[int]) -> None:
    convert(every_kind, tmp_path / "cells", cuts)

    table = read(tmp_path / "cells")
    data = anndata.read_h5ad(every_kind)
    assert table.names == ["obs_id", *data.obs.columns, "X_umap_0", "X_umap_1"]
    assert table.column("obs_id") == list(data.obs_names)
    for name, (_, kind) in EVERY_KIND.items():
        assert (name, table.type(name)) == (name, kind)
        assert same(table.column(name), expected(data.obs[name])), name
    for axis in range(2):
        assert table.column(f"X_umap_{axis}") == data.obsm["X_umap"][:, axis].tolist()


def test_all_parts_have_one_schema_also_where_one_of_them_misses_nothing(every_kind: Path, tmp_path: Path) -> None:
    convert(every_kind, tmp_path / "cells", [1, 2, 3])

    schemas = {
        tuple(query("SELECT * EXCLUDE (file_name) FROM parquet_schema($1)", file))
        for file in (tmp_path / "cells").iterdir()
    }
    assert len(schemas) == 1


def test_the_same_partition_gives_the_same_bytes(every_kind: Path, tmp_path: Path) -> None:
    _, first = convert(every_kind, tmp_path / "first", [2])
    _, second = convert(every_kind, tmp_path / "second", [2])

    assert first == second
    assert len({file.sha256 for part in first for file in part.files}) == 2


def test_a_single_cell_is_a_table_of_one_row(tmp_path: Path) -> None:
    h5ad = make_h5ad(tmp_path / "one.h5ad", n_obs=1)

    _, (part,) = convert(h5ad, tmp_path / "cells")

    assert [file.path for file in part.files] == ["part-00000.parquet"]
    assert read(tmp_path / "cells").column("obs_id") == ["cell-0000"]


def test_a_hundred_thousand_categories_keep_their_names(tmp_path: Path) -> None:
    codes = np.arange(CATEGORIES + 5) * 7919 % CATEGORIES
    clones = pd.Categorical.from_codes(codes, [f"clone-{i}" for i in range(CATEGORIES)])
    h5ad = make_bare(tmp_path / "many.h5ad", codes.size, {"clone": clones})

    convert(h5ad, tmp_path / "cells")

    assert read(tmp_path / "cells").column("clone") == [f"clone-{code}" for code in codes]


def test_names_keep_apart_what_a_reader_without_case_would_confuse(tmp_path: Path) -> None:
    names = [
        "A",
        "a",
        "a_1",
        'say "hi"',
        "it's",
        "Ünïcode 😀",
        " ",
        "a.b",
        "line\nbreak",
        "OBS_ID",
        "filename",
        "x_UMAP_0",
    ]
    obs = {name: np.arange(3) + 10 * place for place, name in enumerate(names)}
    h5ad = make_h5ad(tmp_path / "names.h5ad", n_obs=3, obs=obs)

    convert(h5ad, tmp_path / "cells")

    table = read(tmp_path / "cells")
    stored = metadata(tmp_path / "cells" / "part-00000.parquet")
    columns = {item["name"]: item["column"] for item in stored["obs"]}
    assert stored["index"] == "obs_id_1"
    assert (columns["A"], columns["a"], columns["a_1"]) == ("A", "a_2", "a_1")
    assert stored["embeddings"] == [{"key": "X_umap", "columns": ["X_umap_0_1", "X_umap_1"]}]
    assert table.column("obs_id_1") == ["cell-0000", "cell-0001", "cell-0002"]
    for name, values in obs.items():
        assert table.column(columns[name]) == values.tolist(), name


@given(st.lists(st.text(alphabet="aAbßSé_1", max_size=4), max_size=12))
def test_chosen_names_are_distinct_and_the_first_keeps_its_own(wanted: list[str]) -> None:
    names = unique_names(wanted)

    assert len(names) == len(wanted)
    assert len({name.casefold() for name in names}) == len(wanted)
    assert all(names)
    seen: set[str] = set()
    for name, chosen in zip(wanted, names, strict=True):
        if name and name.casefold() not in seen:
            assert chosen == name
        seen.add(name.casefold())


def test_nan_in_an_embedding_stays_nan(tmp_path: Path) -> None:
    umap = np.array([[1, np.nan], [np.nan, np.nan], [np.inf, -0.5]], np.float64)
    h5ad = make_h5ad(tmp_path / "nan.h5ad", n_obs=3, obsm={"X_umap": umap, "spatial": np.array([[1], [2], [3]])})

    convert(h5ad, tmp_path / "cells")

    table = read(tmp_path / "cells")
    assert same(table.column("X_umap_0"), umap[:, 0].tolist())
    assert same(table.column("X_umap_1"), umap[:, 1].tolist())
    assert (table.type("X_umap_0"), table.type("spatial_0")) == ("DOUBLE", "BIGINT")


def test_numbers_of_the_other_byte_order_are_the_same_numbers(tmp_path: Path) -> None:
    h5ad = make_h5ad(tmp_path / "big.h5ad", n_obs=3)
    with h5py.File(h5ad, "r+") as file:
        del file["obsm/X_umap"]
        array = file.create_dataset("obsm/X_umap", data=np.array([[1, 2], [3, 4], [5, 6]], ">f4"))
        array.attrs["encoding-type"], array.attrs["encoding-version"] = "array", "0.2.0"

    convert(h5ad, tmp_path / "cells")

    assert read(tmp_path / "cells").column("X_umap_1") == [2, 4, 6]


def test_what_parquet_cannot_hold_is_left_out_and_listed(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1, 2, 3]}, index=["cell-0000", "cell-0001", "cell-0002"])
    obsm = {"X_umap": np.zeros((3, 2), np.float32), "X_cube": np.zeros((3, 2, 2)), "table": frame}
    h5ad = make_h5ad(tmp_path / "odd.h5ad", n_obs=3, obsm=obsm)
    with h5py.File(h5ad, "r+") as file:
        del file["obs/donor_id"]
        file["obs/donor_id"] = np.zeros(3, np.complex64)

    subject, _ = convert(h5ad, tmp_path / "cells")
    header = subject.header

    omitted = CELLS.plan(header, 0).omitted
    assert {item.where for item in omitted} == {"obs/donor_id", "obsm/X_cube", "obsm/table"}
    assert all(item.reason for item in omitted)
    stored = metadata(tmp_path / "cells" / "part-00000.parquet")
    assert [item["where"] for item in stored["omitted"]] == [item.where for item in omitted]
    assert [name for name in read(tmp_path / "cells").names if name.startswith("X_")] == ["X_umap_0", "X_umap_1"]


def test_the_files_say_what_they_are(tmp_path: Path) -> None:
    convert(make_h5ad(tmp_path / "a.h5ad", n_obs=5), tmp_path / "cells", [3])

    stored = metadata(tmp_path / "cells" / "part-00001.parquet")
    assert (stored["format"], stored["version"]) == ("cells", CELLS.version)
    assert stored["partition"] == {"index": 1, "start": 3, "stop": 5}
    compressions = query("SELECT DISTINCT compression FROM parquet_metadata($1)", tmp_path / "cells/part-00001.parquet")
    assert compressions == [("ZSTD",)]


def test_a_table_wider_than_readers_bear_leaves_columns_out(tmp_path: Path) -> None:
    header = read_header(LocalSource(make_h5ad(tmp_path / "a.h5ad", n_obs=3, obs={})))
    wide = ArrayHeader("obsm/X_wide", "X_wide", (3, MAX_COLUMNS), "float32", "dense")
    flat = ArrayHeader("obsm/X_umap", "X_umap", (3, 2), "float32", "dense")
    many = tuple(ColumnHeader(f"q{i}", f"obs/q{i}", "float", "float64", None, False) for i in range(MAX_COLUMNS))

    too_wide = layout_of(replace(header, obsm=(wide, flat)))
    too_many = layout_of(replace(header, obs=replace(header.obs, columns=many)))

    assert [embedding.header.key for embedding in too_wide.embeddings] == ["X_umap"]
    assert [item.where for item in too_wide.omitted] == ["obsm/X_wide"]
    assert len(too_many.columns) == MAX_COLUMNS
    assert {item.where for item in too_many.omitted} == {f"obs/q{MAX_COLUMNS - 1}", "obsm/X_umap"}


def test_values_that_contradict_the_header_are_the_submitters_fault(tmp_path: Path) -> None:
    h5ad = make_h5ad(tmp_path / "codes.h5ad", n_obs=3)
    with h5py.File(h5ad, "r+") as file:
        file["obs/donor_id/codes"][...] = [0, 5, 0]

    with pytest.raises(InvalidSubmission):
        convert(h5ad, tmp_path / "cells")

    assert not (tmp_path / "cells").exists()


def test_an_artifact_consists_of_all_parts_and_of_nothing_less(tmp_path: Path) -> None:
    subject, parts = convert(make_h5ad(tmp_path / "a.h5ad", n_obs=9), tmp_path / "cells", [2, 5])
    sink = LocalSink(tmp_path / "cells", tmp_path)

    files = CELLS.assemble(subject, parts, sink).files

    assert [file.path for file in files] == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    for incomplete in ([], parts[:2], parts[1:], [parts[0], parts[2]], [parts[1], parts[0], parts[2]], parts + parts):
        with pytest.raises(ServiceFault):
            CELLS.assemble(subject, incomplete, sink)


def test_memory_does_not_grow_with_the_partition(tmp_path: Path) -> None:
    n_obs, dimensions = 60_000, 400
    pca = np.broadcast_to(np.arange(dimensions, dtype=np.float32), (n_obs, dimensions))
    h5ad = make_bare(tmp_path / "large.h5ad", n_obs, {}, obsm={"X_pca": pca}, compression=None)
    subject = subject_of(h5ad)

    def peak(partition: Partition) -> int:
        tracemalloc.start()
        try:
            CELLS.convert(subject, partition, LocalSink(tmp_path / "cells", tmp_path))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # A block has 20,000 rows; while one is read the one before is kept.
    two_blocks, whole = peak(Partition(0, 0, 40_000)), peak(Partition(1, 0, n_obs))

    assert whole < 1.1 * two_blocks
    assert query("SELECT count(*) FROM read_parquet($1)", tmp_path / "cells/part-00001.parquet") == [(n_obs,)]


NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/"), min_size=1, max_size=8)
TEXTS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=5)


KINDS: Mapping[str, tuple[st.SearchStrategy[Any], Callable[[list[Any]], Any]]] = {
    "category": (st.none() | TEXTS, pd.Categorical),
    "float32": (st.floats(width=32), partial(np.array, dtype=np.float32)),
    "float64": (st.floats(), partial(np.array, dtype=np.float64)),
    "int16": (st.integers(-(2**15), 2**15 - 1), partial(np.array, dtype=np.int16)),
    "uint64": (st.integers(0, 2**64 - 1), partial(np.array, dtype=np.uint64)),
    "bool": (st.booleans(), partial(np.array, dtype=np.bool_)),
    "Int32": (st.just(pd.NA) | st.integers(-(2**31), 2**31 - 1), partial(pd.array, dtype="Int32")),
    "boolean": (st.just(pd.NA) | st.booleans(), partial(pd.array, dtype="boolean")),
}


@st.composite
def frames(draw: st.DrawFn) -> tuple[dict[str, Any], int, list[int]]:
    n_obs = draw(st.integers(1, 12))
    names = draw(st.lists(NAMES.filter(lambda name: name not in {".", "..", "_index"}), max_size=6, unique=True))
    cuts = sorted(draw(st.sets(st.integers(1, n_obs - 1), max_size=1))) if n_obs > 1 else []
    obs: dict[str, Any] = {}
    for name in names:
        values, make = KINDS[draw(st.sampled_from(sorted(KINDS)))]
        obs[name] = make(draw(st.lists(values, min_size=n_obs, max_size=n_obs)))
    return obs, n_obs, cuts


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(frames())
def test_any_frame_comes_back_whole_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, frame: tuple[dict[str, Any], int, list[int]]
) -> None:
    obs, n_obs, cuts = frame
    folder = tmp_path_factory.mktemp("frame")
    h5ad = make_bare(folder / "a.h5ad", n_obs, obs)

    convert(h5ad, folder / "cells", cuts)

    table = read(folder / "cells")
    names = {item["name"]: item["column"] for item in metadata(folder / "cells" / "part-00000.parquet")["obs"]}
    data = anndata.read_h5ad(h5ad)
    assert list(names) == list(data.obs.columns)
    for name in data.obs.columns:
        assert same(table.column(names[name]), expected(data.obs[name])), name


def test_equality_in_these_tests_tells_nan_from_missing() -> None:
    assert same([math.nan, 1.0], [math.nan, 1.0])
    assert not same([math.nan], [None])
    assert not same([None], [math.nan])

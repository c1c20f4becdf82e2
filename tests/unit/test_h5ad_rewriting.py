"""A file written anew with other matrices and frames: what is kept has the same bytes, AnnData reads what is new."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from celldock.errors import CannotAppend, ServiceFault
from celldock.h5ad import chunking, rewriting
from celldock.h5ad.accounting.accounting import account
from celldock.h5ad.additions import NewColumn
from celldock.h5ad.block import Block
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.rewrites import NewArray, NewFrame, NewMatrix, Rewrite
from celldock.h5ad.rewriting import limits_of, room_for
from celldock.h5ad.rewritten import Rewriting, prove_rewritten
from celldock.h5ad.source import LocalSource
from celldock.h5ad.spool import Spool
from tests import builders, builders_r
from tests.builders_0_7 import rewrite_as_0_7

pytestmark = pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")

DATA = Path(__file__).parents[1] / "data" / "h5ad"
CELLS = 20
GENES = 10


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    counts = sparse.csr_matrix(builders.make_counts(CELLS, GENES, 1.0).astype("f4"))
    return builders.make_h5ad(
        tmp_path / "cells.h5ad", n_obs=CELLS, n_vars=GENES, layers={"counts": counts, "old": counts * 2}
    )


def rewritten(path: Path, rewrite: Rewrite) -> tuple[Path, Rewriting]:
    """The new file, guarded before and after, without a byte that nothing reaches, and the proof."""
    source = LocalSource(path)
    with (
        Spool.opened(0, room=room_for(source)) as spool,
        open_h5ad(source, limits=limits_of(source)) as original,
    ):
        original.guard()
        made = original.rewrite(rewrite, spool)
        with open_h5ad(made) as new:
            new.guard()
            new.header()
            proof = prove_rewritten(original, source, new, made, rewrite)
        target = path.with_name(f"{path.stem}-rewritten.h5ad")
        with target.open("wb") as stream:
            made.write_to(stream)
    assert account(LocalSource(target)).verdict == "clean"
    return target, proof


def blocks_of(values: Any, rows: int = 7) -> Callable[[], Iterator[Block]]:
    matrix: Any = sparse.csr_matrix(values)
    matrix.sort_indices()

    def blocks() -> Iterator[Block]:
        for start in range(0, matrix.shape[0], rows):
            part = matrix[start : start + rows]
            yield Block(start, part.indptr.astype(np.int64), part.indices, part.data)

    return blocks


def matrix(path: str, values: Any, *, encoding: Any = "csr", rows: int = 7) -> NewMatrix:
    return NewMatrix(path, values.shape, values.dtype.name, encoding, blocks_of(values, rows))


def names(count: int) -> np.ndarray[Any, Any]:
    return np.array([f"ENSG{number:011}" for number in range(count)], dtype=object)


def dense(values: Any) -> np.ndarray[Any, Any]:
    return values.toarray() if sparse.issparse(values) else np.asarray(values)


# --- What AnnData reads ---


@pytest.mark.parametrize(
    ("encoding", "dtype"),
    [
        ("csr", "float32"),
        pytest.param("csr", "int64", marks=pytest.mark.long),
        pytest.param("dense", "float64", marks=pytest.mark.long),
    ],
)
def test_matrices_of_every_type(cells: Path, encoding: Any, dtype: str) -> None:
    values = (np.arange(CELLS * GENES).reshape(CELLS, GENES) % 4).astype(dtype)
    path, proof = rewritten(cells, Rewrite(matrices=(matrix("X", values, encoding=encoding),)))
    before: Any = anndata.read_h5ad(cells)
    data: Any = anndata.read_h5ad(path)
    assert sparse.issparse(data.X) == (encoding == "csr")
    assert data.X.dtype == dtype
    np.testing.assert_array_equal(dense(data.X), values)
    del data.X, before.X
    assert_equal_data(data, before)
    assert proof.made == ("X",)
    assert all(path.split("/")[0] == "X" for path in proof.left_out)


def assert_equal_data(data: Any, before: Any) -> None:
    """But for what was taken away from both."""
    pd.testing.assert_frame_equal(data.obs, before.obs)
    pd.testing.assert_frame_equal(data.var, before.var)
    assert data.layers.keys() == before.layers.keys()
    for part in ("layers", "obsm", "varm"):
        for name, values in getattr(before, part).items():
            np.testing.assert_array_equal(dense(getattr(data, part)[name]), dense(values))
    assert repr(data.uns) == repr(before.uns)
    if before.raw is not None:
        np.testing.assert_array_equal(dense(data.raw.X), dense(before.raw.X))
        pd.testing.assert_frame_equal(data.raw.var, before.raw.var)


def test_matrices_change_places(cells: Path) -> None:
    before: Any = anndata.read_h5ad(cells)
    rewrite = Rewrite(
        moved={"raw/X": "X", "layers/counts": "raw/X", "X": "layers/scaled"},
        copied={"layers/old": "layers/new"},
        dropped=("uns/title",),
    )
    path, proof = rewritten(cells, rewrite)
    data: Any = anndata.read_h5ad(path)
    np.testing.assert_array_equal(dense(data.X), dense(before.raw.X))
    np.testing.assert_array_equal(dense(data.raw.X), dense(before.layers["counts"]))
    np.testing.assert_array_equal(dense(data.layers["scaled"]), dense(before.X))
    np.testing.assert_array_equal(dense(data.layers["new"]), dense(before.layers["old"]))
    assert set(data.layers) - {None} == {"scaled", "old", "new"}
    assert proof.left_out == ("uns/title",)
    assert "title" not in data.uns
    document = proof.to_json()
    assert document["moved"] == dict(rewrite.moved)
    assert proof.kept_datasets + proof.text_datasets == document["kept_datasets"] + document["text_datasets"] > 20


def test_a_raw_where_there_was_none(tmp_path: Path) -> None:
    path = builders.make_h5ad(tmp_path / "cells.h5ad", n_obs=CELLS, n_vars=GENES)
    with h5py.File(path, "r+") as file:
        file.move("raw/X", "layers/counts")
        del file["raw"]
    new, _ = rewritten(path, Rewrite(moved={"layers/counts": "raw/X"}, copied={"var": "raw/var"}))
    data: Any = anndata.read_h5ad(new)
    before: Any = anndata.read_h5ad(path)
    np.testing.assert_array_equal(dense(data.raw.X), dense(before.layers["counts"]))
    pd.testing.assert_frame_equal(data.raw.var, before.var)
    assert set(data.layers) <= {None}
    with h5py.File(new) as file:
        raw: Any = file["raw"]
        assert dict(raw.attrs) == {"encoding-type": "raw", "encoding-version": "0.1.0"}
        assert set(raw) == {"X", "var", "varm"}


def test_raw_goes_with_its_matrix(cells: Path) -> None:
    path, proof = rewritten(cells, Rewrite(moved={"raw/X": "X"}))
    assert anndata.read_h5ad(path).raw is None
    assert any(name.startswith("raw/var") for name in proof.left_out)
    with h5py.File(path) as file:
        assert "raw" not in file


def test_a_frame_of_every_kind_of_column(cells: Path) -> None:
    kept = 6
    numbers = np.ma.masked_less(np.arange(kept), 2)

    def column(name: str, kind: Any, values: Any, **more: Any) -> NewColumn:
        return NewColumn("var", name, kind, kept, lambda: [values[:2], values[2:]], **more)

    columns = (
        column("category", "categorical", np.arange(kept) % 3 - 1, categories=("a", "b")),
        column("text", "string", names(kept)),
        column("flag", "boolean", np.arange(kept) > 2),
        column("score", "float", np.linspace(0, 1, kept), dtype="float64"),
        column("count", "nullable-integer", numbers, dtype="int64"),
    )
    values = np.eye(CELLS, kept, dtype="f4")
    loadings = np.arange(kept * 3, dtype="f8").reshape(kept, 3)
    rewrite = Rewrite(
        matrices=(matrix("X", values), matrix("varp/corr", np.eye(kept), encoding="dense")),
        frames=(NewFrame("var", kept, "gene", lambda: [names(kept)], columns),),
        arrays=(NewArray("varm/PCs", loadings.shape, "float64", lambda: [loadings[:4], loadings[4:]]),),
        dropped=("layers", "raw"),
    )
    path, _ = rewritten(cells, rewrite)
    data: Any = anndata.read_h5ad(path)
    assert data.var_names.tolist() == names(kept).tolist()
    assert data.var.index.name == "gene"
    assert list(data.var) == [item.name for item in columns]
    assert data.var["category"].astype(object).fillna("-").tolist() == ["-", "a", "b"] * 2
    assert data.var["text"].tolist() == names(kept).tolist()
    assert data.var["flag"].tolist() == (np.arange(kept) > 2).tolist()
    assert data.var["count"].isna().tolist() == [True, True, *[False] * 4]
    np.testing.assert_array_equal(data.varm["PCs"], loadings)
    np.testing.assert_array_equal(data.varp["corr"], np.eye(kept))
    np.testing.assert_array_equal(dense(data.X), values)
    assert set(data.layers) <= {None}
    assert data.raw is None


@pytest.mark.parametrize("encode", [Path, rewrite_as_0_7])
def test_dropped_columns_leave_nothing(tmp_path: Path, encode: Callable[[Path], Path]) -> None:
    secret = pd.Categorical([f"Patient {number}" for number in range(CELLS)])
    path = builders.make_h5ad(tmp_path / "cells.h5ad", n_obs=CELLS, n_vars=GENES, obs={"patient": secret, "n": 1})
    before: Any = anndata.read_h5ad(encode(path))
    new, proof = rewritten(path, Rewrite(dropped=("obs/patient",), copied={"var": "raw/var"}))
    assert b"Patient 7" in path.read_bytes()
    assert b"Patient 7" not in new.read_bytes()
    data: Any = anndata.read_h5ad(new)
    pd.testing.assert_frame_equal(data.obs, before.obs.drop(columns="patient"))
    pd.testing.assert_frame_equal(data.raw.var, before.var)
    assert any(name.endswith("/patient") or "/patient/" in name for name in proof.left_out)


# --- Files of every version ---


LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("0.8.0", "0.13.4-pandas-3")]


@pytest.mark.parametrize("version", ["0.6.22", "0.7.8", *LONG])
def test_versions_of_anndata(version: str, tmp_path: Path) -> None:
    path = tmp_path / "cells.h5ad"
    path.write_bytes(lzma.decompress((DATA / f"anndata-{version}.h5ad.xz").read_bytes()))
    values = np.arange(28, dtype="f4").reshape(7, 4) % 3
    columns = (NewColumn("var", "kind", "categorical", 4, lambda: [np.array([0, 1, -1, 0])], ("a", "b")),)
    rewrite = Rewrite(
        matrices=(matrix("X", values, encoding="dense"), matrix("raw/X", values)),
        frames=(NewFrame("var", 4, None, lambda: [names(4)], columns),),
        moved={"layers/counts": "layers/new"},
    )
    if version == "0.6.22":
        with pytest.raises(CannotAppend, match=r"before 0\.7"):
            rewritten(path, rewrite)
        return
    new, _ = rewritten(path, rewrite)
    before: Any = anndata.read_h5ad(path)
    data: Any = anndata.read_h5ad(new)
    np.testing.assert_array_equal(dense(data.X), values)
    np.testing.assert_array_equal(dense(data.raw.X), values)
    np.testing.assert_array_equal(dense(data.layers["new"]), dense(before.layers["counts"]))
    assert data.var_names.tolist() == names(4).tolist()
    assert data.var["kind"].astype(object).fillna("-").tolist() == ["a", "b", "-", "a"]
    pd.testing.assert_frame_equal(data.obs, before.obs)
    with h5py.File(path) as old, h5py.File(new) as file:
        for place in ("X", "raw/X", "var", "raw", "layers"):
            was: Any = old[place].attrs
            assert file[place].attrs.get("encoding-version") == was.get("encoding-version"), place


@pytest.mark.long
def test_files_of_r(tmp_path: Path) -> None:
    for path in (builders_r.make_seurat_disk(tmp_path / "seurat.h5ad"), builders_r.make_anndatar(tmp_path / "r.h5ad")):
        with open_h5ad(LocalSource(path)) as file:
            shape = file.header().n_obs, file.header().n_vars
        values = np.ones(shape, "f4")
        new, _ = rewritten(path, Rewrite(matrices=(matrix("X", values),)))
        np.testing.assert_array_equal(dense(anndata.read_h5ad(new).X), values)


# --- Chunks ---


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "CHUNK_VALUES", 16)
    monkeypatch.setattr(rewriting, "_SENT_BYTES", 100)


@pytest.mark.usefixtures("small_chunks")
def test_blocks_do_not_show_in_the_bytes(cells: Path) -> None:
    counts = builders.make_counts(CELLS, GENES, 2.0).astype("f4")
    loadings = np.arange(GENES * 3, dtype="f4").reshape(GENES, 3)
    contents: list[bytes] = []
    for rows in (3, CELLS):
        array = NewArray(
            "varm/PCs",
            loadings.shape,
            "float32",
            lambda rows=rows: (loadings[at : at + rows] for at in range(0, GENES, rows)),
        )
        made = (matrix("X", counts, rows=rows), matrix("layers/dense", counts, rows=rows, encoding="dense"))
        path, _ = rewritten(cells, Rewrite(matrices=made, arrays=(array,)))
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    data: Any = anndata.read_h5ad(path)
    np.testing.assert_array_equal(dense(data.X), counts)
    np.testing.assert_array_equal(data.layers["dense"], counts)
    np.testing.assert_array_equal(data.varm["PCs"], loadings)
    with h5py.File(path) as file:
        values: Any = file["X/data"]
        assert values.chunks == (16,)
        assert values.shape == (np.count_nonzero(counts),)


def test_wide_arrays_are_cut_along_both_axes() -> None:
    assert chunking.dense_chunks((300_000, 300_000), np.dtype("f8")) == (1, 131_072)
    assert chunking.dense_chunks((3, 10), np.dtype("f4")) == (3, 10)
    assert chunking.dense_chunks((3, 0), np.dtype("f4")) is None


@pytest.mark.long
def test_an_array_of_several_chunks(cells: Path) -> None:
    wide = np.random.default_rng(0).normal(size=(GENES, 140_000)).astype("f2")
    rewrite = Rewrite(arrays=(NewArray("varm/wide", wide.shape, "float16", lambda: [wide[:3], wide[3:]]),))
    path, _ = rewritten(cells, rewrite)
    np.testing.assert_array_equal(anndata.read_h5ad(path).varm["wide"], wide)


def test_empty_matrices(cells: Path) -> None:
    zeros = np.zeros((CELLS, GENES), "f4")
    made = (matrix("X", zeros), matrix("layers/dense", zeros, encoding="dense"))
    path, _ = rewritten(cells, Rewrite(matrices=made))
    data: Any = anndata.read_h5ad(path)
    assert data.X.nnz == 0
    np.testing.assert_array_equal(data.layers["dense"], zeros)


def test_many_values_get_wide_pointers(cells: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = builders.make_counts(CELLS, GENES, 2.0).astype("f4")
    monkeypatch.setattr(rewriting, "_INT32_MAX", np.count_nonzero(counts) - 1)
    path, _ = rewritten(cells, Rewrite(matrices=(matrix("X", counts),)))
    with h5py.File(path) as file:
        pointers: Any = file["X/indptr"]
        indices: Any = file["X/indices"]
        assert (pointers.dtype, indices.dtype) == (np.int64, np.int32)
    np.testing.assert_array_equal(dense(anndata.read_h5ad(path).X), counts)


# --- Mistakes of those who ask for it ---


def unsorted() -> Iterator[Block]:
    yield Block(0, np.array([0, 2] + [2] * (CELLS - 1)), np.array([3, 1], "i4"), np.ones(2, "f4"))


def beyond() -> Iterator[Block]:
    yield Block(0, np.array([0, 1] + [1] * (CELLS - 1)), np.array([GENES], "i4"), np.ones(1, "f4"))


@pytest.mark.parametrize(
    "blocks", [unsorted, beyond, lambda: iter([]), blocks_of(np.ones((CELLS, GENES))), blocks_of(np.ones((3, 1), "f4"))]
)
def test_wrong_blocks(cells: Path, blocks: Callable[[], Iterator[Block]]) -> None:
    with pytest.raises(ServiceFault, match="X came with"):
        rewritten(cells, Rewrite(matrices=(NewMatrix("X", (CELLS, GENES), "float32", "csr", blocks),)))


def test_two_things_for_one_place(cells: Path) -> None:
    with pytest.raises(ValueError, match="one place"):
        rewritten(cells, Rewrite(moved={"layers/old": "X"}, copied={"layers/counts": "X"}))


def test_what_is_not_there_cannot_be_moved(cells: Path) -> None:
    with pytest.raises(ServiceFault, match="layers/none"):
        rewritten(cells, Rewrite(moved={"layers/none": "X"}))


def test_a_difference_is_found(cells: Path) -> None:
    source = LocalSource(cells)
    with Spool.opened(0) as spool, open_h5ad(source) as original:
        made = original.rewrite(Rewrite(moved={"layers/old": "raw/X"}), spool)
        with open_h5ad(made) as new:
            for other in (
                Rewrite(moved={"layers/counts": "raw/X"}),
                Rewrite(),
                Rewrite(copied={"layers/old": "raw/X"}),
            ):
                with pytest.raises(ServiceFault) as caught:
                    prove_rewritten(original, source, new, made, other)
                assert caught.value.code == "repacking.broken"

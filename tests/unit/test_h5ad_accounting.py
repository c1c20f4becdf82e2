"""What the accounting calls clean: files as programs write them, whatever their structures."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pytest

from celldock.h5ad.accounting import pointers
from celldock.h5ad.accounting.accounting import account
from celldock.h5ad.additions import Additions, NewColumn, NewElement
from celldock.h5ad.source import LocalSource
from tests import builders, builders_r
from tests.appending import append

VERSIONS = sorted((Path(__file__).parents[1] / "data" / "h5ad").glob("*.xz"))
TEXT = h5py.string_dtype()


def assert_clean(path: Path) -> None:
    found = account(LocalSource(path))
    assert (found.verdict, found.reason, found.residues) == ("clean", "", ())
    assert found.starts[0] == 0
    assert found.stops[-1] <= path.stat().st_size
    assert (found.stops > found.starts).all()
    assert (found.starts[1:] > found.stops[:-1]).all()


# --- Files as programs write them ---


@pytest.mark.parametrize("packed", VERSIONS, ids=lambda path: path.stem.removesuffix(".h5ad"))
def test_each_version_of_anndata(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "cells.h5ad").write_bytes(lzma.decompress(packed.read_bytes()))
    assert_clean(tmp_path / "cells.h5ad")


@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
@pytest.mark.parametrize("x", ["csr", "csc", "dense"])
def test_each_kind_of_matrix(x: Any, compression: Any, tmp_path: Path) -> None:
    assert_clean(builders.make_h5ad(tmp_path / "cells.h5ad", x=x, compression=compression))


def test_the_example(example: Path) -> None:
    assert_clean(example)


@pytest.mark.parametrize("name", ["pbmc68k_reduced", "pbmc68k_schema2.0.0", "pbmc68k_schema2.0.0_labelled"])
def test_real_files(name: str) -> None:
    assert_clean(builders.shared_data(f"{name}.h5ad"))


def test_files_of_r(tmp_path: Path) -> None:
    assert_clean(builders_r.make_seurat_disk(tmp_path / "seurat.h5ad"))
    assert_clean(builders_r.make_anndatar(tmp_path / "anndatar.h5ad"))


@pytest.mark.parametrize("libver", ["earliest", "v108", "v110", "v112", "v114", "latest"])
def test_each_version_of_the_format(libver: str, tmp_path: Path) -> None:
    cells = builders.make_anndata(obs={f"column {number}": ["a"] * 20 for number in range(30)})
    with h5py.File(tmp_path / "cells.h5ad", "w", libver=(libver, "latest")) as file:
        anndata.io.write_elem(file, "/", cells)
    assert_clean(tmp_path / "cells.h5ad")


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("persist", [True, False])
@pytest.mark.parametrize("strategy", ["fsm", "page", "aggregate", "none"])
def test_each_way_to_manage_space(strategy: str, persist: bool, libver: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "cells.h5ad", "w", libver=libver, fs_strategy=strategy, fs_persist=persist) as file:
        anndata.io.write_elem(file, "/", builders.make_anndata())
    assert_clean(tmp_path / "cells.h5ad")


def test_a_file_with_appended_labels(tmp_path: Path) -> None:
    cells = builders.make_h5ad(tmp_path / "cells.h5ad")
    names = np.array([f"id-{number}" for number in range(20)], dtype=object)
    columns = [NewColumn("obs", f"label {number}", "string", 20, lambda: [names]) for number in range(12)]
    appended = append(cells, Additions(tuple(columns), (NewElement("uns/organism", "Homo sapiens"),))).path
    assert_clean(appended)


# --- Structures ---


def make_indexes(path: Path, libver: str, compression: str | None) -> Path:
    """Chunks under every index that HDF5 has, some of them of text, many of them never written."""
    texts = np.array([f"text {number}" for number in range(6000)], dtype=object)
    more: dict[str, Any] = {"compression": compression}
    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("single", data=texts[:100], dtype=TEXT, chunks=(100,), **more)
        file.create_dataset("fixed", data=texts, dtype=TEXT, chunks=(7,), **more)
        file.create_dataset("extensible", data=texts, dtype=TEXT, chunks=(7,), maxshape=(None,), **more)
        grid = texts.reshape(60, 100)
        file.create_dataset("tree", data=grid, dtype=TEXT, chunks=(7, 3), maxshape=(None, None), **more)
        for name, limit in (("few of fixed", 1_000_000), ("few of extensible", None)):
            sparse = file.create_dataset(name, (1_000_000,), "i4", chunks=(7,), maxshape=(limit,), **more)
            sparse[900_000:900_100] = 1
        early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        early.set_chunk((10,))
        early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        space = h5py.h5s.create_simple((95,))
        h5py.h5d.create(file.id, b"implicit", h5py.h5t.NATIVE_INT64, space, early)
        records = np.array([(b"x", 1, "one"), (b"y", 2, "another")], [("a", "S3"), ("b", "i4"), ("c", TEXT)])
        file.create_dataset("records", data=records, **more)
        file.create_dataset("filled", (50,), dtype=TEXT, fillvalue="nothing", chunks=(10,))
        for number in range(40):
            file["fixed"].attrs[f"note {number}"] = "text " * number
        file["single"].attrs["large"] = np.ones(20_000 if libver == "latest" else 5000)
        file["soft"] = h5py.SoftLink("/fixed")
        file["large text"] = "T" * 3_000_000
    return path


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_each_index_of_chunks(libver: str, compression: str | None, tmp_path: Path) -> None:
    assert_clean(make_indexes(tmp_path / "indexes.h5", libver, compression))


def test_chunks_too_large_to_be_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pointers, "_MAX_HELD", 1000)
    monkeypatch.setattr(pointers, "_STEP", 100)
    assert_clean(make_indexes(tmp_path / "indexes.h5", "earliest", "gzip"))
    with h5py.File(tmp_path / "lzf.h5", "w") as file:
        file.create_dataset("x", data=["a text"] * 100, dtype=TEXT, chunks=(100,), compression="lzf")
    found = account(LocalSource(tmp_path / "lzf.h5"))
    assert (found.verdict, len(found.starts)) == ("unknown", 0)
    assert "/x is stored in chunks too large" in found.reason


def test_few_reads(example: Path) -> None:
    class Counting(LocalSource):
        reads = 0

        def read(self, offset: int, length: int) -> bytes:
            self.reads += 1
            return super().read(offset, length)

    source = Counting(example)
    account(source)
    assert source.reads <= 30


def test_a_structure_that_is_not_followed(tmp_path: Path) -> None:
    path = builders.make_with_virtual_dataset(tmp_path / "cells.h5ad")
    found = account(LocalSource(path))
    assert (found.verdict, found.clean) == ("unknown", False)
    assert found.reason.endswith(").")

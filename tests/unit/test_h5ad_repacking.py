"""A file written anew: every element is equal, stored chunks are the same bytes, and nothing else is left."""

from __future__ import annotations

import lzma
import struct
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pytest

from celldock.errors import InvalidSubmission
from celldock.h5ad.accounting.accounting import account
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.repacking import LIMITS, prove_repacked, repack
from celldock.h5ad.source import LocalSource
from celldock.h5ad.spool import Spool
from tests import builders, builders_r
from tests.builders_0_7 import rewrite_as_0_7

VERSIONS = sorted((Path(__file__).parents[1] / "data" / "h5ad").glob("*.xz"))


def repacked(path: Path) -> Path:
    """The new file, proven to hold the same; the same bytes come when it is done again."""
    target = path.with_name(f"{path.stem}-repacked.h5ad")
    source = LocalSource(path)
    contents: list[bytes] = []
    for _ in range(2):
        with Spool.opened(0) as spool, open_h5ad(source, limits=LIMITS) as original:
            original.guard()
            made = repack(original, source, spool)
            with open_h5ad(made) as new:
                new.guard()
                proof = prove_repacked(original, source, new, made, "it was asked for")
            assert proof.compared_datasets + proof.text_datasets == len(dataset_paths(path))
            contents.append(made.read(0, made.size))
    assert contents[0] == contents[1]
    target.write_bytes(contents[0])
    return target


def dataset_paths(path: Path) -> list[str]:
    found: list[str] = []
    with h5py.File(path) as file:
        file.visit(lambda name: found.append(name) if isinstance(file[name], h5py.Dataset) else None)
    return found


def assert_equal(first: Path, second: Path) -> None:
    """Every object, attribute and value, and the stored bytes of chunks that hold no text of any length."""
    with h5py.File(first) as before, h5py.File(second) as after:
        assert describe(before) == describe(after)


def describe(file: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"": attributes_of(file)}

    def note(path: str, node: Any) -> None:
        found[path] = (type(node), attributes_of(node), values_of(node) if isinstance(node, h5py.Dataset) else None)

    file.visititems(note)
    return found


def attributes_of(node: Any) -> dict[str, Any]:
    return {
        name: plain(node.file[value].name if isinstance(value, h5py.Reference) else value)
        for name, value in node.attrs.items()
    }


def values_of(dataset: Any) -> Any:
    storage = dataset.shape, dataset.maxshape, dataset.chunks, dataset.compression, dataset.dtype
    if dataset.shape is None:
        return storage
    chunks: list[Any] = []
    if dataset.chunks and not dataset.dtype.hasobject:
        dataset.id.chunk_iter(
            lambda chunk: chunks.append((chunk.chunk_offset, dataset.id.read_direct_chunk(chunk.chunk_offset)))
        )
    return storage, plain(dataset[()]), sorted(chunks)


def plain(value: Any) -> Any:
    if isinstance(value, h5py.Empty):
        return "empty", value.dtype
    array = np.asarray(value)
    return array.dtype, array.shape, repr(array.tolist()) if array.dtype.hasobject else array.tobytes()


@pytest.mark.parametrize("packed", VERSIONS, ids=lambda path: path.stem.removesuffix(".h5ad"))
def test_each_version_of_anndata(packed: Path, tmp_path: Path) -> None:
    path = tmp_path / "cells.h5ad"
    path.write_bytes(lzma.decompress(packed.read_bytes()))
    new = repacked(path)
    assert_equal(path, new)
    assert account(LocalSource(new)).clean


@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_what_was_deleted_is_gone(compression: Any, tmp_path: Path) -> None:
    names = np.array([f"Patient {number}" for number in range(200)], dtype=object)
    path = builders.make_h5ad(tmp_path / "cells.h5ad", n_obs=200, compression=compression, uns={"note": names})
    with h5py.File(path, "r+") as file:
        del file["uns/note"], file["obsm/X_umap"]
    assert account(LocalSource(path)).verdict == "residue"
    assert b"Patient 17" in path.read_bytes()
    new = repacked(path)
    assert_equal(path, new)
    assert account(LocalSource(new)).clean
    assert b"Patient" not in new.read_bytes()
    assert new.stat().st_size < path.stat().st_size
    assert anndata.read_h5ad(new).shape == (200, 10)


def test_categories_of_anndata_0_7_are_referred_to(tmp_path: Path) -> None:
    path = rewrite_as_0_7(builders.make_h5ad(tmp_path / "cells.h5ad"))
    new = repacked(path)
    assert_equal(path, new)
    assert account(LocalSource(new)).clean
    with h5py.File(new) as file:
        reference = file["obs/tissue_type"].attrs["categories"]
        assert file[reference].name == "/obs/__categories/tissue_type"


def test_files_of_r(tmp_path: Path) -> None:
    for path in (builders_r.make_seurat_disk(tmp_path / "seurat.h5ad"), builders_r.make_anndatar(tmp_path / "r.h5ad")):
        new = repacked(path)
        assert_equal(path, new)
        assert account(LocalSource(new)).clean


def test_text_of_all_lengths(tmp_path: Path) -> None:
    path = tmp_path / "texts.h5"
    texts = [b"", b"\xff\xfe not UTF-8", "ü".encode(), b"x" * 300_000, *(b"%d" % number for number in range(3000))]
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("texts", data=texts * 40, dtype=h5py.string_dtype(), chunks=(1000,), compression="gzip")
        file.create_dataset("grid", data=np.array(texts[4:]).reshape(50, 60), dtype=h5py.string_dtype())
        file.create_dataset("growing", (10, 10), "i4", maxshape=(None, None), chunks=(3, 3))[3:6, :] = 1
        file.create_dataset("empty", (0, 3), "f4", maxshape=(None, 3))
        file["obs"] = "a text"
    new = repacked(path)
    assert_equal(path, new)
    assert account(LocalSource(new)).clean


@pytest.mark.parametrize("damage", ["smaller than its chunk", "an empty chunk", "a plain chunk cut short"])
def test_a_dataset_that_libhdf5_would_not_make_is_damaged(tmp_path: Path, damage: str) -> None:
    path = builders.make_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(path, "r+") as file:
        rows = 9973 if damage == "smaller than its chunk" else 2 * 9973
        packed = None if damage == "a plain chunk cut short" else "gzip"
        odd = file.create_dataset("uns/odd", data=np.arange(float(rows)), chunks=(9973,), compression=packed)
        stored = odd.id.get_chunk_info(rows // 9973 - 1).size
    before, after = {
        "smaller than its chunk": (struct.pack("<QQ", 9973, 9973), struct.pack("<QQ", 9971, 9971)),
        "an empty chunk": (struct.pack("<IIQQ", stored, 0, 9973, 0), struct.pack("<IIQQ", 0, 0, 9973, 0)),
        "a plain chunk cut short": (struct.pack("<IIQQ", stored, 0, 9973, 0), struct.pack("<IIQQ", 9973, 0, 9973, 0)),
    }[damage]
    content = path.read_bytes()
    assert content.count(before) == 1
    path.write_bytes(content.replace(before, after))

    source = LocalSource(path)
    with Spool.opened(0) as spool, open_h5ad(source, limits=LIMITS) as original:
        original.guard()
        with pytest.raises(InvalidSubmission) as refused:
            repack(original, source, spool)
    assert (refused.value.code, refused.value.where) == ("file.damaged", "uns/odd")

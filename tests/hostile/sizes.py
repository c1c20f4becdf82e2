"""Files that declare more than they hold, or more than anyone should read at once."""

from __future__ import annotations

import zlib
from pathlib import Path

import h5py
import numpy as np

from tests.hostile.case import edited, replace
from tests.hostile.structure import UNDEFINED, Patched


@edited("declares-3-gigabytes", "file.declares_more")
def declares_3_gigabytes(file: h5py.File) -> None:
    replace(
        file,
        "obsm/X_umap",
        lambda parent, name: parent.create_dataset(
            name, (20, 40_000_000), "f4", chunks=(20, 10_000), compression="gzip"
        ),
    )


@edited("declares-3-gigabytes-in-one-piece", "file.declares_more")
def declares_3_gigabytes_in_one_piece(file: h5py.File) -> None:
    replace(file, "obsm/X_umap", lambda parent, name: parent.create_dataset(name, (20, 40_000_000), "f4"))


@edited("declares-a-trillion-cells", "file.declares_more")
def declares_a_trillion_cells(file: h5py.File) -> None:
    replace(
        file,
        "obs/_index",
        lambda parent, name: parent.create_dataset(name, (1 << 40,), h5py.string_dtype(), chunks=(1 << 24,)),
    )


@edited("declares-a-large-x", "file.declares_more")
def declares_a_large_x(file: h5py.File) -> None:
    """So many chunks that they are not looked up one by one."""
    replace(
        file,
        "X/data",
        lambda parent, name: parent.create_dataset(name, (1 << 36,), "f4", chunks=(1 << 14,), compression="gzip"),
    )


@edited("small-and-never-written", stage="processed")
def small_and_never_written(file: h5py.File) -> None:
    file["uns"].create_dataset("zeros", (100,), "f4", chunks=(10,)).attrs.update(
        {"encoding-type": "array", "encoding-version": "0.2.0"}
    )


def _shared_text(parent: h5py.Group, name: str, rows: int, text_bytes: int) -> None:
    """`rows` strings that are one and the same text in the file: GBs in a few KB."""
    dataset = parent.create_dataset(name, (rows,), h5py.string_dtype(), chunks=(rows,), compression="gzip")
    dataset[:1] = ["x" * text_bytes]
    # One chunk of pointers, each to the text that the first row has stored.
    _, raw = dataset.id.read_direct_chunk((0,))
    plain = np.frombuffer(zlib.decompress(raw), np.uint8).reshape(rows, 16).copy()
    plain[:] = plain[0]
    dataset.id.write_direct_chunk((0,), zlib.compress(plain.tobytes(), 9))
    dataset.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})


@edited("strings-that-share-one-text", "obs.columns.damaged", stage="rules")
def strings_that_share_one_text(file: h5py.File) -> None:
    """Twenty cells of 60 KB each, three times the file."""
    del file["obs/suspension_type"]
    _shared_text(file["obs"], "suspension_type", 20, 60_000)


@edited("names-that-share-one-text", "file.declares_more", "file.memory", "obs.index.damaged", stage="rules")
def names_that_share_one_text(file: h5py.File) -> None:
    """A third of a million cells whose name has 60 KB: 20 GB."""
    del file["obs/_index"]
    _shared_text(file["obs"], "_index", 1 << 18, 60_000)


@edited("strings-of-a-megabyte", "file.declares_more")
def strings_of_a_megabyte(file: h5py.File) -> None:
    file["uns"].create_dataset("texts", (3200,), "S1000000", chunks=(100,), compression="gzip")


@edited("chunk-of-300-megabytes", "file.chunk_too_large")
def chunk_of_300_megabytes(file: h5py.File) -> None:
    file["uns"].create_dataset("image", (300_000_000,), "u1", chunks=(300_000_000,), compression="gzip")


@edited("chunk-beyond-its-data", "file.declares_more")
def chunk_beyond_its_data(file: h5py.File) -> None:
    """Twenty values in a chunk of 200 MB that was never written."""
    file["uns"].create_dataset("few", (20,), "u1", chunks=(200_000_000,), maxshape=(None,), compression="gzip")


@edited("overlapping-datasets", "file.declares_more")
def overlapping_datasets(file: h5py.File) -> None:
    """Fifty datasets whose headers all name the same megabyte: none declares more than is stored."""
    size = 1 << 20
    first = file["uns"].create_dataset("d0", data=np.zeros(size, "u1"))
    address = first.id.get_offset().to_bytes(8, "little")
    for i in range(1, 50):
        file["uns"].create_dataset(f"d{i}", (size,), "u1")
    path = Path(file.filename)
    file.close()
    patched = Patched(path)
    patched.replace(UNDEFINED + size.to_bytes(8, "little"), address + size.to_bytes(8, "little"), count=49)
    patched.save()

"""What one dataset declares, and whether its bytes can be where and what it says they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

from h5py import h5d, h5s, h5z

from celldock.h5ad.damage import damaged as damaged_file
from celldock.h5ad.hdf5.faults import DECOMPRESS, Place, damaged, hostile, path_at, shown, unread
from celldock.h5ad.hdf5.types import value_bytes

MAX_RATIO = 1100
"""Decoded over stored bytes; deflate, the best of the filters, cannot do better than 1,032."""
MAX_CHUNK_BYTES = 256 * 1024 * 1024
"""Bytes of one chunk, decoded; libhdf5 has to hold it whole to read any value in it."""
MAX_MATRIX_CHUNK_BYTES = 1 << 32
"""The same for the arrays of matrices, which are not read by libhdf5: what HDF5's format allows."""
SMALL_BYTES = 64 * 1024
"""A dataset that declares no more than this may hold less: nobody is harmed by it."""

_LZF = 32000
_FILTERS = {
    h5z.FILTER_DEFLATE: "gzip",
    h5z.FILTER_SHUFFLE: "shuffle",
    h5z.FILTER_FLETCHER32: "fletcher32",
    _LZF: "lzf",
}


@dataclass(frozen=True, slots=True)
class Extent:
    """What a dataset declares: its shape, None if it has no value at all; bytes of one value; chunks, 0 for one piece.

    `declared_bytes` is what all values take, `decoded_bytes` the same with what the last chunks hold beyond the edge.
    """

    shape: tuple[int, ...] | None
    value_bytes: int
    chunks: int
    declared_bytes: int
    decoded_bytes: int


def admit(dataset: h5d.DatasetID, where: Place) -> Extent:
    """What a dataset declares, from its object header alone.

    Raises HostileFile for one whose bytes lie outside the file, InvalidSubmission for types and filters that celldock
    does not read.
    """
    with damaged(where):
        properties = dataset.get_create_plist()
        layout, external = properties.get_layout(), properties.get_external_count()
        filters = [properties.get_filter(index) for index in range(properties.get_nfilters())]
        chunk = properties.get_chunk() if layout == h5d.CHUNKED else None
        space = dataset.get_space()
        shape = None if space.get_simple_extent_type() == h5s.NULL else space.shape
        type_id = dataset.get_type()
    if external:
        hostile("file.external_storage", where, "keeps its data in another file")
    if layout == h5d.VIRTUAL:
        hostile("file.virtual_dataset", where, "is a view of other datasets, not the data")
    _refuse_filters([(identifier, name) for identifier, _, _, name in filters], where)
    size = value_bytes(type_id, where)
    declared = size * math.prod(shape) if shape is not None else 0
    if chunk is None or shape is None:
        return Extent(shape, size, 0, declared, declared)
    if len(chunk) != len(shape):
        raise damaged_file(shown(where), f"it has {len(shape)} axes and its chunks have {len(chunk)}")
    chunk_bytes = size * math.prod(chunk)
    limit = MAX_CHUNK_BYTES
    if chunk_bytes > limit and is_of_matrix(path_at(where)):
        limit = MAX_MATRIX_CHUNK_BYTES
    if chunk_bytes > limit:
        unread(
            "file.chunk_too_large",
            where,
            f"is stored in chunks of {chunk_bytes:,} bytes, more than celldock reads ({limit:,})",
            "Write the file anew with anndata's write_h5ad, which chooses small chunks.",
        )
    chunks = math.prod(-(-length // edge) for length, edge in zip(shape, chunk, strict=True))
    return Extent(shape, size, chunks, declared, chunks * chunk_bytes)


def is_of_matrix(path: str) -> bool:
    """Whether the dataset at `path` is X, raw/X or a layer, or one of their arrays."""
    parts = path.split("/")
    root = 1 if parts[0] == "X" else 2
    is_matrix = parts[0] == "X" or parts[:2] == ["raw", "X"] or (parts[0] == "layers" and len(parts) > 1)
    return is_matrix and (len(parts) == root or parts[root:] in (["data"], ["indices"], ["indptr"]))


def stored_bytes(dataset: h5d.DatasetID, where: str) -> int:
    """Bytes that a dataset takes in the file, after compression; reads its whole chunk index."""
    with damaged(where):
        return dataset.get_storage_size()


def refuse_inflated(extent: Extent, stored: int, where: str) -> None:
    """Refuses a dataset that declares more than `stored` bytes can hold, before anything is sized by it."""
    if extent.decoded_bytes > max(MAX_RATIO * stored, SMALL_BYTES):
        problem = f"declares {extent.decoded_bytes:,} bytes, but only {stored:,} are stored, which cannot hold them"
        hostile("file.declares_more", where, problem)


def _refuse_filters(filters: list[tuple[int, bytes]], where: Place) -> None:
    for identifier, name in filters:
        if identifier not in _FILTERS:
            label = name.decode("utf-8", "backslashreplace") or f"number {identifier}"
            problem = f"is compressed with a filter that celldock does not read: {label}"
            unread("file.filter_unknown", where, problem, DECOMPRESS)
    if len({identifier for identifier, _ in filters}) < len(filters):
        hostile("file.filter_repeated", where, "is compressed with the same filter more than once")

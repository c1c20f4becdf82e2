"""Where the chunks of a file's matrices lie, from libhdf5's chunk index."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import h5py
import numpy as np
from h5py import h5d

from celldock.h5ad.damage import damaged as damaged_file
from celldock.h5ad.hdf5 import datasets, nodes
from celldock.h5ad.hdf5.faults import damaged, unread
from celldock.h5ad.headers import Header, MatrixHeader
from celldock.h5ad.layout import Array, ArrayLayout, ChunkTables, FileLayout, Filter, MatrixLayout

_SPARSE = ("data", "indices", "indptr")


def file_layout(file: h5py.File, header: Header, columns: Sequence[str]) -> FileLayout:
    """The layouts of all matrices that the header names, and of the plain datasets at `columns`.

    Reads the chunk indices, no chunk. Raises HostileFile (`file.declares_more`) for a dataset that declares more than
    its chunks can hold, and InvalidSubmission for a chunk table that contradicts itself.
    """
    matrices = [matrix for matrix in (header.x, header.raw_x, *header.layers) if matrix is not None]
    return FileLayout(
        matrices={matrix.path: MatrixLayout(matrix, _arrays(file, matrix)) for matrix in matrices},
        columns={path: _array_layout(file, path) for path in columns},
    )


def _arrays(file: h5py.File, matrix: MatrixHeader) -> dict[str, ArrayLayout]:
    if matrix.encoding == "dense":
        return {"data": _array_layout(file, matrix.path)}
    return {name: _array_layout(file, f"{matrix.path}/{name}") for name in _SPARSE}


def _array_layout(file: h5py.File, path: str) -> ArrayLayout:
    dataset = nodes.find_dataset(file, path)
    if dataset is None or not dataset.shape or dataset.dtype.kind not in "fiub":
        unread("file.not_anndata", path, "is no array of numbers")
    extent = datasets.admit(dataset.id, path)
    with damaged(path):
        properties = dataset.id.get_create_plist()
        filters = [properties.get_filter(index) for index in range(properties.get_nfilters())]
        fill = np.asarray(dataset.fillvalue, dataset.dtype).tobytes()
        in_chunks = properties.get_layout() == h5d.CHUNKED
        inline = dataset[()].tobytes() if properties.get_layout() == h5d.COMPACT else None
    if in_chunks:
        tables = chunk_tables(dataset, path, extent.chunks)
        datasets.refuse_inflated(extent, _distinct_bytes(tables, path), path)
    else:
        tables = one_piece(dataset, path, inline)
    return ArrayLayout(
        path=path,
        dtype=dataset.dtype.str,
        shape=dataset.shape,
        chunks=dataset.chunks,
        filters=tuple(Filter(identifier, tuple(values)) for identifier, _, values, _ in filters),
        fill=fill,
        offsets=tables.offsets,
        sizes=tables.sizes,
        masks=tables.masks,
        inline=inline,
    )


def chunk_tables(dataset: h5py.Dataset, path: str, count: int) -> ChunkTables:
    """The table of a chunked dataset, in C order of its grid of `count` chunks."""
    found = _stored_chunks(dataset, path, count)
    rank = len(dataset.chunks or ())
    edges = np.array(dataset.chunks, np.int64)
    grid = -(-np.array(dataset.shape, np.int64) // edges)
    corners = found[:, :rank]
    places = corners // edges
    if (corners % edges).any() or (corners < 0).any() or (places >= grid).any():
        raise damaged_file(path, "its index names chunks that lie outside of it")
    steps = np.cumprod(np.concatenate((grid[1:], [1]))[::-1], dtype=np.int64)[::-1]
    numbers = (places * steps).sum(axis=1)
    if (np.bincount(numbers, minlength=1) > 1).any():
        raise damaged_file(path, "its index names a chunk twice")
    offsets, sizes, masks = np.full(count, -1, np.int64), np.zeros(count, np.int64), np.zeros(count, np.uint32)
    offsets[numbers], sizes[numbers], masks[numbers] = found[:, rank], found[:, rank + 1], found[:, rank + 2]
    return ChunkTables(offsets, sizes, masks)


def _stored_chunks(dataset: h5py.Dataset, path: str, count: int) -> Array:
    """One row a stored chunk: its corner, then its offset, size and filter mask."""
    # Not a list of tuples: a million chunks would take 200 MB.
    flat = array("q")
    width = len(dataset.chunks or ()) + 3

    def note(chunk: h5d.StoreInfo) -> bool | None:
        # libhdf5 takes a chunk without an address for one that was never written.
        if chunk.chunk_offset is not None and chunk.byte_offset is not None:
            flat.extend((*chunk.chunk_offset, chunk.byte_offset, chunk.size, chunk.filter_mask))
        return len(flat) > width * count or None

    with damaged(path):
        if dataset.id.chunk_iter(note) and len(flat) > width * count:
            raise damaged_file(path, f"its index names more chunks than the {count:,} that it has")
    return np.frombuffer(flat, np.int64).reshape(-1, width)


def _distinct_bytes(tables: ChunkTables, path: str) -> int:
    """Bytes that the chunks take in the file. Refuses chunks that share bytes: a few would stand for many."""
    stored = np.flatnonzero(tables.offsets >= 0)
    order = stored[np.argsort(tables.offsets[stored], kind="stable")]
    ends = tables.offsets[order] + tables.sizes[order]
    if (ends[:-1] > tables.offsets[order][1:]).any():
        raise damaged_file(path, "several of its chunks lie in the same place")
    return int(tables.sizes[order].sum())


def one_piece(dataset: h5py.Dataset, path: str, inline: bytes | None) -> ChunkTables:
    """The table of a dataset that is stored in one piece, empty if that is `inline`, in its object header."""
    if inline is not None:
        return ChunkTables(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint32))
    with damaged(path):
        # None as long as nothing was written.
        offset = dataset.id.get_offset()
        size = 0 if offset is None else dataset.id.get_storage_size()
    offsets = np.array([-1 if offset is None else offset], np.int64)
    return ChunkTables(offsets, np.array([size], np.int64), np.zeros(1, np.uint32))

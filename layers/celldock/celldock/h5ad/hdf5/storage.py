"""Which datasets a file has, and which bytes of it are theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
from h5py import h5d

from celldock.h5ad.hdf5 import datasets, nodes
from celldock.h5ad.hdf5.faults import damaged, unread
from celldock.h5ad.hdf5.layouts import chunk_tables, one_piece
from celldock.h5ad.layout import ChunkTables

_MAX_ENTRIES = 2_000_000


def dataset_paths(file: h5py.File) -> list[str]:
    """The paths of all datasets of a file, in its order."""
    paths: list[str] = []
    groups = [("", h5py.Group(file.id))]
    while groups:
        above, group = groups.pop()
        for name, node in nodes.children(group):
            path = f"{above}/{name}".lstrip("/")
            if isinstance(node, h5py.Group):
                groups.append((path, node))
            else:
                paths.append(path)
    return paths


def storage_of(file: h5py.File, paths: Sequence[str]) -> dict[str, Any]:
    """Where the first of the datasets at `paths` lie: as many as make an answer of some million entries, at least one.

    Type, shape and number of entries of each; then offset and size of all pieces that are stored, in bytes, in C order
    of the chunk grids. No entry stands for what lies in an object header or was never written.
    """
    heads: list[dict[str, Any]] = []
    tables: list[tuple[np.ndarray, np.ndarray]] = []
    total = 0
    for path in paths:
        dataset = nodes.find_dataset(file, path)
        if dataset is None:
            unread("file.not_anndata", path, "is no dataset")
        table = _table(dataset, path)
        stored = table.offsets >= 0
        tables.append((table.offsets[stored], table.sizes[stored]))
        pieces = int(stored.sum())
        heads.append({"dtype": dataset.dtype.str, "shape": list(dataset.shape or ()), "pieces": pieces})
        total += pieces
        if total > _MAX_ENTRIES:
            break
    offsets, sizes = (np.concatenate([np.empty(0, np.int64), *column]) for column in zip(*tables, strict=True))
    return {"heads": heads, "offsets": offsets, "sizes": sizes}


def _table(dataset: h5py.Dataset, path: str) -> ChunkTables:
    extent = datasets.admit(dataset.id, path)
    with damaged(path):
        layout = dataset.id.get_create_plist().get_layout()
    if layout == h5d.CHUNKED:
        return chunk_tables(dataset, path, extent.chunks)
    return one_piece(dataset, path, b"" if layout == h5d.COMPACT else None)

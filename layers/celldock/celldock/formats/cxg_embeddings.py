"""Embeddings of a CXG: one dense float32 array each, of which readers draw the first two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celldock.formats.cxg_layout import Embedding
from celldock.formats.cxg_store import ROW_TILE, ArraySchema, Attribute, Dimension, LocalArray
from celldock.h5ad.file import H5adFile

FOLDER = "emb"
"""The group of all embeddings."""

_BLOCK_BYTES = 32_000_000
_FLOAT = np.dtype(np.float32)

type Array = np.ndarray[Any, Any]


def make_embedding(file: H5adFile, embedding: Embedding, folder: Path, level: int) -> LocalArray | str:
    """The array `emb/<name>` below `folder`, or why CELLxGENE Explorer could not show it.

    Memory: a block of rows. NaN marks cells that have no place.
    """
    rows, dimensions = embedding.header.shape
    axes = (Dimension(rows, min(rows, ROW_TILE)), Dimension(dimensions, dimensions))
    schema = ArraySchema(axes, (Attribute("", _FLOAT),), level)
    array = LocalArray(folder, f"{FOLDER}/{embedding.name}", schema)
    infinite, placed = False, False

    def read(start: int, stop: int) -> Sequence[Array]:
        nonlocal infinite, placed
        with np.errstate(over="ignore"):
            values = file.array(embedding.header, start, stop).astype(_FLOAT, copy=False)
        infinite |= bool(np.isinf(values).any())
        placed |= not np.isnan(values).all()
        return [values]

    array.write_rows(rows, _BLOCK_BYTES // (dimensions * embedding_bytes(embedding)), read)
    if infinite:
        return "it has infinite values"
    return array if placed else "all of its values are NaN"


def embedding_bytes(embedding: Embedding) -> int:
    """Bytes of a coordinate, as it is stored or written, whichever are more."""
    return max(_FLOAT.itemsize, np.dtype(embedding.header.dtype).itemsize)

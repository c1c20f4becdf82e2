"""Row blocks of a matrix that cost about the same to read, whatever the cells hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from celldock.h5ad.layout import Array

# The tile of the formats that hold matrices: partitions of all steps and formats begin on it.
ROW_STEP = 256
PARTITION_ELEMENTS = 20_000_000
# A row is counted and hashed by itself, which costs about as much as this many elements.
_ROW_ELEMENTS = 16


@dataclass(frozen=True, slots=True)
class ScanPartition:
    """Rows `[start, stop)` of the matrix at `path`: what one worker of Scan reads. `index` counts over all matrices."""

    index: int
    path: str
    start: int
    stop: int


def elements_of_dense(rows: int, columns: int) -> Array:
    """Elements before every 256th row and before the end, as `elements_of_sparse` gives them."""
    return _starts(rows) * columns


def elements_of_sparse(indptr: Iterable[tuple[int, Array]]) -> Array:
    """Stored elements before every 256th row and before the end.

    `indptr` comes in parts, each with its first row, its last pointer being the first of the next part. Memory: one
    part, and 8 bytes for each 256 rows.
    """
    samples: list[Array] = []
    end: Array = np.zeros(1, np.int64)
    for first, pointers in indptr:
        samples.append(pointers[:-1][-first % ROW_STEP :: ROW_STEP].copy())
        end = pointers[-1:].copy()
    return np.concatenate((*samples, end))


def cost_of(rows: int, elements: int) -> int:
    """What it costs to scan so many rows with so many stored elements, in elements."""
    return elements + _ROW_ELEMENTS * rows


def cut_rows(rows: int, elements: Array) -> list[tuple[int, int]]:
    """Cuts rows into blocks of equal cost, each of about `PARTITION_ELEMENTS` or less and begun on a 256th row.

    Args:
        rows: rows of the matrix.
        elements: stored elements before every 256th row and before the end.
    """
    if rows == 0:
        return []
    starts = _starts(rows)
    costs = elements + _ROW_ELEMENTS * starts
    count = max(1, -(-int(costs[-1]) // PARTITION_ELEMENTS))
    goals = [int(costs[-1]) * part // count for part in range(1, count)]
    edges = np.unique([0, *starts[np.searchsorted(costs, goals)], rows]).tolist()
    return list(pairwise(edges))


def _starts(rows: int) -> Array:
    return np.append(np.arange(0, rows, ROW_STEP, dtype=np.int64), np.int64(rows))

"""The model of data frames: one column, one block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from celldock.h5ad.headers import ColumnKind


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Rows of one column.

    `values` holds the plain values, strings as `str` objects; for a categorical the integer codes, -1 where missing.
    `categories` is what the codes stand for: None in a block of rows, because all blocks share them (ask
    `H5adFile.categories` once), and given where a whole column was read as an element. `mask` is True where a nullable
    value is missing (`values` mean nothing there); None where the encoding has no mask. `ordered` says whether the
    order of the categories means something, where they are given.
    """

    name: str
    kind: ColumnKind
    values: np.ndarray
    categories: np.ndarray | None
    mask: np.ndarray | None
    ordered: bool = False


def iter_blocks(length: int, rows: int) -> Iterator[tuple[int, int]]:
    """The row ranges [start, stop) that cover `length` rows in blocks of at most `rows`."""
    for start in range(0, length, rows):
        yield start, min(start + rows, length)

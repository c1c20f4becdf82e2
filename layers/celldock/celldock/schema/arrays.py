"""What rules know of the values of a dense array without holding it: where it is not finite.

An array is read once for all rules of a run, a block of rows after another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from celldock.h5ad.file import Array, H5adFile
from celldock.h5ad.frames import iter_blocks
from celldock.h5ad.headers import ArrayHeader
from celldock.report.model import MAX_EXAMPLES

_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Marked:
    """How many values of an array have a property, in how many rows, and the first few of these rows."""

    values: int = 0
    rows: int = 0
    first: tuple[int, ...] = ()

    def with_block(self, marked: Array, start: int) -> Marked:
        """These and those that `marked`, a bool for each value of the rows from `start` on, marks."""
        in_rows = marked.reshape(len(marked), -1).any(axis=1)
        first = self.first
        if len(first) < MAX_EXAMPLES:
            first += tuple((np.flatnonzero(in_rows)[: MAX_EXAMPLES - len(first)] + start).tolist())
        return Marked(self.values + int(np.count_nonzero(marked)), self.rows + int(np.count_nonzero(in_rows)), first)


@dataclass(frozen=True, slots=True)
class ArrayFacts:
    """The values of an array that are no finite numbers. `size` is how many values it has."""

    size: int
    nan: Marked
    infinite: Marked

    @property
    def all_nan(self) -> bool:
        """Whether there are values, and none but NaN."""
        return 0 < self.size == self.nan.values


def array_facts(file: H5adFile, array: ArrayHeader) -> ArrayFacts:
    """Reads all values of a dense array of at least one dimension. Memory: one block of rows.

    Raises InvalidSubmission for what is damaged.
    """
    nan, infinite = Marked(), Marked()
    row_bytes = math.prod(array.shape[1:]) * np.dtype(array.dtype).itemsize
    for start, stop in iter_blocks(array.shape[0], max(1, _BLOCK_BYTES // max(1, row_bytes))):
        block = file.array(array, start, stop)
        if block.dtype.kind == "f" and not np.isfinite(block).all():
            nan = nan.with_block(np.isnan(block), start)
            infinite = infinite.with_block(np.isinf(block), start)
    return ArrayFacts(math.prod(array.shape), nan, infinite)

"""The row pointers of a sparse matrix (the column pointers of a csc), read in parts and checked before any use."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import numpy as np

from celldock.errors import InvalidSubmission
from celldock.h5ad.block import REWRITE
from celldock.h5ad.fetching import Ranges
from celldock.h5ad.layout import Array, MatrixLayout
from celldock.h5ad.reader import DEFAULT_BUDGET, ArrayReader, chunk_limit
from celldock.h5ad.unpacking import Wanted, unpacked

_MOST_ROWS = 1 << 16


def pointers_within(
    source: Ranges, layout: MatrixLayout, start: int, stop: int, *, budget: int
) -> Generator[tuple[int, Array]]:
    """As `indptr_blocks`, in parts that suit the budget; the chunks of indptr have to suit it too."""
    rows = max(1, min(_MOST_ROWS, budget // 8 // 8))
    return indptr_blocks(source, layout, rows, start, stop, budget=budget)


def indptr_blocks(
    source: Ranges,
    layout: MatrixLayout,
    rows: int,
    start: int = 0,
    stop: int | None = None,
    *,
    budget: int = DEFAULT_BUDGET,
) -> Generator[tuple[int, Array]]:
    """The pointers of a sparse matrix's rows (columns of a csc) [start, stop), all by default, `rows` at a time.

    Yields the number of the first row of a part, and its int64 pointers, one more than its rows. `budget` bounds what
    is held beside them. Raises InvalidSubmission (`matrix.indptr_invalid`) at the first pointer that is wrong, and
    (`file.chunk_too_large`) where a compressed chunk takes more than a quarter of the budget.
    """
    array = layout.arrays["indptr"]
    nnz = layout.arrays["data"].shape[0]
    stop = array.shape[0] - 1 if stop is None else stop
    first, last = start, np.empty(0, np.int64)
    wanted = {"indptr": Wanted(array, chunk_limit(budget), start, stop + 1)}
    with unpacked(source, wanted, budget=budget, scratch=None) as (places, layouts):
        reader = ArrayReader(places, layouts["indptr"], budget=budget)
        with closing(reader.blocks(start, stop + 1, rows)) as blocks:
            for block in blocks:
                pointers = np.concatenate((last, block.astype(np.int64)))
                check_indptr(layout.header.path, pointers, first, array.shape[0], nnz)
                if len(pointers) > 1 or start == stop:
                    yield first, pointers
                first += len(pointers) - 1
                last = pointers[-1:]


def check_indptr(path: str, pointers: Array, first: int, length: int, nnz: int) -> None:
    """Checks a part of a sparse matrix's pointers that begins with pointer number `first` of `length`.

    `nnz` is the number of stored elements. Raises InvalidSubmission (`matrix.indptr_invalid`) with the first pointer
    that is wrong: they begin with 0, never fall, and end with `nnz`.
    """
    wrong = (pointers < 0) | (pointers > nnz)
    wrong[1:] |= pointers[1:] < pointers[:-1]
    wrong[:1] |= (first == 0) & (pointers[:1] != 0)
    wrong[-1:] |= (first + len(pointers) == length) & (pointers[-1:] != nnz)
    if wrong.any():
        at = int(wrong.argmax())
        raise InvalidSubmission(
            f"{path}/indptr is wrong at position {first + at:,}: {int(pointers[at]):,}. It must begin with 0, never "
            f"fall, and end with {nnz:,}, the number of stored values.",
            code="matrix.indptr_invalid",
            where=f"{path}/indptr",
            hint=REWRITE,
        )

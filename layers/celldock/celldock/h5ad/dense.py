"""Blocks of rows of a dense matrix, without their zeros.

A block is decoded as a rectangle where a whole band of chunks fits the budget. Where it does not (chunks that are tall
and wide), each chunk of the band is reduced to its non-zeros at once, for as many rows as their non-zeros allow.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from celldock.errors import InvalidSubmission
from celldock.h5ad.block import Block, row_too_large
from celldock.h5ad.fetching import Job, Ranges, fetch_ahead
from celldock.h5ad.layout import Array
from celldock.h5ad.reader import StoredArray, read_together

_MOST_PASSES = 64


def dense_blocks(source: Ranges, array: StoredArray, start: int, stop: int, *, budget: int) -> Generator[Block]:
    """Rows [start, stop) of a dense matrix as blocks of their non-zeros, NaN included; see `MatrixReader`."""
    unit = budget // 8
    n_vars = array.shape[1]
    # The rectangle, and twice all its elements as non-zeros: the block, and the one before that the caller holds.
    rows = 4 * unit // max((3 * array.dtype.itemsize + 2 * _index_type(n_vars).itemsize) * n_vars, 1)
    if rows < 1:
        raise row_too_large(array.path, start, array.row_bytes)
    if rows >= array.chunk_rows:
        return _by_rectangles(source, array, start, stop, rows // array.chunk_rows * array.chunk_rows, unit)
    return _by_bands(source, array, start, stop, unit)


def _by_rectangles(source: Ranges, array: StoredArray, start: int, stop: int, rows: int, unit: int) -> Generator[Block]:
    edges = [start, *range(start // rows * rows + rows, stop, rows), stop] if start < stop else []
    ranges = ((begin, end, None) for begin, end in pairwise(edges))
    with closing(read_together(source, [array], ranges, ahead=2 * unit)) as blocks:
        for begin, _, _, (values,) in blocks:
            found = _NonZeros.of(values, 0, _index_type(array.shape[1]), unit // 64)
            yield _block(array, begin, [found], finished=True)


def _by_bands(source: Ranges, array: StoredArray, start: int, stop: int, unit: int) -> Generator[Block]:
    begin = start
    while begin < stop:
        band_end = (begin // array.chunk_rows + 1) * array.chunk_rows
        end, pieces = _band_rows(source, array, begin, min(band_end, stop), unit)
        if min(band_end, stop) - begin > _MOST_PASSES * (end - begin):
            raise InvalidSubmission(
                f"{array.path} is stored in chunks of {array.chunk_rows:,} rows: to read {end - begin:,} of them, "
                f"{array.band_bytes:,} bytes must be unpacked.",
                code="file.chunk_too_large",
                where=array.path,
                hint="Write the matrix anew as a scipy.sparse.csr_matrix, or with chunks of whole rows.",
            )
        yield _block(array, begin, pieces, finished=False)
        begin = end


@dataclass(slots=True, eq=False)
class _NonZeros:
    """The non-zeros of a rectangle, row by row: how many a row has, their columns and values."""

    counts: Array
    columns: Array
    values: Array

    @classmethod
    def of(cls, rectangle: Array, first_column: int, columns: np.dtype[np.signedinteger], slab_size: int) -> _NonZeros:
        """Looks at about `slab_size` elements at a time, which takes 64 bytes an element at most."""
        rows, width = rectangle.shape
        counts = np.count_nonzero(rectangle, axis=1).astype(np.int64)
        total = int(counts.sum())
        found = cls(counts, np.empty(total, columns), np.empty(total, rectangle.dtype))
        ends = np.cumsum(counts).tolist()
        done = 0
        step = max(1, slab_size // max(width, 1))
        for begin in range(0, rows, step):
            slab = np.ascontiguousarray(rectangle[begin : begin + step])
            places = np.flatnonzero(slab)
            end = ends[min(begin + step, rows) - 1]
            found.values[done:end] = slab.reshape(-1)[places]
            shift: Array = np.arange(0, slab.size, width, dtype=np.int64) - first_column
            found.columns[done:end] = places - np.repeat(shift, counts[begin : begin + step])
            done = end
        return found

    @property
    def nbytes(self) -> int:
        return self.counts.nbytes + self.columns.nbytes + self.values.nbytes

    def keep_rows(self, rows: int) -> None:
        total = int(self.counts[:rows].sum())
        # Copies, so that the rest is freed.
        self.counts = self.counts[:rows].copy()
        self.columns = self.columns[:total].copy()
        self.values = self.values[:total].copy()


def _band_rows(source: Ranges, array: StoredArray, begin: int, end: int, limit: int) -> tuple[int, list[_NonZeros]]:
    """The non-zeros of rows [begin, end) of one band, of fewer rows if they take more than `limit` bytes.

    Returns the row at which they end, and the pieces, one a chunk, in the order of their columns.
    """
    first, last = array.chunk_range(begin, begin + 1)
    top = first // array.per_band * array.chunk_rows
    index_type = _index_type(array.shape[1])
    pieces: list[_NonZeros] = []
    with closing(fetch_ahead(source, _chunk_jobs(array, first, last), ahead=2 * limit)) as fetched:
        for (number, there), stored in fetched:
            chunk = array.elements(array.decode(number, stored[0] if there else None))
            column = number % array.per_band * array.chunks[1]
            part = chunk[begin - top : end - top, : array.shape[1] - column]
            pieces.append(_NonZeros.of(part, column, index_type, limit // 64))
            while end - begin > 1 and sum(piece.nbytes for piece in pieces) > limit:
                end = begin + (end - begin) // 2
                for piece in pieces:
                    piece.keep_rows(end - begin)
    if sum(piece.nbytes for piece in pieces) > limit:
        raise row_too_large(array.path, begin, array.row_bytes)
    return end, pieces


def _chunk_jobs(array: StoredArray, first: int, last: int) -> Generator[Job[tuple[int, bool]]]:
    offsets, sizes = array.extents(first, last)
    for number in range(first, last):
        at = slice(number - first, number - first + 1)
        there = bool(offsets[at] >= 0)
        yield Job((number, there), offsets[at][: int(there)], sizes[at][: int(there)])


def _block(array: StoredArray, start: int, pieces: list[_NonZeros], *, finished: bool) -> Block:
    """The pieces side by side."""
    if len(pieces) == 1:
        counts, columns, values = pieces[0].counts, pieces[0].columns, pieces[0].values
        return Block(start, _pointers(counts), columns, values if finished else array.finish(values))
    indptr = _pointers(np.sum([piece.counts for piece in pieces], axis=0))
    columns = np.empty(int(indptr[-1]), pieces[0].columns.dtype)
    values = np.empty(int(indptr[-1]), pieces[0].values.dtype)
    place = indptr[:-1].copy()
    for piece in pieces:
        shift = place - _pointers(piece.counts)[:-1]
        places = np.arange(len(piece.columns)) + np.repeat(shift, piece.counts)
        columns[places] = piece.columns
        values[places] = piece.values
        place += piece.counts
    return Block(start, indptr, columns, array.finish(values))


def _pointers(counts: Array) -> Array:
    indptr = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    return indptr


def _index_type(n_vars: int) -> np.dtype[np.signedinteger]:
    return np.dtype(np.int32 if n_vars <= 2**31 else np.int64)

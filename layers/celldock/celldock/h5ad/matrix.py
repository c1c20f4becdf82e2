"""Matrices, a block of rows at a time, in bounded memory: csr, csc and dense ones alike.

Memory: `budget` is divided into eighths. A block takes at most one (two are alive while the caller still holds the
last one), undecoded bytes at most one and a half, the unfinished chunks of the datasets one, and so does unpacking a
chunk. More bytes ahead would be slower, not faster: memory that is touched for the first time costs more than the wait.
Chunks that are too large for their share are unpacked on disk first.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from celldock.errors import ServiceFault
from celldock.h5ad.block import Block, as_indices, check_indices, row_too_large
from celldock.h5ad.damage import damaged
from celldock.h5ad.dense import dense_blocks
from celldock.h5ad.fetching import Ranges
from celldock.h5ad.layout import Array, MatrixLayout
from celldock.h5ad.pointers import indptr_blocks, pointers_within
from celldock.h5ad.reader import StoredArray, chunk_limit, read_together
from celldock.h5ad.source import ByteSource
from celldock.h5ad.transpose import transposed_blocks, transposed_bytes
from celldock.h5ad.unpacking import MAX_CHUNK, Wanted, spooled_bytes, unpacked

__all__ = ["DEFAULT_BUDGET", "Block", "MatrixReader", "indptr_blocks", "scratch_bytes", "unpacked_bytes"]

DEFAULT_BUDGET = 128 * 1024 * 1024


def scratch_bytes(layout: MatrixLayout, *, budget: int = DEFAULT_BUDGET) -> int:
    """Bytes of disk that reading all rows takes within `budget`; 0 for most matrices.

    Raises InvalidSubmission (`file.chunk_too_large`) for chunks that could be unpacked neither in memory nor on disk.
    """
    return transposed_bytes(layout) + sum(unpacked_bytes(layout, budget=budget).values())


def unpacked_bytes(layout: MatrixLayout, *, budget: int = DEFAULT_BUDGET) -> dict[str, int]:
    """What `scratch_bytes` has for each of the arrays whose chunks are unpacked on disk, by their names."""
    sizes = {name: spooled_bytes(array, _largest_chunk(name, budget)) for name, array in layout.arrays.items()}
    return {name: size for name, size in sizes.items() if size}


def _largest_chunk(name: str, budget: int) -> int:
    """Bytes of a chunk that are held: of `data` and `indices` together, one eighth of the budget."""
    return chunk_limit(budget // 8) if name == "indptr" else budget // 16


class MatrixReader:
    """Reads a matrix by blocks of rows from its layout alone.

    `budget` bounds, in bytes, all that is held at a time: fetched and decoded bytes, read-ahead, and a block more than
    the one that is being made. A csc matrix and one whose chunks are large need `scratch`, a folder that has the
    `scratch_bytes` of its layout and budget free.

    Raises InvalidSubmission if the layout contradicts itself or the source.
    """

    def __init__(
        self, source: ByteSource, layout: MatrixLayout, *, budget: int = DEFAULT_BUDGET, scratch: Path | None = None
    ) -> None:
        self._source = source
        self._layout = layout
        self._budget = budget
        self._scratch = scratch
        self.path = layout.header.path
        self.n_obs, self.n_vars = layout.header.shape
        arrays = {name: StoredArray(array, source.size, max_chunk=MAX_CHUNK) for name, array in layout.arrays.items()}
        self.dtype: np.dtype[Any] = arrays["data"].dtype
        _check_shapes(layout)

    def row_blocks(self, start: int = 0, stop: int | None = None) -> Generator[Block]:
        """Rows [start, stop) in order, in blocks as large as the budget allows; all rows by default.

        Raises InvalidSubmission for damaged bytes (`file.damaged`), pointers or indices that do not fit the matrix
        (`matrix.indptr_invalid`, `matrix.index_out_of_range`) and a row that is larger than a block may be
        (`matrix.row_too_large`), and what the source raises. Each call unpacks large chunks anew. Closing the iterator
        ends its threads and frees its scratch space.
        """
        stop = self.n_obs if stop is None else stop
        if not 0 <= start <= stop <= self.n_obs:
            raise ValueError(f"rows {start} to {stop} do not lie within {self.n_obs}")
        if scratch_bytes(self._layout, budget=self._budget):
            self._scratch_folder()
        return self._blocks(start, stop)

    def _scratch_folder(self) -> Path:
        if self._scratch is None:
            raise ServiceFault("To read this matrix takes a scratch folder.", code="matrix.scratch", where=self.path)
        return self._scratch

    def _blocks(self, start: int, stop: int) -> Generator[Block]:
        if self._layout.header.encoding == "dense":
            with self._unpacked(self._source, self._layout, {"data": (start, stop)}) as (source, layout):
                array = self._arrays(source, layout)["data"]
                yield from dense_blocks(source, array, start, stop, budget=self._budget)
            return
        by_columns = self._layout.header.encoding == "csc"
        pointers = (0, self.n_vars + 1) if by_columns else (start, stop + 1)
        with self._unpacked(self._source, self._layout, {"indptr": pointers}) as (places, part):
            span = (0, part.arrays["data"].shape[0]) if by_columns else self._elements(places, part, start, stop)
            with self._unpacked(places, part, {"data": span, "indices": span}) as (source, layout):
                if by_columns:
                    yield from self._csc_blocks(source, layout, start, stop)
                else:
                    yield from self._csr_blocks(source, layout, start, stop)

    @contextmanager
    def _unpacked(
        self, source: Ranges, layout: MatrixLayout, spans: Mapping[str, tuple[int, int]]
    ) -> Generator[tuple[Ranges, MatrixLayout]]:
        """The matrix with the named arrays, which are read in the given spans, in chunks of a size that can be held."""
        wanted = {
            name: Wanted(layout.arrays[name], _largest_chunk(name, self._budget), *span) for name, span in spans.items()
        }
        with unpacked(source, wanted, budget=self._budget, scratch=self._scratch) as (places, arrays):
            yield places, MatrixLayout(layout.header, {**layout.arrays, **arrays})

    def _arrays(self, source: Ranges, layout: MatrixLayout) -> dict[str, StoredArray]:
        return {
            name: StoredArray(array, source.size, max_chunk=_largest_chunk(name, self._budget))
            for name, array in layout.arrays.items()
            if name != "indptr"
        }

    def _elements(self, source: Ranges, layout: MatrixLayout, start: int, stop: int) -> tuple[int, int]:
        """The stored elements [first, last) of rows [start, stop) of a csr matrix."""
        if (start, stop) == (0, self.n_obs):
            return 0, layout.arrays["data"].shape[0]
        ends: list[int] = []
        for row in (start, stop):
            with closing(pointers_within(source, layout, row, row, budget=self._budget // 8)) as parts:
                ends += [int(pointers[0]) for _, pointers in parts]
        return min(ends), max(ends)

    def _csc_blocks(self, source: Ranges, layout: MatrixLayout, start: int, stop: int) -> Generator[Block]:
        arrays, scratch = self._arrays(source, layout), self._scratch_folder()
        return transposed_blocks(source, layout, arrays, start, stop, budget=self._budget, scratch=scratch)

    def _csr_blocks(self, source: Ranges, layout: MatrixLayout, start: int, stop: int) -> Generator[Block]:
        arrays = self._arrays(source, layout)
        both = [arrays["data"], arrays["indices"]]
        element = both[0].row_bytes + max(4, both[1].row_bytes)
        ranges = self._csr_ranges(source, layout, start, stop, element=element)
        with closing(read_together(source, both, ranges, ahead=self._budget // 16 * 3)) as blocks:
            for begin, _, (first, pointers), (data, stored) in blocks:
                indices = as_indices(stored)
                check_indices(self.path, indices, begin, self.n_vars)
                yield Block(first, pointers - pointers[0], indices, data)

    def _csr_ranges(
        self, source: Ranges, layout: MatrixLayout, start: int, stop: int, *, element: int
    ) -> Generator[tuple[int, int, tuple[int, Array]]]:
        """Ranges of stored elements of `element` bytes, each with its first row and the pointers of its rows."""
        limit = self._budget // 8 // element
        with closing(pointers_within(source, layout, start, stop, budget=self._budget // 8)) as parts:
            for first, pointers in parts:
                row = 0
                while row < len(pointers) - 1:
                    end = int(np.searchsorted(pointers, int(pointers[row]) + limit, side="right")) - 1
                    if end <= row:
                        size = int(pointers[row + 1] - pointers[row]) * element
                        raise row_too_large(self.path, first + row, size)
                    part = pointers[row : end + 1]
                    yield int(part[0]), int(part[-1]), (first + row, part)
                    row = end


def _check_shapes(layout: MatrixLayout) -> None:
    header, shapes = layout.header, {name: array.shape for name, array in layout.arrays.items()}
    major = header.shape[1 if header.encoding == "csc" else 0]
    nnz = shapes["data"][:1]
    dense = {"data": header.shape}
    if shapes != (dense if header.encoding == "dense" else {"data": nnz, "indices": nnz, "indptr": (major + 1,)}):
        raise damaged(header.path, "its arrays do not fit together")

"""X of a CXG: rows of an h5ad matrix as fragments of a TileDB array, sparse or dense.

Rows are canonical: columns ascend, values that share a column are added up, as AnnData does when it makes a matrix
dense, and zeros are dropped. Values are float32.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain, pairwise
from typing import Any

import numpy as np

from celldock.errors import NotFeasible
from celldock.formats.cxg_store import ArraySchema, Attribute, Dimension
from celldock.h5ad.block import Block
from celldock.h5ad.headers import MatrixHeader
from celldock.h5ad.matrix import MatrixReader
from celldock.scan.rows import Tile, canonical, tiles

ROW_TILE = 256
"""Rows of a tile of X."""
COLUMN_TILE = 2048
"""Columns of a tile of X."""
FRAGMENT_CELLS = 24_000_000
"""Non-zeros after which a sparse fragment is closed, so that memory has a bound wherever they lie."""
FRAGMENT_VALUES = 40_000_000
"""Values of a dense fragment, at most, but for a tile of rows that has more."""

_CAPACITY = 1_024_000
_BATCH_CELLS = 2_000_000
_FLOAT = np.dtype(np.float32)

type Array = np.ndarray[Any, Any]
type Cells = tuple[Array, Array, Array]
"""Rows (uint32), columns (uint32) and values (float32)."""


def matrix_schema(header: MatrixHeader, *, sparse: bool, level: int) -> ArraySchema:
    """The schema of X, the same in all workers."""
    rows, columns = header.shape
    axes = (Dimension(rows, min(rows, ROW_TILE), "obs"), Dimension(columns, min(columns, COLUMN_TILE), "var"))
    return ArraySchema(axes, (Attribute("", _FLOAT),), level, _CAPACITY if sparse else 0, tiles_by_column=True)


def sparse_fragments(reader: MatrixReader, start: int, stop: int) -> Generator[Iterator[Cells]]:
    """Rows [start, stop) as fragments of the sparse array, each of them in batches in the array's global order.

    A fragment has to be taken up before the next. Memory: `FRAGMENT_CELLS` of 12 bytes, and a block of rows.
    Raises NotFeasible for values beyond float32.
    """
    held = _Held(reader.n_vars)
    with closing(reader.row_blocks(start, stop)) as blocks:
        for tile in _canonical_tiles(reader, blocks):
            held.add(tile)
            if held.cells >= FRAGMENT_CELLS:
                yield held.taken()
    if held.cells:
        yield held.taken()


def dense_rows(n_vars: int) -> int:
    """Rows of a dense fragment: whole tiles."""
    return max(ROW_TILE, FRAGMENT_VALUES // n_vars // ROW_TILE * ROW_TILE)


def dense_fragments(reader: MatrixReader, start: int, stop: int) -> Generator[tuple[tuple[int, int], Array]]:
    """Rows [start, stop) as fragments of the dense array: their rows and values. The next overwrites the values.

    Memory: `FRAGMENT_VALUES`, and a block of rows. Raises NotFeasible for values beyond float32.
    """
    band = dense_rows(reader.n_vars)
    values = np.zeros((min(band, stop - start), reader.n_vars), _FLOAT)
    edges = deque([*range(start + band, stop, band), stop])
    begin = start
    with closing(reader.row_blocks(start, stop)) as blocks:
        for tile in _canonical_tiles(reader, blocks):
            rows = tile.row + tile.row_of_elements()
            first = 0
            while edges[0] < tile.row + tile.n_rows:
                last = int(np.searchsorted(rows, edges[0]))
                values[rows[first:last] - begin, tile.indices[first:last]] = tile.values[first:last]
                yield (begin, edges[0]), values[: edges[0] - begin]
                values[:] = 0
                begin, first = edges.popleft(), last
            values[rows[first:] - begin, tile.indices[first:]] = tile.values[first:]
    yield (begin, stop), values[: stop - begin]


class _Held:
    """Non-zeros of rows that ascend, apart by the tiles of their columns."""

    def __init__(self, n_vars: int) -> None:
        self._tiles: list[list[Cells]] = [[] for _ in range(-(-n_vars // COLUMN_TILE))]
        # A stable sort of small numbers is a radix sort.
        self._number = np.dtype(np.uint8 if len(self._tiles) <= 1 << 8 else np.uint16)
        self.cells = 0

    def add(self, tile: Tile) -> None:
        numbers = (tile.indices // COLUMN_TILE).astype(self._number)
        order = np.argsort(numbers, kind="stable")
        rows = (tile.row + tile.row_of_elements()).astype(np.uint32)[order]
        columns, values = tile.indices.astype(np.uint32)[order], tile.values[order]
        ends = np.cumsum(np.bincount(numbers, minlength=len(self._tiles))).tolist()
        for number, (first, last) in enumerate(pairwise([0, *ends])):
            if first < last:
                self._tiles[number].append((rows[first:last], columns[first:last], values[first:last]))
        self.cells += len(order)

    def taken(self) -> Iterator[Cells]:
        """All of them, tile by tile, in batches; none is held afterwards."""
        cells = deque(chain.from_iterable(self._tiles))
        self._tiles = [[] for _ in self._tiles]
        self.cells = 0
        return _batches(cells)


def _batches(cells: deque[Cells]) -> Iterator[Cells]:
    batch: list[Cells] = []
    size = 0
    while cells:
        batch.append(cells.popleft())
        size += len(batch[-1][0])
        if size >= _BATCH_CELLS or not cells:
            rows, columns, values = (np.concatenate(parts) for parts in zip(*batch, strict=True))
            yield rows, columns, values
            batch, size = [], 0


def _canonical_tiles(reader: MatrixReader, blocks: Iterable[Block]) -> Iterator[Tile]:
    for block in blocks:
        for tile in tiles(block, reader.path):
            yield _single(canonical(tile)[0], reader.path)


def _single(tile: Tile, path: str) -> Tile:
    """The tile with float32 values, and without those that are zero as such."""
    if tile.values.dtype == _FLOAT:
        return tile
    with np.errstate(over="ignore"):
        values = tile.values.astype(_FLOAT)
    infinite = np.isinf(values)
    if infinite.any() and np.isfinite(tile.values[infinite]).any():
        raise NotFeasible("a value is too large for float32, the type of CXG", code="cxg.value", where=path)
    single = replace(tile, values=values)
    return single if values.all() else single.keep(values != 0)

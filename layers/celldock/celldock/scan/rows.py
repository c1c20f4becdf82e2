"""Rows of a matrix in tiles that fit the processor's caches, their canonical form, and a hash of that form.

Canonical rows are the same however a matrix is stored: every value is taken as float64 (integers beyond 2**53 are
rounded to it), indices ascend, values that share an index are added (the exact sum, rounded once to float64) and zeros,
negative zero among them, are dropped. NaN and infinities are values like any others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

import numpy as np
import xxhash

from celldock.errors import InvalidSubmission
from celldock.h5ad.block import Block
from celldock.h5ad.layout import Array
from celldock.scan.sums import MAX_ROWS

TILE = 1 << 17  # Elements, as long as one row has no more.

_EXACT = 2.0**53  # Integers up to here are exact in float64.


@dataclass(frozen=True, eq=False)
class Tile:
    """Some whole rows: those from `row` on, one after another.

    Row i has the elements [bounds[i], bounds[i + 1]) of `indices` and `values`; `bounds` is int64 and starts at 0.
    """

    row: int
    bounds: Array
    indices: Array
    values: Array

    @property
    def n_rows(self) -> int:
        """Rows of the tile, empty ones too."""
        return len(self.bounds) - 1

    @cached_property
    def lengths(self) -> Array:
        """Elements of each row."""
        return self.bounds[1:] - self.bounds[:-1]

    @cached_property
    def starts(self) -> Array:
        """Where the elements begin of each row that has any: `reduceat` knows no empty runs."""
        return self.bounds[:-1][self.lengths > 0]

    def row_of_elements(self) -> Array:
        """For each element the number of its row within the tile."""
        return np.repeat(np.arange(self.n_rows), self.lengths)

    def has(self, marked: Array) -> Array:
        """For each row whether any of its elements is marked; `marked` is a bool for each element."""
        return self._spread(np.logical_or.reduceat(marked, self.starts))

    def count(self, marked: Array) -> Array:
        """For each row how many of its elements are marked."""
        return self._spread(np.add.reduceat(marked, self.starts, dtype=np.int64))

    def _spread(self, facts: Array) -> Array:
        """Facts of the rows that have elements, with zeros for the others."""
        if len(facts) == self.n_rows:
            return facts
        answer = np.zeros(self.n_rows, facts.dtype)
        answer[self.lengths > 0] = facts
        return answer

    def keep(self, kept: Array) -> Tile:
        """The tile with only the elements that `kept`, a bool for each, marks."""
        bounds = np.concatenate(([0], np.cumsum(self.count(kept))))
        return Tile(self.row, bounds, self.indices[kept], self.values[kept])


def tiles(block: Block, path: str) -> Iterator[Tile]:
    """Cuts a block into tiles, without copying. Raises InvalidSubmission for values that are no numbers."""
    if block.data.dtype.kind not in "fiub":
        raise InvalidSubmission(
            f"The values have the type {block.data.dtype.name}, which is not numeric.",
            code="matrix.not_numeric",
            where=path,
            hint="Store the matrix as float32.",
        )
    indptr = block.indptr
    first = 0
    while first < block.n_rows:
        full = int(np.searchsorted(indptr, int(indptr[first]) + TILE, "right")) - 1
        last = min(max(full, first + 1), first + MAX_ROWS, block.n_rows)
        part = slice(int(indptr[first]), int(indptr[last]))
        bounds = indptr[first : last + 1] - indptr[first]
        yield Tile(block.start + first, bounds, block.indices[part], _numbers(block.data[part]))
        first = last


def _numbers(values: Array) -> Array:
    """The same values in a type that is exact in float64 and that loops are fast for."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "b":
        return values.view(np.uint8)
    if kind == "f" and size <= 4:
        return values.astype(np.float32, copy=False)
    if size >= 8:
        return values.astype(np.float64, copy=False)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """What canonical rows no longer show: how a tile's rows are stored.

    For each row `unsorted` is how many indices are below the one before, `repeated` how many came before in that row;
    both are None where indices ascend strictly in all rows.
    """

    elements: int
    zeros: int
    unsorted: Array | None = None
    repeated: Array | None = None


def canonical(tile: Tile) -> tuple[Tile, Storage]:
    """The tile's rows in canonical form, and how they are stored."""
    elements = len(tile.values)
    zeros = 0 if tile.values.min(initial=1) > 0 else elements - int(np.count_nonzero(tile.values != 0))
    if _ascends(tile):
        return tile.keep(tile.values != 0) if zeros else tile, Storage(elements, zeros)
    tile, unsorted = _sorted(tile)
    tile, repeated = _summed(tile)
    return tile.keep(tile.values != 0), Storage(elements, zeros, unsorted, repeated)


def _ascends(tile: Tile) -> bool:
    rises = tile.indices[1:] > tile.indices[:-1]
    rises[tile.starts[1:] - 1] = True
    return bool(rises.all())


def _sorted(tile: Tile) -> tuple[Tile, Array]:
    """The tile with indices in order within each row, and for each row the number of places that were not."""
    rows = tile.row_of_elements()
    falls = np.zeros(len(rows), np.bool)
    np.logical_and(tile.indices[1:] < tile.indices[:-1], rows[1:] == rows[:-1], out=falls[1:])
    unsorted = tile.count(falls)
    if not unsorted.any():
        return tile, unsorted
    moved = np.flatnonzero((unsorted > 0)[rows])
    order = moved[np.lexsort((tile.indices[moved], rows[moved]))]
    indices, values = tile.indices.copy(), tile.values.copy()
    indices[moved], values[moved] = tile.indices[order], tile.values[order]
    return replace(tile, indices=indices, values=values), unsorted


def _summed(tile: Tile) -> tuple[Tile, Array]:
    """The tile with one element for each index of a row, and for each row the number of those that were too many."""
    rows = tile.row_of_elements()
    again = np.zeros(len(rows), np.bool)
    np.logical_and(tile.indices[1:] == tile.indices[:-1], rows[1:] == rows[:-1], out=again[1:])
    repeated = tile.count(again)
    if not repeated.any():
        return tile, repeated
    values = tile.values.astype(np.float64)
    starts = np.flatnonzero(~again)
    lengths = np.diff(np.append(starts, len(values)))
    if _exact_in_any_order(values, int(lengths.max())):
        sums = np.add.reduceat(values, starts)
    else:
        sums = values[starts]
        for run in np.flatnonzero(lengths > 1).tolist():
            sums[run] = _exact_sum(values[starts[run] : starts[run] + lengths[run]].tolist())
    return replace(tile.keep(~again), values=sums), repeated


def _exact_in_any_order(values: Array, terms: int) -> bool:
    """Whether sums of so many values are integers that float64 holds, as with counts."""
    return bool(np.all(np.abs(values) <= _EXACT / terms)) and bool(np.all(values == np.rint(values)))


def _exact_sum(values: list[float]) -> float:
    try:
        return math.fsum(values)
    except ValueError:  # infinities of both signs
        return math.nan
    except OverflowError:  # an intermediate one, which later values may bring back
        infinite = [value for value in values if not math.isfinite(value)]
        if infinite:
            return sum(infinite)
        total = sum(map(Fraction, values), Fraction())
        try:
            return float(total)
        except OverflowError:
            return math.inf if total > 0 else -math.inf


def row_hashes(tile: Tile) -> Array:
    """A 128-bit hash of each row of a canonical tile: uint64 of shape (rows, 2).

    XXH3 of the row's elements, each as uint32 index and float32 value, little-endian; elements that are zero as float32
    are left out, and NaN is one value whatever its payload. Rows that are equal as float32 have equal hashes.
    """
    with np.errstate(over="ignore"):
        singles = tile.values.astype(np.float32, copy=False)
    if tile.values.dtype.itemsize > 4 and not singles.all():
        tile = tile.keep(singles != 0)
        singles = singles[singles != 0]
    if np.isnan(singles.min(initial=0)):
        singles = np.where(np.isnan(singles), np.float32(np.nan), singles)
    elements = np.empty((len(singles), 2), "<u4")
    elements[:, 0] = tile.indices
    elements[:, 1] = singles.view(np.uint32)
    view = memoryview(elements.reshape(-1).view(np.uint8))
    bounds: list[int] = (tile.bounds * 8).tolist()
    digest = xxhash.xxh3_128_digest
    # One short call a row: at 50 elements a row it costs less than mixing all elements in NumPy would.
    digests = b"".join([digest(view[start:stop]) for start, stop in pairwise(bounds)])
    return np.frombuffer(digests, "<u8").reshape(-1, 2)

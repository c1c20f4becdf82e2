"""Rows of a matrix in canonical form, with the genes and the type that they are to have: a block at a time.

Canonical rows are those of `celldock.scan.rows`: indices ascend, values that share an index are added, zeros are
dropped. Nothing here reads or writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from celldock.h5ad.block import Block
from celldock.scan.rows import Tile, canonical, tiles

type Array = np.ndarray[Any, Any]

_EXACT = 2**53
"""Integers up to here are exact in the float64 that canonical rows are computed in."""


class UnfitError(Exception):
    """Values that cannot become what they are to be. `value` is the worst one, in row `row` and new column `column`.

    `count` is how many of the rows looked at together cannot; `reason` ends a sentence that begins with the matrix.
    """

    def __init__(self, reason: str, *, count: int, row: int, column: int, value: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.count = count
        self.row = row
        self.column = column
        self.value = value

    @classmethod
    def of(cls, reason: str, tile: Tile, unfit: Array, badness: Array) -> UnfitError:
        """Of a tile, of which `unfit` marks elements, the worst of them by `badness` (NaN is the worst of all)."""
        places = np.flatnonzero(unfit)
        worst = int(places[np.nan_to_num(badness[places], nan=np.inf).argmax()])
        row = int(np.searchsorted(tile.bounds, worst, side="right")) - 1
        column, value = int(tile.indices[worst]), float(tile.values[worst])
        return cls(reason, count=len(places), row=tile.row + row, column=column, value=value)


@dataclass(frozen=True, slots=True, eq=False)
class Tidying:
    """What becomes of the rows of the matrix at `path`.

    Attributes:
        path: of the matrix that is read.
        dtype: of the new values.
        places: for each column the new one, -1 where it is left out; None where all stay.
        rounding: whether a cast may lose decimals.
        change: new values for the elements of canonical rows; None for the same.
    """

    path: str
    dtype: np.dtype[Any]
    places: Array | None = None
    rounding: bool = False
    change: Callable[[Tile], Array] | None = None

    def blocks(self, block: Block) -> Iterator[Block]:
        """The block's rows as they are to be, in smaller blocks.

        Raises UnfitError for values that their new type does not hold, and InvalidSubmission for what is no number.
        """
        stored = block.data.dtype
        may_round = self.rounding or (stored.kind == "f" and stored == self.dtype and self.change is None)
        for tile in tiles(block, self.path):
            selected = tile if self.places is None else select_columns(tile, self.places)
            _check_exact(selected, block)
            tidy, _ = canonical(selected)
            if self.change is not None:
                tidy = replace(tidy, values=self.change(tidy))
            yield Block(tidy.row, tidy.bounds, tidy.indices, cast(tidy, self.dtype, may_round=may_round))


def select_columns(tile: Tile, places: Array) -> Tile:
    """The tile with its columns at new places; those at -1 are left out. The order of elements stays."""
    indices = places[tile.indices]
    moved = replace(tile, indices=indices)
    kept = indices >= 0
    return moved if kept.all() else moved.keep(kept)


def cast(tile: Tile, dtype: np.dtype[Any], *, may_round: bool) -> Array:
    """A tile's values in another type.

    Raises UnfitError where they do not come back the same, or with `may_round` where they are beyond what it holds.
    """
    values = tile.values
    if values.dtype == dtype:
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        new = values.astype(dtype)
        back = new.astype(np.float64)
        before = values.astype(np.float64)
        if may_round and dtype.kind == "f":
            unfit = np.isinf(back) & np.isfinite(before)
        else:
            unfit = (back != before) & ~(np.isnan(back) & np.isnan(before))
        if unfit.any():
            raise UnfitError.of(f"cannot be stored as {dtype.name} without loss", tile, unfit, np.abs(back - before))
    return new


def places_among(ids: Sequence[str], genes: Sequence[str]) -> Array | None:
    """For each of `ids` its place among `genes`, -1 where it is not there (int32); None where they are the same."""
    if list(ids) == list(genes):
        return None
    place = {gene: at for at, gene in enumerate(genes)}
    return np.array([place.get(each, -1) for each in ids], np.int32)


def _check_exact(tile: Tile, block: Block) -> None:
    """Whether large integers came through as they are stored."""
    if block.data.dtype.kind in "iu" and block.data.dtype.itemsize >= 8:
        unfit = np.abs(tile.values) > _EXACT
        if unfit.any():
            raise UnfitError.of("is beyond the whole numbers that programs add exactly", tile, unfit, tile.values)

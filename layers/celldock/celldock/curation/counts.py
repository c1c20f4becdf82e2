"""Counts from values that were normalised and log1p-transformed, where it can be proven that they come from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from celldock.curation.tidying import UnfitError
from celldock.scan.rows import Tile

type Array = np.ndarray[Any, Any]

_CLOSE = 0.1
"""How far an estimate may lie from a whole number: a wrong total or target shows at once in some of many values."""
_MOST_DECIMALS = 4
_ROUNDINGS = 8
"""Normalising and taking the logarithm round a few times each."""


def undo_log1p(tile: Tile, totals: Array, target_sum: float, epsilon: float) -> Array:
    """The counts behind `log1p(counts / total * target_sum)` of a canonical tile, as float64.

    `totals` are the rows' counts before they were normalised (float64); `epsilon` is that of the type in which the
    values were stored. Each estimate has to lie within 0.1 of a whole number from 1 on, and that number normalised
    again has to give the value, to half of the step of its last decimal where all values are rounded to few decimals.

    Raises UnfitError for the value that fits least.
    """
    values = tile.values.astype(np.float64)
    if not len(values):
        return values
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        unit = np.repeat(totals / target_sum, tile.lengths)
        estimates = np.expm1(values) * unit
        counts = np.rint(estimates)
        off = np.abs(estimates - counts)
        unfit = ~((off < _CLOSE) & (counts >= 1) & np.isfinite(estimates))
        if unfit.any():
            raise UnfitError.of("does not stand for a whole number of counts", tile, unfit, np.where(unfit, off, 0))
        off = np.abs(np.log1p(counts / unit) - values)
    unfit = ~(off <= tolerance(values, epsilon))
    if unfit.any():
        raise UnfitError.of("is not what its count would be normalised to", tile, unfit, off)
    return counts


def tolerance(values: Array, epsilon: float) -> Array:
    """How far from each value another may lie that is the same but for rounding.

    Half a step of the last decimal, if all values are rounded to at most four decimals; else that of their type.
    """
    typed = _ROUNDINGS * epsilon * (1 + values)
    for decimals in range(1, _MOST_DECIMALS + 1):
        scaled = values * 10.0**decimals
        if (np.abs(scaled - np.rint(scaled)) <= epsilon * scaled).all():
            return 0.5 * 10.0**-decimals + typed
    return typed

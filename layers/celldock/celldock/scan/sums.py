"""Counts and exact sums in a table of slots, the same whatever the order in which the values came.

Floating-point addition depends on its order, so values are not added as such: each is rounded once to a multiple of
2**-30 (half to even), and integers are added. A float32 of 2**-7 or more is such a multiple already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from celldock.h5ad.layout import Array

GRAIN = 30  # Sums are kept in units of 2**-GRAIN.
SUM_LIMIT = 2.0**36  # Values from here on are left out of sums: 2**27 rows of smaller ones fit into an int64.
MAX_ROWS = 1 << 14  # Rows that one call may add: as many always fit the packed form.

_UNITS = (1 << GRAIN) - 1
_FINE_LIMIT = 2.0**20  # Below it a mantissa has room for units of 2**-GRAIN.
_STRIDE = 1 << 15  # Slots that are unpacked at once.


@dataclass(slots=True, eq=False)
class Totals:
    """For each slot: how many values (int64), and their exact sum `whole + part / 2**30`.

    `whole` is int64, `part` uint32 below 2**30, so that equal sums are equal arrays. All have one shape.
    """

    counts: Array
    whole: Array
    part: Array

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> Totals:
        """No values in any slot."""
        return cls(np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.uint32))

    def merge(self, other: Totals) -> None:
        """Adds the other's counts and sums to these. Both must have one shape."""
        self.counts += other.counts
        self.whole += other.whole
        self.part += other.part
        self.whole += self.part >> GRAIN
        self.part &= _UNITS

    def __getitem__(self, rows: slice) -> Totals:
        """Some rows of the table, as views."""
        return Totals(self.counts[rows], self.whole[rows], self.part[rows])

    def over_rows(self) -> Totals:
        """The totals of each column of a table: (rows, columns) → (columns,)."""
        units = self.part.sum(axis=0, dtype=np.int64)
        whole = self.whole.sum(axis=0) + (units >> GRAIN)
        return Totals(self.counts.sum(axis=0), whole, (units & _UNITS).astype(np.uint32))

    def sums(self) -> Array:
        """The sums as float64."""
        return self.whole + np.ldexp(self.part.astype(np.float64), -GRAIN)


class ExactTotals:
    """Adds values to slots, which are numbered through a table of any shape, the last axis fastest.

    Count and sum of a slot share one int64 while a bound proves that they fit: the sum, in units of 1 or of 2**-30, in
    its lower `shift` bits, the count above them. So a value costs one random access instead of two or three, and a slot
    8 bytes until the bound is met.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._packed: Array = np.zeros(math.prod(shape), np.int64)
        self._totals: Totals | None = None
        self._grain = 0
        self._shift = 0
        self._bits = 0  # The units of every packed value are below 2**bits.
        self._rows = 0  # No slot has more packed values than that.

    def add(self, slots: Array, values: Array, *, largest: float, integers: bool, rows: int) -> None:
        """Adds `values` (numeric, finite, magnitude <= `largest` < SUM_LIMIT) to `slots` (int64, of equal length).

        `integers` promises that all values are whole, `rows` (<= MAX_ROWS) that no slot occurs more often.
        """
        grain = 0 if integers else GRAIN
        if (grain and largest >= _FINE_LIMIT) or not self._reserve(grain, largest, rows):
            values, grain = self._add_whole(slots, values), GRAIN
            self._reserve(grain, 1.0, rows)
        # The sum's low mantissa bits are the value in units of 2**-grain, rounded once.
        magic = np.float64(1.5 * 2.0 ** (52 - grain))
        units: Array = np.add(values, magic, dtype=np.float64).view(np.int64)
        units += (1 << self._shift) - int(magic.view(np.int64))
        np.add.at(self._packed, slots, units)

    def result(self) -> Totals:
        """The totals of all that was added. Ends the use of this object."""
        totals = self._unpack()
        self._packed = np.zeros(0, np.int64)
        return Totals(*(array.reshape(self._shape) for array in (totals.counts, totals.whole, totals.part)))

    def _reserve(self, grain: int, largest: float, rows: int) -> bool:
        """Makes room for `rows` more values in every slot; False where not even empty slots have it."""
        bits = math.ceil(math.ldexp(largest, grain)).bit_length()
        if self._rows and grain == self._grain:
            bits = max(bits, self._bits)
            room = _fits(self._rows + rows, bits, self._shift)
            if not room:
                # Few slots got a value from every row: what the fullest one holds may leave room, half of it at least.
                self._rows = (int(self._packed.max()) >> self._shift) + 1
                room = _fits(2 * self._rows + rows, bits, self._shift)
            if room:
                self._rows += rows
                self._bits = bits
                return True
        if self._rows:
            self._unpack()
        shift = (65 + bits) // 2  # As many rows fit below the shift as above it.
        if not _fits(rows, bits, shift):
            return False
        self._grain, self._shift, self._bits, self._rows = grain, shift, bits, rows
        return True

    def _unpack(self) -> Totals:
        """Moves what is packed into the totals."""
        size = len(self._packed)
        totals = self._totals = self._totals or Totals.zeros((size,))
        for start in range(0, size if self._rows else 0, _STRIDE):
            some = slice(start, start + _STRIDE)
            counts = (self._packed[some] + (1 << (self._shift - 1))) >> self._shift
            units = self._packed[some] - (counts << self._shift)
            whole, part = (units >> GRAIN, units & _UNITS) if self._grain else (units, np.zeros_like(units))
            totals[some].merge(Totals(counts, whole, part.astype(np.uint32)))
            self._packed[some] = 0
        self._rows = 0
        return totals

    def _add_whole(self, slots: Array, values: Array) -> Array:
        """Adds the whole parts of values that do not fit the packed form; returns the rest, in [0, 1)."""
        totals = self._totals = self._totals or Totals.zeros((len(self._packed),))
        # Scaling by powers of two is exact: the one rounding is that of `rint`.
        units = np.rint(np.ldexp(values.astype(np.float64), GRAIN))
        whole = np.floor(np.ldexp(units, -GRAIN))
        np.add.at(totals.whole, slots, whole.astype(np.int64))
        return np.ldexp(units, -GRAIN) - whole


def _fits(rows: int, bits: int, shift: int) -> bool:
    return rows < 1 << (63 - shift) and rows << bits < 1 << (shift - 1)

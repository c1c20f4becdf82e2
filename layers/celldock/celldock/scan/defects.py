"""What can be wrong with values and rows, how often it is, and where it is first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from celldock.h5ad.layout import Array

FIRST_ROWS = 5


class DefectKind(StrEnum):
    """All but the last two are facts of the canonical rows (`celldock.scan.rows`), the same for any way to store them.

    NEGATIVE, NON_INTEGER and LARGE are told of finite values only. LARGE values, 2**36 and more, are left out of sums.
    The values of EMPTY_ROW, UNSORTED_ROW and REPEATED_INDEX are rows without non-zeros, indices below the one before
    in their row, and elements whose index came before in their row.
    """

    NAN = "nan"
    POSITIVE_INFINITY = "positive_infinity"
    NEGATIVE_INFINITY = "negative_infinity"
    NEGATIVE = "negative"
    NON_INTEGER = "non_integer"
    LARGE = "large"
    EMPTY_ROW = "empty_row"
    UNSORTED_ROW = "unsorted_row"
    REPEATED_INDEX = "repeated_index"


@dataclass(frozen=True, slots=True)
class Defect:
    """How many values and rows have it, and the first FIRST_ROWS of these rows."""

    values: int = 0
    rows: int = 0
    first: tuple[int, ...] = ()

    def __add__(self, other: Defect) -> Defect:
        """Both, of rows that are not the same."""
        first = tuple(sorted((*self.first, *other.first))[:FIRST_ROWS])
        return Defect(self.values + other.values, self.rows + other.rows, first)


class Defects:
    """One `Defect` of each kind; an empty one of what did not occur."""

    def __init__(self, found: Mapping[DefectKind, Defect] | None = None) -> None:
        self._found = dict(found or {})

    def __getitem__(self, kind: DefectKind) -> Defect:
        return self._found.get(kind, Defect())

    def note(self, kind: DefectKind, values: int, in_rows: Array, row: int) -> None:
        """Adds what was found in later rows: those from `row` on that `in_rows`, a bool each, marks."""
        known = self[kind]
        rows = int(np.count_nonzero(in_rows))
        if rows:
            first = known.first
            if len(first) < FIRST_ROWS:
                first += tuple((np.flatnonzero(in_rows)[: FIRST_ROWS - len(first)] + row).tolist())
            self._found[kind] = Defect(known.values + values, known.rows + rows, first)

    def merge(self, other: Defects) -> None:
        """Adds what was found in other rows."""
        for kind, defect in other._found.items():
            self._found[kind] = self[kind] + defect

    def to_json(self) -> dict[str, Any]:
        """As plain values, by kind."""
        return {kind: [found.values, found.rows, list(found.first)] for kind, found in sorted(self._found.items())}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Defects:
        """The inverse of `to_json`."""
        return cls({DefectKind(kind): Defect(v, rows, tuple(first)) for kind, (v, rows, first) in document.items()})

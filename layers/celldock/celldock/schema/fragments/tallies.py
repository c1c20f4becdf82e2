"""How often something is wrong with the lines of a fragment file, and the first few examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celldock.fragments.rows import Lines
from celldock.fragments.text import Array, Text
from celldock.report.model import MAX_EXAMPLE_CHARACTERS, MAX_EXAMPLES

MAX_NAMES = 64
"""Different names of which the numbers are kept."""


class LineTally:
    """Lines that have something wrong with them. `first` shows the first few: `line 12: chr1 100 90 AAAC-1 2`."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []
        self.columns: list[int] = []

    def add(self, lines: Lines) -> None:
        """Adds lines of the next block."""
        self.count += len(lines)
        for at in range(min(len(lines), MAX_EXAMPLES - len(self.first))):
            start, stop = int(lines.starts[at]), int(lines.stops[at])
            shown = lines.text.decoded(start, min(stop, start + MAX_EXAMPLE_CHARACTERS))
            self.first.append(f"line {lines.numbers[at]:,}: {shown.replace('\t', ' ')}")
            self.columns.append(int(np.count_nonzero(lines.text.data[start:stop] == ord("\t"))) + 1)

    def add_where(self, marked: Array, lines: Lines) -> None:
        """Adds those of the lines that `marked`, a bool for each, marks."""
        if marked.any():
            self.add(lines[marked])


@dataclass(slots=True)
class _Name:
    text: str
    count: int


class NameTally:
    """Names that should not be there, each with the rows that have it; of many names the first ones that came."""

    def __init__(self) -> None:
        self.count = 0
        self._names: dict[int, _Name] = {}

    def add_where(self, marked: Array, hashes: Array, text: Text, starts: Array, stops: Array) -> None:
        """Adds the names that `marked` marks among those of a block: their hashes, and where they stand."""
        rows = np.flatnonzero(marked)
        self.count += len(rows)
        found, first, counts = np.unique(hashes[rows], return_index=True, return_counts=True)
        for known, name in self._names.items():
            at = int(np.searchsorted(found, np.uint64(known)))
            if at < len(found) and int(found[at]) == known:
                name.count += int(counts[at])
        for at in np.argsort(first)[: MAX_NAMES + len(self._names)].tolist():
            if len(self._names) == MAX_NAMES:
                return
            if int(found[at]) not in self._names:
                row = rows[first[at]]
                start, stop = int(starts[row]), int(stops[row])
                shown = text.decoded(start, min(stop, start + MAX_EXAMPLE_CHARACTERS))
                self._names[int(found[at])] = _Name(shown, int(counts[at]))

    @property
    def names(self) -> dict[str, int]:
        """The names and how many rows have each."""
        return {name.text: name.count for name in self._names.values()}

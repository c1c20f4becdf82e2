"""The rows of a block of a fragment file: its lines taken apart, and what is wrong with those that are no rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celldock.fragments.text import Array, Hashes, Text, integers

MAX_LINE = 1 << 16
"""Bytes of a line that is looked into."""

_TABS = 4
_TAB, _NEWLINE, _RETURN, _HASH = b"\t\n\r#"


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Some lines of a block: their numbers in the file, from 1 on, and where in the block each starts and stops."""

    text: Text
    numbers: Array
    starts: Array
    stops: Array

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, some: Array) -> Lines:
        """Those that an array of places, or of a bool for each, selects."""
        return Lines(self.text, self.numbers[some], self.starts[some], self.stops[some])


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Fragments: for each its line, the start and end in bases, the read pairs, int64; and hashes of the two names.

    `barcode_starts` and `barcode_stops` are places in the block, as the end of the chromosome's name is, which starts
    the line.
    """

    lines: Lines
    chromosomes: Array
    chromosome_stops: Array
    starts: Array
    stops: Array
    barcodes: Array
    barcode_starts: Array
    barcode_stops: Array
    support: Array


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A block of lines, `count` in all: fragments, and what should not be there. Empty lines are passed over."""

    count: int
    rows: Rows
    headers: Lines
    not_five_columns: Lines
    not_numbers: Lines


def read_block(text: Text, first: int, hashes: Hashes) -> Block:
    """Takes a block of lines apart, whose first one is line `first` of the file."""
    marks = np.flatnonzero((text.data == _TAB) | (text.data == _NEWLINE))
    ends = np.flatnonzero(text.data[marks] == _NEWLINE)
    stops = marks[ends]
    starts = np.concatenate([[0], stops[:-1] + 1])
    stops = stops - ((text.data[stops - 1] == _RETURN) & (stops > starts))
    lines = Lines(text, np.arange(first, first + len(ends)), starts, stops)
    header = (text.data[starts] == _HASH) & (stops > starts)
    five = (np.diff(ends, prepend=-1) == _TABS + 1) & (stops - starts <= MAX_LINE) & ~header
    rows, not_numbers = _read_rows(lines[five], [marks[ends[five] - back] for back in range(_TABS, 0, -1)], hashes)
    return Block(
        count=len(ends),
        rows=rows,
        headers=lines[header],
        not_five_columns=lines[~five & ~header & (stops > starts)],
        not_numbers=not_numbers,
    )


def _read_rows(lines: Lines, tabs: list[Array], hashes: Hashes) -> tuple[Rows, Lines]:
    """The fragments among lines of five columns, whose four tabs are at these places; and the lines that are none."""
    text = lines.text
    starts, start_sound = integers(text, tabs[0] + 1, tabs[1])
    stops, stop_sound = integers(text, tabs[1] + 1, tabs[2])
    support, support_sound = integers(text, tabs[3] + 1, lines.stops)
    sound = start_sound & stop_sound & support_sound
    not_numbers = lines[~sound]
    if len(not_numbers):
        lines, tabs = lines[sound], [tab[sound] for tab in tabs]
        starts, stops, support = starts[sound], stops[sound], support[sound]
    rows = Rows(
        lines=lines,
        chromosomes=hashes.of_fields(text, lines.starts, tabs[0] - lines.starts),
        chromosome_stops=tabs[0],
        starts=starts,
        stops=stops,
        barcodes=hashes.of_fields(text, tabs[2] + 1, tabs[3] - tabs[2] - 1),
        barcode_starts=tabs[2] + 1,
        barcode_stops=tabs[3],
        support=support,
    )
    return rows, not_numbers

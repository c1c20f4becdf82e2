"""Rows of a fragment file that are there twice: found without sorting the file, and without holding it.

In a file that is sorted by position equal rows lie together: it is enough to compare the rows that start at one base.
Other files are read once more, and the hashes of their rows are spread over files by their first bits, so that equal
ones meet in one file, each of which is small enough to be sorted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from celldock.fragments.rows import Rows
from celldock.fragments.text import Array, Hashes

MAX_TOGETHER = 1 << 20
"""Rows that start at one base; a file with more of them is treated as one that is not sorted."""
MAX_RUNS = 1 << 12
"""Runs of rows of one chromosome; likewise."""

_FIRST = 5
_FILES = 256
_RECORD = np.dtype([("hash", "<u8"), ("check", "<u4"), ("line", "<u4")])
RECORD_BYTES = _RECORD.itemsize
"""What each row of an unsorted file takes on disk."""

type Pair = tuple[int, int]
"""The numbers of two lines that are equal, the later one first."""


class Repeats:
    """How many rows repeat an earlier one, and the first few of them."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Pair] = []

    def note(self, lines: Array, earlier: Array) -> None:
        """Adds rows, by their lines, and the lines that each repeats."""
        self.count += len(lines)
        order = np.argsort(lines)[:_FIRST]
        pairs = zip(lines[order].tolist(), earlier[order].tolist(), strict=True)
        self.first = sorted([*self.first, *pairs])[:_FIRST]


class SortedRepeats:
    """Finds repeats in rows that come sorted: each chromosome in one run, and in it by their starts.

    `is_sorted` turns False as soon as they do not, and then nothing is known. Memory: the rows of one block and those
    that start at its last base.
    """

    def __init__(self, hashes: Hashes) -> None:
        self.is_sorted = True
        self.found = Repeats()
        self._hashes = hashes
        self._done: set[int] = set()
        self._waiting = _Places.of_nothing()

    def add(self, rows: Rows) -> None:
        """Takes in the rows of the next block."""
        if not self.is_sorted or not len(rows.lines):
            return
        added = _Places(rows.chromosomes, rows.starts, _row_hashes(rows, self._hashes), rows.lines.numbers)
        places = self._waiting.and_then(added)
        changes = places.chromosomes[1:] != places.chromosomes[:-1]
        self.is_sorted = self._is_in_order(places, changes)
        if not self.is_sorted:
            return
        together = ~changes & (places.starts[1:] == places.starts[:-1])
        last = int(np.flatnonzero(~together)[-1]) + 1 if not together.all() else 0
        self._waiting = places.part(slice(last, None))
        self.is_sorted = len(self._waiting.lines) <= MAX_TOGETHER
        self._compare(places.part(slice(0, last)), together[: max(0, last - 1)])

    def finish(self) -> None:
        """Compares the last rows, after which none come."""
        if self.is_sorted:
            self._compare(self._waiting, np.ones(max(0, len(self._waiting.lines) - 1), np.bool))

    def _is_in_order(self, places: _Places, changes: Array) -> bool:
        at = np.flatnonzero(changes)
        if len(at) + len(self._done) > MAX_RUNS:
            return False
        runs = [*places.chromosomes[at].tolist(), int(places.chromosomes[-1])]
        if len(set(runs)) < len(runs) or not self._done.isdisjoint(runs):
            return False
        self._done.update(runs[:-1])
        return bool((changes | (places.starts[1:] >= places.starts[:-1])).all())

    def _compare(self, places: _Places, together: Array) -> None:
        """Looks for equal rows among those that start at one base; `together` tells for each row but the first."""
        several = np.zeros(len(places.lines), np.bool)
        several[1:] |= together
        several[:-1] |= together
        _note_equal(self.found, places.rows[several], None, places.lines[several])


class _Places:
    """Some rows: the hashes of their chromosomes, their starts, the hashes of all that they hold, their lines."""

    def __init__(self, chromosomes: Array, starts: Array, rows: Array, lines: Array) -> None:
        self.chromosomes, self.starts, self.rows, self.lines = chromosomes, starts, rows, lines

    @classmethod
    def of_nothing(cls) -> _Places:
        return cls(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.int64))

    def and_then(self, other: _Places) -> _Places:
        return _Places(
            np.concatenate([self.chromosomes, other.chromosomes]),
            np.concatenate([self.starts, other.starts]),
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.lines, other.lines]),
        )

    def part(self, rows: slice) -> _Places:
        return _Places(self.chromosomes[rows], self.starts[rows], self.rows[rows], self.lines[rows])


def unsorted_repeats(blocks: Iterable[Rows], hashes: Hashes, scratch: Path) -> Repeats:
    """Finds repeats in rows in any order. Needs 16 bytes a row below the folder `scratch`.

    Memory: a block, and a 256th of what is on disk.
    """
    found = Repeats()
    check = Hashes()
    with TemporaryDirectory(dir=scratch) as folder:
        paths = [Path(folder) / f"{number:03}" for number in range(_FILES)]
        files = [path.open("wb") for path in paths]
        try:
            for rows in blocks:
                for number, records in _spread(_records(rows, hashes, check)):
                    files[number].write(records.tobytes())
        finally:
            for file in files:
                file.close()
        for path in paths:
            records = np.fromfile(path, _RECORD)
            _note_equal(found, records["hash"], records["check"], records["line"].astype(np.int64))
            path.unlink()
    return found


def _records(rows: Rows, hashes: Hashes, check: Hashes) -> Array:
    numbers = rows.lines.numbers
    records = np.empty(len(numbers), _RECORD)
    records["hash"] = _row_hashes(rows, hashes)
    # Of 10^9 rows a few may share a hash by chance: another 32 bits make sure that none is taken for another.
    records["check"] = _row_hashes(rows, check) >> np.uint64(32)
    # Only to be shown: of a file of more lines the number is not exact.
    records["line"] = np.minimum(numbers, np.iinfo(np.uint32).max)
    return records


def _spread(records: Array) -> Iterator[tuple[int, Array]]:
    """The records by the first bits of their hashes, in the order in which they come."""
    numbers = (records["hash"] >> np.uint64(56)).astype(np.uint8)
    order = np.argsort(numbers, kind="stable")
    counts = np.bincount(numbers, minlength=_FILES)
    stops = np.cumsum(counts)
    for number in np.flatnonzero(counts).tolist():
        yield number, records[order[stops[number] - counts[number] : stops[number]]]


def _row_hashes(rows: Rows, hashes: Hashes) -> Array:
    return hashes.joined(rows.chromosomes, rows.starts, rows.stops, rows.barcodes, rows.support)


def _note_equal(found: Repeats, hashes: Array, check: Array | None, lines: Array) -> None:
    """Notes rows whose hashes are equal. The rows come in the order of their lines."""
    order = np.argsort(hashes, kind="stable")
    hashes, lines = hashes[order], lines[order]
    equal = hashes[1:] == hashes[:-1]
    if check is not None:
        check = check[order]
        equal &= check[1:] == check[:-1]
    at = np.flatnonzero(equal) + 1
    if len(at):
        # Each repeats the first row of its run.
        firsts = np.flatnonzero(np.concatenate([[True], ~equal]))
        found.note(lines[at], lines[firsts[np.searchsorted(firsts, at, side="right") - 1]])

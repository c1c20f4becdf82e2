"""The tabix index of a file of intervals, sorted by position and compressed by bgzip.

Source: the tabix specification of hts-specs, and for bins the SAM specification, "The BAI index format".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from celldock.fragments.bgzip import END, pack
from celldock.fragments.text import Array

MAX_POSITION = 1 << 29
"""What lies beyond has no bin."""

_MAGIC = b"TBI\x01"
# What `tabix -p bed` says: positions from 0 on with an end that is not within, in these columns; # begins a comment.
_BED = 0x10000
_COLUMNS = (1, 2, 3)
_COMMENT, _SKIPPED_LINES = ord("#"), 0
_WINDOW = 14
# For each size of bins, the smallest first: the bits of a position that tell places within one, and its first number.
_BINS = ((14, 4681), (17, 585), (20, 73), (23, 9), (26, 1))
_COUNTS = 37450
"""The bin that no interval has: where the sequence's rows lie, and how many they are."""

type Chunk = tuple[int, int]


class TabixIndex:
    """Built while the rows are written, sequence by sequence. Memory: some bytes for each 16,384 bases."""

    def __init__(self) -> None:
        self._sequences: dict[bytes, _Sequence] = {}

    def add(self, name: bytes, starts: Array, stops: Array, begins: Array, ends: Array) -> None:
        """Adds rows of one sequence, in their order.

        `starts` and `stops` are in bases, with the base after the last one as stop, below MAX_POSITION; `begins` and
        `ends` are the virtual offsets of the rows' lines, uint64.
        """
        if name not in self._sequences:
            self._sequences[name] = _Sequence()
        self._sequences[name].add(starts, np.maximum(stops, starts + 1), begins, ends)

    def to_bytes(self) -> bytes:
        """The file."""
        names = b"".join(name + b"\0" for name in self._sequences)
        head = struct.pack("<8i", len(self._sequences), _BED, *_COLUMNS, _COMMENT, _SKIPPED_LINES, len(names))
        # The number of rows without a place ends it: there are none.
        parts = [_MAGIC, head, names, *(found.to_bytes() for found in self._sequences.values()), struct.pack("<Q", 0)]
        return pack(b"".join(parts)) + END


class _Sequence:
    """The bins of one sequence, each with the stretches of the file that hold its rows, and its windows."""

    def __init__(self) -> None:
        self._bins: dict[int, list[Chunk]] = {}
        self._windows: list[int] = []
        self._rows = 0
        self._begin, self._end = 0, 0

    def add(self, starts: Array, stops: Array, begins: Array, ends: Array) -> None:
        if not self._rows:
            self._begin = int(begins[0])
        self._end = int(ends[-1])
        self._rows += len(starts)
        self._add_windows(starts >> _WINDOW, (stops - 1) >> _WINDOW, begins)
        for number, begin, end in _stretches(_bins_of(starts, stops), begins, ends):
            chunks = self._bins.setdefault(number, [])
            if chunks and begin >> 16 <= chunks[-1][1] >> 16:
                # Neighbours of one block are read at once anyway.
                chunks[-1] = chunks[-1][0], end
            else:
                chunks.append((begin, end))

    def to_bytes(self) -> bytes:
        parts = [struct.pack("<i", len(self._bins) + 1)]
        for number, chunks in sorted(self._bins.items()):
            parts.append(struct.pack("<Ii", number, len(chunks)))
            parts += [struct.pack("<QQ", *chunk) for chunk in chunks]
        parts.append(struct.pack("<IiQQQQ", _COUNTS, 2, self._begin, self._end, self._rows, 0))
        parts.append(struct.pack(f"<i{len(self._windows)}Q", len(self._windows), *self._windows))
        return b"".join(parts)

    def _add_windows(self, first: Array, last: Array, begins: Array) -> None:
        """Notes for each window of 16,384 bases where the first row begins that reaches into it."""
        reached = np.maximum.accumulate(np.concatenate([[len(self._windows) - 1], last]))
        for at in np.flatnonzero(reached[1:] > reached[:-1]).tolist():
            begin = int(begins[at])
            # A window that no row reaches into is as the one before it; no row that comes later can.
            gap = int(first[at]) - len(self._windows)
            if gap > 0:
                self._windows += [self._windows[-1] if self._windows else begin] * gap
            self._windows += [begin] * (int(last[at]) + 1 - len(self._windows))


def _bins_of(starts: Array, stops: Array) -> Array:
    """The number of the smallest bin that holds each interval, int64."""
    numbers = np.zeros(len(starts), np.int64)
    for shift, first in reversed(_BINS):
        within = starts >> shift == (stops - 1) >> shift
        numbers[within] = first + (starts[within] >> shift)
    return numbers


def _stretches(bins: Array, begins: Array, ends: Array) -> Iterator[tuple[int, int, int]]:
    """For each bin and each block of the file: where the bin's rows that begin in the block begin, and end."""
    blocks = (begins >> np.uint64(16)).astype(np.int64)
    # Blocks come in ascending order, so that those of a bin do too.
    order = np.lexsort((blocks, bins))
    bins, blocks, begins, ends = bins[order], blocks[order], begins[order], ends[order]
    new = np.flatnonzero((bins[1:] != bins[:-1]) | (blocks[1:] != blocks[:-1])) + 1
    firsts = np.concatenate([[0], new])
    lasts = np.concatenate([new, [len(bins)]]) - 1
    yield from zip(bins[firsts].tolist(), begins[firsts].tolist(), ends[lasts].tolist(), strict=True)

"""Which bytes of a file are spoken for, and which of the others still say something."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Final

import numpy as np

from celldock.h5ad.accounting.copies import LiveMetadata
from celldock.h5ad.damage import damaged
from celldock.h5ad.layout import Array

MAX_RESIDUES: Final = 100
"""Places that are named; all are counted."""

_MAX_PENDING = 1 << 20
_MAX_DOUBTFUL = 1 << 24
_MAX_EXTENTS = 1 << 24
_MAX_STRUCTURES = 1 << 21


class NotUnderstoodError(Exception):
    """A lawful structure that is not followed here; `offset` is where it lies."""

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Residue:
    """Bytes [offset, offset + length) that belong to no object although not all of them are zero.

    `kind` says where they lie, as the end of a sentence: "between the objects", "in a heap of names".
    """

    kind: str
    offset: int
    length: int


class Ledger:
    """Takes down extents of a file of `size` bytes as they are found. `name` is the file's in messages.

    `live` and `names` are to be told the metadata that are in use, and the names of all members of groups.
    """

    def __init__(self, size: int, name: str) -> None:
        self.size = size
        self.name = name
        self.live = LiveMetadata()
        self.names: set[bytes] = set()
        self.residues: list[Residue] = []
        self.residue_count = 0
        self.residue_bytes = 0
        self._doubts: list[tuple[str, int, bytes]] = []
        self._doubtful = 0
        self._starts = array("q")
        self._stops = array("q")
        self._settled: list[tuple[Array, Array]] = []
        self._extents = 0
        self._structures: set[int] = set()

    def visit(self, offset: int) -> None:
        """Notes that the structure at `offset` is about to be read. Raises InvalidSubmission the second time."""
        if offset in self._structures:
            raise damaged(self.name, f"two structures claim the same place ({offset:,})")
        if len(self._structures) >= _MAX_STRUCTURES:
            raise NotUnderstoodError("The file has more structures than are followed", offset)
        self._structures.add(offset)

    def claim(self, offset: int, length: int) -> None:
        """Notes that the bytes [offset, offset + length) are spoken for. Raises InvalidSubmission outside the file."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise damaged(self.name, f"something is said to lie outside of it (at {offset:,}, {length:,} bytes)")
        if length:
            self._starts.append(offset)
            self._stops.append(offset + length)
            if len(self._starts) >= _MAX_PENDING:
                self._settle()

    def claim_all(self, offsets: Array, lengths: Array) -> None:
        """The same for many extents: int64 or uint64 arrays of equal length."""
        if not len(offsets):
            return
        outside = (offsets > self.size) | (lengths > self.size)
        if outside.any():
            at = int(outside.argmax())
            self.claim(int(offsets[at]), int(lengths[at]))
        starts, stops = offsets.astype(np.int64), (offsets + lengths).astype(np.int64)
        if starts.min() < 0 or (stops < starts).any() or stops.max() > self.size:
            raise damaged(self.name, "chunks are said to lie outside of it")
        wide = stops > starts
        self._keep(starts[wide], stops[wide])

    def residue(self, kind: str, offset: int, length: int) -> None:
        """Notes bytes that belong to no object."""
        self.residue_count += 1
        self.residue_bytes += length
        if len(self.residues) < MAX_RESIDUES:
            self.residues.append(Residue(kind, offset, length))

    def slack(self, kind: str, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Notes as residue what of `data`, which lies at `offset` and has no meaning, is not zero."""
        if any(data):
            used = np.flatnonzero(np.frombuffer(data, np.uint8))
            self.residue(kind, offset + int(used[0]), int(used[-1] - used[0]) + 1)

    def doubt(self, kind: str, offset: int, data: bytes | bytearray | memoryview) -> None:
        """The same for what may be a copy of metadata in use, which is decided once all of these are known."""
        if not any(data):
            return
        self._doubtful += len(data)
        if self._doubtful > _MAX_DOUBTFUL:
            self.slack(kind, offset, data)
        else:
            self._doubts.append((kind, offset, bytes(data)))

    def decide(self) -> None:
        """Notes as residue what of the doubtful bytes is no copy."""
        for kind, offset, data in self._doubts:
            if not self.live.explain(data):
                self.slack(kind, offset, data)
        self._doubts.clear()

    def extents(self) -> tuple[Array, Array]:
        """Starts and stops of all that is spoken for, ascending, neighbours joined (int64).

        Raises InvalidSubmission if two things claim the same bytes.
        """
        self._settle()
        starts = np.concatenate([np.empty(0, np.int64), *(part for part, _ in self._settled)])
        stops = np.concatenate([np.empty(0, np.int64), *(part for _, part in self._settled)])
        self._settled.clear()
        return self._joined(starts, stops)

    def _settle(self) -> None:
        if self._starts:
            self._keep(np.array(self._starts, np.int64), np.array(self._stops, np.int64))
            self._starts, self._stops = array("q"), array("q")

    def _keep(self, starts: Array, stops: Array) -> None:
        """Most chunks lie side by side: what is joined at once takes little memory."""
        starts, stops = self._joined(starts, stops)
        self._extents += len(starts)
        if self._extents > _MAX_EXTENTS:
            raise NotUnderstoodError("The file is in more pieces than are followed")
        self._settled.append((starts, stops))

    def _joined(self, starts: Array, stops: Array) -> tuple[Array, Array]:
        # Sorted apart from each other: extents are disjoint just where each one's start is not before the last stop.
        starts.sort()
        stops.sort()
        gaps = starts[1:] - stops[:-1]
        if (gaps < 0).any():
            at = int(starts[1:][gaps < 0][0])
            raise damaged(self.name, f"two things claim the same bytes (at {at:,})")
        if not len(starts):
            return starts, stops
        apart = gaps > 0
        return starts[np.append(True, apart)], stops[np.append(apart, True)]

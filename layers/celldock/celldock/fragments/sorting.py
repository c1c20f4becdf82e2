"""Fragments in the order of their positions, by way of files: each holds those of a stretch of a chromosome.

A stretch with too many of them is cut anew, down to single bases; so a deep mitochondrion needs no more memory than
the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import deflate
import numpy as np

from celldock.errors import NotFeasible
from celldock.fragments.rows import Rows, read_block
from celldock.fragments.text import Hashes, Text, text_blocks

MAX_SORTED_BYTES = 32 << 20
"""Text that is sorted in memory at once: ten times as much is taken."""
MAX_HELD_BYTES = 128 << 20
"""Text that waits for its file."""
MAX_STRETCHES = 1 << 16

_SHIFTS = (21, 14, 7, 0)
"""Bits of a position that stretches are wide, the widest first."""
_PIECE = 1 << 20
_FASTEST = 1
_SIZES = struct.Struct("<II")

type Stretch = tuple[bytes, int]
"""A chromosome, and the number of a stretch of it."""


def sorted_pieces(pieces: Iterable[bytes], folder: Path, shifts: tuple[int, ...] = _SHIFTS) -> Iterator[bytes]:
    """The lines of a text of fragments by chromosome, start and end; equal ones in the order in which they come.

    Every line must be one of a fragment. Memory: some 300 MB. Disk, below `folder`: the text, compressed.
    Raises NotFeasible for more fragments that start at one base than can be sorted.
    """
    shift, *finer = shifts
    stretches = _spread(pieces, folder, shift)
    for name in sorted(stretches):
        found = stretches[name]
        if found.size <= MAX_SORTED_BYTES:
            yield from _cut(_sorted(b"".join(found.pieces())))
        elif finer:
            below = found.path.with_suffix(".parts")
            below.mkdir()
            yield from sorted_pieces(found.pieces(), below, tuple(finer))
        else:
            raise NotFeasible(
                "Too many fragments start at one base to be sorted by position.",
                code="fragments.too_dense",
                hint="Sort them before they are submitted.",
            )
        found.path.unlink(missing_ok=True)


class _File:
    """The fragments of a stretch: some on disk, the last ones still in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._waiting: list[bytes] = []

    def add(self, text: bytes) -> None:
        self.size += len(text)
        self._waiting.append(text)

    def flush(self) -> None:
        text = b"".join(self._waiting)
        self._waiting = []
        if text:
            packed = bytes(deflate.deflate_compress(text, _FASTEST))
            with self.path.open("ab") as file:
                file.write(_SIZES.pack(len(packed), len(text)) + packed)

    def pieces(self) -> Iterator[bytes]:
        if self.path.exists():
            with self.path.open("rb") as file:
                while head := file.read(_SIZES.size):
                    packed, size = _SIZES.unpack(head)
                    yield bytes(deflate.deflate_decompress(file.read(packed), size))
        yield from self._waiting


def _spread(pieces: Iterable[bytes], folder: Path, shift: int) -> dict[Stretch, _File]:
    files: dict[Stretch, _File] = {}
    hashes, held = Hashes(), 0
    for text in text_blocks(pieces):
        for stretch, lines in _lines_by_stretch(text, hashes, shift):
            if stretch not in files:
                files[stretch] = _File(folder / f"{len(files):05}")
            files[stretch].add(lines)
            held += len(lines)
        if len(files) > MAX_STRETCHES:
            raise NotFeasible("The fragments are on too many chromosomes to be sorted.", code="fragments.too_spread")
        if held > MAX_HELD_BYTES:
            for file in files.values():
                file.flush()
            held = 0
    return files


def _lines_by_stretch(text: Text, hashes: Hashes, shift: int) -> Iterator[tuple[Stretch, bytes]]:
    rows = read_block(text, 1, hashes).rows
    lines = text.data.tobytes().split(b"\n")
    _, first, chromosomes = np.unique(rows.chromosomes, return_index=True, return_inverse=True)
    names = [chromosome_name(rows, at) for at in first.tolist()]
    numbers = rows.starts >> shift
    order = np.lexsort((numbers, chromosomes))
    changes = (np.diff(chromosomes[order]) != 0) | (np.diff(numbers[order]) != 0)
    edges = [0, *(np.flatnonzero(changes) + 1).tolist(), len(order)]
    places = order.tolist()
    for start, stop in pairwise(edges):
        if start < stop:
            row = places[start]
            stretch = names[int(chromosomes[row])], int(numbers[row])
            yield stretch, _joined(lines, places[start:stop])


def chromosome_name(rows: Rows, at: int) -> bytes:
    """The chromosome of a row."""
    return rows.lines.text.data[int(rows.lines.starts[at]) : int(rows.chromosome_stops[at])].tobytes()


def _sorted(lines_of_one_chromosome: bytes) -> bytes:
    rows = read_block(Text(lines_of_one_chromosome), 1, Hashes()).rows
    return _joined(lines_of_one_chromosome.split(b"\n"), np.lexsort((rows.stops, rows.starts)).tolist())


def _joined(lines: list[bytes], places: list[int]) -> bytes:
    """Some of the lines, each ended."""
    return b"\n".join([*(lines[at] for at in places), b""])


def _cut(text: bytes) -> Iterator[bytes]:
    return (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))

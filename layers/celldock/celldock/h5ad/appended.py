"""A file to which something was appended: the original's bytes by reference, and what is new."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import BinaryIO

from celldock.errors import HostileFile, TransientError
from celldock.h5ad.sandbox.limits import PAGE_BYTES
from celldock.h5ad.source import ByteSource, LocalSource
from celldock.h5ad.spool import Spool, changed_runs

_PARALLEL = 8
_MAX_RUNS = 100_000
_PIECE_BYTES = 8 * 1024 * 1024
# Pages of the original that are compared lie close together: to read what is between them costs less than a request.
_MAX_GAP_PAGES = 8
# Less than a page, so that what is between two changes lies in the pages of both. It is equal to the original's.
_MAX_GAP = 4096


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the new file: `length` bytes from `offset` of the original, or of the spool if it `is_new`."""

    is_new: bool
    offset: int
    length: int


@dataclass(frozen=True)
class AppendedFile:
    """The new file, to be read as any other source. It rests on the original's source and on a spool that is open.

    `segments` make up the file in their order. `changed` are the ranges [start, stop) of the original that hold other
    bytes now; not one byte in them is the same.
    """

    source: ByteSource
    spool: Spool
    segments: tuple[Segment, ...]
    changed: tuple[tuple[int, int], ...]

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(segment.length for segment in self.segments))

    @property
    def size(self) -> int:
        """Bytes of the new file."""
        return self._ends[-1]

    @property
    def name(self) -> str:
        """The original's name."""
        return self.source.name

    @property
    def new_ranges(self) -> list[tuple[int, int]]:
        """Where the new file is not the original: ranges [start, stop) in ascending order, apart from each other."""
        pieces = zip(self.segments, self._ends, strict=True)
        return _joined([(end - segment.length, end) for segment, end in pieces if segment.is_new], 0)

    @property
    def appended_bytes(self) -> int:
        """Bytes after the original's end; 0 where the new file is no longer than the original."""
        return max(0, self.size - self.source.size)

    @property
    def changed_bytes(self) -> int:
        """Bytes before the original's end that are others now."""
        return sum(stop - start for start, stop in self.changed)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes of the new file; raises what the source raises."""
        parts = list(self._parts(offset, offset + length))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write_to(self, target: BinaryIO) -> None:
        """Writes the whole new file, a few MiB at a time."""
        for segment in self.segments:
            if not segment.is_new and isinstance(self.source, LocalSource):
                self.source.send_to(target, segment.offset, segment.length)
                continue
            reader = self.spool if segment.is_new else self.source
            for start in range(0, segment.length, _PIECE_BYTES):
                target.write(reader.read(segment.offset + start, min(_PIECE_BYTES, segment.length - start)))

    def _parts(self, start: int, stop: int) -> Iterator[bytes]:
        if not 0 <= start <= stop <= self.size:
            raise ValueError("beyond the end of the file")
        index = bisect_right(self._ends, start)
        while start < stop:
            segment, end = self.segments[index], self._ends[index]
            length = min(stop, end) - start
            reader = self.spool if segment.is_new else self.source
            yield reader.read(segment.offset + segment.length - (end - start), length)
            start, index = start + length, index + 1


def assemble(source: ByteSource, spool: Spool, size: int) -> AppendedFile:
    """The new file of `size` bytes that the pages in the spool make of the original.

    Reads the original's pages that were written to, and leaves out what is equal. Raises HostileFile for a size or
    changes that no honest child comes to, and what the source raises.
    """
    if not 0 < size <= max(source.size, spool.start + spool.length):
        raise _nonsense(source.name)
    end = min(size, source.size)
    pages = {number: page for number, page in spool.touched.items() if number * PAGE_BYTES < end}
    if spool.has_end and spool.start < end:
        pages[spool.start // PAGE_BYTES] = spool.read(0, PAGE_BYTES)
    changed: list[tuple[int, int]] = []
    for number, before in _originals(source, sorted(pages)):
        at = number * PAGE_BYTES
        length = min(len(before), end - at)
        changed += [(at + start, at + stop) for start, stop in changed_runs(before[:length], pages[number][:length])]
        if len(changed) > _MAX_RUNS:
            raise _nonsense(source.name)
    changed = _joined(changed, 0)
    return AppendedFile(source, spool, tuple(_segments(spool, pages, changed, end, size)), tuple(changed))


def _originals(source: ByteSource, numbers: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """The original's pages of these numbers, in ascending order; the last one may be short."""
    starts = [
        number for before, number in pairwise([-_MAX_GAP_PAGES - 1, *numbers]) if number - before > _MAX_GAP_PAGES
    ]
    runs = [(start, [n for n in numbers if start <= n < stop]) for start, stop in pairwise([*starts, 1 << 62])]

    def read(run: tuple[int, list[int]]) -> bytes:
        offset = run[0] * PAGE_BYTES
        length = min((run[1][-1] + 1) * PAGE_BYTES, source.size) - offset
        data = source.read(offset, length)
        if len(data) != length:
            raise TransientError("The source sent fewer bytes.", code="source.short_read", where=source.name)
        return data

    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="originals") as pool:
        for (start, run), data in zip(runs, pool.map(read, runs), strict=True):
            for number in run:
                at = (number - start) * PAGE_BYTES
                yield number, data[at : at + PAGE_BYTES]


def _segments(
    spool: Spool, pages: dict[int, bytes], changed: list[tuple[int, int]], end: int, size: int
) -> Iterator[Segment]:
    """Puts what changed behind everything else in the spool, and lists the pieces of the new file."""
    aside = max(spool.length, size - spool.start)
    at = 0
    for start, stop in _joined(changed, _MAX_GAP):
        if at < start:
            yield Segment(False, at, start - at)
        spool.write(aside, _cut(pages, start, stop))
        yield Segment(True, aside, stop - start)
        aside, at = aside + stop - start, stop
    if at < end:
        yield Segment(False, at, end - at)
    if end < size:
        yield Segment(True, end - spool.start, size - end)


def _cut(pages: dict[int, bytes], start: int, stop: int) -> bytes:
    first = start // PAGE_BYTES
    joined = b"".join(pages[number] for number in range(first, (stop - 1) // PAGE_BYTES + 1))
    return joined[start - first * PAGE_BYTES : stop - first * PAGE_BYTES]


def _joined(runs: Sequence[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """Runs with no more than `gap` bytes between them, as one."""
    joined: list[tuple[int, int]] = []
    for start, stop in runs:
        if joined and start - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined


def _nonsense(name: str) -> HostileFile:
    return HostileFile(
        "The file makes the program that appends to it do nonsense.",
        code="file.crashes_reader",
        where=name,
        hint="Load it with anndata.read_h5ad, if that works, and write it anew with write_h5ad.",
    )

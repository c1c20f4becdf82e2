"""Bytes ahead of their use: pieces of a source, joined to few ranged reads, fetched while earlier ones are decoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Buffer, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from celldock.errors import TransientError
from celldock.h5ad.layout import Array

MAX_RANGE = 8 * 1024 * 1024
"""Bytes of one ranged read: at 20 ms latency and 80 MB/s the wait is then a fifth of the transfer."""

_MAX_GAP = 64 * 1024
_MAX_WASTE = 0.05
_PARALLEL = 6


class Ranges(Protocol):
    """Bytes that are read by ranges: a `ByteSource`, or what was made of one."""

    @property
    def size(self) -> int:
        """Total bytes."""
        ...

    @property
    def name(self) -> str:
        """What to call it in messages."""
        ...

    def read(self, offset: int, length: int) -> Buffer:
        """Exactly `length` bytes from `offset`; called from several threads at once."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Job[T]:
    """Pieces of the source that are wanted together. `offsets` and `sizes` are int64, in bytes; `tag` comes back."""

    tag: T
    offsets: Array
    sizes: Array


def fetch_ahead[T](source: Ranges, jobs: Generator[Job[T]], *, ahead: int) -> Generator[tuple[T, list[memoryview]]]:
    """Fetches the pieces of each job, in order, and later jobs' pieces while earlier ones are used.

    At most `ahead` bytes are held or underway, those of the job that was handed out last included; a single job may be
    larger. `jobs` is drawn from as far ahead as that goes, and closed in the end. What the source raises is raised
    when their job's turn comes. Closing the iterator waits for the reads that are underway and drops all others.
    """
    waiting: deque[_Fetch[T]] = deque()
    held = 0
    pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="fetch")
    try:
        for job in jobs:
            ranges, places = join_pieces(job.offsets, job.sizes)
            size = sum(stop - start for start, stop in ranges)
            while waiting and held + size > ahead:
                first = waiting.popleft()
                yield first.tag, first.pieces()
                held -= first.size
            reads = [pool.submit(read_range, source, start, stop) for start, stop in ranges]
            waiting.append(_Fetch(job.tag, size, places, reads))
            held += size
        while waiting:
            first = waiting.popleft()
            yield first.tag, first.pieces()
    finally:
        jobs.close()
        pool.shutdown(wait=True, cancel_futures=True)


@dataclass(slots=True, eq=False)
class _Fetch[T]:
    """The reads of a job, underway or done."""

    tag: T
    size: int
    places: list[tuple[int, int, int]]
    reads: list[Future[memoryview]]

    def pieces(self) -> list[memoryview]:
        """Waits for all of them, and lets go of them."""
        arrived = [read.result() for read in self.reads]
        self.reads.clear()
        return [arrived[number][start:stop] for number, start, stop in self.places]


def join_pieces(offsets: Array, sizes: Array) -> tuple[list[tuple[int, int]], list[tuple[int, int, int]]]:
    """The ranges [start, stop) of the source that cover all pieces, and where each piece lies in them.

    A place is (number of the range, start and stop within it). Neighbours are joined across gaps of up to 64 KiB, the
    smallest first, as long as less than a twentieth of the bytes is fetched in vain.
    """
    order = np.argsort(offsets, kind="stable")
    begins = offsets[order]
    ends = np.maximum.accumulate(begins + sizes[order]) if len(order) else begins
    bridged = _bridged(begins[1:] - ends[:-1], int(sizes.sum()))
    ranges: list[tuple[int, int]] = []
    places: list[tuple[int, int, int]] = [(0, 0, 0)] * len(order)
    start = stop = 0
    pieces = zip(order.tolist(), begins.tolist(), sizes[order].tolist(), [False, *bridged.tolist()], strict=False)
    for index, begin, size, joined in pieces:
        if joined and begin + size - start <= MAX_RANGE:
            stop = max(stop, begin + size)
            ranges[-1] = start, stop
        else:
            start, stop = begin, begin + size
            ranges.append((start, stop))
        places[index] = len(ranges) - 1, begin - start, begin - start + size
    return ranges, places


def _bridged(gaps: Array, useful: int) -> Array:
    """Which gaps to read across: those of no width, and the narrowest of the others as long as the waste is small."""
    narrow = np.argsort(gaps, kind="stable")
    widths = np.maximum(gaps[narrow], 0)
    bridged = np.empty(len(gaps), dtype=np.bool_)
    bridged[narrow] = (widths <= _MAX_GAP) & (np.cumsum(widths) <= _MAX_WASTE * useful)
    return bridged


def read_range(source: Ranges, start: int, stop: int) -> memoryview:
    """Bytes [start, stop) of the source. Raises TransientError if fewer come, and what the source raises."""
    data = memoryview(source.read(start, stop - start))
    if len(data) != stop - start:
        raise TransientError(
            f"{len(data):,} of {stop - start:,} bytes came.", code="source.short_read", where=source.name
        )
    return data

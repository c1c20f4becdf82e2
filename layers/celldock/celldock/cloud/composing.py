"""A new object that has most of its bytes from another: S3 copies those by itself, only the rest is uploaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from celldock.cloud.objects import ObjectStore, Place

_MIB = 1024 * 1024
MIN_PART_BYTES = 5 * _MIB
"""What S3 asks of every part of an upload but the last."""
COPIED_BYTES = 256 * _MIB
"""Bytes of one copied part: small enough that many are underway at once."""
UPLOADED_BYTES = 16 * _MIB
"""Bytes of one uploaded part, which lies in memory as many times as parts are underway."""
_PARALLEL = 4


class ChangedCopy(Protocol):
    """A file that is a changed copy of another one: original bytes lie where they did, `new_ranges` are others."""

    @property
    def size(self) -> int:
        """Total bytes."""
        ...

    @property
    def new_ranges(self) -> Sequence[tuple[int, int]]:
        """Where it is not the original: ranges [start, stop) in ascending order, apart from each other."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`."""
        ...


@dataclass(frozen=True, slots=True)
class Composed:
    """An object that was put together: its version, and how many of its bytes were uploaded."""

    object_version: str
    uploaded_bytes: int


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes [start, stop) of the new object, `copied` from the same place of the original or uploaded."""

    start: int
    stop: int
    copied: bool


def plan_parts(size: int, new_ranges: Iterable[tuple[int, int]]) -> list[Part]:
    """The parts that make up an object of `size` bytes, of which `new_ranges` are not the original's.

    S3 wants 5 MiB or more of each part but the last. So a piece of the original before or between new ranges that is
    shorter is uploaded with them, and a new range that is shorter takes what it lacks from the original behind it.
    """
    uploads: list[tuple[int, int]] = []
    for begin, end in new_ranges:
        before = uploads[-1] if uploads else (0, 0)
        joins = begin - before[1] < MIN_PART_BYTES
        start = before[0] if joins else begin
        if joins:
            del uploads[-1:]
        uploads.append((start, max(end, before[1], min(start + MIN_PART_BYTES, size))))
    return list(_parts(size, uploads))


def _parts(size: int, uploads: Sequence[tuple[int, int]]) -> Iterator[Part]:
    at = 0
    for start, stop in (*uploads, (size, size)):
        yield from _even(at, start, COPIED_BYTES, copied=True)
        yield from _even(start, stop, UPLOADED_BYTES, copied=False)
        at = stop


def _even(start: int, stop: int, most: int, *, copied: bool) -> Iterator[Part]:
    """Bytes [start, stop) in parts of about one length, so that none is too short."""
    count = -(-(stop - start) // most)
    edges = [start + (stop - start) * number // count for number in range(count + 1)] if count else []
    yield from (Part(*edge, copied) for edge in pairwise(edges))


def compose(store: ObjectStore, key: str, file: ChangedCopy, original: Place | None) -> Composed:
    """Writes the new object to `key`.

    `original` is what it is a copy of; without one, all of it is uploaded. The upload is given up if anything
    fails. Memory: `UPLOADED_BYTES` for each of a few threads.
    """
    parts = plan_parts(file.size, file.new_ranges if original else [(0, file.size)])
    with store.parts(key) as upload, ThreadPoolExecutor(_PARALLEL) as pool:

        def make(numbered: tuple[int, Part]) -> None:
            number, part = numbered
            if part.copied and original:
                upload.copy(number, original, part.start, part.stop)
            else:
                upload.put(number, file.read(part.start, part.stop - part.start))

        for _ in pool.map(make, enumerate(parts, 1)):
            pass
    uploaded = sum(part.stop - part.start for part in parts if not part.copied)
    return Composed(upload.object_version, uploaded)

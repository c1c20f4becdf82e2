"""A source that keeps small reads: what one step has read of a file's structure, the next need not ask for again."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from itertools import batched
from threading import Lock

from celldock.errors import ServiceFault
from celldock.h5ad.fetching import Ranges

MAX_KEPT = 64 * 1024 * 1024
"""Bytes that are kept, of the file of some million cells."""

_MAX_READ = 8 * 1024 * 1024
_MAGIC = b"celldock-pages-1"
_ENTRY = struct.Struct("<QQ")


class RememberedSource:
    """Reads of up to 8 MiB of `source` are kept, `limit` bytes of them, and given again from memory.

    Threads may share it. `pages` are those that `to_bytes` wrote of the same file before; others raise ServiceFault.
    """

    def __init__(self, source: Ranges, pages: bytes = b"", *, limit: int = MAX_KEPT) -> None:
        self._source = source
        self._limit = limit
        self._lock = Lock()
        self._held = 0
        # Ascending and disjoint.
        self._starts: list[int] = []
        self._pieces: list[memoryview] = []
        for start, piece in _unpacked(pages, source.size):
            self._append(start, piece)

    @property
    def size(self) -> int:
        """Total bytes."""
        return self._source.size

    @property
    def name(self) -> str:
        """The source's name."""
        return self._source.name

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`; raises what the source raises."""
        if length > _MAX_READ:
            return bytes(self._source.read(offset, length))
        known = self.recall(offset, length)
        if known is not None:
            return known
        data = bytes(self._source.read(offset, length))
        with self._lock:
            if len(data) == length and self._held + length <= self._limit:
                self._insert(offset, memoryview(data))
        return data

    def recall(self, offset: int, length: int) -> bytes | None:
        """The same from memory; None unless all of it is kept."""
        with self._lock:
            return self._recall(offset, offset + length)

    def to_bytes(self) -> bytes:
        """All that is kept. Equal reads give equal bytes, in whichever order they came."""
        with self._lock:
            joined = list(self._joined())
        head = b"".join(_ENTRY.pack(start, len(piece)) for start, piece in joined)
        return b"".join([_MAGIC, struct.pack("<Q", len(joined)), head, *(piece for _, piece in joined)])

    def _append(self, start: int, piece: memoryview) -> None:
        self._starts.append(start)
        self._pieces.append(piece)
        self._held += len(piece)

    def _recall(self, start: int, stop: int) -> bytes | None:
        """Bytes [start, stop) if all of them are kept."""
        at = bisect_right(self._starts, start) - 1
        parts: list[memoryview] = []
        while 0 <= at < len(self._starts) and start < stop:
            begin, piece = self._starts[at], self._pieces[at]
            if not begin <= start < begin + len(piece):
                return None
            parts.append(piece[start - begin : stop - begin])
            start += len(parts[-1])
            at += 1
        return b"".join(parts) if start >= stop else None

    def _insert(self, start: int, data: memoryview) -> None:
        """Keeps what of some bytes is not kept yet."""
        stop = start + len(data)
        at = max(0, bisect_right(self._starts, start) - 1)
        place = start
        while place < stop:
            begin = self._starts[at] if at < len(self._starts) else stop
            end = begin + len(self._pieces[at]) if at < len(self._starts) else stop
            if begin <= place:
                place = max(place, end)
            else:
                until = min(begin, stop)
                self._starts.insert(at, place)
                self._pieces.insert(at, data[place - start : until - start])
                self._held += until - place
                place = until
            at += 1

    def _joined(self) -> Iterator[tuple[int, bytes]]:
        """What is kept, neighbours joined."""
        start, parts, end = 0, list[memoryview](), -1
        for begin, piece in zip(self._starts, self._pieces, strict=True):
            if begin != end:
                if parts:
                    yield start, b"".join(parts)
                start, parts = begin, []
            parts.append(piece)
            end = begin + len(piece)
        if parts:
            yield start, b"".join(parts)


def _unpacked(pages: bytes, size: int) -> Iterator[tuple[int, memoryview]]:
    if not pages:
        return
    head = len(_MAGIC) + 8
    view = memoryview(pages)
    if not pages.startswith(_MAGIC) or len(pages) < head:
        raise _broken()
    (count,) = struct.unpack_from("<Q", view, len(_MAGIC))
    at = head + count * _ENTRY.size
    if at > len(pages):
        raise _broken()
    end = -1
    for entry in batched(view[head:at], _ENTRY.size, strict=True):
        start, length = _ENTRY.unpack(bytes(entry))
        if start < end or start + length > size or at + length > len(pages):
            raise _broken()
        yield start, view[at : at + length]
        at, end = at + length, start + length


def _broken() -> ServiceFault:
    return ServiceFault("These are no kept reads of this file.", code="pages.broken")

"""Fields of HDF5's structures, read one after the other, and the reads of the file behind them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterator
from contextlib import closing

import numpy as np

from celldock.h5ad.damage import damaged
from celldock.h5ad.fetching import Job, Ranges, fetch_ahead, read_range
from celldock.h5ad.layout import Array
from celldock.h5ad.remembered import RememberedSource

UNDEFINED = (1 << 64) - 1
"""The address of what does not exist."""

_PAGE = 64 * 1024
_PAGES = 256
_BATCH = 4 * 1024 * 1024
_AHEAD = 16 * 1024 * 1024


class Cursor:
    """Reads little-endian fields of `data`, which lies at `offset` of the file; `where` names it in messages."""

    __slots__ = ("at", "data", "offset", "stop", "where")

    def __init__(self, data: bytes | memoryview, offset: int, where: str) -> None:
        self.data = memoryview(data)
        self.offset = offset
        self.where = where
        self.at = 0
        self.stop = len(data)

    @property
    def place(self) -> int:
        """Where in the file the next field lies."""
        return self.offset + self.at

    def number(self, width: int) -> int:
        """The next field, as an unsigned number."""
        return int.from_bytes(self.take(width), "little")

    def take(self, length: int) -> memoryview:
        """The next `length` bytes. Raises InvalidSubmission if there are fewer."""
        if length > self.stop - self.at:
            raise damaged(self.where, f"a structure ends too early (at {self.place:,})")
        self.at += length
        return self.data[self.at - length : self.at]

    def text(self, padded: int = 1) -> None:
        """Passes over a text that ends with a zero byte, and the padding to a multiple of `padded`."""
        rest = bytes(self.data[self.at : self.stop])
        length = rest.find(b"\0") + 1
        if not length:
            raise damaged(self.where, f"a name has no end (at {self.place:,})")
        self.take(length + -length % padded)

    def expect(self, signature: bytes) -> None:
        """Passes over the signature of a structure. Raises InvalidSubmission if another comes."""
        if bytes(self.take(len(signature))) != signature:
            raise damaged(self.where, f"a structure is not what it should be (at {self.place - len(signature):,})")

    def part(self, length: int) -> Cursor:
        """The next `length` bytes as a cursor of their own, which is passed over."""
        place = self.place
        return Cursor(self.take(length), place, self.where)


class Window:
    """Small reads of a file, by pages, the latest of which are kept."""

    def __init__(self, source: Ranges) -> None:
        self.source = source
        self._pages: OrderedDict[int, memoryview] = OrderedDict()

    def cursor(self, where: str, offset: int, length: int) -> Cursor:
        """`length` bytes at `offset`. Raises InvalidSubmission outside the file."""
        if offset < 0 or length < 0 or offset + length > self.source.size:
            raise damaged(where, f"a structure lies outside of the file (at {offset:,}, {length:,} bytes)")
        return Cursor(self.piece(offset, length), offset, where)

    def piece(self, offset: int, length: int) -> memoryview:
        """`length` bytes at `offset`, which lie within the file."""
        if isinstance(self.source, RememberedSource) and (known := self.source.recall(offset, length)) is not None:
            return memoryview(known)
        first, last = offset // _PAGE, (offset + max(1, length) - 1) // _PAGE
        if last - first > 1:
            return read_range(self.source, offset, offset + length)
        begin = offset - first * _PAGE
        if first == last:
            return self._page(first)[begin : begin + length]
        head = bytes(self._page(first)[begin:])
        return memoryview(head + bytes(self._page(last)[: length - len(head)]))

    def _page(self, number: int) -> memoryview:
        page = self._pages.get(number)
        if page is None:
            start = number * _PAGE
            page = read_range(self.source, start, min(start + _PAGE, self.source.size))
            self._pages[number] = page
            if len(self._pages) > _PAGES:
                self._pages.popitem(last=False)
        else:
            self._pages.move_to_end(number)
        return page


def batches(window: Window, offsets: Array, sizes: Array) -> Generator[tuple[slice, list[memoryview]]]:
    """Pieces of the file, which all lie within it, some 4 MiB at a time, each time with which of them they are.

    Larger pieces come alone; callers split what may be larger than memory.
    """
    if int(sizes.sum()) <= _PAGE:
        # A column of a small file: its neighbours are read next.
        yield slice(0, len(sizes)), [window.piece(*each) for each in zip(offsets.tolist(), sizes.tolist(), strict=True)]
        return
    edges = _cuts(sizes)

    def jobs() -> Generator[Job[slice]]:
        for start, stop in edges:
            part = slice(start, stop)
            yield Job(part, offsets[part].astype(np.int64), sizes[part].astype(np.int64))

    with closing(fetch_ahead(window.source, jobs(), ahead=_AHEAD)) as fetched:
        yield from fetched


def nodes(window: Window, offsets: Array, size: int) -> Iterator[tuple[Array, Array]]:
    """Structures of `size` bytes each, which all lie within the file: offsets and a row of bytes for each, in parts."""
    with closing(batches(window, offsets, np.full(len(offsets), size, np.int64))) as parts:
        for part, pieces in parts:
            yield offsets[part], np.frombuffer(b"".join(pieces), np.uint8).reshape(len(pieces), size)


def _cuts(sizes: Array) -> list[tuple[int, int]]:
    edges: list[tuple[int, int]] = []
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _BATCH, "right")))
        edges.append((start, stop))
        start = stop
    return edges

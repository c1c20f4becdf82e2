"""A file that can be written to while what lies under it stays as it is: copy-on-write pages over a source."""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from celldock.h5ad.pages import PageSet
from celldock.h5ad.sandbox.limits import PAGE_BYTES

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_MAX_PAGES = 1024


class PageKeeper(Protocol):
    """Who takes written pages that are too many to be held here, and gives them back."""

    def keep(self, pages: Sequence[tuple[int, bytes | bytearray]]) -> None:
        """Takes pages, each with its number; one that it has already is replaced."""
        ...

    def recall(self, number: int) -> bytearray:
        """The page that was kept last under this number."""
        ...


class Overlay(io.RawIOBase):
    """A seekable file for reading and writing, as h5py wants it.

    Reads of what was never written come from `source`; written pages (`PAGE_BYTES` each) are kept apart, at most
    `max_pages` of them here, the others with `keeper`. What lies beyond the source's end and was never written is zero.

    The file may be cut below the source's size only once, after which it does not grow any more: who puts the new file
    together knows no piece of the source that turned to zeros. Raises OSError where that would be needed.
    """

    def __init__(self, source: io.RawIOBase, size: int, keeper: PageKeeper, *, max_pages: int = _MAX_PAGES) -> None:
        super().__init__()
        self._source = source
        self._source_size = self._size = size
        self._keeper = keeper
        self._max_pages = max_pages
        self._position = 0
        self._pages: OrderedDict[int, bytearray] = OrderedDict()
        self._kept = PageSet()

    @property
    def size(self) -> int:
        """Bytes of the file as it is now."""
        return self._size

    def readable(self) -> bool:
        """Always true."""
        return True

    def writable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """The current position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to `offset` from the start, the current position or the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the start of the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fills `buffer` as far as the file goes."""
        target = memoryview(buffer).cast("B")
        start = min(self._position, self._size)
        length = min(len(target), self._size - start)
        for begin, end, number in self._pieces(start, start + length):
            piece = target[begin - start : end - start]
            if number is None:
                self._read_source(piece, begin)
            else:
                at = begin - number * PAGE_BYTES
                piece[:] = memoryview(self._page(number))[at : at + len(piece)]
        self._position = start + length
        return length

    def write(self, buffer: ReadableBuffer, /) -> int:
        """Writes all of `buffer`."""
        data = memoryview(buffer).cast("B")
        start, end = self._position, self._position + len(data)
        self._grow(end)
        at = start
        while at < end:
            number, offset = divmod(at, PAGE_BYTES)
            length = min(PAGE_BYTES - offset, end - at)
            piece = data[at - start : at - start + length]
            if length == PAGE_BYTES:
                self._hold(number, bytearray(piece))
            else:
                self._page(number)[offset : offset + length] = piece
            at += length
        self._position = end
        return len(data)

    def truncate(self, size: int | None = None, /) -> int:
        """Cuts or lengthens the file to `size`, or to where it stands."""
        size = self._position if size is None else size
        self._grow(size)
        if size < self._size:
            self._cut(size)
        return size

    def hand_over(self) -> None:
        """Gives all pages that are still here to the keeper, in the file's order; the last one is always among them."""
        if self._size > self._source_size:
            self._page((self._size - 1) // PAGE_BYTES)
        held = sorted(self._pages.items())
        self._pages.clear()
        self._keep(held)

    def _grow(self, size: int) -> None:
        if size > self._size:
            if self._size < self._source_size:
                raise OSError("a file that was cut short cannot grow again")
            self._size = size

    def _cut(self, size: int) -> None:
        beyond = -(-size // PAGE_BYTES)
        for number in [number for number in self._pages if number >= beyond]:
            del self._pages[number]
        for number in list(self._kept.from_on(beyond)):
            # The keeper still has what was there.
            self._hold(number, bytearray(PAGE_BYTES))
        offset = size % PAGE_BYTES
        number = size // PAGE_BYTES
        if offset and (number in self._pages or number in self._kept):
            self._page(number)[offset:] = bytes(PAGE_BYTES - offset)
        self._size = size

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, int, int | None]]:
        """Cuts a range into pieces (start, stop) of one written page each, given with its number, and what is between.

        Which pages are written is looked up as the pieces are taken: to take one in may hand another one over.
        """
        at = clean = start
        while at < stop:
            number = at // PAGE_BYTES
            end = min((number + 1) * PAGE_BYTES, stop)
            if number in self._pages or number in self._kept:
                if clean < at:
                    yield clean, at, None
                yield at, end, number
                clean = end
            at = end
        if clean < stop:
            yield clean, stop, None

    def _page(self, number: int) -> bytearray:
        """A page that is about to be changed, or was."""
        page = self._pages.get(number)
        if page is None:
            page = self._keeper.recall(number) if number in self._kept else self._copied(number)
            self._hold(number, page)
        else:
            self._pages.move_to_end(number)
        return page

    def _copied(self, number: int) -> bytearray:
        page = bytearray(PAGE_BYTES)
        self._read_source(memoryview(page), number * PAGE_BYTES)
        return page

    def _read_source(self, target: memoryview, start: int) -> None:
        """Fills `target` with what the source has, and with zeros beyond its end."""
        inside = max(0, min(len(target), self._source_size - start))
        if inside:
            self._source.seek(start)
            if self._source.readinto(target[:inside]) != inside:
                raise OSError("the source ended early")
        target[inside:] = bytes(len(target) - inside)

    def _hold(self, number: int, page: bytearray) -> None:
        self._pages[number] = page
        self._pages.move_to_end(number)
        if len(self._pages) > self._max_pages:
            # Half of them at once, and never the one that was asked for just now.
            oldest = [self._pages.popitem(last=False) for _ in range(len(self._pages) // 2)]
            self._keep(sorted(oldest))

    def _keep(self, pages: list[tuple[int, bytearray]]) -> None:
        if pages:
            self._keeper.keep(pages)
            for number, _ in pages:
                self._kept.add(number)

"""Fixed and extensible arrays, which index chunks (HDF5 File Format Specification, VII.C and VII.D)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from celldock.h5ad.accounting.cursor import UNDEFINED, Window, batches
from celldock.h5ad.accounting.ledger import Ledger, NotUnderstoodError
from celldock.h5ad.damage import damaged
from celldock.h5ad.layout import Array

_CHECKSUM = 4
_PREFIX = 4 + 1 + 1 + 8
_MAX_PIECE = 1 << 26
_MAX_ENTRY = 24


def fixed_array(window: Window, ledger: Ledger, address: int, where: str) -> Iterator[Array]:
    """The entries of a fixed array, as rows of bytes."""
    length = 4 + 1 + 1 + 1 + 1 + 8 + 8 + _CHECKSUM
    ledger.visit(address)
    ledger.claim(address, length)
    head = window.cursor(where, address, length)
    head.expect(b"FAHD")
    head.take(2)
    entry, page_bits, count, block = head.number(1), head.number(1), head.number(8), head.number(8)
    if block == UNDEFINED:
        return
    if page_bits > 48:
        raise damaged(where, "the sizes of its chunks' index are impossible")
    _check(entry, count, ledger.size, where)
    page = 1 << page_bits
    bitmap = (-(-count // page) + 7) // 8 if count > page else 0
    written = window.cursor(where, block, _PREFIX + bitmap).data[_PREFIX:] if bitmap else None
    yield from _Block(window, ledger, where, entry).read(block, b"FADB", _PREFIX + bitmap, count, page, written)


def extensible_array(window: Window, ledger: Ledger, address: int, where: str) -> Iterator[Array]:
    """The entries of an extensible array, as rows of bytes; those that were never written are among them."""
    length = 4 + 2 + 6 + 6 * 8 + 8 + _CHECKSUM
    ledger.visit(address)
    ledger.claim(address, length)
    head = window.cursor(where, address, length)
    head.expect(b"EAHD")
    head.take(2)
    entry, bits, inside, first, pointers, page_bits = (head.number(1) for _ in range(6))
    head.take(6 * 8)
    index = head.number(8)
    if index == UNDEFINED:
        return
    _check(entry, inside, ledger.size, where)
    if bits > 64 or page_bits > 48 or any(value < 1 or value & (value - 1) for value in (first, pointers)):
        raise damaged(where, "the sizes of its chunks' index are impossible")
    shape = _Shape(entry, bits, inside, first, pointers, 1 << page_bits)
    yield from _Extensible(window, ledger, where, shape).read(index)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the header of an extensible array says of it.

    Bytes of an entry, bits of an entry's number, entries in the index block, entries of the smallest data block, blocks
    that the smallest superblock names, entries of a page.
    """

    entry: int
    bits: int
    inside: int
    first: int
    pointers: int
    page: int


class _Extensible:
    """Superblock u of the array has 2**(u // 2) blocks of 2**((u + 1) // 2) times `first` entries each."""

    def __init__(self, window: Window, ledger: Ledger, where: str, shape: _Shape) -> None:
        self._window = window
        self._ledger = ledger
        self._where = where
        self._shape = shape
        self._offset_bytes = (shape.bits + 7) // 8
        # The blocks of the first superblocks are named by the index block itself.
        self._direct = 2 * (shape.pointers.bit_length() - 1)
        self._supers = max(0, 1 + shape.bits - (shape.first.bit_length() - 1) - self._direct)
        self._block = _Block(window, ledger, where, shape.entry)

    def read(self, address: int) -> Iterator[Array]:
        inside = self._shape.inside * self._shape.entry
        sizes = [size for number in range(self._direct) for size in self._blocks(number)]
        length = _PREFIX + inside + 8 * (len(sizes) + self._supers) + _CHECKSUM
        self._ledger.visit(address)
        self._ledger.claim(address, length)
        index = self._window.cursor(self._where, address, length)
        index.expect(b"EAIB")
        index.take(_PREFIX - 4)
        yield _rows(index.take(inside), self._shape.entry)
        for size in sizes:
            yield from self._data(index.number(8), size)
        for number in range(self._direct, self._direct + self._supers):
            yield from self._super(index.number(8), number)

    def _blocks(self, number: int) -> list[int]:
        """Entries of each block of a superblock."""
        if number > 40:
            raise damaged(self._where, "the index of its chunks is larger than the file")
        return [self._shape.first << (number + 1) // 2] * (1 << number // 2)

    def _super(self, address: int, number: int) -> Iterator[Array]:
        if address == UNDEFINED:
            return
        sizes = self._blocks(number)
        page = self._shape.page
        pages = sizes[0] // page if sizes[0] > page else 0
        length = _PREFIX + self._offset_bytes + len(sizes) * ((pages + 7) // 8 + 8) + _CHECKSUM
        if length > _MAX_PIECE:
            raise NotUnderstoodError("An index of chunks is larger than any that AnnData writes", address)
        self._ledger.visit(address)
        self._ledger.claim(address, length)
        block = self._window.cursor(self._where, address, length)
        block.expect(b"EASB")
        block.take(_PREFIX - 4 + self._offset_bytes)
        written = [block.take((pages + 7) // 8) for _ in sizes]
        for size, bits in zip(sizes, written, strict=True):
            yield from self._data(block.number(8), size, bits if pages else None)

    def _data(self, address: int, size: int, written: memoryview | None = None) -> Iterator[Array]:
        if address != UNDEFINED:
            yield from self._block.read(address, b"EADB", _PREFIX + self._offset_bytes, size, self._shape.page, written)


class _Block:
    """A data block of either kind: entries and a checksum, or pages of entries with a checksum each."""

    def __init__(self, window: Window, ledger: Ledger, where: str, entry: int) -> None:
        self._window = window
        self._ledger = ledger
        self._where = where
        self._entry = entry

    def read(
        self, address: int, signature: bytes, prefix: int, count: int, page: int, written: memoryview | None
    ) -> Iterator[Array]:
        """The entries of a block of `count`; `written` has a bit for each page, None where there are no pages."""
        paged = written is not None
        pages = -(-count // page) if paged else 1
        length = prefix + count * self._entry + _CHECKSUM * (pages + paged)
        self._ledger.visit(address)
        self._ledger.claim(address, length)
        self._window.cursor(self._where, address, prefix).expect(signature)
        start = address + prefix + _CHECKSUM * paged
        step = page if paged else max(1, count)
        if step * self._entry > _MAX_PIECE:
            raise NotUnderstoodError("An index of chunks is larger than any that AnnData writes", address)
        offsets = start + np.arange(-(-count // step) if count else 0, dtype=np.int64) * (
            step * self._entry + _CHECKSUM * paged
        )
        entries = np.minimum(step, count - np.arange(len(offsets), dtype=np.int64) * step)
        lengths = entries * self._entry
        for part, pieces in batches(self._window, offsets, lengths):
            for number, piece in enumerate(pieces, part.start):
                if written is None or written[number // 8] & 0x80 >> number % 8:
                    yield _rows(piece, self._entry)
                else:
                    self._ledger.slack("in an index of chunks", int(offsets[number]), piece)


def _check(entry: int, count: int, size: int, where: str) -> None:
    if not 8 <= entry <= _MAX_ENTRY or count * entry > size:
        raise damaged(where, "the sizes of its chunks' index are impossible")


def _rows(data: memoryview, entry: int) -> Array:
    return np.frombuffer(data, np.uint8).reshape(-1, entry)

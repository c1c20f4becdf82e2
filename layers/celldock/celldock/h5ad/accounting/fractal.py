"""Fractal heaps: links and attributes of groups that have many (HDF5 File Format Specification, III.G)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from celldock.h5ad.accounting.cursor import UNDEFINED, Cursor, Window
from celldock.h5ad.accounting.ledger import Ledger, NotUnderstoodError
from celldock.h5ad.accounting.trees import tree_records
from celldock.h5ad.damage import damaged

_HEADER = 142
_CHECKSUM = 4
_MAX_BLOCK = 1 << 26
_MAX_BLOCKS = 1 << 18
_MANAGED, _HUGE, _TINY = 0, 1, 2
_ID_AT = {5: 4, 6: 8, 8: 0, 9: 0}
"""Where the heap's id lies in records of links by name and by order, and of attributes by name and by order."""
_KIND = "in a heap of links or attributes"


def dense_objects(window: Window, ledger: Ledger, heap: int, trees: tuple[int, ...], where: str) -> Iterator[Cursor]:
    """The messages in a fractal heap that its first index names; the other indexes are passed over.

    What of the heap is neither named nor its own structure is looked at once all messages were drawn.
    """
    found = _Heap(window, ledger, heap, where)
    for number, tree in enumerate(trees):
        kind = window.cursor(where, tree, 6).data[5]
        if kind not in _ID_AT:
            raise damaged(where, "the index of its members is of the wrong kind")
        for records in tree_records(window, ledger, tree, where):
            if number == 0:
                start = _ID_AT[kind]
                for record in records:
                    yield found.object(bytes(record[start : start + found.id_bytes]))
    found.finish()


class _Heap:
    """A heap's blocks: `_blocks` maps where each begins in the heap to where it lies in the file, and its bytes."""

    def __init__(self, window: Window, ledger: Ledger, address: int, where: str) -> None:
        self._window = window
        self._ledger = ledger
        self._where = where
        self._address = address
        ledger.visit(address)
        ledger.claim(address, _HEADER + _CHECKSUM)
        head = window.cursor(where, address, _HEADER + _CHECKSUM)
        head.expect(b"FRHP")
        head.take(1)
        self.id_bytes, filters, flags = head.number(2), head.number(2), head.number(1)
        if filters:
            raise NotUnderstoodError("A heap of links or attributes is compressed", address)
        largest_object = head.number(4)
        head.take(8)
        huge = head.number(8)
        head.take(8)
        free_space = head.number(8)
        head.take(64)
        self._width, self._first, self._largest, bits = head.number(2), head.number(8), head.number(8), head.number(2)
        head.take(2)
        root, rows = head.number(8), head.number(2)
        self._check(bits)
        self._offset_bytes = (bits + 7) // 8
        self._length_bytes = min((self._largest.bit_length() + 6) // 8, (largest_object.bit_length() + 7) // 8)
        self._block_head = 5 + 8 + self._offset_bytes + (_CHECKSUM if flags & 2 else 0)
        self._blocks: dict[int, tuple[int, bytearray]] = {}
        self._bytes = 0
        if root != UNDEFINED:
            self._follow(root, rows)
        self._begins = sorted(self._blocks)
        self._huge = self._huge_objects(huge) if huge != UNDEFINED else {}
        if free_space != UNDEFINED:
            read_free_space(window, ledger, free_space, where)

    def _check(self, bits: int) -> None:
        powers = [self._width, self._first, self._largest]
        if any(value < 1 or value & (value - 1) for value in powers) or self._first > self._largest or bits > 64:
            raise damaged(self._where, "the sizes of a heap are impossible")
        if self._largest > _MAX_BLOCK:
            raise NotUnderstoodError("A heap has larger blocks than any that AnnData makes", self._address)

    def _follow(self, root: int, rows: int) -> None:
        if not rows:
            self._direct(root, 0, self._first)
            return
        pending = [(root, 0, rows)]
        while pending:
            address, begin, rows = pending.pop()
            pending += self._indirect(address, begin, rows)

    def _row_bytes(self, row: int) -> int:
        return self._first << max(0, row - 1)

    def _indirect(self, address: int, begin: int, rows: int) -> list[tuple[int, int, int]]:
        """An indirect block of so many rows; its direct blocks are read, its indirect ones returned."""
        if rows > 64:
            raise damaged(self._where, "the sizes of a heap are impossible")
        self._ledger.visit(address)
        length = 5 + 8 + self._offset_bytes + rows * self._width * 8 + _CHECKSUM
        self._ledger.claim(address, length)
        block = self._window.cursor(self._where, address, length)
        block.expect(b"FHIB")
        block.take(9 + self._offset_bytes)
        below: list[tuple[int, int, int]] = []
        for row in range(rows):
            size = self._row_bytes(row)
            for _ in range(self._width):
                child = block.number(8)
                if child != UNDEFINED and size <= self._largest:
                    self._direct(child, begin, size)
                elif child != UNDEFINED:
                    inside = size.bit_length() - (self._first * self._width).bit_length() + 1
                    below.append((child, begin, inside))
                begin += size
        return below

    def _direct(self, address: int, begin: int, size: int) -> None:
        self._ledger.visit(address)
        self._ledger.claim(address, size)
        self._bytes += size
        if self._bytes > _MAX_BLOCK or len(self._blocks) > _MAX_BLOCKS:
            raise NotUnderstoodError("A heap is larger than any that AnnData makes", address)
        block = self._window.cursor(self._where, address, size)
        block.expect(b"FHDB")
        data = bytearray(block.data)
        data[: self._block_head] = bytes(min(self._block_head, size))
        self._blocks[begin] = address, data

    def _huge_objects(self, tree: int) -> dict[int, tuple[int, int]]:
        """Address and length of objects that are too large for a block, by the number in their ids."""
        if self._window.cursor(self._where, tree, 6).data[5] != 1:
            raise NotUnderstoodError("A heap keeps its largest objects in a way that is not followed", tree)
        found: dict[int, tuple[int, int]] = {}
        for records in tree_records(self._window, self._ledger, tree, self._where):
            for record in records:
                address, length, number = (int.from_bytes(record[at : at + 8].tobytes(), "little") for at in (0, 8, 16))
                found[number] = address, length
        return found

    def object(self, identifier: bytes) -> Cursor:
        """The object that an id of the heap names."""
        head = identifier[0] if identifier else 0xFF
        kind = head >> 4 & 3
        if kind == _TINY and self.id_bytes <= 17:
            return Cursor(identifier[1 : 2 + (head & 0x0F)], self._address, self._where)
        if kind == _HUGE and (place := self._huge.get(int.from_bytes(identifier[1:9], "little"))):
            if place[1] > _MAX_BLOCK:
                raise NotUnderstoodError("An attribute is larger than any that AnnData makes", place[0])
            self._ledger.visit(place[0])
            self._ledger.claim(*place)
            return self._window.cursor(self._where, *place)
        if kind != _MANAGED:
            raise NotUnderstoodError("A heap keeps an object in a way that is not followed", self._address)
        middle = 1 + self._offset_bytes
        offset = int.from_bytes(identifier[1:middle], "little")
        length = int.from_bytes(identifier[middle : middle + self._length_bytes], "little")
        at = bisect_right(self._begins, offset) - 1
        if at < 0:
            raise damaged(self._where, "the heap of its members is broken")
        address, rest = self._blocks[self._begins[at]]
        start = offset - self._begins[at]
        cursor = self._window.cursor(self._where, address + start, length)
        if start + length > len(rest):
            raise damaged(self._where, "the heap of its members is broken")
        rest[start : start + length] = bytes(length)
        return cursor

    def finish(self) -> None:
        """Looks at what no id names: links and attributes that were removed."""
        for address, rest in self._blocks.values():
            self._ledger.slack(_KIND, address, rest)


def read_free_space(window: Window, ledger: Ledger, address: int, where: str) -> None:
    """A manager of free space: its structures hold numbers alone (III.H). The space itself belongs to nobody."""
    length = 6 + 4 * 8 + 4 * 2 + 4 * 8 + _CHECKSUM
    ledger.visit(address)
    ledger.claim(address, length)
    head = window.cursor(where, address, length)
    head.expect(b"FSHD")
    head.take(2 + 4 * 8 + 4 * 2 + 8)
    sections, used, allocated = head.number(8), head.number(8), head.number(8)
    if sections == UNDEFINED:
        return
    if used > allocated or allocated > _MAX_BLOCK:
        raise damaged(where, "its list of free space is broken")
    ledger.visit(sections)
    ledger.claim(sections, allocated)
    body = window.cursor(where, sections, allocated)
    body.expect(b"FSSE")
    body.take(max(0, used - 4))
    ledger.slack("in a list of free space", body.place, body.take(body.stop - body.at))

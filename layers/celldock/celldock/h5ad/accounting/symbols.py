"""Groups as symbol tables: B-tree, symbol nodes, heap of names (HDF5 File Format Specification, III.A.1, III.B-D)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celldock.h5ad.accounting.copies import LAST_FREE, WORD
from celldock.h5ad.accounting.cursor import UNDEFINED, Cursor, Window
from celldock.h5ad.accounting.ledger import Ledger, NotUnderstoodError
from celldock.h5ad.damage import damaged

_MAX_NAMES = 64 * 1024 * 1024
_MAX_NAME = 1 << 16
_SYMBOL = 40
_SOFT = 2
NAMES = "in a group's list of names"


@dataclass(frozen=True, slots=True)
class TreeSizes:
    """The K values of version 1 B-trees, of which a file has one set."""

    group_leaf: int = 4
    group_internal: int = 16
    chunk: int = 32


def read_symbol_table(
    window: Window, ledger: Ledger, sizes: TreeSizes, tree: int, heap: int, where: str
) -> list[tuple[str, int]]:
    """The members of a group: names, and addresses of object headers."""
    names = _Names(window, ledger, heap, where)
    members: list[tuple[str, int]] = []
    for address in _symbol_nodes(window, ledger, sizes, tree, where):
        ledger.visit(address)
        length = 8 + 2 * sizes.group_leaf * _SYMBOL
        ledger.claim(address, length)
        node = window.cursor(where, address, length)
        node.expect(b"SNOD")
        node.take(2)
        for _ in range(node.number(2)):
            offset, header = node.number(8), node.number(8)
            kind = node.number(4)
            node.take(4)
            scratch = node.part(16)
            if kind == _SOFT:
                names.use(scratch.number(4))
            elif kind == 0:
                ledger.slack("in a group's index", scratch.place, scratch.take(16))
            name = names.use(offset)
            if header != UNDEFINED:
                members.append((name, header))
        ledger.slack("in a group's index", node.place, node.take(node.stop - node.at))
    names.finish()
    return members


def _symbol_nodes(window: Window, ledger: Ledger, sizes: TreeSizes, root: int, where: str) -> list[int]:
    """The addresses of the symbol nodes, from the nodes of the B-tree above them."""
    length = 24 + 2 * sizes.group_internal * 16 + 8
    found: list[int] = []
    pending: list[tuple[int, int | None]] = [(root, None)]
    while pending:
        address, expected = pending.pop()
        ledger.visit(address)
        ledger.claim(address, length)
        node = window.cursor(where, address, length)
        node.expect(b"TREE")
        kind, level, used = node.number(1), node.number(1), node.number(2)
        if kind != 0 or used > 2 * sizes.group_internal or expected not in (None, level):
            raise damaged(where, f"the index of its members is broken (at {address:,})")
        node.take(16)
        children: list[int] = []
        for _ in range(used):
            node.take(8)
            children.append(node.number(8))
        node.take(8)
        ledger.slack("in a group's index", node.place, node.take(node.stop - node.at))
        if level:
            pending += ((child, level - 1) for child in reversed(children))
        else:
            found += children
    return found


class _Names:
    """A local heap: the names of one group's members, and what is left of names that were removed."""

    def __init__(self, window: Window, ledger: Ledger, address: int, where: str) -> None:
        self._ledger = ledger
        self._where = where
        ledger.visit(address)
        ledger.claim(address, 32)
        head = window.cursor(where, address, 32)
        head.expect(b"HEAP")
        head.take(4)
        size, self._free, self._offset = head.number(8), head.number(8), head.number(8)
        if size > _MAX_NAMES:
            raise NotUnderstoodError("A group's list of names is larger than any that AnnData makes", address)
        ledger.claim(self._offset, size)
        self._data = bytes(window.cursor(where, self._offset, size).data)
        self._rest = bytearray(self._data)
        self.use(0)

    def use(self, offset: int) -> str:
        """The name at `offset` of the heap, which is spoken for."""
        end = self._data.find(b"\0", offset, offset + _MAX_NAME) if offset < len(self._data) else -1
        if end < 0:
            raise damaged(self._where, "the name of a member is missing")
        self._rest[offset : end + 1] = bytes(end + 1 - offset)
        self._pass_number(end + 1)
        return self._data[offset:end].decode(errors="backslashreplace")

    def _pass_number(self, start: int) -> None:
        """Passes over what a name has left of a number that lay there.

        libhdf5 keeps two numbers at the beginning of free space, and writes names over them without their padding. No
        other bytes in the place of such a number are below the heap's size.
        """
        stop = start + -start % WORD
        rest = self._rest[start:stop]
        if any(rest) and int.from_bytes(rest, "little") << 8 * (WORD - len(rest)) <= len(self._data):
            self._rest[start:stop] = bytes(len(rest))

    def finish(self) -> None:
        """Looks at all that is no name. Of free blocks, the two numbers at their beginning have a meaning."""
        self._ledger.live.add(_without(self._data, self._rest))
        free, passed = self._free, 0
        while free not in (LAST_FREE, UNDEFINED):
            passed += 1
            if free + 2 * WORD > len(self._data) or passed > len(self._data) // (2 * WORD):
                raise damaged(self._where, "the list of its members' names is broken")
            self._rest[free : free + 2 * WORD] = bytes(2 * WORD)
            free = int.from_bytes(self._data[free : free + WORD], "little")
        # Apart from each other: between them lie names that are in use.
        used = np.frombuffer(self._rest, np.uint8) != 0
        edges = np.flatnonzero(np.diff(used, prepend=False, append=False))
        for start, stop in edges.reshape(-1, 2).tolist():
            self._ledger.residue(NAMES, self._offset + start, stop - start)


def _without(data: bytes, rest: bytearray) -> bytes:
    """The data, with zeros where `rest` has none."""
    return (np.frombuffer(data, np.uint8) * (np.frombuffer(rest, np.uint8) == 0)).tobytes()


def read_entry(cursor: Cursor) -> int:
    """The object header that a symbol table entry of the superblock leads to."""
    cursor.take(8)
    header = cursor.number(8)
    cursor.take(24)
    return header

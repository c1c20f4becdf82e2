"""Where the structures of an HDF5 file lie, and how one of them is overwritten: for files that break parsers.

Source: HDF5 File Format Specification, version 3.0. Only what h5py's oldest and newest formats write is understood.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py

UNDEFINED = b"\xff" * 8
DATASPACE, DATATYPE, LAYOUT, FILTERS, CONTINUATION, SYMBOL_TABLE = 1, 3, 8, 11, 16, 17


@dataclass(frozen=True)
class Message:
    """One message of an old object header: `at` is where its own head of 8 bytes begins."""

    kind: int
    at: int
    size: int

    @property
    def body(self) -> int:
        return self.at + 8


class Patched:
    """The bytes of a file, to be changed in place and written back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.content = bytearray(path.read_bytes())

    def write(self, at: int, *parts: bytes) -> None:
        """Overwrites the bytes from `at` on."""
        data = b"".join(parts)
        assert 0 < at <= len(self.content) - len(data)
        self.content[at : at + len(data)] = data

    def replace(self, old: bytes, new: bytes, count: int = 1) -> None:
        """Overwrites the `count` places that hold `old`."""
        assert len(old) == len(new)
        assert self.content.count(old) == count
        self.content = self.content.replace(old, new)

    def number(self, at: int, width: int = 8) -> int:
        return int.from_bytes(self.content[at : at + width], "little")

    def save(self) -> None:
        self._path.write_bytes(self.content)

    def header_of(self, element: str) -> int:
        """Where the object header of an element begins."""
        with h5py.File(self._path, "r") as file:
            return h5py.h5o.get_info(file[element].id).addr

    def messages(self, element: str) -> Iterator[Message]:
        """The messages of an element's header (version 1), also of the blocks in which it continues."""
        start = self.header_of(element)
        assert self.content[start] == 1
        blocks = [(start + 16, self.number(start + 8, 4))]
        for begin, size in blocks:
            at = begin
            while at < begin + size:
                message = Message(self.number(at, 2), at, self.number(at + 2, 2))
                if message.kind == CONTINUATION:
                    blocks.append((self.number(message.body), self.number(message.body + 8)))
                yield message
                at += 8 + message.size

    def message(self, element: str, kind: int) -> Message:
        """The first message of a kind."""
        return next(message for message in self.messages(element) if message.kind == kind)

    def btree_of(self, group: str) -> int:
        """Where the root node of a group's B-tree begins."""
        return self.number(self.message(group, SYMBOL_TABLE).body)

    def heap_of(self, group: str) -> int:
        """Where the head of a group's local heap begins."""
        return self.number(self.message(group, SYMBOL_TABLE).body + 8)


def address(at: int) -> bytes:
    """An address as the file holds it."""
    return at.to_bytes(8, "little")


def checksum(data: bytes) -> bytes:
    """Jenkins' lookup3 of metadata blocks, as HDF5 stores it at their end.

    Source: Bob Jenkins, lookup3.c, hashlittle(), public domain.
    """
    a = b = c = (0xDEADBEEF + len(data)) & 0xFFFFFFFF
    words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data) + 12, 4)]
    length, i = len(data), 0
    while length > 12:
        a, b, c = _mix(a + words[i], b + words[i + 1], c + words[i + 2])
        length, i = length - 12, i + 3
    return _final(a + words[i], b + words[i + 1], c + words[i + 2]).to_bytes(4, "little")


def _rotate(value: int, bits: int) -> int:
    value &= 0xFFFFFFFF
    return (value << bits | value >> (32 - bits)) & 0xFFFFFFFF


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (4, 6, 8, 16, 19, 4):
        # Each round turns the three words round by one place.
        a = ((a - c) & 0xFFFFFFFF) ^ _rotate(c, bits)
        a, b, c = b, (c + b) & 0xFFFFFFFF, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotate(b, bits)) & 0xFFFFFFFF
        a, b, c = b, c, a
    return b

"""What an HDF5 file is made of: every field that a reader must trust, with its place, width and meaning.

Names of structures and fields are those of the HDF5 File Format Specification, version 3.0.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import numpy as np

WIDTH = 8
"""Bytes of an address and of a length in every file that AnnData has ever written."""
UNDEFINED = (1 << 8 * WIDTH) - 1
"""The address of what does not exist."""


class Kind(StrEnum):
    """What a field means, which decides the values that are worth writing into it."""

    SIGNATURE = "signature"
    VERSION = "version"
    FLAGS = "flags"
    CLASS = "class"
    ADDRESS = "address"
    SIZE = "size"
    COUNT = "count"
    OFFSET = "offset"
    DIMENSION = "dimension"
    FILTER = "filter"
    NAME = "name"
    VALUE = "value"
    RESERVED = "reserved"


@dataclass(frozen=True, slots=True)
class Field:
    """`width` bytes at `offset`; `label` names the structure and the field."""

    offset: int
    width: int
    kind: Kind
    label: str

    @property
    def stop(self) -> int:
        """The offset of the first byte after it."""
        return self.offset + self.width


@dataclass(frozen=True, slots=True)
class Structure:
    """The bytes [start, stop) that hold one structure, and where its lookup3 checksum lies, if it has one.

    The checksum is that of the bytes before it or, if it does not come last, of all bytes with itself as zero.
    """

    name: str
    start: int
    stop: int
    checksum: int | None = None


@dataclass
class Atlas:
    """All fields and structures of one file, in the order in which they were found."""

    fields: list[Field] = field(default_factory=list)
    structures: list[Structure] = field(default_factory=list)

    @cached_property
    def by_kind(self) -> dict[Kind, list[Field]]:
        """The fields of each kind."""
        groups: dict[Kind, list[Field]] = defaultdict(list)
        for item in self.fields:
            groups[item.kind].append(item)
        return dict(groups)

    @cached_property
    def by_name(self) -> dict[str, list[Structure]]:
        """The structures of each name."""
        groups: dict[str, list[Structure]] = defaultdict(list)
        for item in self.structures:
            groups[item.name].append(item)
        return dict(groups)

    def mend_checksums(self, before: bytes, after: bytearray) -> None:
        """Writes the right checksum into each structure that has one and whose bytes differ between the two."""
        for item in self.structures:
            place = slice(item.start, item.stop)
            if item.checksum is not None and before[place] != after[place]:
                after[item.checksum : item.checksum + 4] = checksum_of(after, item).to_bytes(4, "little")


class Cursor:
    """Reads little-endian fields one after the other and enters each in the atlas."""

    def __init__(self, data: bytes, atlas: Atlas, at: int, structure: str) -> None:
        self.data = data
        self.atlas = atlas
        self.at = at
        self.structure = structure

    def take(self, width: int, kind: Kind, label: str) -> int:
        """The next field, as an unsigned number."""
        if self.at + width > len(self.data):
            raise ValueError(f"{self.structure} {label} at {self.at} lies behind the end of the file")
        self.atlas.fields.append(Field(self.at, width, kind, f"{self.structure} {label}"))
        value = int.from_bytes(self.data[self.at : self.at + width], "little")
        self.at += width
        return value

    def address(self, label: str) -> int:
        """The next field, as an address in the file."""
        return self.take(WIDTH, Kind.ADDRESS, label)

    def expect(self, signature: bytes) -> None:
        """The signature that a structure begins with. Raises ValueError if another comes."""
        if self.take(len(signature), Kind.SIGNATURE, "signature") != int.from_bytes(signature, "little"):
            raise ValueError(f"no {self.structure} at {self.at - len(signature)}")

    def text(self, label: str, padded: int = 1) -> None:
        """A name that ends with a zero byte, which padding to a multiple of `padded` follows."""
        length = self.data.index(b"\0", self.at) + 1 - self.at
        self.take(length, Kind.NAME, label)
        self.skip(-length % padded)

    def skip(self, width: int) -> None:
        """Bytes that mean nothing."""
        if width:
            self.take(width, Kind.RESERVED, "reserved")

    def rest(self, stop: int, label: str, width: int = 4) -> None:
        """What remains until `stop`, as values of `width` bytes."""
        while self.at < stop:
            self.take(min(width, stop - self.at), Kind.VALUE, label)


def checksum_of(data: bytes | bytearray, structure: Structure) -> int:
    """The checksum that a structure should have."""
    assert structure.checksum is not None
    if structure.checksum + 4 == structure.stop:
        return lookup3(bytes(data[structure.start : structure.checksum]))
    content = bytearray(data[structure.start : structure.stop])
    at = structure.checksum - structure.start
    content[at : at + 4] = bytes(4)
    return lookup3(bytes(content))


def lookup3(data: bytes) -> int:
    """Bob Jenkins' hash, HDF5's checksum of metadata."""
    return int(lookup3_of_prefixes(data, np.array([len(data)]))[0]) if data else 0xDEADBEEF


def lookup3_of_prefixes(data: bytes, lengths: np.ndarray) -> np.ndarray:
    """The hashes (uint32) of the first n bytes, for each n of `lengths`: ascending and above 0.

    A structure's own length is often written in another one only; the length at which its checksum is right tells it.
    """
    longest = int(lengths[-1])
    words = np.frombuffer(data[:longest].ljust(-(-longest // 12) * 12, b"\0"), "<u4").reshape(-1, 3)
    state = np.repeat((lengths.astype(np.uint32) + np.uint32(0xDEADBEEF))[None], 3, axis=0)
    for index, block in enumerate(words[:-1]):
        longer = state[:, np.searchsorted(lengths, 12 * (index + 1), "right") :]
        longer += block[:, None]
        _mix(longer)
    last = (lengths - 1) // 12
    remaining = (lengths - 12 * last)[None] - 4 * np.arange(3)[:, None]
    bits = np.uint64(8) * np.clip(remaining, 0, 4).astype(np.uint64)
    mask = ((np.uint64(1) << bits) - np.uint64(1)).astype(np.uint32)
    state += words[last].T & mask
    _finish(state)
    return state[2]


def _mix(state: np.ndarray) -> None:
    a, b, c = state
    for (x, y, z), bits in zip(((a, c, b), (b, a, c), (c, b, a)) * 2, (4, 6, 8, 16, 19, 4), strict=True):
        np.subtract(x, y, out=x)
        np.bitwise_xor(x, _rotated(y, bits), out=x)
        np.add(y, z, out=y)


def _finish(state: np.ndarray) -> None:
    a, b, c = state
    for x, y, bits in ((c, b, 14), (a, c, 11), (b, a, 25), (c, b, 16), (a, c, 4), (b, a, 14), (c, b, 24)):
        np.bitwise_xor(x, y, out=x)
        np.subtract(x, _rotated(y, bits), out=x)


def _rotated(value: np.ndarray, bits: int) -> np.ndarray:
    return (value << np.uint32(bits)) | (value >> np.uint32(32 - bits))

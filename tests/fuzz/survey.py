"""Surveys an HDF5 file: follows its structures from the superblock on and enters all of their fields in an atlas.

Files with version 0 superblocks (all that AnnData and h5py write by default) are followed from address to address.
Those of `libver="latest"` have structures that begin with a signature and end with a checksum: there both are looked
for, so that no structure needs its parent to be found.
"""

from __future__ import annotations

import re
from contextlib import suppress

import numpy as np

from tests.fuzz.atlas import (
    UNDEFINED,
    WIDTH,
    Atlas,
    Cursor,
    Kind,
    Structure,
    checksum_of,
    lookup3_of_prefixes,
)
from tests.fuzz.messages import NAMES, Pointers, read_message

_LONGEST = 4096
_TREE_ENTRY = 2 * WIDTH
_ENTRY_BYTES = 40

_V, _C, _N, _S, _A = Kind.VERSION, Kind.CLASS, Kind.COUNT, Kind.SIZE, Kind.ADDRESS
# After signature and version: width, kind and name of each field (III.A.2, III.G, VII.C, VII.D).
_SIGNED: dict[bytes, tuple[tuple[int, Kind, str], ...]] = {
    b"BTHD": (
        (1, _C, "record type"),
        (4, _S, "node size"),
        (2, _S, "record size"),
        (2, _N, "depth"),
        (1, _S, "split percent"),
        (1, _S, "merge percent"),
        (8, _A, "root node"),
        (2, _N, "records in root"),
        (8, _N, "records in all"),
    ),
    b"BTIN": ((1, _C, "record type"),),
    b"BTLF": ((1, _C, "record type"),),
    b"FRHP": (
        (2, _S, "length of a heap id"),
        (2, _S, "filters' length"),
        (1, Kind.FLAGS, "flags"),
        (4, _S, "largest managed object"),
        (8, _N, "next huge object"),
        (8, _A, "huge objects' B-tree"),
        (8, _S, "free space"),
        (8, _A, "free-space manager"),
        *((8, _S, "space or count of objects") for _ in range(8)),
        (2, _S, "table width"),
        (8, _S, "starting block size"),
        (8, _S, "largest direct block"),
        (2, _S, "bits of the heap's size"),
        (2, _N, "starting rows"),
        (8, _A, "root block"),
        (2, _N, "rows"),
    ),
    b"FHIB": ((8, _A, "heap"),),
    b"FAHD": (
        (1, _C, "client"),
        (1, _S, "entry size"),
        (1, _S, "page bits"),
        (8, _N, "entries"),
        (8, _A, "data block"),
    ),
    b"FADB": ((1, _C, "client"), (8, _A, "header")),
    b"EAHD": (
        (1, _C, "client"),
        *((1, _S, "geometry") for _ in range(6)),
        *((8, _S, "blocks, sizes, elements") for _ in range(6)),
        (8, _A, "index block"),
    ),
    b"EAIB": ((1, _C, "client"), (8, _A, "header")),
    b"EASB": ((1, _C, "client"), (8, _A, "header")),
    b"EADB": ((1, _C, "client"), (8, _A, "header")),
}


def survey(data: bytes) -> Atlas:
    """The atlas of a sound HDF5 file. Raises ValueError for one that contradicts the specification."""
    surveyor = _Surveyor(data)
    surveyor.superblock()
    surveyor.follow()
    surveyor.global_heaps()
    if data[8] >= 2:
        surveyor.signed_structures()
    return surveyor.atlas


class _Surveyor:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.atlas = Atlas()
        self._headers: list[int] = []
        self._seen: set[int] = set()

    def superblock(self) -> None:
        cursor = self._cursor(8, "superblock")
        version = cursor.take(1, _V, "version")
        if version >= 2:
            self._superblock_2(cursor)
            return
        for label in ("free space version", "root entry version"):
            cursor.take(1, _V, label)
        cursor.skip(1)
        cursor.take(1, _V, "shared messages version")
        widths = cursor.take(1, _S, "size of offsets"), cursor.take(1, _S, "size of lengths")
        cursor.skip(1)
        if widths != (WIDTH, WIDTH):
            raise ValueError("addresses and lengths are not of 8 bytes")
        for label in ("group leaf K", "group internal K"):
            cursor.take(2, _N, label)
        cursor.take(4, Kind.FLAGS, "consistency flags")
        if version == 1:
            cursor.take(2, _N, "chunk K")
            cursor.skip(2)
        for label in ("base address", "free space", "end of file", "driver block"):
            cursor.address(label)
        self._headers.append(self._entry(cursor))
        self.atlas.structures.append(Structure("superblock", 0, cursor.at))

    def _superblock_2(self, cursor: Cursor) -> None:
        cursor.take(1, _S, "size of offsets")
        cursor.take(1, _S, "size of lengths")
        cursor.take(1, Kind.FLAGS, "consistency flags")
        for label in ("base address", "extension", "end of file"):
            cursor.address(label)
        self._headers.append(cursor.address("root group"))
        self.atlas.structures.append(Structure("superblock", 0, cursor.at + 4, cursor.at))

    def follow(self) -> None:
        while self._headers:
            address = self._headers.pop()
            if address == UNDEFINED or address in self._seen:
                continue
            self._seen.add(address)
            self._header(address)

    def _header(self, address: int) -> None:
        pointers = Pointers()
        if self.data[address : address + 4] == b"OHDR":
            self._header_2(address, pointers)
        else:
            self._header_1(address, pointers)
        for tree, heap in pointers.groups:
            self._group(tree, heap)
        for tree, rank in pointers.chunk_trees:
            self._chunk_tree(tree, rank)
        for start, length in pointers.data:
            self.atlas.structures.append(Structure("contiguous data", start, start + length))
        self._headers += pointers.objects

    def _header_1(self, address: int, pointers: Pointers) -> None:
        cursor = self._cursor(address, "object header")
        if cursor.take(1, _V, "version") != 1:
            raise ValueError(f"no object header at {address}")
        cursor.skip(1)
        cursor.take(2, _N, "messages")
        cursor.take(4, _N, "references")
        size = cursor.take(4, _S, "size")
        cursor.skip(4)
        self.atlas.structures.append(Structure("object header", address, cursor.at + size))
        pointers.blocks.append((cursor.at, size))
        for start, length in pointers.blocks:  # grows by the continuations that are found on the way
            if start != cursor.at:
                self.atlas.structures.append(Structure("continued header", start, start + length))
            self._messages_1(start, start + length, pointers)

    def _messages_1(self, start: int, stop: int, pointers: Pointers) -> None:
        cursor = self._cursor(start, "message")
        while cursor.at + 8 <= stop:
            begin = cursor.at
            cursor.structure = "message"
            number = cursor.take(2, _C, "type")
            size = cursor.take(2, _S, "size")
            flags = cursor.take(1, Kind.FLAGS, "flags")
            cursor.skip(3)
            self._message(cursor, number, flags, size, begin, pointers)

    def _header_2(self, address: int, pointers: Pointers) -> None:
        cursor = self._cursor(address, "OHDR")
        cursor.expect(b"OHDR")
        cursor.take(1, _V, "version")
        flags = cursor.take(1, Kind.FLAGS, "flags")
        for _ in range(4 if flags & 0x20 else 0):
            cursor.take(4, Kind.VALUE, "time")
        for _ in range(2 if flags & 0x10 else 0):
            cursor.take(2, _N, "limit of compact attributes")
        size = cursor.take(1 << (flags & 3), _S, "size")
        stop = cursor.at + size
        self.atlas.structures.append(Structure("OHDR", address, stop + 4, stop))
        self._messages_2(cursor, stop, flags, pointers)
        for start, length in pointers.blocks:
            part = self._cursor(start, "OCHK")
            part.expect(b"OCHK")
            self.atlas.structures.append(Structure("OCHK", start, start + length, start + length - 4))
            self._messages_2(part, start + length - 4, flags, pointers)

    def _messages_2(self, cursor: Cursor, stop: int, header_flags: int, pointers: Pointers) -> None:
        ordered = 2 if header_flags & 0x04 else 0
        while cursor.at + 4 + ordered <= stop:
            begin = cursor.at
            cursor.structure = "message"
            number = cursor.take(1, _C, "type")
            size = cursor.take(2, _S, "size")
            flags = cursor.take(1, Kind.FLAGS, "flags")
            if ordered:
                cursor.take(2, _N, "creation order")
            self._message(cursor, number, flags, size, begin, pointers)

    def _message(self, cursor: Cursor, number: int, flags: int, size: int, begin: int, pointers: Pointers) -> None:
        cursor.structure = NAMES.get(number, f"message {number}")
        stop = cursor.at + size
        read_message(cursor, number, flags, stop, pointers)
        cursor.at = stop
        self.atlas.structures.append(Structure(f"{cursor.structure} message", begin, stop))

    def _group(self, tree: int, heap: int) -> None:
        cursor = self._cursor(heap, "local heap")
        cursor.expect(b"HEAP")
        cursor.take(1, _V, "version")
        cursor.skip(3)
        size = cursor.take(WIDTH, _S, "data size")
        free = cursor.take(WIDTH, Kind.OFFSET, "free list")
        names = cursor.address("data")
        self.atlas.structures.append(Structure("local heap", heap, cursor.at))
        self.atlas.structures.append(Structure("names", names, names + size))
        if free < size:
            cursor.at = names + free
            cursor.take(WIDTH, Kind.OFFSET, "next free block")
            cursor.take(WIDTH, _S, "size of free block")
        self._group_tree(tree, names)

    def _group_tree(self, address: int, names: int) -> None:
        cursor, level, used = self._tree_node(address, "group B-tree")
        for _ in range(used):
            cursor.take(WIDTH, Kind.OFFSET, "key")
            child = cursor.address("child")
            if level:
                self._group_tree(child, names)
            else:
                self._symbols(child, names)
        cursor.take(WIDTH, Kind.OFFSET, "key")
        self.atlas.structures.append(Structure("group B-tree", address, cursor.at))

    def _symbols(self, address: int, names: int) -> None:
        cursor = self._cursor(address, "symbol node")
        cursor.expect(b"SNOD")
        cursor.take(1, _V, "version")
        cursor.skip(1)
        count = cursor.take(2, _N, "symbols")
        for _ in range(count):
            name = names + int.from_bytes(self.data[cursor.at : cursor.at + WIDTH], "little")
            self._headers.append(self._entry(cursor))
            self._cursor(name, "link").text("name")
        self.atlas.structures.append(Structure("symbol node", address, cursor.at))

    def _entry(self, cursor: Cursor) -> int:
        start = cursor.at
        cursor.take(WIDTH, Kind.OFFSET, "link name")
        address = cursor.address("object header")
        cached = cursor.take(4, _C, "cache type")
        cursor.skip(4)
        if cached == 1:
            cursor.address("cached B-tree")
            cursor.address("cached heap")
        else:
            cursor.take(2 * WIDTH, Kind.VALUE, "scratch pad")
        self.atlas.structures.append(Structure("symbol entry", start, start + _ENTRY_BYTES))
        return address

    def _chunk_tree(self, address: int, rank: int) -> None:
        cursor, level, used = self._tree_node(address, "chunk B-tree")
        for _ in range(used):
            size = self._chunk_key(cursor, rank)
            child = cursor.address("child")
            if level:
                self._chunk_tree(child, rank)
            else:
                self.atlas.structures.append(Structure("chunk", child, child + size))
        self._chunk_key(cursor, rank)
        self.atlas.structures.append(Structure("chunk B-tree", address, cursor.at))

    def _chunk_key(self, cursor: Cursor, rank: int) -> int:
        size = cursor.take(4, _S, "chunk size")
        cursor.take(4, Kind.FLAGS, "filter mask")
        for _ in range(rank):
            cursor.take(WIDTH, Kind.OFFSET, "chunk offset")
        return size

    def _tree_node(self, address: int, name: str) -> tuple[Cursor, int, int]:
        cursor = self._cursor(address, name)
        cursor.expect(b"TREE")
        cursor.take(1, _C, "node type")
        level = cursor.take(1, _N, "level")
        used = cursor.take(2, _N, "entries")
        cursor.address("left sibling")
        cursor.address("right sibling")
        return cursor, level, used

    def global_heaps(self) -> None:
        """Variable-length values, many of them compressed, say where these lie: they are looked for instead."""
        for match in re.finditer(rb"GCOL\x01\0\0\0", self.data):
            cursor = self._cursor(match.start(), "global heap")
            cursor.expect(b"GCOL")
            cursor.take(1, _V, "version")
            cursor.skip(3)
            stop = match.start() + cursor.take(WIDTH, _S, "size")
            self.atlas.structures.append(Structure("global heap", match.start(), stop))
            while cursor.at + 2 * WIDTH <= stop:
                index = cursor.take(2, _N, "object index")
                cursor.take(2, _N, "references")
                cursor.skip(4)
                size = cursor.take(WIDTH, _S, "object size")
                if index == 0:
                    break
                cursor.take(size, Kind.NAME, "object")
                cursor.skip(-size % 8)

    def signed_structures(self) -> None:
        """What has signature and checksum; an object header that no link message names was stored in a dense group."""
        for match in re.finditer(rb"OHDR\x02", self.data):
            self._unnamed_header(match.start())
        while self._headers:
            # What was deleted keeps its signature, and may name a place where something else lies by now.
            with suppress(ValueError):
                self.follow()
        for match in re.finditer(b"|".join([*_SIGNED, b"FHDB"]), self.data):
            if match.group() == b"FHDB":
                self._direct_block(match.start())
            else:
                self._signed(match.start(), match.group())

    def _unnamed_header(self, address: int) -> None:
        """Enters a header, unless it belongs to an object that was deleted and has been overwritten since."""
        if address in self._seen:
            return
        self._seen.add(address)
        known = len(self.atlas.fields), len(self.atlas.structures)
        try:
            self._header(address)
        except ValueError:
            del self.atlas.fields[known[0] :], self.atlas.structures[known[1] :]

    def _signed(self, start: int, signature: bytes) -> None:
        content = self.data[start : start + _LONGEST]
        lengths = np.arange(6, len(content) - 3)
        stored = np.lib.stride_tricks.sliding_window_view(np.frombuffer(content, np.uint8), 4)[6:]
        right = lookup3_of_prefixes(content, lengths) == stored.copy().view("<u4")[:, 0]
        if not right.any():
            return
        checksum = start + int(lengths[np.argmax(right)])
        cursor = self._cursor(start, signature.decode())
        cursor.expect(signature)
        cursor.take(1, _V, "version")
        for width, kind, label in _SIGNED[signature]:
            cursor.take(width, kind, label)
        cursor.rest(checksum, "entry", WIDTH)
        self.atlas.structures.append(Structure(cursor.structure, start, checksum + 4, checksum))

    def _direct_block(self, start: int) -> None:
        """A direct block of a fractal heap; its checksum comes before the objects and tells how long it is."""
        cursor = self._cursor(start, "FHDB")
        cursor.expect(b"FHDB")
        cursor.take(1, _V, "version")
        heap = cursor.address("heap")
        bits = int.from_bytes(self.data[heap + 128 : heap + 130], "little")
        cursor.take(-(-bits // 8), Kind.OFFSET, "block offset")
        stored = int.from_bytes(self.data[cursor.at : cursor.at + 4], "little")
        for size in (256 << power for power in range(10)):
            block = Structure("FHDB", start, start + size, cursor.at)
            if block.stop <= len(self.data) and checksum_of(self.data, block) == stored:
                cursor.at += 4
                cursor.rest(block.stop, "object", WIDTH)
                self.atlas.structures.append(block)
                return

    def _cursor(self, at: int, name: str) -> Cursor:
        return Cursor(self.data, self.atlas, at, name)

"""The messages of object headers, field by field (HDF5 File Format Specification, IV.A.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.fuzz.atlas import UNDEFINED, WIDTH, Cursor, Kind

NAMES = {
    0x00: "NIL",
    0x01: "dataspace",
    0x02: "link info",
    0x03: "datatype",
    0x04: "old fill value",
    0x05: "fill value",
    0x06: "link",
    0x08: "layout",
    0x0A: "group info",
    0x0B: "filter pipeline",
    0x0C: "attribute",
    0x10: "continuation",
    0x11: "symbol table",
    0x12: "modification time",
    0x15: "attribute info",
    0x16: "reference count",
}
_SHARED = 0x02
_COMPACT, _CONTIGUOUS, _CHUNKED = 0, 1, 2


@dataclass(slots=True)
class Pointers:
    """What an object header leads to."""

    groups: list[tuple[int, int]] = field(default_factory=list)
    """Symbol tables: addresses of the B-tree and of the local heap."""
    objects: list[int] = field(default_factory=list)
    chunk_trees: list[tuple[int, int]] = field(default_factory=list)
    """Version 1 B-trees of chunks: address and dimensions, that of the element's bytes included."""
    blocks: list[tuple[int, int]] = field(default_factory=list)
    """Continued headers: offset and length."""
    data: list[tuple[int, int]] = field(default_factory=list)
    """Contiguous data: offset and length."""


def read_message(cursor: Cursor, number: int, flags: int, stop: int, pointers: Pointers) -> None:
    """Enters the fields of the message of that number which ends at `stop`."""
    if flags & _SHARED:
        _shared(cursor)
    elif number in _READERS:
        _READERS[number](cursor, stop, pointers)
    cursor.rest(stop, "data")


def _shared(cursor: Cursor) -> None:
    version = cursor.take(1, Kind.VERSION, "shared version")
    cursor.take(1, Kind.CLASS, "shared type")
    cursor.skip(6 if version == 1 else 0)
    cursor.address("shared address")


def _dataspace(cursor: Cursor, _stop: int, _pointers: Pointers) -> None:
    version = cursor.take(1, Kind.VERSION, "version")
    rank = cursor.take(1, Kind.COUNT, "rank")
    flags = cursor.take(1, Kind.FLAGS, "flags")
    if version == 1:
        cursor.skip(5)
    else:
        cursor.take(1, Kind.CLASS, "type")
    for label in ("dimension", "maximum dimension")[: 1 + (flags & 1)]:
        for _ in range(rank):
            cursor.take(WIDTH, Kind.DIMENSION, label)


def _link_info(cursor: Cursor, _stop: int, _pointers: Pointers) -> None:
    _dense_storage(cursor, WIDTH)


def _attribute_info(cursor: Cursor, _stop: int, _pointers: Pointers) -> None:
    _dense_storage(cursor, 2)


def _dense_storage(cursor: Cursor, index_width: int) -> None:
    cursor.take(1, Kind.VERSION, "version")
    flags = cursor.take(1, Kind.FLAGS, "flags")
    if flags & 1:
        cursor.take(index_width, Kind.COUNT, "maximum creation index")
    cursor.address("fractal heap")
    cursor.address("name index")
    if flags & 2:
        cursor.address("creation order index")


def _datatype(cursor: Cursor, stop: int, _pointers: Pointers) -> None:
    head = cursor.take(1, Kind.CLASS, "class and version")
    bits = cursor.take(3, Kind.FLAGS, "class bits")
    size = cursor.take(4, Kind.SIZE, "element size")
    type_class, version = head & 0x0F, head >> 4
    match type_class:
        case 0 | 4:
            cursor.take(2, Kind.OFFSET, "bit offset")
            cursor.take(2, Kind.SIZE, "bit precision")
        case 1:
            for width, kind in ((2, Kind.OFFSET), (2, Kind.SIZE), (1, Kind.OFFSET), (1, Kind.SIZE)):
                cursor.take(width, kind, "float layout")
            cursor.take(1, Kind.OFFSET, "mantissa location")
            cursor.take(1, Kind.SIZE, "mantissa size")
            cursor.take(4, Kind.VALUE, "exponent bias")
        case 6:
            _compound(cursor, stop, bits & 0xFFFF, version, size)
        case 8:
            _enumeration(cursor, stop, bits & 0xFFFF, version)
        case 9:
            _datatype(cursor, stop, Pointers())
        case 10:
            _array(cursor, stop, version)


def _compound(cursor: Cursor, stop: int, count: int, version: int, size: int) -> None:
    # Version 3 writes offsets in as few bytes as the size of the whole element needs.
    width = 4 if version < 3 else (size.bit_length() + 7) // 8
    for _ in range(count):
        cursor.text("member name", 8 if version < 3 else 1)
        cursor.take(width, Kind.OFFSET, "member offset")
        if version == 1:
            cursor.take(1, Kind.COUNT, "member rank")
            cursor.skip(11)
            for _ in range(4):
                cursor.take(4, Kind.DIMENSION, "member dimension")
        _datatype(cursor, stop, Pointers())


def _enumeration(cursor: Cursor, stop: int, count: int, version: int) -> None:
    base_size = int.from_bytes(cursor.data[cursor.at + 4 : cursor.at + 8], "little")
    _datatype(cursor, stop, Pointers())
    for _ in range(count):
        cursor.text("name of a value", 8 if version < 3 else 1)
    for _ in range(count):
        cursor.take(base_size, Kind.VALUE, "value of a name")


def _array(cursor: Cursor, stop: int, version: int) -> None:
    rank = cursor.take(1, Kind.COUNT, "array rank")
    cursor.skip(3 if version < 3 else 0)
    for _ in range(rank if version >= 3 else 2 * rank):
        cursor.take(4, Kind.DIMENSION, "array dimension")
    _datatype(cursor, stop, Pointers())


def _fill_value(cursor: Cursor, stop: int, _pointers: Pointers) -> None:
    version = cursor.take(1, Kind.VERSION, "version")
    if version >= 3:
        defined = cursor.take(1, Kind.FLAGS, "flags") & 0x20
    else:
        cursor.take(1, Kind.FLAGS, "allocation time")
        cursor.take(1, Kind.FLAGS, "write time")
        defined = cursor.take(1, Kind.FLAGS, "defined") or version == 1
    if defined and cursor.at < stop:
        cursor.take(4, Kind.SIZE, "size")


def _link(cursor: Cursor, _stop: int, pointers: Pointers) -> None:
    cursor.take(1, Kind.VERSION, "version")
    flags = cursor.take(1, Kind.FLAGS, "flags")
    link_class = cursor.take(1, Kind.CLASS, "type") if flags & 0x08 else 0
    if flags & 0x04:
        cursor.take(8, Kind.COUNT, "creation order")
    if flags & 0x10:
        cursor.take(1, Kind.CLASS, "character set")
    length = cursor.take(1 << (flags & 3), Kind.SIZE, "length of name")
    cursor.take(length, Kind.NAME, "name")
    if link_class == 0:
        pointers.objects.append(cursor.address("object header"))
    else:
        length = cursor.take(2, Kind.SIZE, "length of target")
        cursor.take(length, Kind.NAME, "target")


def _layout(cursor: Cursor, _stop: int, pointers: Pointers) -> None:
    version = cursor.take(1, Kind.VERSION, "version")
    layout_class = cursor.take(1, Kind.CLASS, "class")
    if layout_class == _COMPACT:
        cursor.take(2, Kind.SIZE, "compact size")
    elif layout_class == _CONTIGUOUS:
        address = cursor.address("contiguous data")
        length = cursor.take(WIDTH, Kind.SIZE, "contiguous size")
        if address != UNDEFINED:
            pointers.data.append((address, length))
    elif layout_class == _CHUNKED and version == 3:
        rank = cursor.take(1, Kind.COUNT, "rank")
        address = cursor.address("chunk B-tree")
        for _ in range(rank):
            cursor.take(4, Kind.DIMENSION, "chunk dimension")
        if address != UNDEFINED:
            pointers.chunk_trees.append((address, rank))
    elif layout_class == _CHUNKED:
        _indexed_chunks(cursor)


def _indexed_chunks(cursor: Cursor) -> None:
    flags = cursor.take(1, Kind.FLAGS, "chunk flags")
    rank = cursor.take(1, Kind.COUNT, "rank")
    width = cursor.take(1, Kind.SIZE, "width of dimensions")
    for _ in range(rank):
        cursor.take(width, Kind.DIMENSION, "chunk dimension")
    index = cursor.take(1, Kind.CLASS, "chunk index type")
    if index == 1 and flags & 2:
        cursor.take(WIDTH, Kind.SIZE, "filtered size")
        cursor.take(4, Kind.FLAGS, "filter mask")
    for _ in range({3: 1, 4: 5}.get(index, 0)):
        cursor.take(1, Kind.SIZE, "chunk index parameter")
    if index == 5:
        cursor.take(4, Kind.SIZE, "chunk index node size")
        cursor.take(2, Kind.SIZE, "chunk index split and merge")
    cursor.address("chunk index")


def _filters(cursor: Cursor, _stop: int, _pointers: Pointers) -> None:
    version = cursor.take(1, Kind.VERSION, "version")
    count = cursor.take(1, Kind.COUNT, "filters")
    cursor.skip(6 if version == 1 else 0)
    for _ in range(count):
        identifier = cursor.take(2, Kind.FILTER, "identifier")
        length = cursor.take(2, Kind.SIZE, "length of name") if version == 1 or identifier >= 256 else 0
        cursor.take(2, Kind.FLAGS, "filter flags")
        values = cursor.take(2, Kind.COUNT, "client values")
        if length:
            cursor.take(length, Kind.NAME, "filter name")
        for _ in range(values):
            cursor.take(4, Kind.VALUE, "client value")
        cursor.skip(4 if version == 1 and values % 2 else 0)


def _attribute(cursor: Cursor, _stop: int, _pointers: Pointers) -> None:
    version = cursor.take(1, Kind.VERSION, "version")
    cursor.take(1, Kind.FLAGS, "flags")
    sizes = [cursor.take(2, Kind.SIZE, f"size of {part}") for part in ("name", "datatype", "dataspace")]
    if version == 3:
        cursor.take(1, Kind.CLASS, "character set")
    padded = [size + -size % 8 if version == 1 else size for size in sizes]
    ends = [cursor.at + sum(padded[: index + 1]) for index in range(3)]
    cursor.take(sizes[0], Kind.NAME, "name")
    cursor.skip(ends[0] - cursor.at)
    _datatype(cursor, ends[1], Pointers())
    cursor.at = ends[1]
    _dataspace(cursor, ends[2], Pointers())
    cursor.at = ends[2]


def _continuation(cursor: Cursor, _stop: int, pointers: Pointers) -> None:
    pointers.blocks.append((cursor.address("offset"), cursor.take(WIDTH, Kind.SIZE, "length")))


def _symbol_table(cursor: Cursor, _stop: int, pointers: Pointers) -> None:
    pointers.groups.append((cursor.address("B-tree"), cursor.address("local heap")))


_READERS: dict[int, Callable[[Cursor, int, Pointers], None]] = {
    0x01: _dataspace,
    0x02: _link_info,
    0x03: _datatype,
    0x05: _fill_value,
    0x06: _link,
    0x08: _layout,
    0x0B: _filters,
    0x0C: _attribute,
    0x10: _continuation,
    0x11: _symbol_table,
    0x15: _attribute_info,
}

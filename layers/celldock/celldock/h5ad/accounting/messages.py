"""The messages of object headers (HDF5 File Format Specification, IV.A.2): what they lead to, where each one ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from celldock.h5ad.accounting.cursor import UNDEFINED, Cursor
from celldock.h5ad.accounting.datatypes import Datatype, read_datatype
from celldock.h5ad.accounting.ledger import NotUnderstoodError
from celldock.h5ad.damage import damaged
from celldock.h5ad.layout import Filter

NIL = 0x00
CONTINUATION = 0x10
LAST_TYPE = 0x18
"""The highest type of message that the specification knows."""
_SHARED = 0x02
_HARD, _SOFT = 0, 1
_MAX_RANK = 32


@dataclass(slots=True)
class Layout:
    """Where the values of a dataset lie: `size` bytes at `address`, or chunks that the index at `address` tells of.

    `chunk` is the shape of a chunk, `element` the bytes of a value. `index` is that of layout version 4 and later, 0
    the older B-tree; `parameters` are the index's own numbers.
    """

    address: int = UNDEFINED
    size: int = 0
    compact: bytes | None = None
    chunk: tuple[int, ...] | None = None
    element: int = 0
    index: int = 0
    parameters: tuple[int, ...] = ()
    edges_unfiltered: bool = False


@dataclass(slots=True)
class Contents:
    """What the messages of one object header have said."""

    datatype: Datatype | None = None
    dimensions: tuple[int, ...] | None = None
    layout: Layout | None = None
    filters: tuple[Filter, ...] = ()
    fill: bytes = b""
    symbol_tables: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    dense_links: list[tuple[int, tuple[int, ...]]] = field(default_factory=list[tuple[int, tuple[int, ...]]])
    """Addresses of the fractal heap and of the B-trees that index it, by name first."""
    dense_attributes: list[tuple[int, tuple[int, ...]]] = field(default_factory=list[tuple[int, tuple[int, ...]]])
    links: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    """Names of members and the addresses of their object headers."""
    values: list[tuple[bytes, Datatype]] = field(default_factory=list[tuple[bytes, Datatype]])
    """Values of attributes that hold pointers into global heaps."""
    free_space: list[int] = field(default_factory=list[int])
    tree_k: tuple[int, int, int] | None = None
    """K of version 1 B-trees: of chunks, of groups, and of symbol nodes."""


def read_message(number: int, flags: int, body: Cursor, contents: Contents) -> None:
    """Enters what a message says; the cursor is left where its content ends."""
    reader = _READERS.get(number)
    if reader is None:
        raise NotUnderstoodError(f"An object has a message of type {number}, which AnnData does not write", body.offset)
    if flags & _SHARED:
        raise NotUnderstoodError("An object shares a message with others", body.offset)
    reader(body, contents)


def read_link(body: Cursor, contents: Contents) -> None:
    """A link message, which may lie in a fractal heap too."""
    body.number(1)
    flags = body.number(1)
    kind = body.number(1) if flags & 0x08 else _HARD
    if flags & 0x04:
        body.take(8)
    if flags & 0x10:
        body.take(1)
    name = bytes(body.take(body.number(1 << (flags & 3)))).decode(errors="backslashreplace")
    if kind == _HARD:
        contents.links.append((name, body.number(8)))
    elif kind == _SOFT:
        body.take(body.number(2))
    else:
        raise NotUnderstoodError("A link leads to another file", body.offset)


def read_attribute(body: Cursor, contents: Contents) -> None:
    """An attribute message, which may lie in a fractal heap too."""
    version = body.number(1)
    if version not in (1, 2, 3):
        _unknown_version(body, "An attribute")
    flags = body.number(1)
    if version > 1 and flags & 3:
        raise NotUnderstoodError("An attribute shares its datatype with others", body.offset)
    lengths = [body.number(2) for _ in range(3)]
    if version == 3:
        body.take(1)
    if version == 1:
        lengths = [length + -length % 8 for length in lengths]
    body.take(lengths[0])
    datatype = read_datatype(body.part(lengths[1]))
    dimensions = _dimensions(body.part(lengths[2]))
    length = datatype.size * math.prod(dimensions)
    value = body.take(length)
    if datatype.pointers:
        contents.values.append((bytes(value), datatype))


def _nil(_body: Cursor, _contents: Contents) -> None:
    """All of it is slack."""


def _dataspace(body: Cursor, contents: Contents) -> None:
    contents.dimensions = _dimensions(body)


def _dimensions(body: Cursor) -> tuple[int, ...]:
    """The shape; a null dataspace comes as (0,)."""
    version, rank, flags = body.number(1), body.number(1), body.number(1)
    if version == 1:
        body.take(5)
    elif version != 2:
        _unknown_version(body, "A dataspace")
    null = version == 2 and body.number(1) == 2
    if rank > _MAX_RANK:
        raise damaged(body.where, f"it has {rank} axes")
    shape = tuple(body.number(8) for _ in range(rank))
    if flags & 1:
        body.take(8 * rank)
    return (0,) if null else shape


def _link_info(body: Cursor, contents: Contents) -> None:
    _dense(body, 8, contents.dense_links)


def _attribute_info(body: Cursor, contents: Contents) -> None:
    _dense(body, 2, contents.dense_attributes)


def _dense(body: Cursor, index_width: int, found: list[tuple[int, tuple[int, ...]]]) -> None:
    body.number(1)
    flags = body.number(1)
    if flags & 1:
        body.take(index_width)
    heap, by_name = body.number(8), body.number(8)
    by_order = body.number(8) if flags & 2 else UNDEFINED
    if heap != UNDEFINED:
        found.append((heap, tuple(tree for tree in (by_name, by_order) if tree != UNDEFINED)))


def _datatype(body: Cursor, contents: Contents) -> None:
    contents.datatype = read_datatype(body)


def _old_fill(body: Cursor, contents: Contents) -> None:
    contents.fill = bytes(body.take(body.number(4)))


def _fill(body: Cursor, contents: Contents) -> None:
    version = body.number(1)
    if version in (1, 2):
        body.take(2)
        defined = body.number(1) != 0 or version == 1
    elif version == 3:
        defined = bool(body.number(1) & 0x20)
    else:
        _unknown_version(body, "A fill value")
    if defined:
        contents.fill = bytes(body.take(body.number(4)))


def _layout(body: Cursor, contents: Contents) -> None:
    version, kind = body.number(1), body.number(1)
    if version not in (3, 4, 5) or kind > 2 or contents.layout is not None:
        raise NotUnderstoodError("The layout of a dataset is of a kind that is not followed", body.offset)
    if kind == 0:
        contents.layout = Layout(compact=bytes(body.take(body.number(2))))
    elif kind == 1:
        contents.layout = Layout(body.number(8), body.number(8))
    elif version == 3:
        rank = body.number(1)
        address = body.number(8)
        *chunk, element = _edges(body, rank, 4)
        contents.layout = Layout(address, chunk=tuple(chunk), element=element)
    else:
        contents.layout = _indexed(body)


_INDEX_WIDTHS = {1: (8, 4), 2: (), 3: (1,), 4: (1, 1, 1, 1, 1), 5: (4, 1, 1)}


def _indexed(body: Cursor) -> Layout:
    flags, rank, width = body.number(1), body.number(1), body.number(1)
    *chunk, element = _edges(body, rank, width)
    index = body.number(1)
    if index not in _INDEX_WIDTHS:
        raise NotUnderstoodError("Chunks are indexed in a way that is not followed", body.offset)
    widths = () if index == 1 and not flags & 2 else _INDEX_WIDTHS[index]
    parameters = tuple(body.number(each) for each in widths)
    address = body.number(8)
    return Layout(
        address,
        chunk=tuple(chunk),
        element=element,
        index=index,
        parameters=parameters,
        edges_unfiltered=bool(flags & 1),
    )


def _edges(body: Cursor, rank: int, width: int) -> list[int]:
    edges = [body.number(width) for _ in range(rank)]
    if not 2 <= rank <= _MAX_RANK + 1 or min(edges) < 1:
        raise damaged(body.where, "its chunks have no shape")
    return edges


def _filters(body: Cursor, contents: Contents) -> None:
    version, count = body.number(1), body.number(1)
    if version not in (1, 2):
        _unknown_version(body, "A filter pipeline")
    if version == 1:
        body.take(6)
    filters: list[Filter] = []
    for _ in range(count):
        identifier = body.number(2)
        length = body.number(2) if version == 1 or identifier >= 256 else 0
        body.take(2)
        values = body.number(2)
        body.take(length)
        filters.append(Filter(identifier, tuple(body.number(4) for _ in range(values))))
        if version == 1 and values % 2:
            body.take(4)
    contents.filters = tuple(filters)


def _symbol_table(body: Cursor, contents: Contents) -> None:
    contents.symbol_tables.append((body.number(8), body.number(8)))


def _group_info(body: Cursor, _contents: Contents) -> None:
    body.number(1)
    flags = body.number(1)
    body.take(4 * ((flags & 1) + (flags >> 1 & 1)))


def _tree_k(body: Cursor, contents: Contents) -> None:
    body.number(1)
    contents.tree_k = body.number(2), body.number(2), body.number(2)


def _file_space(body: Cursor, contents: Contents) -> None:
    """Strategy and managers of free space; version 1 is that of HDF5 1.10 and later."""
    version = body.number(1)
    if version != 1:
        _unknown_version(body, "The management of free space")
    body.take(1)
    persists = body.number(1)
    body.take(8 + 8 + 2 + 8)
    if persists:
        contents.free_space += (address for address in (body.number(8) for _ in range(12)) if address != UNDEFINED)


def _passed(length: int) -> Callable[[Cursor, Contents], None]:
    def read(body: Cursor, _contents: Contents) -> None:
        body.take(length)

    return read


def _comment(body: Cursor, _contents: Contents) -> None:
    body.text()


def _unknown_version(body: Cursor, what: str) -> NoReturn:
    raise NotUnderstoodError(f"{what} is written in a version that is not followed", body.offset)


_READERS: dict[int, Callable[[Cursor, Contents], None]] = {
    NIL: _nil,
    0x01: _dataspace,
    0x02: _link_info,
    0x03: _datatype,
    0x04: _old_fill,
    0x05: _fill,
    0x06: read_link,
    0x08: _layout,
    0x0A: _group_info,
    0x0B: _filters,
    0x0C: read_attribute,
    0x0D: _comment,
    0x0E: _passed(16),
    CONTINUATION: _passed(16),
    0x11: _symbol_table,
    0x12: _passed(8),
    0x13: _tree_k,
    0x15: _attribute_info,
    0x16: _passed(5),
    0x17: _file_space,
}

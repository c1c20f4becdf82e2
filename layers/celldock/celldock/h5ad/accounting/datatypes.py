"""Datatypes, as far as it takes to find pointers into global heaps (HDF5 File Format Specification, IV.A.2.d)."""

from __future__ import annotations

from dataclasses import dataclass

from celldock.h5ad.accounting.cursor import Cursor
from celldock.h5ad.accounting.ledger import NotUnderstoodError
from celldock.h5ad.damage import damaged

POINTER_BYTES = 16
"""A value of varying length: its length (4 bytes), the collection's address (8) and the object's number in it (4)."""

_MAX_DEPTH = 8
_FIXED_PROPERTIES = {0: 4, 1: 12, 2: 2, 3: 0, 4: 4}
_OPAQUE, _COMPOUND, _REFERENCE, _ENUM, _VARYING, _ARRAY = range(5, 11)


@dataclass(frozen=True, slots=True)
class Datatype:
    """Bytes of a value, and where within it pointers into global heaps lie."""

    size: int
    pointers: tuple[int, ...] = ()


def read_datatype(cursor: Cursor, depth: int = 0) -> Datatype:
    """The datatype that begins at the cursor, which is moved behind it."""
    place = cursor.place
    if depth > _MAX_DEPTH:
        raise NotUnderstoodError("A datatype has too many parts within parts", place)
    head = cursor.number(1)
    bits = cursor.number(3)
    size = cursor.number(4)
    kind, version = head & 0x0F, head >> 4
    if kind in _FIXED_PROPERTIES:
        cursor.take(_FIXED_PROPERTIES[kind])
    elif kind == _OPAQUE:
        cursor.take(bits & 0xFF)
    elif kind == _COMPOUND:
        return Datatype(size, _members(cursor, bits & 0xFFFF, version, size, depth))
    elif kind == _REFERENCE and bits & 0x0F == 0 and version < 4:
        pass
    elif kind == _ENUM:
        base = read_datatype(cursor, depth + 1)
        for _ in range(bits & 0xFFFF):
            cursor.text(8 if version < 3 else 1)
        cursor.take((bits & 0xFFFF) * base.size)
    elif kind == _VARYING:
        base = read_datatype(cursor, depth + 1)
        if base.pointers or size != POINTER_BYTES:
            raise NotUnderstoodError("Values of varying length hold others", place)
        return Datatype(size, (0,))
    elif kind == _ARRAY:
        _array(cursor, version, depth, place)
    else:
        raise NotUnderstoodError("A datatype is of a kind that AnnData does not write", place)
    if not size:
        raise damaged(cursor.where, "its values take no bytes")
    return Datatype(size)


def _members(cursor: Cursor, count: int, version: int, size: int, depth: int) -> tuple[int, ...]:
    # Version 3 writes offsets in as few bytes as the size of the whole value needs.
    width = 4 if version < 3 else (size.bit_length() + 7) // 8
    pointers: list[int] = []
    for _ in range(count):
        cursor.text(8 if version < 3 else 1)
        offset = cursor.number(width)
        rank = 0
        if version == 1:
            rank = cursor.number(1)
            cursor.take(27)
        member = read_datatype(cursor, depth + 1)
        if rank and member.pointers:
            raise NotUnderstoodError("A record holds lists of values of varying length", cursor.place)
        if offset + member.size > size:
            raise damaged(cursor.where, "a field of its records lies outside of them")
        pointers += (offset + pointer for pointer in member.pointers)
    return tuple(pointers)


def _array(cursor: Cursor, version: int, depth: int, place: int) -> None:
    rank = cursor.number(1)
    cursor.take(4 * rank if version >= 3 else 3 + 8 * rank)
    if read_datatype(cursor, depth + 1).pointers:
        raise NotUnderstoodError("Arrays hold values of varying length", place)

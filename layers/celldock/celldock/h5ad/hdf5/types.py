"""The data types that an h5ad file may use: numbers, h5py's booleans, strings, and flat records of these."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from h5py import h5t

from celldock.h5ad.hdf5.faults import Place, damaged, hostile, unread
from celldock.h5ad.hdf5.names import refuse_name

MAX_VALUE_BYTES = 16 * 1024 * 1024
"""Bytes of one value: a string of fixed length, a record."""
_HEAP_POINTER_BYTES = 16
"""What a string of any length takes in its dataset: the text itself lies in a heap (HDF5 file format, IV.A.2.d)."""
_MEMORY_POINTER_BYTES = 8
_BOOLEAN = {b"FALSE": 0, b"TRUE": 1}
"""In either order: rhdf5, with which anndataR writes, names TRUE first."""


def _by_size(types: Iterable[h5t.TypeID]) -> dict[tuple[int, int], list[h5t.TypeID]]:
    sorted_out: dict[tuple[int, int], list[h5t.TypeID]] = {}
    for known in types:
        sorted_out.setdefault((known.get_class(), known.get_size()), []).append(known)
    return sorted_out


_NUMBERS = _by_size(
    (
        *(h5t.STD_I8LE, h5t.STD_I8BE, h5t.STD_U8LE, h5t.STD_U8BE),
        *(h5t.STD_I16LE, h5t.STD_I16BE, h5t.STD_U16LE, h5t.STD_U16BE),
        *(h5t.STD_I32LE, h5t.STD_I32BE, h5t.STD_U32LE, h5t.STD_U32BE),
        *(h5t.STD_I64LE, h5t.STD_I64BE, h5t.STD_U64LE, h5t.STD_U64BE),
        *(h5t.IEEE_F16LE, h5t.IEEE_F16BE, h5t.IEEE_F32LE, h5t.IEEE_F32BE, h5t.IEEE_F64LE, h5t.IEEE_F64BE),
    )
)
_UNREAD = {
    h5t.INTEGER: "holds integers of an unusual width",
    h5t.FLOAT: "holds floating-point numbers of an unusual width",
    h5t.BITFIELD: "holds bit fields",
    h5t.TIME: "holds values of HDF5's obsolete time type",
    h5t.VLEN: "holds lists of varying length",
    h5t.ARRAY: "holds an array in each value",
    h5t.ENUM: "holds an enumeration that is not h5py's boolean",
    h5t.COMPLEX: "holds complex numbers",
}


def value_bytes(type_id: h5t.TypeID, where: Place) -> int:
    """Bytes that one value takes in the file. Raises InvalidSubmission for types that AnnData never writes."""
    with damaged(where):
        committed = type_id.committed()
    if committed:
        unread("file.named_type", where, "uses a data type that is stored apart from the data")
    size = _record_bytes(type_id, where) if isinstance(type_id, h5t.TypeCompoundID) else _plain_bytes(type_id, where)
    if size > MAX_VALUE_BYTES:
        problem = f"declares values of {size:,} bytes each, more than celldock reads ({MAX_VALUE_BYTES:,})"
        hostile("file.value_too_large", where, problem)
    return size


def _record_bytes(record: h5t.TypeCompoundID, where: Place) -> int:
    with damaged(where):
        count = record.get_nmembers()
        size = record.get_size()
    for index in range(count):
        with damaged(where):
            name, field = record.get_member_name(index), record.get_member_type(index)
        refuse_name(name, where)
        if isinstance(field, h5t.TypeCompoundID):
            unread("file.type_unread", where, "holds records within records")
        size += _plain_bytes(field, where) - field.get_size()
    return size


def _plain_bytes(type_id: h5t.TypeID, where: Place) -> int:
    """Bytes of a value that is no record."""
    with damaged(where):
        kind, size = type_id.get_class(), type_id.get_size()
        known = (
            _is_boolean(type_id)
            if isinstance(type_id, h5t.TypeEnumID)
            else any(type_id.equal(number) for number in _NUMBERS.get((kind, size), ()))
        )
        pointer = isinstance(type_id, h5t.TypeStringID) and type_id.is_variable_str()
    if pointer:
        return size + _HEAP_POINTER_BYTES - _MEMORY_POINTER_BYTES
    if not known and kind != h5t.STRING:
        _refuse_kind(kind, where)
    return size


def _refuse_kind(kind: int, where: Place) -> NoReturn:
    if kind == h5t.REFERENCE:
        hostile("file.reference", where, "holds references to other places of the file")
    if kind == h5t.OPAQUE:
        problem = "holds bytes without a meaning, such as pickled objects or raw dates"
        hint = "Remove it, or store numbers or text instead (dates as ISO 8601 text), and write the file anew."
        hostile("file.opaque", where, problem, hint)
    problem = _UNREAD.get(kind, "holds values of a kind that AnnData does not write")
    hint = "Convert it to plain integers, floats, booleans or text, and write the file anew with write_h5ad."
    unread("file.type_unread", where, problem, hint)


def _is_boolean(enumeration: h5t.TypeEnumID) -> bool:
    if enumeration.get_nmembers() != len(_BOOLEAN) or enumeration.get_super().get_size() != 1:
        return False
    return {enumeration.get_member_name(i): enumeration.get_member_value(i) for i in range(2)} == _BOOLEAN

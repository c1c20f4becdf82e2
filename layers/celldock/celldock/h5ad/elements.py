"""Plain values of what an h5ad file holds beside matrices and data frames: uns above all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

import numpy as np

from celldock.h5ad.frames import Column
from celldock.h5ad.headers import ColumnKind, MatrixEncoding

MAX_ELEMENT_BYTES = 64 * 1024 * 1024
"""What one element may take in memory, all that lies below it included."""
MAX_ELEMENT_NODES = 25_000
"""Groups and datasets of one element."""
MAX_ELEMENT_DEPTH = 16
"""Levels of one element."""

type Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A data frame, or a record array, which has no `index`. Its columns carry their categories."""

    index: Column | None
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Sparse:
    """A sparse matrix as it is stored; whether `indptr` and `indices` are sound has not been looked at."""

    encoding: MatrixEncoding
    shape: tuple[int, int]
    indptr: Array
    indices: Array
    data: Array


@dataclass(frozen=True, slots=True, eq=False)
class Awkward:
    """A ragged or nested array: `awkward.from_buffers(form, length, buffers)` makes one of it."""

    form: str
    length: int
    buffers: Mapping[str, Array]


type Scalar = bool | int | float | complex | str
type Element = Scalar | Array | Column | Table | Sparse | Awkward | Mapping[str, Element] | None
"""An array of text holds `str` objects; a Column is categorical or nullable, and carries its categories."""


def to_plain(element: Element) -> Any:
    """The element as JSON-able values with NumPy arrays of numbers or `str` in them, as they travel between processes.

    What is neither is a dictionary of one key, which names its kind.
    """
    plain: Any = element
    match element:
        case complex():
            plain = {"complex": [element.real, element.imag]}
        case np.ndarray() if element.dtype.kind == "c":
            plain = {"complex": [element.real, element.imag]}
        case Column():
            plain = {"column": _plain_column(element)}
        case Table(index, columns):
            names = None if index is None else _plain_column(index)
            plain = {"table": {"index": names, "columns": [_plain_column(column) for column in columns]}}
        case Sparse(encoding, shape, indptr, indices, data):
            plain = {"sparse": {"encoding": encoding, "shape": list(shape), "arrays": [indptr, indices, data]}}
        case Awkward(form, length, buffers):
            plain = {"awkward": {"form": form, "length": length, "buffers": dict(buffers)}}
        case Mapping():
            plain = {"dict": {key: to_plain(item) for key, item in element.items()}}
        case _:
            pass
    return plain


def from_plain(plain: Any) -> Element:
    """The element that `to_plain` took apart. Raises ValueError for what it never makes."""
    element: Element
    match plain:
        case None | bool() | int() | float() | str() | np.ndarray():
            element = cast("Element", plain)
        case {"complex": [float(real), float(imaginary)]}:
            element = complex(real, imaginary)
        case {"complex": [np.ndarray() as real, np.ndarray() as imaginary]} if real.shape == imaginary.shape:
            element = cast("Array", real + 1j * imaginary)
        case {"column": column}:
            element = _column(column)
        case {"table": {"index": index, "columns": [*columns]}}:
            element = Table(None if index is None else _column(index), tuple(map(_column, columns)))
        case {"sparse": {"encoding": "csr" | "csc" as encoding, "shape": [int(rows), int(columns)], "arrays": arrays}}:
            indptr, indices, data = map(_array, arrays)
            element = Sparse(encoding, (rows, columns), indptr, indices, data)
        case {"awkward": {"form": str(form), "length": int(length), "buffers": {**buffers}}}:
            element = Awkward(form, length, {str(name): _array(buffer) for name, buffer in buffers.items()})
        case {"dict": {**items}}:
            element = {str(key): from_plain(item) for key, item in items.items()}
        case _:
            raise ValueError("no element")
    return element


def _plain_column(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "kind": column.kind,
        "values": column.values,
        "categories": column.categories,
        "mask": column.mask,
        "ordered": column.ordered,
    }


def _column(plain: Any) -> Column:
    match plain:
        case {
            "name": str(name),
            "kind": str(kind),
            "values": np.ndarray() as values,
            "categories": (None | np.ndarray()) as categories,
            "mask": (None | np.ndarray()) as mask,
        } if kind in get_args(ColumnKind):
            ordered = cast("dict[str, Any]", plain).get("ordered") is True
            column = Column(name, cast("ColumnKind", kind), values, categories, mask, ordered)
        case _:
            raise ValueError("no column")
    if mask is not None and (mask.dtype != bool or mask.shape != values.shape):
        raise ValueError("a mask of other values")
    if categories is not None and not _are_codes(values, len(categories)):
        raise ValueError("codes of other categories")
    return column


def _are_codes(values: Array, categories: int) -> bool:
    return values.dtype.kind in "iu" and (not values.size or -1 <= values.min() <= values.max() < categories)


def _array(plain: Any) -> Array:
    if not isinstance(plain, np.ndarray):
        raise ValueError("no array")
    return cast("Array", plain)

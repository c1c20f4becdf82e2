"""What a child can be asked to do with the open file.

To add an operation: write it as a function of the open file and of keyword arguments that are JSON-able, let it return
JSON-able values (`None`, numbers, text, lists, dictionaries of text keys) and NumPy arrays of numbers or of `str`,
anywhere in them, and name it in `OPERATIONS`. InvalidSubmission and HostileFile reach the caller as they were raised.
The parent's side is a typed method of `celldock.h5ad.file.H5adFile`, which checks the answer: here libhdf5 has seen
hostile bytes, so what arrives there may be anything.

Everything that an operation needs must be imported when this module is: a child can open no file, not even a module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from celldock.h5ad.elements import to_plain
from celldock.h5ad.hdf5.headers import header_of
from celldock.h5ad.hdf5.layouts import file_layout
from celldock.h5ad.hdf5.opened import OpenFile
from celldock.h5ad.hdf5.values import read_element
from celldock.h5ad.hdf5.walk import guard_file
from celldock.h5ad.headers import ArrayHeader, ColumnHeader, FrameHeader, Header


def _guard(file: OpenFile, *, size: int) -> dict[str, Any]:
    return guard_file(file.hdf5, size).to_json()


def _header(file: OpenFile) -> dict[str, Any]:
    return header_of(file.hdf5).to_json()


def _layout(file: OpenFile, *, header: dict[str, Any], columns: list[str]) -> dict[str, Any]:
    document, tables = file_layout(file.hdf5, Header.from_json(header), columns).to_parts()
    return {"document": document, "offsets": tables.offsets, "sizes": tables.sizes, "masks": tables.masks}


def _column(file: OpenFile, *, column: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    read = file.frames.column(ColumnHeader(**column), start, stop)
    return {"values": read.values, "mask": read.mask}


def _column_length(file: OpenFile, *, column: dict[str, Any]) -> int:
    return file.frames.column_length(ColumnHeader(**column))


def _categories(file: OpenFile, *, column: dict[str, Any]) -> np.ndarray:
    return file.frames.categories(ColumnHeader(**column))


def _index(file: OpenFile, *, frame: dict[str, Any], start: int, stop: int) -> np.ndarray:
    return file.frames.index(FrameHeader.from_json(frame), start, stop)


def _array(file: OpenFile, *, array: dict[str, Any], start: int, stop: int) -> np.ndarray:
    return file.frames.array(ArrayHeader.from_json(array), start, stop)


def _element(file: OpenFile, *, path: str) -> Any:
    return to_plain(read_element(file.hdf5, path))


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "guard": _guard,
    "header": _header,
    "layout": _layout,
    "column": _column,
    "column_length": _column_length,
    "categories": _categories,
    "index": _index,
    "array": _array,
    "element": _element,
}

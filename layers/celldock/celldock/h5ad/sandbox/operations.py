"""What a child can be asked to do with the open file.

To add an operation: write it as a function of the open file and of keyword arguments, name it in `OPERATIONS`.
What it takes and returns are JSON-able values (`None`, numbers, text, lists, dictionaries of text keys) with NumPy
arrays of numbers or of `str` anywhere in them. InvalidSubmission, HostileFile and CannotAppend reach the caller as they
were raised. The parent's side is a typed method of `celldock.h5ad.file.H5adFile`, which checks the answer: here libhdf5
has seen hostile bytes, so what arrives there may be anything.

Everything that an operation needs must be imported when this module is: a child can open no file, not even a module.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from celldock.h5ad.elements import to_plain
from celldock.h5ad.hdf5.appending import Appending
from celldock.h5ad.hdf5.encodings import ColumnPlan
from celldock.h5ad.hdf5.headers import header_of, matrix_of
from celldock.h5ad.hdf5.layouts import file_layout
from celldock.h5ad.hdf5.opened import OpenFile
from celldock.h5ad.hdf5.overlay import Overlay
from celldock.h5ad.hdf5.repacking import repack
from celldock.h5ad.hdf5.rewriting import Rewriting
from celldock.h5ad.hdf5.storage import dataset_paths, storage_of
from celldock.h5ad.hdf5.values import read_element
from celldock.h5ad.hdf5.walk import guard_file
from celldock.h5ad.headers import ArrayHeader, ColumnHeader, FrameHeader, Header
from celldock.h5ad.placing import Placing


def _guard(file: OpenFile, *, size: int) -> dict[str, Any]:
    return guard_file(file.hdf5, size).to_json()


def _header(file: OpenFile) -> dict[str, Any]:
    return header_of(file.hdf5).to_json()


def _matrix(file: OpenFile, *, path: str) -> dict[str, Any] | None:
    matrix = matrix_of(file.hdf5, path)
    return None if matrix is None else asdict(matrix)


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


def _append_start(file: OpenFile, *, columns: list[list[str]], elements: list[list[str]]) -> None:
    file.appending = Appending(file.hdf5, Overlay(file.stream, file.size, file.pages))
    file.appending.rename(columns, elements)


def _append_index(file: OpenFile, *, frame: str, rows: int, former: str) -> None:
    _appending(file).start_index(frame, rows, former)


def _append_column(file: OpenFile, *, column: dict[str, Any]) -> None:
    _appending(file).start_column(ColumnPlan(**column))


def _append_rows(file: OpenFile, *, values: np.ndarray, mask: np.ndarray | None) -> None:
    _appending(file).write(values, mask)


def _append_element(file: OpenFile, *, path: str, value: Any, replaces: bool) -> None:
    _appending(file).add_element(path, value, replaces=replaces)


def _append_finish(file: OpenFile, *, removed_columns: dict[str, list[str]], removed_elements: list[str]) -> int:
    appending, file.appending = _appending(file), None
    return appending.finish(removed_columns, removed_elements)


def _appending(file: OpenFile) -> Appending:
    assert file.appending is not None
    return file.appending


def _repack(file: OpenFile) -> int:
    return repack(file.hdf5, Overlay(io.RawIOBase(), 0, file.pages))


def _rewrite_start(file: OpenFile, *, placing: dict[str, Any]) -> None:
    overlay = Overlay(io.RawIOBase(), 0, file.pages)
    file.rewriting = Rewriting(file.hdf5, overlay, Placing.from_plain(placing))


def _rewrite_copy(file: OpenFile) -> bool:
    return _rewriting(file).copy()


def _rewrite_sparse(file: OpenFile, *, path: str, shape: list[int]) -> None:
    rows, columns = shape
    _rewriting(file).sparse(path, (rows, columns))


def _rewrite_growing(file: OpenFile, *, path: str, dtype: str, chunk: int) -> None:
    _rewriting(file).growing(path, dtype, chunk)


def _rewrite_array(file: OpenFile, *, path: str, shape: list[int], dtype: str) -> None:
    _rewriting(file).array(path, tuple(shape), dtype)


def _rewrite_chunks(file: OpenFile, *, chunks: list[dict[str, Any]]) -> None:
    for chunk in chunks:
        _rewriting(file).write_chunk(chunk["path"], tuple(chunk["corner"]), chunk["length"], chunk["stored"])


def _rewrite_frame(file: OpenFile, *, path: str, index: str, columns: list[str]) -> None:
    _rewriting(file).frame(path, index, columns)


def _rewrite_column(file: OpenFile, *, column: dict[str, Any]) -> None:
    _rewriting(file).start_column(ColumnPlan(**column))


def _rewrite_rows(file: OpenFile, *, values: np.ndarray, mask: np.ndarray | None) -> None:
    _rewriting(file).write(values, mask)


def _rewrite_finish(file: OpenFile) -> int:
    rewriting, file.rewriting = _rewriting(file), None
    return rewriting.finish()


def _rewriting(file: OpenFile) -> Rewriting:
    assert file.rewriting is not None
    return file.rewriting


def _datasets(file: OpenFile) -> list[str]:
    return dataset_paths(file.hdf5)


def _storage(file: OpenFile, *, paths: list[str]) -> dict[str, Any]:
    return storage_of(file.hdf5, paths)


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "guard": _guard,
    "header": _header,
    "matrix": _matrix,
    "layout": _layout,
    "column": _column,
    "column_length": _column_length,
    "categories": _categories,
    "index": _index,
    "array": _array,
    "element": _element,
    "append_start": _append_start,
    "append_index": _append_index,
    "append_column": _append_column,
    "append_rows": _append_rows,
    "append_element": _append_element,
    "append_finish": _append_finish,
    "repack": _repack,
    "rewrite_start": _rewrite_start,
    "rewrite_copy": _rewrite_copy,
    "rewrite_sparse": _rewrite_sparse,
    "rewrite_growing": _rewrite_growing,
    "rewrite_array": _rewrite_array,
    "rewrite_chunks": _rewrite_chunks,
    "rewrite_frame": _rewrite_frame,
    "rewrite_column": _rewrite_column,
    "rewrite_rows": _rewrite_rows,
    "rewrite_finish": _rewrite_finish,
    "datasets": _datasets,
    "storage": _storage,
}

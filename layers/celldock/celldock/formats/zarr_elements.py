"""AnnData's elements as groups and arrays of Zarr, marked with the encodings that AnnData's own writer gives them.

Specification: https://anndata.readthedocs.io/en/stable/fileformat-prose.html.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from celldock.errors import NotFeasible
from celldock.formats.zarr_layout import path_obstacle
from celldock.formats.zarr_store import TEXT, Array, ArrayNode, Blocks, Source
from celldock.h5ad.block import as_indices, check_indices
from celldock.h5ad.damage import damaged
from celldock.h5ad.elements import Awkward, Element, Scalar, Sparse, Table
from celldock.h5ad.frames import Column
from celldock.h5ad.headers import ColumnHeader
from celldock.h5ad.pointers import check_indptr

DICT = ("dict", "0.1.0")
FRAME = ("dataframe", "0.2.0")
RAW = ("raw", "0.1.0")
ROOT = ("anndata", "0.1.0")
INDEX = "_index"

_ARRAY = ("array", "0.2.0")
_TEXT_ARRAY = ("string-array", "0.2.0")
_NULLABLE_VERSION = "0.1.0"


@dataclass(slots=True)
class Tree:
    """A store in the making: the attributes of its groups, and its arrays, by path."""

    groups: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    arrays: dict[str, Source] = field(default_factory=dict[str, Source])

    def group(self, path: str, encoding: tuple[str, str], **attributes: Any) -> None:
        """Adds a group."""
        self.groups[path] = {**_marks(encoding), **attributes}

    def array(self, path: str, shape: tuple[int, ...], dtype: np.dtype[Any], blocks: Blocks) -> None:
        """Adds an array of numbers or text."""
        marks = _marks(_TEXT_ARRAY if dtype == TEXT else _ARRAY)
        self.arrays[path] = Source(ArrayNode(path, shape, dtype, marks), blocks)

    def part(self, path: str, length: int, dtype: np.dtype[Any], blocks: Blocks) -> None:
        """Adds one of the arrays of a sparse matrix, which has no encoding of its own."""
        self.arrays[path] = Source(ArrayNode(path, (length,), dtype), blocks)

    def values(self, path: str, values: Array, encoding: tuple[str, str] | None = None) -> None:
        """Adds an array that is in memory; a scalar as one of no dimensions."""
        flat = values.reshape(-1, *values.shape[1:]) if values.shape else values.reshape(1)
        marks = _marks(encoding or (_TEXT_ARRAY if values.dtype == TEXT else _ARRAY))
        self.arrays[path] = Source(ArrayNode(path, values.shape, values.dtype, marks), _held(flat))

    def column(self, path: str, column: ColumnHeader | Column) -> str:
        """Adds the group of a column that takes one; returns where its values or codes belong."""
        if column.kind == "categorical":
            self.group(path, ("categorical", "0.2.0"), ordered=column.ordered)
            return f"{path}/codes"
        if column.kind.startswith("nullable"):
            encoding = "nullable-string-array" if column.kind == "nullable-string" else column.kind
            self.group(path, (encoding, _NULLABLE_VERSION))
            return f"{path}/values"
        return path

    def frame(self, path: str, index: str, columns: list[str]) -> None:
        """Adds the group of a data frame, and the groups in which columns with slashes in their names lie."""
        self.group(path, FRAME, _index=index)
        self.groups[path]["column-order"] = columns
        for name in columns:
            steps = name.split("/")
            for end in range(1, len(steps)):
                self.groups.setdefault("/".join([path, *steps[:end]]), {})


def add_element(tree: Tree, path: str, element: Element, dtype: str = "") -> None:
    """Adds an element that was read whole; `dtype` is that of a scalar, which Python's numbers do not tell.

    Raises InvalidSubmission for a sparse matrix that contradicts itself, and NotFeasible for a name that is no name of
    a node.
    """
    _check_name(path)
    match element:
        case None | str() | bool() | int() | float() | complex():
            _add_scalar(tree, path, element, dtype)
        case np.ndarray():
            tree.values(path, element)
        case Column():
            _add_column(tree, path, element)
        case Table(None, columns):
            tree.values(path, _records(columns), ("rec-array", "0.2.0"))
        case Table():
            _add_frame(tree, path, element)
        case Sparse():
            _add_sparse(tree, path, element)
        case Awkward():
            tree.group(path, ("awkward-array", "0.1.0"), form=element.form, length=element.length)
            for name, buffer in element.buffers.items():
                add_element(tree, f"{path}/{name}", buffer)
        case Mapping():
            tree.group(path, DICT)
            for name, item in element.items():
                add_element(tree, f"{path}/{name}", item)


def _add_scalar(tree: Tree, path: str, value: Scalar | None, dtype: str) -> None:
    if value is None:
        tree.values(path, np.zeros((), bool), ("null", "0.1.0"))
    elif isinstance(value, str):
        tree.values(path, np.array(value, TEXT), ("string", "0.2.0"))
    else:
        tree.values(path, np.array(value, dtype or None), ("numeric-scalar", "0.2.0"))


def _add_column(tree: Tree, path: str, column: Column) -> None:
    tree.values(tree.column(path, column), column.values)
    if column.categories is not None:
        tree.values(f"{path}/categories", column.categories)
    elif column.kind.startswith("nullable"):
        mask = np.zeros(column.values.shape, bool) if column.mask is None else column.mask
        tree.values(f"{path}/mask", mask)


def _add_frame(tree: Tree, path: str, table: Table) -> None:
    assert table.index is not None
    names = list(dict.fromkeys(column.name for column in table.columns))
    tree.frame(path, table.index.name, names)
    for column in (table.index, *table.columns):
        place = f"{path}/{column.name}"
        _check_name(place)
        if place not in tree.arrays and place not in tree.groups:
            _add_column(tree, place, column)
        elif column.name != table.index.name:
            raise _no_name(place, "its name would place it within another column")


def _add_sparse(tree: Tree, path: str, matrix: Sparse) -> None:
    rows, columns = matrix.shape if matrix.encoding == "csr" else matrix.shape[::-1]
    if matrix.indptr.shape != (rows + 1,) or matrix.indices.shape != matrix.data.shape:
        raise damaged(path, "its arrays do not fit together")
    check_indptr(path, matrix.indptr.astype(np.int64), 0, rows + 1, len(matrix.data))
    check_indices(path, as_indices(matrix.indices), 0, columns)
    tree.group(path, (f"{matrix.encoding}_matrix", "0.1.0"), shape=list(matrix.shape))
    for name, values in (("data", matrix.data), ("indices", matrix.indices), ("indptr", matrix.indptr)):
        tree.part(f"{path}/{name}", len(values), values.dtype, _held(values))


def _records(columns: tuple[Column, ...]) -> Array:
    """A record array; text gets the length of the longest one, since a record has no place for another."""
    plain = [
        (column.name, column.values.astype(str) if column.values.dtype == TEXT else column.values) for column in columns
    ]
    fields = [(name, values.dtype if values.dtype.itemsize else np.dtype("U1")) for name, values in plain]
    records = np.empty(len(plain[0][1]) if plain else 0, fields)
    for name, values in plain:
        records[name] = values
    return records


def _held(values: Array) -> Blocks:
    def blocks(start: int, stop: int) -> Generator[Array]:
        yield values[start:stop]

    return blocks


def _marks(encoding: tuple[str, str]) -> dict[str, Any]:
    return {"encoding-type": encoding[0], "encoding-version": encoding[1]}


def _check_name(path: str) -> None:
    if reason := path_obstacle(path):
        raise _no_name(path, reason)


def _no_name(path: str, reason: str) -> NotFeasible:
    return NotFeasible(f"{path} cannot be stored: {reason}.", code="zarr.name", where=path)

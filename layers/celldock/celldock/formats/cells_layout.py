"""The columns of the cell table: their names and types, from headers alone, so that all partitions agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from celldock.formats.protocol import Omission
from celldock.h5ad.headers import ArrayHeader, ColumnHeader, Header

INDEX_NAME = "obs_id"

# A Parquet reader loads the description of every column chunk before the first value; wider than this no client is
# pleased, and the writer's buffers, one a column, outgrow a worker. Foundation models have up to 4,096 dimensions.
MAX_COLUMNS = 5_000

# All categories of a column are in memory at once. A column with more than this is text that only looks like one.
MAX_CATEGORIES = 1_000_000

_TEXT = "VARCHAR"
_TEXT_BYTES = 64
_CODE_BYTES = 16
_TYPES = {
    "b1": "BOOLEAN",
    "i1": "TINYINT",
    "i2": "SMALLINT",
    "i4": "INTEGER",
    "i8": "BIGINT",
    "u1": "UTINYINT",
    "u2": "USMALLINT",
    "u4": "UINTEGER",
    "u8": "UBIGINT",
    "f2": "FLOAT",
    "f4": "FLOAT",
    "f8": "DOUBLE",
}


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of the Parquet files; `type` is DuckDB's name of it."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class ObsColumn:
    """A column of obs and its place in the table."""

    header: ColumnHeader
    column: TableColumn


@dataclass(frozen=True, slots=True)
class Embedding:
    """A dense element of obsm and its columns in the table, one a dimension."""

    header: ArrayHeader
    columns: tuple[TableColumn, ...]


@dataclass(frozen=True, slots=True)
class CellsLayout:
    """The cell table: the index, then obs in the file's order, then the embeddings.

    `row_bytes` predicts what a decoded row takes in memory.
    """

    index: TableColumn
    obs: tuple[ObsColumn, ...]
    embeddings: tuple[Embedding, ...]
    omitted: tuple[Omission, ...]
    row_bytes: int

    @property
    def columns(self) -> tuple[TableColumn, ...]:
        """All columns, in the order of the files."""
        obs = [part.column for part in self.obs]
        axes = [column for embedding in self.embeddings for column in embedding.columns]
        return (self.index, *obs, *axes)


def layout_of(header: Header) -> CellsLayout:
    """Lays the table out. What Parquet, or its readers, cannot hold is omitted with the reason."""
    omitted: list[Omission] = []
    room = MAX_COLUMNS - 1
    obs: list[ColumnHeader] = []
    for column in header.obs.columns:
        reason = _obs_obstacle(column) or ("" if room else _no_room())
        if reason:
            omitted.append(Omission(column.path, reason))
        else:
            obs.append(column)
            room -= 1
    arrays: list[ArrayHeader] = []
    for array in header.obsm:
        reason = _array_obstacle(array, header.n_obs)
        if not reason and array.shape[1] > room:
            reason = _no_room()
        if reason:
            omitted.append(Omission(array.path, reason))
        else:
            arrays.append(array)
            room -= array.shape[1]
    return _named(obs, arrays, tuple(omitted))


def _named(obs: Sequence[ColumnHeader], arrays: Sequence[ArrayHeader], omitted: tuple[Omission, ...]) -> CellsLayout:
    axes = [f"{array.key}_{axis}" for array in arrays for axis in range(array.shape[1])]
    *names, index = unique_names([*(column.name for column in obs), *axes, INDEX_NAME])
    rest = iter(names)
    columns = tuple(ObsColumn(column, TableColumn(next(rest), _obs_type(column))) for column in obs)
    embeddings = tuple(
        Embedding(array, tuple(TableColumn(next(rest), _TYPES[_width(array.dtype)]) for _ in range(array.shape[1])))
        for array in arrays
    )
    row_bytes = _TEXT_BYTES + sum(map(_obs_bytes, obs))
    row_bytes += sum(array.shape[1] * np.dtype(array.dtype).itemsize for array in arrays)
    return CellsLayout(TableColumn(index, _TEXT), columns, embeddings, omitted, row_bytes)


def unique_names(wanted: Iterable[str]) -> list[str]:
    """Names that every reader tells apart, also one that ignores case; the first to want a name keeps it.

    Later ones get `_1`, `_2` …, avoiding every name that anyone wants. An empty name, which SQL does not have,
    becomes `unnamed`.
    """
    clean = [name or "unnamed" for name in wanted]
    reserved = {name.casefold() for name in clean}
    taken: set[str] = set()
    names: list[str] = []
    for name in clean:
        chosen, number = name, 0
        while chosen.casefold() in taken or (number and chosen.casefold() in reserved):
            number += 1
            chosen = f"{name}_{number}"
        taken.add(chosen.casefold())
        names.append(chosen)
    return names


def _width(dtype: str) -> str:
    try:
        parsed = np.dtype(dtype)
    except TypeError:
        return ""
    return f"{parsed.kind}{parsed.itemsize}"


def _obs_type(column: ColumnHeader) -> str:
    match column.kind:
        case "categorical" | "string" | "nullable-string":
            return _TEXT
        case "boolean" | "nullable-boolean":
            return "BOOLEAN"
        case "integer" | "nullable-integer" | "float":
            return _TYPES.get(_width(column.dtype), "")
        case "unsupported":
            return ""


def _obs_bytes(column: ColumnHeader) -> int:
    match column.kind:
        case "categorical":
            return _CODE_BYTES
        case "integer" | "nullable-integer" | "float":
            return np.dtype(column.dtype).itemsize
        case "boolean" | "nullable-boolean":
            return 1
        case _:
            return _TEXT_BYTES


def _obs_obstacle(column: ColumnHeader) -> str:
    if not _obs_type(column):
        return f"a {column.kind} column of {column.dtype or 'no type'} has no type in Parquet"
    if (column.categories or 0) > MAX_CATEGORIES:
        return f"{column.categories:,} categories are more than {MAX_CATEGORIES:,}"
    return ""


def _array_obstacle(array: ArrayHeader, n_obs: int) -> str:
    if array.kind != "dense" or len(array.shape) != 2 or array.shape[1] < 1:
        return "not a dense array of cells by dimensions"
    if array.shape[0] != n_obs:
        return f"{array.shape[0]:,} rows for {n_obs:,} cells"
    if _width(array.dtype) not in _TYPES:
        return f"{array.dtype} has no type in Parquet"
    return ""


def _no_room() -> str:
    return f"the table would have more than {MAX_COLUMNS:,} columns"

"""Names, data frames, embeddings and uns of a file as values of R, read in blocks while they are written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import xxhash

from celldock.errors import HostileFile, InvalidSubmission, NotFeasible
from celldock.formats.protocol import Omission
from celldock.formats.rds_layout import UnsNode, is_number
from celldock.formats.rds_xdr import (
    MAX_EXACT,
    MAX_INTEGER,
    NA_INTEGER,
    Deferred,
    Kind,
    RList,
    Value,
    Vector,
    integers,
    named_list,
    reals,
    texts,
)
from celldock.h5ad.elements import Element, Table
from celldock.h5ad.file import H5adFile
from celldock.h5ad.frames import Column, iter_blocks
from celldock.h5ad.headers import ArrayHeader, ColumnHeader, ColumnKind, FrameHeader

_ROWS = 1 << 18
_TEXT_ROWS = 1 << 16
_BLOCK_BYTES = 8_000_000

type Array = np.ndarray[Any, Any]
type Blocks = Callable[[], Iterator[tuple[Array, Array | None]]]
"""Reads the values of a column, and where they are missing, block by block; from the start at each call."""


def frame_names(file: H5adFile, frame: FrameHeader, dashes: str = "") -> Vector:
    """The names of a frame's rows, with a dash for each of the characters `dashes`.

    Raises NotFeasible, while it is written, where two are equal.
    """
    table = str.maketrans(dict.fromkeys(dashes, "-"))

    def blocks() -> Iterator[Array]:
        hashes = np.empty(frame.length, np.uint64)
        for start, stop in iter_blocks(frame.length, _TEXT_ROWS):
            names = [name.translate(table) for name in file.index(frame, start, stop).tolist()]
            hashes[start:stop] = [xxhash.xxh3_64_intdigest(name.encode()) for name in names]
            yield np.array([*names, None], dtype=object)[:-1]
        hashes.sort()
        if (hashes[1:] == hashes[:-1]).any():
            raise NotFeasible(
                f"Rows of {frame.path} share a name, and R demands that each has its own.",
                code="rds.names",
                where=frame.index or frame.path,
                hint="adata.obs_names_make_unique() or adata.var_names_make_unique(), then write_h5ad.",
            )

    return Vector(Kind.TEXT, frame.length, blocks())


def same_names(file: H5adFile, left: FrameHeader, right: FrameHeader) -> bool:
    """Whether two frames have the same rows in the same order."""
    return left.length == right.length and all(
        np.array_equal(file.index(left, start, stop), file.index(right, start, stop))
        for start, stop in iter_blocks(left.length, _TEXT_ROWS)
    )


def frame_columns(file: H5adFile, columns: Iterable[ColumnHeader], rows: int) -> dict[str, Value]:
    """Columns of a frame by their names; see `_vector`."""
    return {column.name: _frame_column(file, column, rows) for column in columns}


def data_frame(columns: Mapping[str, Value], row_names: Value) -> RList:
    """R's data.frame."""
    attributes = {"names": texts(columns), "row.names": row_names, "class": texts(["data.frame"])}
    return RList([*columns.values()], attributes)


def embedding(file: H5adFile, header: ArrayHeader, folder: Path, dimnames: Sequence[Value] | None = None) -> Vector:
    """A dense array of cells by dimensions as a matrix of doubles. Disk: its bytes as they are stored."""
    rows, columns = header.shape
    attributes: dict[str, Value] = {"dim": integers([rows, columns])}
    if dimnames is not None:
        attributes["dimnames"] = RList(dimnames)
    return Vector(Kind.REAL, rows * columns, _by_columns(file, header, folder), attributes)


def empty_matrix() -> Vector:
    """A matrix of doubles without rows and columns."""
    return reals([], dim=integers([0, 0]))


def uns_list(file: H5adFile, members: Mapping[str, UnsNode], refused: list[Omission]) -> RList:
    """The elements of uns, each read when it is its turn.

    What cannot be read becomes NULL and is added to `refused`.
    """

    def leaf(path: str) -> Value:
        try:
            return _element(file.element(path))
        except HostileFile:
            raise
        except (InvalidSubmission, NotFeasible) as error:
            refused.append(Omission(path, error.message))
            return None

    def value(node: UnsNode) -> Value:
        if node.members is not None:
            return uns_list(file, node.members, refused)
        return Deferred(lambda: leaf(node.path))

    return named_list({name: value(node) for name, node in members.items()})


def _by_columns(file: H5adFile, header: ArrayHeader, folder: Path) -> Iterator[Array]:
    rows, columns = header.shape
    dtype = np.dtype(header.dtype)
    block = max(1, _BLOCK_BYTES // (columns * dtype.itemsize))
    with tempfile.TemporaryFile(dir=folder) as spool:
        for start, stop in iter_blocks(rows, block):
            values = file.array(header, start, stop)
            _check_exact(values, header.path)
            for column in range(columns):
                spool.seek((column * rows + start) * dtype.itemsize)
                spool.write(np.ascontiguousarray(values[:, column], dtype))
        spool.seek(0)
        while data := spool.read(_BLOCK_BYTES):
            yield np.frombuffer(data, dtype)


def _check_exact(values: Array, where: str) -> None:
    if values.dtype.kind in "iu" and not _within(*_extremes(values), MAX_EXACT):
        raise NotFeasible(f"{where} has integers that R's doubles do not hold.", code="rds.integer", where=where)


def _frame_column(file: H5adFile, header: ColumnHeader, rows: int) -> Vector:
    step = _TEXT_ROWS if header.dtype == "str" else _ROWS

    def blocks() -> Iterator[tuple[Array, Array | None]]:
        for start, stop in iter_blocks(rows, step):
            column = file.column(header, start, stop)
            yield column.values, column.mask

    levels = None
    if header.kind == "categorical":
        levels = Vector(Kind.TEXT, header.categories or 0, _labels(file, header))
    return _vector(header.kind, blocks, rows, levels, ordered=header.ordered)


def _labels(file: H5adFile, header: ColumnHeader) -> Iterator[Array]:
    yield _as_text(file.categories(header))


def _vector(kind: ColumnKind, blocks: Blocks, length: int, levels: Vector | None, *, ordered: bool = False) -> Vector:
    """A column as R has it; a categorical one is a factor of the given levels.

    Integers are integers if R's can hold all of them, else doubles if those can, else text, so that none is another.
    To know that, integers are read twice.
    """
    match kind:
        case "categorical":
            codes = (np.where(codes < 0, NA_INTEGER, codes.astype(np.int64) + 1) for codes, _ in blocks())
            classes = ["ordered", "factor"] if ordered else ["factor"]
            return Vector(Kind.INTEGER, length, codes, {"levels": levels, "class": texts(classes)})
        case "boolean" | "nullable-boolean":
            return Vector(Kind.LOGICAL, length, (_masked(*block, NA_INTEGER) for block in blocks()))
        case "integer" | "nullable-integer":
            stored = _integer_kind(blocks())
            return Vector(stored, length, (_integers(*block, stored) for block in blocks()))
        case "float":
            return Vector(Kind.REAL, length, (values for values, _ in blocks()))
        case "string" | "nullable-string":
            return Vector(Kind.TEXT, length, (_masked(*block, None) for block in blocks()))
        case "unsupported":
            raise ValueError("a column that the layout leaves out")


def _masked(values: Array, mask: Array | None, missing: int | None) -> Array:
    if mask is None:
        return values
    return np.where(mask, cast(Any, missing), values.astype(object if missing is None else np.int64))


def _integers(values: Array, mask: Array | None, kind: Kind) -> Array:
    match kind:
        case Kind.INTEGER:
            return _masked(values, mask, NA_INTEGER)
        case Kind.REAL:
            doubles = values.astype(">f8")
            if mask is not None:
                doubles.view(">u8")[mask] = _NA_REAL
            return doubles
        case _:
            return _masked(_as_text(values), mask, None)


# The one among the NaN that R takes for missing.
_NA_REAL = 0x7FF00000000007A2


def _integer_kind(blocks: Iterator[tuple[Array, Array | None]]) -> Kind:
    low = high = 0
    for values, mask in blocks:
        least, most = _extremes(values if mask is None else values[~mask])
        low, high = min(low, least), max(high, most)
    if _within(low, high, MAX_INTEGER):
        return Kind.INTEGER
    return Kind.REAL if _within(low, high, MAX_EXACT) else Kind.TEXT


def _extremes(values: Array) -> tuple[int, int]:
    return (int(values.min()), int(values.max())) if values.size else (0, 0)


def _within(low: int, high: int, limit: int) -> bool:
    return -limit <= low and high <= limit


def _as_text(values: Array) -> Array:
    texts_ = np.empty(values.size, object)
    texts_[:] = [*map(str, values.ravel(order="F").tolist())]
    return texts_


def _element(element: Element) -> Value:
    """A leaf of uns. Raises NotFeasible for what has no type in R."""
    match element:
        case None:
            return None
        case str():
            return texts([element])
        case bool() | int() | float():
            return _array(np.array(element))
        case np.ndarray():
            return _array(element)
        case Column():
            return _column(element)
        case Table(index, columns):
            return _table(index, columns)
        case _:
            raise NotFeasible("It has no type in R.", code="rds.element")


def _array(values: Array) -> Vector:
    kinds: dict[str, ColumnKind] = {"b": "boolean", "i": "integer", "u": "integer", "f": "float", "O": "string"}
    kind = kinds.get(values.dtype.kind, "unsupported") if values.dtype.itemsize <= 8 else "unsupported"
    if kind == "unsupported":
        raise NotFeasible(f"Values of {values.dtype.name} have no type in R.", code="rds.element")
    vector = _vector(kind, lambda: iter([(values, None)]), values.size, None)
    return replace(vector, attributes={"dim": integers(values.shape)}) if values.ndim > 1 else vector


def _column(column: Column) -> Vector:
    levels = None
    if column.categories is not None:
        levels = Vector(Kind.TEXT, len(column.categories), [_as_text(column.categories)])
    elif column.kind == "unsupported" or not (column.values.dtype == object or is_number(column.values.dtype.name)):
        raise NotFeasible(f"Its column {column.name!r} has no type in R.", code="rds.element")
    return _vector(column.kind, lambda: iter([(column.values, column.mask)]), len(column.values), levels)


def _table(index: Column | None, columns: Sequence[Column]) -> RList:
    rows = len(columns[0].values) if columns else 0
    names: Value = integers([NA_INTEGER, -rows])
    if index is not None:
        labels = np.append(index.categories, "")[index.values] if index.categories is not None else index.values
        text = _as_text(labels)
        rows = len(text)
        # R demands that rows have names of their own; where they have not, their numbers are the names.
        unique = len(set(text.tolist())) == rows and (index.mask is None or not index.mask.any())
        names = Vector(Kind.TEXT, rows, [text]) if unique else integers([NA_INTEGER, -rows])
    return data_frame({column.name: _column(column) for column in columns}, names)

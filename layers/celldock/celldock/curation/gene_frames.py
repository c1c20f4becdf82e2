"""var, raw.var and varm for other genes than they had: rows chosen, put in order, and left empty for new genes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from celldock.curation.ledger import Ledger
from celldock.h5ad.additions import NewColumn, NewColumnKind
from celldock.h5ad.file import Array, H5adFile
from celldock.h5ad.frames import Column, iter_blocks
from celldock.h5ad.headers import ArrayHeader, ColumnHeader, FrameHeader
from celldock.h5ad.rewrites import NewArray, NewFrame
from celldock.schema.words import ROWS

_BLOCK_BYTES = 8 << 20

type _Take = Callable[[Column, Array], Array]


@dataclass(frozen=True, slots=True, eq=False)
class ChosenRows:
    """Rows of a frame, and of what goes with it, in another order.

    Attributes:
        rows: for each new row the old one, -1 where there is none (int64).
        names: of the new rows.
        left_out: columns that do not come along.
        fill: values for rows that are new, by column: a bool for each row of the new frame.
        nullable: whether the file's encoding has integers and booleans that may be missing: not before AnnData 0.8.
    """

    rows: Array
    names: Sequence[str]
    left_out: frozenset[str] = frozenset()
    fill: Mapping[str, Array] = field(default_factory=dict[str, Array])
    nullable: bool = True

    @property
    def new(self) -> Array:
        """For each row whether it is new."""
        return self.rows < 0


def chosen_frame(file: H5adFile, frame: FrameHeader, path: str, chosen: ChosenRows, ledger: Ledger) -> NewFrame:
    """The frame at `path`, made of rows of another one; what new rows are without is told."""
    columns = [
        replace(made, frame=path)
        for column in frame.columns
        if column.name not in chosen.left_out and (made := _column(file, frame, column, chosen, ledger)) is not None
    ]
    new = int(np.count_nonzero(chosen.new))
    empty = [column.name for column in columns if column.name not in chosen.fill]
    if new and empty:
        message = f"{path}: {ROWS['var'].of(new)} that it did not have are without a value in its columns."
        ledger.change("var.widened", path, message, new, tuple(empty))
    names = np.array([*chosen.names], object)
    return NewFrame(path, len(names), frame.index_name, lambda: [names], tuple(columns))


def chosen_array(file: H5adFile, array: ArrayHeader, chosen: ChosenRows) -> NewArray:
    """Rows of a dense array of varm: NaN in those that are new, for which integers become float64."""
    stored = np.dtype(array.dtype)
    dtype = stored if stored.kind in "fc" or not chosen.new.any() else np.dtype(np.float64)

    def blocks() -> Iterator[Array]:
        old = file.array(array, 0, array.shape[0])
        each = max(1, _BLOCK_BYTES // max(1, old[:1].nbytes))
        for start, stop in iter_blocks(len(chosen.rows), each):
            rows = chosen.rows[start:stop]
            values = old[rows].astype(dtype)
            if (rows < 0).any():
                values[rows < 0] = np.nan
            yield values

    return NewArray(array.path, (len(chosen.rows), *array.shape[1:]), dtype.name, blocks)


def _column(
    file: H5adFile, frame: FrameHeader, column: ColumnHeader, chosen: ChosenRows, ledger: Ledger
) -> NewColumn | None:
    """The column with the chosen rows, of a kind that can be without a value where new rows are."""
    if column.kind == "unsupported":
        ledger.problem(
            "var.column_unsupported",
            column.path,
            f"{frame.path}[{column.name!r}] is in no encoding that AnnData reads, and cannot go to other genes.",
            suggestion=f"Leave it out: drop: [{frame.path.replace('/', '.')}.{column.name}].",
        )
        return None
    if column.kind == "categorical":
        return _categorical(file, frame, column, chosen)
    fill = chosen.fill.get(column.name)
    without = bool(chosen.new.any()) and (fill is None or column.kind != "boolean")
    kind, dtype, take = _plain(column, without, chosen.nullable, fill)
    blocks = partial(_blocks, file, frame, column, chosen.rows, take)
    categories = ("False", "True") if kind == "categorical" else ()
    return NewColumn(frame.path, column.name, kind, len(chosen.rows), blocks, categories, dtype=dtype)


def _categorical(file: H5adFile, frame: FrameHeader, column: ColumnHeader, chosen: ChosenRows) -> NewColumn:
    labels = file.categories(column)
    whole = labels.dtype.kind in "iu"
    categories = tuple(labels.tolist()) if whole else tuple(map(str, labels.tolist()))

    def take(block: Column, rows: Array) -> Array:
        return np.where(rows < 0, -1, block.values[rows].astype(np.int32))

    blocks = partial(_blocks, file, frame, column, chosen.rows, take)
    return NewColumn(
        frame.path, column.name, "categorical", len(chosen.rows), blocks, categories, ordered=column.ordered
    )


def _plain(column: ColumnHeader, without: bool, nullable: bool, fill: Array | None) -> tuple[NewColumnKind, str, _Take]:
    """The kind and type of the new column, and what makes its values."""
    missing = without or column.kind.startswith("nullable")
    plan: tuple[NewColumnKind, str, _Take]
    match column.kind.removeprefix("nullable-"):
        case "string":
            plan = "string", "", _texts
        case "float":
            plan = "float", column.dtype, partial(_floats, column.dtype)
        case "boolean" if missing:
            plan = ("nullable-boolean", "", _masked) if nullable else ("categorical", "", _codes)
        case "boolean":
            plan = "boolean", "", partial(_filled, fill)
        case _ if missing:
            plan = (
                ("nullable-integer", column.dtype, _masked)
                if nullable
                else ("float", "float64", partial(_floats, "float64"))
            )
        case _:
            plan = "integer", column.dtype, partial(_filled, None)
    return plan


def _blocks(file: H5adFile, frame: FrameHeader, column: ColumnHeader, rows: Array, take: _Take) -> Iterator[Array]:
    yield take(file.column(column, 0, frame.length), rows)


def _texts(block: Column, rows: Array) -> Array:
    gone = _gone(block, rows)
    values = block.values[rows]
    values[gone] = ""
    return values


def _floats(dtype: str, block: Column, rows: Array) -> Array:
    values = block.values[rows].astype(dtype)
    values[_gone(block, rows)] = np.nan
    return values


def _filled(fill: Array | None, block: Column, rows: Array) -> Array:
    values = block.values[rows]
    return values if fill is None else np.where(rows < 0, fill, values)


def _masked(block: Column, rows: Array) -> Array:
    return np.ma.MaskedArray(block.values[rows], _gone(block, rows))


def _codes(block: Column, rows: Array) -> Array:
    return np.where(_gone(block, rows), -1, block.values[rows].astype(np.int8))


def _gone(block: Column, rows: Array) -> Array:
    """For each new row whether it has no value."""
    return rows < 0 if block.mask is None else (rows < 0) | block.mask[rows]

"""Columns of obs that labels are made from."""

from __future__ import annotations

from celldock.errors import InvalidSubmission
from celldock.h5ad.headers import ColumnHeader, FrameHeader
from celldock.schema.facts import ColumnFacts, Tables, TooManyValuesError

_TEXTS = frozenset({"categorical", "string", "nullable-string"})


def column_named(frame: FrameHeader, name: str) -> ColumnHeader | None:
    """A frame's column of texts; None if there is none of that name."""
    return next((column for column in frame.columns if column.name == name and column.kind in _TEXTS), None)


def facts_of(tables: Tables, column: ColumnHeader) -> ColumnFacts:
    """The values of a column of obs. Raises InvalidSubmission for more of them than any column of terms has."""
    try:
        return tables.column(column, tables.header.obs.length)
    except TooManyValuesError as error:
        raise InvalidSubmission(
            f"obs/{column.name} holds more different values than any column of terms has.",
            code="labels.too_many_values",
            where=column.path,
            hint="Validate the file first.",
        ) from error

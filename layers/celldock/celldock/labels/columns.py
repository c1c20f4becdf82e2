"""Columns of obs that are made from others: each row's value is turned into a number, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from celldock.errors import HostileFile, InvalidSubmission
from celldock.h5ad.frames import Column
from celldock.h5ad.headers import ColumnHeader, FrameHeader
from celldock.schema.facts import ColumnFacts, Tables, TooManyValuesError, Value

type Array = np.ndarray[Any, Any]

MISSING = -1
"""The number of a missing value."""
_UNSEEN = -2
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


def code_type(count: int) -> type[np.signedinteger[Any]]:
    """The smallest type for the codes of so many categories, as pandas has it."""
    return next((each for each in (np.int8, np.int16) if count <= np.iinfo(each).max), np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Numbering:
    """A number for each value that occurs in a column, `dtype` of what comes out.

    A crafted file may answer otherwise when it is read again: a value that has no number raises HostileFile.
    """

    facts: ColumnFacts
    numbers: Mapping[Value, int]
    dtype: type[np.signedinteger[Any]]
    _by_code: Array = field(init=False)

    def __post_init__(self) -> None:
        # The code of a missing value is -1: the last place.
        places = [*(self.numbers.get(value, _UNSEEN) for value in self.facts.values), MISSING]
        object.__setattr__(self, "_by_code", np.array(places, self.dtype))

    def of(self, block: Column) -> Array:
        """The number of each row's value in a block of the column, -1 where it is missing."""
        if self.facts.header.categories is not None:
            found = self._by_code[block.values]
        else:
            found = np.array([self.numbers.get(value, _UNSEEN) for value in block.values.tolist()], self.dtype)
            if block.mask is not None:
                found[block.mask] = MISSING
        if (found == _UNSEEN).any():
            raise HostileFile(
                f"{self.facts.header.path} gives other values each time it is read.",
                code="labels.unsteady",
                where=self.facts.header.path,
                hint="Load the file with anndata.read_h5ad, and write it anew with write_h5ad.",
            )
        return found

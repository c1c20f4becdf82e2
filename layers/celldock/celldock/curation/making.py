"""Columns that a curation makes: a value for each value of another column, or one value for all rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from celldock.h5ad.additions import NewColumn, NewColumnKind
from celldock.h5ad.frames import iter_blocks
from celldock.h5ad.headers import ColumnHeader, ColumnKind, FrameHeader
from celldock.schema.facts import BLOCK_ROWS, ColumnFacts, Tables, Value
from celldock.schema.numbering import Numbering, code_type

type Array = np.ndarray[Any, Any]

_COPIED: Mapping[ColumnKind, NewColumnKind] = {
    "integer": "integer",
    "float": "float",
    "boolean": "boolean",
    "nullable-integer": "nullable-integer",
    "nullable-boolean": "nullable-boolean",
    "string": "string",
}


@dataclass(frozen=True, slots=True, eq=False)
class MadeColumn:
    """A column that follows from another one, or is the same in all rows.

    Attributes:
        frame: the header of the frame that has it.
        name: of the column.
        facts: of the column that it follows from; None for one that is the same in all rows.
        values: what becomes of each value that occurs; None stands for a missing one, and alone for all rows.
        ordered: whether the order of the other column's values means something and is kept.
    """

    frame: FrameHeader
    name: str
    facts: ColumnFacts | None
    values: Mapping[Value | None, Value | None]
    ordered: bool = False

    @property
    def counts(self) -> dict[Value | None, int]:
        """The values that it has, each with its rows; None where it is missing."""
        if self.facts is None:
            return {self.values[None]: self.frame.length} if self.frame.length else {}
        counts: dict[Value | None, int] = {}
        for value, rows in (*self.facts.used.items(), (None, self.facts.missing)):
            if rows:
                made = self.values.get(value)
                counts[made] = counts.get(made, 0) + rows
        return counts

    @property
    def only(self) -> Value | None:
        """The value that all rows share; None if there is no such."""
        values = list(self.counts)
        return values[0] if len(values) == 1 else None

    def as_new(self, tables: Tables) -> NewColumn:
        """The column as it is added: categories for texts, plain values for numbers and for True and False.

        Its values are all texts, all numbers, or all True and False, and only texts may be missing.
        """
        found = self._distinct()
        types = {type(value) for value in found}
        make = partial(NewColumn, self.frame.path, self.name, rows=self.frame.length)
        if not types or str in types:
            categories = tuple(map(str, found))
            blocks = partial(self._blocks, tables, found, None)
            return make(kind="categorical", blocks=blocks, categories=categories, ordered=self.ordered)
        if types == {bool}:
            return make(kind="boolean", blocks=partial(self._blocks, tables, found, np.array(found, np.bool)))
        dtype = "int64" if types == {int} else "float64"
        blocks = partial(self._blocks, tables, found, np.array(found, dtype))
        return make(kind="integer" if dtype == "int64" else "float", blocks=blocks, dtype=dtype)

    def _distinct(self) -> list[Value]:
        """The values that it has: sorted, or in the order that they come from."""
        found = [value for value in self.counts if value is not None]
        return found if self.ordered or not all(isinstance(value, str) for value in found) else sorted(found, key=str)

    def _blocks(self, tables: Tables, found: list[Value], values: Array | None) -> Iterator[Array]:
        """Each row's place among the values found, or the value itself where `values` has them."""
        places = {value: place for place, value in enumerate(found)}
        dtype = code_type(len(found))
        for codes in self._codes(tables, places, dtype):
            yield codes if values is None else values[codes]

    def _codes(
        self, tables: Tables, places: Mapping[Value, int], dtype: type[np.signedinteger[Any]]
    ) -> Iterator[Array]:
        rows = self.frame.length
        place = {value: -1 if made is None else places.get(made, -1) for value, made in self.values.items()}
        if self.facts is None:
            for start, stop in iter_blocks(rows, BLOCK_ROWS):
                yield np.full(stop - start, place[None], dtype)
            return
        numbers = {value: number for value, number in place.items() if value is not None}
        numbering = Numbering(self.facts, numbers, dtype, place.get(None, -1))
        for _, (block,) in tables.blocks([self.facts.header], rows):
            yield numbering.of(block)


def copied_column(tables: Tables, frame: FrameHeader, column: ColumnHeader, name: str) -> NewColumn | None:
    """A column with the values of another, block by block; None for a kind that has to be made otherwise."""
    kind = _COPIED.get(column.kind)
    if kind is None:
        return None
    dtype = "" if kind in ("string", "boolean", "nullable-boolean") else column.dtype
    blocks = partial(_copied, tables, column, frame.length)
    return NewColumn(frame.path, name, kind, frame.length, blocks, dtype=dtype)


def _copied(tables: Tables, column: ColumnHeader, rows: int) -> Iterator[Array]:
    for _, (block,) in tables.blocks([column], rows):
        yield block.values if block.mask is None else np.ma.MaskedArray(block.values, block.mask)

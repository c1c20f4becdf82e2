"""What rules know of a file's tables without holding them: for each column its values, and how many rows have each.

Columns are read one at a time, a block of rows after another, and each once for all rules of a run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from celldock.errors import InvalidSubmission
from celldock.h5ad.elements import Element
from celldock.h5ad.file import H5adFile
from celldock.h5ad.frames import Column, iter_blocks
from celldock.h5ad.headers import ArrayHeader, ColumnHeader, ElementHeader, FrameHeader, Header
from celldock.schema.arrays import ArrayFacts, array_facts

type Array = np.ndarray[Any, Any]
type Value = str | bool | int | float

MAX_VALUES = 1 << 18
"""Different values of one column that are told apart: the largest are the guides of a screen and their combinations."""
MAX_COMBINATIONS = 1 << 20
"""Combinations of several columns' values that are told apart."""

BLOCK_ROWS = 1 << 18
_LARGEST_NUMBER = 1 << 62
_TEXT_ROWS = 1 << 16


class TooManyValuesError(Exception):
    """A column, or a combination of several, has more different values than are told apart."""


@dataclass(frozen=True, slots=True, eq=False)
class ColumnFacts:
    """The different values of a column.

    Attributes:
        header: the column's own.
        values: the categories of a categorical, in their order, unused ones too; of any other column the values that
            occur, in the order of their first rows.
        counts: rows that have each value, int64; 0 for an unused category.
        first: the first row of each, int64; -1 for an unused category.
        missing: rows without a value: NaN, None and NA.
        first_missing: the first of them; -1 without any.
    """

    header: ColumnHeader
    values: tuple[Value, ...]
    counts: Array
    first: Array
    missing: int
    first_missing: int

    @property
    def used(self) -> Mapping[Value, int]:
        """The values that occur, each with its number of rows."""
        counts = zip(self.values, self.counts.tolist(), strict=True)
        return {value: count for value, count in counts if count}

    @property
    def unused(self) -> list[Value]:
        """Categories that no row has."""
        return [value for value, count in zip(self.values, self.counts.tolist(), strict=True) if not count]

    def first_row(self, value: Value) -> int:
        """The first row that has a value that occurs."""
        return int(self.first[self.values.index(value)])


@dataclass(frozen=True, slots=True)
class Combination:
    """Rows that share their values in several columns: None where one is missing. `first` is the first of the rows."""

    values: tuple[Value | None, ...]
    count: int
    first: int


class Tables:
    """The tables of one open file, and its uns. All that is read is kept for the next rule that asks.

    Every method may raise InvalidSubmission for what is damaged.
    """

    def __init__(self, file: H5adFile, header: Header) -> None:
        self.file = file
        self.header = header
        self._columns: dict[str, ColumnFacts | None] = {}
        self._combinations: dict[tuple[str, ...], list[Combination]] = {}
        self._elements: dict[str, Element] = {}
        self._arrays: dict[str, ArrayFacts | InvalidSubmission] = {}
        self._uns = {element.path: element for element in header.uns}

    def column(self, column: ColumnHeader, rows: int) -> ColumnFacts:
        """The facts of a column of `rows` rows. Raises TooManyValuesError for one with more than MAX_VALUES."""
        if column.path not in self._columns:
            self._columns[column.path] = _facts(self.file, column, rows)
        facts = self._columns[column.path]
        if facts is None:
            raise TooManyValuesError(column.name)
        return facts

    def combinations(self, columns: Sequence[ColumnHeader], rows: int) -> list[Combination]:
        """The combinations of values that occur in columns of `rows` rows, in the order of their first rows.

        Raises TooManyValuesError for more than MAX_COMBINATIONS of them.
        """
        key = tuple(column.path for column in columns)
        if key not in self._combinations:
            self._combinations[key] = _combinations(self, columns, rows)
        return self._combinations[key]

    def blocks(self, columns: Sequence[ColumnHeader], rows: int) -> Iterator[tuple[int, list[Column]]]:
        """Several columns side by side: the first row of each block, and the columns' rows."""
        for start, stop in iter_blocks(rows, _block_rows(columns)):
            yield start, [self.file.column(column, start, stop) for column in columns]

    def array(self, array: ArrayHeader) -> ArrayFacts:
        """The facts of a dense array of at least one dimension."""
        if array.path not in self._arrays:
            try:
                self._arrays[array.path] = array_facts(self.file, array)
            except InvalidSubmission as error:
                self._arrays[array.path] = error
        facts = self._arrays[array.path]
        if isinstance(facts, InvalidSubmission):
            raise facts
        return facts

    def names(self, frame: FrameHeader, rows: Sequence[int]) -> list[str]:
        """The names of some rows; `row 12` where there is none."""
        return [
            str(self.file.index(frame, row, row + 1)[0]) if 0 <= row < frame.length else f"row {row:,}" for row in rows
        ]

    def element_header(self, path: str) -> ElementHeader | None:
        """What uns declares at a path, as `uns/title`; None where there is nothing."""
        return self._uns.get(path)

    def element(self, path: str) -> Element:
        """The value of an element of uns; see `H5adFile.element`."""
        if path not in self._elements:
            self._elements[path] = self.file.element(path)
        return self._elements[path]


def _block_rows(columns: Sequence[ColumnHeader]) -> int:
    text = any(column.categories is None and column.dtype == "str" for column in columns)
    return max(1, (_TEXT_ROWS if text else BLOCK_ROWS) // max(len(columns), 1))


class _Tally:
    """Counts values block by block."""

    def __init__(self) -> None:
        self.counts: dict[Value, int] = {}
        self.first: dict[Value, int] = {}
        self.missing, self.first_missing = 0, -1

    def leave_out(self, missing: Array, start: int) -> None:
        """Notes the rows of a block that `missing`, a bool for each, marks."""
        found = int(np.count_nonzero(missing))
        if found and self.first_missing < 0:
            self.first_missing = start + int(missing.argmax())
        self.missing += found

    def add(self, values: Array, rows: Array) -> None:
        """Counts a block's values; `rows` are their numbers."""
        if values.dtype == object:
            # A sort of strings would take ten times as long as looking them up.
            for value, row in zip(values.tolist(), rows.tolist(), strict=True):
                self.counts[value] = self.counts.get(value, 0) + 1
                self.first.setdefault(value, row)
            return
        found, first, counts = np.unique(values, return_index=True, return_counts=True)
        for at in np.argsort(first).tolist():
            value = found[at].item()
            self.counts[value] = self.counts.get(value, 0) + int(counts[at])
            self.first.setdefault(value, int(rows[first[at]]))


def _facts(file: H5adFile, column: ColumnHeader, rows: int) -> ColumnFacts | None:
    if column.categories is not None:
        return None if column.categories > MAX_VALUES else _categorical(file, column, rows)
    tally = _Tally()
    for start, stop in iter_blocks(rows, _block_rows([column])):
        block = file.column(column, start, stop)
        missing = _missing(block)
        tally.leave_out(missing, start)
        present = ~missing
        tally.add(block.values[present], np.arange(start, stop)[present])
        if len(tally.counts) > MAX_VALUES:
            return None
    return ColumnFacts(
        column,
        tuple(tally.counts),
        np.array(list(tally.counts.values()), np.int64),
        np.array(list(tally.first.values()), np.int64),
        tally.missing,
        tally.first_missing,
    )


def _missing(block: Column) -> Array:
    if block.mask is not None:
        return block.mask
    if block.values.dtype.kind == "f":
        return np.isnan(block.values)
    return np.zeros(len(block.values), np.bool)


def _categorical(file: H5adFile, column: ColumnHeader, rows: int) -> ColumnFacts:
    categories = tuple(_value(category) for category in file.categories(column).tolist())
    # The codes are -1 for a missing value: one place more, in front.
    counts = np.zeros(len(categories) + 1, np.int64)
    first = np.full(len(categories) + 1, -1, np.int64)
    for start, stop in iter_blocks(rows, BLOCK_ROWS):
        places = file.column(column, start, stop).values.astype(np.int64) + 1
        _count(counts, first, places, start)
    return ColumnFacts(column, categories, counts[1:], first[1:], int(counts[0]), int(first[0]))


def _count(counts: Array, first: Array, places: Array, start: int) -> None:
    """Counts a block's rows by their places, and notes the first row of places that had none so far."""
    counts += np.bincount(places, minlength=len(counts))
    here = np.full(len(first), -1, np.int64)
    # Backwards, so that the first row of each is the last to be written.
    here[places[::-1]] = np.arange(start + len(places) - 1, start - 1, -1)
    np.copyto(first, here, where=first < 0)


def _value(category: Any) -> Value:
    return category if isinstance(category, str | bool | int | float) else str(category)


def _combinations(tables: Tables, columns: Sequence[ColumnHeader], rows: int) -> list[Combination]:
    facts = [tables.column(column, rows) for column in columns]
    sizes = [len(each.values) + 1 for each in facts]
    if math.prod(sizes) >= _LARGEST_NUMBER:
        raise TooManyValuesError(", ".join(column.name for column in columns))
    counts: dict[int, int] = {}
    first: dict[int, int] = {}
    for start, blocks in tables.blocks(columns, rows):
        numbers = np.ravel_multi_index([_places(*pair) for pair in zip(blocks, facts, strict=True)], sizes)
        found = np.unique(numbers, return_index=True, return_counts=True)
        for number, at, count in zip(*(each.tolist() for each in found), strict=True):
            counts[number] = counts.get(number, 0) + count
            first.setdefault(number, start + at)
        if len(counts) > MAX_COMBINATIONS:
            raise TooManyValuesError(", ".join(column.name for column in columns))
    values: list[tuple[Value | None, ...]] = [(None, *each.values) for each in facts]
    numbers = np.array(sorted(counts, key=first.__getitem__), np.int64)
    places: list[list[int]] = np.array(np.unravel_index(numbers, sizes)).T.tolist()
    return [
        Combination(tuple(each[at] for each, at in zip(values, place, strict=True)), counts[number], first[number])
        for number, place in zip(numbers.tolist(), places, strict=True)
    ]


def _places(block: Column, facts: ColumnFacts) -> Array:
    """For each row of a block the place of its value among the column's, from 1 on; 0 where it is missing."""
    if facts.header.categories is not None:
        return block.values.astype(np.int64) + 1
    places = {value: place for place, value in enumerate(facts.values, 1)}
    missing = _missing(block)
    return np.array(
        [0 if gone else places[value] for value, gone in zip(block.values.tolist(), missing.tolist(), strict=True)],
        np.int64,
    )

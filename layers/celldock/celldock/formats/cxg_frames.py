"""obs and var of a CXG: one dense array each, an attribute a column, types as CELLxGENE Explorer knows them.

| column | attribute | hint |
|---|---|---|
| text | text, "nan" where missing | string |
| categories of text or booleans in var, or if there are more than 3/4 of the rows | the same | string |
| categories of text or booleans in obs | codes of the used ones, sorted, with "nan" if any is missing | categorical |
| categories of numbers | int32, or float32 with NaN where values are missing | categorical |
| boolean; `in_tissue`, if it holds integers | uint8 | boolean |
| the same in obs, true throughout | codes of "True" | categorical |
| integer | int32 | int32 |
| float | float32 | float32 |
| nullable integer with missing values | float32, NaN where missing | float32 |
| nullable boolean with missing values | as categories of text | |

Explorer's server does not look codes of var up. Hints and categories are the metadata `cxg_schema` of the array, a JSON
document. What the types above cannot hold (integers beyond int32, with missing values those beyond 2²⁴; finite floats
beyond float32) is left out. The names of the rows are the attribute `name_0`; `name_1` and so on where a column has
that name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from celldock.canonical import canonical_json
from celldock.formats.cxg_layout import HINT_INDEX
from celldock.formats.cxg_store import ROW_TILE, TEXT, Array, ArraySchema, Attribute, Dimension
from celldock.formats.protocol import Omission
from celldock.h5ad.file import H5adFile
from celldock.h5ad.frames import Column, iter_blocks
from celldock.h5ad.headers import ColumnHeader, FrameHeader

_IN_TISSUE = "in_tissue"
_MISSING = "nan"
_UNIQUE = 0.75
_BLOCK_ROWS = 1 << 18
_BLOCK_BYTES = 32_000_000
_TEXT_BYTES = 128
_EXACT = 1 << 24
_INT, _FLOAT, _BYTE = np.dtype(np.int32), np.dtype(np.float32), np.dtype(np.uint8)
_INTS, _FLOATS = np.iinfo(np.int32), np.finfo(np.float32)


@dataclass(frozen=True, slots=True)
class Field:
    """A column as an attribute: its hint for readers, and its values in rows [start, stop)."""

    attribute: Attribute
    hint: Mapping[str, Any]
    read: Callable[[int, int], Array]


@dataclass(frozen=True, slots=True)
class Fields:
    """All attributes of a frame, that of its index first, and what could not become one."""

    rows: int
    index: str
    fields: tuple[Field, ...]
    omitted: tuple[Omission, ...]

    def schema(self, level: int) -> ArraySchema:
        """The schema of the frame's array."""
        axis = Dimension(self.rows, min(self.rows, ROW_TILE))
        return ArraySchema((axis,), tuple(field.attribute for field in self.fields), level)

    @property
    def block(self) -> int:
        """Rows that are written at a time."""
        widths = (_TEXT_BYTES if field.attribute.dtype == TEXT else 8 for field in self.fields)
        return max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // sum(widths)))

    def read(self, start: int, stop: int) -> Sequence[Array]:
        """Rows [start, stop) of all attributes."""
        return [field.read(start, stop) for field in self.fields]

    def hints(self, index: str) -> str:
        """The metadata `cxg_schema`; `index` is the attribute that readers take for the names of the rows."""
        hints = {field.attribute.name: dict(field.hint) for field in self.fields}
        return canonical_json({**hints, HINT_INDEX: index}).decode("ascii")


def fields_of(file: H5adFile, frame: FrameHeader, columns: Sequence[ColumnHeader]) -> Fields:
    """The attributes of some columns of a frame. Reads columns whose values decide on their type.

    Memory: a block of a column, and the categories of all of them.
    """
    taken = {column.name for column in columns}
    number = next(number for number in range(len(taken) + 1) if f"name_{number}" not in taken)
    index = f"name_{number}"
    names = Field(Attribute(index, TEXT), {"type": "string"}, lambda start, stop: file.index(frame, start, stop))
    fields, omitted = [names], list[Omission]()
    for column in columns:
        found = _Typing(file, column, frame.length, coded=frame.path == "obs").field()
        if isinstance(found, Field):
            fields.append(found)
        else:
            omitted.append(Omission(column.path, found))
    return Fields(frame.length, index, tuple(fields), tuple(omitted))


@dataclass(frozen=True, slots=True)
class _Typing:
    """Finds the attribute of a column, or the reason why there is none; `coded` says that categories may be codes."""

    file: H5adFile
    column: ColumnHeader
    rows: int
    coded: bool

    def field(self) -> Field | str:
        match self.column.kind:
            case "boolean":
                return self._booleans()
            case "nullable-boolean":
                return self._nullable_booleans()
            case "string" | "nullable-string":
                return self._made(TEXT, "string", _texts)
            case "categorical":
                categories = self.file.categories(self.column)
                return self._numbers(categories) if categories.dtype.kind in "iuf" else self._categories(categories)
            case "integer" | "nullable-integer":
                return self._integers()
            case _:
                return self._floats()

    def _made(self, dtype: np.dtype[Any], kind: str, values: Callable[[Column], Array], **hint: Any) -> Field:
        def read(start: int, stop: int) -> Array:
            return values(self.file.column(self.column, start, stop)).astype(dtype, copy=False)

        return Field(Attribute(self.column.name, dtype), {"type": kind, **hint}, read)

    def _blocks(self) -> Iterator[Column]:
        for start, stop in iter_blocks(self.rows, _BLOCK_ROWS):
            yield self.file.column(self.column, start, stop)

    def _integers(self) -> Field | str:
        if self.column.name == _IN_TISSUE and self.column.kind == "integer":
            return self._booleans()
        if np.can_cast(self.column.dtype, _INT) and self.column.kind == "integer":
            return self._made(_INT, "int32", lambda block: block.values)
        missing, low, high = False, 0, 0
        for block in self._blocks():
            known = block.values if block.mask is None else block.values[~block.mask]
            missing |= len(known) < len(block.values)
            low, high = min(low, int(known.min(initial=0))), max(high, int(known.max(initial=0)))
        if missing and max(-low, high) <= _EXACT:
            return self._made(_FLOAT, "float32", _with_gaps)
        if not missing and _INTS.min <= low and high <= _INTS.max:
            return self._made(_INT, "int32", lambda block: block.values)
        return "whole numbers with gaps beyond float32" if missing else "whole numbers beyond int32"

    def _floats(self) -> Field | str:
        if np.dtype(self.column.dtype).itemsize > _FLOAT.itemsize and any(
            _overflows(block.values) for block in self._blocks()
        ):
            return "numbers beyond float32"
        return self._made(_FLOAT, "float32", lambda block: block.values)

    def _booleans(self) -> Field:
        # Explorer's server takes the values of a column of obs for codes of those that occur, so that one that is true
        # throughout makes it fail.
        if self.coded and all(block.values.all() for block in self._blocks()):
            codes = np.dtype(np.int8)
            return self._made(codes, "categorical", lambda block: np.zeros_like(block.values), categories=["True"])
        return self._made(_BYTE, "boolean", lambda block: block.values != 0)

    def _nullable_booleans(self) -> Field:
        if not any(block.mask is not None and block.mask.any() for block in self._blocks()):
            return self._booleans()
        names = np.array(["False", "True", _MISSING], dtype=object)
        if not self.coded:
            return self._made(TEXT, "string", lambda block: names[_three(block)])
        used = np.zeros(len(names), bool)
        for block in self._blocks():
            used[_three(block)] = True
        places = (np.cumsum(used) - 1).astype(np.int8)
        known = names[used].tolist()
        return self._made(places.dtype, "categorical", lambda block: places[_three(block)], categories=known)

    def _numbers(self, categories: Array) -> Field | str:
        used, missing = self._used(len(categories))
        known = categories[used]
        if known.dtype.kind != "f" and not missing:
            if len(known) and not _INTS.min <= int(known.min()) <= int(known.max()) <= _INTS.max:
                return "whole numbers beyond int32"
            return self._made(_INT, "categorical", lambda block: categories[block.values])
        if known.dtype.kind == "f" and _overflows(known):
            return "numbers beyond float32"
        if known.dtype.kind != "f" and any(abs(number) > _EXACT for number in known.tolist()):
            return "whole numbers with gaps beyond float32"
        with np.errstate(over="ignore"):
            values = np.append(categories.astype(_FLOAT), _FLOAT.type(np.nan))
        return self._made(_FLOAT, "categorical", lambda block: values[block.values])

    def _categories(self, categories: Array) -> Field:
        texts = [str(category) for category in categories.tolist()]
        if not self.coded or len(texts) > _UNIQUE * self.rows:
            labels = np.array([*texts, _MISSING], dtype=object)
            return self._made(TEXT, "string", lambda block: labels[block.values])
        used, missing = self._used(len(texts))
        known = {text for text, there in zip(texts, used.tolist(), strict=True) if there}
        names = sorted({*known, _MISSING} if missing else known)
        places = {name: place for place, name in enumerate(names)}
        # The code of a missing value is -1, so it finds the place at the end.
        codes = np.array([places.get(text, -1) for text in [*texts, _MISSING]], dtype=_code_type(len(names)))
        return self._made(codes.dtype, "categorical", lambda block: codes[block.values], categories=names)

    def _used(self, categories: int) -> tuple[Array, bool]:
        """Which of the categories have rows, and whether any row has none of them."""
        used = np.zeros(categories + 1, bool)
        for block in self._blocks():
            used[block.values] = True
        return used[:-1], bool(used[-1])


def _texts(block: Column) -> Array:
    if block.mask is None:
        return block.values
    values = block.values.copy()
    values[block.mask] = _MISSING
    return values


def _with_gaps(block: Column) -> Array:
    values = block.values.astype(_FLOAT)
    if block.mask is not None:
        values[block.mask] = np.nan
    return values


def _three(block: Column) -> Array:
    """0 for false, 1 for true, 2 for what is missing."""
    values = block.values.astype(np.int8)
    if block.mask is not None:
        values[block.mask] = 2
    return values


def _overflows(values: Array) -> bool:
    finite = values[np.isfinite(values)]
    return bool((np.abs(finite) > float(_FLOATS.max)).any())


def _code_type(categories: int) -> np.dtype[Any]:
    types = (np.int8, np.int16, np.int32)
    return cast("np.dtype[Any]", next(np.dtype(each) for each in types if categories <= np.iinfo(each).max))

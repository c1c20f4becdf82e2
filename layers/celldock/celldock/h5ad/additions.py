"""What is added to an h5ad file, as data: new columns, elements of uns and names, and what is taken away again.

Nothing here reads or writes; `celldock.h5ad.appended` puts additions into a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

type Array = np.ndarray[Any, Any]
type NewValue = str | bool | int | float | Array | Mapping[str, NewValue]
"""What an element of uns may be: one value, an array of numbers, booleans or `str` objects, a dictionary of these."""

NewColumnKind = Literal["categorical", "string", "boolean", "integer", "float", "nullable-integer", "nullable-boolean"]


@dataclass(frozen=True, slots=True, eq=False)
class NewColumn:
    """A column that a frame is to get.

    `frame` is the frame's path as its header has it (obs, var, raw/var). `blocks()` yields the column's `rows` values
    from the first row on, in one-dimensional arrays of any lengths that make `rows` together; each call begins anew and
    gives the same values. No block should take more than some MiB: a column of 4 million cells is never whole in
    memory.

    | kind | blocks |
    |---|---|
    | categorical | integer codes into `categories`, -1 where missing |
    | string | `str` objects; none is missing |
    | boolean, integer, float | values of `dtype` |
    | nullable-integer, nullable-boolean | `numpy.ma.MaskedArray` of `dtype`, masked where missing |

    `categories` are distinct texts, or distinct integers (stored as int64), in the order of their codes, few enough to
    be held in memory; used or not. `dtype` is NumPy's name of the values (int64, float32); only integers and floats
    have a choice of it. `replaces` allows that the frame has the column already, which then keeps its place among the
    columns: for a label that is refreshed, never for an author's column.
    """

    frame: str
    name: str
    kind: NewColumnKind
    rows: int
    blocks: Callable[[], Iterable[Array]]
    categories: tuple[str, ...] | tuple[int, ...] = ()
    ordered: bool = False
    dtype: str = ""
    replaces: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class NewElement:
    """An element that uns is to get at `path` (uns/schema_version); the dictionaries on the way are made if missing.

    `replaces` allows that there is one already: for a label that is refreshed, never for an author's element.
    """

    path: str
    value: NewValue
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class RemovedColumn:
    """A column that a frame is to lose. Its values stay in the file as dead bytes until somebody repacks it."""

    frame: str
    name: str


@dataclass(frozen=True, slots=True)
class RenamedColumn:
    """A column that is to be called `to`. Its objects keep their bytes, and the column its place among the others."""

    frame: str
    name: str
    to: str


@dataclass(frozen=True, slots=True)
class RenamedElement:
    """An element of uns (uns/cell_type_colors) that is to be found at `to`, another path in the same dictionary."""

    path: str
    to: str


@dataclass(frozen=True, slots=True, eq=False)
class NewIndex:
    """Other names for the rows of a frame; as many `rows` of them as the frame has.

    `blocks()` yields `str` objects as those of a `NewColumn` of text. The names that the rows had become the last of
    the frame's columns under the name `former`, with the same bytes; where that is "", they are taken away, and stay in
    the file as dead bytes. pandas calls the index as before, unless `former` is that name: then the index has none.
    Where a column has the index's own name (AnnData stores both as one), it stays as it is and is all that is kept.
    """

    frame: str
    rows: int
    blocks: Callable[[], Iterable[Array]]
    former: str


@dataclass(frozen=True, slots=True, eq=False)
class Additions:
    """All that is done to one file, in this order of the new columns. `removed_elements` are paths below uns.

    Columns that are to be removed or renamed must be there, new ones must not (but see `replaces`), unless the one that
    has the name gets another. All names of what is there are those of the original.
    """

    columns: tuple[NewColumn, ...] = ()
    elements: tuple[NewElement, ...] = ()
    removed_columns: tuple[RemovedColumn, ...] = ()
    removed_elements: tuple[str, ...] = ()
    renamed_columns: tuple[RenamedColumn, ...] = ()
    renamed_elements: tuple[RenamedElement, ...] = ()
    indexes: tuple[NewIndex, ...] = ()


def taken_away(additions: Additions, indexes: Mapping[str, str]) -> tuple[str, ...]:
    """The paths of all that the additions may take out of a file, replaced or removed; what lies below goes as well.

    `indexes` are the paths of what names the rows of frames and is no column as well. A column of AnnData 0.7 has its
    categories in another place than its codes.
    """
    replaced = [(column.frame, column.name) for column in additions.columns if column.replaces]
    columns = [*replaced, *((column.frame, column.name) for column in additions.removed_columns)]
    elements = [element.path for element in additions.elements if element.replaces]
    return (
        *(path for frame, name in columns for path in _paths_of(frame, name)),
        *elements,
        *additions.removed_elements,
        *(indexes[index.frame] for index in additions.indexes if not index.former and index.frame in indexes),
    )


def renamed(additions: Additions, indexes: Mapping[str, str]) -> dict[str, str]:
    """The paths of all that the additions give another name, and which; what lies below goes along.

    `indexes` are the paths of what names the rows of frames and is no column as well.
    """
    columns = [
        pair
        for column in additions.renamed_columns
        for pair in zip(_paths_of(column.frame, column.name), _paths_of(column.frame, column.to), strict=True)
    ]
    elements = [(element.path, element.to) for element in additions.renamed_elements]
    former = [
        (indexes[index.frame], f"{index.frame}/{index.former}")
        for index in additions.indexes
        if index.former and index.frame in indexes
    ]
    return dict([*columns, *elements, *former])


def _paths_of(frame: str, name: str) -> tuple[str, str]:
    return f"{frame}/{name}", f"{frame}/__categories/{name}"

"""What is added to an h5ad file, as data: new columns and elements of uns, and those that are taken away again.

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


@dataclass(frozen=True, slots=True, eq=False)
class Additions:
    """All that is done to one file, in this order of the new columns. `removed_elements` are paths below uns.

    Columns that are to be removed must be there, new ones must not (but see `replaces`).
    """

    columns: tuple[NewColumn, ...] = ()
    elements: tuple[NewElement, ...] = ()
    removed_columns: tuple[RemovedColumn, ...] = ()
    removed_elements: tuple[str, ...] = ()


def taken_away(additions: Additions) -> tuple[str, ...]:
    """The paths of all that the additions may take out of a file, replaced or removed; what lies below goes as well.

    A column of AnnData 0.7 has its categories in another place than its codes.
    """
    replaced = [(column.frame, column.name) for column in additions.columns if column.replaces]
    columns = [*replaced, *((column.frame, column.name) for column in additions.removed_columns)]
    elements = [element.path for element in additions.elements if element.replaces]
    return (
        *(f"{frame}/{name}" for frame, name in columns),
        *(f"{frame}/__categories/{name}" for frame, name in columns),
        *elements,
        *additions.removed_elements,
    )

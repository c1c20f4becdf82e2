"""What of an h5ad file is written anew, as data: matrices, frames and arrays, and what is moved, copied or left out.

Nothing here reads or writes; `celldock.h5ad.rewriting` writes a file by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from celldock.h5ad.additions import NewColumn
from celldock.h5ad.block import Block

type Array = np.ndarray[Any, Any]

NewEncoding = Literal["csr", "dense"]


@dataclass(frozen=True, slots=True, eq=False)
class NewMatrix:
    """A matrix at `path` (X, raw/X, layers/NAME, varp/NAME) of `shape` (rows, columns).

    `blocks()` yields all rows from 0 on in canonical form: column numbers ascend within a row and none comes twice;
    each call begins anew and gives the same values. `dtype` is NumPy's name of the values (float32, int64), which
    those of the blocks have. How many values there are need not be known ahead. A dense matrix comes as blocks too,
    and has zeros where they have nothing.
    """

    path: str
    shape: tuple[int, int]
    dtype: str
    encoding: NewEncoding
    blocks: Callable[[], Iterable[Block]]


@dataclass(frozen=True, slots=True, eq=False)
class NewFrame:
    """A data frame at `path` (var, raw/var) of `rows` rows, with these `columns` in their order and no others.

    `names()` yields the names of the rows as `str` objects, in arrays as the blocks of a `NewColumn` of text.
    `index_name` is what pandas calls the index; None for one without a name. Each column's `frame` is this path.
    """

    path: str
    rows: int
    index_name: str | None
    names: Callable[[], Iterable[Array]]
    columns: tuple[NewColumn, ...]


@dataclass(frozen=True, slots=True, eq=False)
class NewArray:
    """A dense array at `path` (varm/NAME). `blocks()` yields its rows in order, in arrays of `dtype`."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    blocks: Callable[[], Iterable[Array]]


@dataclass(frozen=True, slots=True, eq=False)
class Rewrite:
    """How a new file is made of an original. Everything that is not named here is copied as it is stored.

    `moved` and `copied` say where what the original has at a path (key) is to be in the new file (value); what is moved
    is not at its old path any more. All keys are places in the original, so that two matrices may change places.
    `dropped` are paths that are not copied, nor anything below them, unless it is moved or copied to another place; a
    column of a frame may be among them. What the original has where something new, moved or copied is to be goes
    without being dropped. A raw that has nothing left does not appear in the new file.
    """

    matrices: tuple[NewMatrix, ...] = ()
    frames: tuple[NewFrame, ...] = ()
    arrays: tuple[NewArray, ...] = ()
    moved: Mapping[str, str] = field(default_factory=dict[str, str])
    copied: Mapping[str, str] = field(default_factory=dict[str, str])
    dropped: tuple[str, ...] = ()

    @property
    def made(self) -> tuple[str, ...]:
        """The paths of all that is new."""
        return tuple(item.path for item in (*self.matrices, *self.frames, *self.arrays))

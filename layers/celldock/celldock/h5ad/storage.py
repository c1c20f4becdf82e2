"""Which bytes of a file are those of its datasets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

type Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class StoredHead:
    """A dataset: NumPy's name of its type ("|O" for strings of any length), its shape, and its stored pieces.

    A piece is a chunk, or the whole of a dataset that has none. What lies in an object header or was never written is
    no piece.
    """

    dtype: str
    shape: tuple[int, ...]
    pieces: int


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """Some datasets, and where all of their pieces lie, one dataset after the other, each in C order of its chunks.

    `offsets` and `sizes` are int64, in bytes of the file.
    """

    heads: tuple[StoredHead, ...]
    offsets: Array
    sizes: Array

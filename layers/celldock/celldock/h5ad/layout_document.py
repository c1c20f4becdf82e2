"""The document in which layouts travel, and its check.

Apart from `celldock.h5ad.layout` because the process that runs libhdf5 makes layouts but never takes any, and starts in
two thirds of the time without pydantic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveInt, TypeAdapter

from celldock.h5ad.headers import MatrixHeader

_DTYPE = r"^[<>|][biuf](1|2|4|8|16)$"


@dataclass(frozen=True, slots=True)
class MatrixHead:
    """A matrix and the names of its arrays."""

    header: MatrixHeader
    arrays: list[str]


@dataclass(frozen=True, slots=True)
class ArrayHead:
    """What an array layout has beside its chunk table; bytes in base 64."""

    path: str
    dtype: Annotated[str, Field(pattern=_DTYPE)]
    shape: tuple[NonNegativeInt, ...]
    chunks: tuple[PositiveInt, ...] | None
    filters: list[tuple[int, tuple[int, ...]]]
    fill: str
    entries: NonNegativeInt
    inline: str | None


@dataclass(frozen=True, slots=True)
class LayoutDocument:
    """`arrays` has those of the matrices first, one after the other, then the columns."""

    layout_version: int
    matrices: list[MatrixHead]
    columns: list[str]
    arrays: list[ArrayHead]


_DOCUMENT = TypeAdapter(LayoutDocument)  # Made once: it takes longer than all that is checked with it.


def check_document(document: Any) -> LayoutDocument:
    """The document as `FileLayout.to_parts` made it. Raises ValueError for anything else."""
    return _DOCUMENT.validate_python(document)

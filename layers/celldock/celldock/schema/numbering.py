"""Columns that are made from others: each row's value is turned into a number, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from celldock.errors import HostileFile
from celldock.h5ad.frames import Column
from celldock.schema.facts import ColumnFacts, Value

type Array = np.ndarray[Any, Any]

MISSING = -1
"""The number of a missing value, unless another is asked for."""
_UNSEEN = -2


def code_type(count: int) -> type[np.signedinteger[Any]]:
    """The smallest type for the codes of so many categories, as pandas has it."""
    return next((each for each in (np.int8, np.int16) if count <= np.iinfo(each).max), np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Numbering:
    """A number for each value that occurs in a column, `dtype` of what comes out; `missing` where there is no value.

    A crafted file may answer otherwise when it is read again: a value that has no number raises HostileFile.
    """

    facts: ColumnFacts
    numbers: Mapping[Value, int]
    dtype: type[np.signedinteger[Any]]
    missing: int = MISSING
    _by_code: Array = field(init=False)

    def __post_init__(self) -> None:
        # The code of a missing value is -1: the last place.
        places = [*(self.numbers.get(value, _UNSEEN) for value in self.facts.values), self.missing]
        object.__setattr__(self, "_by_code", np.array(places, self.dtype))

    def of(self, block: Column) -> Array:
        """The number of each row's value in a block of the column."""
        if self.facts.header.categories is not None:
            found = self._by_code[block.values]
        else:
            found = np.array([self.numbers.get(value, _UNSEEN) for value in block.values.tolist()], self.dtype)
            if block.mask is not None:
                found[block.mask] = self.missing
            elif block.values.dtype.kind == "f":
                found[np.isnan(block.values)] = self.missing
        if (found == _UNSEEN).any():
            raise HostileFile(
                f"{self.facts.header.path} gives other values each time it is read.",
                code="file.unsteady",
                where=self.facts.header.path,
                hint="Load the file with anndata.read_h5ad, and write it anew with write_h5ad.",
            )
        return found

"""The words in which findings speak of the rows of obs and var."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Noun(NamedTuple):
    """What a row is called, singular and plural."""

    one: str
    many: str

    def of(self, number: int) -> str:
        """`1 cell`, `2,000 cells`."""
        return f"{number:,} {self.one if number == 1 else self.many}"

    def examples(self, counts: Mapping[str, int]) -> list[str]:
        """Values with how many rows have each, the most frequent first: `CL:0000000 (12 cells)`."""
        return [f"{value} ({self.of(count)})" for value, count in sorted(counts.items(), key=lambda item: -item[1])]


ROWS = {"obs": Noun("cell", "cells"), "var": Noun("gene", "genes"), "raw.var": Noun("gene", "genes")}


def shape(rows: int, columns: int) -> str:
    """A matrix's shape in words: `20 cells × 10 genes`."""
    return f"{ROWS['obs'].of(rows)} × {ROWS['var'].of(columns)}"

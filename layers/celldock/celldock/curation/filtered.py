"""feature_is_filtered where nobody says it: genes of which X has nothing but zeros although raw.X has counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from celldock.curation.ledger import Ledger
from celldock.h5ad.additions import NewColumn
from celldock.h5ad.layout import Array
from celldock.schema.rules.filtered import FILTERED
from celldock.schema.words import ROWS

_VAR = "var"


def filtered_genes(in_x: Array, in_raw: Array | None, only_raw: Array) -> Array:
    """For each gene whether it is filtered: a bool each.

    `in_x` and `in_raw` are the cells in which each is not zero; `in_raw` is None for a file without raw.X, in which no
    gene is filtered. `only_raw` marks the genes that X did not have at all.
    """
    if in_raw is None:
        return np.zeros(len(in_x), np.bool)
    return only_raw | ((in_x == 0) & (in_raw > 0))


def filtered_column(flags: Array, ledger: Ledger) -> NewColumn:
    """The column of var."""
    count = int(np.count_nonzero(flags))
    ledger.change(
        "var.feature_is_filtered",
        f"{_VAR}/{FILTERED}",
        f"{FILTERED} is new: True for {ROWS['var'].of(count)} of which raw.X has counts and X has none, False for "
        f"{len(flags) - count:,}."
        if count
        else f"{FILTERED} is new: False for all genes.",
        len(flags),
    )

    def blocks() -> Iterator[np.ndarray[Any, Any]]:
        yield flags

    return NewColumn(_VAR, FILTERED, "boolean", len(flags), blocks)

"""Rules about feature_is_filtered, the column of var that flags genes which were filtered out of X but not of raw.X."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from celldock.h5ad.layout import Array
from celldock.report import Finding
from celldock.report.model import MAX_EXAMPLES
from celldock.schema.registry import Context, Skip, rule
from celldock.schema.words import ROWS

FILTERED = "feature_is_filtered"


@rule("raw.var.feature_is_filtered.not_expected")
def filtered_in_raw(context: Context) -> Iterator[Finding]:
    """raw.var does not have the column."""
    header = context.frame("raw.var")
    if any(column.name == FILTERED for column in header.columns):
        yield context.finding(
            f"{header.path}/{FILTERED}",
            f"raw.var has the column {FILTERED}, which belongs in var alone: in raw.X no gene is filtered out.",
            suggestion=f"Drop it: del adata.raw.var[{FILTERED!r}].",
        )


@rule("var.feature_is_filtered.without_raw")
def filtered_without_raw(context: Context) -> Iterator[Finding]:
    """No gene is flagged where there is no raw matrix."""
    if context.header.has_raw:
        return
    flagged = np.flatnonzero(_flags(context))
    if len(flagged):
        yield context.finding(
            f"var/{FILTERED}",
            f"{FILTERED} is True for {ROWS['var'].of(len(flagged))}, but there is no raw matrix that has what was "
            "filtered out.",
            count=len(flagged),
            examples=context.names("var", flagged[:MAX_EXAMPLES].tolist()),
            suggestion=f"Set adata.var[{FILTERED!r}] = False, or provide the raw counts as adata.raw.",
        )


@rule("var.feature_is_filtered.not_zero")
def filtered_not_zero(context: Context) -> Iterator[Finding]:
    """Genes that are flagged have only zeros in X, where there is a raw matrix."""
    if context.header.raw_x is None:
        return
    flags = _flags(context)
    counts = _nonzeros(context, "x", len(flags))
    wrong = np.flatnonzero(flags & (counts > 0))
    if len(wrong):
        first = wrong[:MAX_EXAMPLES].tolist()
        yield context.finding(
            f"var/{FILTERED}",
            f"{FILTERED} is True for {ROWS['var'].of(len(wrong))} of which X has values other than zero.",
            count=len(wrong),
            examples=[
                f"{name} ({ROWS['obs'].of(int(counts[gene]))})"
                for name, gene in zip(context.names("var", first), first, strict=True)
            ],
            suggestion=f"Set their values in X to zero, or {FILTERED} to False if they are not filtered out.",
        )


@rule("var.feature_is_filtered.all_zero")
def zero_not_filtered(context: Context) -> Iterator[Finding]:
    """Genes that have counts in raw.X and only zeros in X are flagged."""
    if context.header.raw_x is None:
        return
    flags = _flags(context)
    in_x, in_raw = _nonzeros(context, "x", len(flags)), _nonzeros(context, "raw", len(flags))
    wrong = np.flatnonzero(~flags & (in_x == 0) & (in_raw > 0))
    if len(wrong):
        yield context.finding(
            f"var/{FILTERED}",
            f"{FILTERED} is False for {ROWS['var'].of(len(wrong))} of which X has only zeros, but raw.X has counts.",
            count=len(wrong),
            examples=context.names("var", wrong[:MAX_EXAMPLES].tolist()),
            suggestion=f"Set {FILTERED} to True for them, if they were filtered out of X.",
        )


def _flags(context: Context) -> Array:
    """The column, a bool for each gene; raises Skip if it is missing or of another type, which another rule tells."""
    column, rows = context.column_header("var", FILTERED), context.frame("var").length
    if column.kind != "boolean":
        raise Skip
    flags = np.zeros(rows, np.bool)
    for start, (block,) in context.tables.blocks([column], rows):
        flags[start : start + len(block.values)] = block.values
    return flags


def _nonzeros(context: Context, matrix: str, genes: int) -> Array:
    """Cells in which each gene is not zero; raises Skip for a matrix of other genes than var, as another rule tells."""
    (scan,) = context.values(matrix)
    if scan.n_vars != genes:
        raise Skip
    return scan.genes.counts

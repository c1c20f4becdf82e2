"""Rules about where the spots of a single Visium section lie: array_row, array_col and in_tissue in obs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from celldock.report import Finding
from celldock.schema.facts import ColumnFacts
from celldock.schema.registry import Context, Skip, rule
from celldock.schema.rules.columns import suggest_column
from celldock.schema.spatial import by_assay, is_single_visium, is_visium
from celldock.schema.words import ROWS

_OBS = "obs"
_SOURCE = "it stands in tissue_positions.csv (or tissue_positions_list.csv), which Space Ranger wrote"


@rule("obs.{column}.missing")
def position_missing(context: Context, *, visium: str, column: str) -> Iterator[Finding]:
    """A single Visium section has the column."""
    header = context.header.obs
    names = [existing.name for existing in header.columns]
    if column not in names and is_single_visium(context, visium):
        suggestion = suggest_column(column, names, _OBS)
        yield context.finding(
            f"{header.path}/{column}",
            f"The column {column} is missing: every spot of a single Visium section needs a value in it.",
            count=header.length,
            suggestion=f"Add it: {_SOURCE}." if suggestion.startswith("Add it") else suggestion,
        )


@rule("obs.{column}.not_expected")
def position_not_expected(context: Context, *, visium: str, column: str) -> Iterator[Finding]:
    """No other file has the column."""
    header = context.column_header(_OBS, column)
    if is_single_visium(context, visium):
        return
    why = "uns['spatial']['is_single'] is False" if is_visium(context, visium) else "the assay is not Visium"
    yield context.finding(
        header.path,
        f"The column {column} belongs to a single Visium section, but {why}.",
        count=context.header.n_obs,
        suggestion=f"Leave it out: del adata.obs[{column!r}]; or rename it if it is needed.",
    )


@rule("obs.{column}.type")
def position_type(context: Context, *, visium: str, column: str) -> Iterator[Finding]:
    """The column holds integers."""
    header = context.column_header(_OBS, column)
    if is_single_visium(context, visium) and header.kind != "integer":
        kind = "categorical" if header.kind == "categorical" else f"of type {header.dtype}"
        yield context.finding(
            header.path,
            f"The column {column} is {kind}, where integers are required.",
            count=context.header.n_obs,
            suggestion=f"Convert it: adata.obs[{column!r}] = adata.obs[{column!r}].astype('int64').",
        )


@rule("obs.{column}.values_missing")
def position_values_missing(context: Context, *, visium: str, column: str) -> Iterator[Finding]:
    """The column has a value for each spot."""
    if not is_single_visium(context, visium):
        return
    facts = context.column(_OBS, column)
    if facts.missing:
        yield context.finding(
            facts.header.path,
            f"The column {column} has no value for {ROWS[_OBS].of(facts.missing)}.",
            count=facts.missing,
            examples=context.names(_OBS, [facts.first_missing]),
            suggestion=f"Fill it in by barcode: {_SOURCE}.",
        )


@rule("obs.{column}.range")
def position_range(
    context: Context,
    *,
    visium: str,
    column: str,
    greatest: int,
    greatest_by_assay: Mapping[str, int],
    other: str = "",
) -> Iterator[Finding]:
    """The values are from 0 to the greatest of the assay's slide. `other` is the column it may be swapped with."""
    if not is_single_visium(context, visium):
        return
    facts, most = context.column(_OBS, column), by_assay(context, greatest_by_assay, greatest)
    outside = _outside(facts, most)
    if not outside:
        return
    count = sum(outside.values())
    swapped = other and count and not _outside_other(context, other, most)
    yield context.finding(
        facts.header.path,
        f"The column {column} has values outside of 0 to {most} for {ROWS[_OBS].of(count)}.",
        count=count,
        examples=ROWS[_OBS].examples({str(value): cells for value, cells in outside.items()}),
        suggestion=f"It looks as if {column} and {other} were swapped."
        if swapped
        else f"Take the value of each spot as {_SOURCE.removeprefix('it ')}.",
    )


def _outside(facts: ColumnFacts, most: int) -> dict[int | float, int]:
    """The numbers of a column that are not in 0 to `most`, with their rows."""
    return {
        value: count
        for value, count in facts.used.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and not 0 <= value <= most
    }


def _outside_other(context: Context, column: str, most: int) -> bool:
    """Whether a column has numbers outside of 0 to `most`, or cannot tell."""
    try:
        facts = context.column(_OBS, column)
    except Skip:
        return True
    return bool(_outside(facts, most))

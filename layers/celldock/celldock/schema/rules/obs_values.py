"""Rules about the columns of obs that hold words of a list, and about how columns depend on each other."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from celldock.report import Finding
from celldock.schema.registry import Context, Skip, rule
from celldock.schema.rules.conditions import groups, holds
from celldock.schema.rules.terms import named, where_words
from celldock.schema.spatial import is_single_visium, is_spatial
from celldock.schema.words import ROWS

_CELLS = ROWS["obs"]


@rule("obs.{column}.not_allowed")
def not_allowed(
    context: Context, *, column: str, values: Sequence[str], renamed: Mapping[str, str] | None = None
) -> Iterator[Finding]:
    """Every value is one of a list. `renamed` tells what earlier schemas called them."""
    used = context.column("obs", column).used
    wrong = Counter({str(value): cells for value, cells in used.items() if value not in values})
    if wrong:
        yield context.finding(
            f"obs/{column}",
            f"In {_CELLS.of(wrong.total())} {column} holds a value that the schema does not allow.",
            count=wrong.total(),
            examples=_CELLS.examples(wrong),
            suggestion=f"Allowed are {', '.join(map(repr, values))}.{_meant(wrong, values, renamed or {})}",
        )


@rule("obs.{column}.cell_line")
def cell_line_is_na(
    context: Context, *, column: str, cell_line: Mapping[str, Sequence[str]], only: Mapping[str, Sequence[str]]
) -> Iterator[Finding]:
    """A column is `na` in cells of cell lines, and in no other cells.

    `cell_line` says which cells these are; `only` among which other cells `na` is forbidden: all where it is empty.
    """
    lacking: Counter[str] = Counter()
    beyond = 0
    for group in groups(context, column, [*cell_line, *only]):
        in_line = holds(context.reference, cell_line, group.fields)
        if in_line and group.value != "na":
            lacking[str(group.value)] += group.cells
        if in_line is False and group.value == "na" and holds(context.reference, only, group.fields):
            beyond += group.cells
    words = where_words(context.reference, cell_line)
    if lacking:
        yield context.finding(
            f"obs/{column}",
            f"In {_CELLS.of(lacking.total())} {column} is not 'na'{words}, where it must be.",
            count=lacking.total(),
            examples=_CELLS.examples(lacking),
            suggestion=f"Set {column} to 'na'{words}.",
        )
    if beyond:
        yield context.finding(
            f"obs/{column}",
            f"In {_CELLS.of(beyond)} {column} is 'na', which is for cell lines alone.",
            count=beyond,
            suggestion=f"Give a value of {column}, or correct {' and '.join(cell_line)} if it is a cell line.",
        )


@rule("obs.{column}.cell_line")
def cell_line_all_or_none(
    context: Context, *, column: str, cell_line: Mapping[str, Sequence[str]]
) -> Iterator[Finding]:
    """A column is `na` in all cells of cell lines or in none, and in no other cells."""
    inside: Counter[bool] = Counter()
    beyond = 0
    for group in groups(context, column, cell_line):
        in_line = holds(context.reference, cell_line, group.fields)
        if in_line:
            inside[group.value == "na"] += group.cells
        if in_line is False and group.value == "na":
            beyond += group.cells
    if inside[True] and inside[False]:
        words = where_words(context.reference, cell_line)
        yield context.finding(
            f"obs/{column}",
            f"In {_CELLS.of(inside[True])} of {inside.total():,} {column} is 'na'{words}, but not in the others.",
            count=inside.total(),
            suggestion=f"Set {column} to 'na' in the other {_CELLS.of(inside[False])} too, or give all of them a term.",
        )
    if beyond:
        yield context.finding(
            f"obs/{column}",
            f"In {_CELLS.of(beyond)} {column} is 'na', which is for cell lines alone.",
            count=beyond,
            suggestion="Write 'unknown' where no term fits.",
        )


@rule("obs.{column}.off_tissue")
def off_tissue_is_unknown(context: Context, *, column: str, in_tissue: str, visium: str) -> Iterator[Finding]:
    """A column is `unknown` for the spots outside the tissue of a single Visium section."""
    if not is_single_visium(context, visium):
        raise Skip
    context.column("obs", in_tissue)
    known = Counter(
        {
            str(group.value): group.cells
            for group in groups(context, column, [in_tissue])
            if group.fields.get(in_tissue) == 0 and group.value != "unknown"
        }
    )
    if known:
        yield context.finding(
            f"obs/{column}",
            f"In {_CELLS.of(known.total())} outside the tissue ({in_tissue} is 0) {column} is not 'unknown'.",
            count=known.total(),
            examples=_CELLS.examples(known),
            suggestion=f"adata.obs.loc[adata.obs[{in_tissue!r}] == 0, {column!r}] = 'unknown'",
        )


@rule("obs.{column}.mixed")
def one_spatial_assay(context: Context, *, column: str, visium: str, beads: str) -> Iterator[Finding]:
    """All cells of a file with a spatial assay have the same assay."""
    used = context.column("obs", column).used
    if is_spatial(context, visium=visium, beads=beads) and len(used) > 1:
        yield context.finding(
            f"obs/{column}",
            f"The file has cells of {len(used)} assays, but one with a spatial assay may have no other.",
            count=len(used),
            examples=_CELLS.examples({named(context.reference, str(value)): cells for value, cells in used.items()}),
            suggestion="Submit the cells of each assay in a file of their own.",
        )


def _meant(wrong: Counter[str], values: Sequence[str], renamed: Mapping[str, str]) -> str:
    value = wrong.most_common(1)[0][0]
    plain = value.strip().casefold().replace("_", " ")
    near = [renamed[plain]] if plain in renamed else difflib.get_close_matches(plain, values, n=1)
    return f" For {value!r} write {near[0]!r}." if near else ""

"""Rules about the columns of obs that say what was done to the cells."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from celldock.report import Finding
from celldock.schema.registry import Context, Skip, rule
from celldock.schema.rules.conditions import groups, uns_text
from celldock.schema.rules.terms import Spelling, named, where_words
from celldock.schema.spatial import uns_below
from celldock.schema.words import ROWS

_PERTURBATIONS = "genetic_perturbations"
_CELLS = ROWS["obs"]


@rule("obs.{column}.missing")
def column_missing_beside(context: Context, *, column: str, beside: str) -> Iterator[Finding]:
    """A column is there if another column of obs, or a key of uns, is: `beside`, as `uns/genetic_perturbations`."""
    if _has(context, beside) and not _has(context, f"obs/{column}"):
        yield context.finding(
            f"obs/{column}",
            f"The column {column} is missing: the file has {beside}, and both belong together.",
            count=context.header.n_obs,
            suggestion=f"Add adata.obs[{column!r}], or leave out {beside}.",
        )


@rule("obs.{column}.not_expected")
def column_not_expected_alone(context: Context, *, column: str, beside: str) -> Iterator[Finding]:
    """A column is not there unless another column of obs, or a key of uns, is."""
    if _has(context, f"obs/{column}") and not _has(context, beside):
        yield context.finding(
            f"obs/{column}",
            f"The file has the column {column} without {beside}, and both belong together.",
            count=context.header.n_obs,
            suggestion=f"Add {beside}, or drop the column: del adata.obs[{column!r}]",
        )


@rule("obs.{column}.all_na")
def all_na(context: Context, *, column: str) -> Iterator[Finding]:
    """A column that says `na` in all cells is left out."""
    used = context.column("obs", column).used
    if list(used) == ["na"]:
        yield context.finding(
            f"obs/{column}",
            f"The column {column} is 'na' in all cells; it must be left out then.",
            count=used["na"],
            suggestion=f"del adata.obs[{column!r}]",
        )


@rule("obs.{column}.organism")
def perturbed_organism(context: Context, *, column: str, organism: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """A file with the column is of one of a few organisms."""
    context.column_header("obs", column)
    for field, terms in organism.items():
        value = uns_text(context, field)
        if value is not None and value not in terms:
            yield context.finding(
                f"obs/{column}",
                f"The organism is {named(context.reference, value)}, for which the schema has no {column}.",
                count=context.header.n_obs,
                suggestion=f"The column is for files{where_words(context.reference, organism)}: drop it.",
            )


@rule("obs.{column}.id_unknown")
def perturbation_unknown(context: Context, *, column: str, spelling: Mapping[str, Any]) -> Iterator[Finding]:
    """Every id is a key of uns['genetic_perturbations']."""
    written = Spelling(**spelling)
    used = context.column("obs", column).used
    if context.uns_header(_PERTURBATIONS) is None:
        raise Skip
    ids = uns_below(context, _PERTURBATIONS)
    unknown: Counter[str] = Counter()
    cells = 0
    for value, count in used.items():
        wrong = {part.id for part in written.parts(str(value)) if part.id not in ids}
        unknown.update(dict.fromkeys(wrong, count))
        cells += count if wrong else 0
    if unknown:
        yield context.finding(
            f"obs/{column}",
            f"In {_CELLS.of(cells)} {column} names perturbations that uns['{_PERTURBATIONS}'] does not have.",
            count=cells,
            examples=_CELLS.examples(unknown),
            suggestion=_mend_id(unknown.most_common(1)[0][0], list(ids), written),
        )


@rule("obs.genetic_perturbation_strategy.not_allowed")
def perturbation_strategy(
    context: Context, *, column: str, id_column: str, none: str, strategies: Sequence[str]
) -> Iterator[Finding]:
    """The strategy is `none` exactly where the id is `na`, and one of the schema's elsewhere."""
    wrong: Counter[str] = Counter()
    for group in groups(context, column, [id_column]):
        perturbed_by = group.fields.get(id_column)
        untouched = perturbed_by == "na"
        allowed = (none,) if untouched else strategies if perturbed_by is not None else (none, *strategies)
        if group.value not in allowed:
            beside = f" where {id_column} is 'na'" if untouched else ""
            wrong[f"{group.value!r}{beside}"] += group.cells
    if wrong:
        yield context.finding(
            f"obs/{column}",
            f"In {_CELLS.of(wrong.total())} {column} holds a value that the schema does not allow there.",
            count=wrong.total(),
            examples=_CELLS.examples(wrong),
            suggestion=f"Where {id_column} is 'na' it must be {none!r}, and elsewhere one of "
            f"{', '.join(map(repr, strategies))}.",
        )


@rule("obs.genetic_perturbation_strategy.role")
def control_role(
    context: Context, *, column: str, id_column: str, control: str, spelling: Mapping[str, Any]
) -> Iterator[Finding]:
    """Cells whose strategy is `control` name only perturbations whose role is that, too."""
    written = Spelling(**spelling)
    wrong: Counter[str] = Counter()
    cells = 0
    for group in groups(context, id_column, [column]):
        if group.fields.get(column) == control:
            ids = {part.id for part in written.parts(str(group.value))}
            others = [each for each in ids if _role(context, each) not in (control, None)]
            wrong.update(dict.fromkeys(others, group.cells))
            cells += group.cells if others else 0
    if wrong:
        yield context.finding(
            f"obs/{column}",
            f"In {_CELLS.of(cells)} {column} is {control!r}, but {id_column} names a perturbation of another role.",
            count=cells,
            examples=_CELLS.examples(wrong),
            suggestion=f"Set the role of {', '.join(sorted(wrong)[:3])} to {control!r} in uns['{_PERTURBATIONS}'], "
            "or correct the strategy.",
        )


def _role(context: Context, perturbation: str) -> str | None:
    """The role of a perturbation; None where there is none, as another rule tells."""
    path = f"{_PERTURBATIONS}/{perturbation}/role"
    header = context.uns_header(path)
    if header is None or (header.kind, header.dtype) != ("scalar", "str"):
        return None
    return str(context.uns(path))


def _has(context: Context, path: str) -> bool:
    place, name = path.split("/", 1)
    if place == "uns":
        return context.uns_header(name) is not None
    return any(column.name == name for column in context.header.obs.columns)


def _mend_id(wrong: str, ids: Sequence[str], written: Spelling) -> str:
    near = difflib.get_close_matches(wrong, ids, n=1)
    if near:
        return f"For {wrong!r} write {near[0]!r}."
    return f"Add {wrong!r} to uns['{_PERTURBATIONS}'], or separate several ids by {written.separator!r}."

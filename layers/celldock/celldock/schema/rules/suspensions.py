"""Rules about which type of suspension goes with which assay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from celldock.report import Finding
from celldock.schema.reference import Reference
from celldock.schema.registry import Context, rule
from celldock.schema.rules.terms import named
from celldock.schema.words import ROWS

_ASSAY = "assay_ontology_term_id"
_COLUMN = "suspension_type"
_CELLS = ROWS["obs"]


class _Row(BaseModel):
    """A row of the schema's table: these assays, and those `with_descendants`, are of these types."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    types: tuple[str, ...]
    assays: tuple[str, ...] = ()
    with_descendants: tuple[str, ...] = ()

    def has(self, reference: Reference, assay: str) -> bool:
        term = reference.term(assay)
        return assay in (*self.assays, *self.with_descendants) or (
            term is not None and any(root in term.ancestors for root in self.with_descendants)
        )


_TABLE = TypeAdapter(tuple[_Row, ...])


@rule("obs.suspension_type.assay")
def suspension_type_by_assay(context: Context, *, table: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """The suspension type is one that every row of the table which has the assay allows: one finding for each assay."""
    rows = _TABLE.validate_python(table)
    known = {suspension for row in rows for suspension in row.types}
    wrong: dict[str, Counter[str]] = {}
    allowed: dict[str, list[str]] = {}
    for assay, suspension, cells in _pairs(context):
        types = _types(context.reference, rows, assay)
        if types is not None and suspension in known and suspension not in types:
            wrong.setdefault(assay, Counter())[suspension] += cells
            allowed[assay] = types
    for assay, found in wrong.items():
        words = " or ".join(map(repr, allowed[assay]))
        yield context.finding(
            f"obs/{_COLUMN}",
            f"In {_CELLS.of(found.total())} {_COLUMN} is not the one of the assay {named(context.reference, assay)}, "
            f"which is {words}.",
            count=found.total(),
            examples=_CELLS.examples(found),
            suggestion=f"Set {_COLUMN} to {words} for these cells, or correct {_ASSAY}.",
        )


@rule("obs.suspension_type.assay_unlisted")
def suspension_type_of_unlisted_assay(context: Context, *, table: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """The schema's table has the assay, so that somebody can say whether the suspension type is right."""
    rows = _TABLE.validate_python(table)
    unlisted: Counter[str] = Counter()
    for assay, _, cells in _pairs(context):
        term = context.reference.term(assay)
        if term and not term.obsolete and not any(row.has(context.reference, assay) for row in rows):
            unlisted[named(context.reference, assay)] += cells
    if unlisted:
        yield context.finding(
            f"obs/{_COLUMN}",
            f"The schema does not say what {_COLUMN} must be for the assay of {_CELLS.of(unlisted.total())}.",
            count=unlisted.total(),
            examples=_CELLS.examples(unlisted),
            suggestion=f"Make sure that {_COLUMN} fits, and tell the curators of the schema, who keep its table.",
        )


def suspension_types(reference: Reference, table: Sequence[Mapping[str, Any]], assay: str) -> list[str]:
    """The types that all rows of the table which have the assay allow; none where no row has it."""
    return _types(reference, _TABLE.validate_python(table), assay) or []


def _types(reference: Reference, rows: Sequence[_Row], assay: str) -> list[str] | None:
    sets = [row.types for row in rows if row.has(reference, assay)]
    return [each for each in sets[0] if all(each in types for types in sets)] if sets else None


def _pairs(context: Context) -> Iterator[tuple[str, str, int]]:
    for found in context.combinations("obs", _ASSAY, _COLUMN):
        assay, suspension = found.values
        if isinstance(assay, str) and isinstance(suspension, str):
            yield assay, suspension, found.count

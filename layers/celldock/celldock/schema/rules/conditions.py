"""On what the values of a column may depend: other columns of obs, and keys of uns, which hold for all cells.

Which species the cells are from is said in uns or, before schema 6.0.0, in obs: a version names the field as it has it,
`uns/organism_ontology_term_id` or `organism_ontology_term_id`, and rules need not know where it lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from celldock.schema.facts import Value
from celldock.schema.reference import Reference
from celldock.schema.registry import Context, Skip

_UNS = "uns/"

type Fields = Mapping[str, Sequence[str]]
"""For each field the values that it may have; a term stands for its descendants too."""


@dataclass(frozen=True, slots=True)
class Group:
    """Cells that share their value in a column, and their fields' values, but for fields that are not known."""

    value: Value
    fields: Mapping[str, Value]
    cells: int


def groups(context: Context, column: str, fields: Iterable[str]) -> Iterator[Group]:
    """The cells by their values in a column and in other fields; raises Skip as `Context.column` does.

    Cells without a value in the column are left out.
    """
    fixed: dict[str, Value] = {}
    varying: list[str] = []
    for field in fields:
        if field.startswith(_UNS):
            value = uns_text(context, field)
            fixed |= {} if value is None else {field: value}
        elif _is_readable(context, field):
            varying.append(field)
    if not varying:
        facts = context.column("obs", column)
        yield from (Group(value, fixed, cells) for value, cells in facts.used.items())
        return
    for found in context.combinations("obs", column, *varying):
        value, *others = found.values
        if value is not None:
            known = {field: other for field, other in zip(varying, others, strict=True) if other is not None}
            yield Group(value, fixed | known, found.count)


def uns_text(context: Context, field: str) -> str | None:
    """The text at a field such as `uns/title`; None where there is none."""
    try:
        value = context.uns(field.removeprefix(_UNS))
    except Skip:
        return None
    return value if isinstance(value, str) else None


def holds(reference: Reference, wanted: Fields, fields: Mapping[str, Value]) -> bool | None:
    """Whether cells with these fields are among those with the values wanted; None where that cannot be known."""
    answers = [_is_among(reference, values, fields.get(field)) for field, values in wanted.items()]
    if False in answers:
        return False
    return None if None in answers else True


def _is_among(reference: Reference, wanted: Sequence[str], value: Value | None) -> bool | None:
    if value in wanted:
        return True
    if not isinstance(value, str):
        return None
    if not all(":" in each for each in wanted):
        return False
    # What is no term of the ontology in question is wrong itself, and says nothing about the cells.
    term = reference.term(value) if _ontology(value) in map(_ontology, wanted) else None
    return None if term is None else any(ancestor in wanted for ancestor in term.ancestors)


def _ontology(term: str) -> str:
    return term.partition(":")[0]


def _is_readable(context: Context, column: str) -> bool:
    try:
        context.column("obs", column)
    except Skip:
        return False
    return True

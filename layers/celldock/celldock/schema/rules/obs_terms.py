"""Rules about the columns of obs that hold ontology terms.

Each value is told by its first fault alone: a text that is no term is not also said to be of the wrong kind.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from celldock.report import Finding
from celldock.schema.reference import Reference, Term
from celldock.schema.registry import Context, Skip, rule
from celldock.schema.rules.conditions import groups
from celldock.schema.rules.term_suggestions import suggest_terms
from celldock.schema.rules.terms import Case, Part, Spelling, candidates, named, ontology, where_words
from celldock.schema.words import ROWS

_CASES = TypeAdapter(tuple[Case, ...])
_CELLS = ROWS["obs"]
_TOLD = 3
_OBSOLETE = re.compile(r"obsolete[ _:]*", re.IGNORECASE)


@rule("obs.{column}.term_unknown")
def term_unknown(
    context: Context,
    *,
    column: str,
    ontologies: Sequence[str],
    spelling: Mapping[str, Any] | None = None,
    hint: str = "",
) -> Iterator[Finding]:
    """Every value names terms of the schema's releases of its ontologies.

    `ontologies` are those to suggest from, `hint` is what is said where there is nothing to suggest.
    """
    written = Spelling(**spelling or {})
    faults = _Faults()
    for value, cells in _texts(context, column).items():
        parts = written.parts(value)
        known = _terms(context, parts)
        faults.add([part for part in parts if part.id not in known], cells)
    if faults.cells:
        yield context.finding(
            f"obs/{column}",
            f"In {_CELLS.of(faults.cells)} {column} holds a text that is no term of the schema's ontologies.",
            count=faults.cells,
            examples=faults.examples(),
            suggestion=suggest_terms(context.reference, faults.texts(), written, ontologies) or hint,
        )


@rule("obs.{column}.term_obsolete")
def term_obsolete(context: Context, *, column: str, spelling: Mapping[str, Any] | None = None) -> Iterator[Finding]:
    """No term is one that its ontology has declared obsolete."""
    written = Spelling(**spelling or {})
    faults = _Faults()
    obsolete: dict[str, Term] = {}
    for value, cells in _texts(context, column).items():
        parts = written.parts(value)
        found = {term.id: term for term in _terms(context, parts).values() if term.obsolete}
        faults.add([part for part in parts if part.id in found], cells)
        obsolete |= found
    if faults.cells:
        replacements = [_replacement(context.reference, obsolete[part.id]) for part in faults.most()[:_TOLD]]
        yield context.finding(
            f"obs/{column}",
            f"In {_CELLS.of(faults.cells)} {column} holds a term that its ontology has declared obsolete.",
            count=faults.cells,
            examples=faults.examples(),
            suggestion=" ".join(replacements),
        )


@rule("obs.{column}.list")
def term_list(
    context: Context, *, column: str, spelling: Mapping[str, Any], alone: Sequence[str] = ()
) -> Iterator[Finding]:
    """Several terms of one value are in ascending order, none of them twice, and none of `alone` is among them."""
    written = Spelling(**spelling)
    disordered: Counter[str] = Counter()
    accompanied: Counter[str] = Counter()
    for value, cells in _texts(context, column).items():
        texts = [part.text for part in written.parts(value)]
        if texts != sorted(set(texts)):
            disordered[value] += cells
        if len(texts) > 1 and not set(alone).isdisjoint(texts):
            accompanied[value] += cells
    if disordered:
        worst = disordered.most_common(1)[0][0]
        mended = written.separator.join(sorted({part.text for part in written.parts(worst)}))
        yield context.finding(
            f"obs/{column}",
            f"In {_CELLS.of(disordered.total())} {column} lists terms that are not in ascending order, or one twice.",
            count=disordered.total(),
            examples=_CELLS.examples(disordered),
            suggestion=f"{worst!r} is written {mended!r}.",
        )
    if accompanied:
        words = " or ".join(named(context.reference, term) for term in alone)
        yield context.finding(
            f"obs/{column}",
            f"In {_CELLS.of(accompanied.total())} {column} lists other terms beside {words}, which stands alone.",
            count=accompanied.total(),
            examples=_CELLS.examples(accompanied),
            suggestion=f"Leave out {words}, or the others.",
        )


@rule("obs.{column}.term_not_allowed")
def term_not_allowed(
    context: Context,
    *,
    column: str,
    cases: Sequence[Mapping[str, Any]],
    spelling: Mapping[str, Any] | None = None,
    elsewhere: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
) -> Iterator[Finding]:
    """Every term, and every word in the place of one, is allowed where it stands: see `Case`.

    There is one finding for each case, because what is allowed differs. Words in `elsewhere` are left to other rules;
    `columns` says where the terms of each ontology belong.
    """
    written = Spelling(**spelling or {})
    known_cases = _CASES.validate_python(cases)
    faults: dict[int, _Faults] = {}
    for group in groups(context, column, dict.fromkeys(field for case in known_cases for field in case.where)):
        if isinstance(group.value, str):
            possible = candidates(context.reference, known_cases, group.fields)
            wrong = [] if group.value in elsewhere else _not_allowed(context, written, group.value, possible)
            faults.setdefault(known_cases.index(possible[-1]), _Faults()).add(wrong, group.cells)
    for number, found in sorted(faults.items()):
        if found.cells:
            case = known_cases[number]
            where = case.words or where_words(context.reference, case.where)
            yield context.finding(
                f"obs/{column}",
                f"In {_CELLS.of(found.cells)} {column} holds a term that the schema does not allow{where}.",
                count=found.cells,
                examples=found.examples(),
                suggestion=_suggest_allowed(context, column, found.most()[0], case, columns or {}),
            )


class _Faults:
    """What is wrong in a column: parts of values, and in how many cells."""

    def __init__(self) -> None:
        self.cells = 0
        self._parts: Counter[Part] = Counter()

    def add(self, wrong: Sequence[Part], cells: int) -> None:
        """Notes the parts that are wrong in some cells; none where nothing is."""
        if wrong:
            self.cells += cells
            self._parts.update(dict.fromkeys(wrong, cells))

    def most(self) -> list[Part]:
        """The parts, those of most cells first."""
        return [part for part, _ in self._parts.most_common()]

    def texts(self) -> list[str]:
        """The parts as they are written, those of most cells first."""
        return [part.text for part in self.most()]

    def examples(self) -> list[str]:
        """The parts as they are written, with their cells."""
        return _CELLS.examples({part.text: cells for part, cells in self._parts.items()})


def _texts(context: Context, column: str) -> dict[str, int]:
    """The texts of a column and how many cells have each; other values are told by the column's type."""
    used = context.column("obs", column).used
    return {value: cells for value, cells in used.items() if isinstance(value, str)}


def _terms(context: Context, parts: Iterable[Part]) -> dict[str, Term]:
    return context.reference.terms({part.id for part in parts})


def _not_allowed(context: Context, written: Spelling, value: str, cases: Sequence[Case]) -> list[Part]:
    """The parts of a value that none of the cases allows, but for those that are no terms, or obsolete."""
    if value in written.literals:
        return [] if any(value in case.literals for case in cases) else [Part(value, value)]
    parts = written.parts(value)
    terms = {term.id: term for term in _terms(context, parts).values() if not term.obsolete}
    return [
        part for part in parts if part.id in terms and not any(case.has(terms[part.id], part.suffix) for case in cases)
    ]


def _replacement(reference: Reference, term: Term) -> str:
    if term.replaced_by:
        return f"{term.id} ({term.label}) was replaced by {named(reference, term.replaced_by)}."
    near = _namesake(reference, term)
    better = (
        f"the term nearest by its label is {named(reference, near.id)}" if near else "choose the one that fits best"
    )
    return f"No replacement is known for {term.id} ({term.label}): {better}."


def _namesake(reference: Reference, term: Term) -> Term | None:
    """The term in use whose label is most like that of an obsolete one: `10x 3' v2` for `obsolete_10x v2`."""
    label = _OBSOLETE.sub("", term.label)
    family = [ontology(term.id)]
    found = [*reference.find_label(label, family), *reference.nearest_labels(label, family)]
    return next((each for each in found if not each.obsolete), None)


def _suggest_allowed(context: Context, column: str, part: Part, case: Case, columns: Mapping[str, str]) -> str:
    """What is wrong with a term, which column it belongs to, and what is allowed instead."""
    reference = context.reference
    allowed = f"Allowed here: {case.describe(reference)}."
    term = reference.term(part.id)
    if term is None:
        return allowed
    if any(term.id in terms.below for terms in case.allowed):
        return f"{named(reference, term.id)} itself is too general. {allowed}"
    if any(terms.excludes(term) for terms in case.allowed):
        return f"The schema leaves out {named(reference, term.id)}. {allowed}"
    owner = columns.get(ontology(term.id), column)
    expected = {ontology(root) for terms in case.allowed for root in (*terms.ontologies, *terms.below, *terms.terms)}
    if owner == column or ontology(term.id) in expected:
        return f"{part.text} is {term.label!r}. {allowed}"
    return f"{part.text} ({term.label}) belongs in {owner}{_swapped(context, column, owner, columns)}. {allowed}"


def _swapped(context: Context, column: str, owner: str, columns: Mapping[str, str]) -> str:
    """A note that the owner of a term holds what belongs in the column that has it."""
    try:
        held = {columns.get(ontology(value)) for value in _texts(context, owner)}
    except Skip:
        return ""
    return ", which holds what belongs here: the two may be swapped" if column in held and owner not in held else ""

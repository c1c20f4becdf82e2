"""Terms as people write them: an id or a label becomes the id that a field allows, or it is said why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from celldock.curation.fields import SchemaField, nearest
from celldock.schema.facts import Value
from celldock.schema.reference import Reference, Term
from celldock.schema.rules.term_suggestions import suggest_terms
from celldock.schema.rules.terms import Case, Part, candidates, named, ontology

_SHOWN = 80
_FEW = 5


class UnresolvedError(Exception):
    """A text that stands for no term, or no word, that may stand there. `suggestion` says what may."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class Resolved:
    """What is written to the file. `labels` are the texts that were taken for terms, each with the term's id."""

    value: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


def resolve(
    reference: Reference, wanted: SchemaField, text: str | Sequence[str], known: Mapping[str, Value]
) -> Resolved:
    """The value that a field gets for a text, or for several of them, as the schema spells it.

    `known` are other fields' values on which it may depend what is allowed, as far as all cells share them.
    Raises UnresolvedError.

    >>> resolve(reference, fields_of("7.1.0").known["obs"]["cell_type_ontology_term_id"], "T cell", {}).value
    'CL:0000084'
    """
    texts = [text] if isinstance(text, str) else list(text)
    if not texts or not all(each.strip() for each in texts):
        raise UnresolvedError("The value is empty.", _what_may_stand(reference, wanted, known))
    if wanted.has_terms:
        return _terms(reference, wanted, texts, known)
    return Resolved(_word(wanted, texts))


def _word(wanted: SchemaField, texts: Sequence[str]) -> str:
    """One of a field's words, or any text where it has none."""
    separator = wanted.spelling.separator
    if len(texts) > 1 and not separator:
        raise UnresolvedError(f"{wanted.name} holds one value for each cell, not a list.")
    text = separator.join(sorted(set(texts)))
    if wanted.words and text not in wanted.words:
        meant = nearest(text.strip().casefold(), wanted.words)
        raise UnresolvedError(
            f"{_shown(text)} is no value that {wanted.name} may have.",
            f"Write {meant!r}." if meant else f"Allowed are {', '.join(map(repr, wanted.words))}.",
        )
    return text


def _terms(reference: Reference, wanted: SchemaField, texts: Sequence[str], known: Mapping[str, Value]) -> Resolved:
    cases = candidates(reference, wanted.cases, known)
    spelling = wanted.spelling
    if len(texts) == 1 and texts[0] in spelling.literals:
        if texts[0] not in wanted.elsewhere and not any(texts[0] in case.literals for case in cases):
            raise UnresolvedError(
                f"{_shown(texts[0])} is not allowed in {wanted.name}.", _what_may_stand(reference, wanted, known)
            )
        return Resolved(texts[0])
    single = [part for text in texts for part in (text.split(spelling.separator) if spelling.separator else [text])]
    if len(single) > 1 and not spelling.separator:
        raise UnresolvedError(f"{wanted.name} holds one term for each cell, not a list.")
    labels: dict[str, str] = {}
    values: set[str] = set()
    for text in single:
        value = _term(reference, wanted, cases, text)
        values.add(value)
        if value != text:
            labels[text] = value
    return Resolved(spelling.separator.join(sorted(values)), labels)


def _term(reference: Reference, wanted: SchemaField, cases: Sequence[Case], text: str) -> str:
    """The id that one text stands for, with what the field has before or after it."""
    (part,) = wanted.spelling.parts(text) if not wanted.spelling.separator else [_part(wanted, text)]
    term = reference.term(part.id)
    if term is not None:
        _check(reference, wanted, cases, term, part)
        return text
    readings = [part for part in _readings(wanted, text) if _labelled(reference, wanted, cases, part)]
    if not readings:
        suggestion = suggest_terms(reference, [text], wanted.spelling, _ontologies(wanted, cases))
        raise UnresolvedError(
            f"{_shown(text)} is no term that {wanted.name} may have.", suggestion or _describe(reference, cases)
        )
    found = _labelled(reference, wanted, cases, readings[0])
    allowed = [term for term in found if not term.obsolete and _allows(cases, term, readings[0])]
    if len(allowed) > 1:
        shared = ", ".join(named(reference, term.id) for term in allowed[:_FEW])
        raise UnresolvedError(f"{_shown(text)} is the label of {len(allowed)} terms: {shared}.", "Write the id.")
    if not allowed:
        _check(reference, wanted, cases, found[0], readings[0])
    return readings[0].text.replace(readings[0].id, allowed[0].id, 1)


def _part(wanted: SchemaField, text: str) -> Part:
    """One of several terms of a value: its text has no separator."""
    (part,) = wanted.spelling.parts(text) or [Part(text, text)]
    return part


def _readings(wanted: SchemaField, text: str) -> list[Part]:
    """How a label may be written: as it is, with a suffix after it, with a prefix before it."""
    readings = [Part(text, text)]
    part = _part(wanted, text)
    if part.suffix:
        readings.append(part)
    prefixes = [prefix for prefix in wanted.spelling.prefixes or {} if text.startswith(prefix)]
    return [*readings, *(Part(text, text.removeprefix(prefix)) for prefix in prefixes)]


def _labelled(reference: Reference, wanted: SchemaField, cases: Sequence[Case], part: Part) -> list[Term]:
    ontologies = _ontologies(wanted, cases)
    for prefix, owner in (wanted.spelling.prefixes or {}).items():
        if part.text != part.id and part.text.startswith(prefix):
            ontologies = [owner]
    return reference.find_label(part.id.strip(), ontologies)


def _ontologies(wanted: SchemaField, cases: Sequence[Case]) -> list[str]:
    """Those of a field's ontologies that the cases leave."""
    sets = [terms for case in cases for terms in case.allowed]
    left = {ontology(root) for terms in sets for root in (*terms.ontologies, *terms.below, *terms.terms)}
    return [each for each in wanted.ontologies if each in left]


def _allows(cases: Sequence[Case], term: Term, part: Part) -> bool:
    return any(case.has(term, part.suffix) for case in cases)


def _check(reference: Reference, wanted: SchemaField, cases: Sequence[Case], term: Term, part: Part) -> None:
    """Raises UnresolvedError for a term that is obsolete, or not allowed."""
    if term.obsolete:
        if term.replaced_by:
            suggestion = f"Write {named(reference, term.replaced_by)}."
        else:
            suggestion = suggest_terms(reference, [term.label], wanted.spelling, _ontologies(wanted, cases))
        label = "" if part.id == term.id else f"{_shown(part.text)} is "
        raise UnresolvedError(f"{label}{named(reference, term.id)}, which is obsolete.", suggestion)
    if not _allows(cases, term, part):
        raise UnresolvedError(
            f"{named(reference, term.id)} is not allowed in {wanted.name}.", _describe(reference, cases)
        )


def _what_may_stand(reference: Reference, wanted: SchemaField, known: Mapping[str, Value]) -> str:
    if wanted.has_terms:
        return _describe(reference, candidates(reference, wanted.cases, known))
    return f"Allowed are {', '.join(map(repr, wanted.words))}." if wanted.words else "Fill it in."


def _describe(reference: Reference, cases: Sequence[Case]) -> str:
    words = list(dict.fromkeys(case.describe(reference) for case in cases))[:_FEW]
    return f"Allowed are {'; '.join(words)}."


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")

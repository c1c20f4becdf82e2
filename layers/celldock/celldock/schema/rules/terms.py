"""Columns of ontology terms: how their values are written, and which terms a schema allows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from celldock.schema.reference import Reference, Term
from celldock.schema.rules.conditions import Fields, holds

FREE_TEXT = " (*)"


class Part(NamedTuple):
    """One term of a value: as it is written, its id, and what of `Spelling.suffixes` follows the id."""

    text: str
    id: str
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Spelling:
    """How the values of a column name terms.

    Attributes:
        literals: words that stand in place of a term, such as "unknown".
        separator: what stands between several terms of one value; "" where a value is one term.
        prefixes: what may stand in front of an id, and of which ontology that must be: {"anti-": "uniprot"}.
        suffixes: what may follow an id, such as " (organoid)"; FREE_TEXT is any text in parentheses.
    """

    literals: Sequence[str] = ()
    separator: str = ""
    prefixes: Mapping[str, str] | None = None
    suffixes: Sequence[str] = ()

    def parts(self, value: str) -> list[Part]:
        """The terms that a value names; none for a literal."""
        if value in self.literals:
            return []
        return [self._part(text) for text in (value.split(self.separator) if self.separator else [value])]

    def _part(self, text: str) -> Part:
        found = text
        for prefix, ontology in (self.prefixes or {}).items():
            if text.startswith(f"{prefix}{ontology}:"):
                found = text.removeprefix(prefix)
        for suffix in self.suffixes:
            if suffix == FREE_TEXT:
                id_, opened, rest = found.partition(" (")
                if opened and len(rest) > 1 and rest.endswith(")"):
                    return Part(text, id_, suffix)
            if found.endswith(suffix):
                return Part(text, found.removesuffix(suffix), suffix)
        return Part(text, found)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Terms(_Model):
    """A set of terms.

    Attributes:
        ontologies: all terms whose ids begin with one of these.
        below: the descendants of these, not they themselves.
        terms: these.
        not_below: but neither these nor their descendants.
        not_terms: and none of these.
        suffixes: what must follow the id, "" where nothing need; any of the column's where none is named.
    """

    ontologies: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    not_below: tuple[str, ...] = ()
    not_terms: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()

    def has(self, term: Term, suffix: str = "") -> bool:
        """Whether a term, with what follows it, is in the set."""
        if self.excludes(term) or (self.suffixes and suffix not in self.suffixes):
            return False
        return term.id in self.terms or ontology(term.id) in self.ontologies or _any_in(self.below, term.ancestors)

    def excludes(self, term: Term) -> bool:
        """Whether a term is one that the set leaves out by name, or a descendant of such a one."""
        return term.id in (*self.not_terms, *self.not_below) or _any_in(self.not_below, term.ancestors)

    def describe(self, reference: Reference) -> Iterator[str]:
        """The set in words, piece by piece."""
        named_suffixes = [repr(suffix) for suffix in self.suffixes if suffix]
        also = "also " if "" in self.suffixes else ""
        after = f" ({also}with {_or(named_suffixes)} after the id)" if named_suffixes else ""
        if self.ontologies:
            yield f"{_or(self.ontologies)} terms{after}"
        if self.below and set(self.below) == set(self.terms):
            yield f"{_or(named(reference, root) for root in self.below)}, and what is below{after}"
            return
        if self.below:
            yield f"descendants of {_or(named(reference, root) for root in self.below)}{after}"
        if self.terms:
            yield f"{_or(named(reference, term) for term in self.terms)}{after}"


class Case(_Model):
    """What a column may hold in cells whose other fields are as `where` says.

    `literals` are the words, `allowed` the terms; `words` tell which cells these are, where `where` does not.
    """

    where: Mapping[str, tuple[str, ...]] = {}
    words: str = ""
    literals: tuple[str, ...] = ()
    allowed: tuple[Terms, ...] = ()

    def has(self, term: Term, suffix: str) -> bool:
        """Whether a term, with what follows it, may stand there."""
        return any(terms.has(term, suffix) for terms in self.allowed)

    def describe(self, reference: Reference) -> str:
        """What may stand there, in words."""
        pieces = [piece for terms in self.allowed for piece in terms.describe(reference)]
        return _or([*pieces, *(repr(literal) for literal in self.literals)])


def candidates(reference: Reference, cases: Sequence[Case], fields: Mapping[str, str | bool | float]) -> list[Case]:
    """The cases that may hold for cells with these fields: one where all is known, all where no case fits.

    The first case that fits decides; those that might are kept beside it, so that what one rule finds wrong in another
    field does not make the values of this column look wrong.
    """
    found: list[Case] = []
    for case in cases:
        answer = holds(reference, case.where, fields)
        if answer is not False:
            found.append(case)
        if answer:
            break
    return found or list(cases)


def where_words(reference: Reference, where: Fields) -> str:
    """A condition in words: ` where tissue_type is 'organoid'`; "" for none."""
    clauses = [
        f"{field.removeprefix('uns/')} is {_or(named(reference, value) for value in values)}"
        for field, values in where.items()
    ]
    return f" where {' and '.join(clauses)}" if clauses else ""


def named(reference: Reference, value: str) -> str:
    """A term's id with its label: `CL:0000084 (T cell)`; any other text in quotes."""
    term = reference.term(value)
    return f"{value} ({term.label})" if term is not None else repr(value)


def ontology(term: str) -> str:
    """What the id of a term begins with: `CL` of `CL:0000084`, `CVCL` of `CVCL_0030`."""
    return re.split("[:_]", term, maxsplit=1)[0]


def _any_in(wanted: Sequence[str], ancestors: Iterable[str]) -> bool:
    return any(ancestor in wanted for ancestor in ancestors)


def _or(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last

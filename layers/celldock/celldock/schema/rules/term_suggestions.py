"""What a text that is no ontology term was meant to be: a misspelt id, a label, several terms, a word for unknown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from celldock.schema.reference import Reference, Term
from celldock.schema.rules.terms import FREE_TEXT, Spelling, named

_TOLD = 3
_MAX_CHARACTERS = 200
_MAX_PARTS = 8
_ID = re.compile(r"([A-Za-z]+)\s?[:_. -]?\s?(\w+)", re.ASCII)
_ID_WITHIN = re.compile(r"[A-Za-z]+[:_]\w*\d\w*", re.ASCII)
_SEPARATORS = re.compile(r"\s*(?:\|+|[,;/+&])\s*")
_DIGITS = (7, 8)
_MEANINGS = {
    "unknown": {"", "?", "-", "nan", "none", "null", "not available", "not known", "unspecified", "undetermined"},
    "na": {"n/a", "n.a.", "nan", "none", "not applicable"},
}


def suggest_terms(reference: Reference, texts: Iterable[str], spelling: Spelling, ontologies: Sequence[str]) -> str:
    """How to mend the first few texts that stand where a term of these ontologies should; "" where nothing is known."""
    told: list[str] = []
    for text in texts:
        if len(told) == _TOLD:
            break
        if suggestion := _suggest(reference, text, spelling, ontologies):
            told.append(suggestion)
    return f"{'; '.join(told)}." if told else ""


def _suggest(reference: Reference, text: str, spelling: Spelling, ontologies: Sequence[str]) -> str:
    if len(text) > _MAX_CHARACTERS:
        return ""
    return next(_readings(reference, text, spelling, ontologies), "")


def _readings(reference: Reference, text: str, spelling: Spelling, ontologies: Sequence[str]) -> Iterator[str]:
    """What a text may mean, the likeliest first."""
    plain = " ".join(text.split())
    if literal := _literal(plain, spelling):
        yield f"{text!r} stands alone" if text == literal else f"For {text!r} write {literal!r}"
    if term := _misspelt(reference, plain, ontologies):
        yield f"{text!r} is written {named(reference, term.id)}"
    if mended := _suffixed(reference, plain, spelling, ontologies):
        yield f"{text!r} is written {mended!r}"
    if parts := _several(reference, plain, ontologies):
        mended = f"is written {spelling.separator.join(parts)!r}" if spelling.separator else "is more than one term"
        yield f"{text!r} {mended}"
    if any(plain.casefold() in (literal, *words) for literal, words in _MEANINGS.items()):
        return
    for term in reference.find_label(plain, ontologies):
        yield f"{text!r} is {named(reference, term.id)}"
    for within in _ID_WITHIN.findall(plain):
        if term := _misspelt(reference, within, ontologies):
            yield f"For {text!r} write only {term.id}"
    for term in reference.nearest_labels(plain, ontologies):
        yield f"The term nearest to {text!r} is {named(reference, term.id)}"


def _literal(text: str, spelling: Spelling) -> str:
    """The literal that a word means."""
    word = text.casefold()
    means = (literal for literal in spelling.literals if word == literal or word in _MEANINGS.get(literal, ()))
    return next(means, "")


def _misspelt(reference: Reference, text: str, ontologies: Sequence[str]) -> Term | None:
    """The term whose id is written in another case, with other punctuation, with fewer zeros, or as a web address."""
    match = _ID.fullmatch(text.rsplit("/", 1)[-1])
    if match is None:
        return None
    prefix, number = match[1].casefold(), match[2].upper()
    for ontology in ontologies:
        if ontology.casefold() == prefix:
            for digits in (number, *(number.zfill(width) for width in _DIGITS)):
                if term := reference.term(f"{ontology}:{digits}") or reference.term(f"{ontology}_{digits}"):
                    return term
    return None


def _suffixed(reference: Reference, text: str, spelling: Spelling, ontologies: Sequence[str]) -> str:
    """The id and suffix that a text with a misspelt suffix, or with a label in front of it, stands for."""
    head, opened, rest = text.partition(" (")
    if not opened:
        head, _, rest = text.partition(" ")
    labelled = reference.find_label(head, ontologies) if opened else []
    term = _misspelt(reference, head, ontologies) or next(iter(labelled), None)
    note = rest.strip(" ()[]")
    if term is None or not note:
        return ""
    for suffix in spelling.suffixes:
        if suffix == FREE_TEXT:
            return f"{term.id} ({note})"
        if note.casefold() == suffix.strip(" ()").casefold():
            return term.id + suffix
    return ""


def _several(reference: Reference, text: str, ontologies: Sequence[str]) -> list[str]:
    """The ids that a text names, in order and each once; none unless it names several, and nothing else."""
    texts = _SEPARATORS.split(text)
    if not 1 < len(texts) <= _MAX_PARTS:
        return []
    terms = [_misspelt(reference, part, ontologies) for part in texts]
    return sorted({term.id for term in terms if term}) if all(terms) else []

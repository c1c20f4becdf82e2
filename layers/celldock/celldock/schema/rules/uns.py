"""Rules about uns: its keys and what they hold."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import prod
from typing import Any

import numpy as np

from celldock.h5ad.headers import MAX_UNS_ELEMENTS, ElementHeader
from celldock.report import Finding
from celldock.schema.reference import Term
from celldock.schema.registry import Context, Skip, rule
from celldock.schema.rules.genes import only_organism
from celldock.schema.rules.term_suggestions import suggest_terms
from celldock.schema.rules.terms import Spelling, Terms, named
from celldock.schema.words import Noun

_KINDS = {
    "dict": "a dictionary",
    "null": "None",
    "scalar": "a single value",
    "array": "an array",
    "records": "a record array",
    "column": "a column of values",
    "frame": "a data frame",
    "sparse": "a sparse matrix",
    "awkward": "a ragged array",
}
_KEYS, _COLUMNS = Noun("key", "keys"), Noun("column", "columns")
_ORGANISM = "organism_ontology_term_id"
_LONGEST = 80
_MOST = 1_000


@rule("uns.{key}.missing")
def uns_missing(context: Context, *, key: str, example: str = "") -> Iterator[Finding]:
    """A key that the schema requires is there. `example` is what its value may look like."""
    if _has(context, key):
        return
    spellings = {name.casefold(): name for name in _keys(context)}
    spelled = spellings.get(nearest(key.casefold(), spellings), "")
    yield context.finding(
        f"uns/{key}",
        f"uns has no {key}, which every file needs.",
        suggestion=f"The key {spelled!r} looks like it: rename it to {key!r}."
        if spelled
        else f"Set adata.uns[{key!r}] = {example!r}."
        if example
        else f"Add it before you write the file: adata.uns[{key!r}] = …",
    )


@rule("uns.organism_ontology_term_id.missing")
def organism_missing(context: Context, *, shared: Sequence[str]) -> Iterator[Finding]:
    """The organism is named. `shared` are gene sets that go with any organism."""
    if _has(context, _ORGANISM):
        return
    organism = _organism_of_obs(context) or only_organism(context, shared)
    yield context.finding(
        f"uns/{_ORGANISM}",
        f"uns has no {_ORGANISM}, which every file needs.",
        suggestion=f"By its cells or genes the file is of {named(context.reference, organism)}: set "
        f"adata.uns[{_ORGANISM!r}] = {organism!r}."
        if organism
        else f"Set adata.uns[{_ORGANISM!r}], to 'NCBITaxon:9606' for human.",
    )


@rule("uns.{key}.type")
def uns_text(context: Context, *, key: str) -> Iterator[Finding]:
    """The value of a key is a text."""
    header = context.uns_header(key)
    if header is not None and not is_text(header):
        yield context.finding(
            header.path,
            f"uns[{key!r}] is {describe(header)}, where a text is required.",
            suggestion=_one_text(context, key, header) or f"Set adata.uns[{key!r}] to a text (str).",
        )


@rule("uns.{key}.type")
def uns_list(context: Context, *, key: str) -> Iterator[Finding]:
    """The value of a key is a list of texts."""
    header = context.uns_header(key)
    if header is not None and not is_list_of_text(header):
        text = context.uns(key) if is_text(header) else None
        yield context.finding(
            header.path,
            f"uns[{key!r}] is {describe(header)}, where a list of texts is required.",
            suggestion=f"Set adata.uns[{key!r}] to a list: {[text] if text else ['donor_id']!r}.",
        )


@rule("uns.{key}.spaces")
def uns_spaces(context: Context, *, key: str) -> Iterator[Finding]:
    """A text has no blanks at its ends and no more than one between words."""
    text = _text(context, key)
    plain = " ".join(text.split())
    if text != plain:
        yield context.finding(
            f"uns/{key}",
            f"uns[{key!r}] begins or ends with a blank, or has more than one between words.",
            examples=[repr(text)],
            suggestion=f"Set adata.uns[{key!r}] = {plain!r}." if plain else "Write a text there, not blanks alone.",
        )


@rule("uns.{key}.not_allowed")
def uns_enum(context: Context, *, key: str, allowed: Sequence[str]) -> Iterator[Finding]:
    """A text is one of a few words."""
    text = _text(context, key)
    if text not in allowed:
        plain = text.strip().casefold()
        meant = next((word for word in allowed if word.casefold() == plain), "") or nearest(plain, allowed)
        yield context.finding(
            f"uns/{key}",
            f"uns[{key!r}] must be {' or '.join(map(repr, allowed))}.",
            examples=[repr(text)],
            suggestion=f"Set adata.uns[{key!r}] = {meant or allowed[0]!r}.",
        )


@rule("uns.{key}.term_unknown")
def uns_term_unknown(context: Context, *, key: str, ontologies: Sequence[str]) -> Iterator[Finding]:
    """A text is the id of a term of these ontologies."""
    text = _text(context, key)
    term = context.reference.term(text)
    if term is None:
        yield context.finding(
            f"uns/{key}",
            f"uns[{key!r}] is no term of {' or '.join(ontologies)} that the schema knows.",
            examples=[repr(text)],
            suggestion=suggest_terms(context.reference, [text], Spelling(), ontologies)
            or f"Give the id of a term of {ontologies[0]}, not its label.",
        )


@rule("uns.{key}.term_obsolete")
def uns_term_obsolete(context: Context, *, key: str) -> Iterator[Finding]:
    """A term is not obsolete."""
    term = _term(context, key)
    if term.obsolete:
        yield context.finding(
            f"uns/{key}",
            f"The term in uns[{key!r}] is obsolete.",
            examples=[named(context.reference, term.id)],
            suggestion=f"It is replaced by {named(context.reference, term.replaced_by)}."
            if term.replaced_by
            else "Choose another term.",
        )


@rule("uns.{key}.term_not_allowed")
def uns_term_not_allowed(context: Context, *, key: str, allowed: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """A term is in one of the sets of terms."""
    term = _term(context, key)
    sets = [Terms.model_validate(terms) for terms in allowed]
    if not any(terms.has(term) for terms in sets):
        words = "; ".join(piece for terms in sets for piece in terms.describe(context.reference))
        yield context.finding(
            f"uns/{key}",
            f"The schema does not allow the term in uns[{key!r}].",
            examples=[named(context.reference, term.id)],
            suggestion=f"Allowed are {words}.",
        )


@rule("uns.too_many_elements")
def uns_too_many_elements(context: Context) -> Iterator[Finding]:
    """The header lists all elements of uns: rules would pass over those that it does not."""
    if not context.header.uns_complete:
        yield context.finding(
            "uns",
            f"uns has more than {MAX_UNS_ELEMENTS:,} elements, more than celldock checks.",
            count=MAX_UNS_ELEMENTS + 1,
            suggestion="Leave out of uns what readers of the file do not need, or gather it in arrays and data frames.",
        )


@rule("uns.values.empty")
def uns_values_empty(context: Context, *, keys: Sequence[str] = ()) -> Iterator[Finding]:
    """No key of uns, or none of `keys`, has a value of size zero. None, True and False have none."""
    wanted = [header for header in _elements(context) if not keys or _key(header) in keys]
    empty = [header for header in wanted if _is_empty(context, header)]
    if empty:
        names = [_key(header) for header in empty]
        yield context.finding(
            "uns",
            f"uns has {_KEYS.of(len(names))} with an empty value.",
            count=len(names),
            examples=[f"{_key(header)} ({describe(header)})" for header in empty],
            suggestion="Give them a value, or leave out those that no file needs."
            if keys
            else f"Leave them out: del adata.uns[{names[0]!r}]. Or set None.",
        )


@rule("uns.batch_condition.column_unknown")
def batch_condition(context: Context) -> Iterator[Finding]:
    """batch_condition names columns of obs."""
    header = context.uns_header("batch_condition")
    if header is None or not is_list_of_text(header):
        raise Skip
    columns = {column.name for column in context.frame("obs").columns}
    given: list[str] = np.asarray(context.uns("batch_condition")).tolist()
    unknown = [name for name in dict.fromkeys(given) if name not in columns]
    if unknown:
        meant = [f"{name!r} may be {near!r}" for name in unknown[:3] if (near := nearest(name, sorted(columns)))]
        yield context.finding(
            header.path,
            f"uns['batch_condition'] names {_COLUMNS.of(len(unknown))} that obs does not have.",
            count=len(unknown),
            examples=unknown,
            suggestion=f"{'; '.join(meant)}." if meant else "Name columns of obs, or add these to it.",
        )


@rule("uns.default_embedding.not_in_obsm")
def default_embedding(context: Context) -> Iterator[Finding]:
    """default_embedding names an element of obsm."""
    name = _text(context, "default_embedding")
    keys = [array.key for array in context.header.obsm]
    if name not in keys:
        meant = f"X_{name.strip()}" if f"X_{name.strip()}" in keys else nearest(name, keys)
        yield context.finding(
            "uns/default_embedding",
            f"uns['default_embedding'] names {name!r}, but obsm has no such element.",
            examples=keys,
            suggestion=f"Set adata.uns['default_embedding'] = {meant!r}."
            if meant
            else "Name an element of obsm, or leave default_embedding out.",
        )


@rule("uns.keys.deprecated")
def uns_deprecated(context: Context, *, keys: Sequence[str]) -> Iterator[Finding]:
    """There are none of the keys that earlier versions of the schema used."""
    found = [key for key in keys if _has(context, key)]
    if found:
        yield context.finding(
            "uns",
            f"uns has {_KEYS.of(len(found))} that earlier versions of the schema used and that are deprecated.",
            count=len(found),
            examples=found,
            suggestion=f"Remove them: for key in {found!r}: del adata.uns[key].",
        )


@rule("{element}.{name}.pre_analysis")
def pre_analysis(context: Context, *, element: str, name: str) -> Iterator[Finding]:
    """A file of a pre-analysis collection has no such column of obs, or key of uns."""
    if not context.setting.pre_analysis:
        return
    columns = [column.name for column in context.frame("obs").columns]
    if name in (columns if element == "obs" else _keys(context)):
        yield context.finding(
            f"{element}/{name}",
            f"{element} has {name}, which a file of a pre-analysis collection must not have.",
            suggestion=f"Remove it: del adata.{element}[{name!r}].",
        )


def is_text(header: ElementHeader) -> bool:
    """Whether an element is one text."""
    return (header.kind, header.dtype) == ("scalar", "str")


def is_list_of_text(header: ElementHeader) -> bool:
    """Whether an element is an array of texts of one dimension."""
    return (header.kind, header.dtype, len(header.shape)) == ("array", "str", 1)


def describe(header: ElementHeader) -> str:
    """What an element is, in words: `an array of 3 × 2 int64`."""
    if is_text(header):
        return "a text"
    if header.kind == "scalar":
        return "True or False" if header.dtype == "bool" else f"a number ({header.dtype})"
    shape = " × ".join(f"{size:,}" for size in header.shape)
    kind = _KINDS.get(header.kind, "in no encoding of AnnData")
    what = "texts" if header.dtype == "str" else header.dtype
    return f"{kind} of {f'{shape} {what}'.strip()}" if shape else kind


def nearest(word: str, words: Iterable[str]) -> str:
    """The one of some words that is most like another; "" if none is. Long words are not compared."""
    if len(word) > _LONGEST:
        return ""
    some = islice((each for each in words if len(each) <= _LONGEST), _MOST)
    return next(iter(difflib.get_close_matches(word, list(some), n=1)), "")


def _elements(context: Context) -> list[ElementHeader]:
    """What lies right in uns."""
    return [header for header in context.header.uns if header.path.count("/") == 1]


def _keys(context: Context) -> list[str]:
    return [_key(header) for header in _elements(context)]


def _key(header: ElementHeader) -> str:
    return header.path.removeprefix("uns/")


def _has(context: Context, key: str) -> bool:
    return context.uns_header(key) is not None


def _text(context: Context, key: str) -> str:
    """The text at a key; raises Skip if there is none, as another rule tells."""
    header = context.uns_header(key)
    text = context.uns(key) if header is not None and is_text(header) else None
    if not isinstance(text, str):
        raise Skip
    return text


def _term(context: Context, key: str) -> Term:
    term = context.reference.term(_text(context, key))
    if term is None:
        raise Skip
    return term


def _one_text(context: Context, key: str, header: ElementHeader) -> str:
    """How to make a text of a list that holds one."""
    if header.dtype != "str" or prod(header.shape) != 1 or header.kind != "array":
        return ""
    text = np.asarray(context.uns(key)).item()
    return f"Take it out of the list: adata.uns[{key!r}] = {text!r}."


def _is_empty(context: Context, header: ElementHeader) -> bool:
    if is_text(header):
        return context.uns(_key(header)) == ""
    return bool(header.shape) and prod(header.shape) == 0


def _organism_of_obs(context: Context) -> str:
    """The one organism that obs names, where earlier versions of the schema had it."""
    try:
        values = list(context.column("obs", _ORGANISM).used)
    except Skip:
        return ""
    return values[0] if len(values) == 1 and isinstance(values[0], str) else ""

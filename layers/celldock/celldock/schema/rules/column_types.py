"""Rules about what the columns of data frames hold: which type of values, and one for each row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from celldock.h5ad.headers import ColumnKind
from celldock.report import Finding
from celldock.schema.facts import MAX_VALUES, ColumnFacts, TooManyValuesError
from celldock.schema.registry import Context, Skip, rule
from celldock.schema.words import ROWS, Noun

_COLUMNS = Noun("column", "columns")


class _Type(NamedTuple):
    """What a column may be: its encodings, in words, and how pandas makes one."""

    kinds: tuple[ColumnKind, ...]
    words: str
    mend: str


_TYPES: Mapping[str, _Type] = {
    "categorical": _Type(("categorical",), "categorical with text as categories", "astype(str).astype('category')"),
    "text": _Type(("categorical", "string"), "text", "astype(str)"),
    "boolean": _Type(("boolean",), "True or False for each row (bool)", "astype(bool)"),
}
_BOOLEAN_OF_TEXT = "astype(str).map({'True': True, 'False': False})"
"""astype(bool) would make True of every text, 'False' too."""
_FOUND: Mapping[ColumnKind, str] = {
    "categorical": "categories that are not text",
    "string": "plain text",
    "integer": "integers",
    "float": "decimal numbers",
    "boolean": "True and False",
    "nullable-integer": "integers that may be missing",
    "nullable-boolean": "True and False that may be missing",
    "nullable-string": "text that may be missing",
}


@rule("{frame}.{column}.type")
def column_type(
    context: Context, *, frame: str, column: str, holds: Literal["categorical", "text", "boolean"]
) -> Iterator[Finding]:
    """A column is of the type that the schema asks for, and has no more different values than a vocabulary may."""
    header = context.column_header(frame, column)
    wanted = _TYPES[holds]
    try:
        facts = context.tables.column(header, context.frame(frame).length)
    except TooManyValuesError:
        yield context.finding(
            header.path,
            f"The column {column} has more than {MAX_VALUES:,} different values, where it must hold {wanted.words}.",
            suggestion="Values of single cells, such as barcodes, may have been put in the place of words.",
        )
        return
    if header.kind not in wanted.kinds or not (_all_text(facts) or holds == "boolean"):
        yield context.finding(
            header.path,
            f"The column {column} holds {_found(facts)}, where it must be {wanted.words}.",
            count=context.frame(frame).length,
            suggestion=f"adata.{frame}[{column!r}] = adata.{frame}[{column!r}].{_mend(wanted, header.kind)}",
        )


def _mend(wanted: _Type, found: ColumnKind) -> str:
    is_text = found in ("categorical", "string", "nullable-string")
    return _BOOLEAN_OF_TEXT if is_text and "boolean" in wanted.kinds else wanted.mend


@rule("{frame}.columns.not_categorical")
def columns_not_categorical(context: Context, *, frame: str, columns: Sequence[str]) -> Iterator[Finding]:
    """None of the columns holds plain text: AnnData stores text as categories unless every row has its own."""
    header = context.frame(frame)
    plain = [column.name for column in header.columns if column.name in columns and column.kind == "string"]
    if plain:
        yield context.finding(
            header.path,
            f"{frame} has {_COLUMNS.of(len(plain))} of plain text, where the schema asks for categories.",
            count=len(plain),
            examples=plain,
            suggestion=f"adata.{frame}[{plain!r}] = adata.{frame}[{plain!r}].astype('category')",
        )


@rule("{frame}.{column}.values_missing")
def values_missing(context: Context, *, frame: str, column: str) -> Iterator[Finding]:
    """A column has a value in each row."""
    facts = context.column(frame, column)
    if facts.missing:
        noun = ROWS[frame]
        yield context.finding(
            facts.header.path,
            f"The column {column} has no value (NaN) for {noun.of(facts.missing)}.",
            count=facts.missing,
            examples=context.names(frame, [facts.first_missing]),
            suggestion=f"List them with adata.{frame}[adata.{frame}[{column!r}].isna()], then fill the values in.",
        )


@rule("{frame}.{column}.empty")
def values_empty(context: Context, *, frame: str, column: str) -> Iterator[Finding]:
    """No value of a column, nor an unused category, is an empty text."""
    facts = context.column(frame, column)
    empty = [value for value in facts.values if isinstance(value, str) and not value.strip()]
    if empty:
        rows = sum(facts.used.get(value, 0) for value in empty)
        yield context.finding(
            facts.header.path,
            f"The column {column} holds an empty text, in {ROWS[frame].of(rows)}.",
            count=rows,
            examples=context.names(frame, [facts.first_row(value) for value in empty if value in facts.used]),
            suggestion=f"Fill the values in, then call adata.{frame}[{column!r}].cat.remove_unused_categories().",
        )


@rule("{frame}.columns.category_types")
def category_types(context: Context, *, frame: str) -> Iterator[Finding]:
    """The categories of a column are of one type, and not True and False, which are no categories."""
    for facts in _categoricals(context, frame):
        types = sorted({type(value).__name__ for value in facts.values})
        if len(types) > 1 or types == ["bool"]:
            yield context.finding(
                facts.header.path,
                f"The categories of {facts.header.name} are of the type {' and '.join(types)}, "
                "but must be all text or all numbers.",
                count=len(facts.values),
                examples=[repr(value) for value in facts.values],
                suggestion=_mend_categories(frame, facts, types),
            )


@rule("{frame}.columns.unused_categories")
def unused_categories(context: Context, *, frame: str) -> Iterator[Finding]:
    """Every category of a column occurs."""
    for facts in _categoricals(context, frame):
        if facts.unused:
            name = facts.header.name
            yield context.finding(
                facts.header.path,
                f"The column {name} has categories that no {ROWS[frame].one} has.",
                count=len(facts.unused),
                examples=[str(value) for value in facts.unused],
                suggestion=f"Labelling removes them; to do so yourself: adata.{frame}[{name!r}] = "
                f"adata.{frame}[{name!r}].cat.remove_unused_categories()",
            )


def _found(facts: ColumnFacts) -> str:
    text = facts.header.kind == "categorical" and _all_text(facts)
    return "categories of text" if text else _FOUND[facts.header.kind]


def _all_text(facts: ColumnFacts) -> bool:
    return all(isinstance(value, str) for value in facts.values)


def _categoricals(context: Context, frame: str) -> Iterator[ColumnFacts]:
    for header in context.frame(frame).columns:
        if header.kind == "categorical":
            try:
                yield context.column(frame, header.name)
            except Skip:
                continue


def _mend_categories(frame: str, facts: ColumnFacts, types: list[str]) -> str:
    to = "bool" if types == ["bool"] and not facts.missing else "str"
    return f"adata.{frame}[{facts.header.name!r}] = adata.{frame}[{facts.header.name!r}].astype({to})"

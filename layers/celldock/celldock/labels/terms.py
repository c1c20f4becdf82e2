"""The labels of ontology terms: columns of obs, and single ones in uns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from celldock.errors import InvalidSubmission
from celldock.h5ad.additions import NewColumn
from celldock.h5ad.headers import ColumnHeader
from celldock.labels.columns import facts_of
from celldock.schema.facts import Tables
from celldock.schema.numbering import Numbering, code_type
from celldock.schema.reference import Reference
from celldock.schema.rules.terms import Spelling

_SHOWN = 60


def term_column(
    tables: Tables, reference: Reference, column: ColumnHeader, name: str, spelling: Spelling, *, sort: bool
) -> NewColumn:
    """The column `name` of obs with the labels of the terms in another.

    Categories keep the order of the ids' where each of these has cells and a label of its own, and `sort` is not asked
    for: so colours of the ids are those of the labels. They are sorted otherwise, and none is unused.
    Raises InvalidSubmission for what is no term.
    """
    frame = tables.header.obs
    facts = facts_of(tables, column)
    labels = {value: term_label(reference, spelling, value, column.path) for value in facts.used}
    in_order = tuple(dict.fromkeys(labels.values()))
    ordered = column.categories is not None and len(in_order) == len(facts.values) and not sort
    categories = in_order if ordered else tuple(sorted(in_order))
    places = {label: place for place, label in enumerate(categories)}
    numbers = {value: places[label] for value, label in labels.items()}
    blocks = _Codes(tables, column, Numbering(facts, numbers, code_type(len(categories))))
    return NewColumn(
        frame.path, name, "categorical", frame.length, blocks, categories, ordered=ordered and column.ordered
    )


def term_label(reference: Reference, spelling: Spelling, value: object, where: str) -> str:
    """The labels of the terms that a value names, put together as the value is; a word in place of terms is its own.

    Raises InvalidSubmission, at `where`, for what is no term.
    """
    if isinstance(value, str):
        parts = spelling.parts(value)
        terms = [reference.term(part.id) for part in parts]
        known = [term for term in terms if term is not None]
        if len(known) == len(parts):
            labels = [part.text.replace(part.id, term.label, 1) for part, term in zip(parts, known, strict=True)]
            return spelling.separator.join(labels) if labels else value
    raise InvalidSubmission(
        f"{repr(value)[:_SHOWN]} is no term of the schema's ontologies, so that it has no label.",
        code="labels.term_unknown",
        where=where,
        hint="Validate the file: that says where such values are.",
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Codes:
    """The codes of a column of labels, read anew by each call."""

    tables: Tables
    column: ColumnHeader
    numbering: Numbering

    def __call__(self) -> Iterator[np.ndarray]:
        for _, (block,) in self.tables.blocks([self.column], self.tables.header.obs.length):
            yield self.numbering.of(block)

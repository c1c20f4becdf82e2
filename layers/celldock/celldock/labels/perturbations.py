"""What was done to the cells: perturbation_types in obs, and the names of the genes that guides are meant for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from celldock.h5ad.additions import NewColumn, NewElement
from celldock.h5ad.elements import Element
from celldock.labels.columns import column_named, facts_of
from celldock.labels.recipes import GUIDES, PerturbationTypes
from celldock.schema.facts import Tables, Value
from celldock.schema.numbering import Numbering, code_type
from celldock.schema.reference import Reference
from celldock.schema.rules.terms import Spelling, ontology

type Array = np.ndarray[Any, Any]
type _Guide = Mapping[str, Element]

_FEATURES = "intended_features"


def perturbation_types_column(
    tables: Tables, reference: Reference, name: str, recipe: PerturbationTypes, spelling: Spelling
) -> NewColumn | None:
    """The column `name` of obs, with sorted categories; None where no column says what was done.

    `spelling` is that of the column of conditions.
    """
    frame = tables.header.obs
    types = sorted({*recipe.types.values(), recipe.genetic})
    columns = [column_named(frame, named) for named in (recipe.conditions, recipe.guides)]
    numberings: list[Numbering] = []
    for column in columns:
        if column is not None:
            facts = facts_of(tables, column)
            guided = column.name == recipe.guides
            found = {each: _types(reference, recipe, spelling, each, guided=guided) for each in facts.used}
            sets = {each: sum(1 << types.index(one) for one in some) for each, some in found.items()}
            numberings.append(Numbering(facts, sets, np.int16))
    if not numberings:
        return None
    texts = [_text(recipe, types, number) for number in range(1 << len(types))]
    rows = _Sets(tables, numberings, len(texts))
    categories = tuple(sorted(texts[number] for number in rows.used()))
    places = {category: place for place, category in enumerate(categories)}
    codes = np.array([places.get(text, 0) for text in texts], code_type(len(categories)))
    return NewColumn(
        frame.path, name, "categorical", frame.length, lambda: (codes[block] for block in rows), categories
    )


def named_features(tables: Tables, reference: Reference) -> Iterator[NewElement]:
    """The names of the genes that guides are meant for, where the file gives their ids alone.

    A name that the file gives is its author's, and stays.
    """
    header = tables.element_header(GUIDES)
    guides = tables.element(GUIDES) if header is not None else None
    blank: list[tuple[str, str]] = []
    for name, guide in _dictionaries(guides):
        features = guide.get(_FEATURES)
        if isinstance(features, Mapping):
            blank += [(name, id_) for id_, text in cast("_Guide", features).items() if text == ""]
    genes = reference.genes({id_ for _, id_ in blank})
    for name, id_ in blank:
        if id_ in genes:
            yield NewElement(f"{GUIDES}/{name}/{_FEATURES}/{id_}", genes[id_].symbol, replaces=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Sets:
    """The types of each row as a set, a bit for each; read anew by each iteration."""

    tables: Tables
    numberings: list[Numbering]
    count: int

    def __iter__(self) -> Iterator[Array]:
        columns = [numbering.facts.header for numbering in self.numberings]
        for _, blocks in self.tables.blocks(columns, self.tables.header.obs.length):
            pairs = zip(self.numberings, blocks, strict=True)
            # What is missing says that nothing was done.
            yield np.bitwise_or.reduce([np.maximum(numbering.of(block), 0) for numbering, block in pairs])

    def used(self) -> list[int]:
        """The sets that occur."""
        counts = np.zeros(self.count, np.int64)
        for block in self:
            counts += np.bincount(block, minlength=self.count)
        return np.flatnonzero(counts).tolist()


def _types(
    reference: Reference, recipe: PerturbationTypes, spelling: Spelling, value: Value, *, guided: bool
) -> set[str]:
    """The types that one value of a column stands for."""
    if not isinstance(value, str) or value == recipe.na:
        return set()
    if guided:
        return {recipe.genetic}
    terms = [(part.id, reference.term(part.id)) for part in spelling.parts(value)]
    names = {name for id_, term in terms for name in (id_, ontology(id_), *(term.ancestors if term else ()))}
    return {kind for name, kind in recipe.types.items() if name in names}


def _text(recipe: PerturbationTypes, types: list[str], number: int) -> str:
    return recipe.separator.join(kind for bit, kind in enumerate(types) if number >> bit & 1) or recipe.none


def _dictionaries(element: Element) -> Iterator[tuple[str, _Guide]]:
    """The dictionaries in one."""
    if isinstance(element, Mapping):
        for name, item in cast("_Guide", element).items():
            if isinstance(item, Mapping):
                yield name, item

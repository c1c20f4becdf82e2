"""Labels of genes: columns of var and raw.var, looked up in batches by the genes' ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from celldock.errors import InvalidSubmission
from celldock.h5ad.additions import NewColumn
from celldock.h5ad.file import H5adFile
from celldock.h5ad.frames import iter_blocks
from celldock.h5ad.headers import FrameHeader
from celldock.labels.recipes import GeneKind, GeneLabel
from celldock.schema.numbering import code_type
from celldock.schema.reference import Gene, Reference

type Array = np.ndarray[Any, Any]
type _Value = str | int

_BLOCK = 1 << 16
_MOST_GENES = 1 << 20
_SHOWN = 60


def gene_columns(
    file: H5adFile, frame: FrameHeader, reference: Reference, recipes: Mapping[str, GeneLabel | GeneKind]
) -> Iterator[NewColumn]:
    """Yields the columns of a frame of genes, in the order of `recipes`. Categories are sorted, and none is unused.

    Memory: 4 bytes a gene and column, beside the categories. Raises InvalidSubmission for a gene that no annotation
    has, and for more genes than all annotations have together.
    """
    if frame.length > _MOST_GENES:
        raise InvalidSubmission(
            f"{frame.path} has {frame.length:,} rows, more than all annotations have genes.",
            code="labels.too_many_genes",
            where=frame.path,
            hint="Validate the file first.",
        )
    values = {name: _value_of(recipe) for name, recipe in recipes.items()}
    numbers: dict[str, dict[_Value, int]] = {name: {} for name in values}
    codes = {name: np.empty(frame.length, np.int32) for name in values}
    for start, stop in iter_blocks(frame.length, _BLOCK):
        genes = _genes(file, frame, reference, start, stop)
        for name, value in values.items():
            seen = numbers[name]
            codes[name][start:stop] = [seen.setdefault(value(gene), len(seen)) for gene in genes]
    for name, seen in numbers.items():
        yield _column(frame, name, list(seen), codes[name])


def _genes(file: H5adFile, frame: FrameHeader, reference: Reference, start: int, stop: int) -> list[Gene]:
    ids = file.index(frame, start, stop).tolist()
    found = reference.genes(ids)
    unknown = next((id_ for id_ in ids if id_ not in found), None)
    if unknown is not None:
        raise InvalidSubmission(
            f"{repr(unknown)[:_SHOWN]} is in no annotation that the schema accepts, so that it has no labels.",
            code="labels.gene_unknown",
            where=frame.index,
            hint="Validate the file: that says which genes are unknown.",
        )
    return [found[id_] for id_ in ids]


def _column(frame: FrameHeader, name: str, values: list[Any], codes: Array) -> NewColumn:
    """A categorical column from codes into values in any order."""
    order = sorted(range(len(values)), key=values.__getitem__)
    places = np.empty(len(values), code_type(len(values)))
    places[order] = np.arange(len(values))
    blocks = partial(_blocks, places, codes)
    return NewColumn(frame.path, name, "categorical", frame.length, blocks, tuple(values[place] for place in order))


def _blocks(places: Array, codes: Array) -> Iterator[Array]:
    for start, stop in iter_blocks(len(codes), _BLOCK):
        yield places[codes[start:stop]]


def _value_of(recipe: GeneLabel | GeneKind) -> Callable[[Gene], _Value]:
    if isinstance(recipe, GeneKind):
        return lambda gene: recipe.spike_in if gene.organism == recipe.spike_ins else recipe.gene
    return _VALUES[recipe.of]


def _unique_symbol(gene: Gene) -> str:
    return f"{gene.symbol}_{gene.id}" if gene.symbol_shared else gene.symbol


_VALUES: Mapping[str, Callable[[Gene], _Value]] = {
    "symbol": lambda gene: gene.symbol,
    "unique_symbol": _unique_symbol,
    "organism": lambda gene: gene.organism,
    "biotype": lambda gene: gene.biotype,
    "length": lambda gene: gene.length or 0,
}

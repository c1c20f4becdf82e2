"""How each label is made: the list of a schema version, under `labels` in its data file.

The same list says which names are reserved, which labels are added, and which are taken off again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from celldock.schema import Schema
from celldock.schema.rules.terms import Spelling

GUIDES = "uns/genetic_perturbations"
"""The place whose labels lie in each of its dictionaries."""


class _Recipe(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TermLabel(_Recipe):
    """The label of each term in a column of obs, or of the one at a key of uns; no label where there is no such.

    `sort` has the labels sorted also where their ids give an order.
    """

    made: Literal["term"]
    of: str
    sort: bool = False


class GeneLabel(_Recipe):
    """What the annotation says of each gene; `unique_symbol` ends in the id where other genes have the symbol too."""

    made: Literal["gene"]
    of: Literal["symbol", "unique_symbol", "organism", "biotype", "length"]


class GeneKind(_Recipe):
    """One word for what is in the gene set `spike_ins`, another for all else."""

    made: Literal["gene_or_spike_in"]
    spike_ins: str
    spike_in: str
    gene: str


class JoinId(_Recipe):
    """A hash of each cell's name."""

    made: Literal["join_id"]


class PerturbationTypes(_Recipe):
    """What was done to each cell, as columns of obs say; no label where there is neither of both.

    Attributes:
        conditions: the column of terms.
        guides: the column of genetic perturbations.
        types: the type of a term, by its ontology, itself or an ancestor.
        genetic: the type of any genetic perturbation.
        none: what is said where nothing was done.
        na: how both columns say so.
        separator: between several types.
    """

    made: Literal["perturbation_types"]
    conditions: str
    guides: str
    types: Mapping[str, str]
    genetic: str
    none: str
    na: str
    separator: str


class Fact(_Recipe):
    """What is known without looking at the cells; no label where it is not known."""

    made: Literal["citation", "is_pre_analysis", "schema_reference", "schema_version"]


class GuideAlignment(_Recipe):
    """Where a guide lies in the genome, which GuideScan2 finds out: celldock has no genomes and makes no such label."""

    made: Literal["guide_alignment"]


type Recipe = Annotated[
    TermLabel | GeneLabel | GeneKind | JoinId | PerturbationTypes | Fact | GuideAlignment, Field(discriminator="made")
]
type Recipes = Mapping[str, Mapping[str, Recipe]]
"""By place (`obs`, `var`, `raw.var`, `uns`, or each dictionary in `uns/<key>`) and name, in the order of the file."""

_RECIPES: TypeAdapter[Recipes] = TypeAdapter(Mapping[str, Mapping[str, Recipe]])


def recipes(schema: Schema) -> Recipes:
    """The labels of a schema version."""
    return _RECIPES.validate_python(schema.labels)


def spelling_of(schema: Schema, column: str) -> Spelling:
    """How the values of a column of obs name terms, which is said where they are checked."""
    for applied in schema.rules:
        if applied.rule.name == "term_unknown" and applied.parameters["column"] == column:
            spelling: Mapping[str, Any] = applied.parameters.get("spelling") or {}
            return Spelling(**spelling)
    raise ValueError(f"schema {schema.version} checks no terms in {column}")

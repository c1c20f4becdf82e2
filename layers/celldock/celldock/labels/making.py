"""All labels of one file, as additions to it."""

from __future__ import annotations

from collections.abc import Iterator

from celldock.h5ad.additions import Additions, NewColumn, NewElement
from celldock.h5ad.file import H5adFile
from celldock.h5ad.headers import Header
from celldock.labels.columns import column_named
from celldock.labels.genes import gene_columns
from celldock.labels.joins import join_id_column
from celldock.labels.perturbations import named_features, perturbation_types_column
from celldock.labels.portal import Citation
from celldock.labels.recipes import (
    GUIDES,
    Fact,
    GeneKind,
    GeneLabel,
    JoinId,
    PerturbationTypes,
    Recipe,
    TermLabel,
    recipes,
    spelling_of,
)
from celldock.labels.terms import term_column, term_label
from celldock.schema import Schema, Setting
from celldock.schema.facts import Tables
from celldock.schema.reference import Reference, open_reference
from celldock.schema.rules.terms import Spelling


def make_labels(
    file: H5adFile,
    header: Header,
    schema: Schema,
    *,
    setting: Setting | None = None,
    citation: Citation | None = None,
    reference: Reference | None = None,
) -> Additions:
    """The labels that the portal puts on a file that `schema` finds valid.

    `header` is that of the file, which has to stay open until the columns are written: their blocks are read from it.
    `setting` says whether it belongs to a pre-analysis collection, `citation` how it is to be cited: without one, that
    label is left out. `reference` has the schema's terms and genes (default: those that the installation has).
    Memory: a block of rows, the codes of the genes, and the categories. Columns of obs are read once to find their
    values, and again when the blocks are.

    Raises:
        InvalidSubmission: a term or a gene that the schema does not know, or a damaged file.

    >>> with open_h5ad(LocalSource(Path("cells.h5ad"))) as file:
    ...     labels = make_labels(file, file.header(), load_schema("7.1.0"))
    >>> [column.name for column in labels.columns if column.frame == "obs"]
    ['cell_type', 'assay', 'disease', 'sex', 'tissue', 'self_reported_ethnicity', 'development_stage', …]
    """
    making = _Making(file, header, schema, reference or open_reference(schema.version))
    return Additions(
        columns=(*making.of_cells(), *making.of_genes()),
        elements=tuple(making.of_dataset(setting or Setting(), citation)),
    )


class _Making:
    """Makes the labels of one file, by the recipes of one schema version."""

    def __init__(self, file: H5adFile, header: Header, schema: Schema, reference: Reference) -> None:
        self._tables = Tables(file, header)
        self._schema = schema
        self._reference = reference
        self._recipes = recipes(schema)

    def of_cells(self) -> Iterator[NewColumn]:
        """The columns of obs."""
        for name, recipe in self._recipes["obs"].items():
            column = self._cells(name, recipe)
            if column is not None:
                yield column

    def _cells(self, name: str, recipe: Recipe) -> NewColumn | None:
        header = self._tables.header
        if isinstance(recipe, TermLabel):
            column = column_named(header.obs, recipe.of)
            if column is None:
                return None
            spelling = spelling_of(self._schema, column.name)
            return term_column(self._tables, self._reference, column, name, spelling, sort=recipe.sort)
        if isinstance(recipe, PerturbationTypes):
            spelling = spelling_of(self._schema, recipe.conditions)
            return perturbation_types_column(self._tables, self._reference, name, recipe, spelling)
        if isinstance(recipe, JoinId):
            return join_id_column(self._tables.file, header.obs, name)
        raise ValueError(f"no column of obs is made as {recipe.made}")

    def of_genes(self) -> Iterator[NewColumn]:
        """The columns of var and raw.var."""
        header = self._tables.header
        for place, frame in (("var", header.var), ("raw.var", header.raw_var)):
            if frame is not None:
                wanted = {
                    name: recipe
                    for name, recipe in self._recipes[place].items()
                    if isinstance(recipe, GeneLabel | GeneKind)
                }
                yield from gene_columns(self._tables.file, frame, self._reference, wanted)

    def of_dataset(self, setting: Setting, citation: Citation | None) -> Iterator[NewElement]:
        """The keys of uns."""
        known = {
            "citation": citation.text if citation else None,
            "is_pre_analysis": setting.pre_analysis,
            "schema_reference": self._schema.url,
            "schema_version": self._schema.version,
        }
        for name, recipe in self._recipes.get("uns", {}).items():
            value = None
            if isinstance(recipe, Fact):
                value = known[recipe.made]
            elif isinstance(recipe, TermLabel):
                value = self._dataset_term(f"uns/{recipe.of}")
            if value is not None:
                yield NewElement(f"uns/{name}", value)
        if GUIDES in self._recipes:
            yield from named_features(self._tables, self._reference)

    def _dataset_term(self, path: str) -> str | None:
        if self._tables.element_header(path) is None:
            return None
        return term_label(self._reference, Spelling(), self._tables.element(path), path)

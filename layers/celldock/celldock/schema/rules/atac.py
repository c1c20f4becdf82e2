"""Rules about the cells of ATAC assays, which may or must come with a file of fragments.

An assay is paired where it measures RNA too. A file of paired assays alone may have fragments and one of unpaired
assays alone must have them, and so be eligible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from celldock.report import Finding
from celldock.schema.registry import Context, rule
from celldock.schema.rules.conditions import holds, uns_text
from celldock.schema.rules.terms import named, where_words
from celldock.schema.words import ROWS

type Kind = Literal["paired", "unpaired", "other"]

_ASSAY = "assay_ontology_term_id"
_PRIMARY = "is_primary_data"
_CELLS = ROWS["obs"]


def assay_kinds(context: Context, *, atac: str, rna: str) -> Counter[Kind]:
    """Cells by their kind of assay, which the terms for ATAC and RNA tell; raises Skip as `Context.column` does."""
    kinds: Counter[Kind] = Counter()
    for assay, cells in context.column("obs", _ASSAY).used.items():
        term = context.reference.term(str(assay))
        roots = term.ancestors | {term.id} if term else frozenset[str]()
        kinds["other" if atac not in roots else "paired" if rna in roots else "unpaired"] += cells
    return kinds


@rule("fragments.assays")
def atac_assays_mixed(context: Context, *, atac: str, rna: str) -> Iterator[Finding]:
    """A file with unpaired assays has no others, or no fragments can go with it."""
    kinds = assay_kinds(context, atac=atac, rna=rna)
    # Where fragments came in spite of it, `fragments.not_expected` says so.
    if kinds["unpaired"] and len(kinds) > 1 and not context.setting.fragments:
        yield context.finding(
            f"obs/{_ASSAY}",
            f"The file mixes {_CELLS.of(kinds['unpaired'])} of an unpaired ATAC assay with cells of other assays, "
            "so that no file of fragments can go with it.",
            count=kinds["unpaired"],
            suggestion="Submit the cells of unpaired ATAC assays in a file of their own, with its fragments.",
        )


@rule("fragments.missing")
def atac_fragments_missing(context: Context, *, atac: str, rna: str) -> Iterator[Finding]:
    """A file of unpaired assays alone comes with its fragments."""
    kinds = assay_kinds(context, atac=atac, rna=rna)
    if context.setting.fragments is False and kinds.keys() == {"unpaired"}:
        yield context.finding(
            f"obs/{_ASSAY}",
            f"The {_CELLS.of(kinds['unpaired'])} are all of unpaired ATAC assays, but no file of their fragments lies "
            "beside the dataset.",
            count=kinds["unpaired"],
            suggestion="Put it beside the .h5ad file, under its name with '.fragments.tsv.gz' in place of '.h5ad'.",
        )


@rule("fragments.not_expected")
def atac_fragments_not_expected(context: Context, *, atac: str, rna: str) -> Iterator[Finding]:
    """A fragment file comes with paired assays alone, or with unpaired ones alone."""
    kinds = assay_kinds(context, atac=atac, rna=rna)
    if not context.setting.fragments or kinds.keys() in ({"paired"}, {"unpaired"}):
        return
    if kinds["paired"] and kinds["unpaired"]:
        others, said = kinds["unpaired"], f"paired ATAC assays and {_CELLS.of(kinds['unpaired'])} of unpaired ones"
    else:
        others, said = kinds["other"], f"{_CELLS.of(kinds['other'])} of assays other than ATAC"
    yield context.finding(
        f"obs/{_ASSAY}",
        f"A fragment file lies beside the dataset, but the dataset has {said}.",
        count=others,
        suggestion="Submit the cells that the fragments are of in a file of their own, or delete the fragment file and "
        "submit the .h5ad file again.",
    )


@rule("fragments.not_primary")
def atac_not_primary(context: Context, *, atac: str, rna: str) -> Iterator[Finding]:
    """All cells of a file that comes with fragments are primary data."""
    secondary = context.column("obs", _PRIMARY).used.get(False, 0)
    if secondary and _has_fragments(context, atac, rna):
        yield context.finding(
            f"obs/{_PRIMARY}",
            f"The file has {_CELLS.of(secondary)} marked as not primary, but one that comes with a file of "
            "fragments, as those of unpaired ATAC assays do, may have none.",
            count=secondary,
            suggestion=f"Leave these cells out, or set {_PRIMARY} to True if this file is the first to show them.",
        )


@rule("fragments.organism")
def atac_organism(context: Context, *, atac: str, rna: str, organism: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """A file that comes with fragments is of an organism whose chromosomes the schema lists."""
    for field in organism:
        value = uns_text(context, field)
        known = holds(context.reference, organism, {} if value is None else {field: value})
        if value is not None and known is False and _has_fragments(context, atac, rna):
            yield context.finding(
                field,
                f"The organism is {named(context.reference, value)}, of which the schema takes no fragments, as files "
                "of unpaired ATAC assays must have them.",
                suggestion=f"Fragments are accepted{where_words(context.reference, organism)}.",
            )


def _has_fragments(context: Context, atac: str, rna: str) -> bool:
    """Whether fragments come with the file, or must, and may by its assays."""
    kinds = assay_kinds(context, atac=atac, rna=rna).keys()
    return kinds == {"unpaired"} or bool(context.setting.fragments and kinds == {"paired"})

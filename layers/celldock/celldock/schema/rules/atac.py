"""Rules about the cells of ATAC assays, which may or must come with a file of fragments.

An assay is paired where it measures RNA too; a file of unpaired assays alone must have fragments, and so be eligible.
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
    if kinds["unpaired"] and len(kinds) > 1:
        yield context.finding(
            f"obs/{_ASSAY}",
            f"The file mixes {_CELLS.of(kinds['unpaired'])} of an unpaired ATAC assay with cells of other assays, "
            "so that no file of fragments can go with it.",
            count=kinds["unpaired"],
            suggestion="Submit the cells of unpaired ATAC assays in a file of their own, with its fragments.",
        )


@rule("fragments.not_primary")
def atac_not_primary(context: Context, *, atac: str, rna: str) -> Iterator[Finding]:
    """All cells of a file that must come with fragments are primary data."""
    secondary = context.column("obs", _PRIMARY).used.get(False, 0)
    if secondary and _needs_fragments(context, atac, rna):
        yield context.finding(
            f"obs/{_PRIMARY}",
            f"The file has {_CELLS.of(secondary)} that are no primary data, but a file of unpaired ATAC assays, which "
            "comes with its fragments, may have none.",
            count=secondary,
            suggestion=f"Leave these cells out, or set {_PRIMARY} to True if this file is the first to show them.",
        )


@rule("fragments.organism")
def atac_organism(context: Context, *, atac: str, rna: str, organism: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """A file that must come with fragments is of an organism whose chromosomes the schema lists."""
    for field in organism:
        value = uns_text(context, field)
        known = holds(context.reference, organism, {} if value is None else {field: value})
        if value is not None and known is False and _needs_fragments(context, atac, rna):
            yield context.finding(
                field,
                f"The organism is {named(context.reference, value)}, of which the schema takes no fragments, as files "
                "of unpaired ATAC assays must have them.",
                suggestion=f"Files of unpaired ATAC assays are accepted{where_words(context.reference, organism)}.",
            )


def _needs_fragments(context: Context, atac: str, rna: str) -> bool:
    return assay_kinds(context, atac=atac, rna=rna).keys() == {"unpaired"}

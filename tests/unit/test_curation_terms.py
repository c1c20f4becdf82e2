"""Terms as people write them: which id each becomes, and what is said where it becomes none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from celldock.curation.fields import fields_of
from celldock.curation.terms import Resolved, UnresolvedError, resolve
from celldock.schema import schema_versions
from celldock.schema.reference import open_reference

HUMAN = {"uns/organism_ontology_term_id": "NCBITaxon:9606"}
CELL_TYPE = "cell_type_ontology_term_id"
STAGE = "development_stage_ontology_term_id"
DISEASE = "disease_ontology_term_id"
TISSUE = "tissue_ontology_term_id"


def resolved(
    name: str, text: str | Sequence[str], known: Mapping[str, str] = HUMAN, version: str = "7.1.0"
) -> Resolved:
    """What a text becomes in a field of obs."""
    return resolve(open_reference(version), fields_of(version).known["obs"][name], text, known)


def unresolved(name: str, text: str | Sequence[str], known: Mapping[str, str] = HUMAN, version: str = "7.1.0") -> str:
    """What is said of a text that becomes nothing."""
    with pytest.raises(UnresolvedError) as refusal:
        resolved(name, text, known, version)
    return f"{refusal.value.message} {refusal.value.suggestion}"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        (CELL_TYPE, "CL:0000084", "CL:0000084"),
        (CELL_TYPE, "T cell", "CL:0000084"),
        (CELL_TYPE, "t CELL", "CL:0000084"),
        (CELL_TYPE, "unknown", "unknown"),
        (CELL_TYPE, "na", "na"),
        (STAGE, "adult stage", "HsapDv:0000258"),
        (DISEASE, "normal", "PATO:0000461"),
        (DISEASE, ["diabetes mellitus", "asthma"], "MONDO:0004979 || MONDO:0005015"),
        (DISEASE, "diabetes mellitus || MONDO:0004979", "MONDO:0004979 || MONDO:0005015"),
        (DISEASE, ["asthma", "MONDO:0004979"], "MONDO:0004979"),
        (TISSUE, "lung", "UBERON:0002048"),
        ("assay_ontology_term_id", "10x 3' v2", "EFO:0009899"),
        ("experimental_condition_ontology_term_id", "acetylsalicylic acid", "CHEBI:15365"),
        ("tissue_type", "organoid", "organoid"),
        ("donor_id", "anyone", "anyone"),
        ("genetic_perturbation_id", ["g2", "g1"], "g1 || g2"),
    ],
)
def test_ids_labels_and_words_become_values(name: str, text: str | list[str], value: str) -> None:
    assert resolved(name, text).value == value


def test_what_was_taken_for_a_term_is_told_and_ids_are_not() -> None:
    assert resolved(DISEASE, ["asthma", "MONDO:0005015"]).labels == {"asthma": "MONDO:0004979"}
    assert not resolved(CELL_TYPE, "CL:0000084").labels


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("lung (organoid)", "UBERON:0002048 (organoid)"),
        ("UBERON:0002048 (organoid)", "UBERON:0002048 (organoid)"),
        ("T cell (cell culture)", "CL:0000084 (cell culture)"),
    ],
)
def test_what_follows_a_term_in_schema_2_0_0_stays(text: str, value: str) -> None:
    assert resolved(TISSUE, text, {}, "2.0.0").value == value


def test_a_note_after_an_assay_of_schema_2_0_0_stays() -> None:
    assert resolved("assay_ontology_term_id", "10x 3' v2 (sci-plex)", {}, "2.0.0").value == "EFO:0009899 (sci-plex)"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (CELL_TYPE, "CL:0000003", "CL:0000003 (obsolete native cell), which is obsolete. Write CL:0000000 (cell)."),
        (CELL_TYPE, "CL_0000084", "'CL_0000084' is written CL:0000084 (T cell)."),
        (CELL_TYPE, "dendritic cells", "The term nearest to 'dendritic cells' is CL:0000451 (dendritic cell)."),
        (CELL_TYPE, "qqqqq", "'qqqqq' is no term that cell_type_ontology_term_id may have. Allowed are CL terms"),
        (CELL_TYPE, "", "The value is empty. Allowed are CL terms or 'unknown'."),
        (CELL_TYPE, ["T cell", "B cell"], "holds one term for each cell, not a list."),
        (CELL_TYPE, "UBERON:0002048", "UBERON:0002048 (lung) is not allowed in cell_type_ontology_term_id."),
        (STAGE, "MmusDv:0000110", "Allowed are descendants of HsapDv:0000001 (life cycle) or 'unknown'."),
        ("tissue_type", "Tissue", "'Tissue' is no value that tissue_type may have. Write 'tissue'."),
        ("suspension_type", "x", "Allowed are 'cell', 'nucleus', 'na'."),
        ("donor_id", ["a", "b"], "donor_id holds one value for each cell, not a list."),
    ],
)
def test_what_becomes_nothing_is_told_with_what_may(name: str, text: str | list[str], words: str) -> None:
    assert words in unresolved(name, text)


def test_a_label_of_several_terms_is_refused_with_all_of_them() -> None:
    # Which are allowed depends on the organism, so that it decides where it is known.
    words = unresolved(CELL_TYPE, "T cell", {})

    assert "'T cell' is the label of 2 terms: CL:0000084 (T cell), ZFA:0009046 (T cell). Write the id." in words


def test_a_word_that_other_cells_may_have_is_refused() -> None:
    mouse = {"uns/organism_ontology_term_id": "NCBITaxon:10090"}

    assert "Allowed are 'na'." in unresolved("self_reported_ethnicity_ontology_term_id", "unknown", mouse)


@pytest.mark.parametrize("version", schema_versions())
def test_every_label_of_a_version_has_a_field_that_it_is_of(version: str) -> None:
    fields = fields_of(version)

    assert {name for name, of in fields.labels["obs"].items() if of and of not in fields.known["obs"]} == set()
    assert all(fields.meant("obs", name) == of for name, of in fields.labels["obs"].items() if of)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("cel_type_ontology_term_id", CELL_TYPE),
        ("CellType_Ontology_Term_ID", CELL_TYPE),
        ("cell_type_ontology_id", CELL_TYPE),
        ("donor", "donor_id"),
        ("my_ontology_term_id", ""),
        ("batch", ""),
        ("x" * 1000, ""),
    ],
)
def test_a_name_is_told_from_those_that_are_meant(name: str, meant: str) -> None:
    assert fields_of("7.1.0").meant("obs", name) == meant

"""The rules about ontology terms in obs: what is no term, obsolete or not allowed, and what was meant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from celldock.report import Finding
from tests.builders import OBS
from tests.changing import (
    ASSAY,
    CELL_LINE,
    CELL_TYPE,
    CONDITION,
    DISEASE,
    ETHNICITY,
    FRUIT_FLY,
    GUIDE_IDS,
    GUIDES,
    MACAQUE,
    MOUSE,
    NON_HUMAN,
    ROUNDWORM,
    SEX,
    STAGE,
    STRATEGY,
    TISSUE,
    UNSTAGED,
    ZEBRAFISH,
    findings_on_obs,
    in_some,
)


@pytest.mark.parametrize(
    ("obs", "uns"),
    [
        ({}, {}),
        ({ASSAY: "EFO:0022857", "suspension_type": "na"}, {}),
        ({CELL_TYPE: "unknown"}, {}),
        ({CELL_TYPE: "CL:0000000"}, {}),
        ({STAGE: "unknown", SEX: "unknown"}, {}),
        ({DISEASE: "MONDO:0004604 || MONDO:0043004 || MONDO:0800349 || MONDO:1030008"}, {}),
        ({DISEASE: "MONDO:0021178"}, {}),
        ({ETHNICITY: "HANCESTRO:0580 || HANCESTRO:0590"}, {}),
        (CELL_LINE, {}),
        ({**CELL_LINE, CELL_TYPE: "na"}, {}),
        ({TISSUE: "UBERON:0014374", "tissue_type": "organoid"}, {}),
        ({TISSUE: "CL:0000057", "tissue_type": "primary cell culture"}, {}),
        ({TISSUE: "unknown", "tissue_type": "primary cell culture"}, {}),
        ({CONDITION: "CHEBI:16412 || EFO:0001702 || EFO:0002757 || anti-uniprot:Q99467 || uniprot:P05112"}, {}),
        ({CONDITION: in_some("CHEBI:16412", "na")}, {}),
        (
            {
                GUIDE_IDS: in_some("ctrl-1 || tp53-1", "na"),
                STRATEGY: in_some("CRISPR knockout screen", "no perturbations"),
            },
            GUIDES,
        ),
        ({GUIDE_IDS: "ctrl-1 || ctrl-2", STRATEGY: "control"}, GUIDES),
        ({**NON_HUMAN, STAGE: "MmusDv:0000003"}, MOUSE),
        (
            {
                **NON_HUMAN,
                STAGE: "WBls:0000669",
                SEX: "PATO:0001340",
                CELL_TYPE: "WBbt:0005762",
                TISSUE: "WBbt:0006749",
            },
            ROUNDWORM,
        ),
        ({**NON_HUMAN, STAGE: "ZFS:0000016", CELL_TYPE: "ZFA:0009291", TISSUE: "ZFA:0001262"}, ZEBRAFISH),
        ({**NON_HUMAN, STAGE: "FBdv:00007117", CELL_TYPE: "FBbt:00049192", TISSUE: "FBbt:00007337"}, FRUIT_FLY),
        ({**NON_HUMAN, STAGE: "UBERON:0000113"}, MACAQUE),
        ({ASSAY: "EFO:0030007", "suspension_type": "nucleus"}, {}),
    ],
)
def test_what_the_schema_allows_gets_no_finding(tmp_path: Path, obs: dict[str, Any], uns: dict[str, Any]) -> None:
    assert findings_on_obs(tmp_path, obs, uns) == []


UNKNOWN = [
    (CELL_TYPE, "T cell", "'T cell' is CL:0000084 (T cell)"),
    (CELL_TYPE, "cl_0000084", "is written CL:0000084"),
    (CELL_TYPE, "CL:84", "is written CL:0000084"),
    (CELL_TYPE, "http://purl.obolibrary.org/obo/CL_0000084", "is written CL:0000084"),
    (CELL_TYPE, "T cell (CL:0000084)", "write only CL:0000084"),
    (CELL_TYPE, "fibrobalst", "nearest to 'fibrobalst' is CL:0000057 (fibroblast)"),
    (CELL_TYPE, "Unknown", "write 'unknown'"),
    (CELL_TYPE, "CL:0000084, CL:0000057", "is more than one term"),
    (CELL_TYPE, "CL:99999999", ""),
    (CELL_TYPE, "x" * 100_000, ""),
    (CELL_TYPE, "", "write 'unknown'"),
    (ETHNICITY, "HANCESTRO:0590,HANCESTRO:0580", "'HANCESTRO:0580 || HANCESTRO:0590'"),
    (TISSUE, "na", ""),
    (ASSAY, "EFO:0010183 (sci-plex)", "write only EFO:0010183"),
    (CONDITION, "anti-CHEBI:16412", "write only CHEBI:16412"),
    (CONDITION, "CHEBI:16412 || na", "'na' stands alone"),
]
OBSOLETE = [
    (ASSAY, "EFO:0009310", "replaced by EFO:0009899 (10x 3' v2)"),
    (CELL_TYPE, "CL:0000002", "CL:0000002 (obsolete immortal cell line cell)"),
]
LISTS = [
    (DISEASE, "MONDO:0800349 || MONDO:0004604", "is written 'MONDO:0004604 || MONDO:0800349'"),
    (DISEASE, "MONDO:0004604 || MONDO:0004604", "is written 'MONDO:0004604'"),
    (DISEASE, "MONDO:0004604 || PATO:0000461", "Leave out PATO:0000461 (normal)"),
    (CONDITION, "uniprot:P05112 || CHEBI:16412", "is written 'CHEBI:16412 || uniprot:P05112'"),
]
NOT_ALLOWED = [
    (ASSAY, "EFO:0010961", "leaves out EFO:0010961", {"suspension_type": in_some("na", "cell")}, {}),
    (ASSAY, "EFO:0002772", "(assay by molecule) itself is too general", {}, {}),
    (CELL_TYPE, "CL:0000255", "leaves out CL:0000255 (eukaryotic cell)", {}, {}),
    (CELL_TYPE, "UBERON:0000178", "(blood) belongs in tissue_ontology_term_id", {}, {}),
    (CELL_TYPE, "WBbt:0005762", "Allowed here: CL terms or 'unknown'", {}, {}),
    (CELL_TYPE, "WBbt:0006803", "leaves out", {**UNSTAGED, SEX: "unknown"}, ROUNDWORM),
    (CELL_TYPE, "ZFA:0009291", "FBbt:00007002 (cell)", UNSTAGED, FRUIT_FLY),
    (STAGE, "HsapDv:0000001", "too general", {}, {}),
    (STAGE, "MmusDv:0000003", "HsapDv:0000001 (life cycle)", {}, {}),
    (STAGE, "UBERON:0000071", "leaves out", NON_HUMAN, MACAQUE),
    (STAGE, "ZFS:0000000", "leaves out", NON_HUMAN, ZEBRAFISH),
    (STAGE, "FBdv:00007012", "leaves out", NON_HUMAN, FRUIT_FLY),
    (DISEASE, "MONDO:0000001", "too general", {}, {}),
    (DISEASE, "PATO:0000383", "PATO:0000461 (normal)", {}, {}),
    (ETHNICITY, "HANCESTRO:0602", "too general", {}, {}),
    (ETHNICITY, "unknown", "Allowed here: 'na'", {STAGE: "unknown"}, MOUSE),
    (SEX, "PATO:0000383", "PATO:0001340 (hermaphrodite)", UNSTAGED, ROUNDWORM),
    (TISSUE, "CL:0000057", "belongs in cell_type_ontology_term_id", {}, {}),
    (TISSUE, "UBERON:0001062", "too general", {}, {}),
    (TISSUE, "UBERON:0000922", "leaves out", {"tissue_type": "organoid"}, {}),
    (TISSUE, "UBERON:0000178", "'blood'", {"tissue_type": "primary cell culture"}, {}),
    (TISSUE, "UBERON:0000178", "CVCL terms", CELL_LINE, {}),
    (CONDITION, "CHEBI:24431", "too general", {}, {}),
    (CONDITION, "CHEBI:50906", "leaves out", {}, {}),
    (CONDITION, "EFO:0009922", "EFO:0001702 (temperature)", {}, {}),
]


def told(folder: Path, column: str, wrong: str, others: Mapping[str, Any], uns: Mapping[str, Any]) -> Finding:
    """The one error on a column with a wrong value in three cells and a sound one in the others."""
    tissues = {"primary cell culture": "CL:0000057", "cell line": "CVCL_0030"}
    sound: dict[str, Any] = {
        **OBS,
        CONDITION: "na",
        ETHNICITY: "na" if uns else "unknown",
        SEX: "unknown",
        STAGE: "unknown",
        TISSUE: tissues.get(others.get("tissue_type", ""), OBS[TISSUE]),
    }
    found = findings_on_obs(folder, {**others, column: in_some(wrong, sound[column])}, uns)
    (finding,) = (finding for finding in found if finding.severity == "error")
    assert (finding.where, finding.count) == (f"obs/{column}", 3)
    assert finding.schema_url.endswith(f"#{column}")
    return finding


@pytest.mark.parametrize(("column", "wrong", "suggestion"), UNKNOWN)
def test_a_text_that_is_no_term_is_told_with_the_term_that_was_meant(
    tmp_path: Path, column: str, wrong: str, suggestion: str
) -> None:
    finding = told(tmp_path, column, wrong, {}, {})
    assert finding.code == f"obs.{column}.term_unknown"
    assert finding.examples[0].startswith(wrong[:100].removeprefix("CHEBI:16412 || "))
    assert suggestion in finding.suggestion
    assert bool(finding.suggestion) == bool(suggestion)


@pytest.mark.parametrize(("column", "wrong", "suggestion"), OBSOLETE)
def test_an_obsolete_term_is_told_with_the_one_that_replaces_it(
    tmp_path: Path, column: str, wrong: str, suggestion: str
) -> None:
    finding = told(tmp_path, column, wrong, {}, {})
    assert (finding.code, finding.examples) == (f"obs.{column}.term_obsolete", (f"{wrong} (3 cells)",))
    assert suggestion in finding.suggestion


@pytest.mark.parametrize(("column", "wrong", "suggestion"), LISTS)
def test_a_list_out_of_order_is_told_with_the_right_order(
    tmp_path: Path, column: str, wrong: str, suggestion: str
) -> None:
    finding = told(tmp_path, column, wrong, {}, {})
    assert (finding.code, finding.examples) == (f"obs.{column}.list", (f"{wrong} (3 cells)",))
    assert suggestion in finding.suggestion


@pytest.mark.parametrize(("column", "wrong", "suggestion", "others", "uns"), NOT_ALLOWED)
def test_a_term_that_is_not_allowed_is_told_with_what_is(
    tmp_path: Path, column: str, wrong: str, suggestion: str, others: dict[str, Any], uns: dict[str, Any]
) -> None:
    finding = told(tmp_path, column, wrong, others, uns)
    assert (finding.code, finding.examples) == (f"obs.{column}.term_not_allowed", (f"{wrong} (3 cells)",))
    assert suggestion in finding.suggestion


def test_columns_that_were_swapped_are_told(tmp_path: Path) -> None:
    found = findings_on_obs(tmp_path, {CELL_TYPE: "UBERON:0000178", TISSUE: "CL:0000084"})
    assert [finding.code for finding in found] == [
        f"obs.{CELL_TYPE}.term_not_allowed",
        f"obs.{TISSUE}.term_not_allowed",
    ]
    assert all("may be swapped" in finding.suggestion for finding in found)


def test_one_finding_for_each_thing_that_is_allowed_elsewhere(tmp_path: Path) -> None:
    tissue_types = pd.Categorical(["cell line"] * 5 + ["organoid"] * 15)
    obs = {**CELL_LINE, "tissue_type": tissue_types, TISSUE: "EFO:0009922"}
    found = [f for f in findings_on_obs(tmp_path, obs) if f.code == f"obs.{TISSUE}.term_not_allowed"]
    assert [finding.count for finding in found] == [5, 15]
    assert "tissue_type is 'cell line'" in found[0].message
    assert "tissue_type is 'organoid'" in found[1].message


@pytest.mark.parametrize(
    ("obs", "drop", "uns"),
    [
        ({STAGE: "MmusDv:0000003", CELL_TYPE: "FBbt:00049192"}, [], {"organism_ontology_term_id": np.array([1])}),
        ({STAGE: "MmusDv:0000003"}, [], {"organism_ontology_term_id": "NCBITaxon:0"}),
        ({TISSUE: "CVCL_0030"}, ["tissue_type"], {}),
        ({TISSUE: "CVCL_0030", "tissue_type": in_some("cell culture", "cell culture")}, [], {}),
    ],
)
def test_what_another_field_leaves_open_is_not_held_against_a_term(
    tmp_path: Path, obs: dict[str, Any], drop: list[str], uns: dict[str, Any]
) -> None:
    assert [f.code for f in findings_on_obs(tmp_path, obs, uns, drop) if "term" in f.code.rsplit(".", 1)[-1]] == []

"""The rules about obs but for its ontology terms: types, words, columns that depend on each other, warnings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from celldock.schema import Setting
from tests.changing import (
    ASSAY,
    CELL_LINE,
    CELL_TYPE,
    CONDITION,
    ETHNICITY,
    GUIDE_IDS,
    GUIDES,
    MACAQUE,
    NON_HUMAN,
    SEX,
    STAGE,
    STRATEGY,
    findings_on_obs,
    in_some,
)

WORDS: list[tuple[dict[str, Any], dict[str, Any], str, int, str]] = [
    (
        {"suspension_type": in_some("nuclei", "cell")},
        {},
        "obs.suspension_type.not_allowed",
        3,
        "For 'nuclei' write 'nucleus'",
    ),
    (
        {"tissue_type": in_some("cell culture", "tissue")},
        {},
        "obs.tissue_type.not_allowed",
        3,
        "write 'primary cell culture'",
    ),
    ({"tissue_type": in_some("Tissue", "tissue")}, {}, "obs.tissue_type.not_allowed", 3, "write 'tissue'"),
    ({"suspension_type": in_some("na", "cell")}, {}, "obs.suspension_type.assay", 3, "to 'cell' or 'nucleus'"),
    ({ASSAY: "EFO:0008720"}, {}, "obs.suspension_type.assay", 20, "to 'nucleus'"),
    ({ASSAY: "EFO:0008994"}, {}, "obs.suspension_type.assay", 20, "to 'na'"),
    ({"donor_id": in_some("na", "d1")}, {}, "obs.donor_id.cell_line", 3, "tissue_type"),
    ({**CELL_LINE, "donor_id": in_some("d1", "na")}, {}, "obs.donor_id.cell_line", 3, "to 'na'"),
    ({STAGE: in_some("na", "unknown")}, {}, f"obs.{STAGE}.cell_line", 3, "tissue_type"),
    ({SEX: in_some("na", "unknown")}, {}, f"obs.{SEX}.cell_line", 3, "tissue_type"),
    ({ETHNICITY: in_some("na", "unknown")}, {}, f"obs.{ETHNICITY}.cell_line", 3, "tissue_type"),
    ({**CELL_LINE, SEX: in_some("PATO:0000383", "na")}, {}, f"obs.{SEX}.cell_line", 3, "to 'na'"),
    ({CELL_TYPE: in_some("na", "CL:0000084")}, {}, f"obs.{CELL_TYPE}.cell_line", 3, "'unknown'"),
    ({**CELL_LINE, CELL_TYPE: in_some("na", "CL:0000084")}, {}, f"obs.{CELL_TYPE}.cell_line", 20, "the other 17 cells"),
    (
        {ASSAY: in_some("EFO:0022857", "EFO:0030062"), "suspension_type": "na"},
        {},
        f"obs.{ASSAY}.mixed",
        2,
        "file of their own",
    ),
    ({"donor_id": in_some(None, "d1")}, {}, "obs.donor_id.values_missing", 3, "isna()"),
    ({SEX: in_some(None, "unknown")}, {}, f"obs.{SEX}.values_missing", 3, "isna()"),
    ({"donor_id": in_some(" ", "d1")}, {}, "obs.donor_id.empty", 3, "Fill"),
    ({"is_primary_data": np.ones(20, np.int64)}, {}, "obs.is_primary_data.type", 20, "astype(bool)"),
    ({"is_primary_data": in_some("True", "False")}, {}, "obs.is_primary_data.type", 20, "map({'True': True, "),
    ({"donor_id": np.arange(20)}, {}, "obs.donor_id.type", 20, "astype(str).astype('category')"),
    ({"donor_id": pd.Categorical(np.arange(20))}, {}, "obs.donor_id.type", 20, "astype('category')"),
    ({"donor_id": np.array([f"d{i}" for i in range(20)], object)}, {}, "obs.donor_id.type", 20, "astype('category')"),
    ({CONDITION: "na"}, {}, f"obs.{CONDITION}.all_na", 20, f"del adata.obs['{CONDITION}']"),
    ({GUIDE_IDS: "na", STRATEGY: "no perturbations"}, GUIDES, f"obs.{GUIDE_IDS}.all_na", 20, "del"),
    (
        {GUIDE_IDS: in_some("ctrl_1", "ctrl-1"), STRATEGY: "control"},
        GUIDES,
        f"obs.{GUIDE_IDS}.id_unknown",
        3,
        "write 'ctrl-1'",
    ),
    ({GUIDE_IDS: in_some("x", "ctrl-1"), STRATEGY: "control"}, GUIDES, f"obs.{GUIDE_IDS}.id_unknown", 3, "Add 'x'"),
    (
        {GUIDE_IDS: in_some("ctrl-2 || ctrl-1", "ctrl-1"), STRATEGY: "control"},
        GUIDES,
        f"obs.{GUIDE_IDS}.list",
        3,
        "'ctrl-1 || ctrl-2'",
    ),
    ({GUIDE_IDS: "ctrl-1"}, GUIDES, f"obs.{STRATEGY}.missing", 20, "Add adata.obs"),
    ({STRATEGY: "control"}, {}, f"obs.{STRATEGY}.not_expected", 20, "drop the column"),
    (
        {GUIDE_IDS: in_some("na", "ctrl-1"), STRATEGY: "control"},
        GUIDES,
        f"obs.{STRATEGY}.not_allowed",
        3,
        "'no perturbations'",
    ),
    (
        {GUIDE_IDS: "ctrl-1", STRATEGY: in_some("no perturbations", "control")},
        GUIDES,
        f"obs.{STRATEGY}.not_allowed",
        3,
        "CRISPR",
    ),
    (
        {GUIDE_IDS: in_some("ctrl-1 || tp53-1", "ctrl-1"), STRATEGY: "control"},
        GUIDES,
        f"obs.{STRATEGY}.role",
        3,
        "role of tp53-1",
    ),
    (
        {GUIDE_IDS: "ctrl-1", STRATEGY: "control", **NON_HUMAN, STAGE: "unknown"},
        GUIDES | MACAQUE,
        f"obs.{GUIDE_IDS}.organism",
        20,
        "NCBITaxon:9606",
    ),
    ({"organism": "human"}, {}, "obs.columns.deprecated", 1, "organism: drop it"),
    ({"ethnicity_ontology_term_id": "unknown"}, {}, "obs.columns.deprecated", 1, "rename it"),
    ({"__leiden": "1"}, {}, "names.double_underscore", 1, "to 'leiden'"),
    ({"doublet": in_some(True, False)}, {}, "obs.columns.category_types", 2, "astype(bool)"),
    (
        {ASSAY: "EFO:0030007", "suspension_type": "nucleus", "is_primary_data": np.arange(20) > 2},
        {},
        "fragments.not_primary",
        3,
        "Leave these cells out",
    ),
    (
        {ASSAY: "EFO:0030007", "suspension_type": "nucleus", **NON_HUMAN, STAGE: "unknown"},
        MACAQUE,
        "fragments.organism",
        1,
        "NCBITaxon:9606",
    ),
]


@pytest.mark.parametrize(("obs", "uns", "code", "count", "suggestion"), WORDS)
def test_other_faults_of_obs_are_told_with_how_to_mend_them(
    tmp_path: Path, obs: dict[str, Any], uns: dict[str, Any], code: str, count: int, suggestion: str
) -> None:
    (finding,) = findings_on_obs(tmp_path, obs, uns)
    assert (finding.code, finding.count) == (code, count)
    assert suggestion in finding.suggestion


def test_a_spot_off_the_tissue_has_no_known_cell_type(tmp_path: Path) -> None:
    in_tissue = np.array([0] * 3 + [1] * 17)
    obs = {ASSAY: "EFO:0022857", "suspension_type": "na", "in_tissue": in_tissue}
    uns = {"spatial": {"is_single": np.bool_(True)}}
    code = f"obs.{CELL_TYPE}.off_tissue"
    (finding,) = (found for found in findings_on_obs(tmp_path, obs, uns) if found.code == code)
    assert (finding.count, finding.examples) == (3, ("CL:0000084 (3 cells)",))
    assert "'unknown'" in finding.suggestion
    obs[CELL_TYPE] = in_some("unknown", "CL:0000084")
    assert code not in {found.code for found in findings_on_obs(tmp_path, obs, uns)}


@pytest.mark.parametrize(
    ("obs", "code", "count", "example"),
    [
        ({"leiden": pd.Categorical(["1"] * 20, categories=["1", "2"])}, "obs.columns.unused_categories", 1, "2"),
        ({ASSAY: "EFO:0700005"}, "obs.suspension_type.assay_unlisted", 20, "EFO:0700005 (Abseq) (20 cells)"),
        ({ASSAY: in_some("EFO:0030007", "EFO:0009922"), "suspension_type": "nucleus"}, "fragments.assays", 3, None),
    ],
)
def test_what_may_be_a_fault_is_a_warning(
    tmp_path: Path, obs: dict[str, Any], code: str, count: int, example: str | None
) -> None:
    (finding,) = findings_on_obs(tmp_path, obs)
    assert (finding.code, finding.severity, finding.count) == (code, "warning", count)
    assert finding.examples == ((example,) if example else ())


def test_more_values_than_any_vocabulary_has_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celldock.schema.facts.MAX_VALUES", 10)
    (finding,) = findings_on_obs(tmp_path, {CELL_TYPE: pd.Categorical([f"CL:{i}" for i in range(20)])})
    assert finding.code == f"obs.{CELL_TYPE}.type"
    assert "different values" in finding.message


def test_flags_that_are_categories_are_told_as_both(tmp_path: Path) -> None:
    found = findings_on_obs(tmp_path, {"is_primary_data": in_some(True, False)})
    assert [finding.code for finding in found] == ["obs.columns.category_types", "obs.is_primary_data.type"]


def test_a_pre_analysis_file_needs_no_cell_type(tmp_path: Path) -> None:
    assert findings_on_obs(tmp_path, {}, drop=[CELL_TYPE], setting=Setting(pre_analysis=True)) == []
    assert [f.code for f in findings_on_obs(tmp_path, {}, drop=[CELL_TYPE])] == [f"obs.{CELL_TYPE}.missing"]

"""Schema 2.0.0: what it asks for otherwise than 7.1.0, and which version a file is checked by."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from celldock.catalog.records import DEFAULT_SCHEMA_VERSIONS, SchemaVersion
from celldock.h5ad.source import LocalSource
from celldock.report import Finding, Report
from celldock.schema import Setting, load_schema, schema_versions, validate
from tests.builders import make_anndata, make_anndata_2_0_0, make_counts, shared_data
from tests.builders_0_7 import rewrite_as_0_7
from tests.reading import read_by_anndata
from tests.scanning import scanned

ROOT = Path(__file__).parents[2]
OLD, NEW = load_schema("2.0.0"), load_schema("7.1.0")
ASSAY, ETHNICITY, ORGANISM = "assay_ontology_term_id", "ethnicity_ontology_term_id", "organism_ontology_term_id"
STAGE, TISSUE = "development_stage_ontology_term_id", "tissue_ontology_term_id"
ALWAYS = {"var.few_genes"}
"""Warnings that any file of ten genes gets."""

type Change = Callable[[anndata.AnnData], Any]
type Edit = Callable[[h5py.File], Any]


def written(tmp_path: Path, change: Change | None = None, edit: Edit | None = None, **options: Any) -> Path:
    """A file that is valid by 2.0.0 but for a change in memory, and one of what was written."""
    data = make_anndata_2_0_0(**options)
    if change:
        change(data)
    path = tmp_path / "a.h5ad"
    data.write_h5ad(path)
    if edit:
        with h5py.File(path, "r+") as file:
            edit(file)
    return path


def report_on(path: Path, setting: Setting | None = None) -> Report:
    return validate(LocalSource(path), OLD, scan=scanned(path, path.parent), setting=setting)


def told(
    tmp_path: Path,
    change: Change | None = None,
    edit: Edit | None = None,
    setting: Setting | None = None,
    **options: Any,
) -> list[Finding]:
    """What is found in such a file, besides what any small one gets."""
    report = report_on(written(tmp_path, change, edit, **options), setting)
    return [finding for finding in report.findings if finding.code not in ALWAYS]


def outcome(findings: list[Finding]) -> dict[str, str]:
    return {finding.code: finding.severity for finding in findings}


def in_some(value: str, otherwise: str) -> list[str]:
    """A column of 20 cells, of which three have another value."""
    return [value] * 3 + [otherwise] * 17


@pytest.mark.parametrize("x", ["csr", "dense"])
def test_a_sound_file_gets_no_finding(tmp_path: Path, x: str) -> None:
    assert told(tmp_path, x=x, var_names=None) == []


def test_counts_alone_are_valid_and_a_final_matrix_is_recommended(tmp_path: Path) -> None:
    assert outcome(told(tmp_path, raw=False)) == {"x.not_normalised": "warning"}


def test_a_file_by_the_newest_schema_is_none_by_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.h5ad"
    make_anndata().write_h5ad(path)

    missing = {finding.code for finding in report_on(path).findings if finding.code.endswith("missing")}

    assert missing == {
        "obs.ethnicity_ontology_term_id.missing",
        "obs.organism_ontology_term_id.missing",
        "uns.X_normalization.missing",
        "uns.schema_version.missing",
        "var.feature_biotype.missing",
        "raw.var.feature_biotype.missing",
    }


@pytest.mark.parametrize(
    ("obs", "wrong"),
    [
        ({ASSAY: "EFO:0010183 (sci-plex)"}, ""),
        ({ASSAY: "EFO:0010183 (sci-plex (of 2019))"}, ""),
        ({ASSAY: "EFO:0002772"}, ""),
        ({ASSAY: "EFO:0010183 ()"}, "obs.assay_ontology_term_id.term_unknown"),
        ({ASSAY: "EFO:0010183(sci-plex)"}, "obs.assay_ontology_term_id.term_unknown"),
        ({ASSAY: "EFO:0010183 (sci-plex"}, "obs.assay_ontology_term_id.term_unknown"),
        ({ASSAY: "EFO:0000001 (a text)"}, "obs.assay_ontology_term_id.term_not_allowed"),
        ({TISSUE: "UBERON:0000955 (organoid)"}, ""),
        ({TISSUE: "CL:0000057 (cell culture)"}, ""),
        ({TISSUE: "CL:0000057"}, ""),
        ({TISSUE: "CL:0000057 (organoid)"}, "obs.tissue_ontology_term_id.term_not_allowed"),
        ({TISSUE: "UBERON:0000955 (cell culture)"}, "obs.tissue_ontology_term_id.term_not_allowed"),
        ({TISSUE: "unknown"}, "obs.tissue_ontology_term_id.term_unknown"),
        ({STAGE: "unknown"}, ""),
        ({STAGE: "UBERON:0000113"}, "obs.development_stage_ontology_term_id.term_not_allowed"),
        ({STAGE: "na"}, "obs.development_stage_ontology_term_id.term_unknown"),
        ({ETHNICITY: "HANCESTRO:0005"}, ""),
        ({ETHNICITY: "na"}, "obs.ethnicity_ontology_term_id.term_not_allowed"),
        ({"cell_type_ontology_term_id": "unknown"}, "obs.cell_type_ontology_term_id.term_unknown"),
        ({"sex_ontology_term_id": "PATO:0001894"}, "obs.sex_ontology_term_id.term_not_allowed"),
        ({"disease_ontology_term_id": "MONDO:0100096 || MONDO:0004604"}, "obs.disease_ontology_term_id.term_unknown"),
    ],
)
def test_terms(tmp_path: Path, obs: dict[str, str], wrong: str) -> None:
    assert outcome(told(tmp_path, obs=obs)) == ({wrong: "error"} if wrong else {})


MOUSE = {ORGANISM: "NCBITaxon:10090", STAGE: "MmusDv:0000003", ETHNICITY: "na"}
FISH = {ORGANISM: "NCBITaxon:7955", STAGE: "UBERON:0000113", ETHNICITY: "na"}


@pytest.mark.parametrize(
    ("obs", "wrong"),
    [
        (MOUSE, ""),
        (FISH, ""),
        ({**MOUSE, ETHNICITY: "unknown"}, "obs.ethnicity_ontology_term_id.term_not_allowed"),
        ({**MOUSE, STAGE: "HsapDv:0000087"}, "obs.development_stage_ontology_term_id.term_not_allowed"),
        ({**FISH, STAGE: "UBERON:0000071"}, "obs.development_stage_ontology_term_id.term_not_allowed"),
        ({**FISH, STAGE: "UBERON:0000178"}, "obs.development_stage_ontology_term_id.term_not_allowed"),
        ({**FISH, ORGANISM: "NCBITaxon:3702"}, "obs.organism_ontology_term_id.term_unknown"),
        ({ORGANISM: "Homo sapiens"}, "obs.organism_ontology_term_id.term_unknown"),
        ({ORGANISM: "CL:0000084"}, "obs.organism_ontology_term_id.term_not_allowed"),
    ],
)
def test_organisms_are_those_of_the_cells(tmp_path: Path, obs: dict[str, str], wrong: str) -> None:
    assert outcome(told(tmp_path, obs=obs)) == ({wrong: "error"} if wrong else {})


def test_cells_of_several_organisms_are_told_apart(tmp_path: Path) -> None:
    obs = {
        ORGANISM: in_some("NCBITaxon:10090", "NCBITaxon:9606"),
        STAGE: in_some("MmusDv:0000003", "HsapDv:0000087"),
        ETHNICITY: in_some("na", "unknown"),
    }
    assert told(tmp_path, obs=obs) == []

    (found,) = told(tmp_path, obs={**obs, ETHNICITY: "unknown"})
    assert (found.code, found.count) == ("obs.ethnicity_ontology_term_id.term_not_allowed", 3)


@pytest.mark.parametrize(
    ("obs", "suggestion"),
    [
        ({ASSAY: "EFO:0009310"}, "EFO:0009899 (10x 3' v2)"),
        ({ASSAY: "EFO:0010183 sci-plex"}, "'EFO:0010183 (sci-plex)'"),
        ({ASSAY: "efo_0010183 (sci-plex)"}, "'EFO:0010183 (sci-plex)'"),
        ({TISSUE: "UBERON:0000955 (Organoid)"}, "'UBERON:0000955 (organoid)'"),
        ({TISSUE: "fibroblast (cell culture)"}, "'CL:0000057 (cell culture)'"),
        ({TISSUE: "brain"}, "'brain' is UBERON:0000955 (brain)"),
        ({ORGANISM: "mus musculus"}, "NCBITaxon:10090 (Mus musculus)"),
        ({ORGANISM: "NCBITaxon:2697049"}, "descendants of NCBITaxon:33208"),
        ({STAGE: "UBERON:0000113"}, "UBERON:0000113 is 'post-juvenile adult stage'"),
        ({TISSUE: "CL:0000057 (organoid)"}, "CL terms (also with ' (cell culture)' after the id)"),
        ({TISSUE: "(" * 100_000}, ""),
        ({ASSAY: "EFO:0010183 (" + " (" * 50_000}, ""),
    ],
)
def test_what_was_meant_is_suggested(tmp_path: Path, obs: dict[str, str], suggestion: str) -> None:
    (found,) = told(tmp_path, obs=obs)
    assert suggestion in found.suggestion
    assert bool(found.suggestion) == bool(suggestion)


@pytest.mark.parametrize(("organism", "gene"), [("NCBITaxon:9606", "ENSG00000010610"), ("NCBITaxon:10090", "")])
def test_symbols_are_looked_up_in_the_organisms_of_the_cells(tmp_path: Path, organism: str, gene: str) -> None:
    names = [*make_anndata_2_0_0().var_names[:9], "CD4"]
    found = told(tmp_path, var_names=names, obs={ORGANISM: organism, STAGE: "unknown"})
    unknown = next(each for each in found if each.code == "var.index.gene_unknown")
    # A mouse has Cd4.
    assert (gene or "ENSMUSG00000023274") in unknown.suggestion


def with_counts(values: np.ndarray, where: str = "raw") -> Change:
    def change(data: Any) -> None:
        if where == "raw":
            data.raw = anndata.AnnData(sparse.csr_matrix(values), data.obs, data.raw.var)
        else:
            data.X = sparse.csr_matrix(values)

    return change


def counts(value: float) -> np.ndarray:
    values = make_counts(20, 10, 0.4)
    values[3, 1] = value
    return values


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(
    ("value", "codes"),
    [
        (0.5, {"raw.not_integer": "warning"}),
        (-1, {"raw.negative": "error"}),
        (np.nan, {"raw.not_finite": "error"}),
    ],
)
def test_raw_counts_may_be_estimates_but_nothing_else(
    tmp_path: Path, value: float, codes: dict[str, str], raw: bool
) -> None:
    found = outcome(told(tmp_path, with_counts(counts(value), "raw" if raw else "X"), raw=raw))
    assert {code: severity for code, severity in found.items() if code.startswith("raw")} == codes


def test_raw_counts_may_be_of_any_type_and_of_empty_and_equal_cells(tmp_path: Path) -> None:
    values = make_counts(20, 10, 0.4).astype(np.int32)
    values[3:6] = 0
    values[8] = values[7]
    assert told(tmp_path, with_counts(values)) == []


@pytest.mark.parametrize(
    ("raw", "stated", "x", "codes"),
    [
        (True, "log1p", None, {}),
        (True, "none", None, {"uns.X_normalization.contradicts_raw": "error"}),
        (False, "log1p", None, {"uns.X_normalization.contradicts_raw": "error", "x.not_normalised": "warning"}),
        (False, "log1p", 0.5, {"raw.missing": "error"}),
        (False, "none", 0.5, {"raw.not_integer": "warning"}),
    ],
)
def test_where_raw_counts_lie_is_what_uns_says(
    tmp_path: Path, raw: bool, stated: str, x: float | None, codes: dict[str, str]
) -> None:
    change = with_counts(counts(x), "X") if x else None
    assert outcome(told(tmp_path, change, raw=raw, uns={"X_normalization": stated})) == codes


@pytest.mark.parametrize(("assay", "required"), [("EFO:0010891", False), ("EFO:0008939", False), ("EFO:0009922", True)])
def test_accessibility_and_methylation_need_no_raw_counts(tmp_path: Path, assay: str, required: bool) -> None:
    found = told(tmp_path, with_counts(counts(0.5), "X"), raw=False, obs={ASSAY: assay}, uns={"X_normalization": "x"})
    assert outcome(found) == ({"raw.missing": "error"} if required else {})


def test_what_is_recommended_of_matrices_is_a_warning(tmp_path: Path) -> None:
    def change(data: Any) -> None:
        data.X.data[3] = np.nan
        data.layers["scaled"] = sparse.csc_matrix(data.X)

    assert outcome(told(tmp_path, change)) == {
        "x.not_finite": "warning",
        "layers.not_finite": "warning",
        "layers.not_csr": "warning",
    }


def plain_text(column: str) -> Edit:
    def edit(file: Any) -> None:
        group = file[column]
        values = group["categories"].asstr()[:][group["codes"][:]]
        del file[column]
        dataset = file.create_dataset(column, data=values.astype(object), dtype=h5py.string_dtype())
        dataset.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})

    return edit


@pytest.mark.parametrize(
    ("column", "codes"),
    [
        (f"obs/{TISSUE}", {"obs.columns.not_categorical": "warning"}),
        ("var/feature_biotype", {"var.feature_biotype.type": "error"}),
        ("raw/var/feature_biotype", {"raw.var.feature_biotype.type": "error"}),
    ],
)
def test_plain_text_in_the_place_of_categories(tmp_path: Path, column: str, codes: dict[str, str]) -> None:
    assert outcome(told(tmp_path, edit=plain_text(column))) == codes


@pytest.mark.parametrize("values", [3, 1.5, True, pd.Categorical([None] * 20), np.arange(20)])
def test_what_is_no_text_is_no_term(tmp_path: Path, values: Any) -> None:
    def change(data: Any) -> None:
        data.obs[TISSUE] = values

    assert any(code.startswith(f"obs.{TISSUE}.") for code in outcome(told(tmp_path, change)))
    assert not report_on(tmp_path / "a.h5ad").valid


@pytest.mark.parametrize(
    ("uns", "codes"),
    [
        ({"schema_version": "7.1.0"}, {"uns.schema_version.not_allowed": "error"}),
        ({"schema_version": 2.0}, {"uns.schema_version.type": "error"}),
        ({"schema_version": {"a": 1}}, {"uns.schema_version.type": "error"}),
        ({"title": "   "}, {"uns.title.spaces": "error"}),
        ({"title": ""}, {"uns.values.empty": "error"}),
        ({"X_normalization": " log1p"}, {"uns.X_normalization.spaces": "error"}),
        ({"X_normalization": np.ones(3)}, {"uns.X_normalization.type": "error"}),
        ({"batch_condition": np.array([], dtype=object)}, {"uns.values.empty": "error"}),
        ({"author_note": "", "tags": "x", "citation": "A paper", "author_colors": np.ones(1)}, {}),
    ],
)
def test_uns(tmp_path: Path, uns: dict[str, Any], codes: dict[str, str]) -> None:
    assert outcome(told(tmp_path, uns=uns)) == codes


@pytest.mark.parametrize("pre_analysis", [True, False])
def test_an_embedding_is_needed_in_any_collection(tmp_path: Path, pre_analysis: bool) -> None:
    found = told(tmp_path, setting=Setting(pre_analysis=pre_analysis), obsm={"umap": np.ones((20, 2))})
    assert outcome(found) == {"obsm.embedding_missing": "error"}


def test_other_arrays_may_be_as_they_are(tmp_path: Path) -> None:
    obsm = {"X_umap": np.ones((20, 2)), "1st pass": np.full((20, 1), np.inf), "spatial": np.ones((20, 2))}
    assert told(tmp_path, obsm=obsm) == []


LABELS = ("assay", "cell_type", "development_stage", "disease", "ethnicity", "organism", "sex", "tissue")


def test_labels_are_reserved(tmp_path: Path) -> None:
    (found,) = told(tmp_path, obs=dict.fromkeys(LABELS[:3], "a label"))
    assert (found.code, found.where, found.examples) == ("labels.present", "obs", LABELS[:3])


def test_a_labelled_file_gets_one_finding(tmp_path: Path) -> None:
    def change(data: Any) -> None:
        for frame in (data.var, data.raw.var):
            frame["feature_name"], frame["feature_reference"] = "a", "NCBITaxon:9606"

    (found,) = told(tmp_path, change, obs=dict.fromkeys(LABELS, "a label"))
    assert (found.code, found.count) == ("file.labelled", len(LABELS) + 4)
    assert "by schema 2.0.0" in found.message


def test_labels_of_later_versions_are_free_names(tmp_path: Path) -> None:
    names = ("donor_id", "observation_joinid", "self_reported_ethnicity", "suspension_type", "tissue_type")
    assert told(tmp_path, obs=dict.fromkeys(names, "mine"), uns={"schema_reference": "mine"}) == []


@pytest.mark.parametrize("raw", [True, False])
def test_a_file_of_anndata_0_7_is_read_as_a_new_one(tmp_path: Path, raw: bool) -> None:
    path = written(tmp_path, raw=raw)
    new = report_on(path)
    old = report_on(rewrite_as_0_7(path))

    assert old.valid
    assert (old.findings, old.checked) == (new.findings, new.checked)


def test_a_wrong_encoding_is_told(tmp_path: Path) -> None:
    (found,) = told(tmp_path, edit=lambda file: file.attrs.update({"encoding-version": "9.9"}))
    assert (found.code, found.severity) == ("file.encoding", "error")


@pytest.mark.parametrize("modern", [False, True])
def test_real_cells(tmp_path: Path, modern: bool) -> None:
    path = shared_data("pbmc68k_schema2.0.0.h5ad")
    if modern:
        data = read_by_anndata(path)
        path = tmp_path / "modern.h5ad"
        data.write_h5ad(path)
    report = validate(LocalSource(path), OLD, scan=scanned(path, tmp_path))
    assert report.valid
    assert outcome(list(report.findings)) == {"var.few_genes": "warning"}


def test_real_cells_with_labels(tmp_path: Path) -> None:
    path = shared_data("pbmc68k_schema2.0.0_labelled.h5ad")
    report = validate(LocalSource(path), OLD, scan=scanned(path, tmp_path))
    assert outcome(list(report.findings)) == {"file.labelled": "error", "var.few_genes": "warning"}


@pytest.mark.parametrize("stated", ["2.0.0", "7.1.0", "1.0.0", 2.0, None, "x" * 100_000])
@pytest.mark.parametrize("allowed", [True, False])
def test_a_file_is_checked_by_the_version_that_it_states_where_that_is_allowed(
    tmp_path: Path, stated: Any, allowed: bool
) -> None:
    uns = {} if stated is None else {"schema_version": stated}
    path = written(tmp_path, uns=uns) if uns else written(tmp_path, lambda data: data.uns.pop("schema_version"))
    report = validate(LocalSource(path), NEW, *([OLD] if allowed else []))

    by_the_old_one = allowed and stated == "2.0.0"
    assert report.schema_version == ("2.0.0" if by_the_old_one else "7.1.0")
    assert report.valid == by_the_old_one
    assert report.reference["CL"].startswith("2021" if by_the_old_one else "v20")


def test_a_collection_may_list_every_version_and_has_the_newest_by_default() -> None:
    assert set(get_args(SchemaVersion)) == set(schema_versions())
    assert list(DEFAULT_SCHEMA_VERSIONS) == [schema_versions()[-1]]


def test_the_docs_show_what_is_found(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "validating.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"--schema 2\.0\.0 --json .*\n((?:(?:error|warning) .*\n)+)```", text)
    path = ROOT / "examples" / "pbmc68k.h5ad"
    report = validate(LocalSource(path), OLD, scan=scanned(path, tmp_path))

    assert shown.splitlines() == [f"{finding.severity} {finding.code}" for finding in report.findings]

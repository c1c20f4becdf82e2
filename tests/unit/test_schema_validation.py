"""The structural rules of schema 7.1.0, as a submitter meets them: a file goes in, a report comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from celldock.errors import TransientError
from celldock.h5ad.file import read_header
from celldock.h5ad.source import LocalSource
from celldock.report import FileFacts, Finding, Report
from celldock.schema import load_schema, schema_versions, validate
from celldock.schema.registry import rule
from celldock.schema.rules.columns import suggest_column
from tests import builders

SCHEMA = load_schema("7.1.0")


def report_on(path: Path) -> Report:
    return validate(LocalSource(path), SCHEMA)


def report_of(tmp_path: Path, change: Callable[[h5py.File], Any] | None = None, **options: Any) -> Report:
    path = builders.make_h5ad(tmp_path / "cells.h5ad", **options)
    if change:
        with h5py.File(path, "r+") as file:
            change(file)
    return report_on(path)


def errors(report: Report) -> list[Finding]:
    return [finding for finding in report.findings if finding.severity == "error"]


def found(report: Report, code: str) -> Finding:
    findings = [finding for finding in report.findings if finding.code == code]
    assert len(findings) == 1, [finding.code for finding in report.findings]
    assert not report.valid
    return findings[0]


@pytest.mark.parametrize("x", ["csr", "dense"])
@pytest.mark.parametrize("raw", [True, False])
def test_a_sound_file_is_valid_and_says_what_was_checked(tmp_path: Path, x: str, raw: bool) -> None:
    report = report_of(tmp_path, x=x, raw=raw)

    assert report.valid
    assert errors(report) == []
    assert report.reference["CL"].startswith("v20")
    assert "NCBITaxon:9606" in report.reference
    assert (report.schema_version, report.file) == ("7.1.0", FileFacts(name="cells.h5ad", size=report.file.size))
    assert {"x.shape", "obs.index.duplicates", "obs.donor_id.missing"} <= set(report.checked)
    assert ("raw.shape" in report.checked) == raw, "a rule without its input is skipped"
    assert (report.summary.n_obs, report.summary.n_vars) == (20, 10)
    assert (report.summary.x_encoding, report.summary.embeddings) == (x, ("X_umap",))
    assert (report.summary.nnz is None) == (x == "dense")
    assert set(report.summary.obs_columns) == set(builders.OBS)


def test_a_header_that_is_known_is_not_read_again(tmp_path: Path) -> None:
    source = LocalSource(builders.make_h5ad(tmp_path / "cells.h5ad"))
    facts = FileFacts(name="a.h5ad", size=source.size, key="lung/a.h5ad", version_id="v1", etag="e")
    report = validate(source, SCHEMA, header=read_header(source), facts=facts)
    assert report.valid
    assert report.file == facts


def test_a_file_that_cannot_be_read_gets_the_same_kind_of_report(tmp_path: Path) -> None:
    report = report_on(builders.make_truncated(tmp_path / "cells.h5ad"))
    finding = found(report, "file.truncated")
    assert finding.suggestion
    assert report.checked == ()
    assert report.summary.n_obs is None


def test_a_fault_of_the_source_is_no_finding(tmp_path: Path) -> None:
    class Unreachable(LocalSource):
        def read(self, offset: int, length: int) -> bytes:
            raise TransientError("S3 did not answer.", code="s3.unavailable")

    with pytest.raises(TransientError):
        validate(Unreachable(builders.make_h5ad(tmp_path / "cells.h5ad")), SCHEMA)


@pytest.mark.parametrize("column", builders.OBS)
def test_each_required_column_has_its_own_finding(tmp_path: Path, column: str) -> None:
    report = report_of(tmp_path, drop=[column])
    finding = found(report, f"obs.{column}.missing")
    assert (finding.where, finding.count) == (f"obs/{column}", 20)
    assert finding.schema_url.endswith(f"schema/7.1.0/schema.md#{column}")
    assert len(errors(report)) == 1


def test_everything_is_told_in_one_round(tmp_path: Path) -> None:
    report = report_of(
        tmp_path, drop=["donor_id", "tissue_type"], x=None, obsm={}, obs_names=["a", "a", *builders.cell_names(18)]
    )
    assert {finding.code for finding in errors(report)} == {
        "obs.donor_id.missing",
        "obs.tissue_type.missing",
        "x.missing",
        "obsm.embedding_missing",
        "obs.index.duplicates",
    }


@pytest.mark.parametrize(
    ("wanted", "present", "suggested"),
    [
        ("donor_id", "Donor ID", "rename it to 'donor_id'"),
        ("donor_id", "donor", "'donor' may hold what is asked for"),
        ("cell_type_ontology_term_id", "cell_type_ontology_term_ID", "rename it"),
        ("cell_type_ontology_term_id", "CellType", "'CellType' may hold the labels"),
        ("cell_type_ontology_term_id", "cell_types", "'cell_types' may hold"),
        ("self_reported_ethnicity_ontology_term_id", "ethnicity_ontology_term_id", "'ethnicity_ontology_term_id' may"),
        ("sex_ontology_term_id", "tissue_ontology_term_id", "adata.obs['sex_ontology_term_id']"),
        ("tissue_type", "disease", "adata.obs['tissue_type']"),
    ],
)
def test_a_column_that_looks_like_the_missing_one_is_suggested(wanted: str, present: str, suggested: str) -> None:
    assert suggested in suggest_column(wanted, ["n_counts", present], "obs")


def test_duplicate_cells_are_counted_and_named(tmp_path: Path) -> None:
    names = ["AAAC", "CCCT", "AAAC", "GGGA", "CCCT", "AAAC", *builders.cell_names(14)]
    finding = found(report_of(tmp_path, obs_names=names), "obs.index.duplicates")
    assert finding.count == 5
    assert finding.examples == ("AAAC (3 cells)", "CCCT (2 cells)")
    assert finding.where == "obs/_index"
    assert "obs_names_make_unique" in finding.suggestion


def test_duplicate_genes_are_found_in_var_and_in_raw(tmp_path: Path) -> None:
    report = report_of(tmp_path, var_names=["ENSG1", "ENSG1", *builders.gene_names(8)])
    assert found(report, "var.index.duplicates").examples == ("ENSG1 (2 genes)",)
    assert found(report, "raw.var.index.duplicates").where == "raw/var/_index"


def test_names_that_only_share_their_hash_are_not_duplicates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celldock.schema.rules.index.hash", len, raising=False)
    assert report_of(tmp_path).valid


def test_very_many_duplicates_are_counted_without_holding_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celldock.schema.rules.index._MAX_CONFIRMED", 3)
    monkeypatch.setattr("celldock.schema.rules.index._BLOCK", 7)
    finding = found(report_of(tmp_path, obs_names=[f"cell-{i // 2}" for i in range(20)]), "obs.index.duplicates")
    assert finding.count == 20
    assert len(finding.examples) == 3


@pytest.mark.parametrize(("options", "code"), [({"n_obs": 0}, "obs.empty"), ({"n_vars": 0}, "var.empty")])
def test_a_file_without_cells_or_genes_says_so(tmp_path: Path, options: dict[str, Any], code: str) -> None:
    finding = found(report_of(tmp_path, **options), code)
    assert "zero rows" in finding.message
    assert finding.suggestion


def _reshape(element: str, shape: list[int], indptr: int) -> Callable[[h5py.File], None]:
    def reshape(file: h5py.File) -> None:
        group = file[element]
        group.attrs["shape"] = shape
        pointers = group["indptr"][:]
        del group["indptr"]
        group["indptr"] = np.resize(pointers, indptr)

    return reshape


def _resize_obsm(file: h5py.File) -> None:
    del file["obsm/X_umap"]
    file["obsm/X_umap"] = np.zeros((7, 2))


def _lengthen_column(file: h5py.File) -> None:
    del file["obs/is_primary_data"]
    file["obs/is_primary_data"] = np.zeros(25, dtype=bool)


def _drop_root_encoding(file: h5py.File) -> None:
    del file.attrs["encoding-type"], file.attrs["encoding-version"]


def _repeat_column(file: h5py.File) -> None:
    file["obs"].attrs["column-order"] = [*file["obs"].attrs["column-order"], "donor_id"]


@pytest.mark.parametrize(
    ("change", "code", "where", "said"),
    [
        (_reshape("X", [18, 10], 19), "x.shape", "X", "18 cells × 10 genes"),
        (_reshape("X", [10, 20], 11), "x.shape", "X", "transposed"),
        (_reshape("X", [20, 11], 21), "x.shape", "X", "11 genes"),
        (lambda file: file.__delitem__("raw/X"), "raw.incomplete", "raw/X", "belong together"),
        (lambda file: file.__delitem__("raw/var"), "raw.incomplete", "raw/var", "belong together"),
        (_resize_obsm, "obsm.rows", "obsm/X_umap", "7 rows"),
        (_lengthen_column, "obs.columns.length", "obs/is_primary_data", "25 values for 20 cells"),
        (_repeat_column, "obs.columns.duplicate", "obs", "same name"),
        (lambda file: file.__delitem__("obs/donor_id"), "obs.columns.unreadable", "obs", "lists columns"),
        (_drop_root_encoding, "file.encoding", "", "before version 0.8"),
        (lambda file: file.attrs.__setitem__("encoding-version", "0.9"), "file.encoding", "", "anndata 0.9"),
    ],
)
def test_what_does_not_fit_together_is_told_with_its_place(
    tmp_path: Path, change: Callable[[h5py.File], Any], code: str, where: str, said: str
) -> None:
    finding = found(report_of(tmp_path, change), code)
    assert finding.where == where
    assert said in finding.message + finding.suggestion
    assert finding.suggestion
    assert finding.schema_url.startswith(SCHEMA.url + "#")


def test_raw_with_more_genes_than_x_is_told(tmp_path: Path) -> None:
    data = builders.make_anndata(n_vars=12)
    data[:, :10].copy().write_h5ad(tmp_path / "cells.h5ad")
    finding = found(report_on(tmp_path / "cells.h5ad"), "raw.shape")
    assert "12 genes" in finding.message
    assert "feature_is_filtered" in finding.suggestion


def test_a_layer_of_another_shape_is_told(tmp_path: Path) -> None:
    def shrink(file: h5py.File) -> None:
        file["layers/counts"] = np.zeros((20, 4))

    finding = found(report_of(tmp_path, shrink), "layers.shape")
    assert finding.where == "layers/counts"


NAMES = pd.Index(builders.cell_names(20), dtype=object)


@pytest.mark.parametrize(
    ("obsm", "code", "said"),
    [
        ({}, "obsm.embedding_missing", "X_umap"),
        ({"umap": np.zeros((20, 2))}, "obsm.embedding_missing", "rename it to 'X_umap'"),
        ({"X_umap": np.zeros((20, 1))}, "obsm.embedding_dimensions", "20 × 1"),
        ({"X_umap": np.zeros((20, 2, 2))}, "obsm.embedding_dimensions", "20 × 2 × 2"),
        ({"X_umap": np.zeros((20, 2), dtype=bool)}, "obsm.embedding_dtype", "bool"),
        ({"X_umap": sparse.csr_matrix(np.eye(20))}, "obsm.not_array", "sparse matrix"),
        ({"X_umap": pd.DataFrame({"a": range(20), "b": 0.0}, index=NAMES)}, "obsm.not_array", "data frame"),
    ],
)
def test_an_embedding_must_be_coordinates_of_every_cell(
    tmp_path: Path, obsm: dict[str, Any], code: str, said: str
) -> None:
    report = report_of(tmp_path, obsm=obsm)
    finding = found(report, code)
    assert said in finding.message + finding.suggestion
    assert len(errors(report)) == 1


def test_damaged_bytes_become_one_finding_and_the_other_rules_still_run(tmp_path: Path) -> None:
    def damage(file: h5py.File) -> None:
        del file["obs/_index"]
        index = file["obs"].create_dataset("_index", (20,), "S9", chunks=(20,), compression="gzip")
        index.id.write_direct_chunk((0,), b"not deflated at all")

    report = report_of(tmp_path, damage, drop=["donor_id"])
    assert found(report, "file.damaged").where == "obs/_index"
    assert found(report, "obs.donor_id.missing")
    assert "obs.index.duplicates" not in report.checked
    assert "var.index.duplicates" in report.checked


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("obs/is_primary_data", "obs.columns.damaged"),
        ("var/feature_is_filtered", "var.columns.damaged"),
        ("obsm/X_umap", "obsm.damaged"),
    ],
)
def test_damaged_values_are_found_before_anything_is_converted(tmp_path: Path, path: str, code: str) -> None:
    def damage(file: h5py.File) -> None:
        values = file[path][...]
        del file[path]
        dataset = file.create_dataset(path, values.shape, values.dtype, chunks=values.shape, compression="gzip")
        dataset.attrs["encoding-type"] = "array"
        dataset.attrs["encoding-version"] = "0.2.0"
        dataset.id.write_direct_chunk((0,) * values.ndim, b"not deflated at all")

    report = report_of(tmp_path, damage)
    assert found(report, code).where == path
    assert len(errors(report)) == 1


def test_our_own_mistake_in_a_rule_is_not_the_submitters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celldock.h5ad.file.H5adFile.column_length", lambda file, column: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        report_of(tmp_path)


def test_codes_are_unique_and_every_version_loads() -> None:
    assert schema_versions() == ("2.0.0", "7.1.0"), "the newest is last: by number, not by text"
    for version in schema_versions():
        schema = load_schema(version)
        codes = [applied.code for applied in schema.rules]
        assert len(codes) == len(set(codes))
        assert not any("{" in code for code in codes)


@pytest.mark.parametrize("version", ["9.9.9", "../7.1.0", ""])
def test_an_unknown_version_is_a_key_error(version: str) -> None:
    with pytest.raises(KeyError):
        load_schema(version)


def test_two_rules_cannot_share_a_name() -> None:
    def x_shape(_: Any) -> Iterator[Finding]:
        yield from ()

    with pytest.raises(ValueError, match="x_shape"):
        rule("x.other")(x_shape)


def test_a_file_without_a_plan_is_guarded_first(tmp_path: Path) -> None:
    path = builders.make_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(path, "a") as file:
        file["obs/of no column"] = h5py.ExternalLink("elsewhere.h5", "/data")
    report = validate(LocalSource(path), SCHEMA)
    assert [finding.code for finding in report.findings] == ["file.external_link"]

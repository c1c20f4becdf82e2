"""Rules about raw counts: where they are, and what they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from scipy import sparse

from celldock.h5ad.source import LocalSource
from celldock.report import Finding
from celldock.schema import Schema, load_schema, validate
from celldock.schema.loading import AppliedRule
from celldock.schema.registry import get_rule
from tests.builders import make_anndata, make_counts
from tests.scanning import scanned

SCHEMA = load_schema("7.1.0")
RNA, PAIRED, ATAC, ATAC_KIND = "EFO:0009922", "EFO:0030059", "EFO:0010891", "EFO:0030007"

type Change = Callable[[anndata.AnnData], Any]


def told(tmp_path: Path, change: Change | None = None, **options: Any) -> list[Finding]:
    """What is said of the raw counts of a sound file after a change."""
    data = make_anndata(**options)
    if change:
        change(data)
    path = tmp_path / "a.h5ad"
    data.write_h5ad(path)
    report = validate(LocalSource(path), SCHEMA, scan=scanned(path, tmp_path))
    return [finding for finding in report.findings if finding.code.startswith(("raw.", "x."))]


def raw_of(values: np.ndarray) -> Change:
    """Puts other values, of the same cells and genes, into raw.X."""

    def change(data: Any) -> None:
        data.raw = anndata.AnnData(sparse.csr_matrix(values), data.obs, data.raw.var)

    return change


def counts(*changes: tuple[int, int, float]) -> np.ndarray:
    """Counts of 20 cells and 10 genes, with other values for some cells and genes."""
    values = make_counts(20, 10, 0.4)
    for cell, gene, value in changes:
        values[cell, gene] = value
    return values


@pytest.mark.parametrize("assay", [RNA, PAIRED, ATAC, ATAC_KIND])
def test_counts_are_as_they_should_be(tmp_path: Path, assay: str) -> None:
    assert told(tmp_path, obs={"assay_ontology_term_id": assay}) == []


@pytest.mark.parametrize(
    ("values", "code", "count", "examples"),
    [
        (counts((3, 1, 0.5), (3, 2, 1.5), (7, 0, 2.5)), "not_integer", 3, ["cell-0003", "cell-0007"]),
        (counts((4, 1, -1)), "negative", 1, ["cell-0004"]),
        (counts((4, 1, np.nan)), "not_finite", 1, ["cell-0004"]),
        (counts((4, 1, np.inf)), "not_finite", 1, ["cell-0004"]),
        (counts(*((5, gene, 0) for gene in range(10))), "empty_cells", 1, ["cell-0005"]),
        (counts().astype(np.float64), "dtype", 1, []),
        (counts().astype(np.int64), "dtype", 1, []),
    ],
    ids=["fractions", "negative", "nan", "infinite", "empty", "float64", "int64"],
)
@pytest.mark.parametrize("assay", [RNA, PAIRED])
def test_wrong_counts(
    tmp_path: Path, values: np.ndarray, code: str, count: int, examples: Sequence[str], assay: str
) -> None:
    (found,) = told(tmp_path, raw_of(values), obs={"assay_ontology_term_id": assay})
    assert (found.code, found.where, found.count) == (f"raw.{code}", "raw/X", count)
    assert list(found.examples) == list(examples)
    assert found.suggestion


@pytest.mark.parametrize("assay", [ATAC, ATAC_KIND])
def test_assays_of_accessibility_need_no_counts(tmp_path: Path, assay: str) -> None:
    values = counts((3, 1, 0.5), (4, 1, -1), *((5, gene, 0) for gene in range(10)))
    values[11] = values[10]
    assert told(tmp_path, raw_of(values), obs={"assay_ontology_term_id": assay}) == []
    in_x = sparse.csr_matrix(values)
    assert told(tmp_path, lambda data: setattr(data, "X", in_x), raw=False, obs={"assay_ontology_term_id": assay}) == []


def test_one_cell_of_an_rna_assay_is_enough(tmp_path: Path) -> None:
    assays = [ATAC] * 19 + [RNA]
    (found,) = told(tmp_path, raw_of(counts((3, 1, 0.5))), obs={"assay_ontology_term_id": assays})
    assert found.code == "raw.not_integer"


def test_everything_wrong_with_counts_is_told_at_once(tmp_path: Path) -> None:
    values = counts((3, 1, 0.5), (4, 1, -1), *((5, gene, 0) for gene in range(10))).astype(np.float64)
    values[11] = values[10]
    codes = [finding.code for finding in told(tmp_path, raw_of(values))]
    assert codes == ["raw.dtype", "raw.not_integer", "raw.negative", "raw.empty_cells", "raw.identical_cells"]


def test_identical_cells_are_named_group_by_group(tmp_path: Path) -> None:
    values = counts()
    values[11] = values[10]
    values[[3, 17, 19]] = values[2]
    (found,) = told(tmp_path, raw_of(values))
    assert (found.code, found.count) == ("raw.identical_cells", 6)
    assert "in 2 groups" in found.message
    assert found.examples == ("cell-0002 = cell-0003", "cell-0010 = cell-0011")


def test_cells_without_counts_are_told_once(tmp_path: Path) -> None:
    values = counts()
    values[[3, 4]] = 0
    (found,) = told(tmp_path, raw_of(values))
    assert (found.code, found.count) == ("raw.empty_cells", 2)


def test_spots_outside_the_tissue_may_be_identical(tmp_path: Path) -> None:
    values = counts()
    values[[1, 2]] = values[0]
    values[[11]] = values[10]
    inside = np.arange(20) >= 10
    found = told(tmp_path, raw_of(values), obs={"in_tissue": inside.astype(int)})
    identical = [finding for finding in found if finding.code == "raw.identical_cells"]
    assert [(finding.count, finding.examples) for finding in identical] == [(2, ("cell-0010 = cell-0011",))]


def test_counts_in_x_are_checked_where_there_is_no_raw(tmp_path: Path) -> None:
    values = counts((4, 1, -1))
    values[11] = values[10]
    found = told(tmp_path, lambda data: setattr(data, "X", sparse.csr_matrix(values)), raw=False)
    assert [(finding.code, finding.where, finding.severity) for finding in found] == [
        ("raw.negative", "X", "error"),
        ("raw.identical_cells", "X", "error"),
        ("x.not_normalised", "X", "warning"),
    ]


def test_counts_that_are_missing_are_one_finding(tmp_path: Path) -> None:
    values = np.log1p(counts())
    values[[3, 4]] = 0
    (found,) = told(tmp_path, lambda data: setattr(data, "X", sparse.csr_matrix(values)), raw=False)
    assert (found.code, found.where) == ("raw.missing", "raw/X")
    assert found.examples[0] == "cell-0000"
    assert "before they were normalised" in found.suggestion


def test_the_layer_that_holds_counts_is_suggested(tmp_path: Path) -> None:
    layers = {"scaled": np.log1p(counts() + 1), "counts": sparse.csr_matrix(counts())}
    log = sparse.csr_matrix(np.log1p(counts()))
    (missing,) = told(tmp_path, lambda data: setattr(data, "X", log), raw=False, layers=layers)
    assert "layers/counts holds counts" in missing.suggestion
    (wrong,) = told(tmp_path, raw_of(np.log1p(counts())), layers=layers)
    assert (wrong.code, "adata.layers['counts']" in wrong.suggestion) == ("raw.not_integer", True)


def test_counts_in_x_and_normalised_values_in_raw_are_seen_through(tmp_path: Path) -> None:
    def swap(data: Any) -> None:
        raw_of(np.log1p(counts()))(data)
        data.X = sparse.csr_matrix(counts())

    (found,) = told(tmp_path, swap)
    assert (found.code, "X holds counts" in found.suggestion) == ("raw.not_integer", True)


def test_an_assay_that_nobody_knows_is_taken_for_one_of_rna(tmp_path: Path) -> None:
    (found,) = told(tmp_path, raw_of(counts((3, 1, 0.5))), obs={"assay_ontology_term_id": "10x 3' v3"})
    assert found.code == "raw.not_integer"


def test_without_assays_nothing_is_asked_of_counts(tmp_path: Path) -> None:
    assert told(tmp_path, raw_of(counts((3, 1, 0.5))), drop=["assay_ontology_term_id"]) == []


STATED = "uns.X_normalization.contradicts_raw"
NORMALIZATION = Schema(
    "2.0.0",
    "",
    "",
    (
        AppliedRule(
            get_rule("normalization_contradicts"),
            STATED,
            "error",
            "",
            {"none": "none", "without_raw": ["EFO:0007045"]},
        ),
    ),
)


@pytest.mark.parametrize(
    ("raw", "stated", "suggestion"),
    [
        (False, "none", ""),
        (True, "log1p", ""),
        (False, "log1p", "Set it to 'none' if X holds the raw counts"),
        (True, "none", "the method that made X"),
    ],
)
def test_what_is_stated_of_x_agrees_with_it(tmp_path: Path, raw: bool, stated: str, suggestion: str) -> None:
    path = tmp_path / "a.h5ad"
    make_anndata(raw=raw, uns={"X_normalization": stated}).write_h5ad(path)
    report = validate(LocalSource(path), NORMALIZATION, scan=scanned(path, tmp_path))
    assert report.checked == (STATED,)
    assert [suggestion in finding.suggestion for finding in report.findings] == ([True] if suggestion else [])

"""Rules about values: what the scan found becomes findings that name cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy import sparse

from celldock.h5ad.source import LocalSource
from celldock.report import Finding, Report
from celldock.schema import load_schema, validate
from tests.builders import MatrixKind, make_h5ad
from tests.scanning import scanned

SCHEMA = load_schema("7.1.0")
ENCODE: Mapping[MatrixKind, Callable[[np.ndarray], Any]] = {
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "dense": np.asarray,
}
RULES = {
    "matrices.damaged",
    *(f"{matrix}.{each}" for matrix in ("x", "raw") for each in ("not_finite", "explicit_zeros", "repeated_entries")),
    *(f"raw.{each}" for each in ("missing", "dtype", "not_integer", "negative", "empty_cells", "identical_cells")),
}


def report_on(path: Path) -> Report:
    return validate(LocalSource(path), SCHEMA, scan=scanned(path, path.parent))


def told(path: Path) -> list[Finding]:
    """What is said of matrices, without the hint at a normalised one."""
    return [
        finding
        for finding in report_on(path).findings
        if finding.code.startswith(("x.", "raw.", "layers.", "matrix.")) and finding.code != "x.not_normalised"
    ]


def write(path: Path, dataset: str, place: Any, value: float) -> None:
    with h5py.File(path, "r+") as file:
        found: Any = file[dataset]
        found[place] = value


def test_a_clean_file_is_checked_and_valid(tmp_path: Path) -> None:
    report = report_on(make_h5ad(tmp_path / "a.h5ad"))
    assert report.valid
    assert set(report.checked) >= RULES
    assert "layers.not_finite" not in report.checked, "there are no layers"


def test_without_a_scan_nothing_is_said_of_values(tmp_path: Path) -> None:
    report = validate(LocalSource(make_h5ad(tmp_path / "a.h5ad")), SCHEMA)
    assert report.valid
    assert not RULES & set(report.checked)


@pytest.mark.parametrize("x", ["csr", "csc", "dense"])
def test_values_that_are_not_finite_are_told_by_kind_and_cell(tmp_path: Path, x: MatrixKind) -> None:
    values = np.ones((20, 10), np.float32)
    values[[3, 3, 7], [1, 2, 3]] = np.nan
    values[7, 4] = np.inf
    values[9, 0] = -np.inf
    path = make_h5ad(tmp_path / "a.h5ad", raw=False, layers={"l": ENCODE[x](values)})

    (finding,) = (finding for finding in told(path) if finding.code == "layers.not_finite")
    assert (finding.code, finding.where, finding.count) == ("layers.not_finite", "layers/l", 5)
    assert "3 NaN in 2 cells and 1 infinite in 1 cell and 1 negative infinite in 1 cell" in finding.message
    assert finding.examples == ("cell-0003", "cell-0007", "cell-0009")
    assert finding.suggestion


@pytest.mark.parametrize(("dataset", "code"), [("X/data", "x.not_finite"), ("raw/X/data", "raw.not_finite")])
def test_the_matrix_is_named(tmp_path: Path, dataset: str, code: str) -> None:
    path = make_h5ad(tmp_path / "a.h5ad")
    write(path, dataset, 0, np.nan)
    (finding,) = told(path)
    assert (finding.code, finding.where) == (code, dataset.removesuffix("/data"))
    assert finding.examples == ("cell-0000",)


def test_examples_are_five_even_where_every_cell_is_wrong(tmp_path: Path) -> None:
    path = make_h5ad(tmp_path / "a.h5ad", n_obs=300, layers={"l": np.full((300, 10), np.nan)})
    (finding,) = told(path)
    assert finding.count == 3000
    assert finding.examples == tuple(f"cell-{i:04}" for i in range(5))


@pytest.mark.parametrize(
    ("dataset", "place", "value", "code"),
    [
        ("X/indices", 0, 10, "matrix.index_out_of_range"),
        ("raw/X/indices", 5, -1, "matrix.index_out_of_range"),
        ("X/indptr", 3, 10_000, "matrix.indptr_invalid"),
    ],
)
def test_a_structure_that_lies_is_a_finding_and_the_other_rules_still_speak(
    tmp_path: Path, dataset: str, place: int, value: int, code: str
) -> None:
    path = make_h5ad(tmp_path / "a.h5ad", drop=["donor_id"])
    write(path, dataset, place, value)

    report = report_on(path)

    assert [(finding.code, finding.where) for finding in report.findings if finding.severity == "error"] == [
        (code, dataset),
        ("obs.donor_id.missing", "obs/donor_id"),
    ]
    assert dataset.partition("/")[0].lower() + ".not_finite" not in report.checked


def layer_of(zeros: int) -> np.ndarray:
    """Values for 20 cells and 10 genes, of which so many are zeros."""
    values = np.ones(200, np.float32)
    values[:zeros] = 0
    return values.reshape(20, 10)


@pytest.mark.parametrize(
    ("stored", "zeros", "told_of"),
    [
        ("csr", 0, ""),
        ("csr", 200, ""),
        ("dense", 0, ""),
        ("dense", 99, ""),
        ("dense", 100, "50 % of its values are zeros"),
        ("dense", 199, "99.5 % of its values are zeros"),
        ("csc", 100, "no sparse matrix but CSR"),
        ("csc", 0, "no sparse matrix but CSR"),
    ],
)
def test_matrices_of_zeros_are_csr(tmp_path: Path, stored: MatrixKind, zeros: int, told_of: str) -> None:
    found = told(make_h5ad(tmp_path / "a.h5ad", layers={"l": ENCODE[stored](layer_of(zeros))}))
    assert [(finding.code, finding.where) for finding in found] == ([("layers.not_csr", "layers/l")] if told_of else [])
    if told_of:
        assert told_of in found[0].message
        assert found[0].suggestion == "Set adata.layers['l'] = scipy.sparse.csr_matrix(adata.layers['l'])."


def test_a_matrix_that_is_stored_by_columns_is_told_without_a_scan(tmp_path: Path) -> None:
    report = validate(LocalSource(make_h5ad(tmp_path / "a.h5ad", x="csc")), SCHEMA)
    assert [finding.code for finding in report.findings if finding.severity == "error"] == ["x.not_csr"]


def test_zeros_that_are_stored_are_counted(tmp_path: Path) -> None:
    values = sparse.csr_matrix(layer_of(150))
    values.data[:3] = 0
    (finding,) = told(make_h5ad(tmp_path / "a.h5ad", layers={"l": values}))
    assert (finding.code, finding.where, finding.count) == ("layers.explicit_zeros", "layers/l", 3)
    assert "adata.layers['l']" in finding.suggestion


def test_zeros_may_be_stored_where_most_values_are_none(tmp_path: Path) -> None:
    values = sparse.csr_matrix(layer_of(20))
    values.data[:3] = 0
    assert told(make_h5ad(tmp_path / "a.h5ad", layers={"l": values})) == []


def test_two_values_for_a_cell_and_a_gene_are_told(tmp_path: Path) -> None:
    path = make_h5ad(tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        indices: Any = file["X/indices"]
        indices[1] = indices[0]
    (finding,) = told(path)
    assert (finding.code, finding.where, finding.count) == ("x.repeated_entries", "X", 1)
    assert finding.examples == ("cell-0000",)


def test_one_layer_that_cannot_be_read_does_not_hide_what_another_has(tmp_path: Path) -> None:
    values = sparse.csr_matrix(layer_of(150))
    values.data[0] = np.nan
    path = make_h5ad(tmp_path / "a.h5ad", layers={"a": sparse.csr_matrix(layer_of(150)), "b": values})
    write(path, "layers/a/indices", 0, 1000)
    assert {finding.code for finding in told(path)} == {"matrix.index_out_of_range", "layers.not_finite"}

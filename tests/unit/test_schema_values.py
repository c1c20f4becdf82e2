"""Rules about values: what the scan found becomes findings that name cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from celldock.h5ad.source import LocalSource
from celldock.report import Report
from celldock.schema import load_schema, validate
from tests.builders import MatrixKind, make_h5ad
from tests.scanning import scanned

SCHEMA = load_schema("7.1.0")
RULES = {"matrices.damaged", "x.not_finite", "raw.not_finite"}


def report_on(path: Path) -> Report:
    return validate(LocalSource(path), SCHEMA, scan=scanned(path, path.parent))


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
    path = make_h5ad(tmp_path / "a.h5ad", x=x, raw=False, layers={"l": values})
    report = report_on(path)

    (finding,) = report.findings
    assert (finding.code, finding.where, finding.count) == ("layers.not_finite", "layers/l", 5)
    assert "3 NaN in 2 cells and 1 infinite in 1 cell and 1 negative infinite in 1 cell" in finding.message
    assert finding.examples == ("cell-0003", "cell-0007", "cell-0009")
    assert finding.suggestion


@pytest.mark.parametrize(("dataset", "code"), [("X/data", "x.not_finite"), ("raw/X/data", "raw.not_finite")])
def test_the_matrix_is_named(tmp_path: Path, dataset: str, code: str) -> None:
    path = make_h5ad(tmp_path / "a.h5ad")
    write(path, dataset, 0, np.nan)
    (finding,) = report_on(path).findings
    assert (finding.code, finding.where) == (code, dataset.removesuffix("/data"))
    assert finding.examples == ("cell-0000",)


def test_examples_are_five_even_where_every_cell_is_wrong(tmp_path: Path) -> None:
    path = make_h5ad(tmp_path / "a.h5ad", n_obs=300, layers={"l": np.full((300, 10), np.nan)})
    (finding,) = report_on(path).findings
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

    assert [(finding.code, finding.where) for finding in report.findings] == [
        (code, dataset),
        ("obs.donor_id.missing", "obs/donor_id"),
    ]
    assert dataset.partition("/")[0].lower() + ".not_finite" not in report.checked

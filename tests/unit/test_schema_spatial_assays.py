"""Rules about what each spatial assay needs: Visium's slides with their spots, arrays of beads, several sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.builders import make_h5ad
from tests.spatial import (
    BEADS,
    LARGE_SPOTS,
    LARGE_VISIUM,
    RNA,
    SPOTS,
    VISIUM,
    assay,
    changed,
    put,
    set_values,
    told,
    visium_options,
)


def test_the_large_slide_has_more_spots_and_a_larger_image(tmp_path: Path) -> None:
    options = visium_options(LARGE_SPOTS)
    options["obs"] |= {
        "assay_ontology_term_id": LARGE_VISIUM,
        "array_row": np.arange(LARGE_SPOTS) // 112,
        "array_col": np.arange(LARGE_SPOTS) % 112 * 2,
    }
    options["uns"]["spatial"]["section"]["images"]["hires"] = np.zeros((2, 4_000, 3), np.uint8)
    path = make_h5ad(tmp_path / "large.h5ad", **options)
    assert told(path, scan=True) == []

    with h5py.File(path, "r+") as file:
        assay(VISIUM)(file)
    codes = {found.code for found in told(path)}
    assert codes == {"obs.array_col.range", "obs.array_row.range", "uns.spatial.hires.size", "raw.visium_rows"}


def test_what_joins_several_sections_has_neither_positions_nor_a_library_and_is_no_primary_data(
    tmp_path: Path,
) -> None:
    findings = changed(tmp_path, put("uns/spatial/is_single", value=False))
    assert {found.code: found.count for found in findings} == {
        "obs.is_primary_data.not_single": SPOTS,
        "obs.array_col.not_expected": SPOTS,
        "obs.array_row.not_expected": SPOTS,
        "obs.in_tissue.not_expected": SPOTS,
        "uns.spatial.library.not_expected": 1,
    }


@pytest.mark.parametrize("term", [BEADS, RNA])
def test_what_is_no_visium_has_neither_positions_nor_a_library(tmp_path: Path, term: str) -> None:
    findings = changed(tmp_path, assay(term))
    uns = "uns.spatial.not_expected" if term == RNA else "uns.spatial.library.not_expected"
    assert {found.code for found in findings} == {
        uns,
        "obs.array_col.not_expected",
        "obs.array_row.not_expected",
        "obs.in_tissue.not_expected",
    }


def test_visium_without_saying_which_is_told_by_the_rule_on_assays_alone(
    tmp_path: Path,
) -> None:
    assert changed(tmp_path, assay("EFO:0010961")) == []


def test_an_array_of_beads_needs_no_library(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "obs": {"assay_ontology_term_id": BEADS},
        "obsm": {"spatial": np.zeros((20, 2))},
        "uns": {"spatial": {"is_single": True}},
    }
    assert told(make_h5ad(tmp_path / "a.h5ad", **options), scan=True) == []


@pytest.mark.parametrize(("spots", "suggested"), [(100, "raw_feature_bc_matrix"), (5_000, "joins several")])
def test_a_section_has_all_spots_of_its_slide(tmp_path: Path, spots: int, suggested: str) -> None:
    (finding,) = told(make_h5ad(tmp_path / "a.h5ad", **visium_options(spots)))
    assert (finding.code, finding.where) == ("raw.visium_rows", "raw/X")
    assert f"{spots:,} rows" in finding.message
    assert suggested in finding.suggestion


@pytest.mark.parametrize("raw", [True, False])
def test_spots_in_the_tissue_have_counts_and_some_outside_too(tmp_path: Path, raw: bool) -> None:
    path = make_h5ad(tmp_path / "a.h5ad", **visium_options(), raw=raw)
    matrix = "raw/X" if raw else "X"
    inside = np.arange(SPOTS) % 64 < 32
    empty = ~inside
    empty[[4, 70]] = True
    with h5py.File(path, "r+") as file:
        rows = np.repeat(np.arange(SPOTS), np.diff(file[f"{matrix}/indptr"][()]))
        set_values(f"{matrix}/data", empty[rows], 0)(file)

    findings = {found.code: found for found in told(path, scan=True)}

    assert set(findings) == {"raw.in_tissue_empty", "raw.off_tissue_empty"}
    assert findings["raw.in_tissue_empty"].examples == ("cell-0004", "cell-0070")
    assert findings["raw.in_tissue_empty"].where == matrix
    assert findings["raw.off_tissue_empty"].count == SPOTS // 2

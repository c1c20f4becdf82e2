"""Rules about obsm and its like: what a submitter reads about embeddings and coordinates in the tissue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from anndata.io import write_elem

from celldock.h5ad.source import LocalSource
from celldock.report import Finding
from celldock.schema import Setting, arrays, load_schema, validate
from tests.builders import make_h5ad

SCHEMA = load_schema("7.1.0")
SPATIAL_UNS = {"spatial": {"is_single": False}}
BEADS: Mapping[str, Any] = {
    "obs": {"assay_ontology_term_id": "EFO:0030062", "is_primary_data": False},
    "uns": SPATIAL_UNS,
}
SINGLE_BEADS: Mapping[str, Any] = {
    "obs": {"assay_ontology_term_id": "EFO:0030062"},
    "uns": {"spatial": {"is_single": True}},
}

type Change = Callable[[h5py.File], Any]


def told(path: Path, change: Change | None = None, *, setting: Setting | None = None, **options: Any) -> list[Finding]:
    """What is said of obsm, obsp, varm and varp of a file that is valid but for what is given."""
    make_h5ad(path, **options)
    if change:
        with h5py.File(path, "r+") as file:
            change(file)
    report = validate(LocalSource(path), SCHEMA, setting=setting)
    return [found for found in report.findings if found.code.startswith(("obsm.", "obsp.", "varm.", "varp."))]


def points(*changes: tuple[tuple[int, int], float]) -> np.ndarray:
    """Coordinates of 20 cells, changed at (row, column)."""
    values = np.arange(40, dtype=np.float32).reshape(20, 2)
    for place, value in changes:
        values[place] = value
    return values


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"obsm": {"X_umap": points(((3, 0), np.nan)), "X_PCA.1-a_b": np.zeros((20, 50))}},
        {"obsm": {"X_u": np.zeros((20, 2), np.uint8)}},
        {"obsm": {"X_u": np.zeros((20, 2), np.float16)}},
        {**BEADS, "obsm": {"spatial": points()}},
        {**BEADS, "obsm": {"X_umap": points()}},
        {**SINGLE_BEADS, "obsm": {"spatial": points()}},
    ],
)
def test_these_embeddings_are_as_they_should_be(tmp_path: Path, options: Any) -> None:
    assert told(tmp_path / "a.h5ad", **options) == []


@pytest.mark.parametrize(
    ("obsm", "code", "count", "said", "suggested"),
    [
        (
            {"X_umap": points(((3, 0), np.inf), ((3, 1), -np.inf), ((9, 0), np.inf))},
            "obsm.infinite",
            3,
            "2 cells",
            "",
        ),
        ({"X_umap": np.full((20, 2), np.nan)}, "obsm.all_nan", 20, "nothing but NaN", "del adata.obsm['X_umap']"),
        ({"X_umap": np.zeros((20, 2, 2))}, "obsm.embedding_dimensions", 1, "20 × 2 × 2", "two columns"),
        ({"X_umap": np.zeros((20, 1))}, "obsm.embedding_dimensions", 1, "20 × 1", "two columns"),
        ({"X_umap": np.zeros((20, 2), bool)}, "obsm.embedding_dtype", 1, "bool", "float32"),
        ({"X_umap": np.full((20, 2), "1")}, "obsm.embedding_dtype", 1, "str", "float32"),
        ({"X_": points()}, "obsm.key", 1, "'X_'", "the method"),
        ({"X_ umap": points()}, "obsm.key", 1, "letter after X_", "'X_umap'"),
        ({"X_2d t-SNE": points()}, "obsm.key", 1, "letter after X_", "'X_d_t-SNE'"),
        ({"X_spatial": points()}, "obsm.x_spatial", 1, "coordinates in the tissue", "rename it to 'spatial'"),
        ({"X_Spatial": points()}, "obsm.x_spatial", 1, "coordinates in the tissue", "rename it to 'spatial'"),
        ({}, "obsm.embedding_missing", 1, "no embedding", "scanpy.tl.umap"),
        ({"X_umap": points(), "spatial": points()}, "obsm.spatial.not_expected", 1, "Slide-seqV2", "del adata.obsm"),
    ],
)
def test_one_thing_is_wrong_with_an_embedding(
    tmp_path: Path, obsm: Any, code: str, count: int, said: str, suggested: str
) -> None:
    (finding,) = told(tmp_path / "a.h5ad", obsm=obsm)
    assert (finding.code, finding.count, finding.severity) == (code, count, "error")
    assert finding.where == "obsm" or finding.where.removeprefix("obsm/") in obsm
    assert said in finding.message
    assert suggested in finding.suggestion
    assert finding.schema_url.startswith(SCHEMA.url + "#")


def test_arrays_under_another_name_are_kept_but_the_submitter_is_warned(tmp_path: Path) -> None:
    obsm = {"X_umap": points(), "umap": points(((0, 0), np.inf)), "scores": np.full((20, 1), np.nan)}
    (finding,) = told(tmp_path / "a.h5ad", obsm=obsm)
    assert (finding.code, finding.severity, finding.count) == ("obsm.not_shown", "warning", 2)
    assert set(finding.examples) == {"umap", "scores"}


def test_other_names_must_be_well_formed_too(tmp_path: Path) -> None:
    findings = told(tmp_path / "a.h5ad", obsm={"X_umap": points(), "u m a p": points()})
    assert [(found.code, found.severity) for found in findings] == [
        ("obsm.key", "error"),
        ("obsm.not_shown", "warning"),
    ]
    assert "'u_m_a_p'" in findings[0].suggestion


def test_a_table_of_one_column_is_no_embedding_but_may_be_kept(tmp_path: Path) -> None:
    findings = told(tmp_path / "a.h5ad", obsm={"X_umap": points(), "depth": np.zeros((20, 1, 1))})
    assert [found.code for found in findings] == ["obsm.embedding_dimensions", "obsm.not_shown"]
    assert "table" in findings[0].message


@pytest.mark.parametrize("slot", ["obsm", "obsp", "varm", "varp"])
def test_arrays_without_values_are_told(tmp_path: Path, slot: str) -> None:
    rows = 10 if slot.startswith("var") else 20

    def add(file: h5py.File) -> None:
        write_elem(file[slot], "nothing", np.zeros((rows, 0)))

    findings = [found for found in told(tmp_path / "a.h5ad", add) if found.severity == "error"]
    assert [(found.code, found.where) for found in findings] == [(f"{slot}.empty", f"{slot}/nothing")]
    assert f"{rows} × 0" in findings[0].message


def test_a_file_without_cells_is_told_of_that_alone(tmp_path: Path) -> None:
    assert told(tmp_path / "a.h5ad", n_obs=0, obsm={"X_umap": np.zeros((0, 2))}) == []


@pytest.mark.parametrize("key", ["spatial", "Spatial"])
def test_coordinates_in_the_tissue_are_there_for_every_cell(tmp_path: Path, key: str) -> None:
    coordinates = points(((4, 0), np.nan), ((4, 1), np.nan), ((7, 1), np.nan))
    findings = told(tmp_path / "a.h5ad", **BEADS, obsm={"X_umap": points(), key: coordinates})
    finding = findings[0]
    assert (finding.code, finding.count) == ("obsm.spatial.nan", 2)
    assert finding.examples == ("cell-0004", "cell-0007")


@pytest.mark.parametrize(
    ("obsm", "suggested"),
    [
        ({"X_umap": points()}, "tissue_positions.csv"),
        ({"X_umap": points(), "Spatial": points()}, "obsm['Spatial']"),
    ],
)
def test_a_single_array_has_coordinates(tmp_path: Path, obsm: Any, suggested: str) -> None:
    finding = next(found for found in told(tmp_path / "a.h5ad", **SINGLE_BEADS, obsm=obsm) if found.severity == "error")
    assert (finding.code, finding.where) == ("obsm.spatial.missing", "obsm/spatial")
    assert suggested in finding.suggestion


def test_a_spatial_file_that_does_not_say_if_it_is_single_may_have_coordinates(tmp_path: Path) -> None:
    options = {"obs": {"assay_ontology_term_id": "EFO:0030062"}, "obsm": {"spatial": points()}}
    assert told(tmp_path / "a.h5ad", **options) == [], "another rule asks whether it is single, and then this one knows"


def test_a_single_array_before_analysis_has_no_coordinates(tmp_path: Path) -> None:
    before = Setting(pre_analysis=True)
    uns = {"spatial": {"is_single": True}}
    assert told(tmp_path / "a.h5ad", setting=before, obs=SINGLE_BEADS["obs"], uns=uns, obsm={}) == []


def test_a_spatial_file_still_needs_some_embedding(tmp_path: Path) -> None:
    findings = told(tmp_path / "a.h5ad", **BEADS, obsm={})
    assert [found.code for found in findings] == ["obsm.embedding_missing"]


def test_without_assays_an_embedding_is_asked_for(tmp_path: Path) -> None:
    findings = told(tmp_path / "a.h5ad", drop=["assay_ontology_term_id"], obsm={"spatial": points()})
    assert [found.code for found in findings] == ["obsm.embedding_missing"]


def test_values_are_judged_in_all_blocks_and_rows_are_counted_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "_BLOCK_BYTES", 7 * 8)
    places = [((row, 0), np.inf) for row in (2, 6, 7, 13, 14, 19)]
    (finding,) = told(tmp_path / "a.h5ad", obsm={"X_umap": points(*places)})
    assert finding.count == len(places)
    assert finding.examples == ("cell-0002", "cell-0006", "cell-0007", "cell-0013", "cell-0014")


def test_an_array_is_read_once_for_all_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = arrays.H5adFile.array

    def counting(self: Any, array: Any, start: int, stop: int) -> Any:
        read.append(array.key)
        return original(self, array, start, stop)

    monkeypatch.setattr(arrays.H5adFile, "array", counting)
    assert told(tmp_path / "a.h5ad", **SINGLE_BEADS, obsm={"X_umap": points(), "spatial": points()}) == []
    assert sorted(read) == ["X_umap", "spatial"]


def test_damaged_values_are_told_once(tmp_path: Path) -> None:
    path = tmp_path / "a.h5ad"
    make_h5ad(path, obsm={"X_umap": points()}, compression="gzip")
    with h5py.File(path, "r+") as file:
        dataset: Any = file["obsm/X_umap"]
        offset, size = dataset.id.get_chunk_info(0).byte_offset, dataset.id.get_chunk_info(0).size
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"\xff" * size)
    report = validate(LocalSource(path), SCHEMA)
    assert [found.code for found in report.findings if "obsm" in found.where] == ["obsm.damaged"]


@pytest.mark.parametrize("pre_analysis", [True, False])
@pytest.mark.parametrize("obsm", [{}, {"X_umap": np.ones((20, 2))}], ids=["without", "with"])
def test_a_pre_analysis_file_has_no_obsm(tmp_path: Path, pre_analysis: bool, obsm: dict[str, Any]) -> None:
    codes = {found.code for found in told(tmp_path / "a.h5ad", obsm=obsm, setting=Setting(pre_analysis=pre_analysis))}
    assert ("obsm.pre_analysis" in codes) == (pre_analysis and bool(obsm))
    assert ("obsm.embedding_missing" in codes) == (not pre_analysis and not obsm)

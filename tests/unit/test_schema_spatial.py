"""Rules about spatial files: Visium sections with their spots, images and scale factors, and arrays of beads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from anndata.io import write_elem

from celldock.h5ad.source import LocalSource
from celldock.report import Finding
from celldock.schema import load_schema, validate
from celldock.schema.spatial import MAX_LIBRARIES
from tests.builders import make_h5ad
from tests.scanning import scanned

SCHEMA = load_schema("7.1.0")
SPOTS, LARGE_SPOTS = 4_992, 14_336
VISIUM, LARGE_VISIUM, BEADS, RNA = "EFO:0022857", "EFO:0022860", "EFO:0030062", "EFO:0009922"
PREFIXES = ("uns.spatial.", "obs.array_", "obs.in_tissue.", "raw.visium", "raw.in_tissue", "raw.off_tissue")
IMAGES, FACTORS = "uns/spatial/section/images", "uns/spatial/section/scalefactors"

type Change = Callable[[h5py.File], Any]


def visium_options(spots: int = SPOTS) -> dict[str, Any]:
    """What makes a file one section of Visium: half of the spots lie in the tissue."""
    place = np.arange(spots)
    library = {
        "images": {
            "hires": np.zeros((2_000, 3, 3), np.uint8),
            "fullres": np.zeros((3, 4, 3), np.uint8),
        },
        "scalefactors": {"spot_diameter_fullres": 89.5, "tissue_hires_scalef": 0.17},
    }
    return {
        "n_obs": spots,
        "n_vars": 3,
        "obs": {
            "assay_ontology_term_id": VISIUM,
            "cell_type_ontology_term_id": "unknown",
            "suspension_type": "na",
            "array_row": place // 64 % 78,
            "array_col": place % 64 * 2,
            "in_tissue": (place % 64 < 32).astype(int),
        },
        "obsm": {"spatial": np.stack([place // 64, place % 64], axis=1)},
        "uns": {"spatial": {"is_single": True, "section": library}},
    }


@pytest.fixture(scope="module")
def section(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One section of Visium, as it should be."""
    return make_h5ad(tmp_path_factory.mktemp("visium") / "section.h5ad", **visium_options())


@pytest.fixture
def changed(section: Path, tmp_path: Path) -> Callable[..., list[Finding]]:
    """What is said of the section after a change; with `scan` also of its values."""

    def change_and_validate(change: Change | None = None, *, scan: bool = False) -> list[Finding]:
        path = tmp_path / "section.h5ad"
        shutil.copy(section, path)
        if change:
            with h5py.File(path, "r+") as file:
                change(file)
        return told(path, scan=scan)

    return change_and_validate


def told(path: Path, *, scan: bool = False) -> list[Finding]:
    report = validate(LocalSource(path), SCHEMA, scan=scanned(path, path.parent) if scan else None)
    return [
        found
        for found in report.findings
        if found.code.startswith(PREFIXES) or found.code == "obs.is_primary_data.not_single"
    ]


def put(path: str, value: Any) -> Change:
    """Writes an element as AnnData does, in place of what is there."""
    parent, _, name = path.rpartition("/")
    return lambda file: write_elem(file[parent], name, value)


def leave_out(*paths: str) -> Change:
    def change(file: h5py.File) -> None:
        for path in paths:
            del file[path]
            if path.startswith("obs/"):
                columns = [name for name in file["obs"].attrs["column-order"] if f"obs/{name}" not in paths]
                file["obs"].attrs["column-order"] = np.array(columns, object)

    return change


def set_values(path: str, rows: Any, value: Any) -> Change:
    def change(file: h5py.File) -> None:
        values = file[path][()]
        values[rows] = value
        file[path][...] = values

    return change


def all_of(*changes: Change) -> Change:
    return lambda file: [change(file) for change in changes]


def assay(term: str) -> Change:
    return lambda file: file["obs/assay_ontology_term_id/categories"].__setitem__(0, term)


def test_a_section_of_visium_is_as_it_should_be(changed: Callable[..., list[Finding]]) -> None:
    assert changed(scan=True) == []


@pytest.mark.parametrize(
    "change",
    [
        put(f"{IMAGES}/hires", np.zeros((4, 2_000, 4), np.uint8)),
        set_values("obs/in_tissue", slice(None), 1),
        lambda file: write_elem(file["obs"], "in_tissue", file["obs/in_tissue"][()].astype(np.uint8)),
    ],
)
def test_sections_may_vary(changed: Callable[..., list[Finding]], change: Change) -> None:
    assert changed(change) == []


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


@pytest.mark.parametrize(
    ("change", "code", "where", "said", "suggested"),
    [
        (leave_out("uns/spatial"), "uns.spatial.missing", "uns/spatial", "spatial", "{'is_single': True}"),
        (put("uns/spatial", "yes"), "uns.spatial.type", "uns/spatial", "dictionary", "{'is_single': True}"),
        (
            leave_out("uns/spatial/is_single"),
            "uns.spatial.is_single.missing",
            "uns/spatial/is_single",
            "no 'is_single'",
            "['is_single'] = True",
        ),
        (
            put("uns/spatial/is_single", 1),
            "uns.spatial.is_single.type",
            "uns/spatial/is_single",
            "neither True nor False",
            "= True.",
        ),
        (
            put("uns/spatial/is_single", "False"),
            "uns.spatial.is_single.type",
            "uns/spatial/is_single",
            "neither",
            "= False.",
        ),
        (
            put("uns/spatial/is_single", np.array([True])),
            "uns.spatial.is_single.type",
            "uns/spatial/is_single",
            "neither",
            "one Visium section",
        ),
        (
            lambda file: file.copy("uns/spatial/section", "uns/spatial/other"),
            "uns.spatial.libraries",
            "uns/spatial",
            "2 keys",
            "a file of its own",
        ),
        (leave_out("uns/spatial/section"), "uns.spatial.library.missing", "uns/spatial", "no library", "read_visium"),
        (
            put("uns/spatial/section", "a"),
            "uns.spatial.library.type",
            "uns/spatial/section",
            "a text",
            "del adata.uns['spatial']['section']",
        ),
        (
            put("uns/spatial/section/metadata", "a"),
            "uns.spatial.library.extra_keys",
            "uns/spatial/section",
            "'images' and 'scalefactors'",
            "del adata.uns['spatial']['section']['metadata']",
        ),
        (leave_out(IMAGES), "uns.spatial.images.missing", IMAGES, "library", "'hires'"),
        (put(IMAGES, np.zeros(3)), "uns.spatial.images.type", IMAGES, "an array of float64", "'hires'"),
        (
            put(f"{IMAGES}/lowres", np.zeros((2, 2, 3), np.uint8)),
            "uns.spatial.images.extra_keys",
            IMAGES,
            "nothing else",
            "['images']['lowres']",
        ),
        (leave_out(f"{IMAGES}/hires"), "uns.spatial.hires.missing", f"{IMAGES}/hires", "no 'hires'", "hires_image.png"),
        (
            put(f"{IMAGES}/hires", np.zeros((2_000, 2, 3), np.float32)),
            "uns.spatial.hires.type",
            f"{IMAGES}/hires",
            "float32",
            "* 255",
        ),
        (put(f"{IMAGES}/fullres", "a.tif"), "uns.spatial.fullres.type", f"{IMAGES}/fullres", "a text", "uint8"),
        (
            put(f"{IMAGES}/hires", np.zeros((3, 2_000, 2_000), np.uint8)),
            "uns.spatial.hires.shape",
            f"{IMAGES}/hires",
            "3 × 2000 × 2000",
            "moveaxis",
        ),
        (
            put(f"{IMAGES}/fullres", np.zeros((4, 5), np.uint8)),
            "uns.spatial.fullres.shape",
            f"{IMAGES}/fullres",
            "4 × 5",
            "stack",
        ),
        (
            put(f"{IMAGES}/hires", np.zeros((1_999, 2, 3), np.uint8)),
            "uns.spatial.hires.size",
            f"{IMAGES}/hires",
            "1,999 pixels, but 2,000",
            "neither resized nor cropped",
        ),
        (leave_out(FACTORS), "uns.spatial.scalefactors.missing", FACTORS, "library", "spot_diameter_fullres"),
        (put(FACTORS, 1.0), "uns.spatial.scalefactors.type", FACTORS, "float64", "scalefactors_json.json"),
        (
            put(f"{FACTORS}/tissue_lowres_scalef", 0.05),
            "uns.spatial.scalefactors.extra_keys",
            FACTORS,
            "nothing else",
            "['tissue_lowres_scalef']",
        ),
        (
            leave_out(f"{FACTORS}/tissue_hires_scalef"),
            "uns.spatial.tissue_hires_scalef.missing",
            f"{FACTORS}/tissue_hires_scalef",
            "no 'tissue_hires_scalef'",
            "scalefactors_json.json",
        ),
        (
            put(f"{FACTORS}/spot_diameter_fullres", 89),
            "uns.spatial.spot_diameter_fullres.type",
            f"{FACTORS}/spot_diameter_fullres",
            "int64",
            "float(value)",
        ),
        (
            put(f"{FACTORS}/spot_diameter_fullres", np.array([89.5])),
            "uns.spatial.spot_diameter_fullres.type",
            f"{FACTORS}/spot_diameter_fullres",
            "an array",
            "scalefactors_json.json",
        ),
        (leave_out("obs/array_row"), "obs.array_row.missing", "obs/array_row", "is missing", "tissue_positions.csv"),
        (
            lambda file: write_elem(file["obs"], "array_col", file["obs/array_col"][()].astype("f8")),
            "obs.array_col.type",
            "obs/array_col",
            "float64",
            "astype('int64')",
        ),
        (set_values("obs/array_row", 7, 78), "obs.array_row.range", "obs/array_row", "0 to 77 for 1 cell", ""),
        (set_values("obs/in_tissue", [3, 4], 2), "obs.in_tissue.range", "obs/in_tissue", "0 to 1 for 2 cells", ""),
        (
            set_values("obs/array_col", 3, -1),
            "obs.array_col.range",
            "obs/array_col",
            "0 to 127",
            "tissue_positions.csv",
        ),
    ],
)
def test_one_thing_is_wrong_with_a_section(
    changed: Callable[..., list[Finding]], change: Change, code: str, where: str, said: str, suggested: str
) -> None:
    (finding,) = changed(change)
    assert (finding.code, finding.where, finding.severity) == (code, where, "error")
    assert said in finding.message
    assert suggested in finding.suggestion
    assert finding.schema_url.startswith(SCHEMA.url + "#")


def test_a_full_image_is_recommended(changed: Callable[..., list[Finding]]) -> None:
    (finding,) = changed(leave_out(f"{IMAGES}/fullres"))
    assert (finding.code, finding.severity) == ("uns.spatial.fullres.missing", "warning")


def test_a_part_under_another_name_is_recognised(changed: Callable[..., list[Finding]]) -> None:
    findings = {found.code: found for found in changed(lambda file: file.move(f"{IMAGES}/hires", f"{IMAGES}/Hires"))}
    assert set(findings) == {"uns.spatial.hires.missing", "uns.spatial.images.extra_keys"}
    assert "'Hires'" in findings["uns.spatial.hires.missing"].suggestion


def test_positions_without_a_value_are_told_with_their_type(changed: Callable[..., list[Finding]]) -> None:
    values = np.zeros(SPOTS)
    values[[5, 9]] = np.nan

    findings = changed(lambda file: write_elem(file["obs"], "in_tissue", values))

    assert {found.code: found.count for found in findings} == {
        "obs.in_tissue.values_missing": 2,
        "obs.in_tissue.type": SPOTS,
    }
    assert "cell-0005" in findings[-1].examples or "cell-0005" in findings[0].examples


def test_swapped_rows_and_columns_are_recognised(changed: Callable[..., list[Finding]]) -> None:
    def swap(file: h5py.File) -> None:
        rows, columns = file["obs/array_row"][()], file["obs/array_col"][()]
        file["obs/array_row"][...], file["obs/array_col"][...] = columns, rows

    (finding,) = changed(swap)
    assert finding.code == "obs.array_row.range"
    assert finding.examples[0] == "78 (78 cells)"
    assert "array_row and array_col were swapped" in finding.suggestion


def test_all_that_is_wrong_is_told_at_once(changed: Callable[..., list[Finding]]) -> None:
    findings = changed(
        all_of(
            leave_out("obs/array_col", f"{IMAGES}/hires", f"{FACTORS}/tissue_hires_scalef"),
            put(f"{IMAGES}/lowres", np.zeros((2, 2, 3), np.uint8)),
            set_values("obs/in_tissue", 1, 3),
        )
    )
    assert {found.code for found in findings} == {
        "obs.array_col.missing",
        "obs.in_tissue.range",
        "uns.spatial.images.extra_keys",
        "uns.spatial.hires.missing",
        "uns.spatial.tissue_hires_scalef.missing",
    }


def test_what_joins_several_sections_has_neither_positions_nor_a_library_and_is_no_primary_data(
    changed: Callable[..., list[Finding]],
) -> None:
    findings = changed(put("uns/spatial/is_single", value=False))
    assert {found.code: found.count for found in findings} == {
        "obs.is_primary_data.not_single": SPOTS,
        "obs.array_col.not_expected": SPOTS,
        "obs.array_row.not_expected": SPOTS,
        "obs.in_tissue.not_expected": SPOTS,
        "uns.spatial.library.not_expected": 1,
    }


@pytest.mark.parametrize("term", [BEADS, RNA])
def test_what_is_no_visium_has_neither_positions_nor_a_library(
    changed: Callable[..., list[Finding]], term: str
) -> None:
    findings = changed(assay(term))
    uns = "uns.spatial.not_expected" if term == RNA else "uns.spatial.library.not_expected"
    assert {found.code for found in findings} == {
        uns,
        "obs.array_col.not_expected",
        "obs.array_row.not_expected",
        "obs.in_tissue.not_expected",
    }


def test_visium_without_saying_which_is_told_by_the_rule_on_assays_alone(
    changed: Callable[..., list[Finding]],
) -> None:
    assert changed(assay("EFO:0010961")) == []


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


def test_libraries_without_end_do_not_make_a_report_without_end(changed: Callable[..., list[Finding]]) -> None:
    def add(file: h5py.File) -> None:
        for number in range(50):
            file.copy("uns/spatial/section", f"uns/spatial/section{number:02}")
            del file[f"uns/spatial/section{number:02}/images"]

    findings = changed(add)
    assert findings[0].count == 51
    assert len(findings) <= 1 + MAX_LIBRARIES

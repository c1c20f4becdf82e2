"""Rules about a section of Visium: its positions, images and scale factors."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from anndata.io import write_elem

from celldock.schema.spatial import MAX_LIBRARIES
from tests.spatial import FACTORS, IMAGES, SCHEMA, SPOTS, Change, all_of, changed, leave_out, put, set_values


def test_a_section_of_visium_is_as_it_should_be(tmp_path: Path) -> None:
    assert changed(tmp_path, scan=True) == []


@pytest.mark.parametrize(
    "change",
    [
        put(f"{IMAGES}/hires", np.zeros((4, 2_000, 4), np.uint8)),
        set_values("obs/in_tissue", slice(None), 1),
        lambda file: write_elem(file["obs"], "in_tissue", file["obs/in_tissue"][()].astype(np.uint8)),
    ],
)
def test_sections_may_vary(tmp_path: Path, change: Change) -> None:
    assert changed(tmp_path, change) == []


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
    tmp_path: Path, change: Change, code: str, where: str, said: str, suggested: str
) -> None:
    (finding,) = changed(tmp_path, change)
    assert (finding.code, finding.where, finding.severity) == (code, where, "error")
    assert said in finding.message
    assert suggested in finding.suggestion
    assert finding.schema_url.startswith(SCHEMA.url + "#")


def test_a_full_image_is_recommended(tmp_path: Path) -> None:
    (finding,) = changed(tmp_path, leave_out(f"{IMAGES}/fullres"))
    assert (finding.code, finding.severity) == ("uns.spatial.fullres.missing", "warning")


def test_a_part_under_another_name_is_recognised(tmp_path: Path) -> None:
    findings = changed(tmp_path, lambda file: file.move(f"{IMAGES}/hires", f"{IMAGES}/Hires"))
    suggestions = {found.code: found.suggestion for found in findings}
    assert set(suggestions) == {"uns.spatial.hires.missing", "uns.spatial.images.extra_keys"}
    assert "'Hires'" in suggestions["uns.spatial.hires.missing"]


def test_positions_without_a_value_are_told_with_their_type(tmp_path: Path) -> None:
    values = np.zeros(SPOTS)
    values[[5, 9]] = np.nan

    findings = changed(tmp_path, lambda file: write_elem(file["obs"], "in_tissue", values))

    assert {found.code: found.count for found in findings} == {
        "obs.in_tissue.values_missing": 2,
        "obs.in_tissue.type": SPOTS,
    }
    assert "cell-0005" in findings[-1].examples or "cell-0005" in findings[0].examples


def test_swapped_rows_and_columns_are_recognised(tmp_path: Path) -> None:
    def swap(file: h5py.File) -> None:
        rows, columns = file["obs/array_row"][()], file["obs/array_col"][()]
        file["obs/array_row"][...], file["obs/array_col"][...] = columns, rows

    (finding,) = changed(tmp_path, swap)
    assert finding.code == "obs.array_row.range"
    assert finding.examples[0] == "78 (78 cells)"
    assert "array_row and array_col were swapped" in finding.suggestion


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    findings = changed(
        tmp_path,
        all_of(
            leave_out("obs/array_col", f"{IMAGES}/hires", f"{FACTORS}/tissue_hires_scalef"),
            put(f"{IMAGES}/lowres", np.zeros((2, 2, 3), np.uint8)),
            set_values("obs/in_tissue", 1, 3),
        ),
    )
    assert {found.code for found in findings} == {
        "obs.array_col.missing",
        "obs.in_tissue.range",
        "uns.spatial.images.extra_keys",
        "uns.spatial.hires.missing",
        "uns.spatial.tissue_hires_scalef.missing",
    }


def test_libraries_without_end_do_not_make_a_report_without_end(tmp_path: Path) -> None:
    def add(file: h5py.File) -> None:
        for number in range(50):
            file.copy("uns/spatial/section", f"uns/spatial/section{number:02}")
            del file[f"uns/spatial/section{number:02}/images"]

    findings = changed(tmp_path, add)
    assert findings[0].count == 51
    assert len(findings) <= 1 + MAX_LIBRARIES

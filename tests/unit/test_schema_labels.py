"""What the portal adds must not be in what is submitted: the findings on reserved names, and on a labelled file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from celldock.report import Finding
from tests.changing import findings_of, valid_file

OF_ALL_FILES = [
    "obs/assay",
    "obs/cell_type",
    "obs/development_stage",
    "obs/disease",
    "obs/self_reported_ethnicity",
    "obs/sex",
    "obs/tissue",
]
OF_GENES = ["feature_name", "feature_reference", "feature_biotype", "feature_length", "feature_type"]
MARKS = ["obs/observation_joinid", "uns/citation", "uns/schema_reference", "uns/schema_version"]
OTHERS = [
    *OF_ALL_FILES,
    "obs/experimental_condition",
    "obs/perturbation_types",
    *(f"var/{name}" for name in OF_GENES),
    *(f"raw/var/{name}" for name in OF_GENES),
    "uns/is_pre_analysis",
    "uns/organism",
    "uns/genetic_perturbations/guide-1/derived_features",
    "uns/genetic_perturbations/guide-1/derived_genomic_regions",
]


def findings(folder: Path, added: Iterable[str], version: str = "7.1.0") -> list[Finding]:
    """What is found in a valid file to which these columns and keys were added."""
    path = folder / "cells.h5ad"
    path.write_bytes(valid_file())
    with h5py.File(path, "r+") as file:
        for place in added:
            where, name = place.rsplit("/", 1)
            root: Any = file
            group = root.require_group(where)
            if where.startswith("uns"):
                anndata.io.write_elem(group, name, version)
            else:
                anndata.io.write_elem(group, name, pd.Categorical(["x"] * len(group["_index"])))
                group.attrs["column-order"] = [*group.attrs["column-order"], name]
        for group in (file["uns"], *(g for g in file["uns"].values() if isinstance(g, h5py.Group))):
            group.attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
        for guide in file["uns"].get("genetic_perturbations", {}).values():
            guide.attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
    return findings_of(path, ("file.labelled", "labels."))


def test_a_file_without_labels_gets_no_finding(tmp_path: Path) -> None:
    assert findings(tmp_path, ["obs/author_cell_type", "var/gene_name", "uns/reference"]) == []


def test_there_are_27_labels() -> None:
    assert len({*MARKS, *OTHERS}) == 27


@pytest.mark.parametrize("place", OTHERS)
def test_each_reserved_name_is_told(tmp_path: Path, place: str) -> None:
    (finding,) = findings(tmp_path, [place])
    where = place.rsplit("/", 2 if "guide-1" in place else 1)[0]
    assert (finding.code, finding.where, finding.count) == ("labels.present", where, 1)
    assert finding.examples == (place.removeprefix(f"{where}/"),)
    assert f"'author_{place.rsplit('/', 1)[-1]}'" in finding.suggestion


def test_reserved_names_are_told_once_for_each_place(tmp_path: Path) -> None:
    found = findings(tmp_path, ["obs/cell_type", "obs/sex", "var/feature_name"])
    assert [(finding.where, finding.count) for finding in found] == [("obs", 2), ("var", 1)]


@pytest.mark.parametrize("place", MARKS)
def test_a_mark_of_the_portal_says_that_the_file_is_labelled(tmp_path: Path, place: str) -> None:
    (finding,) = findings(tmp_path, [place, "obs/cell_type"])
    assert (finding.code, finding.where, finding.count) == ("file.labelled", "", 2)
    assert "celldock label --remove" in finding.suggestion


def test_a_labelled_file_gets_one_finding_and_not_27(tmp_path: Path) -> None:
    (finding,) = findings(tmp_path, [*MARKS, *OTHERS], version="5.2.0")
    assert (finding.code, finding.count) == ("file.labelled", 27)
    assert "labelled by schema 5.2.0" in finding.message


@pytest.mark.parametrize(("stated", "offered"), [("2.0.0", True), ("5.2.0", False)])
def test_a_file_of_another_version_may_be_checked_by_that(tmp_path: Path, stated: str, offered: bool) -> None:
    (finding,) = findings(tmp_path, ["uns/schema_version"], version=stated)
    assert ("checked by schema 2.0.0" in finding.suggestion) == offered


def test_all_usual_labels_say_that_the_file_is_labelled_though_it_does_not_bear_a_mark(tmp_path: Path) -> None:
    assert [finding.code for finding in findings(tmp_path, OF_ALL_FILES)] == ["file.labelled"]
    assert [finding.code for finding in findings(tmp_path, OF_ALL_FILES[1:])] == ["labels.present"]


def test_a_schema_version_that_is_no_text_is_a_mark_too(tmp_path: Path) -> None:
    path = tmp_path / "cells.h5ad"
    path.write_bytes(valid_file())
    with h5py.File(path, "r+") as file:
        anndata.io.write_elem(file["uns"], "schema_version", np.arange(3))
    (finding,) = findings_of(path, ("file.labelled", "labels."))
    assert finding.code == "file.labelled"

"""A file labelled whole: appended to where it can be, written anew where it has to be; and its labels taken off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pytest

from celldock.h5ad.accounting.accounting import account
from celldock.h5ad.source import LocalSource
from celldock.labelling import Labelled, label_file, unlabel_file
from celldock.schema import load_schema
from celldock.validating import validate_file
from tests.builders import make_h5ad

SCHEMA = load_schema("7.1.0")
SECRET = "patient Zacharias"


def labelled(path: Path, out: Path) -> Labelled:
    with label_file(LocalSource(path), SCHEMA, scratch=out.parent) as found:
        with out.open("wb") as file:
            found.file.write_to(file)
        return found


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return make_h5ad(tmp_path / "cells.h5ad")


def assert_labelled(path: Path, original: Path) -> None:
    """AnnData reads the labels, and of all else what was there before."""
    now: Any = anndata.read_h5ad(path)
    before: Any = anndata.read_h5ad(original)
    assert {"cell_type", "observation_joinid"} <= set(now.obs)
    assert {"feature_name", "feature_type"} <= set(now.var)
    assert now.uns["schema_version"] == "7.1.0"
    assert now.obs[list(before.obs)].equals(before.obs)
    assert now.var[list(before.var)].equals(before.var)
    assert abs(now.X - before.X).sum() == 0


def test_a_clean_file_is_appended_to_and_keeps_its_bytes(cells: Path, tmp_path: Path) -> None:
    out = tmp_path / "labelled.h5ad"
    found = labelled(cells, out)

    assert_labelled(out, cells)
    assert found.is_of_original
    assert found.additivity.kept_datasets == found.to_json()["additivity"]["kept_datasets"] > 0
    content, before = out.read_bytes(), cells.read_bytes()
    same = sum(a == b for a, b in zip(content, before, strict=False))
    assert len(before) - same <= found.additivity.changed_bytes
    assert account(LocalSource(out)).clean


def test_what_was_deleted_is_not_published(cells: Path, tmp_path: Path) -> None:
    with h5py.File(cells, "r+") as file:
        anndata.io.write_elem(file["obs"], "secret", np.array([SECRET] * 20, object))
        del file["obs/secret"]
    assert SECRET.encode() in cells.read_bytes()

    out = tmp_path / "labelled.h5ad"
    found = labelled(cells, out)

    assert_labelled(out, cells)
    assert SECRET.encode() not in out.read_bytes()
    assert not found.is_of_original
    assert found.repacking
    assert "belong to nothing" in found.repacking.reason
    assert found.repacking.compared_bytes > 0
    assert account(LocalSource(out)).clean


def test_a_file_that_cannot_be_appended_to_is_written_anew(cells: Path, tmp_path: Path) -> None:
    with cells.open("ab") as file:
        file.write(bytes(100))

    out = tmp_path / "labelled.h5ad"
    found = labelled(cells, out)

    assert_labelled(out, cells)
    assert found.repacking
    assert found.to_json()["repacking"]["reason"] == found.repacking.reason != ""


def test_the_same_file_gets_the_same_bytes(cells: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.h5ad", tmp_path / "second.h5ad"
    labelled(cells, first)
    labelled(cells, second)
    assert first.read_bytes() == second.read_bytes()


def test_a_file_without_its_labels_is_valid_again_and_clean(cells: Path, tmp_path: Path) -> None:
    out, back = tmp_path / "labelled.h5ad", tmp_path / "back.h5ad"
    labelled(cells, out)
    assert not validate_file(LocalSource(out), SCHEMA, scratch=tmp_path).valid

    with unlabel_file(LocalSource(out), SCHEMA, scratch=tmp_path) as found:
        back.write_bytes(found.read(0, found.size))

    assert validate_file(LocalSource(back), SCHEMA, scratch=tmp_path).valid
    assert account(LocalSource(back)).clean
    before, now = anndata.read_h5ad(cells), anndata.read_h5ad(back)
    assert now.obs.equals(before.obs)
    assert now.uns.keys() == before.uns.keys()

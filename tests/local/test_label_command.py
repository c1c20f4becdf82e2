"""`celldock label` as a user runs it: a file, another file, an exit code, and what is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import anndata
import h5py
import pytest

from celldock.h5ad.source import LocalSource
from celldock.schema import load_schema
from celldock.validating import validate_file
from tests.builders import make_h5ad, make_with_external_link

COMMAND = [sys.executable, "-m", "celldock_cli.main", "label"]


def label(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out" / "labelled.h5ad"


@pytest.fixture
def cells(tmp_path: Path, out: Path) -> Path:
    out.parent.mkdir()
    return make_h5ad(tmp_path / "cells.h5ad")


def test_a_valid_file_is_labelled_into_another(cells: Path, out: Path) -> None:
    before = cells.read_bytes()
    done = label(cells, "-o", out)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("labelled.h5ad is labelled by schema 7.1.0.\n")
    assert "cell_type" in anndata.read_h5ad(out).obs
    assert cells.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == [out.name], "nothing else is left"


def test_labels_come_off_again(cells: Path, out: Path, tmp_path: Path) -> None:
    label(cells, "-o", out)
    back = out.parent / "back.h5ad"
    done = label("--remove", out, "-o", back)

    assert (done.returncode, done.stderr) == (0, "")
    assert "has no labels of schema 7.1.0 any more" in done.stdout
    assert validate_file(LocalSource(back), load_schema("7.1.0"), scratch=tmp_path).valid


def test_json_is_the_record_and_nothing_else(cells: Path, out: Path) -> None:
    record = json.loads(label(cells, "-o", out, "--json").stdout)
    assert (record["file"], record["schema_version"], record["removed"]) == (str(out), "7.1.0", False)
    assert record["size"] == out.stat().st_size
    assert record["repacking"] is None
    assert "obs/cell_type/codes" in record["additivity"]["added"]


def test_an_invalid_file_is_reported_and_nothing_is_written(cells: Path, out: Path) -> None:
    with h5py.File(cells, "r+") as file:
        del file["uns/title"]
    done = label(cells, "-o", out)

    assert done.returncode == 3
    assert "uns.title.missing" in done.stdout
    assert not list(out.parent.iterdir())


def test_a_file_that_says_that_it_was_written_anew_says_why(cells: Path, out: Path) -> None:
    with h5py.File(cells, "r+") as file:
        file["uns/mine"] = "something private"
        del file["uns/mine"]
    done = label(cells, "-o", out)

    assert done.returncode == 0, done.stderr
    assert "It was written anew first: The file holds" in done.stdout


@pytest.mark.parametrize("remove", [True, False])
def test_a_hostile_file_is_refused(tmp_path: Path, remove: bool) -> None:
    path = make_with_external_link(tmp_path / "hostile.h5ad")
    done = label(path, "-o", tmp_path / "out.h5ad", *(["--remove"] if remove else []))
    assert done.returncode == 3
    assert "link into another file" in done.stdout + done.stderr
    assert not (tmp_path / "out.h5ad").exists()


def test_what_cannot_be_written_is_said_before_anything_is_done(cells: Path, tmp_path: Path) -> None:
    over_itself = label(cells, "-o", cells)
    assert (over_itself.returncode, "is the file itself" in over_itself.stderr) == (2, True)
    nowhere = label(cells, "-o", tmp_path / "no" / "such" / "folder.h5ad")
    assert (nowhere.returncode, "cannot be written" in nowhere.stderr) == (2, True)
    missing = label(tmp_path / "missing.h5ad", "-o", tmp_path / "x.h5ad")
    assert (missing.returncode, "no such file" in missing.stderr) == (2, True)

"""`celldock convert` as a user runs it: a valid file, a folder, and what is said."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import duckdb
import h5py
import pytest

from celldock.converting import local_formats
from tests.builders import make_h5ad

COMMAND = [sys.executable, "-m", "celldock_cli.main", "convert"]


def convert(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return make_h5ad(tmp_path / "cells.h5ad")


def test_a_valid_file_becomes_a_folder_of_the_format(cells: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    done = convert(cells, "--to", "cells", "-o", out)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{out} holds 2 files of the format cells, ")
    manifest = json.loads((out / "manifest.json").read_text())
    assert {file["path"]: file["sha256"] for file in manifest["files"]} == {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest()
        for name in ("expression.parquet", "part-00000.parquet")
    }
    with duckdb.connect() as database:
        query = f"select distinct cell_type, disease from read_parquet('{out}/part-*.parquet')"
        assert database.execute(query).fetchall() == [("T cell", "normal")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.h5ad", "made"], "nothing else is left"


def test_pieces_of_joined_files_are_not_left_behind(cells: Path, tmp_path: Path) -> None:
    done = convert(cells, "--to", "rds", "--validated", "-o", tmp_path / "made")

    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["manifest.json", "sce.rds", "seurat.rds"]


def test_the_help_names_every_format() -> None:
    assert f"The format: {', '.join(local_formats())}." in " ".join(convert("--help").stdout.replace("│", " ").split())


def test_an_invalid_file_is_reported_and_nothing_is_written(cells: Path, tmp_path: Path) -> None:
    with h5py.File(cells, "r+") as file:
        del file["uns/title"]
    done = convert(cells, "--to", "cells", "-o", tmp_path / "made")
    assert done.returncode == 3
    assert "uns.title.missing" in done.stdout
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("words", [["--to", "xlsx", "-o", "made"], ["--to", "cells", "-o", "there"]])
def test_what_cannot_be_made_is_said(cells: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cells.parent)
    (cells.parent / "there").mkdir()
    done = convert(cells, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("celldock: ")

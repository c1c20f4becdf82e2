"""The command as a submitter and an operator use it, against a local stack of its own."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fragment_files import lines_of, make_atac, rows_for


class Command:
    """Runs `celldock …` against one local stack."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "celldock_cli.main", *words, "--data", str(self.data)],
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )

    def json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode in (0, 3), done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def celldock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    command = Command(tmp_path_factory.mktemp("command") / "data")
    # The other formats are of no matter here, and take a while.
    up = command.run("local", "up", "--parameter", "Formats=cells")
    assert up.returncode == 0, up.stderr
    yield command
    command.run("local", "reset")


def test_up_says_how_to_reach_the_stack_and_finds_it_again(celldock: Command) -> None:
    first = celldock.json("local", "up")
    again = celldock.json("local", "up")
    assert again == first
    shown = celldock.run("local", "status").stdout
    for needed in (
        first["endpoint"],
        first["outputs"]["InboxBucket"],
        first["outputs"]["UploadQueue"],
        "rclone",
        "boto3",
    ):
        assert needed in shown


def test_parameters_are_for_a_stack_that_starts(celldock: Command) -> None:
    for given, told in (("Formats=zarr", "runs already"), ("Formats", "NAME=VALUE")):
        refused = celldock.run("local", "up", "--parameter", given)
        assert (refused.returncode, told in refused.stderr) == (2, True), refused.stderr


def test_a_submitter_submits_follows_and_publishes(celldock: Command, example: Path) -> None:
    submitted = celldock.run("submit", str(example), "--collection", "lab", "--watch")
    assert (submitted.returncode, "READY" in submitted.stdout) == (0, True), submitted.stderr
    assert submitted.stderr == "", "progress is silent where there is no terminal"

    before = celldock.json("status", "lab/pbmc68k")
    assert before["dataset"]["published"] is False
    assert {artifact["format"] for artifact in before["artifacts"]} == {"h5ad", "cells"}
    report = celldock.run("report", "lab/pbmc68k")
    assert (report.returncode, "is valid" in report.stdout) == (0, True)

    published = celldock.run("publish", f"lab/pbmc68k@{before['version']['version_id']}")
    assert published.returncode == 0
    assert celldock.json("status", "lab/pbmc68k")["dataset"]["published"] is True


@pytest.mark.long
def test_a_fragment_file_goes_along(celldock: Command, tmp_path: Path) -> None:
    file, fragments = make_atac(tmp_path / "lung.h5ad"), tmp_path / "atac_fragments.tsv.gz"
    fragments.write_bytes(gzip.compress(lines_of(rows_for())))
    words = ["submit", str(file), "--collection", "lab", "--name", "lung 1", "--fragments", str(fragments), "--watch"]
    submitted = celldock.run(*words)
    assert (submitted.returncode, "READY" in submitted.stdout) == (0, True), submitted.stderr
    version = celldock.json("status", "lab/lung 1")["version"]
    assert version["companions"]["fragments"]["key"] == "lab/lung 1.fragments.tsv.gz"


def test_invalid_data_end_with_exit_code_3_and_the_reasons(celldock: Command, tmp_path: Path) -> None:
    (tmp_path / "page.h5ad").write_text("<!DOCTYPE html><html></html>")
    submitted = celldock.run("submit", str(tmp_path / "page.h5ad"), "--collection", "lab", "--watch")
    assert submitted.returncode == 3
    report = celldock.run("report", "lab/page")
    assert report.returncode == 3
    assert "file.html" in report.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["submit", "nowhere.h5ad", "--collection", "lab"], "no such file"),
        (["submit", "README.md", "--collection", "No Such Name!"], "collection"),
        (["status", "lab/never-seen"], "no such version"),
        (["publish", "lab/page"], "INVALID"),
        (["ops", "redrive", "lab/pbmc68k"], "READY"),
        (["submit"], "Missing argument"),
    ],
)
def test_a_mistake_ends_with_exit_code_2_and_one_clear_line(celldock: Command, words: list[str], told: str) -> None:
    done = celldock.run(*words)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_an_operator_opens_a_collection_for_automatic_publishing(celldock: Command, example: Path) -> None:
    assert celldock.run("ops", "collection", "open", "--publish", "auto", "--title", "Open").returncode == 0
    submitted = celldock.run("submit", str(example), "--collection", "open", "--publish", "--watch")
    assert submitted.returncode == 0
    assert celldock.json("status", "open/pbmc68k")["dataset"]["published"] is True


@pytest.mark.long
def test_data_outlive_a_stop(celldock: Command) -> None:
    before = celldock.json("status", "lab/pbmc68k")
    assert celldock.run("local", "down").stdout == "stopped\n"
    assert celldock.run("status", "lab/pbmc68k").returncode == 2, "nothing is running"

    assert celldock.run("local", "up", "--parameter", "Formats=cells").returncode == 0
    after = celldock.json("status", "lab/pbmc68k")
    assert (after["dataset"], after["version"]) == (before["dataset"], before["version"])
    assert celldock.json("report", "lab/pbmc68k")["valid"] is True


def test_reset_deletes_only_a_stacks_own_folder(celldock: Command, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = Command(tmp_path).run("local", "reset")
    assert done.returncode == 2
    assert (tmp_path / "thesis.txt").exists()

"""A fragment file on its way through the whole stack: before its h5ad file, after it, and as a hostile one."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.dock import Dock, Drop, wait_for
from tests.fragment_files import PAIRED, lines_of, make_atac, rows_for

SUFFIX = ".fragments.tsv.gz"
SOUND = gzip.compress(lines_of(rows_for()), mtime=0)


@pytest.fixture(scope="module")
def atac(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_atac(tmp_path_factory.mktemp("atac") / "atac.h5ad")


def test_a_dataset_with_its_fragments_ends_ready_with_both_artifacts(dock: Dock, atac: Path) -> None:
    dock.drop(SOUND, f"companions/first{SUFFIX}")
    drop = dock.drop(atac, "companions/first.h5ad")
    assert dock.finished(drop)["state"] == "READY"
    assert {name: artifact["state"] for name, artifact in dock.made(drop).items()} == {
        "h5ad": "CONVERTED",
        "cells": "CONVERTED",
        "fragments": "CONVERTED",
    }
    assert [companion["name"] for companion in dock.report(drop)["companions"]] == [f"first{SUFFIX}"]

    published = dock.api.publish(drop.dataset)
    root = f"public/{published['publication_id']}/fragments/"
    content = dock.s3.get_object(Bucket=dock.public, Key=f"{root}fragments.tsv.bgz")["Body"].read()
    assert gzip.decompress(content) == lines_of(rows_for())
    assert f"{root}fragments.tsv.bgz.tbi" in dock.keys(dock.public, root)

    late = dock.drop(SOUND, f"companions/first{SUFFIX}")
    report = f"_reports/{late.key}/{late.version_id}/1/report.json"
    wait_for(lambda: report in dock.keys(dock.inbox, "_reports/companions/first."), "the report on the late companion")
    assert dock.read_json(dock.inbox, report)["findings"][0]["code"] == "companion.too_late"


def test_fragments_that_come_later_make_an_invalid_dataset_ready(dock: Dock, atac: Path) -> None:
    drop = dock.drop(atac, "companions/later.h5ad")
    assert dock.finished(drop)["state"] == "INVALID"
    assert dock.codes(drop) == {"fragments.missing"}

    dock.drop(SOUND, f"companions/later{SUFFIX}")
    wait_for(lambda: _state(dock, drop, run=2) == "READY", "the second run")
    assert dock.report(drop)["valid"] is True
    assert set(dock.made(drop)) == {"h5ad", "cells", "fragments"}

    dock.drop(gzip.compress(lines_of(rows_for()[1:])), f"companions/later{SUFFIX}")
    wait_for(lambda: _state(dock, drop, run=3) == "INVALID", "the third run")
    assert dock.codes(drop) == {"fragments.cell_missing"}


def test_a_hostile_fragment_file_is_an_invalid_dataset(dock: Dock, tmp_path: Path) -> None:
    dock.drop(gzip.compress(b"\0" * 50_000_000), f"companions/bomb{SUFFIX}")
    drop = dock.drop(make_atac(tmp_path / "x.h5ad", PAIRED), "companions/bomb.h5ad")
    assert dock.finished(drop)["state"] == "INVALID"
    assert dock.codes(drop) == {"fragments.unreadable"}


def _state(dock: Dock, drop: Drop, run: int) -> str:
    """The version's state, "" while another run has it."""
    version = dock.version(drop) or {}
    return version["state"] if version.get("run") == run else ""

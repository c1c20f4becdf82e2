"""A config for curation on its way through the whole stack: beside a file that is invalid without it."""

from __future__ import annotations

from pathlib import Path

from tests.dock import Dock, Drop, wait_for
from tests.uncurated import CONFIG, make_uncurated

SUFFIX = ".curation.yaml"


def test_a_config_makes_an_invalid_dataset_ready_and_a_wrong_one_invalid_again(dock: Dock, tmp_path: Path) -> None:
    drop = dock.drop(make_uncurated(tmp_path / "lung.h5ad"), "curated/lung.h5ad")
    assert dock.finished(drop)["state"] == "INVALID"

    dock.drop(CONFIG.encode(), f"curated/lung{SUFFIX}")
    wait_for(lambda: _state(dock, drop, run=2) == "READY", "the second run")
    assert dock.report(drop)["valid"] is True
    assert {name: artifact["state"] for name, artifact in dock.made(drop).items()} == {
        "h5ad": "CONVERTED",
        "cells": "CONVERTED",
    }
    curation = (dock.version(drop) or {})["curation"]
    record = dock.read_json(dock.inbox, curation["record"])
    assert (record["config"]["text"], len(record["changes"])) == (CONFIG, curation["changes"])
    assert curation["bytes"] > 0

    wrong = CONFIG.replace("column: patient", "column: patients")
    dock.drop(wrong.encode(), f"curated/lung{SUFFIX}")
    wait_for(lambda: _state(dock, drop, run=3) == "INVALID", "the third run")
    (finding,) = dock.report(drop)["findings"]
    line = next(at for at, text in enumerate(wrong.splitlines(), 1) if "patients" in text)
    assert finding["where"] == f"lung{SUFFIX}, line {line}"
    assert (dock.version(drop) or {})["curation"]["bytes"] == 0


def _state(dock: Dock, drop: Drop, run: int) -> str:
    """The version's state, "" while another run has it."""
    version = dock.version(drop) or {}
    return version["state"] if version.get("run") == run else ""

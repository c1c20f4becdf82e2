"""Many at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.dock import Dock


@pytest.mark.parametrize("files", [3, pytest.param(20, marks=pytest.mark.long)])
def test_many_files_at_once_all_end_right(dock: Dock, example: Path, figures: list[str], files: int) -> None:
    good, bad = example.read_bytes(), example.read_bytes()[:-1000]
    started = time.monotonic()
    drops = [dock.drop(bad if n % 5 == 4 else good, f"many/{files}-{n:02d}.h5ad") for n in range(files)]
    states = [dock.finished(drop)["state"] for drop in drops]
    seconds = time.monotonic() - started

    figures.append(f"{files} files at once: {seconds:.1f} s, {60 * files / seconds:.0f} files a minute")
    assert states == ["INVALID" if n % 5 == 4 else "READY" for n in range(files)]
    assert all(len(dock.executions_of(drop)) == 1 for drop in drops)

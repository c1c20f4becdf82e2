"""Many at once."""

from __future__ import annotations

import time
from pathlib import Path

from tests.dock import Dock

FILES = 20


def test_twenty_files_at_once_all_end_right(dock: Dock, example: Path, figures: list[str]) -> None:
    good, bad = example.read_bytes(), example.read_bytes()[:-1000]
    started = time.monotonic()
    drops = [dock.drop(bad if n % 5 == 4 else good, f"many/{n:02d}.h5ad") for n in range(FILES)]
    states = [dock.finished(drop)["state"] for drop in drops]
    seconds = time.monotonic() - started

    figures.append(f"{FILES} files at once: {seconds:.1f} s, {60 * FILES / seconds:.0f} files a minute")
    assert states == ["INVALID" if n % 5 == 4 else "READY" for n in range(FILES)]
    assert all(len(dock.executions_of(drop)) == 1 for drop in drops)

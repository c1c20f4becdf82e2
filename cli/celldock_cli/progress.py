"""A bar on stderr for work that takes a while."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PATIENCE_SECONDS = 1.0
"""How long nothing is shown."""


@contextmanager
def progress_bar(title: str) -> Generator[Callable[[int, int], None] | None]:
    """What to call with the work done and the whole work; None where stderr is no terminal, and nothing is shown."""
    if not sys.stderr.isatty():
        yield None
        return
    bar = _Bar(title)
    timer = threading.Timer(PATIENCE_SECONDS, bar.show)
    timer.start()
    try:
        yield bar.update
    finally:
        timer.cancel()
        timer.join()
        bar.hide()


class _Bar:
    """It pulses until it is told how much work there is."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._lock = threading.Lock()
        self._done, self._total = 0, 0
        self._shown: tuple[Progress, TaskID] | None = None

    def show(self) -> None:
        # Not above: most files are done before anybody has to be shown anything.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        from celldock.report.text import printable

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        progress = Progress(*columns, console=Console(stderr=True), transient=True)
        with self._lock:
            task = progress.add_task(printable(self._title), total=None)
            self._shown = progress, task
            self._draw()
        progress.start()

    def update(self, done: int, total: int) -> None:
        with self._lock:
            self._done, self._total = done, total
            self._draw()

    def hide(self) -> None:
        if self._shown:
            self._shown[0].stop()

    def _draw(self) -> None:
        if self._shown and self._total:
            progress, task = self._shown
            progress.update(task, completed=self._done, total=self._total)

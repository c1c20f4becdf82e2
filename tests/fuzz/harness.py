"""Runs mutants through the target and judges how each ended."""

from __future__ import annotations

import os
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.fuzz.seeds import seed
from tests.fuzz.target import ingest

MAX_SECONDS = 150
"""Two calls that the sandbox cuts off by the clock, and then some: longer is a hang that nobody stopped."""
MAX_BYTES = 1024**3
"""What the process that holds the credentials may take: the smallest worker that opens files has 1,769 MB."""
_PATIENCE = 5.0
_CLEAR_REFERENCES = Path("/proc/self/clear_refs")
_PEAK = "5"
_WORD = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a mutant ended. `problem` says why it FAILED, "" otherwise; `codes` are those of the report's errors."""

    state: Literal["VALID", "INVALID", "FAILED"]
    codes: tuple[str, ...]
    refused: bool
    seconds: float
    problem: str


class Harness:
    """Judges one file after the other in this process, as a warm Lambda container would meet them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: set[int] | None = None
        self._sound: dict[str, frozenset[str]] = {}

    def run(self, data: bytes, of: str = "") -> Verdict:
        """Never raises for what a file brings about. `of` names the seed that the file was made from.

        Some seeds hold what the schema does not allow, so that more of the service is met: a mutant in which nothing
        else is wrong goes on to be converted.
        """
        forget_peak()
        begin = time.monotonic()
        try:
            outcome = ingest(data, self._folder, self._errors_of(of) if of else frozenset())
        except Exception:  # noqa: BLE001 - any of them would end as FAILED
            return Verdict("FAILED", (), False, time.monotonic() - begin, traceback.format_exc())
        seconds = time.monotonic() - begin
        if problem := "; ".join(self._problems(seconds)):
            return Verdict("FAILED", outcome.codes, outcome.refused, seconds, problem)
        return Verdict("VALID" if outcome.valid else "INVALID", outcome.codes, outcome.refused, seconds, "")

    def _errors_of(self, name: str) -> frozenset[str]:
        if name not in self._sound:
            self._sound[name] = frozenset(ingest(seed(name), self._folder).codes)
        return self._sound[name]

    def _problems(self, seconds: float) -> Iterator[str]:
        if seconds > MAX_SECONDS:
            yield f"took {seconds:.0f} s"
        if (peak := peak_bytes()) > MAX_BYTES:
            yield f"the process has taken {peak:,} bytes"
        if left := sorted(path.name for path in self._folder.iterdir()):
            yield f"left files behind: {left}"
        if leaked := self._leaked():
            yield f"left processes behind: {leaked}"

    def _leaked(self) -> set[int]:
        """Processes that are below this one and were not there after the first file; what ends late is waited for."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            found = descendants()
            if self._known is None:
                self._known = found
            leaked = found - self._known
            if not leaked or time.monotonic() > deadline:
                return leaked
            time.sleep(0.05)


def forget_peak() -> None:
    """Where Linux can, forgets what this process has had at most: to make a mutant may take more than to read it."""
    if _CLEAR_REFERENCES.exists():
        _CLEAR_REFERENCES.write_text(_PEAK)


def peak_bytes() -> int:
    """The most memory that this process has had, since that was last forgotten."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _WORD


def open_files() -> int:
    """How many descriptors this process holds."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - of a folder that changes while it is read


def descendants() -> set[int]:
    """The processes below this one, dead ones that nobody has waited for among them; none where there is no /proc."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The command's name, in parentheses, may hold anything.
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    below: set[int] = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in below and pid not in below}:
        below |= more
    return below - {os.getpid()}

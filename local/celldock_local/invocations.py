"""The log of every invocation of the local stack: one JSON object a line."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

FILE_NAME = "invocations.jsonl"


@dataclass(frozen=True, slots=True)
class Invocation:
    """One invocation of one function. Times in milliseconds, memory in MB."""

    function: str
    request_id: str
    started: str  # ISO 8601, UTC
    duration_ms: float
    init_ms: float | None  # None: the environment was warm
    memory_mb: int
    peak_mb: float
    error: str | None  # the error type, e.g. Runtime.ExitError


class InvocationLog:
    """Appends to `path`; whole lines only, from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def append(self, invocation: Invocation) -> None:
        line = json.dumps(asdict(invocation)) + "\n"
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(line)


def read_invocations(path: Path) -> Iterator[Invocation]:
    """All invocations in `path`, oldest first; nothing if there is no such file.

    >>> peak = max(i.peak_mb for i in read_invocations(data / "invocations.jsonl"))  # doctest: +SKIP
    """
    if not path.exists():
        return
    names = {f.name for f in fields(Invocation)}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):  # a line that is being written is not there yet
                yield Invocation(**{k: v for k, v in json.loads(line).items() if k in names})

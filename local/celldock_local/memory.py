"""How much memory a sandbox's processes take, from outside."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

MIB = 1024.0  # kB


class MemoryMeter(Protocol):
    """Measures one process tree, in MB."""

    interval_s: float
    """How often `now` may be asked without costing more than it tells."""

    def now(self) -> float:
        """Resident memory at this moment; 0 once the process is gone."""
        ...

    def peak(self) -> float:
        """High-water mark since `reset` as far as the system keeps one; 0 where it does not."""
        ...

    def reset(self) -> None:
        """Start a new high-water mark."""
        ...


class ProcMeter:
    """Linux: /proc, which also knows the peak of a process that fell between two samples; one takes 0.5 to 1.5 ms."""

    interval_s = 0.05

    def __init__(self, pid: int, *, hidden: frozenset[str] = frozenset()) -> None:
        """`hidden` are names of processes that are no part of the function (the sandbox's own)."""
        self._pid = pid
        self._hidden = hidden

    def now(self) -> float:
        total = 0.0
        for index, (pid, fields) in enumerate(self._members()):
            # Forked children share their parent's pages: RSS would count these once for each child.
            total += _proportional(pid, fields) if index else fields.get("VmRSS", 0.0)
        return total

    def peak(self) -> float:
        return max((fields.get("VmHWM", 0.0) for _, fields in self._members()), default=0.0)

    def reset(self) -> None:
        for pid, _ in self._members():
            try:
                Path(f"/proc/{pid}/clear_refs").write_text("5")
            except OSError:
                continue  # the mark then includes earlier invocations: too high, never too low

    def _members(self) -> Iterable[tuple[int, dict[str, float]]]:
        pending = [self._pid]
        while pending:
            pid = pending.pop(0)
            name, fields = _status(pid)
            if name and name not in self._hidden:
                yield pid, fields
            pending.extend(_children(pid))


def _status(pid: int) -> tuple[str, dict[str, float]]:
    """Name and the memory fields of /proc/<pid>/status in MB; an empty name if the process is gone."""
    name, fields = "", dict[str, float]()
    try:
        with Path(f"/proc/{pid}/status").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key == "Name":
                    name = value.strip()
                elif key in ("VmHWM", "VmRSS"):
                    fields[key] = int(value.split()[0]) / MIB
    except OSError:
        return "", {}
    return name, fields


def _proportional(pid: int, fields: dict[str, float]) -> float:
    try:
        with Path(f"/proc/{pid}/smaps_rollup").open(encoding="ascii") as lines:
            for line in lines:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) / MIB
    except OSError:
        pass  # a non-dumpable process hides its maps
    return fields.get("VmRSS", 0.0)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (thread / "children").read_text().split()]
    except OSError:
        pass
    return found


class PsMeter:
    """Where there is no /proc (macOS): `ps`, rarely asked, so that a short peak can go unseen."""

    interval_s = 0.1

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def now(self) -> float:
        listing = subprocess.run(
            ["ps", "-axo", "pid=,ppid=,rss="],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/bin:/usr/bin"},
        )
        rows = [tuple(map(int, line.split())) for line in listing.stdout.splitlines() if line.strip()]
        tree, total = {self._pid}, 0
        for pid, parent, rss in sorted(rows):
            if pid in tree or parent in tree:
                tree.add(pid)
                total += rss
        return total / MIB

    def peak(self) -> float:
        return 0.0

    def reset(self) -> None:
        return None


def meter(pid: int, *, hidden: frozenset[str] = frozenset()) -> MemoryMeter:
    """The best meter that this machine has."""
    return ProcMeter(pid, hidden=hidden) if sys.platform == "linux" else PsMeter(pid)

"""What the benchmarks share: one child process for each measurement, and a table of what came out.

    figures = measure(read_all, path)          # read_all must be importable: a function of a module

Times are those of the call alone: the child has started and imported before the clock does. Linux only (/proc).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import resource
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

MB = 1_000_000
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_SAMPLE = 0.05  # seconds


@dataclass(frozen=True, slots=True)
class Figures:
    """What one call took.

    `cpu` is that of the process and of every process that it started (those still alive are counted in hundredths of a
    second); `peak` is the highest resident set of the process itself since its start, imports included, `child_peak`
    that of the largest process that it started, as seen every 50 ms. `result` is what the call returned.
    """

    wall: float  # seconds
    cpu: float  # seconds
    peak: int  # bytes
    child_peak: int  # bytes
    result: Any


def measure(
    work: Callable[..., Any], *args: Any, repeat: int = 1, prepare: Callable[[], object] | None = None
) -> Figures:
    """Calls `work(*args)` in a fresh process, `repeat` times; the figures are those of the run of median CPU time.

    `prepare()` is called in that process before the clock starts.

    Raises:
        RuntimeError: the call raised, with its traceback in the message, or the process ended without an answer.
    """
    runs = sorted((_run(partial(work, *args), prepare) for _ in range(repeat)), key=lambda figures: figures.cpu)
    return runs[(len(runs) - 1) // 2]


def _run(work: partial[Any], prepare: Callable[[], object] | None) -> Figures:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_child, args=(theirs, work, prepare))
    process.start()
    theirs.close()
    assert process.pid is not None
    child_peak = 0
    try:
        while not ours.poll(_SAMPLE):
            child_peak = max([child_peak, *(_peak(pid) for pid in descendants(process.pid))])
        answer: Figures | str = ours.recv()
    except EOFError:
        answer = "it ended without an answer"
    process.join()
    if isinstance(answer, str):
        raise RuntimeError(f"{work.func.__name__} (exit status {process.exitcode}): {answer}")
    return replace(answer, child_peak=max(child_peak, answer.child_peak))


def _child(answer: Connection, work: partial[Any], prepare: Callable[[], object] | None) -> None:
    try:
        if prepare:
            prepare()
        cpu, begun = _cpu(), time.perf_counter()
        result = work()
    except Exception:
        answer.send(traceback.format_exc())
        raise
    wall, cpu = time.perf_counter() - begun, _cpu() - cpu
    child_peak = max((_peak(pid) for pid in descendants(os.getpid())), default=0)
    answer.send(Figures(wall, cpu, _peak(os.getpid()), child_peak, result))


def _cpu() -> float:
    """Seconds of this process and of all that it has started, dead or alive."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    return own + sum(cpu_of(pid) for pid in descendants(os.getpid()))


def cpu_of(pid: int) -> float:
    """Seconds of a process and of those of its children that it has waited for; 0 for one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(int(field) for field in fields[11:15]) * _TICK


def descendants(pid: int) -> Iterator[int]:
    """The processes that a process has started, and those that they have."""
    for task in _listed(Path(f"/proc/{pid}/task")):
        try:
            children = [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
        for child in children:
            yield child
            yield from descendants(child)


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _peak(pid: int) -> int:
    """The highest resident set so far, in bytes; 0 for a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def function_settings(function: str) -> dict[str, str]:
    """The environment that the template gives a function for the C libraries: malloc's and BLAS's settings."""
    template = yaml_parse((Path(__file__).parents[1] / "template.yaml").read_text())
    variables: dict[str, Any] = template["Resources"][function]["Properties"]["Environment"]["Variables"]
    return {name: value for name, value in variables.items() if name.startswith(("MALLOC_", "OPENBLAS_"))}


def warm(path: Path) -> None:
    """Reads a file once, so that every measured reader finds it in the page cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(16 * MB):
            pass


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A Markdown table: first column to the left, numbers to the right, floats with three significant digits."""
    cells = [list(headings), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    for row in (cells[0], rule, *cells[1:]):
        padded = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        print("| " + " | ".join(padded) + " |")
    print(flush=True)


def _cell(value: object) -> str:
    match value:
        case float() if value >= 100:
            return f"{value:,.0f}"
        case float():
            return f"{value:.3g}"
        case int():
            return f"{value:,}"
        case _:
            return str(value)


def save(path: Path, benchmark: str, document: Mapping[str, Any]) -> None:
    """Writes what was measured as JSON, with the day and the machine it was measured on."""
    machine = {
        "cpus": os.cpu_count(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
    }
    day = datetime.now(UTC).date().isoformat()
    head = {"benchmark": benchmark, "date": day, "machine": machine}
    path.write_text(json.dumps({**head, **document}, indent=1, default=_fields) + "\n")


def _fields(value: Any) -> dict[str, Any]:
    """A dataclass within a document."""
    return asdict(value)


def ratio(slow: float, fast: float) -> str:
    """How many times `fast` goes into `slow`."""
    return f"{slow / fast:.2f}×" if fast > 0 else "–"

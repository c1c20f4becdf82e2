"""What `celldock validate` costs beside its peer, `cellxgene-schema validate`: whole processes, start included.

    python -m benchmarks.validate FILE.h5ad … [--peer ENVIRONMENT] [--repeat 1] [--json OUT.json]

ENVIRONMENT is a virtual environment that has the peer, of its own because the two want different versions of the same
packages; without it only celldock is measured:

    uv venv --python 3.12 ENVIRONMENT
    uv pip install --python ENVIRONMENT/bin/python --compile-bytecode cellxgene-schema==7.1.2

The two take turns, and the figures are those of the runs of median CPU time: user and system time of the process and
of all that it started. "Peak" is the highest resident set of its largest process; "all" the highest sum over all of its
processes at one moment, every 20 ms, in which pages that several of them share count several times. The file is in the
page cache, and byte-code is where Python keeps it. Linux only (/proc).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import MB, descendants, print_table, ratio, save, warm

_SAMPLE = 0.02  # seconds
_PAGE = os.sysconf("SC_PAGE_SIZE")
# Python keeps its byte-code; the modules that this benchmark itself was given are no business of theirs.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@dataclass(frozen=True, slots=True)
class Run:
    """What one process took, with all that it started."""

    wall: float  # seconds
    first: float  # seconds until its first output on stdout; that of celldock is its report
    cpu: float  # seconds
    peak: int  # bytes, of the largest process
    together: int  # bytes, of all processes
    status: int
    said: str


def celldock(path: Path) -> list[str]:
    """The command that validates `path` with celldock."""
    return [sys.executable, "-m", "celldock_cli.main", "validate", str(path)]


def peer(environment: Path, path: Path) -> list[str]:
    """The command that validates `path` with the peer."""
    return [str(environment / "bin" / "cellxgene-schema"), "validate", str(path)]


def run(command: Sequence[str]) -> Run:
    """Runs a command to its end."""
    begun = time.perf_counter()
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=_ENVIRONMENT) as process,
    ):
        assert process.stdout is not None
        sampler = _Sampler(process.pid)
        sampler.start()
        head = process.stdout.read(1)
        first = time.perf_counter() - begun
        said = head + process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        sampler.stop()
        errors.seek(0)
        said += errors.read()
    return Run(
        wall,
        first if head else wall,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * 1024,
        sampler.together,
        process.returncode,
        said.decode(errors="replace"),
    )


class _Sampler(threading.Thread):
    """Watches the memory of a process and of those that it started."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._ended = threading.Event()
        self.together = 0

    def run(self) -> None:
        while not self._ended.wait(_SAMPLE):
            self.together = max(self.together, sum(map(_resident, [self._pid, *descendants(self._pid)])))

    def stop(self) -> None:
        self._ended.set()
        self.join()


def _resident(pid: int) -> int:
    """Bytes of a process's resident set; 0 for one that is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def measure_file(path: Path, environment: Path | None, repeat: int) -> dict[str, Run]:
    """celldock and, where there is one, the peer: for each its run of median CPU time."""
    commands = {"celldock": celldock(path)}
    if environment is not None:
        commands["cellxgene-schema"] = peer(environment, path)
    warm(path)
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(repeat):
        for name, command in commands.items():
            runs[name].append(run(command))
            print(f"{path.name}, {name}: {runs[name][-1].cpu:.2f} CPU-s", flush=True)
    return {name: sorted(each, key=lambda one: one.cpu)[(repeat - 1) // 2] for name, each in runs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--peer", type=Path, help="a virtual environment that has cellxgene-schema")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    run(celldock(arguments.files[0]))  # the first start after a change of the code compiles it
    found = {path.name: measure_file(path, arguments.peer, arguments.repeat) for path in arguments.files}
    rows: list[tuple[object, ...]] = []
    for file, runs in found.items():
        ours = runs["celldock"]
        for name, each in runs.items():
            beside = (
                ("", "", "")
                if each is ours
                else (ratio(each.cpu, ours.cpu), ratio(each.peak, ours.peak), ratio(each.together, ours.together))
            )
            memory = (each.peak // MB, each.together // MB)
            rows.append((f"{file} {name}", each.status, each.wall, each.first, each.cpu, *memory, *beside))
    print()
    head = ("", "exit status", "wall s", "first output s", "CPU-s", "peak MB", "all MB")
    print_table((*head, "CPU ÷ celldock's", "peak ÷", "all ÷"), rows)
    if arguments.json:
        save(arguments.json, "validate", {"repeat": arguments.repeat, "files": found})


if __name__ == "__main__":
    main()

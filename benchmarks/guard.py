"""What it takes to guard and to plan a file before anything of it is trusted: requests, bytes, time and memory.

    python -m benchmarks.guard FILE.h5ad … [--latency 20] [--repeat 3] [--json OUT.json]

Each row is a process of its own, which has started nothing before: the start of the sandbox is in its time. The guard
walks every link and dataset; the plan guards, reads the headers, the place of every chunk of the matrices, and the row
pointers that tell where to cut them. By ranges, every request takes the latency; rounds are the requests that came when
no other was underway.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import MB, Figures, measure, print_table, save, warm
from benchmarks.range_server import Counters, serve
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.http import HttpSource
from celldock.h5ad.source import ByteSource, LocalSource
from celldock.plan import make_plan


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. `counters` are the server's, of one run; None for a local file."""

    work: str
    figures: Figures
    counters: Counters | None


def source_of(where: str) -> ByteSource:
    """A URL's bytes by ranges, or a local file's."""
    return HttpSource.open(where) if where.startswith("http://") else LocalSource(Path(where))


def guard(where: str) -> int:
    """Walks the whole file; returns its chunks."""
    with open_h5ad(source_of(where)) as file:
        return file.guard().chunks


def plan(where: str) -> int:
    """Makes the plan and its two documents; returns the partitions of the scan."""
    planned = make_plan(source_of(where), [])
    planned.plan.to_bytes()
    planned.layout.to_bytes()
    return len(planned.plan.scan.partitions)


WORKS: dict[str, Callable[[str], int]] = {"guard": guard, "plan": plan}


def measure_file(path: Path, latency: float, repeat: int) -> list[Row]:
    """Guard and plan, from the local file and by ranges."""
    warm(path)
    rows = [Row(f"{name}, local", measure(work, str(path), repeat=repeat), None) for name, work in WORKS.items()]
    with serve(path.parent, latency) as server:
        for name, work in WORKS.items():
            server.take_counters()
            figures = measure(work, f"{server.url}/{path.name}", repeat=repeat)
            rows.append(Row(f"{name}, {latency:g} ms ranges", figures, server.take_counters().each(repeat)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--latency", type=float, default=20, help="of each request, in milliseconds")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each row; the one of median CPU time counts")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    document: dict[str, Any] = {}
    for path in arguments.files:
        rows = measure_file(path, arguments.latency, arguments.repeat)
        chunks, partitions = (rows[index].figures.result for index in (0, 1))
        print(f"{path.name}: {path.stat().st_size / MB:,.0f} MB, {chunks:,} chunks, {partitions:,} partitions\n")
        print_table(
            ("", "wall s", "CPU-s", "requests", "rounds", "read MB", "peak MB", "sandbox's peak MB"),
            [
                (
                    row.work,
                    row.figures.wall,
                    row.figures.cpu,
                    row.counters.requests if row.counters else "",
                    row.counters.rounds if row.counters else "",
                    row.counters.bytes / MB if row.counters else "",
                    row.figures.peak // MB,
                    row.figures.child_peak // MB,
                )
                for row in rows
            ],
        )
        document[path.name] = rows
    if arguments.json:
        save(arguments.json, "guard", {"latency_ms": arguments.latency, "files": document})


if __name__ == "__main__":
    main()

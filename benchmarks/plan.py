"""What a plan predicts for each step against what the step then takes.

    python -m benchmarks.plan FILE.h5ad … [--latency 20] [--repeat 3] [--json OUT.json]

Every step is a process of its own that reads by ranges, each of which takes the latency: Plan, Scan of the first
partition of each matrix (all of one matrix cost about the same), and Convert of the first partition of each format.
Predicted seconds are those of one vCPU behind Lambda's network, start of the process included; measured ones begin when
Python is there. Memory is that of the process and of the largest one that it has started.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import Figures, measure, print_table, save, warm
from benchmarks.range_server import serve
from celldock.formats.protocol import Partition, Prediction, Subject
from celldock.formats.registry import get_format
from celldock.formats.sink import LocalSink
from celldock.h5ad.http import HttpSource
from celldock.h5ad.layout import FileLayout
from celldock.plan import Plan, ScanPartition, make_plan, scan_partition

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Comparison:
    """One step, or one matrix of it, as it was predicted and as it was."""

    what: str
    predicted: Prediction
    figures: Figures


def plan(url: str, folder: str) -> None:
    """Plans the file and leaves the plan's two documents."""
    planned = make_plan(HttpSource.open(url), [])
    (Path(folder) / "plan.json").write_bytes(planned.plan.to_bytes())
    (Path(folder) / "layout.bin").write_bytes(planned.layout.to_bytes())


def scan(url: str, folder: str, partition: ScanPartition) -> int:
    """Scans one partition; returns the bytes of its result."""
    found, layout = load(folder)
    partial = scan_partition(HttpSource.open(url), found.scan, layout, partition, scratch=Path(folder))
    return len(partial.to_bytes())


def convert(url: str, folder: str, format_name: str, partition: Partition) -> int:
    """Converts one partition; returns the bytes of its files."""
    found, layout = load(folder)
    sink = LocalSink(Path(folder) / format_name, Path(folder))
    part = get_format(format_name).convert(Subject(HttpSource.open(url), found.header, layout), partition, sink)
    return sum(file.bytes for file in part.files)


def load(folder: str) -> tuple[Plan, FileLayout]:
    """What `plan` has left."""
    found = Plan.from_bytes((Path(folder) / "plan.json").read_bytes())
    return found, FileLayout.from_bytes((Path(folder) / "layout.bin").read_bytes())


def compare(path: Path, latency: float, repeat: int) -> Iterator[Comparison]:
    """All steps of one file."""
    warm(path)
    with serve(path.parent, latency) as server, tempfile.TemporaryDirectory() as folder:
        url = f"{server.url}/{path.name}"
        planning = measure(plan, url, folder, repeat=repeat)
        found, _ = load(folder)
        predicted = {prediction.step: prediction for prediction in found.predictions}
        yield Comparison("plan", predicted["plan"], planning)
        for matrix in found.scan.rows:
            for partition in found.scan.of(matrix)[:1]:
                figures = measure(scan, url, folder, partition, repeat=repeat)
                yield Comparison(f"scan of {matrix}", predicted["scan"], figures)
        for planned in found.formats:
            for part in planned.partitions[:1]:
                figures = measure(convert, url, folder, planned.format, part, repeat=repeat)
                yield Comparison(f"convert to {planned.format}", predicted[f"convert/{planned.format}"], figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--latency", type=float, default=20, help="of each request, in milliseconds")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each step; the one of median CPU time counts")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    document: dict[str, Any] = {}
    for path in arguments.files:
        found = list(compare(path, arguments.latency, arguments.repeat))
        print_table(
            (path.name, "predicted s", "wall s", "CPU-s", "predicted MiB", "MiB", "predicted from"),
            [
                (
                    each.what,
                    each.predicted.seconds,
                    each.figures.wall,
                    each.figures.cpu,
                    each.predicted.memory_mb,
                    (each.figures.peak + each.figures.child_peak) // MIB,
                    each.predicted.basis,
                )
                for each in found
            ],
        )
        document[path.name] = found
    if arguments.json:
        save(arguments.json, "plan", {"latency_ms": arguments.latency, "files": document})


if __name__ == "__main__":
    main()

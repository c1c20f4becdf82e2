"""What a scan costs beside inflating the same chunks alone, and how much memory its workers take.

    python -m benchmarks.scan FILE.h5ad … [--repeat 3] [--json OUT.json]

A worker of Scan reads a partition, scans it, and makes the result into bytes. "scan" is the CPU time of one worker
that takes all partitions of a matrix one after another, as the workers of a large file do; "fresh" that of as many
workers as there are partitions, each a new process, as those of a small file are. "inflate" is the CPU time that
libdeflate alone takes for the same chunks, without reading them from the file. They take turns, and the figures are
those of the runs of median CPU time. The file is in the page cache; the C library's settings are those of the function.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import deflate
import numpy as np

from benchmarks.common import MB, Figures, function_settings, measure, print_table, ratio, save, warm
from celldock.h5ad.filters import DEFLATE
from celldock.h5ad.layout import ArrayLayout, FileLayout
from celldock.h5ad.source import LocalSource
from celldock.plan import Plan, ScanPartition, make_plan, scan_partition

_AT_ONCE = 256  # chunks that are read before the clock starts


@dataclass(frozen=True, slots=True)
class Cost:
    """What scanning one matrix takes. `peak` is that of the worker that takes all partitions."""

    path: str
    rows: int
    elements: int
    partitions: int
    inflate: float  # CPU seconds
    scan: float  # CPU seconds, in one process
    fresh: float  # CPU seconds, each partition in a process of its own
    peak: int  # bytes
    partials: int  # bytes of all partial results


def plan_file(path: Path, folder: Path) -> None:
    """Plans the scan, and leaves the plan and the layouts in `folder`, for the workers."""
    planned = make_plan(LocalSource(path), [])
    (folder / "plan").write_bytes(planned.plan.to_bytes())
    (folder / "layout").write_bytes(planned.layout.to_bytes())


def inflate(path: Path, folder: Path, matrix: str) -> float:
    """Inflates all chunks of a matrix; returns the CPU seconds of that alone."""
    source = LocalSource(path)
    layout = FileLayout.from_bytes((folder / "layout").read_bytes())
    return sum(_inflate_array(source, array) for array in layout.matrices[matrix].arrays.values())


def _inflate_array(source: LocalSource, array: ArrayLayout) -> float:
    if [item.identifier for item in array.filters] != [DEFLATE]:
        return 0.0
    size = math.prod(array.chunks or ()) * np.dtype(array.dtype).itemsize
    places = list(zip(array.offsets.tolist(), array.sizes.tolist(), strict=True))
    seconds = 0.0
    for first in range(0, len(places), _AT_ONCE):
        chunks = [source.read(*place) for place in places[first : first + _AT_ONCE]]
        begun = time.process_time()
        for chunk in chunks:
            deflate.zlib_decompress(chunk, size)
        seconds += time.process_time() - begun
    return seconds


def scan(path: Path, folder: Path, partitions: Sequence[ScanPartition]) -> int:
    """Scans partitions as one worker does, one call each; returns the bytes of the partial results."""
    total = 0
    for partition in partitions:
        plan = Plan.from_bytes((folder / "plan").read_bytes())
        layout = FileLayout.from_bytes((folder / "layout").read_bytes())
        with tempfile.TemporaryDirectory() as scratch:
            partial = scan_partition(LocalSource(path), plan.scan, layout, partition, scratch=Path(scratch))
        total += len(partial.to_bytes())
    return total


def costs_of(path: Path, repeat: int) -> list[Cost]:
    """Each matrix of a file."""
    warm(path)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure(plan_file, path, folder)
        plan = Plan.from_bytes((folder / "plan").read_bytes())
        layout = FileLayout.from_bytes((folder / "layout").read_bytes())
        return [_cost(path, folder, matrix, layout, plan.scan.of(matrix), repeat) for matrix in layout.matrices]


def _cost(
    path: Path, folder: Path, matrix: str, layout: FileLayout, partitions: Sequence[ScanPartition], repeat: int
) -> Cost:
    inflating: list[float] = []
    fresh: list[float] = []
    scans: list[Figures] = []
    for _ in range(repeat):
        inflating.append(measure(inflate, path, folder, matrix).result)
        scans.append(measure(scan, path, folder, partitions))
        fresh.append(sum(measure(scan, path, folder, [partition]).cpu for partition in partitions))
    middle = sorted(scans, key=lambda figures: figures.cpu)[repeat // 2]
    header = layout.matrices[matrix].header
    return Cost(
        path=matrix,
        rows=header.shape[0],
        elements=math.prod(header.shape) if header.nnz is None else header.nnz,
        partitions=len(partitions),
        inflate=sorted(inflating)[repeat // 2],
        scan=middle.cpu,
        fresh=sorted(fresh)[repeat // 2],
        peak=middle.peak,
        partials=middle.result,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    os.environ |= function_settings("ScanFunction")
    found = {path.name: costs_of(path, given.repeat) for path in given.files}
    head = (
        "matrix",
        "rows",
        "M elements",
        "partitions",
        "inflate CPU-s",
        "scan CPU-s",
        "ratio",
        "fresh CPU-s",
        "ratio",
    )
    print_table(
        (*head, "ns each", "peak MB", "partials MB"),
        [
            (
                f"{name} {cost.path}",
                cost.rows,
                cost.elements / 1e6,
                cost.partitions,
                cost.inflate,
                cost.scan,
                ratio(cost.scan, cost.inflate),
                cost.fresh,
                ratio(cost.fresh, cost.inflate),
                cost.scan / max(cost.elements, 1) * 1e9,
                cost.peak / MB,
                cost.partials / MB,
            )
            for name, costs in found.items()
            for cost in costs
        ],
    )
    if given.json:
        save(given.json, "scan", {"repeat": given.repeat, "files": found})


if __name__ == "__main__":
    main()

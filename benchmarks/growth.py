"""How guard, plan and scan grow with the number of cells: time of a cell, and memory, at 10,000 to 1,000,000 cells.

    python -m benchmarks.growth FOLDER [--cells 10000 100000 1000000] [--json OUT.json] [--figure OUT.svg]

Files that are not yet in FOLDER are made first, with `make_h5ad` (175 genes a cell in X and in raw.X; 1.1 GB for a
million cells). Each step is a process of its own, and so is each partition of the scan, one after the other.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.common import MB, Figures, measure, print_table, save, warm
from benchmarks.figure import Panel, draw
from benchmarks.guard import guard
from benchmarks.scan import plan_file, scan
from celldock.plan import Plan

_N_VARS, _NNZ_PER_CELL = 30_000, 175


@dataclass(frozen=True, slots=True)
class Growth:
    """What one file took. `scans` are the partitions of all matrices."""

    cells: int
    stored: int  # bytes of the file
    nnz: int  # of X and raw.X
    guard: Figures
    plan: Figures
    scans: tuple[Figures, ...]

    def cpu(self) -> dict[str, float]:
        """Seconds of each step; all partitions of the scan together."""
        return {"guard": self.guard.cpu, "plan": self.plan.cpu, "scan": sum(scan.cpu for scan in self.scans)}

    def memory(self) -> dict[str, int]:
        """Highest bytes of each step, its sandbox included, and of the largest partition."""
        steps = {"guard": [self.guard], "plan": [self.plan], "scan": self.scans}
        return {name: max(each.peak + each.child_peak for each in figures) for name, figures in steps.items()}


def file_of(folder: Path, cells: int) -> Path:
    """The file of so many cells in the folder; it is made where there is none."""
    path = folder / f"cells-{cells}.h5ad"
    if not path.exists():
        # Not above: the measured processes have no libhdf5 of their own, as celldock's functions have none.
        from benchmarks.make_h5ad import Recipe, make_h5ad

        make_h5ad(path, Recipe(cells, _N_VARS, _NNZ_PER_CELL))
    return path


def measure_file(path: Path, cells: int) -> Growth:
    """Guard, plan and every partition of the scan."""
    warm(path)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        guarded, planned = measure(guard, str(path)), measure(plan_file, path, folder)
        plan = Plan.from_bytes((folder / "plan").read_bytes())
        scans = tuple(measure(scan, path, folder, [partition]) for partition in plan.scan.partitions)
    return Growth(cells, path.stat().st_size, plan.nnz + plan.raw_nnz, guarded, planned, scans)


def figure(grown: Sequence[Growth]) -> str:
    """CPU time of a cell, and memory."""
    steps = list(grown[0].cpu())
    times = {step: [(each.cells, each.cpu()[step] / each.cells * 1e6) for each in grown] for step in steps}
    memory = {step: [(each.cells, each.memory()[step] / MB) for each in grown] for step in steps}
    return draw([Panel("CPU time of a cell, µs", "cells", times), Panel("Peak memory, MB", "cells", memory)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the files are or are to be made")
    parser.add_argument("--cells", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--figure", type=Path, help="where to draw them, as SVG")
    arguments = parser.parse_args()
    grown: list[Growth] = []
    for cells in sorted(arguments.cells):
        path = file_of(arguments.folder, cells)
        grown.append(measure_file(path, cells))
        print(f"{path.name}: {grown[-1].nnz:,} non-zeros, {len(grown[-1].scans)} partitions", flush=True)
    print()
    print_table(
        ("cells", "file MB", "step", "CPU-s", "µs a cell", "longest wall s", "peak MB", "sandbox's peak MB"),
        [
            (
                f"{each.cells:,}",
                each.stored // MB,
                step,
                each.cpu()[step],
                each.cpu()[step] / each.cells * 1e6,
                max(one.wall for one in figures),
                max(one.peak for one in figures) // MB,
                max(one.child_peak for one in figures) // MB,
            )
            for each in grown
            for step, figures in (("guard", [each.guard]), ("plan", [each.plan]), ("scan", each.scans))
        ],
    )
    if arguments.json:
        save(arguments.json, "growth", {"files": grown})
    if arguments.figure:
        arguments.figure.parent.mkdir(parents=True, exist_ok=True)
        arguments.figure.write_text(figure(grown))


if __name__ == "__main__":
    main()

"""How the formats grow with the number of cells: CPU time, that of the longest path, and memory.

    python -m benchmarks.formats_growth FOLDER [--cells 20000 100000 1000000] [--formats NAME …] [--json OUT.json]
        [--figure OUT.svg]

The files are those of `benchmarks.growth` (175 genes a cell in X and in raw.X); those that FOLDER has not are made
first. What is measured, and how, says `benchmarks.formats`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.common import MB, function_settings, save
from benchmarks.figure import Panel, draw
from benchmarks.formats import Conversion, Measured, measure_file, own_formats, print_formats
from benchmarks.growth import file_of


def figure(grown: Sequence[Measured]) -> str:
    """CPU time of a cell, that of the longest path, and memory of the largest worker, for each format."""

    def panel(title: str, value: Callable[[Measured, Conversion], float]) -> Panel:
        names = list(dict.fromkeys(one.format for each in grown for one in each.formats))
        lines = {
            name: [(each.cells, value(each, one)) for each in grown for one in each.formats if one.format == name]
            for name in names
        }
        return Panel(title, "cells", lines)

    return draw(
        [
            panel("CPU time of a cell, all workers, µs", lambda each, one: one.cpu / each.cells * 1e6),
            panel("Costliest partition and assembly, CPU-s", lambda _, one: one.path_cpu),
            panel("Peak memory of a worker, MB", lambda _, one: one.peak / MB),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the files are or are to be made")
    parser.add_argument("--cells", type=int, nargs="+", default=[20_000, 100_000, 1_000_000])
    parser.add_argument("--formats", nargs="+", choices=own_formats(), default=own_formats())
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--figure", type=Path, help="where to draw them, as SVG")
    arguments = parser.parse_args()
    os.environ |= function_settings("ConvertFunction")
    files = [file_of(arguments.folder, cells) for cells in sorted(arguments.cells)]
    found = {path.name: measure_file(path, arguments.formats, 1, None, peers=False) for path in files}
    print()
    print_formats(found)
    if arguments.json:
        save(arguments.json, "formats_growth", {"files": found})
    if arguments.figure:
        arguments.figure.parent.mkdir(parents=True, exist_ok=True)
        arguments.figure.write_text(figure(list(found.values())))


if __name__ == "__main__":
    main()

"""What `celldock label` costs beside its peer, `cellxgene-schema add-labels`: whole processes, start included.

    python -m benchmarks.label FILE.h5ad … [--peer ENVIRONMENT] [--repeat 1] [--json OUT.json]

ENVIRONMENT as for `benchmarks.validate`, which also says what the columns are. The files are valid ones, and neither
checks them: `label --validated` walks the file and accounts for every byte of it, as it always does, but does not apply
the rules, and `add-labels` has none. What they write goes to a temporary folder and is deleted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.common import MB, print_table, ratio, save, warm
from benchmarks.validate import Run, run


def celldock(path: Path, out: Path) -> list[str]:
    """The command that labels `path` with celldock."""
    return [sys.executable, "-m", "celldock_cli.main", "label", "--validated", str(path), "-o", str(out)]


def peer(environment: Path, path: Path, out: Path) -> list[str]:
    """The command that labels `path` with the peer."""
    return [str(environment / "bin" / "cellxgene-schema"), "add-labels", str(path), str(out)]


def measure_file(path: Path, environment: Path | None, repeat: int) -> dict[str, Run]:
    """celldock and, where there is one, the peer: for each its run of median CPU time."""
    warm(path)
    runs: dict[str, list[Run]] = {}
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "labelled.h5ad"
            commands = {"celldock": celldock(path, out)}
            if environment is not None:
                commands["cellxgene-schema"] = peer(environment, path, out)
            for name, command in commands.items():
                done = run(command)
                if done.status:
                    raise RuntimeError(f"{name} ended with {done.status}: {done.said}")
                runs.setdefault(name, []).append(done)
                print(f"{path.name}, {name}: {done.cpu:.2f} CPU-s", flush=True)
                out.unlink()
    return {name: sorted(each, key=lambda one: one.cpu)[(repeat - 1) // 2] for name, each in runs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--peer", type=Path, help="a virtual environment that has cellxgene-schema")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    found = {path.name: measure_file(path, arguments.peer, arguments.repeat) for path in arguments.files}
    rows: list[tuple[object, ...]] = []
    for file, runs in found.items():
        ours = runs["celldock"]
        for name, each in runs.items():
            beside = ("", "") if each is ours else (ratio(each.cpu, ours.cpu), ratio(each.peak, ours.peak))
            rows.append((f"{file} {name}", each.wall, each.cpu, each.peak // MB, each.together // MB, *beside))
    print()
    print_table(("", "wall s", "CPU-s", "peak MB", "all MB", "CPU ÷ celldock's", "peak ÷"), rows)
    if arguments.json:
        save(arguments.json, "label", {"repeat": arguments.repeat, "files": found})


if __name__ == "__main__":
    main()

"""What `celldock curate` costs beside the same done with anndata in memory: whole processes, start included.

    python -m benchmarks.curate FILE.h5ad … [--repeat 1] [--json OUT.json]

Three runs of each file: `add` sets columns of obs alone (tidy: false), `tidy` looks through all matrices as well and
mends what has to be, `move` puts X into a layer, copied as it is stored. anndata reads the file, sets the same columns,
brings csc and dense matrices into csr, and writes it with gzip. What is written goes to a temporary folder.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.common import MB, print_table, ratio, save, warm
from benchmarks.validate import Run, run

_OBS = """\
obs:
  donor_id: pooled
  tissue_type: tissue
  suspension_type: nucleus
  lab: {column: donor_id}
"""
_CONFIGS = {
    "add": f"tidy: false\n{_OBS}",
    "tidy": _OBS,
    "move": f"tidy: false\n{_OBS}matrices:\n  layers.before: X\n",
}
_ANNDATA = """
import sys, anndata, scipy.sparse
data = anndata.read_h5ad(sys.argv[1])
data.obs["lab"] = data.obs["donor_id"]
for name, value in (("donor_id", "pooled"), ("tissue_type", "tissue"), ("suspension_type", "nucleus")):
    data.obs["author_" + name] = data.obs.get(name, "")
    data.obs[name] = value
    data.obs[name] = data.obs[name].astype("category")
if not scipy.sparse.isspmatrix_csr(data.X):
    data.X = scipy.sparse.csr_matrix(data.X)
data.write_h5ad(sys.argv[2], compression="gzip")
"""


def celldock(path: Path, config: Path, out: Path) -> list[str]:
    """The command that curates `path` with celldock."""
    return [sys.executable, "-m", "celldock_cli.main", "curate", str(path), "-c", str(config), "-o", str(out)]


def measure_file(path: Path, repeat: int) -> dict[str, Run]:
    """The run of median CPU time of each case, and of anndata."""
    warm(path)
    runs: dict[str, list[Run]] = {}
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "curated.h5ad"
            commands = {"anndata": [sys.executable, "-c", _ANNDATA, str(path), str(out)]}
            for name, text in _CONFIGS.items():
                config = Path(folder) / f"{name}.yaml"
                config.write_text(text)
                commands[name] = celldock(path, config, out)
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
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    found = {path.name: measure_file(path, arguments.repeat) for path in arguments.files}
    rows = [
        (
            f"{file} {name}",
            each.wall,
            each.cpu,
            each.peak // MB,
            each.together // MB,
            "" if name == "anndata" else ratio(runs["anndata"].cpu, each.cpu),
        )
        for file, runs in found.items()
        for name, each in runs.items()
    ]
    print()
    print_table(("", "wall s", "CPU-s", "peak MB", "all MB", "anndata's CPU ÷"), rows)
    if arguments.json:
        save(arguments.json, "curate", {"repeat": arguments.repeat, "files": found})


if __name__ == "__main__":
    main()

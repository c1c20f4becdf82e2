"""What each derivative format costs, partition by partition, and beside it what else makes the same.

    python -m benchmarks.formats FILE.h5ad … [--formats NAME …] [--portal ENVIRONMENT] [--repeat 1] [--json OUT.json]

A file is planned and scanned; then every partition of every format is converted in a fresh process and its artifact
assembled in another, from the file as it is, without labels. The sandbox of libhdf5 has started before the clock does,
as in a function that is warm; libraries that a format imports are part of its time. "Path" is the longest partition and
the assembly: what remains of the sum where there are enough workers. Predictions are the plan's, for one vCPU behind
Lambda's network.

Beside them, in the same run, whose ratios hold on a busy machine too:

| format | beside |
|---|---|
| `cxg` | the portal's algorithm, in ENVIRONMENT (`portal_cxg.py` says how to make it); without it, nothing |
| `zarr` | `anndata.read_h5ad` and `write_zarr` (version 3) in memory, and the writing alone |
| `rds` | zlib's level 1 over the bytes of `seurat.rds` |
| `cells` | reading X by blocks of rows, and doing nothing with it; what the scan finds is there, for all steps alike |
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.common import MB, Figures, function_settings, measure, print_table, ratio, save, warm
from benchmarks.formats_work import (
    anndata_zarr,
    assemble,
    convert,
    decode,
    gzip_again,
    load,
    portal_cxg,
    scan,
    start,
    unpack,
)
from benchmarks.scan import plan_file
from celldock.formats.protocol import FormatPlan, Prediction
from celldock.formats.registry import FORMATS

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Aim:
    """The CPU time of a format beside that of its peer, at most, and the memory of a worker."""

    ratio: float
    peak: int  # bytes


_AIMS = {
    "cxg": Aim(1 / 25, 1331 * _MIB),
    "zarr": Aim(0.8, 300 * _MIB),
    "rds": Aim(1.2, 500 * _MIB),
    "cells": Aim(0.4, 300 * _MIB),
}


@dataclass(frozen=True, slots=True)
class Conversion:
    """What one format took of one file. The figures' results are the numbers of files."""

    format: str
    partitions: tuple[Figures, ...]
    assembly: Figures
    predicted: dict[str, Prediction]  # of `convert`, the largest partition, and of `assemble`
    files: int
    bytes: int

    @property
    def workers(self) -> tuple[Figures, ...]:
        """All of them."""
        return (*self.partitions, self.assembly)

    @property
    def cpu(self) -> float:
        """Seconds of all workers."""
        return sum(each.cpu for each in self.workers)

    @property
    def path(self) -> float:
        """Seconds of the longest partition and of the assembly."""
        return max(each.wall for each in self.partitions) + self.assembly.wall

    @property
    def path_cpu(self) -> float:
        """CPU seconds of the costliest partition and of the assembly."""
        return max(each.cpu for each in self.partitions) + self.assembly.cpu

    @property
    def peak(self) -> int:
        """Bytes of the largest worker, its sandbox included."""
        return max(each.peak + each.child_peak for each in self.workers)


@dataclass(frozen=True, slots=True)
class Peer:
    """What stands beside a format: CPU seconds, and the highest resident set in bytes."""

    format: str
    what: str
    cpu: float
    peak: int
    aimed: bool = True  # celldock's aim is meant beside this one


@dataclass(frozen=True, slots=True)
class Measured:
    """One file. `skipped` are the formats that cannot hold it, with the reason."""

    cells: int
    nnz: int  # of X and raw.X; all values of dense matrices
    plan: Figures
    scan: Figures
    formats: tuple[Conversion, ...]
    skipped: dict[str, str]
    peers: tuple[Peer, ...]


def own_formats() -> list[str]:
    """The formats that are made of an h5ad file alone."""
    return [name for name, each in FORMATS.items() if not each.companion]


def measure_file(path: Path, formats: Sequence[str], repeat: int, portal: Path | None, *, peers: bool) -> Measured:
    """Plan, scan, all formats, and what stands beside them."""
    warm(path)
    conversions: list[Conversion] = []
    found: list[Peer] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planned = measure(plan_file, path, folder, repeat=repeat)
        scanned = measure(scan, path, folder, repeat=repeat)
        plan, _ = load(folder)
        chosen = [each for each in plan.formats if each.format in formats]
        for each in chosen:
            if each.feasible:
                predictions = {one.step: one for one in plan.predictions}
                conversions.append(_measure_format(path, folder, each, predictions, repeat))
                print(f"{path.name}, {each.format}: {conversions[-1].cpu:.2f} CPU-s", flush=True)
                if peers:
                    found += _peers_of(each.format, path, folder, portal)
        skipped = {each.format: each.reason for each in chosen if not each.feasible}
        return Measured(
            plan.n_obs, plan.nnz + plan.raw_nnz, planned, scanned, tuple(conversions), skipped, tuple(found)
        )


def _measure_format(
    path: Path, folder: Path, planned: FormatPlan, predictions: dict[str, Prediction], repeat: int
) -> Conversion:
    name = planned.format
    warm_up = partial(start, path)
    workers = [
        measure(convert, path, folder, name, partition, repeat=repeat, prepare=warm_up)
        for partition in planned.partitions
    ]
    parts = [each.result for each in workers]
    assembly = measure(assemble, path, folder, name, parts, repeat=repeat, prepare=warm_up)
    return Conversion(
        format=name,
        partitions=tuple(replace(each, result=len(each.result.files)) for each in workers),
        assembly=replace(assembly, result=len(assembly.result)),
        predicted={step: predictions[f"{step}/{name}"] for step in ("convert", "assemble")},
        files=len(assembly.result),
        bytes=sum(record.bytes for record in assembly.result),
    )


def _peers_of(name: str, path: Path, folder: Path, portal: Path | None) -> Iterator[Peer]:
    """What stands beside a format whose artifact lies in the folder."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        out = Path(scratch) / "out"
        match name:
            case "cxg" if portal:
                done = portal_cxg(portal, path, out)
                print(f"{path.name}, portal, CPU-s:", {stage: round(cpu, 1) for stage, cpu in done["stages"].items()})
                yield Peer(name, "the portal's algorithm", sum(done["stages"].values()), done["peak"])
            case "zarr":
                done = measure(anndata_zarr, path, out)
                yield Peer(name, "anndata, read and write", sum(done.result.values()), done.peak)
                yield Peer(name, "anndata, write alone", done.result["write"], done.peak, aimed=False)
            case "rds":
                plain = Path(scratch) / "plain"
                unpack(folder / name / "seurat.rds", plain)
                done = measure(gzip_again, plain, out)
                yield Peer(name, "zlib 1 of seurat.rds", done.cpu, done.peak)
            case "cells":
                done = measure(decode, path, folder, prepare=partial(start, path))
                yield Peer(name, "decoding X", done.cpu, done.peak + done.child_peak)


def print_formats(found: dict[str, Measured]) -> None:
    """A row for each format of each file, and for its plan and scan."""
    rows: list[tuple[object, ...]] = []
    for file, each in found.items():
        for step, figures in (("plan", each.plan), ("scan", each.scan)):
            whole = (figures.cpu, figures.cpu, figures.wall, (figures.peak + figures.child_peak) / _MIB)
            rows.append((f"{file} {step}", "", *whole, "", "", "", ""))
        for one in each.formats:
            predicted = one.predicted.values()
            rows.append(
                (
                    f"{file} {one.format}",
                    len(one.partitions),
                    one.cpu,
                    one.path_cpu,
                    one.path,
                    one.peak / _MIB,
                    sum(prediction.seconds for prediction in predicted),
                    max(prediction.memory_mb for prediction in predicted),
                    one.bytes / MB,
                    one.files,
                )
            )
        rows += [(f"{file} {name}: {reason}", *[""] * 9) for name, reason in each.skipped.items()]
    head = ("", "partitions", "CPU-s", "path CPU-s", "path s", "peak MiB")
    print_table((*head, "predicted path s", "predicted MiB", "MB", "files"), rows)


def print_peers(found: dict[str, Measured]) -> None:
    """Each format beside its peer; "at most" is what celldock sets out to need."""
    rows: list[tuple[object, ...]] = []
    for file, each in found.items():
        own = {one.format: one for one in each.formats}
        for peer in each.peers:
            ours, aim = own[peer.format], _AIMS[peer.format]
            at_most = f"{aim.ratio:g}" if peer.aimed else ""
            shares = (ours.cpu / peer.cpu, at_most, ratio(peer.cpu, ours.cpu))
            memory = (ours.peak / _MIB, aim.peak // _MIB, peer.peak / _MIB)
            rows.append((f"{file} {peer.format}", peer.what, ours.cpu, peer.cpu, *shares, *memory))
    head = ("", "beside", "CPU-s", "its CPU-s", "share of it", "at most", "less")
    print_table((*head, "peak MiB", "at most", "its peak MiB"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--formats", nargs="+", choices=own_formats(), default=own_formats())
    parser.add_argument("--portal", type=Path, help="a virtual environment that has the portal's libraries")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each worker; that of median CPU time counts")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    os.environ |= function_settings("ConvertFunction")
    found = {
        path.name: measure_file(path, arguments.formats, arguments.repeat, arguments.portal, peers=True)
        for path in arguments.files
    }
    print()
    print_formats(found)
    print_peers(found)
    if arguments.json:
        save(arguments.json, "formats", {"repeat": arguments.repeat, "files": found})


if __name__ == "__main__":
    main()

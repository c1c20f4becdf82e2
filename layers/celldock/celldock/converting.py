"""One file converted whole, in this process: labelled, cut into partitions, and put together again.

On AWS the same calls of a format are made by the steps Convert and Assemble: see `celldock.cloud.steps.conversion`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from celldock.errors import NotFeasible
from celldock.formats.manifest import Manifest, make_manifest
from celldock.formats.protocol import FormatPlan, Part, Subject
from celldock.formats.registry import FORMATS, get_format
from celldock.formats.sink import LocalSink
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.source import ByteSource
from celldock.labelling import label_file
from celldock.plan import make_plan, scan_file
from celldock.schema import Schema, Setting

MANIFEST = "manifest.json"

type Progress = Callable[[int, int], None]
"""Told how many cells have been converted, and how many there are."""


def local_formats() -> list[str]:
    """The formats that are made of an h5ad file alone."""
    return [name for name, each in FORMATS.items() if not each.companion]


def convert_file(
    source: ByteSource,
    format_name: str,
    schema: Schema,
    out: Path,
    *,
    scratch: Path,
    setting: Setting | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """The artifact of a file that `schema` has found valid, written into the folder `out` with its manifest.

    Memory: that of the format's largest partition. Raises NotFeasible, with the reason, for a file that the format
    cannot hold, and InvalidSubmission for a damaged one.
    """
    planned = make_plan(source, [format_name], formats=[])
    plan = planned.plan.format(format_name)
    if not plan.feasible:
        raise NotFeasible(f"{format_name} cannot hold this file: {plan.reason}.", code="format.not_feasible")
    with label_file(source, schema, scratch=scratch, setting=setting) as labelled:
        with open_h5ad(labelled.file) as file:
            header = file.header()
            layout = planned.layout if labelled.is_of_original else file.layout(header, [])
        scan = partial(scan_file, source, planned, scratch=scratch)
        manifest = _converted(Subject(labelled.file, header, layout, scan), plan, LocalSink(out, scratch), progress)
    _keep(out, {file.path for file in manifest.files})
    (out / MANIFEST).write_bytes(manifest.to_bytes())
    return manifest


def _keep(folder: Path, paths: set[str]) -> None:
    """Removes what the parts have left beside the artifact: pieces of files that were joined."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in paths:
            path.unlink()


def _converted(subject: Subject, plan: FormatPlan, sink: LocalSink, progress: Progress | None) -> Manifest:
    converter, total = get_format(plan.format), subject.header.n_obs
    parts: list[Part] = []
    for each in plan.partitions:
        if progress:
            progress(each.start, total)
        parts.append(converter.convert(subject, each, sink))
    if progress:
        progress(total, total)
    made = converter.assemble(subject, parts, sink)
    return make_manifest(plan, made.files, made.omitted)

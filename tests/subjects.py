"""Files as formats get them, and the artifacts that are made of them in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from celldock.formats.protocol import FileRecord, Format, Part, Partition, Subject
from celldock.formats.sink import LocalSink
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.source import ByteSource, LocalSource
from celldock.scan import ScanResult


def subject_of(file: Path | ByteSource) -> Subject:
    """A file with its header and layout."""
    source = LocalSource(file) if isinstance(file, Path) else file
    with open_h5ad(source) as opened:
        header = opened.header()
        return Subject(source, header, opened.layout(header, []))


def sink_of(folder: Path) -> LocalSink:
    """A sink for an artifact in `folder`, with its scratch folder beside it."""
    scratch = folder.with_name(f"{folder.name}-scratch")
    scratch.mkdir(exist_ok=True)
    return LocalSink(folder, scratch)


def converted(
    form: Format,
    h5ad: Path,
    folder: Path,
    cuts: Sequence[int] | None = None,
    scan: Callable[[], ScanResult] | None = None,
) -> tuple[Subject, list[Part]]:
    """Converts a file into `folder`, in the planned partitions or in those between `cuts`."""
    subject = replace(subject_of(h5ad), scan=scan)
    partitions = form.plan(subject.header, 0).partitions
    if cuts is not None:
        edges = pairwise([0, *cuts, subject.header.n_obs])
        partitions = tuple(Partition(index, start, stop) for index, (start, stop) in enumerate(edges))
    sink = sink_of(folder)
    parts = [form.convert(subject, partition, sink) for partition in partitions]
    assert list(sink.scratch.iterdir()) == []
    return subject, parts


def assembled(
    form: Format,
    h5ad: Path,
    folder: Path,
    cuts: Sequence[int] | None = None,
    scan: Callable[[], ScanResult] | None = None,
) -> tuple[FileRecord, ...]:
    """The whole artifact; its files are those of the folder."""
    subject, parts = converted(form, h5ad, folder, cuts, scan)
    files = form.assemble(subject, parts, sink_of(folder)).files
    there = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    assert sorted(file.path for file in files) == sorted(there)
    return files

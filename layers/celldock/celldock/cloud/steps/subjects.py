"""What formats are made of: the file that Label has left, with its header and layout."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from celldock.catalog.keys import convert_step
from celldock.catalog.records import Submission
from celldock.catalog.work import StoredFile
from celldock.cloud.objects import ObjectStore
from celldock.cloud.steps.planning import load_layout, load_plan
from celldock.cloud.steps.scanning import load_scan
from celldock.cloud.steps.sources import source_of
from celldock.cloud.work import WorkArea
from celldock.formats.protocol import Subject
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.headers import Header
from celldock.h5ad.layout import FileLayout
from celldock.h5ad.source import ByteSource
from celldock.scan import ScanResult

FORMAT = "h5ad"
"""The labelled file as an artifact."""
FILE = "labelled.h5ad"

_HEADER = "header"
_LAYOUT = "layout"


def subject_of(inbox: ObjectStore, work: WorkArea, submission: Submission) -> tuple[Subject, str]:
    """The file that formats are made of, and what its bytes depend on, for fingerprints.

    It is the labelled one; where that is SKIPPED, the upload, or what was made of it by a config.
    """
    manifest = work.load(convert_step(FORMAT))
    scan = partial(_scan, work)
    if not manifest.files:
        return Subject(source_of(inbox, work, submission), load_plan(work).header, load_layout(work), scan), ""
    made = manifest.file(FILE)
    described = [StoredFile.model_validate(manifest.result[name]) for name in (_HEADER, _LAYOUT)]
    header, layout = (work.store.get_bytes(stored.key, stored.object_version) for stored in described)
    source = work.store.source(made.key, made.object_version, made.bytes)
    return Subject(source, Header.from_json(json.loads(header)), FileLayout.from_bytes(layout), scan), made.sha256


def _scan(work: WorkArea) -> ScanResult:
    """Of the file as it was submitted or curated: labels change no matrix."""
    return load_scan(work, load_plan(work))


def describe(work: WorkArea, labelled: ByteSource, *, is_of_original: bool) -> dict[str, Any]:
    """Leaves the labelled file's header and layout for the formats, which then need not look for them.

    Returns where they are, for the result of the step.
    """
    with open_h5ad(labelled) as file:
        header = file.header()
        # Of a file that was only added to, all chunks lie where Plan has found them.
        layout = load_layout(work) if is_of_original else file.layout(header, [])
    folder = f"{convert_step(FORMAT).name}/"
    stored = {
        _HEADER: work.store.put_json(work.key(f"{folder}header.json"), header.to_json()),
        _LAYOUT: work.store.put_bytes(work.key(f"{folder}layout.bin"), layout.to_bytes(), "application/octet-stream"),
    }
    return {name: each.model_dump() for name, each in stored.items()}

"""The steps Convert and Assemble on S3: partitions become files, files become an artifact, by the format's own code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from celldock.catalog.keys import artifact_files, artifact_manifest, convert_step, part_step
from celldock.catalog.records import Submission
from celldock.catalog.states import ArtifactState
from celldock.catalog.work import StepManifest, StoredFile, fingerprint
from celldock.cloud.objects import ObjectStore
from celldock.cloud.sink import S3Sink
from celldock.cloud.steps.planning import load_plan
from celldock.cloud.steps.sources import source_of
from celldock.cloud.work import WorkArea
from celldock.errors import NotFeasible, ServiceFault
from celldock.formats.manifest import make_manifest
from celldock.formats.protocol import FileRecord, FormatPlan, Part, Partition
from celldock.formats.registry import get_format

_PART = "part"
_MANIFEST = "manifest"
_ARTIFACT = "artifact"
_REASON = "reason"


def convert_partition(
    inbox: ObjectStore,
    artifacts: ObjectStore,
    submission: Submission,
    format_name: str,
    partition: Partition,
    scratch: Path,
) -> None:
    """Converts one partition, unless this run or an earlier one has done so with the same code.

    Where the format turns out unable to hold the data, the part says why, for `assemble_artifact` to pass on.
    """
    converter = get_format(format_name)
    work = WorkArea(artifacts, submission.version_id, submission.run)
    step = part_step(format_name, partition.index)
    parameters = {"version": converter.version, **asdict(partition), **_companion(submission, converter.companion)}
    mark = fingerprint(step.name, submission.content, parameters)
    if work.find(step, mark):
        return
    companion = submission.companions[converter.companion] if converter.companion else None
    source = (
        inbox.source(companion.key, companion.version_id, companion.size)
        if companion
        else source_of(inbox, work, submission)
    )
    sink = _sink(work, format_name, scratch)
    try:
        part = converter.convert(source, load_plan(work).header, partition, sink)
    except NotFeasible as error:
        work.finish(step, mark, {_REASON: f"{error.message} {error.hint}".strip()}, [])
        return
    work.finish(step, mark, {_PART: part.to_json()}, [sink.stored[file.path] for file in part.files])


def assemble_artifact(
    artifacts: ObjectStore, submission: Submission, format_name: str, scratch: Path
) -> dict[str, Any]:
    """The Artifact that the parts make up, unless this run or an earlier one has made it with the same code.

    SKIPPED, with the reason, if a part could not be made.
    """
    work = WorkArea(artifacts, submission.version_id, submission.run)
    plan = load_plan(work)
    planned = plan.format(format_name)
    step = convert_step(format_name)
    parameters = {**asdict(planned), **_companion(submission, get_format(format_name).companion)}
    mark = fingerprint(step.name, submission.content, parameters)
    manifest = work.find(step, mark)
    if manifest is None:
        parts = [work.load(part_step(format_name, partition.index)) for partition in planned.partitions]
        reasons = [part.result[_REASON] for part in parts if _REASON in part.result]
        if reasons:
            return work.finish(step, mark, {_ARTIFACT: skipped(planned, reasons[0])}, []).result[_ARTIFACT]
        sink = _sink(work, format_name, scratch)
        records = get_format(format_name).assemble(plan.header, [_part(part) for part in parts], sink)
        root, files = _under_one_root(work, format_name, _located(records, parts, sink))
        manifest = finish_artifact(work, planned, mark, records, root, files)
    return manifest.result[_ARTIFACT]


def _companion(submission: Submission, kind: str) -> dict[str, Any]:
    """What a step's outcome depends on besides the upload itself."""
    return {"companion": submission.companions[kind].model_dump()} if kind else {}


def skipped(planned: FormatPlan, reason: str) -> dict[str, Any]:
    """The artifact of a format that cannot be made, and why."""
    nothing = {"uri": "", "files": 0, "bytes": 0, "sha256": "", "manifest_key": ""}
    state = ArtifactState.SKIPPED
    return {"format": planned.format, "state": state, "version": planned.version, **nothing, "reason": reason}


def finish_artifact(
    work: WorkArea,
    planned: FormatPlan,
    mark: str,
    records: Sequence[FileRecord],
    root: str,
    files: Sequence[StoredFile],
) -> StepManifest:
    """Declares a format done: its artifact has these files, all of which lie under `root`."""
    step = convert_step(planned.format)
    document = make_manifest(planned, records)
    stored = work.store.put_bytes(work.key(artifact_manifest(planned.format)), document.to_bytes(), "application/json")
    artifact = {
        "format": planned.format,
        "state": ArtifactState.CONVERTED,
        "version": planned.version,
        "uri": f"s3://{work.store.bucket}/{root}",
        "files": len(document.files),
        "bytes": document.bytes,
        "sha256": document.sha256,
        "manifest_key": stored.key,
        "reason": "",
    }
    return work.finish(step, mark, {_ARTIFACT: artifact, _MANIFEST: stored.model_dump()}, files)


def _sink(work: WorkArea, format_name: str, scratch: Path) -> S3Sink:
    return S3Sink(work.store, work.key(artifact_files(format_name)), scratch)


def _under_one_root(work: WorkArea, format_name: str, files: list[StoredFile]) -> tuple[str, list[StoredFile]]:
    """The folder that all files of the artifact lie in, and the files there.

    That of an earlier run, if all are its work. If several runs have made some each, they are copied to this run's.
    """
    roots = {stored.key.removesuffix(stored.path) for stored in files}
    if len(roots) == 1:
        return roots.pop(), files
    own = work.key(artifact_files(format_name))
    copies = [
        stored
        if stored.key == own + stored.path
        else work.store.copy_from(work.store, stored, own + stored.path, "application/octet-stream")
        for stored in files
    ]
    return own, copies


def _part(manifest: StepManifest) -> Part:
    return Part.from_json(manifest.result[_PART])


def _located(records: Sequence[FileRecord], parts: Sequence[StepManifest], sink: S3Sink) -> list[StoredFile]:
    """Where each file of the artifact lies: stored just now, or by the part that made it in whichever run."""
    known = {stored.path: stored for part in parts for stored in part.files} | sink.stored
    missing = [record.path for record in records if record.path not in known]
    if missing:
        raise ServiceFault(f"The format names a file that nobody stored: {missing[0]}.", code="assemble.file_missing")
    return [known[record.path] for record in records]

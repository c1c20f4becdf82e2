"""The steps Convert and Assemble on S3: partitions become files, files become an artifact, by the format's own code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from celldock.catalog.keys import artifact_files, convert_step, part_step
from celldock.catalog.records import Submission
from celldock.catalog.work import StepManifest, StoredFile, fingerprint
from celldock.cloud.objects import ObjectStore
from celldock.cloud.sink import S3Sink
from celldock.cloud.steps.artifacts import ARTIFACT, finish_artifact, skipped
from celldock.cloud.steps.planning import load_plan
from celldock.cloud.steps.subjects import subject_of
from celldock.cloud.work import WorkArea
from celldock.errors import InvalidSubmission, NotFeasible, ServiceFault
from celldock.formats.protocol import FileRecord, Part, Partition, Subject
from celldock.formats.registry import get_format

_PART = "part"
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

    Where the format turns out unable to hold the data, or reads what no rule has looked at and finds it damaged, the
    part says why, for `assemble_artifact` to pass on.
    """
    converter = get_format(format_name)
    work = WorkArea(artifacts, submission.version_id, submission.run)
    step = part_step(format_name, partition.index)
    subject, made_of = _subject(inbox, work, submission, converter.companion)
    mark = fingerprint(
        step.name, submission.content, {"version": converter.version, **asdict(partition), "made_of": made_of}
    )
    if work.find(step, mark):
        return
    sink = _sink(work, format_name, scratch)
    try:
        part = converter.convert(subject, partition, sink)
    except (InvalidSubmission, NotFeasible) as error:
        work.finish(step, mark, {_REASON: _why(error)}, [])
        return
    work.finish(step, mark, {_PART: part.to_json()}, [sink.stored[file.path] for file in part.files])


def assemble_artifact(
    inbox: ObjectStore, artifacts: ObjectStore, submission: Submission, format_name: str, scratch: Path
) -> dict[str, Any]:
    """The Artifact that the parts make up, unless this run or an earlier one has made it with the same code.

    SKIPPED, with the reason, if a part, or the whole, could not be made.
    """
    work = WorkArea(artifacts, submission.version_id, submission.run)
    planned = load_plan(work).format(format_name)
    converter = get_format(format_name)
    step = convert_step(format_name)
    subject, made_of = _subject(inbox, work, submission, converter.companion)
    mark = fingerprint(step.name, submission.content, {**asdict(planned), "made_of": made_of})
    manifest = work.find(step, mark)
    if manifest is None:
        parts = [work.load(part_step(format_name, partition.index)) for partition in planned.partitions]
        reasons = [part.result[_REASON] for part in parts if _REASON in part.result]
        if reasons:
            return work.finish(step, mark, {ARTIFACT: skipped(planned, reasons[0])}, []).result[ARTIFACT]
        known = {stored.path: stored for part in parts for stored in part.files}
        sink = _sink(work, format_name, scratch, known)
        try:
            made = converter.assemble(subject, [_part(part) for part in parts], sink)
        except (InvalidSubmission, NotFeasible) as error:
            return work.finish(step, mark, {ARTIFACT: skipped(planned, _why(error))}, []).result[ARTIFACT]
        root, files = _under_one_root(work, format_name, _located(made.files, known | sink.stored))
        manifest = finish_artifact(work, planned, mark, made, root, files)
    return manifest.result[ARTIFACT]


def _subject(
    inbox: ObjectStore, work: WorkArea, submission: Submission, companion: str
) -> tuple[Subject, Mapping[str, Any] | str]:
    """What a format is made of, and what the bytes of that depend on."""
    subject, made_of = subject_of(inbox, work, submission)
    if not companion:
        return subject, made_of
    pinned = submission.companions[companion]
    source = inbox.source(pinned.key, pinned.version_id, pinned.size)
    return replace(subject, source=source), pinned.model_dump()


def _sink(work: WorkArea, format_name: str, scratch: Path, known: Mapping[str, StoredFile] | None = None) -> S3Sink:
    return S3Sink(work.store, work.key(artifact_files(format_name)), scratch, known)


def _why(error: InvalidSubmission | NotFeasible) -> str:
    where = f"{error.where}: " if isinstance(error, InvalidSubmission) else ""
    return f"{where}{error.message} {error.hint}".strip()


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


def _located(records: Sequence[FileRecord], known: Mapping[str, StoredFile]) -> list[StoredFile]:
    """Where each file of the artifact lies: stored just now, or by the part that made it in whichever run."""
    missing = [record.path for record in records if record.path not in known]
    if missing:
        raise ServiceFault(f"The format names a file that nobody stored: {missing[0]}.", code="assemble.file_missing")
    return [known[record.path] for record in records]

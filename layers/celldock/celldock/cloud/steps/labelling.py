"""The step Label on S3: the pinned upload and the portal's labels become the first artifact, `h5ad`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from celldock.canonical import canonical_json
from celldock.catalog.keys import artifact_files, convert_step
from celldock.catalog.records import Submission
from celldock.catalog.work import StepManifest, StoredFile, fingerprint
from celldock.cloud.composing import compose
from celldock.cloud.objects import MAX_COPY_BYTES, ObjectStore, Place
from celldock.cloud.steps.artifacts import ARTIFACT, finish_artifact, skipped
from celldock.cloud.steps.planning import load_pages
from celldock.cloud.steps.sources import source_of
from celldock.cloud.steps.subjects import FILE, FORMAT, describe
from celldock.cloud.work import WorkArea
from celldock.errors import InvalidSubmission, NotFeasible
from celldock.formats.protocol import Assembled, FileRecord, FormatPlan
from celldock.h5ad.remembered import RememberedSource
from celldock.labelling import Labelled, label_file
from celldock.schema import Setting, load_schema

VERSION = "1"
"""Of how the labelled file is made."""
PROOF = "additivity.json"

_CONTENT_TYPE = "application/x-hdf5"


def label_submission(
    inbox: ObjectStore, artifacts: ObjectStore, submission: Submission, schema_version: str, scratch: Path
) -> dict[str, Any]:
    """The artifact `h5ad`, unless this run or an earlier one has made it with the same code.

    SKIPPED, with the reason, where no file can be made that could be published: one that is too large, or whose bytes
    contradict each other in places where no rule looks.
    """
    work = WorkArea(artifacts, submission.version_id, submission.run)
    step = convert_step(FORMAT)
    parameters = {"schema_version": schema_version, "pre_analysis": submission.pre_analysis}
    mark = fingerprint(step.name, submission.content, parameters)
    manifest = work.find(step, mark)
    if manifest is None:
        try:
            manifest = _make(inbox, work, submission, schema_version, scratch, mark)
        except (NotFeasible, InvalidSubmission) as error:
            reason = f"{error.message} {error.hint}".strip()
            manifest = work.finish(step, mark, {ARTIFACT: skipped(_planned(reason), reason)}, [])
    return manifest.result[ARTIFACT]


def _make(
    inbox: ObjectStore, work: WorkArea, submission: Submission, schema_version: str, scratch: Path, mark: str
) -> StepManifest:
    source = source_of(inbox, work, submission)
    _refuse_large(source.size)
    setting = Setting(pre_analysis=submission.pre_analysis)
    # Most of what is looked at is what Plan has looked at, a small read at a time.
    known = RememberedSource(source, load_pages(work))
    with label_file(known, load_schema(schema_version), scratch=scratch, setting=setting) as labelled:
        _refuse_large(labelled.file.size)
        stored = _store(work, source.place, labelled)
        described = describe(work, labelled.file, is_of_original=labelled.is_of_original)
    records = [FileRecord(each.path, each.bytes, each.sha256) for each in stored]
    root = work.key(artifact_files(FORMAT))
    return finish_artifact(work, _planned(""), mark, Assembled(tuple(records)), root, stored, beside=described)


def _store(work: WorkArea, original: Place, labelled: Labelled) -> list[StoredFile]:
    """Puts the file and its proof into the work area. What is as in the original does not come through here."""
    folder = work.key(artifact_files(FORMAT))
    made = compose(work.store, folder + FILE, labelled.file, original if labelled.is_of_original else None)
    proof = work.store.put_bytes(folder + PROOF, canonical_json(labelled.to_json()), "application/json")
    return [work.store.seal(folder + FILE, made.object_version, _CONTENT_TYPE), proof]


def _planned(reason: str) -> FormatPlan:
    return FormatPlan(FORMAT, VERSION, feasible=not reason, reason=reason, partitions=())


def _refuse_large(size: int) -> None:
    if size > MAX_COPY_BYTES:
        raise NotFeasible(
            f"The file takes {size:,} bytes, more than the {MAX_COPY_BYTES:,} of one that can be published.",
            code="label.too_large",
            where=FORMAT,
        )

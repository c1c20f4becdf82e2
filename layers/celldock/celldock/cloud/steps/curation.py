"""The step Curate on S3: the pinned upload and the config beside it become the file that every later step works on.

What is wrong with either is no fault of this step but its result, for Validate to report.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from celldock.catalog.keys import CURATE, CURATION
from celldock.catalog.records import Submission
from celldock.catalog.work import StepManifest, StoredFile, fingerprint
from celldock.cloud.composing import compose
from celldock.cloud.objects import MAX_COPY_BYTES, ObjectStore
from celldock.cloud.reports import ReportStore
from celldock.cloud.steps.sources import CURATED
from celldock.cloud.work import WorkArea
from celldock.curating import Limits, curate_file
from celldock.curation import MAX_CONFIG_BYTES, Curation, CurationRefused, read_curation
from celldock.errors import InvalidSubmission
from celldock.report import FileFacts, Finding, Report
from celldock.schema import Schema, load_schema

LIMITS = Limits(scanned_bytes=30_000_000_000, rewritten_bytes=6_000_000_000)
"""What the function can do in its 900 seconds, and in its /tmp."""

_RECORD = "curation.json"
_FINDINGS = "findings"
_REFUSED = "refused"
_CONTENT_TYPE = "application/x-hdf5"


def curate_submission(
    inbox: ObjectStore, artifacts: ObjectStore, submission: Submission, scratch: Path
) -> dict[str, Any]:
    """The curated file, unless this run or an earlier one has made it with the same code.

    Returns whether config or file were `refused`, the `next` step, the key of the `record` in the inbox bucket, how
    many `changes` it has, and the curated file's `bytes`.
    """
    work = WorkArea(artifacts, submission.version_id, submission.run)
    parameters = submission.model_dump(include={"schema_versions", "companions"})
    mark = fingerprint(CURATE.name, submission.content, parameters)
    manifest = work.find(CURATE, mark) or _make(inbox, work, submission, scratch, mark)
    stored = manifest.file(_RECORD)
    record = work.store.get_json(stored.key, stored.object_version)
    key = ReportStore(inbox).put_record(submission.key, submission.version_id, submission.run, record)
    refused = bool(manifest.result[_REFUSED])
    return {
        _REFUSED: refused,
        "next": "Validate" if refused else "Plan",
        "record": key,
        "changes": len(record["changes"]),
        "bytes": 0 if refused else manifest.file(CURATED).bytes,
    }


def was_refused(work: WorkArea) -> bool:
    """Whether this run's step Curate has left findings in place of a file."""
    return bool(work.load(CURATE).result[_REFUSED])


def with_curation(report: Report, work: WorkArea, submission: Submission) -> Report:
    """A report, with what this run's step Curate has found in the config, and between config and file."""
    companion = submission.companions[CURATION]
    facts = FileFacts(
        name=companion.file_name,
        size=companion.size,
        key=companion.key,
        version_id=companion.version_id,
        etag=companion.etag,
    )
    findings = [Finding.model_validate(found) for found in work.load(CURATE).result[_FINDINGS]]
    return report.with_companion(facts, findings, [])


def _make(inbox: ObjectStore, work: WorkArea, submission: Submission, scratch: Path, mark: str) -> StepManifest:
    companion = submission.companions[CURATION]
    pinned = inbox.source(companion.key, companion.version_id, companion.size)
    text = pinned.read(0, min(companion.size, MAX_CONFIG_BYTES + 1))
    file: StoredFile | None = None
    try:
        curation = read_curation(text, companion.file_name)
        file, record = _curate(inbox, work, submission, curation, scratch)
    except InvalidSubmission as error:
        findings = error.findings if isinstance(error, CurationRefused) else (Finding.refusal(error),)
        record: dict[str, Any] = {"changes": [], _FINDINGS: [each.model_dump(mode="json") for each in findings]}
    about = {"key": companion.key, "version_id": companion.version_id, "text": text.decode(errors="replace")}
    stored = work.store.put_json(work.key(f"{CURATE.name}/{_RECORD}"), {"config": about, **record})
    result = {_REFUSED: file is None, _FINDINGS: record[_FINDINGS]}
    return work.finish(CURATE, mark, result, [stored, *([file] if file else [])])


def _curate(
    inbox: ObjectStore, work: WorkArea, submission: Submission, curation: Curation, scratch: Path
) -> tuple[StoredFile, dict[str, Any]]:
    """The curated file in the work area, and the record of what was done to it."""
    source = inbox.source(submission.key, submission.version_id, submission.size)
    schema = _schema(curation, submission)
    with curate_file(source, curation, schema, scratch=scratch, limits=LIMITS) as curated:
        assert curated.file is not None
        key = work.key(f"{CURATE.name}/{CURATED}")
        made = compose(work.store, key, curated.file, source.place if curated.is_of_original else None)
        if curated.file.size <= MAX_COPY_BYTES:
            return work.store.seal(key, made.object_version, _CONTENT_TYPE), curated.to_json()
        # S3 gives no checksum of a larger object at once; its version pins it.
        size = curated.file.size
        stored = StoredFile(path=CURATED, bytes=size, sha256="", key=key, object_version=made.object_version)
        return stored, curated.to_json()


def _schema(curation: Curation, submission: Submission) -> Schema:
    """The schema that the config names, if the collection allows it; the collection's first one by default."""
    allowed = submission.schema_versions
    version = curation.config.schema_version or allowed[0]
    if version not in allowed:
        raise InvalidSubmission(
            f"The config is for schema {version}, and the collection takes files by {' or '.join(allowed)}.",
            code="curation.schema_version",
            where=curation.where("schema_version"),
            hint=f"Write schema_version: {allowed[0]}, or leave it out.",
        )
    return load_schema(version)

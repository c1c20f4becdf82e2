"""The step Validate on S3: the rules over the pinned upload become a report, in the work area and for the submitter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celldock.catalog.keys import FRAGMENTS, PLAN, VALIDATE
from celldock.catalog.records import Submission
from celldock.catalog.work import StepManifest, fingerprint
from celldock.cloud.objects import ObjectStore
from celldock.cloud.reports import ReportStore
from celldock.cloud.steps.curation import was_refused, with_curation
from celldock.cloud.steps.fragments import with_fragments
from celldock.cloud.steps.planning import REFUSAL, load_plan
from celldock.cloud.steps.scanning import load_scan
from celldock.cloud.steps.sources import source_of
from celldock.cloud.work import WorkArea
from celldock.errors import InvalidSubmission
from celldock.report import FileFacts, Report, Summary
from celldock.schema import Schema, Setting, load_schema, validate

_REPORT_FILE = "report.json"


def validate_submission(inbox: ObjectStore, artifacts: ObjectStore, submission: Submission) -> dict[str, Any]:
    """The verdict, and where its report lies in the inbox; each run writes the report under its own number."""
    work = WorkArea(artifacts, submission.version_id, submission.run)
    schemas = [load_schema(version) for version in submission.schema_versions]
    parameters = submission.model_dump(include={"schema_versions", "companions", "pre_analysis"})
    mark = fingerprint(VALIDATE.name, submission.content, parameters)
    manifest = work.find(VALIDATE, mark) or _make(inbox, work, submission, schemas, mark)
    stored = manifest.file(_REPORT_FILE)
    report = Report.from_json(work.store.get_json(stored.key, stored.object_version))
    report_key = ReportStore(inbox).put(submission.key, submission.version_id, submission.run, report)
    return {
        "valid": report.valid,
        "report_key": report_key,
        "report_bucket": inbox.bucket,
        "schema_version": report.schema_version,
        "errors": report.errors,
        "warnings": report.warnings,
    }


def _make(
    inbox: ObjectStore, work: WorkArea, submission: Submission, schemas: Sequence[Schema], mark: str
) -> StepManifest:
    report = _report(inbox, work, submission, schemas)
    stored = work.store.put_json(work.key(f"{VALIDATE.name}/{_REPORT_FILE}"), report.to_json())
    return work.finish(VALIDATE, mark, {"valid": report.valid}, [stored])


def _report(inbox: ObjectStore, work: WorkArea, submission: Submission, schemas: Sequence[Schema]) -> Report:
    facts = FileFacts(
        name=submission.key.rpartition("/")[2],
        size=submission.size,
        key=submission.key,
        version_id=submission.version_id,
        etag=submission.etag,
    )
    if submission.is_curated and was_refused(work):
        nothing = Report.of([], schema_version=schemas[0].version, file=facts, checked=(), summary=Summary())
        return with_curation(nothing, work, submission)
    refusal = work.load(PLAN).result.get(REFUSAL)
    if refusal is not None:
        # Plan has read it already and could not; there is no need to look at a hostile file twice.
        error = InvalidSubmission(**refusal)
        return Report.refused(error, schema_version=schemas[0].version, file=facts, schema_url=schemas[0].url)
    plan = load_plan(work)
    source = source_of(inbox, work, submission)
    has_fragments = FRAGMENTS in submission.companions
    setting = Setting(fragments=has_fragments, pre_analysis=submission.pre_analysis)
    scan = load_scan(work, plan)
    report = validate(source, *schemas, header=plan.header, scan=scan, facts=facts, setting=setting)
    report = with_curation(report, work, submission) if submission.is_curated else report
    return with_fragments(report, work, submission) if has_fragments else report

"""The step CheckFragments on S3: the pinned fragment file against the schema and the cells of its h5ad file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celldock.catalog.keys import CHECK_FRAGMENTS, FRAGMENTS
from celldock.catalog.records import Companion, Submission
from celldock.catalog.work import fingerprint
from celldock.cloud.objects import ObjectStore
from celldock.cloud.steps.planning import load_plan
from celldock.cloud.steps.sources import source_of
from celldock.cloud.work import WorkArea
from celldock.errors import ServiceFault
from celldock.report import FileFacts, Finding, Report
from celldock.schema import load_schema
from celldock.schema.fragments import FragmentsVerdict, Limits, validate_fragments

LIMITS = Limits(seconds=780, scratch_bytes=10_000_000_000)
"""What the function has, less what it needs before and after the check."""


def check_submitted_fragments(
    inbox: ObjectStore, artifacts: ObjectStore, submission: Submission, scratch: Path
) -> dict[str, Any]:
    """Checks the fragment file, unless this run or an earlier one has done so with the same code.

    What is wrong with it is left in the work area, for Validate to report. Returns how many findings there are.
    """
    work = WorkArea(artifacts, submission.version_id, submission.run)
    companion = fragments_of(submission)
    parameters = submission.model_dump(include={"schema_versions", "companions"})
    mark = fingerprint(CHECK_FRAGMENTS.name, submission.content, parameters)
    manifest = work.find(CHECK_FRAGMENTS, mark)
    if manifest is None:
        verdict = _check(inbox, work, submission, companion, scratch)
        findings = [finding.model_dump(mode="json") for finding in verdict.findings]
        manifest = work.finish(CHECK_FRAGMENTS, mark, {"findings": findings, "checked": verdict.checked}, [])
    return {"findings": len(manifest.result["findings"])}


def with_fragments(report: Report, work: WorkArea, submission: Submission) -> Report:
    """The report on an h5ad file, with what this run's step CheckFragments has found beside it."""
    companion = fragments_of(submission)
    result = work.load(CHECK_FRAGMENTS).result
    findings: Sequence[Finding] = [Finding.model_validate(found) for found in result["findings"]]
    facts = FileFacts(
        name=companion.file_name,
        size=companion.size,
        key=companion.key,
        version_id=companion.version_id,
        etag=companion.etag,
    )
    return report.with_companion(facts, findings, result["checked"])


def fragments_of(submission: Submission) -> Companion:
    """The fragment file that the submission has pinned. Raises ServiceFault if there is none."""
    companion = submission.companions.get(FRAGMENTS)
    if companion is None:
        raise ServiceFault("The submission has no fragment file.", code="fragments.none", where=submission.dataset)
    return companion


def _check(
    inbox: ObjectStore, work: WorkArea, submission: Submission, companion: Companion, scratch: Path
) -> FragmentsVerdict:
    return validate_fragments(
        source_of(inbox, work, submission),
        inbox.source(companion.key, companion.version_id, companion.size),
        *(load_schema(version) for version in submission.schema_versions),
        header=load_plan(work).header,
        scratch=scratch,
        limits=LIMITS,
        passed_over=companion.passed_over.rpartition("/")[2],
    )

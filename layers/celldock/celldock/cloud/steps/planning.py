"""The step Plan on S3: the header of the pinned upload becomes a plan in the work area."""

from __future__ import annotations

from typing import Any

from celldock.catalog.keys import PLAN
from celldock.catalog.records import Submission
from celldock.catalog.work import StepManifest, fingerprint
from celldock.cloud.objects import ObjectStore
from celldock.cloud.work import WorkArea
from celldock.errors import InvalidSubmission
from celldock.formats.protocol import FormatPlan
from celldock.h5ad.headers import read_header
from celldock.plan import Plan, make_plan, partitions_json

REFUSAL = "refusal"
"""Where a refused file's plan manifest says why."""

_PLAN_FILE = "plan.json"


def plan_submission(inbox: ObjectStore, artifacts: ObjectStore, submission: Submission) -> dict[str, Any]:
    """What the workflow learns of the plan: its key, sizes, and the formats with their partitions.

    A file that AnnData could not understand is `refused`: the plan's manifest then holds the finding, for Validate to
    report.
    """
    work = WorkArea(artifacts, submission.version_id, submission.run)
    mark = fingerprint(PLAN.name, submission.version_id, {"required_formats": submission.required_formats})
    manifest = work.find(PLAN, mark) or _make(inbox, work, submission, mark)
    return {"key": work.key(PLAN.manifest), **manifest.result["summary"]}


def load_plan(work: WorkArea) -> Plan:
    """The plan that this run's step Plan has left."""
    stored = work.load(PLAN).file(_PLAN_FILE)
    return Plan.from_bytes(work.store.get_bytes(stored.key, stored.object_version))


def _make(inbox: ObjectStore, work: WorkArea, submission: Submission, mark: str) -> StepManifest:
    source = inbox.source(submission.key, submission.version_id, submission.size)
    try:
        plan = make_plan(read_header(source), submission.required_formats)
    except InvalidSubmission as refusal:
        summary: dict[str, Any] = {"refused": True, "n_obs": 0, "n_vars": 0, "nnz": 0, "formats": []}
        return work.finish(PLAN, mark, {"summary": summary, REFUSAL: refusal_to_json(refusal)}, [])
    files = [work.store.put_bytes(work.key(f"{PLAN.name}/{_PLAN_FILE}"), plan.to_bytes(), "application/json")]
    formats: list[dict[str, Any]] = []
    for planned in plan.formats:
        key = work.key(f"{PLAN.name}/partitions-{planned.format}.json")
        files.append(work.store.put_bytes(key, partitions_json(planned), "application/json"))
        formats.append(_format(planned, planned.format in plan.required, key))
    summary = {
        "refused": False,
        "n_obs": plan.n_obs,
        "n_vars": plan.n_vars,
        "nnz": plan.nnz,
        "formats": formats,
    }
    return work.finish(PLAN, mark, {"summary": summary}, files)


def refusal_to_json(refusal: InvalidSubmission) -> dict[str, str]:
    """A refusal as it travels from Plan to Validate."""
    return {"code": refusal.code, "message": refusal.message, "where": refusal.where, "hint": refusal.hint}


def _format(planned: FormatPlan, required: bool, partitions_key: str) -> dict[str, Any]:
    return {
        "format": planned.format,
        "version": planned.version,
        "feasible": planned.feasible,
        "required": required,
        "reason": planned.reason,
        "partitions": len(planned.partitions),
        "partitions_key": partitions_key,
    }

"""The step Plan on S3: the pinned upload, guarded, becomes a plan in the work area."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celldock.catalog.keys import PLAN
from celldock.catalog.records import Submission
from celldock.catalog.work import StepManifest, fingerprint
from celldock.cloud.objects import ObjectStore
from celldock.cloud.steps.sources import source_of
from celldock.cloud.work import WorkArea
from celldock.errors import InvalidSubmission
from celldock.formats.protocol import FormatPlan
from celldock.h5ad.layout import FileLayout
from celldock.h5ad.remembered import RememberedSource
from celldock.plan import Plan, make_plan, partitions_json

REFUSAL = "refusal"
"""Where a refused file's plan manifest says why."""

_PLAN_FILE = "plan.json"
_LAYOUT_FILE = "layout.bin"
_PAGES_FILE = "pages.bin"
_SCAN_FILE = "scan-partitions.json"


def plan_submission(
    inbox: ObjectStore, artifacts: ObjectStore, submission: Submission, formats: Sequence[str] = ()
) -> dict[str, Any]:
    """What the workflow learns of the plan: its key, sizes, the scan's and the formats' partitions.

    `formats` names those that are made, besides those that the collection requires; none for all.

    A file that the guard refuses, or that AnnData could not understand, is `refused`: the plan's manifest then holds
    the finding, for Validate to report.
    """
    work = WorkArea(artifacts, submission.version_id, submission.run)
    parameters = submission.model_dump(include={"required_formats", "companions"}) | {"formats": sorted(formats)}
    mark = fingerprint(PLAN.name, submission.content, parameters)
    manifest = work.find(PLAN, mark) or _make(inbox, work, submission, formats, mark)
    return {"key": work.key(PLAN.manifest), **manifest.result["summary"]}


def load_plan(work: WorkArea) -> Plan:
    """The plan that this run's step Plan has left.

    Raises ServiceFault where there is none: a file that the guard has not let pass is not to be opened.
    """
    stored = work.load(PLAN).file(_PLAN_FILE)
    return Plan.from_bytes(work.store.get_bytes(stored.key, stored.object_version))


def load_layout(work: WorkArea) -> FileLayout:
    """Where the chunks of the upload's matrices lie, as this run's step Plan has found them."""
    stored = work.load(PLAN).file(_LAYOUT_FILE)
    return FileLayout.from_bytes(work.store.get_bytes(stored.key, stored.object_version))


def load_pages(work: WorkArea) -> bytes:
    """What this run's step Plan has read of the file, for a `RememberedSource`."""
    stored = work.load(PLAN).file(_PAGES_FILE)
    return work.store.get_bytes(stored.key, stored.object_version)


def _refusal_to_json(refusal: InvalidSubmission) -> dict[str, str]:
    return {"code": refusal.code, "message": refusal.message, "where": refusal.where, "hint": refusal.hint}


def _make(
    inbox: ObjectStore, work: WorkArea, submission: Submission, formats: Sequence[str], mark: str
) -> StepManifest:
    source = RememberedSource(source_of(inbox, work, submission))
    try:
        sizes = {kind: companion.size for kind, companion in submission.companions.items()}
        planned = make_plan(source, submission.required_formats, sizes, formats=formats or None)
    except InvalidSubmission as refusal:
        scan = {"partitions": 0, "partitions_key": ""}
        numbers = {"n_obs": 0, "n_vars": 0, "nnz": 0, "seconds": 0}
        summary: dict[str, Any] = {"refused": True, **numbers, "scan": scan, "formats": []}
        return work.finish(PLAN, mark, {"summary": summary, REFUSAL: _refusal_to_json(refusal)}, [])
    plan = planned.plan
    json_files = {_PLAN_FILE: plan.to_bytes(), _SCAN_FILE: partitions_json(plan.scan.partitions)}
    json_files |= {_partitions_file(each): partitions_json(each.partitions) for each in plan.formats}
    files = [work.store.put_bytes(_key(work, name), data, "application/json") for name, data in json_files.items()]
    binary_files = {_LAYOUT_FILE: planned.layout.to_bytes(), _PAGES_FILE: source.to_bytes()}
    files += [
        work.store.put_bytes(_key(work, name), data, "application/octet-stream") for name, data in binary_files.items()
    ]
    return work.finish(PLAN, mark, {"summary": _summary(work, plan)}, files)


def _summary(work: WorkArea, plan: Plan) -> dict[str, Any]:
    return {
        "refused": False,
        "n_obs": plan.n_obs,
        "n_vars": plan.n_vars,
        "nnz": plan.nnz,
        "seconds": plan.seconds,
        "scan": {"partitions": len(plan.scan.partitions), "partitions_key": _key(work, _SCAN_FILE)},
        "formats": [
            _format(each, each.format in plan.required, _key(work, _partitions_file(each))) for each in plan.formats
        ],
    }


def _key(work: WorkArea, name: str) -> str:
    return work.key(f"{PLAN.name}/{name}")


def _partitions_file(planned: FormatPlan) -> str:
    return f"partitions-{planned.format}.json"


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

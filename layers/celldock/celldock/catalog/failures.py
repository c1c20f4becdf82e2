"""Runs that ended without an outcome, as the workflow and as Step Functions' own events tell of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from celldock.catalog.records import Failure, RunInput

_ENDS = frozenset({"FAILED", "TIMED_OUT", "ABORTED"})
_MAX_CAUSE = 1000
_INPUT_FIELDS = tuple(RunInput.model_fields)


class FailedRun(BaseModel):
    """A run that ended and why."""

    model_config = ConfigDict(frozen=True)

    run: RunInput
    failure: Failure


def read_machine_failure(payload: Mapping[str, Any]) -> FailedRun | None:
    """What the state RecordFailure says; None where it names no run."""
    submission = _mapping(payload.get("submission"))
    run = _run_input({name: submission.get(name) for name in _INPUT_FIELDS})
    if run is None:
        return None
    error = _mapping(payload.get("error"))
    failure = Failure(
        step=_text(payload.get("step")),
        error=_text(error.get("Error")) or "Unknown",
        cause=shorten_cause(_text(error.get("Cause"))),
    )
    return FailedRun(run=run, failure=failure)


def read_status_change(event: Mapping[str, Any]) -> FailedRun | None:
    """What a `Step Functions Execution Status Change` says; None where it is not about a run that ended badly.

    Such events also come from the child executions of Distributed Maps and from executions that were started by
    hand: only one whose input is a run's and whose name is that run's own counts.
    """
    detail = _mapping(event.get("detail"))
    if event.get("source") != "aws.states" or detail.get("status") not in _ENDS:
        return None
    try:
        run = _run_input(json.loads(_text(detail.get("input"))))
    except ValueError:
        return None
    if run is None or detail.get("name") != run.execution_name:
        return None
    failure = Failure(
        error=_text(detail.get("error")) or str(detail["status"]),
        cause=shorten_cause(_text(detail.get("cause"))),
    )
    return FailedRun(run=run, failure=failure)


def shorten_cause(cause: str) -> str:
    """A cause fit for the catalog: of a function's error its message alone, of anything a bounded length."""
    try:
        document = json.loads(cause)
    except ValueError:
        document = None
    cause = _text(_mapping(document).get("errorMessage")) or cause
    return cause if len(cause) <= _MAX_CAUSE else cause[: _MAX_CAUSE - 1] + "…"


def _run_input(document: Any) -> RunInput | None:
    try:
        return RunInput.model_validate(document)
    except ValidationError:
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

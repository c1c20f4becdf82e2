"""Events of the inbox and of ended runs, read from AWS's documented shapes and from anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from celldock.catalog.failures import read_machine_failure, read_status_change
from celldock.catalog.keys import execution_name
from celldock.catalog.uploads import read_upload_event

EVENTS = Path(__file__).parents[2] / "events"


def sample(name: str) -> dict[str, Any]:
    return json.loads((EVENTS / f"{name}.json").read_text())


def created(**changes: Any) -> dict[str, Any]:
    upload = {"key": "atlas/lung.h5ad", "size": 5, "etag": "e", "version-id": "v1", "sequencer": "55AE", **changes}
    detail = {"version": "0", "bucket": {"name": "inbox"}, "object": upload, "reason": "PutObject"}
    return {"version": "0", "source": "aws.s3", "detail-type": "Object Created", "detail": detail}


@pytest.mark.parametrize("name", ["s3-object-created-put", "s3-object-created-multipart", "s3-object-created-odd-key"])
def test_an_object_created_event_is_an_upload(name: str) -> None:
    event = sample(name)
    upload = read_upload_event(event)
    assert upload is not None
    assert upload.key == event["detail"]["object"]["key"]
    assert upload.version_id == event["detail"]["object"]["version-id"]


@pytest.mark.parametrize(
    "key", ["a/with+plus and space.h5ad", "a/100%25.h5ad", "a/Zu\u0308ri.h5ad", "a/Z\u00fcri.h5ad"]
)
def test_a_key_is_not_decoded(key: str) -> None:
    upload = read_upload_event(json.loads(json.dumps(created(key=key))))
    assert upload is not None
    assert upload.key == key
    assert upload.first_run().key == key


def test_the_events_of_an_empty_object_have_no_size() -> None:
    event = created()
    del event["detail"]["object"]["size"]
    upload = read_upload_event(event)
    assert upload is not None
    assert upload.size == 0


@pytest.mark.parametrize("name", ["s3-test-event", "s3-object-deleted"])
def test_other_events_of_the_bucket_are_no_uploads(name: str) -> None:
    assert read_upload_event(sample(name)) is None


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"hello": "world"},
        {"source": "aws.s3", "detail-type": "Object Created"},
        {"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": "inbox", "object": {}}},
        created(key=""),
        created(key="x" * 1025),
        created(key=5),
        created(**{"version-id": "null"}),
        created(**{"version-id": None}),
        created(**{"version-id": "../../x"}),
        created(sequencer="xyz"),
        created(size=-1),
    ],
)
def test_what_s3_never_sends_is_refused(event: dict[str, Any]) -> None:
    with pytest.raises((ValueError, ValidationError)):
        read_upload_event(event)


RUN = {"bucket": "inbox", "key": "atlas/lung.h5ad", "version_id": "v1", "sequencer": "55AE", "run": 1}
NAME = execution_name("inbox", "atlas/lung.h5ad", "v1", 1)


def ended(**changes: Any) -> dict[str, Any]:
    detail = {"name": NAME, "status": "TIMED_OUT", "input": json.dumps(RUN), "error": None, "cause": None, **changes}
    return {"source": "aws.states", "detail-type": "Step Functions Execution Status Change", "detail": detail}


@pytest.mark.parametrize("name", ["states-execution-failed", "states-execution-timed-out"])
def test_the_end_of_a_run_is_recognised(name: str) -> None:
    failed = read_status_change(sample(name))
    assert failed is not None
    assert failed.run.submission_key.dataset == "atlas/pbmc68k"
    assert failed.failure.error


def test_an_end_without_an_error_is_named_by_its_status() -> None:
    failed = read_status_change(ended())
    assert failed is not None
    assert failed.failure.error == "TIMED_OUT"


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"source": "aws.states"},
        {"source": "aws.states", "detail": "odd"},
        ended(status="SUCCEEDED"),
        ended(status="RUNNING"),
        ended(input=None),
        ended(input="no json"),
        ended(input="[]"),
        ended(input=json.dumps({"submission": RUN, "format": "cells", "partition": {"index": 0}})),
        ended(input=json.dumps({**RUN, "more": 1})),
        ended(input=json.dumps({**RUN, "key": "../x"})),
        ended(name="started-by-hand"),
        {**ended(), "source": "aws.batch"},
    ],
)
def test_ends_of_anything_else_are_not_ours(event: dict[str, Any]) -> None:
    assert read_status_change(event) is None


def test_the_workflow_tells_step_error_and_cause() -> None:
    cause = json.dumps({"errorMessage": "S3 is away", "errorType": "TransientError", "stackTrace": ["…"] * 50})
    payload = {"submission": RUN, "step": "Plan", "error": {"Error": "TransientError", "Cause": cause}}
    failed = read_machine_failure(payload)
    assert failed is not None
    assert failed.run.run == 1
    assert failed.failure.model_dump() == {"step": "Plan", "error": "TransientError", "cause": "S3 is away"}


def test_a_submission_that_claim_has_enriched_is_read_as_well() -> None:
    submission = {**RUN, "execution": "arn:…", "dataset": "atlas/lung", "pk": "DATASET#atlas/lung", "publish": False}
    failed = read_machine_failure({"submission": submission, "step": "Convert", "error": {"Error": "E"}})
    assert failed is not None
    assert failed.failure.cause == ""


def test_a_long_cause_is_shortened() -> None:
    payload = {"submission": RUN, "step": "Plan", "error": {"Error": "E", "Cause": "x" * 30_000}}
    failed = read_machine_failure(payload)
    assert failed is not None
    assert len(failed.failure.cause) == 1000


@pytest.mark.parametrize("error", [None, "text", [], {"Error": 5, "Cause": {}}])
def test_an_odd_error_is_still_a_failure(error: Any) -> None:
    failed = read_machine_failure({"submission": RUN, "step": None, "error": error})
    assert failed is not None
    assert failed.failure.error == "Unknown"


@pytest.mark.parametrize("payload", [{}, {"submission": None}, {"submission": {}}, {"submission": {**RUN, "run": 0}}])
def test_a_failure_that_names_no_run_is_none(payload: dict[str, Any]) -> None:
    assert read_machine_failure(payload) is None

"""Nothing twice, nothing lost: redelivery, order, overwriting, late writers."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.dock import Dock, Drop, wait_for

SLOW_SECONDS = 4


def upload_event(drop: Drop, sequencer: str) -> dict[str, Any]:
    """The event as S3 sends it."""
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "123456789012",
        "time": "2026-01-01T00:00:00Z",
        "region": "us-east-1",
        "resources": [f"arn:aws:s3:::{drop.bucket}"],
        "detail": {
            "version": "0",
            "bucket": {"name": drop.bucket},
            "object": {"key": drop.key, "size": 1, "etag": "e", "version-id": drop.version_id, "sequencer": sequencer},
            "request-id": "C3D13FE58DE4C810",
            "requester": "123456789012",
            "source-ip-address": "127.0.0.1",
            "reason": "PutObject",
        },
    }


def deliver(dock: Dock, event: dict[str, Any]) -> None:
    dock.sqs.send_message(QueueUrl=dock.outputs["UploadQueueUrl"], MessageBody=json.dumps(event))


def test_a_redelivered_event_starts_one_execution(dock: Dock, example: Path) -> None:
    drop = dock.drop(example, "once/redelivered.h5ad")
    dock.finished(drop)
    before = dock.version(drop)
    sequencer = (before or {})["sequencer"]
    for _ in range(5):
        deliver(dock, upload_event(drop, sequencer))
    wait_for(lambda: _queue_is_empty(dock), "the queue to drain")
    assert len(dock.executions_of(drop)) == 1
    assert dock.version(drop) == before


def test_an_older_sequencer_never_overtakes_a_newer_one(dock: Dock, example: Path) -> None:
    newer = dock.drop(example, "once/order.h5ad")
    assert dock.finished(newer)["state"] == "READY"

    with dock.silent_inbox():
        older = dock.drop(example, newer.key)
    deliver(dock, upload_event(older, "00"))
    assert dock.finished(older)["state"] == "SUPERSEDED"

    assert (dock.version(newer) or {})["state"] == "READY"
    assert dock.answer(newer)["dataset"]["latest_version"] == newer.version_id
    assert dock.execution_status(older) == "SUCCEEDED"


def test_a_newer_upload_supersedes_the_unfinished_one_and_fences_its_late_lambda(dock: Dock, example: Path) -> None:
    with dock.wrapped("ValidateFunction", f"import time; time.sleep({SLOW_SECONDS})"):
        old = dock.drop(example, "once/overwritten.h5ad")
        wait_for(lambda: (v := dock.version(old)) and v.get("step") == "Validate", "the old one to be in Validate")
        new = dock.drop(example, "once/overwritten.h5ad")
        superseded = dock.finished(old)
        assert superseded["state"] == "SUPERSEDED"
        wait_for(lambda: dock.execution_status(old) == "ABORTED", "the old execution to be stopped")
        assert dock.finished(new)["state"] == "READY"
    time.sleep(SLOW_SECONDS)  # the old run's Lambda has ended by now, long after its execution was stopped

    assert dock.version(old) == superseded
    assert dock.answer(new)["dataset"]["latest_version"] == new.version_id
    made = dock.made(new)
    assert set(made) == {"h5ad", "cells"}
    assert all(new.version_id in artifact["manifest_key"] for artifact in made.values())


def test_reads_are_pinned_to_the_version(dock: Dock, example: Path) -> None:
    good = dock.drop(example, "once/pinned.h5ad")
    assert dock.finished(good)["state"] == "READY"
    bad = dock.drop(b"<html>", "once/pinned.h5ad")
    assert dock.finished(bad)["state"] == "INVALID"
    assert dock.report(good)["valid"] is True
    assert (dock.version(good) or {})["state"] == "READY", "READY is never superseded"


def test_two_people_publish_at_once_and_one_publication_results(dock: Dock, example: Path) -> None:
    drop = dock.drop(example, "once/race.h5ad")
    dock.finished(drop)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: dock.api.publish(drop.dataset, drop.version_id), range(4)))
    assert len({answer["publication_id"] for answer in answers}) == 1
    assert dock.answer(drop)["dataset"]["publication_id"] == answers[0]["publication_id"]


def test_an_invalid_version_cannot_be_published(dock: Dock) -> None:
    drop = dock.drop(b"", "once/never.h5ad")
    dock.finished(drop)
    with pytest.raises(Exception, match="INVALID"):
        dock.api.publish(drop.dataset, drop.version_id)
    assert dock.keys(dock.public, "public/") == [
        k for k in dock.keys(dock.public, "public/") if drop.version_id not in k
    ]


def test_an_upload_that_is_deleted_at_once_is_cancelled_not_failed(dock: Dock, example: Path) -> None:
    with dock.silent_inbox():
        ghost = dock.drop(example, "once/gone.h5ad")
    dock.s3.delete_object(Bucket=ghost.bucket, Key=ghost.key, VersionId=ghost.version_id)
    deliver(dock, upload_event(ghost, "01"))
    assert dock.finished(ghost)["state"] == "CANCELLED"


def _queue_is_empty(dock: Dock) -> bool:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    attributes = dock.sqs.get_queue_attributes(QueueUrl=dock.outputs["UploadQueueUrl"], AttributeNames=names)[
        "Attributes"
    ]
    return all(int(attributes[name]) == 0 for name in names)

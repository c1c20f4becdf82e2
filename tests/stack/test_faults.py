"""Every bad end is a recorded state, and what failed can be run again from where it stopped."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.dock import Dock, wait_for

OUT_OF_MEMORY = "hoard = [bytearray(1 << 20) for _ in range(1 << 14)]"
CRASH = "import os; os._exit(3)"
HANG = "import time; time.sleep(900)"
RAISE = "raise RuntimeError('boom')"

FUNCTIONS = {
    "Plan": "PlanFunction",
    "Scan": "ScanFunction",
    "Validate": "ValidateFunction",
    "Convert": "ConvertFunction",
}


@pytest.mark.parametrize(
    ("step", "fault", "error"),
    [
        ("Plan", CRASH, "Runtime.ExitError"),
        ("Validate", OUT_OF_MEMORY, "Runtime.ExitError"),
        ("Validate", RAISE, "RuntimeError"),
        ("Scan", RAISE, "RuntimeError"),
    ],
)
def test_a_step_that_dies_ends_in_failed_with_step_and_cause(
    dock: Dock, example: Path, step: str, fault: str, error: str
) -> None:
    with dock.wrapped(FUNCTIONS[step], fault):
        drop = dock.drop(example, f"faults/{step}-{abs(hash(fault))}.h5ad")
        version = dock.finished(drop)
    assert version["state"] == "FAILED"
    assert version["failure"]["step"] == step
    assert version["failure"]["error"] == error
    assert dock.execution_status(drop) == "FAILED", "operators must see it red"


def test_a_step_that_hangs_times_out_and_is_recorded(dock: Dock, example: Path) -> None:
    with dock.changed("PlanFunction", Timeout=2), dock.wrapped("PlanFunction", HANG):
        drop = dock.drop(example, "faults/hang.h5ad")
        version = dock.finished(drop)
    assert version["state"] == "FAILED"
    assert version["failure"]["step"] == "Plan"
    assert "Timedout" in version["failure"]["error"]


def test_a_worker_of_a_required_format_that_dies_fails_the_run(dock: Dock, example: Path) -> None:
    with dock.wrapped("ConvertFunction", CRASH):
        drop = dock.drop(example, "faults/convert.h5ad")
        version = dock.finished(drop)
    assert version["state"] == "FAILED"
    artifact = dock.made(drop)["cells"]
    assert artifact["state"] == "FAILED"
    assert artifact["reason"].startswith("Runtime.ExitError")


def test_a_run_that_dies_before_claim_is_recorded(dock: Dock, example: Path) -> None:
    with dock.wrapped("ClaimFunction", RAISE):
        drop = dock.drop(example, "faults/claim.h5ad")
        version = dock.finished(drop)
    assert version["state"] == "FAILED"


def test_an_aborted_execution_is_recorded(dock: Dock, example: Path) -> None:
    with dock.wrapped("PlanFunction", HANG):
        drop = dock.drop(example, "faults/aborted.h5ad")
        wait_for(lambda: (v := dock.version(drop)) and v["state"] == "PROCESSING", "the claim")
        dock.sfn.stop_execution(executionArn=dock.execution(drop), error="Operator", cause="stopped by hand")
        version = dock.finished(drop)
    assert version["state"] == "FAILED"
    assert dock.execution_status(drop) == "ABORTED"


def test_a_failure_handler_that_fails_itself_leaves_no_silence(dock: Dock, example: Path) -> None:
    with dock.wrapped("PlanFunction", RAISE), dock.wrapped("FailFunction", _once("boom")):
        drop = dock.drop(example, "faults/handler.h5ad")
        version = dock.finished(drop)
    assert version["state"] == "FAILED"


def test_a_missing_dependency_fails_as_on_aws(dock: Dock, example: Path) -> None:
    with dock.changed("PlanFunction", Layers=[]):
        drop = dock.drop(example, "faults/no-layers.h5ad")
        version = dock.finished(drop)
    assert version["state"] == "FAILED"
    assert version["failure"]["error"] == "Runtime.ImportModuleError"


def test_a_redrive_raises_the_run_and_reuses_what_holds(dock: Dock, example: Path) -> None:
    with dock.wrapped("AssembleFunction", CRASH):
        drop = dock.drop(example, "faults/redriven.h5ad")
        assert dock.finished(drop)["state"] == "FAILED"

    answer = dock.api.redrive(drop.dataset)
    assert answer["run"] == 2
    wait_for(lambda: (dock.version(drop) or {})["state"] != "FAILED", "the second run to claim")
    version = dock.finished(drop)

    assert (version["state"], int(version["run"])) == ("READY", 2)
    work = f"work/{drop.version_id}/2/"
    reused = dock.read_json(dock.artifacts, f"{work}plan/manifest.json")
    assert reused["made_by_run"] == 1
    parts = [key for key in dock.keys(dock.artifacts, f"{work}convert/cells/parts/") if key.endswith(".json")]
    assert parts
    assert all(dock.read_json(dock.artifacts, key)["made_by_run"] == 1 for key in parts), "no cell is converted twice"
    assert {artifact["state"] for artifact in dock.made(drop).values()} == {"CONVERTED"}


def test_redriving_what_did_not_fail_is_refused(dock: Dock, example: Path) -> None:
    drop = dock.drop(example, "faults/fine.h5ad")
    dock.finished(drop)
    with pytest.raises(Exception, match="READY"):
        dock.api.redrive(drop.dataset)
    assert len(dock.executions_of(drop)) == 1


def test_a_poisoned_message_ends_in_the_dead_letter_queue(dock: Dock, example: Path) -> None:
    url, dead = dock.outputs["UploadQueueUrl"], dock.outputs["UploadDlqUrl"]
    before = dock.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
    dock.sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1"})
    time.sleep(2)  # polls that are already waiting still hold messages for as long as the queue said before
    try:
        dock.sqs.send_message(
            QueueUrl=url, MessageBody=json.dumps({"detail-type": "Object Created", "detail": "poison"})
        )
        letters = wait_for(
            lambda: dock.sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=10).get("Messages"), "the dead letter"
        )
    finally:
        dock.sqs.set_queue_attributes(QueueUrl=url, Attributes=before)
    assert json.loads(letters[0]["Body"])["detail"] == "poison"

    alongside = dock.drop(example, "faults/alongside.h5ad")
    assert dock.finished(alongside)["state"] == "READY", "poison does not stop the others"


def _once(message: str) -> str:
    """A fault for the machine's call only: the event from the queue carries Records."""
    return f"if 'Records' not in event: raise RuntimeError({message!r})"

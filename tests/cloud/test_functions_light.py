"""The functions that carry no science: claim, publish, announce, fail, api; and that they carry none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from celldock.catalog.records import Failure
from celldock.catalog.states import VersionState
from celldock.cloud.clients import client
from celldock.errors import Conflict, ObjectGone
from tests.cloud.conftest import INBOX, Cloud
from tests.cloud.lambdas import failed_messages, invoke, load, sqs
from tests.cloud.submissions import DATASET, published_version, ready, run_of, take
from tests.unit.test_catalog_events import VERSION

ROOT = Path(__file__).parents[2]
KEY = f"{DATASET}.h5ad"

# What a function with the layers `celldock` and `runtime` alone can import.
BLOCKER = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"numpy", "h5py", "duckdb", "anndata", "pandas", "scipy", "aws_xray_sdk"}:
            raise ImportError(f"{name} is not in the layers")
sys.meta_path.insert(0, Block())
import importlib.util
for name in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("app", f"functions/{name}/app.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
"""


def test_light_functions_start_without_science() -> None:
    environment = {
        "PYTHONPATH": str(ROOT / "layers" / "celldock"),
        "AWS_DEFAULT_REGION": "eu-central-1",
        "POWERTOOLS_METRICS_NAMESPACE": "celldock",
        **{f"CELLDOCK_{name}": "x" for name in ("TABLE", "INBOX", "ARTIFACTS", "PUBLIC", "BUS")},
        "CELLDOCK_MACHINE_ARN": "arn:aws:states:eu-central-1:123456789012:stateMachine:ingest",
    }
    names = ["intake", "claim", "publish", "announce", "fail", "api"]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKER, *names], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------------------------------------------------------------
# claim


def upload(cloud: Cloud, sequencer: str = "55AE", **metadata: str) -> dict[str, Any]:
    """The input of the run of a new upload."""
    answer = client("s3").put_object(Bucket=INBOX, Key=KEY, Body=b"h5ad", Metadata=metadata)
    run = run_of(answer["VersionId"], sequencer)
    cloud.table.receive(run, DATASET, 4, "e")
    return run.model_dump()


def test_claim_answers_with_the_submission(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = load("claim", cloud, monkeypatch)
    run = upload(cloud)
    submission = invoke(claim, {"submission": run, "execution": "arn:aws:states:::execution:m:1"})
    assert submission == {
        **run,
        "execution": "arn:aws:states:::execution:m:1",
        "collection": "atlas",
        "name": "lung",
        "dataset": DATASET,
        "pk": f"DATASET#{DATASET}",
        "sk": f"VERSION#{run['version_id']}",
        "size": 4,
        "etag": submission["etag"],
        "publish": False,
        "required_formats": ["cells"],
        "schema_versions": ["7.1.0"],
        "pre_analysis": False,
        "companions": {},
        "step": "Plan",
    }
    assert invoke(claim, {"submission": run, "execution": "arn:aws:states:::execution:m:1"}) == submission


def test_claim_stops_the_execution_that_it_pushes_aside(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = load("claim", cloud, monkeypatch)
    old, new = run_of(upload(cloud)["version_id"], "55AE"), run_of(upload(cloud, "55AF")["version_id"], "55AF")
    for run in (old, new):
        arn = cloud.executions.start(run).arn
        invoke(claim, {"submission": run.model_dump(), "execution": arn})
    assert cloud.running() == [new.execution_name]


def test_claim_of_a_deleted_object_cancels_the_version(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = load("claim", cloud, monkeypatch)
    run = upload(cloud)
    client("s3").delete_object(Bucket=INBOX, Key=KEY, VersionId=run["version_id"])
    with pytest.raises(ObjectGone):
        invoke(claim, {"submission": run, "execution": "arn:aws:states:::execution:m:1"})
    version = cloud.table.version(DATASET, run["version_id"])
    assert version is not None
    assert version.state == VersionState.CANCELLED


# ---------------------------------------------------------------------------------------------------------------------
# publish


def test_publish_makes_a_version_public(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    version = ready(cloud, "v1", "01")
    submission = {
        **run_of("v1", "01").model_dump(),
        **dict.fromkeys(("execution", "collection", "name", "dataset", "etag"), "x"),
        **{"pk": version.pk, "sk": version.sk, "size": 1, "publish": True, "required_formats": ["cells"]},
    }
    publish = load("publish", cloud, monkeypatch)
    answer = invoke(publish, {"submission": submission, "dataset": DATASET, "version_id": "v1", "run": 1})
    assert (answer["dataset"], answer["version_id"]) == (DATASET, "v1")
    assert published_version(cloud) == "v1"


# ---------------------------------------------------------------------------------------------------------------------
# fail


@pytest.fixture
def fail(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("fail", cloud, monkeypatch)


def state_of(cloud: Cloud, version_id: str = "v1") -> VersionState:
    version = cloud.table.version(DATASET, version_id)
    assert version is not None
    return version.state


def told(run: int = 1) -> dict[str, Any]:
    submission = run_of("v1", "55AE", run).model_dump()
    return {"submission": submission, "step": "Convert", "error": {"Error": "Boom", "Cause": "why"}}


def ended(run: int = 1, **changes: Any) -> dict[str, Any]:
    """A status change as EventBridge tells it."""
    found = run_of("v1", "55AE", run)
    detail = {"name": found.execution_name, "status": "TIMED_OUT", "input": found.model_dump_json(), **changes}
    return {"source": "aws.states", "detail-type": "Step Functions Execution Status Change", "detail": detail}


def test_the_workflows_failure_is_recorded_once(cloud: Cloud, fail: ModuleType) -> None:
    take(cloud, run_of("v1", "55AE"))
    assert invoke(fail, told()) == {"recorded": True}
    first = cloud.table.version(DATASET, "v1")
    assert first is not None
    assert first.state == VersionState.FAILED
    assert first.failure == Failure(step="Convert", error="Boom", cause="why")
    # The execution's own FAILED event follows.
    assert failed_messages(invoke(fail, sqs(ended(status="FAILED")))) == []
    assert cloud.table.version(DATASET, "v1") == first


def test_an_end_that_no_catch_saw_is_recorded_with_the_step_that_it_came_to(cloud: Cloud, fail: ModuleType) -> None:
    take(cloud, run_of("v1", "55AE"))
    assert failed_messages(invoke(fail, sqs(ended()))) == []
    version = cloud.table.version(DATASET, "v1")
    assert version is not None
    assert version.failure == Failure(step="Plan", error="TIMED_OUT")


def test_an_execution_that_died_before_it_could_claim_is_recorded(cloud: Cloud, fail: ModuleType) -> None:
    cloud.table.receive(run_of("v1", "55AE"), DATASET, 4, "e")
    invoke(fail, sqs(ended(status="ABORTED")))
    assert state_of(cloud) == VersionState.FAILED


def test_an_older_runs_failure_comes_too_late(cloud: Cloud, fail: ModuleType) -> None:
    take(cloud, run_of("v1", "55AE"))
    invoke(fail, told())
    take(cloud, run_of("v1", "55AE", run=2))
    assert failed_messages(invoke(fail, sqs(ended()))) == []
    with pytest.raises(Conflict):
        invoke(fail, told())
    assert state_of(cloud) == VersionState.PROCESSING


def test_the_end_of_a_superseded_run_changes_nothing(cloud: Cloud, fail: ModuleType) -> None:
    take(cloud, run_of("v1", "55AE"))
    take(cloud, run_of("v2", "55AF"))
    assert failed_messages(invoke(fail, sqs(ended(status="ABORTED")))) == []
    assert state_of(cloud) == VersionState.SUPERSEDED


def test_a_ready_version_stays_ready_and_says_that_publishing_failed(cloud: Cloud, fail: ModuleType) -> None:
    ready(cloud, "v1", "55AE")
    invoke(fail, {**told(), "step": "Publish"})
    version = cloud.table.version(DATASET, "v1")
    assert version is not None
    assert (version.state, version.failure) == (VersionState.READY, Failure(step="Publish", error="Boom", cause="why"))


@pytest.mark.parametrize(
    "message", [{}, {"source": "aws.states"}, ended(input='{"submission": {}}'), ended(name="by-hand")]
)
def test_ends_of_anything_else_are_ignored(cloud: Cloud, fail: ModuleType, message: dict[str, Any]) -> None:
    take(cloud, run_of("v1", "55AE"))
    assert failed_messages(invoke(fail, sqs(message))) == []
    assert state_of(cloud) == VersionState.PROCESSING


def test_a_message_that_is_no_json_goes_to_the_dead_letter_queue(cloud: Cloud, fail: ModuleType) -> None:
    take(cloud, run_of("v1", "55AE"))
    assert failed_messages(invoke(fail, sqs("{", ended()))) == ["m0"]
    assert state_of(cloud) == VersionState.FAILED


@pytest.mark.parametrize("payload", [{}, {"submission": None}, {"submission": {"key": "x"}, "error": 5}])
def test_the_handler_survives_bad_input_of_its_own(fail: ModuleType, payload: dict[str, Any]) -> None:
    assert invoke(fail, payload) == {"recorded": False}


# ---------------------------------------------------------------------------------------------------------------------
# announce


def record(number: int, **changes: Any) -> dict[str, Any]:
    from celldock.cloud.items import plain_to_item

    image = plain_to_item({**VERSION, "revision": number, **changes})
    stream = {"SequenceNumber": str(number), "NewImage": image, "Keys": {"pk": image["pk"], "sk": image["sk"]}}
    return {"eventID": f"e{number}", "eventName": "MODIFY", "eventSource": "aws:dynamodb", "dynamodb": stream}


@pytest.fixture
def announced(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, Any]:
    """The function, and how to see what a listener of the bus has got."""
    sqs_client, events = client("sqs"), client("events")
    url = sqs_client.create_queue(QueueName="portal")["QueueUrl"]
    arn = sqs_client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="all", EventBusName="celldock-events", EventPattern='{"source": ["celldock"]}')
    events.put_targets(Rule="all", EventBusName="celldock-events", Targets=[{"Id": "portal", "Arn": arn}])

    def heard() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while messages := sqs_client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                found.append(json.loads(message["Body"]))
                sqs_client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    return load("announce", cloud, monkeypatch), heard


def test_every_change_is_one_event_with_an_id_that_stays_the_same(announced: tuple[ModuleType, Any]) -> None:
    announce, heard = announced
    batch = {"Records": [record(number) for number in range(1, 13)]}
    for _ in range(2):
        assert failed_messages(invoke(announce, batch)) == []
        got = heard()
        assert sorted(event["detail"]["revision"] for event in got) == list(range(1, 13))
        assert {event["detail"]["id"] for event in got} == {
            f"{VERSION['pk']}|{VERSION['sk']}|{n}" for n in range(1, 13)
        }
        assert {(event["source"], event["detail-type"]) for event in got} == {("celldock", "Version Changed")}


def test_a_record_that_breaks_the_contract_holds_up_only_what_follows(announced: tuple[ModuleType, Any]) -> None:
    announce, heard = announced
    batch = {"Records": [record(1), record(2, state="NONSENSE"), record(3)]}
    assert failed_messages(invoke(announce, batch)) == ["2"]
    assert [event["detail"]["revision"] for event in heard()] == [1]


def test_the_sample_of_a_stream_is_told(announced: tuple[ModuleType, Any]) -> None:
    announce, heard = announced
    assert failed_messages(invoke(announce, json.loads((ROOT / "events" / "dynamodb-stream.json").read_text()))) == []
    assert [event["detail"]["new"]["state"] for event in heard()] == ["READY"]

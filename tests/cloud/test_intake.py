"""Whatever lands in the inbox is answered – with a run or with a report – or, where that is right, ignored."""

from __future__ import annotations

import io
import json
from types import ModuleType
from typing import Any

import pytest

from celldock.catalog.keys import execution_name, report_key
from celldock.catalog.states import VersionState
from celldock.cloud.clients import client
from celldock.cloud.executions import stop_execution
from tests.cloud.conftest import INBOX, Cloud
from tests.cloud.lambdas import failed_messages, invoke, load, sqs


@pytest.fixture
def intake(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("intake", cloud, monkeypatch)


def created(key: str, version_id: str = "v1", sequencer: str = "55AE", bucket: str = INBOX) -> dict[str, Any]:
    upload = {"key": key, "size": 512, "etag": "e", "version-id": version_id, "sequencer": sequencer}
    detail = {"version": "0", "bucket": {"name": bucket}, "object": upload, "reason": "PutObject"}
    return {"version": "0", "source": "aws.s3", "detail-type": "Object Created", "detail": detail}


@pytest.mark.parametrize(
    "key", ["atlas/lung.h5ad", "atlas/a b+c.h5ad", "atlas/100%25.h5ad", "atlas/Zu\u0308ri.h5ad", "atlas/Z\u00fcri.h5ad"]
)
def test_a_submission_is_received_and_its_run_started(cloud: Cloud, intake: ModuleType, key: str) -> None:
    assert failed_messages(invoke(intake, sqs(created(key)))) == []
    version = cloud.table.version(key.removesuffix(".h5ad"), "v1")
    assert version is not None
    assert (version.state, version.key, version.size, version.run) == (VersionState.RECEIVED, key, 512, 1)
    name = execution_name(INBOX, key, "v1", 1)
    assert cloud.running() == [name]
    described = client("stepfunctions").describe_execution(
        executionArn=f"{cloud.machine_arn.replace('stateMachine', 'execution')}:{name}"
    )
    assert json.loads(described["input"]) == {
        "bucket": INBOX,
        "key": key,
        "version_id": "v1",
        "sequencer": "55AE",
        "run": 1,
    }


def test_a_redelivered_event_starts_one_execution(cloud: Cloud, intake: ModuleType) -> None:
    event = created("atlas/lung.h5ad")
    for _ in range(2):
        assert failed_messages(invoke(intake, sqs(event, event))) == []
    assert len(cloud.running()) == 1


def test_an_event_that_comes_again_after_the_run_starts_nothing(cloud: Cloud, intake: ModuleType) -> None:
    event = created("atlas/lung.h5ad")
    invoke(intake, sqs(event))
    name = execution_name(INBOX, "atlas/lung.h5ad", "v1", 1)
    arn = f"{cloud.machine_arn.replace('stateMachine', 'execution')}:{name}"
    stop_execution(client("stepfunctions"), arn, "over")
    assert failed_messages(invoke(intake, sqs(event))) == []
    assert cloud.running() == []


def test_each_version_of_a_key_gets_a_run_of_its_own(cloud: Cloud, intake: ModuleType) -> None:
    invoke(intake, sqs(created("atlas/lung.h5ad", "v1"), created("atlas/lung.h5ad", "v2", "55AF")))
    assert len(cloud.running()) == 2


def test_markup_in_a_key_does_not_reach_the_report(cloud: Cloud, intake: ModuleType) -> None:
    key = "<script>alert('&')</script>.rds"
    invoke(intake, sqs(created(key)))
    document = cloud.inbox.get_bytes(report_key(key, "v1", 1))
    assert not set(b"<>&") & set(document)
    assert json.loads(document)["file"]["key"] == key


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("atlas/lung.H5AD", "key.suffix_case"),
        ("atlas/lung.h5ad.gz", "key.compressed"),
        ("atlas/lung.rds", "key.rds"),
        ("lung.h5ad", "key.no_collection"),
        ("../../lung.h5ad", "key.dot_segment"),
        ("Atlas/lung.h5ad", "key.collection"),
        ("atlas/<img src=x>\n.h5ad", "key.control_character"),
        ("ü" * 512, "key.no_collection"),
    ],
)
def test_a_key_that_does_not_fit_is_answered_with_a_report(
    cloud: Cloud, intake: ModuleType, key: str, code: str
) -> None:
    for _ in range(2):
        assert failed_messages(invoke(intake, sqs(created(key)))) == []
    assert cloud.keys(cloud.inbox) == [report_key(key, "v1", 1)], "once, under our own prefix"
    report = cloud.inbox.get_json(report_key(key, "v1", 1))
    assert (report["valid"], [finding["code"] for finding in report["findings"]]) == (False, [code])
    assert report["findings"][0]["suggestion"]
    assert report["file"]["key"] == key
    assert cloud.running() == []


@pytest.mark.parametrize(
    "event",
    [
        created("_reports/atlas/lung.h5ad/v1/1/report.json"),
        {**created("atlas/lung.h5ad"), "detail-type": "Object Deleted"},
        {**created("atlas/lung.h5ad"), "detail-type": "Object Tags Added"},
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-01-01T00:00:00.000Z", "Bucket": INBOX},
    ],
)
def test_what_is_no_submission_is_ignored(cloud: Cloud, intake: ModuleType, event: dict[str, Any]) -> None:
    assert failed_messages(invoke(intake, sqs(event))) == []
    assert (cloud.running(), cloud.keys(cloud.inbox)) == ([], [])


def test_a_folder_marker_is_ignored(cloud: Cloud, intake: ModuleType) -> None:
    event = created("atlas/")
    event["detail"]["object"]["size"] = 0
    invoke(intake, sqs(event))
    assert (cloud.running(), cloud.keys(cloud.inbox)) == ([], [])


@pytest.mark.parametrize(
    "poison",
    ["no json", "[]", "5", {}, {"Records": []}, created(""), created("a/b.h5ad", bucket="somebody-elses"), {"a": "b"}],
)
def test_a_poisoned_message_fails_alone(cloud: Cloud, intake: ModuleType, poison: Any) -> None:
    answer = invoke(intake, sqs(created("atlas/one.h5ad"), poison, created("atlas/two.h5ad")))
    assert failed_messages(answer) == ["m1"]
    assert len(cloud.running()) == 2


def test_a_message_that_could_not_be_started_comes_again_and_is_then_started(
    cloud: Cloud, intake: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: the machine cannot be reached.
    event = sqs(created("atlas/lung.h5ad"))
    with monkeypatch.context() as broken:
        broken.setattr(intake.intake._executions, "_machine_arn", cloud.machine_arn + "-missing")
        assert failed_messages(invoke(intake, event)) == ["m0"]
    version = cloud.table.version("atlas/lung", "v1")
    assert version is not None
    assert version.state == VersionState.RECEIVED, "it has a state from the first second on"
    # When it comes again
    assert failed_messages(invoke(intake, event)) == []
    # Then
    assert len(cloud.running()) == 1


def test_logs_are_json_and_name_the_submission(intake: ModuleType) -> None:
    log = io.StringIO()
    intake.logger.handlers[0].setStream(log)
    invoke(intake, sqs(created("atlas/lung.h5ad"), created("lung.h5ad", "v2")))
    started, rejected = [json.loads(line) for line in log.getvalue().splitlines()]
    assert (started["dataset"], started["collection"], started["version_id"]) == ("atlas/lung", "atlas", "v1")
    assert (rejected["key"], rejected["version_id"], rejected["outcome"]) == ("lung.h5ad", "v2", "REJECTED")
    assert "dataset" not in rejected, "one record's keys do not stay for the next"


def test_counts_are_kept_in_the_embedded_metric_format(intake: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    invoke(intake, sqs(created("atlas/lung.h5ad"), created("lung.h5ad"), "poison"))
    metrics = next(json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line)
    assert metrics["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]], "no name of a submitter"
    assert (metrics["UploadsStarted"], metrics["UploadsRejected"], metrics["MessagesRefused"]) == ([1.0], [1.0], [1.0])

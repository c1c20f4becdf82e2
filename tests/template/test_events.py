"""The sample events are what the template's rules let through, or keep out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from moto.events.models import EventPattern

from celldock.catalog.keys import execution_name
from tests.template.house import ROOT, Stack, of_type, references

MACHINE = "arn:aws:states:us-east-1:111122223333:stateMachine:celldock-ingest"
DEPLOYED = {"InboxBucket": "celldock-inbox-example", "IngestMachine": MACHINE}


def sample(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


def resolved(value: Any) -> Any:
    match value:
        case {"Ref": name}:
            return DEPLOYED[name]
        case dict():
            return {key: resolved(inner) for key, inner in value.items()}
        case list():
            return [resolved(inner) for inner in value]
    return value


def lets_through(stack: Stack, rule: str, event: dict[str, Any]) -> bool:
    pattern = resolved(of_type(stack, "AWS::Events::Rule")[rule]["EventPattern"])
    loaded: Any = EventPattern.load(json.dumps(pattern))
    return loaded.matches_event(event)


@pytest.mark.parametrize("name", ["s3-object-created-put", "s3-object-created-multipart", "s3-object-created-odd-key"])
def test_every_upload_reaches_intake(stack: Stack, name: str) -> None:
    assert lets_through(stack, "UploadRule", sample(name))


def test_our_own_reports_never_trigger_us(stack: Stack) -> None:
    event = sample("s3-object-created-put")
    event["detail"]["object"]["key"] = "_reports/atlas/pbmc68k.h5ad/L4kqtJlcpXroDTDmpUMLUo/1/report.json"
    assert not lets_through(stack, "UploadRule", event)


def test_deletions_and_other_buckets_are_nobodys_business(stack: Stack) -> None:
    elsewhere = sample("s3-object-created-put")
    elsewhere["detail"]["bucket"]["name"] = "another-bucket"
    assert not lets_through(stack, "UploadRule", sample("s3-object-deleted"))
    assert not lets_through(stack, "UploadRule", elsewhere)


@pytest.mark.parametrize("name", ["states-execution-failed", "states-execution-timed-out"])
def test_bad_ends_reach_fail_and_good_ones_do_not(stack: Stack, name: str) -> None:
    event = sample(name)
    assert lets_through(stack, "EndsRule", event)
    event["detail"]["status"] = "SUCCEEDED"
    assert not lets_through(stack, "EndsRule", event)


def test_the_ends_of_a_formats_parts_are_not_the_ends_of_a_run(stack: Stack) -> None:
    event = sample("states-execution-failed")
    event["detail"]["stateMachineArn"] = f"{MACHINE}/ConvertParts"
    assert not lets_through(stack, "EndsRule", event)


def test_a_sample_execution_has_the_name_that_its_input_gives_it() -> None:
    detail = sample("states-execution-failed")["detail"]
    submitted = json.loads(detail["input"])
    del submitted["sequencer"]
    assert detail["name"] == execution_name(**submitted)


@pytest.mark.parametrize(
    ("wrapped", "body"), [("sqs-uploads", "s3-object-created-put"), ("sqs-ends", "states-execution-timed-out")]
)
def test_a_queues_message_carries_its_event_unchanged(wrapped: str, body: str) -> None:
    (record,) = sample(wrapped)["Records"]
    assert json.loads(record["body"]) == sample(body)


def test_patterns_name_what_the_samples_need(stack: Stack) -> None:
    rules = of_type(stack, "AWS::Events::Rule")
    assert references([rule["EventPattern"] for rule in rules.values()]) == set(DEPLOYED)

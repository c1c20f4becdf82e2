"""Distributed Map: items from S3, bounded children, failures that count, a stop that reaches all of them."""

from __future__ import annotations

import json
import time
from typing import Any
from uuid import uuid4

import pytest

from tests.local.machines import Machine, function, invoke
from tests.local.mend_server import Server, received, until


@pytest.fixture
def bucket(mended: Server) -> str:
    name = f"b-{uuid4().hex[:8]}"
    mended.client("s3").create_bucket(Bucket=name)
    return name


def store(server: Server, bucket: str, items: Any, key: str = "work/v 1/parts+%.json") -> dict[str, str]:
    server.client("s3").put_object(Bucket=bucket, Key=key, Body=json.dumps(items).encode())
    return {"bucket": bucket, "key": key}


def distributed(states: dict[str, Any], *, reader: bool = True, **fields: Any) -> dict[str, Any]:
    """A Map over `$.items`, or over the JSON array that `$.bucket` and `$.key` name."""
    config = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    processor = {"ProcessorConfig": config, "StartAt": next(iter(states)), "States": states}
    items = {"ItemReader": {
        "Resource": "arn:aws:states:::s3:getObject", "ReaderConfig": {"InputType": "JSON"},
        "Parameters": {"Bucket.$": "$.bucket", "Key.$": "$.key"}}}  # fmt: skip
    return {"Type": "Map", "ItemProcessor": processor, **(items if reader else {"ItemsPath": "$.items"}), **fields}


def echo(name: str, **fields: Any) -> dict[str, Any]:
    """A child that hands its input to the function and gives what comes back."""
    return {"Work": {**invoke(name, {}), "Parameters": {"FunctionName": name, "Payload.$": "$"},
                     "OutputPath": "$.Payload.echo", "End": True, **fields}}  # fmt: skip


# What stock moto does


def test_stock_moto_succeeds_when_a_child_fails(executing: Server) -> None:
    states = {"Bad": {"Type": "Fail", "Error": "Bad"}}
    machine = Machine(executing, {"Each": distributed(states, reader=False, End=True)})
    assert machine.output({"items": [1]}) == [None]


# Items


def test_items_come_from_a_key_of_the_input_and_are_shaped_by_the_selector(mended: Server, bucket: str) -> None:
    selector = {"partition.$": "$$.Map.Item.Value", "index.$": "$$.Map.Item.Index", "bucket.$": "$.bucket"}
    each = distributed({"Say": {"Type": "Pass", "End": True}}, ItemSelector=selector, End=True)
    output = Machine(mended, {"Each": each}).output(store(mended, bucket, [{"rows": [0, 5]}, {"rows": [5, 9]}]))
    assert output == [
        {"partition": {"rows": [0, 5]}, "index": 0, "bucket": bucket},
        {"partition": {"rows": [5, 9]}, "index": 1, "bucket": bucket},
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"ResultPath": None}, {"items": [1, 2]}),
        ({"ResultSelector": {"first.$": "$[0]"}, "ResultPath": "$.done"}, {"items": [1, 2], "done": {"first": 1}}),
    ],
)
def test_the_result_is_shaped_or_dropped(mended: Server, fields: dict[str, Any], expected: Any) -> None:
    each = distributed({"Say": {"Type": "Pass", "End": True}}, reader=False, End=True, **fields)
    assert Machine(mended, {"Each": each}).output({"items": [1, 2]}) == expected


def test_no_items_are_no_work(mended: Server, bucket: str) -> None:
    each = distributed({"Bad": {"Type": "Fail", "Error": "Bad"}}, End=True)
    assert Machine(mended, {"Each": each}).output(store(mended, bucket, [])) == []


def test_a_thousand_items_pass_through_two_workers(mended: Server) -> None:
    each = distributed({"Say": {"Type": "Pass", "End": True}}, reader=False, MaxConcurrency=2, End=True)
    machine = Machine(mended, {"Each": {**each, "ResultSelector": {"n.$": "States.ArrayLength($)"}}})
    execution = machine.start({"items": list(range(1000))})
    assert json.loads(machine.end(execution, 60)["output"]) == {"n": 1000}


@pytest.mark.parametrize("items", [{"no": "array"}, None])
def test_items_that_cannot_be_read_fail_the_map_by_name(mended: Server, bucket: str, items: Any) -> None:
    given = store(mended, bucket, items) if items else {"bucket": bucket, "key": "gone"}
    each = distributed({"Say": {"Type": "Pass", "End": True}}, End=True)
    assert Machine(mended, {"Each": each}).run(given)["error"] == "States.ItemReaderFailed"


def test_a_child_is_an_execution_of_its_own(mended: Server) -> None:
    say = {"Type": "Pass", "Parameters": {"id.$": "$$.Execution.Id", "input.$": "$$.Execution.Input"}, "End": True}
    machine = Machine(mended, {"Each": distributed({"Say": say}, reader=False, Label="Parts", End=True)})
    first, second = machine.output({"items": ["a", "b"]})
    assert first["id"] != second["id"]
    assert first["id"].startswith(machine.arn.replace(":stateMachine:", ":execution:") + "/Parts:")
    assert (first["input"], second["input"]) == ("a", "b")


# Concurrency


def test_no_more_children_run_than_allowed(mended: Server) -> None:
    each = distributed(echo(function(mended)), reader=False, MaxConcurrency=2, End=True)
    begun = time.monotonic()
    Machine(mended, {"Each": each}).output({"items": [{"sleep": 0.5}] * 4})
    assert 1 <= time.monotonic() - begun < 3


# Failures


def failing(server: Server, items: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    each = distributed(echo(function(server)), reader=False, Next="Done", **fields)
    return Machine(server, {"Each": each, "Done": {"Type": "Succeed"}}).run({"items": items})


def test_a_failed_child_fails_the_map(mended: Server) -> None:
    ended = failing(mended, [{}, {"error": "Bad"}, {}])
    assert (ended["status"], ended["error"]) == ("FAILED", "States.ExceedToleratedFailureThreshold")


@pytest.mark.parametrize(
    ("tolerance", "status"),
    [
        ({"ToleratedFailureCount": 1}, "SUCCEEDED"),
        ({"ToleratedFailurePercentage": 50.0}, "SUCCEEDED"),
        ({"ToleratedFailurePercentage": 20.0}, "FAILED"),
    ],
)
def test_tolerated_failures_are_tolerated(mended: Server, tolerance: dict[str, Any], status: str) -> None:
    assert failing(mended, [{}, {"error": "Bad"}, {}], **tolerance)["status"] == status


def test_a_failed_map_is_caught_within_the_map_around_it(mended: Server, bucket: str) -> None:
    name = function(mended)
    good = store(mended, bucket, [{"n": 1}], "good.json")
    bad = store(mended, bucket, [{"n": 1}, {"error": "Bad"}], "bad.json")
    catch = [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "FormatFailed"}]
    inner = {
        "ConvertParts": distributed(echo(name), MaxConcurrency=3, ResultPath=None, Catch=catch, Next="Assemble"),
        "Assemble": {"Type": "Pass", "Result": "CONVERTED", "ResultPath": "$.state", "End": True},
        "FormatFailed": {"Type": "Pass", "Parameters": {"state": "FAILED", "why.$": "$.error.Error"}, "End": True},
    }
    formats = {"Type": "Map", "ItemsPath": "$.formats", "End": True, "ItemProcessor": {
        "ProcessorConfig": {"Mode": "INLINE"}, "StartAt": "ConvertParts", "States": inner}}  # fmt: skip
    assert Machine(mended, {"Convert": formats}).output({"formats": [good, bad]}) == [
        {**good, "state": "CONVERTED"},
        {"state": "FAILED", "why": "States.ExceedToleratedFailureThreshold"},
    ]


def test_the_map_run_counts_its_items(mended: Server) -> None:
    each = distributed(echo(function(mended)), reader=False, ToleratedFailureCount=1, End=True)
    machine = Machine(mended, {"Each": each})
    execution = machine.start({"items": [{}, {"error": "Bad"}, {}]})
    machine.end(execution)
    (run,) = machine.client.list_map_runs(executionArn=execution)["mapRuns"]
    described = machine.client.describe_map_run(mapRunArn=run["mapRunArn"])
    counts = {name: described["itemCounts"][name] for name in ("total", "succeeded", "failed", "running", "pending")}
    assert counts == {"total": 3, "succeeded": 2, "failed": 1, "running": 0, "pending": 0}
    assert described["status"] == "SUCCEEDED"


# Stop


def test_a_stop_of_the_parent_stops_its_children(mended: Server) -> None:
    name, sqs = function(mended), mended.client("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    states = {"Work": {**echo(name)["Work"], "Next": "Again"}, "Again": echo(name)["Work"]}
    del states["Work"]["End"]
    each = distributed(states, reader=False, MaxConcurrency=2, End=True)
    machine = Machine(mended, {"Each": each})
    execution = machine.start({"items": [{"sleep": 0.5, "put": url}] * 6})
    until(lambda: [event for event in machine.history(execution) if event["type"] == "MapRunStarted"])
    time.sleep(0.2)
    machine.client.stop_execution(executionArn=execution)
    assert machine.describe(execution)["status"] == "ABORTED"
    assert len(received(sqs, url, 12, wait=2)) <= 2  # the two that ran, run on; nothing begins after them
    (run,) = machine.client.list_map_runs(executionArn=execution)["mapRuns"]
    assert machine.client.describe_map_run(mapRunArn=run["mapRunArn"])["status"] == "ABORTED"

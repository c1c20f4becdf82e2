"""Tasks: what services answer, and the names of the errors that Retry and Catch see."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from tests.local.machines import Machine, function, invoke
from tests.local.mend_server import Server, until

UPDATE = "arn:aws:states:::dynamodb:updateItem"
TRANSACT = "arn:aws:states:::aws-sdk:dynamodb:transactWriteItems"
KEY = {"pk": {"S": "p"}}


@pytest.fixture
def table(mended: Server) -> str:
    """A table with the one item {pk: p, state: PROCESSING, run: 1}."""
    name, client = f"t-{uuid4().hex[:8]}", mended.client("dynamodb")
    client.create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}])  # fmt: skip
    client.put_item(TableName=name, Item={**KEY, "state": {"S": "PROCESSING"}, "run": {"N": "1"}})
    return name


def caught(server: Server, task: dict[str, Any], *names: str, given: Any = None) -> dict[str, Any]:
    """Run a task that is caught by `names`; the error as a Catch sees it, or as the execution ends with it."""
    catch = [{"ErrorEquals": list(names), "Next": "Caught"}]
    machine = Machine(server, {"Work": {**task, "End": True, "Catch": catch}, "Caught": {"Type": "Pass", "End": True}})
    ended = machine.run(given)
    if ended["status"] == "SUCCEEDED":
        return {"caught": True, **json.loads(ended["output"])}
    return {"caught": False, "Error": ended["error"], "Cause": ended.get("cause")}


def missing_path(server: Server, *names: str) -> dict[str, Any]:
    """A task whose parameters name what its input lacks, which is States.Runtime."""
    return caught(server, invoke("any", {"x.$": "$.gone"}), *names)


# What stock moto does


def test_stock_moto_catches_what_step_functions_does_not(executing: Server) -> None:
    assert missing_path(executing, "States.ALL")["caught"]


def test_stock_moto_renames_the_errors_of_branches(executing: Server) -> None:
    slow = invoke(function(executing), {"sleep": 3}, TimeoutSeconds=1, End=True)
    branch = {"StartAt": "Slow", "States": {"Slow": slow}}
    error = caught(executing, {"Type": "Map", "ItemProcessor": branch}, "States.Runtime", given=[1])
    assert error["Error"] != "States.Timeout"


def test_stock_moto_cannot_show_an_execution_whose_service_told_a_time(executing: Server) -> None:
    executing.client("s3").create_bucket(Bucket="timed")
    listing = {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:s3:listBuckets", "Parameters": {}, "End": True}
    machine = Machine(executing, {"List": listing})
    execution = machine.start()
    with pytest.raises(ClientError):
        until(lambda: machine.describe(execution)["status"] == "SUCCEEDED", 5)


# Functions


@pytest.mark.parametrize("error", ["Conflict", "Sandbox.Timedout", "Runtime.ExitError"])
def test_a_function_error_has_the_name_of_its_payload(mended: Server, error: str) -> None:
    seen = caught(mended, invoke(function(mended), {"error": error}), error)
    assert (seen["caught"], seen["Error"]) == (True, error)
    assert json.loads(seen["Cause"])["errorMessage"] == "as asked"


def test_a_throttled_function_is_told_apart(mended: Server) -> None:
    seen = caught(mended, invoke(function(mended), {"throttle": True}), "Lambda.TooManyRequestsException")
    assert seen["caught"]


def test_a_task_that_takes_too_long_times_out(mended: Server) -> None:
    task = invoke(function(mended), {"sleep": 3}, TimeoutSeconds=1)
    assert caught(mended, task, "States.Timeout")["caught"]
    assert caught(mended, task, "States.TaskFailed") == {"caught": False, "Error": "States.Timeout", "Cause": None}


def test_retries_are_bounded_jittered_and_delayed_no_longer_than_asked(mended: Server) -> None:
    retry = [{"ErrorEquals": ["Throttled"], "IntervalSeconds": 60, "BackoffRate": 2.0, "MaxAttempts": 2,
              "MaxDelaySeconds": 1, "JitterStrategy": "FULL"}]  # fmt: skip
    machine = Machine(mended, {"Work": invoke(function(mended), {"error": "Throttled"}, Retry=retry, End=True)})
    execution = machine.start()
    assert machine.end(execution, 10)["error"] == "Throttled"
    tried = [event for event in machine.history(execution) if event["type"] == "TaskScheduled"]
    assert len(tried) == 3


# What Catch sees


@pytest.mark.parametrize("names", [("States.ALL",), ("States.TaskFailed",)])
def test_a_runtime_error_is_not_caught_by_a_wildcard(mended: Server, names: tuple[str]) -> None:
    assert missing_path(mended, *names)["Error"] == "States.Runtime"
    assert not missing_path(mended, *names)["caught"]


def test_all_other_errors_are_caught_by_the_wildcard(mended: Server) -> None:
    assert caught(mended, invoke(function(mended), {"error": "Whatever"}), "States.ALL")["caught"]


@pytest.mark.parametrize("kind", ["Map", "Parallel"])
def test_an_error_of_a_branch_keeps_its_name(mended: Server, kind: str) -> None:
    slow = invoke(function(mended), {"sleep": 3}, TimeoutSeconds=1, End=True)
    branch = {"StartAt": "Slow", "States": {"Slow": slow}}
    outer = {"Type": "Map", "ItemProcessor": branch} if kind == "Map" else {"Type": "Parallel", "Branches": [branch]}
    assert caught(mended, outer, "States.Timeout", given=[1])["caught"]


# DynamoDB


def update(table: str, run: str) -> dict[str, Any]:
    return {"Type": "Task", "Resource": UPDATE, "ResultPath": None, "Parameters": {
        "TableName": table, "Key": KEY, "UpdateExpression": "SET #step = :step, #changed = :now",
        "ConditionExpression": "#run = :run AND #state = :processing",
        "ExpressionAttributeNames": {"#run": "run", "#state": "state", "#step": "step", "#changed": "changed_at"},
        "ExpressionAttributeValues": {
            ":run": {"N.$": "States.JsonToString($.run)"}, ":processing": {"S": "PROCESSING"},
            ":step": {"S": run}, ":now": {"S.$": "$$.State.EnteredTime"}}}}  # fmt: skip


def transact(table: str, run: str) -> dict[str, Any]:
    names, values = {"#run": "run"}, {":run": {"N": run}}
    check = {"TableName": table, "Key": KEY, "ConditionExpression": "#run = :run",
             "ExpressionAttributeNames": names, "ExpressionAttributeValues": values}  # fmt: skip
    put = {"TableName": table, "Item": {"pk": {"S": "artifact"}, "format": {"S.$": "$.format"}}}
    items = [{"ConditionCheck": check}, {"Put": put}]
    return {"Type": "Task", "Resource": TRANSACT, "Parameters": {"TransactItems": items}, "ResultPath": None}


def test_a_conditional_update_writes_or_fails_by_name(mended: Server, table: str) -> None:
    machine = Machine(mended, {"Update": {**update(table, "Validate"), "End": True}})
    assert machine.output({"run": 1}) == {"run": 1}
    item = mended.client("dynamodb").get_item(TableName=table, Key=KEY)["Item"]
    assert item["step"] == {"S": "Validate"}
    assert item["changed_at"]["S"].endswith("Z")
    stale = caught(mended, update(table, "Late"), "DynamoDB.ConditionalCheckFailedException", given={"run": 2})
    assert stale["caught"]
    assert mended.client("dynamodb").get_item(TableName=table, Key=KEY)["Item"] == item


def test_a_transaction_writes_or_fails_by_name(mended: Server, table: str) -> None:
    artifact = {"TableName": table, "Key": {"pk": {"S": "artifact"}}}
    stale = caught(mended, transact(table, "2"), "DynamoDb.TransactionCanceledException", given={"format": "cells"})
    assert stale["caught"]
    assert "Item" not in mended.client("dynamodb").get_item(**artifact)
    machine = Machine(mended, {"Record": {**transact(table, "1"), "End": True}})
    machine.output({"format": "cells"})
    assert mended.client("dynamodb").get_item(**artifact)["Item"]["format"] == {"S": "cells"}


def test_a_missing_path_is_not_dynamodbs_fault(mended: Server, table: str) -> None:
    assert caught(mended, update(table, "x"), "States.ALL", given={})["Error"] == "States.Runtime"


# Other services


def test_times_in_answers_are_text(mended: Server) -> None:
    s3 = mended.client("s3")
    s3.create_bucket(Bucket="timed")
    s3.put_object(Bucket="timed", Key="k", Body=b"x")
    head = {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:s3:headObject", "End": True,
            "Parameters": {"Bucket": "timed", "Key": "k"}}  # fmt: skip
    answer = Machine(mended, {"Head": head}).output()
    assert answer["ContentLength"] == 1
    assert answer["LastModified"].endswith("Z")


def test_a_machine_waits_for_another_one(mended: Server) -> None:
    inner = Machine(mended, {"Say": {"Type": "Pass", "Result": {"said": 1}, "End": True}})
    start = {"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2", "End": True,
             "Parameters": {"StateMachineArn": inner.arn, "Input": {"a": 1}}, "OutputPath": "$.Output"}  # fmt: skip
    assert Machine(mended, {"Run": start}).output() == {"said": 1}

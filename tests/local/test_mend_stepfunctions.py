"""Executions: started once, executed, stopped when told to, seen in history and events."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from tests.local.machines import ROLE, Machine, function, invoke
from tests.local.mend_server import Server, received, until

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
WAIT = {"Type": "Wait", "Seconds": 30, "Next": "Done"}
DONE = {"Type": "Succeed"}


def changes(server: Server, machine: Machine) -> Any:
    """A function that gives the next status changes of a machine."""
    sqs, events = server.client("sqs"), server.client("events")
    name = f"q-{uuid4().hex[:8]}"
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    pattern = {"source": ["aws.states"], "detail": {"stateMachineArn": [machine.arn]}}
    events.put_rule(Name=name, EventPattern=json.dumps(pattern))
    target = {"Id": "0", "Arn": f"arn:aws:sqs:us-east-1:123456789012:{name}"}
    events.put_targets(Rule=name, Targets=[target])
    return lambda count, wait=5: [json.loads(message["Body"]) for message in received(sqs, url, count, wait)]


# What stock moto does


def test_stock_moto_only_pretends_to_execute(stock: Server) -> None:
    machine = Machine(stock, {"Done": DONE})
    execution = machine.start()
    time.sleep(0.5)
    assert machine.describe(execution)["status"] == "RUNNING"


def test_stock_moto_hears_a_stop_when_the_function_is_done(executing: Server) -> None:
    machine = Machine(executing, {"Work": invoke(function(executing), {"sleep": 1}, Next="Done"), "Done": DONE})
    execution = machine.start()
    until(lambda: "Work" in machine.entered(execution))
    machine.client.stop_execution(executionArn=execution)
    assert machine.describe(execution)["status"] == "RUNNING"


def test_stock_moto_cannot_show_an_execution_that_used_its_start_time(executing: Server) -> None:
    machine = Machine(
        executing, {"Say": {"Type": "Pass", "Parameters": {"at.$": "$$.Execution.StartTime"}, "End": True}}
    )
    execution = machine.start()
    with pytest.raises(ClientError):
        until(lambda: machine.describe(execution)["status"] == "SUCCEEDED", 3)


def test_stock_moto_tells_nobody_of_a_status_change(executing: Server) -> None:
    machine = Machine(executing, {"Done": DONE})
    told = changes(executing, machine)
    machine.run()
    assert told(1, wait=0.5) == []


def test_stock_moto_ignores_the_order_of_a_history(executing: Server) -> None:
    machine = Machine(executing, {"Done": DONE})
    execution = machine.start()
    machine.end(execution)
    history = machine.client.get_execution_history(executionArn=execution, reverseOrder=True, maxResults=1)["events"]
    assert history[0]["type"] == "ExecutionStarted"


# Start


def test_the_context_object_has_times_in_iso_8601(mended: Server) -> None:
    wanted = {"start.$": "$$.Execution.StartTime", "entered.$": "$$.State.EnteredTime", "input.$": "$$.Execution.Input"}
    machine = Machine(mended, {"Say": {"Type": "Pass", "Parameters": wanted, "End": True}})
    said = machine.output({"a": 1})
    assert re.fullmatch(TIME, said["start"])
    assert re.fullmatch(TIME, said["entered"])
    assert said["input"] == {"a": 1}


def test_a_running_name_with_the_same_input_is_the_same_execution(mended: Server) -> None:
    machine = Machine(mended, {"Wait": WAIT, "Done": DONE})
    first = machine.start({"a": 1}, "n")
    assert machine.start({"a": 1}, "n") == first
    with pytest.raises(machine.client.exceptions.ExecutionAlreadyExists):
        machine.start({"a": 2}, "n")
    machine.client.stop_execution(executionArn=first)
    with pytest.raises(machine.client.exceptions.ExecutionAlreadyExists):
        machine.start({"a": 1}, "n")


def test_a_name_that_is_started_by_many_at_once_runs_once(mended: Server) -> None:
    machine = Machine(mended, {"Wait": WAIT, "Done": DONE})
    with ThreadPoolExecutor(8) as pool:
        started = set(pool.map(lambda _: machine.start({"a": 1}, "n"), range(16)))
    listed = machine.client.list_executions(stateMachineArn=machine.arn)["executions"]
    assert [item["executionArn"] for item in listed] == list(started)
    machine.client.stop_execution(executionArn=listed[0]["executionArn"])


def test_nameless_executions_get_names(mended: Server) -> None:
    machine = Machine(mended, {"Done": DONE})
    arns = {machine.client.start_execution(stateMachineArn=machine.arn)["executionArn"] for _ in range(2)}
    assert len(arns) == 2


def test_a_name_that_aws_refuses_is_refused(mended: Server) -> None:
    machine = Machine(mended, {"Done": DONE})
    with pytest.raises(machine.client.exceptions.InvalidName):
        machine.start(name="a/b")


def test_twenty_executions_run_at_once(mended: Server) -> None:
    name = function(mended)
    states = {"A": invoke(name, {"n.$": "$.n", "sleep": 0.2}, ResultSelector={"n.$": "$.Payload.echo.n"}, Next="B"),
              "B": {"Type": "Pass", "End": True}}  # fmt: skip
    machine = Machine(mended, states)
    with ThreadPoolExecutor(20) as pool:
        outputs = list(pool.map(lambda n: machine.output({"n": n}), range(20)))
    assert outputs == [{"n": n} for n in range(20)]


# Stop


def assert_stopped(machine: Machine, execution: str) -> dict[str, Any]:
    begun = time.monotonic()
    machine.client.stop_execution(executionArn=execution, error="Superseded", cause="a newer one")
    assert time.monotonic() - begun < 2
    stopped = machine.describe(execution)
    assert (stopped["status"], stopped["error"], stopped["cause"]) == ("ABORTED", "Superseded", "a newer one")
    assert "stopDate" in stopped
    return stopped


def test_a_stop_ends_a_wait_and_nothing_follows(mended: Server) -> None:
    machine = Machine(mended, {"Wait": WAIT, "Done": DONE})
    execution = machine.start()
    assert_stopped(machine, execution)
    history = until(lambda: [e for e in machine.history(execution) if e["type"] == "ExecutionAborted"])
    assert len(history) == 1
    assert "Done" not in machine.entered(execution)


def test_a_stop_leaves_a_running_function_alone_and_ignores_its_answer(mended: Server) -> None:
    name, sqs = function(mended), mended.client("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}]
    states = {"Work": invoke(name, {"sleep": 0.7, "put": url}, Next="Next", Catch=catch),
              "Next": {"Type": "Pass", "End": True}, "Caught": {"Type": "Pass", "End": True}}  # fmt: skip
    machine = Machine(mended, states)
    execution = machine.start()
    until(lambda: "Work" in machine.entered(execution))
    assert_stopped(machine, execution)
    assert received(sqs, url)  # it ran to its end
    time.sleep(0.2)
    assert machine.entered(execution) == ["Work"]
    assert machine.describe(execution)["status"] == "ABORTED"


def test_a_stop_does_not_wait_for_a_retry(mended: Server) -> None:
    retry = [{"ErrorEquals": ["Bad"], "IntervalSeconds": 30, "MaxAttempts": 3}]
    machine = Machine(mended, {"Work": invoke(function(mended), {"error": "Bad"}, Retry=retry, End=True)})
    execution = machine.start()
    until(lambda: [event for event in machine.history(execution) if event["type"] == "TaskFailed"])
    assert_stopped(machine, execution)


@pytest.mark.parametrize("kind", ["Map", "Parallel"])
def test_a_stop_reaches_the_states_within(mended: Server, kind: str) -> None:
    inner = {"StartAt": "Wait", "States": {"Wait": WAIT, "Done": DONE}}
    outer = {"Type": "Map", "ItemsPath": "$.items", "ItemProcessor": inner} if kind == "Map" else {
        "Type": "Parallel", "Branches": [inner, inner]}  # fmt: skip
    machine = Machine(mended, {"Outer": {**outer, "Next": "Done"}, "Done": DONE})
    execution = machine.start({"items": [1, 2]})
    until(lambda: machine.entered(execution).count("Wait") == 2)
    assert_stopped(machine, execution)
    time.sleep(0.2)
    assert "Done" not in machine.entered(execution)


def test_a_stop_of_an_execution_that_has_ended_changes_nothing(mended: Server) -> None:
    machine = Machine(mended, {"Done": DONE})
    execution = machine.start()
    machine.end(execution)
    machine.client.stop_execution(executionArn=execution, error="Late")
    assert machine.describe(execution)["status"] == "SUCCEEDED"


def test_the_machines_timeout_ends_it_within_a_task(mended: Server) -> None:
    states = {"Work": invoke(function(mended), {"sleep": 5}, Next="Done"), "Done": DONE}
    machine = Machine(mended, states, TimeoutSeconds=1)
    execution = machine.start()
    ended = machine.end(execution, 3)
    assert ended["status"] == "TIMED_OUT"
    assert "stopDate" in ended
    assert machine.entered(execution) == ["Work"]


# What is seen


def test_a_history_is_read_from_either_end_and_in_pages(mended: Server) -> None:
    machine = Machine(mended, {"A": {"Type": "Pass", "Next": "Done"}, "Done": DONE})
    execution = machine.start()
    machine.end(execution)
    forth = machine.history(execution)
    pages = machine.client.get_paginator("get_execution_history").paginate(
        executionArn=execution, reverseOrder=True, PaginationConfig={"PageSize": 2}
    )
    assert [event["id"] for page in pages for event in page["events"]] == [event["id"] for event in forth[::-1]]
    assert [event["type"] for event in forth] == [
        "ExecutionStarted", "PassStateEntered", "PassStateExited", "SucceedStateEntered", "SucceedStateExited",
        "ExecutionSucceeded",
    ]  # fmt: skip


def test_each_status_change_is_told_in_the_documented_shape(mended: Server) -> None:
    machine = Machine(mended, {"A": {"Type": "Pass", "Result": {"out": 1}, "End": True}})
    told = changes(mended, machine)
    execution = machine.start({"a": 1}, "n")
    ended = machine.end(execution)
    running, succeeded = told(2)
    assert running["detail-type"] == "Step Functions Execution Status Change"
    assert (running["source"], running["resources"]) == ("aws.states", [execution])
    assert running["detail"]["status"] == "RUNNING"
    assert running["detail"]["stopDate"] is None
    detail = succeeded["detail"]
    assert (detail["status"], detail["name"], detail["executionArn"]) == ("SUCCEEDED", "n", execution)
    assert (json.loads(detail["input"]), json.loads(detail["output"])) == ({"a": 1}, {"out": 1})
    assert detail["inputDetails"] == {"included": True}
    assert abs(detail["startDate"] / 1000 - ended["startDate"].timestamp()) < 1
    assert detail["startDate"] <= detail["stopDate"]


@pytest.mark.parametrize(
    ("state", "status", "error"),
    [
        ({"Type": "Fail", "Error": "Bad", "Cause": "so"}, "FAILED", "Bad"),
        ({"Type": "Wait", "Seconds": 30, "End": True}, "TIMED_OUT", None),
        ({"Type": "Wait", "Seconds": 31, "End": True}, "ABORTED", "Enough"),
    ],
)
def test_every_bad_end_is_told(mended: Server, state: dict[str, Any], status: str, error: str | None) -> None:
    machine = Machine(mended, {"Only": state}, **({"TimeoutSeconds": 1} if status == "TIMED_OUT" else {}))
    told = changes(mended, machine)
    execution = machine.start()
    if status == "ABORTED":
        machine.client.stop_execution(executionArn=execution, error="Enough")
    detail = told(2)[1]["detail"]
    assert (detail["status"], detail["error"], detail["executionArn"]) == (status, error, execution)


def test_a_machine_of_cloudformation_runs(mended: Server) -> None:
    definition = json.dumps({"StartAt": "Done", "States": {"Done": DONE}})
    resource = {"Type": "AWS::StepFunctions::StateMachine", "Properties": {
        "StateMachineName": "of-a-template", "DefinitionString": definition, "RoleArn": ROLE}}  # fmt: skip
    template = {"Resources": {"Machine": resource}}
    mended.client("cloudformation").create_stack(StackName="s", TemplateBody=json.dumps(template))
    states = mended.client("stepfunctions")
    arn = "arn:aws:states:us-east-1:123456789012:stateMachine:of-a-template"
    execution = states.start_execution(stateMachineArn=arn)["executionArn"]
    assert until(lambda: states.describe_execution(executionArn=execution)["status"] == "SUCCEEDED")

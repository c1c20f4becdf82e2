"""EventBridge: rules reach every kind of target, in the shape asked for, and what cannot be delivered is kept."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.local.mend_server import Server, received, until

ROLE = "arn:aws:iam::123456789012:role/any"


class Bus:
    """One bus with one queue that receives what its rules select."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.events, self.sqs = server.client("events"), server.client("sqs")
        self.name = f"bus-{uuid4().hex[:8]}"
        self.arn = self.events.create_event_bus(Name=self.name)["EventBusArn"]
        self.url, self.queue_arn = self.queue()

    def queue(self) -> tuple[str, str]:
        url = self.sqs.create_queue(QueueName=f"q-{uuid4().hex[:8]}")["QueueUrl"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, attributes["Attributes"]["QueueArn"]

    def rule(self, pattern: dict[str, Any], *targets: dict[str, Any], state: str = "ENABLED") -> None:
        name = f"rule-{uuid4().hex[:8]}"
        self.events.put_rule(Name=name, EventBusName=self.name, EventPattern=json.dumps(pattern), State=state)
        chosen = [{"Arn": self.queue_arn, **target} for target in targets or ({},)]
        numbered = [{"Id": str(number), **target} for number, target in enumerate(chosen)]
        self.events.put_targets(Rule=name, EventBusName=self.name, Targets=numbered)

    def put(self, *details: dict[str, Any], source: str = "test") -> None:
        for detail in details:
            entry = {"Source": source, "DetailType": "Thing", "Detail": json.dumps(detail), "EventBusName": self.name}
            assert self.events.put_events(Entries=[entry])["FailedEntryCount"] == 0

    def bodies(self, count: int = 1, wait: float = 5) -> list[Any]:
        return [json.loads(message["Body"]) for message in received(self.sqs, self.url, count, wait)]


@pytest.fixture
def bus(mended: Server) -> Bus:
    return Bus(mended)


# What stock moto does


def test_stock_moto_fires_a_disabled_rule(stock: Server) -> None:
    bus = Bus(stock)
    bus.rule({"source": ["test"]}, state="DISABLED")
    bus.put({"n": 1})
    assert len(bus.bodies()) == 1


def test_stock_moto_fails_the_sender_when_a_target_is_a_function(stock: Server) -> None:
    bus = Bus(stock)
    bus.rule({"source": ["test"]}, {"Arn": "arn:aws:lambda:us-east-1:123456789012:function:f"})
    with pytest.raises(bus.events.exceptions.ClientError):
        bus.put({"n": 1})


def test_stock_moto_ignores_a_constant_input(stock: Server) -> None:
    bus = Bus(stock)
    bus.rule({"source": ["test"]}, {"Input": '{"constant": true}'})
    bus.put({"n": 1})
    assert bus.bodies() != [{"constant": True}]


def test_stock_moto_stops_a_wildcard_at_the_end_of_a_line(stock: Server) -> None:
    bus = Bus(stock)
    bus.rule({"detail": {"key": [{"wildcard": "a*z"}]}})
    bus.put({"key": "a\nz"})
    assert bus.bodies(wait=0.5) == []


# Rules


def test_a_disabled_rule_is_silent_and_an_enabled_one_speaks(bus: Bus) -> None:
    bus.rule({"source": ["test"]}, {"Input": '"disabled"'}, state="DISABLED")
    bus.rule({"source": ["test"]}, {"Input": '"enabled"'})
    bus.put({"n": 1})
    assert bus.bodies(2, wait=1) == ["enabled"]


@pytest.mark.parametrize(
    ("key_filter", "selected"),
    [
        ([{"prefix": "c/"}], ["c/a.h5ad", "c/b\n.txt"]),
        ([{"suffix": ".h5ad"}], ["c/a.h5ad"]),
        ([{"anything-but": {"prefix": "_reports/"}}], ["c/a.h5ad", "c/b\n.txt"]),
        ([{"anything-but": {"prefix": ["_reports/", "c/b"]}}], ["c/a.h5ad"]),
        ([{"anything-but": ["c/a.h5ad"]}], ["c/b\n.txt", "_reports/c/a"]),
        ([{"anything-but": {"wildcard": "*.txt"}}], ["c/a.h5ad", "_reports/c/a"]),
        ([{"wildcard": "c/*"}], ["c/a.h5ad", "c/b\n.txt"]),
        (["_reports/c/a", {"suffix": ".h5ad"}], ["c/a.h5ad", "_reports/c/a"]),
    ],
)
def test_a_rule_selects_by_content(bus: Bus, key_filter: list[Any], selected: list[str]) -> None:
    bus.rule({"detail": {"object": {"key": key_filter}}}, {"InputPath": "$.detail.object.key"})
    bus.put(*({"object": {"key": key}} for key in ("c/a.h5ad", "c/b\n.txt", "_reports/c/a")), {"end": True})
    assert bus.bodies(len(selected)) == selected


@pytest.mark.parametrize(
    ("detail", "selected"),
    [
        ({"size": [{"numeric": [">", 0, "<=", 5]}]}, [1]),
        ({"version": [{"exists": True}]}, [2]),
        ({"version": [{"exists": False}]}, [1, 3]),
        ({"$or": [{"size": [{"numeric": [">", 9]}]}, {"version": ["v"]}]}, [2, 3]),
    ],
)
def test_a_rule_selects_by_number_presence_and_alternatives(
    bus: Bus, detail: dict[str, Any], selected: list[int]
) -> None:
    bus.rule({"source": ["test"], "detail": detail}, {"InputPath": "$.detail.n"})
    bus.put({"n": 1, "size": 5}, {"n": 2, "size": 0, "version": "v"}, {"n": 3, "size": 10})
    assert bus.bodies(len(selected)) == selected


def test_a_target_gets_events_in_their_order(bus: Bus) -> None:
    bus.rule({"source": ["test"]}, {"InputPath": "$.detail.n"})
    bus.put(*({"n": n} for n in range(20)))
    assert bus.bodies(20) == list(range(20))


# Inputs


def test_the_event_has_the_documented_envelope(bus: Bus) -> None:
    bus.rule({"source": ["test"]})
    bus.put({"n": 1})
    (event,) = bus.bodies()
    assert set(event) == {
        "version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"
    }  # fmt: skip
    assert (event["detail"], event["region"], event["detail-type"]) == ({"n": 1}, "us-east-1", "Thing")
    assert len(event["time"]) == 20
    assert event["time"].endswith("Z")


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ({"Input": '{"constant": true}'}, {"constant": True}),
        ({"InputPath": "$.detail.object"}, {"version-id": "v\"1", "size": 5}),
        ({"InputPath": "$.detail.none"}, None),
        ({"InputTransformer": {"InputPathsMap": {"v": "$.detail.object.version-id", "o": "$.detail.object",
                                                 "s": "$.source", "gone": "$.detail.none"},
                               "InputTemplate": '{"v": <v>, "o": <o>, "text": "<s>: <v>", "gone": <gone>}'}},
         {"v": 'v"1', "o": {"version-id": 'v"1', "size": 5}, "text": 'test: v"1', "gone": ""}),
        ({"InputTransformer": {"InputPathsMap": {"s": "$.detail.object.size"}, "InputTemplate": '"it has <s>"'}},
         "it has 5"),
    ],
)  # fmt: skip
def test_a_target_gets_the_input_that_it_asks_for(bus: Bus, target: dict[str, Any], body: Any) -> None:
    bus.rule({"source": ["test"]}, target)
    bus.put({"object": {"version-id": 'v"1', "size": 5}})
    assert bus.bodies() == [body]


# Targets


def test_a_function_is_invoked_with_the_event(bus: Bus) -> None:
    function = "arn:aws:lambda:us-east-1:123456789012:function:f"
    bus.rule({"source": ["test"]}, {"Arn": function, "Input": json.dumps({"put": bus.url})})
    bus.put({"n": 1})
    assert [message["Body"] for message in received(bus.sqs, bus.url)] == [function]


def test_a_state_machine_is_started_with_the_event(bus: Bus) -> None:
    machines = bus.server.client("stepfunctions")
    definition = json.dumps({"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}})
    arn = machines.create_state_machine(name=bus.name, definition=definition, roleArn=ROLE)["stateMachineArn"]
    bus.rule({"source": ["test"]}, {"Arn": arn, "RoleArn": ROLE, "InputPath": "$.detail"})
    bus.put({"n": 1})
    (execution,) = until(lambda: machines.list_executions(stateMachineArn=arn)["executions"])
    started = machines.describe_execution(executionArn=execution["executionArn"])
    assert json.loads(started["input"]) == {"n": 1}


def test_a_topic_and_a_fifo_queue_get_the_event(bus: Bus) -> None:
    sns = bus.server.client("sns")
    topic = sns.create_topic(Name=bus.name)["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=bus.queue_arn, Attributes={"RawMessageDelivery": "true"})
    fifo = bus.sqs.create_queue(QueueName=f"{bus.name}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    fifo_arn = bus.queue_arn.rsplit(":", 1)[0] + f":{bus.name}.fifo"
    bus.rule({"source": ["test"]}, {"Arn": topic}, {"Arn": fifo_arn, "SqsParameters": {"MessageGroupId": "g"}})
    bus.put({"n": 1})
    assert bus.bodies()[0]["detail"] == {"n": 1}
    assert json.loads(received(bus.sqs, fifo)[0]["Body"])["detail"] == {"n": 1}


def test_another_bus_passes_the_event_on_as_it_is(bus: Bus) -> None:
    other = Bus(bus.server)
    bus.rule({"source": ["test"]}, {}, {"Arn": other.arn, "RoleArn": ROLE})
    other.rule({"source": ["test"]})
    bus.put({"n": 1})
    assert other.bodies() == bus.bodies()


def test_a_log_group_gets_the_event(bus: Bus) -> None:
    logs = bus.server.client("logs")
    logs.create_log_group(logGroupName=f"/aws/events/{bus.name}")
    bus.rule({"source": ["test"]}, {"Arn": f"arn:aws:logs:us-east-1:123456789012:log-group:/aws/events/{bus.name}"})
    bus.put({"n": 1})
    (entry,) = until(lambda: logs.filter_log_events(logGroupName=f"/aws/events/{bus.name}")["events"])
    assert json.loads(entry["message"])["detail"] == {"n": 1}


def test_what_cannot_be_delivered_goes_to_the_targets_dead_letter_queue(bus: Bus) -> None:
    dead_url, dead_arn = bus.queue()
    gone = bus.queue_arn + "-gone"
    bus.rule({"source": ["test"]}, {"Arn": gone, "DeadLetterConfig": {"Arn": dead_arn}}, {})
    bus.put({"n": 1})
    (message,) = received(bus.sqs, dead_url)
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert json.loads(message["Body"])["detail"] == {"n": 1}
    assert attributes["TARGET_ARN"] == gone
    assert ":rule/" in attributes["RULE_ARN"]
    assert bus.bodies()[0]["detail"] == {"n": 1}  # the other target is not held up

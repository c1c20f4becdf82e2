"""EventBridge reaches all of its targets, in the shape that they ask for, with retries and dead-letter queues.

Stock moto knows neither functions, state machines nor topics as targets, fires rules that are disabled, delivers within
the request that caused the event, fails that request (or drops the event) when a target fails, and has no dead letters.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from moto.events import models
from moto.utilities.arns import parse_arn

from celldock_local.mends._eventbridge_input import target_input
from celldock_local.mends.context import MendContext

log = logging.getLogger(__name__)

RETRIES = 3  # where AWS goes on for a day; the rule's own lower number holds
BACKOFF_SECONDS = 0.2
_LASTING = re.compile(r"NotFound|NonExistent|DoesNotExist|InvalidArn|AccessDenied|Validation|InvalidExecutionInput")


class TargetGone(Exception):
    """The target does not exist; more attempts will not help."""


def apply(context: MendContext) -> None:
    rule: Any = models.Rule
    couriers, stock_send = Couriers(context), rule.send_to_targets

    def send_to_targets(self: Any, original_event: Any, transform_input: bool = True) -> None:
        if self.state == "DISABLED" or not self.event_pattern.matches_event(original_event):
            return
        event = as_delivered(original_event)
        for target in list(self.targets):
            if couriers.serve(target["Arn"]):
                couriers.dispatch(self, target, event)
            else:  # archives and API destinations, which stock moto knows
                alone = object.__new__(models.Rule)
                vars(alone).update(vars(self), targets=[target])
                stock_send(alone, original_event, transform_input)

    rule.send_to_targets = send_to_targets
    models.EventPattern._wildcard_match = staticmethod(_wildcard_match)


def publish(account: str, region: str, event: Mapping[str, Any]) -> None:
    """Put an event of an AWS service on the account's default bus."""
    _send(models.events_backends[account][region].event_buses["default"], event)


def _send(bus: models.EventBus, event: Mapping[str, Any]) -> None:
    for rule in list(bus.rules.values()):
        sent: Any = deepcopy(dict(event))
        rule.send_to_targets(sent)


def service_event(
    account: str, region: str, source: str, detail_type: str, resource: str, detail: dict[str, Any]
) -> dict[str, Any]:
    """The envelope around what a service has to tell, with an id and a time of its own."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": detail_type,
        "source": source,
        "account": account,
        "time": _timestamp(time.time()),
        "region": region,
        "resources": [resource],
        "detail": detail,
    }


def as_delivered(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event as targets see it: its time in ISO 8601, nothing of moto's own."""
    copy = {name: deepcopy(value) for name, value in event.items() if name != "ingestion-time"}
    if not (isinstance(copy["time"], str) and "T" in copy["time"]):
        copy["time"] = _timestamp(float(copy["time"]))
    return copy


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _wildcard_match(item: Any, pattern: str) -> bool:
    """`*` stands for any characters, line ends too; a backslash takes the meaning from `*` and itself."""
    parts = re.findall(r"\\[*\\]|\*|.", pattern, re.DOTALL)
    expression = "".join(
        ".*" if part == "*" else re.escape(part[1:] if part in (r"\*", r"\\") else part) for part in parts
    )
    return isinstance(item, str) and re.fullmatch(expression, item, re.DOTALL) is not None


class Couriers:
    """Deliver on the stack's executor: to each target in the order of the events, to different targets at once."""

    def __init__(self, context: MendContext) -> None:
        self._context = context
        self._client = context.client
        self._lock = threading.Lock()
        self._lanes: dict[tuple[str, str], deque[Callable[[], None]]] = defaultdict(deque)
        self._services: dict[str, Callable[[dict[str, Any], str, dict[str, Any]], None]] = {
            "sqs": self._to_queue,
            "lambda": self._to_function,
            "states": self._to_machine,
            "sns": self._to_topic,
            "events": self._to_bus,
            "logs": self._to_log,
        }

    def serve(self, arn: str) -> bool:
        parsed = parse_arn(arn)
        return parsed.service in self._services and (parsed.service != "events" or parsed.resource_type == "event-bus")

    def dispatch(self, rule: models.Rule, target: dict[str, Any], event: dict[str, Any]) -> None:
        target, rule_arn, rule_name = dict(target), rule.arn, rule.name
        with self._lock:
            if self._context.stop.is_set():
                return
            lane = self._lanes[rule_arn, target["Id"]]
            lane.append(lambda: self._deliver(rule_arn, rule_name, target, event))
            if len(lane) == 1:
                self._context.executor.submit(self._drain, lane)

    def _drain(self, lane: deque[Callable[[], None]]) -> None:
        while True:
            lane[0]()
            with self._lock:
                lane.popleft()
                if not lane:
                    return

    def _deliver(self, rule_arn: str, rule_name: str, target: dict[str, Any], event: dict[str, Any]) -> None:
        send = self._services[parse_arn(target["Arn"]).service]
        allowed = min(RETRIES, int(target.get("RetryPolicy", {}).get("MaximumRetryAttempts", RETRIES)))
        for attempt in range(allowed + 1):
            try:
                send(target, target_input(target, event, rule_arn, rule_name), event)
                return
            except (ClientError, BotoCoreError, TargetGone) as error:
                if self._context.stop.is_set():
                    return
                if attempt == allowed or _is_lasting(error):
                    self._bury(rule_arn, target, event, error, attempt)
                    return
            except Exception as error:  # a fault of ours must not end the lane
                log.exception("%s cannot deliver to %s", rule_arn, target["Arn"])
                self._bury(rule_arn, target, event, error, attempt)
                return
            self._context.stop.wait(BACKOFF_SECONDS * 2**attempt)

    def _bury(self, rule_arn: str, target: dict[str, Any], event: dict[str, Any], error: Exception, tries: int) -> None:
        queue = target.get("DeadLetterConfig", {}).get("Arn")
        log.warning("%s could not deliver to %s: %s", rule_arn, target["Arn"], error)
        if queue is None:
            return
        attributes = {
            "RULE_ARN": rule_arn,
            "TARGET_ARN": target["Arn"],
            "ERROR_CODE": _code(error),
            "ERROR_MESSAGE": str(error)[:1000] or "-",
            "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts",
            "RETRY_ATTEMPTS": str(tries),
        }
        try:
            self._client("sqs").send_message(
                QueueUrl=self._queue_url(queue),
                MessageBody=json.dumps(event),
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
                },
            )
        except Exception:
            log.exception("%s lost an event: its dead-letter queue %s takes none", rule_arn, queue)

    def _queue_url(self, arn: str) -> str:
        return self._client("sqs").get_queue_url(QueueName=arn.rsplit(":", 1)[1])["QueueUrl"]

    def _to_queue(self, target: dict[str, Any], body: str, event: dict[str, Any]) -> None:
        group = target.get("SqsParameters", {}).get("MessageGroupId")
        # A redelivery within the FIFO window is the same message: the event's id says so.
        fifo = {"MessageGroupId": group, "MessageDeduplicationId": event["id"]} if group else {}
        self._client("sqs").send_message(QueueUrl=self._queue_url(target["Arn"]), MessageBody=body, **fifo)

    def _to_function(self, target: dict[str, Any], body: str, _event: dict[str, Any]) -> None:
        self._context.runner.invoke_async(target["Arn"], body.encode())

    def _to_machine(self, target: dict[str, Any], body: str, event: dict[str, Any]) -> None:
        name = f"{event['id']}_{uuid.uuid4()}"
        self._client("stepfunctions").start_execution(stateMachineArn=target["Arn"], name=name, input=body)

    def _to_topic(self, target: dict[str, Any], body: str, _event: dict[str, Any]) -> None:
        self._client("sns").publish(TopicArn=target["Arn"], Message=body)

    def _to_bus(self, target: dict[str, Any], _body: str, event: dict[str, Any]) -> None:
        arn = parse_arn(target["Arn"])
        bus = models.events_backends[arn.account][arn.region].event_buses.get(arn.resource_id)
        if bus is None:
            raise TargetGone(target["Arn"])
        _send(bus, event)

    def _to_log(self, target: dict[str, Any], body: str, event: dict[str, Any]) -> None:
        group, stream = target["Arn"].split(":log-group:")[1].removesuffix(":*"), event["id"]
        logs = self._client("logs")
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        entry = {"timestamp": int(time.time() * 1000), "message": body}
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[entry])


def _is_lasting(error: Exception) -> bool:
    """Whether EventBridge gives up at once: the target is not there or will never take this."""
    return isinstance(error, TargetGone) or _LASTING.search(_code(error)) is not None


def _code(error: Exception) -> str:
    """What AWS calls the error, or what Python does."""
    code = error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else None
    return code or type(error).__name__

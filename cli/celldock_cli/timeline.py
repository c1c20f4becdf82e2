"""An execution as a list of states with their times, read from Step Functions' history."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class StateSpan:
    """One visit to a state; `exited` is None while it runs or if it was left by an error that nothing caught."""

    event_id: int
    name: str
    entered: datetime
    exited: datetime | None

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        return (self.exited - self.entered).total_seconds() if self.exited else None

    def covers(self, moment: datetime) -> bool:
        """Whether `moment` lies within it."""
        return self.entered <= moment and (self.exited is None or moment <= self.exited)


def read_spans(sfn: Any, execution: str) -> list[StateSpan]:
    """The states that an execution has visited, in order of entry."""
    events = _history(sfn, execution)
    by_id = {event["id"]: event for event in events}
    exits: dict[int, datetime] = {}
    for event in events:
        details = event.get("stateExitedEventDetails")
        if details and (entered := _entry_of(event, details["name"], by_id)):
            exits[entered] = event["timestamp"]
    return [
        StateSpan(event["id"], event["stateEnteredEventDetails"]["name"], event["timestamp"], exits.get(event["id"]))
        for event in events
        if "stateEnteredEventDetails" in event
    ]


def functions_of_states(sfn: Any, machine: str) -> dict[str, set[str]]:
    """Which Lambda functions (names) a state calls, a Map those of the states inside it."""
    definition = json.loads(sfn.describe_state_machine(stateMachineArn=machine)["definition"])
    return dict(_walk(definition["States"]))


def _walk(states: dict[str, Any]) -> Iterator[tuple[str, set[str]]]:
    for name, state in states.items():
        called: set[str] = set()
        if arn := state.get("Parameters", {}).get("FunctionName"):
            called.add(function_name(arn))
        inner = state.get("ItemProcessor", {}).get("States", {})
        for inner_name, inner_called in _walk(inner):
            called |= inner_called
            yield inner_name, inner_called
        yield name, called


def function_name(arn: str) -> str:
    """The name in a function's ARN, with or without a version or alias; a plain name stays."""
    parts = arn.split(":")
    return parts[6] if len(parts) > 6 else arn


def _history(sfn: Any, execution: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        page = sfn.get_execution_history(executionArn=execution, includeExecutionData=False, **token)
        events += page["events"]
        if not page.get("nextToken"):
            return events
        token = {"nextToken": page["nextToken"]}


def _entry_of(event: dict[str, Any], name: str, by_id: dict[int, dict[str, Any]]) -> int | None:
    """Follows the chain of causes back, so that the same state in two iterations of a Map is told apart."""
    current: dict[str, Any] | None = event
    while current:
        if current.get("stateEnteredEventDetails", {}).get("name") == name:
            return current["id"]
        current = by_id.get(current.get("previousEventId", 0))
    return None

"""Follows the data through a state machine, to find a path that leads nowhere before an execution does.

A shape says which names a JSON document has: a dict of shapes, a list with the one shape of its elements, or `ANY`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.template.house import Machine

ANY = "any"
ERROR = {"Error": ANY, "Cause": ANY}
CAUSE = {"Item": {"error": {"S": ANY}, "cause": {"S": ANY}}}

type Shape = dict[str, Any] | list[Any] | str

_PATH = re.compile(r"\$\$?[\w.]*")


class DeadPath(Exception):
    """A path that names nothing in the data that its state gets."""


@dataclass
class Flow:
    """Visits every state with every shape of data that can reach it.

    `results` is what each function returns, by the name that the definition gives it; `items` the elements of a Map
    whose items are read from S3, by the Map's name.
    """

    results: Mapping[str, Shape]
    items: Mapping[str, Shape]
    visited: set[tuple[str, str]] = field(default_factory=set)
    payloads: dict[str, list[Shape]] = field(default_factory=dict)

    def run(self, machine: Machine, data: Shape, context: dict[str, Any]) -> None:
        """Raises DeadPath, naming the state."""
        waiting = [(machine["StartAt"], data)]
        while waiting:
            name, data = waiting.pop()
            seen = (name, json.dumps(data, sort_keys=True))
            if seen in self.visited:
                continue
            self.visited.add(seen)
            try:
                waiting += self._leave(name, machine["States"][name], data, context)
            except KeyError as missing:
                raise DeadPath(f"{name}: {missing.args[0]} is not in {data}") from None

    def _leave(self, name: str, state: dict[str, Any], data: Shape, context: dict[str, Any]) -> list[tuple[str, Shape]]:
        after = [
            (catcher["Next"], _put(data, catcher.get("ResultPath", "$"), ERROR)) for catcher in state.get("Catch", [])
        ]
        match state["Type"]:
            case "Choice":
                open_ = [choice for choice in state["Choices"] if not _is_absent(choice, data)]
                _check(_values(open_, "Variable"), data, context)
                return after + [(choice["Next"], data) for choice in open_] + [(state["Default"], data)]
            case "Fail":
                _check([state[name] for name in ("ErrorPath", "CausePath") if name in state], data, context)
                return after
            case "Succeed":
                return after
            case "Pass":
                result = _template(state["Parameters"], data, context)
            case "Map":
                self._map(name, state, data, context)
                result = []
            case _:
                result = self._call(name, state, data, context)
        if "ResultSelector" in state:
            result = _template(state["ResultSelector"], result, context)
        if "Next" in state:
            after.append((state["Next"], _put(data, state.get("ResultPath", "$"), result)))
        return after

    def _call(self, name: str, state: dict[str, Any], data: Shape, context: dict[str, Any]) -> Shape:
        parameters = _template(state["Parameters"], data, context)
        if state["Resource"].endswith(":getItem"):
            return CAUSE
        if "FunctionName" not in state["Parameters"]:
            return {}
        assert isinstance(parameters, dict)
        known = self.payloads.setdefault(name, [])
        if parameters["Payload"] not in known:
            known.append(parameters["Payload"])
        return {"Payload": self.results[state["Parameters"]["FunctionName"]]}

    def _map(self, name: str, state: dict[str, Any], data: Shape, context: dict[str, Any]) -> None:
        if "ItemReader" in state:
            _template(state["ItemReader"]["Parameters"], data, context)
            items = [self.items[name]]
        else:
            items = list(_resolve(state["ItemsPath"], data, context))
        for item in items:
            inner = {**context, "Map": {"Item": {"Value": item, "Index": ANY}}}
            self.run(state["ItemProcessor"], _template(state["ItemSelector"], data, inner), inner)


def _is_absent(choice: dict[str, Any], data: Shape) -> bool:
    """Whether a choice asks for something to be there that is not."""
    if not choice.get("IsPresent"):
        return False
    try:
        _resolve(choice["Variable"], data, {})
    except KeyError:
        return True
    return False


def _template(template: Any, data: Shape, context: dict[str, Any]) -> Shape:
    if isinstance(template, list):
        return [_template(element, data, context) for element in template]
    if not isinstance(template, dict):
        return ANY
    filled = {}
    for name, value in template.items():
        if not name.endswith(".$"):
            filled[name] = _template(value, data, context)
        elif value.startswith("States."):
            # Braces and prose stand in quotes; what is left are the arguments' paths.
            _check(_PATH.findall(re.sub(r"'[^']*'", "", value)), data, context)
            filled[name.removesuffix(".$")] = ANY
        else:
            filled[name.removesuffix(".$")] = _resolve(value, data, context)
    return filled


def _check(paths: list[str], data: Shape, context: dict[str, Any]) -> None:
    for path in paths:
        _resolve(path, data, context)


def _resolve(path: str, data: Shape, context: dict[str, Any]) -> Shape:
    found: Any = context if path.startswith("$$") else data
    for name in path.lstrip("$").split("."):
        if name:
            if not isinstance(found, dict) or name not in found:
                raise KeyError(path)
            found = found[name]
    return found


def _put(data: Shape, path: str | None, result: Shape) -> Shape:
    if path is None:
        return data
    if path == "$":
        return result
    assert isinstance(data, dict)
    assert re.fullmatch(r"\$\.\w+", path), "results go to the top of the data"
    return {**data, path.removeprefix("$."): result}


def _values(value: Any, name: str) -> list[Any]:
    if isinstance(value, dict):
        return [v for k, inner in value.items() for v in ([inner] if k == name else _values(inner, name))]
    return [v for inner in value for v in _values(inner, name)] if isinstance(value, list) else []

"""How tests look at a template: resources by type, what they refer to, what a role may do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

type Stack = dict[str, Any]
type Machine = dict[str, Any]
type Statement = dict[str, Any]

WORKERS = ("Curate", "Plan", "Scan", "Fragments", "Validate", "Label", "Convert", "Assemble")
FUNCTIONS = ("Intake", "Claim", *WORKERS, "Publish", "Fail", "Announce", "Api")


def of_type(stack: Stack, kind: str) -> dict[str, dict[str, Any]]:
    """The properties of every resource of one type, by logical id."""
    return {name: found.get("Properties", {}) for name, found in stack["Resources"].items() if found["Type"] == kind}


def logical_id(reference: Any) -> str:
    """The one resource that a Ref, GetAtt or Sub names."""
    (name,) = references(reference)
    return name


def references(value: Any) -> set[str]:
    """Every logical id that a value refers to, pseudo parameters left out."""
    found: set[str] = set()
    match value:
        case {"Ref": str(name)}:
            found = {name}
        case {"Fn::GetAtt": [str(name), *_]}:
            found = {name}
        case {"Fn::GetAtt": str(name)}:
            found = {name.split(".")[0]}
        case {"Fn::Sub": str(text)}:
            found = {name.split(".")[0] for name in re.findall(r"\$\{([^}!]+)\}", text)}
        case dict():
            found = set().union(*(references(inner) for inner in value.values()))
        case list():
            found = set().union(*(references(inner) for inner in value))
        case _:
            pass
    return {name for name in found if not name.startswith("AWS::")}


def as_list(value: Any) -> list[Any]:
    """What CloudFormation lets be one or many."""
    return value if isinstance(value, list) else [value]


def statements(stack: Stack, role: str) -> list[Statement]:
    """All that a role is allowed."""
    policies = of_type(stack, "AWS::IAM::Role")[role]["Policies"]
    return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]


def rights(stack: Stack, role: str) -> set[tuple[str, str]]:
    """A role's rights as (action, resource), each resource as JSON text."""
    return {
        (action, json.dumps(resource))
        for statement in statements(stack, role)
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }


def states(machine: Machine) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every state of a machine, those inside its Maps too."""
    for name, state in machine["States"].items():
        yield name, state
        if "ItemProcessor" in state:
            yield from states(state["ItemProcessor"])


def machines(machine: Machine) -> Iterator[Machine]:
    """The machine and the ones inside its Maps."""
    yield machine
    for state in machine["States"].values():
        if "ItemProcessor" in state:
            yield from machines(state["ItemProcessor"])


def tasks(machine: Machine) -> dict[str, dict[str, Any]]:
    """The states that call something."""
    return {name: state for name, state in states(machine) if state["Type"] == "Task"}


def function_of(task: dict[str, Any]) -> str | None:
    """The logical id of the function that a task invokes."""
    name = task["Parameters"].get("FunctionName")
    return name.removeprefix("${").removesuffix("}") if name else None

"""Schema versions: each is one data file that lists which rules apply, with which parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from pydantic import BaseModel, ConfigDict

from celldock.report import Severity
from celldock.schema import rules
from celldock.schema.registry import Rule, get_rule

# Importing the package `rules` is what registers them.
_ = rules


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    section: str
    severity: Severity = "error"
    parameters: dict[str, Any] = {}


class _VersionFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    title: str
    url: str
    definitions: dict[str, Any] = {}
    rules: tuple[_Entry, ...]


@dataclass(frozen=True, slots=True)
class AppliedRule:
    """A rule as one schema version applies it: with its parameters, a code and the section that asks for it."""

    rule: Rule
    code: str
    severity: Severity
    schema_url: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Schema:
    """A version of the CELLxGENE schema.

    Attributes:
        version: `7.1.0`.
        title: in words.
        url: leads to its text.
        rules: as it applies them.
        labels: what the portal adds, by place and name, and how each is made; see `celldock.labels.recipes`.
    """

    version: str
    title: str
    url: str
    rules: tuple[AppliedRule, ...]
    labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])


def schema_versions() -> tuple[str, ...]:
    """The versions that celldock knows, oldest first."""
    names = [file.name.removesuffix(".json") for file in _versions().iterdir() if file.name.endswith(".json")]
    return tuple(sorted(names, key=lambda name: tuple(map(int, name.split(".")))))


@cache
def load_schema(version: str) -> Schema:
    """The schema of that version; raises KeyError for one that celldock does not know."""
    if version not in schema_versions():
        raise KeyError(version)
    data = _VersionFile.model_validate_json((_versions() / f"{version}.json").read_bytes())
    labels = _resolve(data.definitions.get("labels", {}), data.definitions)
    return Schema(data.version, data.title, data.url, tuple(_apply(entry, data) for entry in data.rules), labels)


def _apply(entry: _Entry, data: _VersionFile) -> AppliedRule:
    rule = get_rule(entry.rule)
    return AppliedRule(
        rule=rule,
        code=rule.code.format(**entry.parameters),
        severity=entry.severity,
        schema_url=f"{data.url}#{entry.section}",
        parameters={name: _resolve(value, data.definitions) for name, value in entry.parameters.items()},
    )


def _resolve(value: Any, definitions: dict[str, Any]) -> Any:
    """A parameter with each `{"use": name}` in it replaced by what the file defines under that name."""
    match value:
        case {"use": str(name)}:
            return _resolve(definitions[name], definitions)
        case {**items}:
            return {key: _resolve(item, definitions) for key, item in items.items()}
        case [*items]:
            return [_resolve(item, definitions) for item in items]
        case _:
            return value


def _versions() -> Traversable:
    return resources.files("celldock.schema") / "versions"

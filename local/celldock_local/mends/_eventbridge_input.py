"""What an EventBridge target gets: the event, a constant, a part of the event, or a filled-in template.

Source: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from jsonpath_ng.ext import parse

_TOKEN = re.compile(r'(?P<escaped>\\.)|(?P<quote>")|<(?P<name>[A-Za-z0-9_.-]+)>', re.DOTALL)
_parsed_path = lru_cache(maxsize=256)(parse)


def target_input(target: Mapping[str, Any], event: dict[str, Any], rule_arn: str, rule_name: str) -> str:
    """The text that a rule's target is given for an event."""
    if "Input" in target:
        return target["Input"]
    if "InputPath" in target:
        return json.dumps(_at(target["InputPath"], event))
    if transformer := target.get("InputTransformer"):
        values = {name: _at(path, event) for name, path in transformer.get("InputPathsMap", {}).items()}
        values |= {
            "aws.events.rule-arn": rule_arn,
            "aws.events.rule-name": rule_name,
            "aws.events.event": {name: value for name, value in event.items() if name != "detail"},
            "aws.events.event.json": event,
            "aws.events.event.ingestion-time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return _filled(transformer["InputTemplate"], values)
    return json.dumps(event)


def _at(path: str, event: dict[str, Any]) -> Any:
    found = _parsed_path(path).find(event)
    return found[0].value if found else None


def _filled(template: str, values: Mapping[str, Any]) -> str:
    """Within a JSON string a value is inserted as escaped text, elsewhere as JSON; what is unknown or null is empty."""
    quoted = False

    def fill(token: re.Match[str]) -> str:
        nonlocal quoted
        if token["quote"]:
            quoted = not quoted
        name = token["name"]
        if name is None:
            return token[0]
        value = values.get(name)
        if value is None:
            return "" if quoted else '""'
        if not quoted:
            return json.dumps(value)
        return json.dumps(value if isinstance(value, str) else json.dumps(value))[1:-1]

    return _TOKEN.sub(fill, template)

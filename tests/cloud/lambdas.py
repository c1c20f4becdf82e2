"""Functions as Lambda runs them: the module `app.py` of a folder, its environment, an event and a context."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.cloud.conftest import ARTIFACTS, BUS, INBOX, PUBLIC, TABLE, Cloud

FUNCTIONS = Path(__file__).parents[2] / "functions"


@dataclass(frozen=True)
class Context:
    """What the handlers see of Lambda's context."""

    function_name: str
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = "arn:aws:lambda:eu-central-1:123456789012:function:x"
    aws_request_id: str = "52fdfc07-2182-154f-163f-5f0f9a621d72"


def load(name: str, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The function `name` after a cold start in the deployment `cloud`."""
    variables = {
        "POWERTOOLS_SERVICE_NAME": name,
        "POWERTOOLS_METRICS_NAMESPACE": "celldock",
        "CELLDOCK_TABLE": TABLE,
        "CELLDOCK_INBOX": INBOX,
        "CELLDOCK_ARTIFACTS": ARTIFACTS,
        "CELLDOCK_PUBLIC": PUBLIC,
        "CELLDOCK_BUS": BUS,
        # Besides those that a collection requires: `cells`, by default.
        "CELLDOCK_FORMATS": "fragments",
        "CELLDOCK_MACHINE_ARN": cloud.machine_arn,
    }
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    spec = importlib.util.spec_from_file_location(f"{name}_app", FUNCTIONS / name / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def invoke(module: ModuleType, event: dict[str, Any]) -> Any:
    """What the function answers, after the trip through JSON that Lambda makes of it."""
    name = module.__name__.removesuffix("_app")
    return json.loads(json.dumps(module.handler(json.loads(json.dumps(event)), Context(name))))


def sqs(*bodies: Any) -> dict[str, Any]:
    """A batch of messages, `m0`, `m1` …; a body that is no string is sent as JSON."""
    records = [
        {
            "messageId": f"m{number}",
            "receiptHandle": "r",
            "body": body if isinstance(body, str) else json.dumps(body),
            "attributes": {},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:uploads",
            "awsRegion": "eu-central-1",
        }
        for number, body in enumerate(bodies)
    ]
    return {"Records": records}


def failed_messages(answer: dict[str, Any]) -> list[str]:
    """The ids of the messages that are to come again."""
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

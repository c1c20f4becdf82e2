"""A small state machine on a moto server, run and looked at."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any
from uuid import uuid4

from tests.local.mend_server import Server, until

ROLE = "arn:aws:iam::123456789012:role/any"
INVOKE = "arn:aws:states:::lambda:invoke"


def function(server: Server) -> str:
    """The name of a new function, which does what its payload says."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as code:
        code.writestr("app.py", "")
    name = f"f-{uuid4().hex[:8]}"
    role = server.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    server.client("lambda").create_function(
        FunctionName=name, Runtime="python3.13", Role=role, Handler="app.handler", Code={"ZipFile": archive.getvalue()}
    )
    return name


def invoke(name: str, payload: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A Task state that invokes a function."""
    return {"Type": "Task", "Resource": INVOKE, "Parameters": {"FunctionName": name, "Payload": payload}, **fields}


class Machine:
    def __init__(self, server: Server, states: dict[str, Any], **fields: Any) -> None:
        """The first of `states` is where it begins."""
        self.client = server.client("stepfunctions")
        definition = json.dumps({"StartAt": next(iter(states)), "States": states, **fields})
        made = self.client.create_state_machine(name=f"m-{uuid4().hex[:8]}", definition=definition, roleArn=ROLE)
        self.arn = made["stateMachineArn"]

    def start(self, given: Any = None, name: str | None = None) -> str:
        chosen = {"name": name or uuid4().hex}
        started = self.client.start_execution(stateMachineArn=self.arn, input=json.dumps(given or {}), **chosen)
        return started["executionArn"]

    def describe(self, execution: str) -> dict[str, Any]:
        return self.client.describe_execution(executionArn=execution)

    def end(self, execution: str, seconds: float = 20) -> dict[str, Any]:
        """The execution's description as soon as it has ended."""

        def ended() -> dict[str, Any] | None:
            described = self.describe(execution)
            return described if described["status"] != "RUNNING" else None

        return until(ended, seconds)

    def run(self, given: Any = None) -> dict[str, Any]:
        return self.end(self.start(given))

    def output(self, given: Any = None) -> Any:
        ended = self.run(given)
        assert ended["status"] == "SUCCEEDED", ended
        return json.loads(ended["output"])

    def history(self, execution: str) -> list[dict[str, Any]]:
        return self.client.get_execution_history(executionArn=execution, maxResults=1000)["events"]

    def entered(self, execution: str) -> list[str]:
        """The names of the states that the execution entered, in order."""
        return [event["stateEnteredEventDetails"]["name"] for event in self.history(execution)
                if "stateEnteredEventDetails" in event]  # fmt: skip

"""A deployed stack as tests use it: drop a file, wait for its end, look at what was left behind."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from celldock.catalog.keys import execution_name
from celldock.catalog.states import TERMINAL_STATES
from celldock.cloud.items import item_to_plain
from celldock_cli.api import Api
from celldock_cli.profiles import target_of
from celldock_local.checkout import BUILD
from celldock_local.deploy import STACK_NAME
from celldock_local.stack import LocalStack

PATIENCE_SECONDS = 90.0


@dataclass(frozen=True)
class Drop:
    """One uploaded version."""

    bucket: str
    key: str
    version_id: str

    @property
    def dataset(self) -> str:
        return self.key.removesuffix(".h5ad")


class Dock:
    """The stack under test, through the ways that its users have: S3, the API, SQS, Step Functions."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self.outputs = stack.outputs
        self.s3 = stack.client("s3")
        self.sqs = stack.client("sqs")
        self.sfn = stack.client("stepfunctions")
        self.functions = stack.client("lambda")
        self.table = stack.client("dynamodb")
        self.inbox = stack.outputs["InboxBucket"]
        self.artifacts = stack.outputs["ArtifactsBucket"]
        self.public = stack.outputs["PublicBucket"]
        self.api = Api(target_of(stack.info))

    def drop(self, file: Path | bytes, key: str, **metadata: str) -> Drop:
        """Puts an object into the inbox."""
        body = file if isinstance(file, bytes) else file.read_bytes()
        answer = self.s3.put_object(Bucket=self.inbox, Key=key, Body=body, Metadata=metadata)
        return Drop(self.inbox, key, answer["VersionId"])

    def version(self, drop: Drop) -> dict[str, Any] | None:
        """The version's item, None while the catalog does not know it."""
        answer = self.table.get_item(
            TableName=self.outputs["Table"],
            Key={"pk": {"S": f"DATASET#{drop.dataset}"}, "sk": {"S": f"VERSION#{drop.version_id}"}},
            ConsistentRead=True,
        )
        return item_to_plain(answer["Item"]) if "Item" in answer else None

    def finished(self, drop: Drop) -> dict[str, Any]:
        """The version's item once it is in a final state and its execution has ended."""
        version = wait_for(lambda: self._ended(drop), f"the end of {drop.key!r}")
        wait_for(
            lambda: self.execution_status(drop, int(version["run"])) != "RUNNING", f"the execution of {drop.key!r}"
        )
        return self.version(drop) or version

    def _ended(self, drop: Drop) -> dict[str, Any] | None:
        version = self.version(drop)
        return version if version and version["state"] in TERMINAL_STATES else None

    def answer(self, drop: Drop) -> dict[str, Any]:
        """What the API says of a version."""
        return self.api.dataset(drop.dataset, drop.version_id)

    def made(self, drop: Drop) -> dict[str, dict[str, Any]]:
        """The version's artifacts by their formats."""
        return {artifact["format"]: artifact for artifact in self.answer(drop)["artifacts"]}

    def report(self, drop: Drop) -> dict[str, Any]:
        """The version's report."""
        return self.api.report(drop.dataset, drop.version_id)["report"]

    def codes(self, drop: Drop) -> set[str]:
        """The codes of the errors that its submitter is told."""
        return {finding["code"] for finding in self.report(drop)["findings"] if finding["severity"] == "error"}

    def execution(self, drop: Drop, run: int = 1) -> str:
        """The ARN of a run's execution."""
        name = execution_name(drop.bucket, drop.key, drop.version_id, run)
        return self.outputs["MachineArn"].replace(":stateMachine:", ":execution:") + f":{name}"

    def execution_status(self, drop: Drop, run: int = 1) -> str | None:
        """Step Functions' status of a run, None where there is no such execution."""
        try:
            return self.sfn.describe_execution(executionArn=self.execution(drop, run))["status"]
        except self.sfn.exceptions.ExecutionDoesNotExist:
            return None

    def executions_of(self, drop: Drop) -> list[str]:
        """The names of all executions of a version."""
        prefix = execution_name(drop.bucket, drop.key, drop.version_id, 1).rpartition("-")[0]
        pages = self.sfn.get_paginator("list_executions").paginate(stateMachineArn=self.outputs["MachineArn"])
        return [e["name"] for page in pages for e in page["executions"] if e["name"].startswith(prefix)]

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """All keys under a prefix."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def read_json(self, bucket: str, key: str) -> Any:
        """A JSON object."""
        return json.loads(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    def function(self, logical: str) -> str:
        """The physical name of the function with this logical id."""
        return self._physical(logical)

    def _physical(self, logical: str) -> str:
        cloudformation = self.stack.client("cloudformation")
        answer = cloudformation.describe_stack_resources(StackName=STACK_NAME, LogicalResourceId=logical)
        return answer["StackResources"][0]["PhysicalResourceId"]

    @contextmanager
    def silent_inbox(self) -> Iterator[None]:
        """Uploads within the block are announced to nobody: their events are the test's to send."""
        events = self.stack.client("events")
        name = self._physical("UploadRule")
        events.disable_rule(Name=name)
        try:
            yield
        finally:
            events.enable_rule(Name=name)

    @contextmanager
    def wrapped(self, logical: str, before: str) -> Iterator[None]:
        """Runs a block while a function executes the statement `before` ahead of its own handler."""
        name = self.function(logical)
        original = (BUILD / logical / "app.py").read_text()
        call = "    import original\n    return original.handler(event, context)\n"
        wrapper = f"def handler(event, context):\n    {before}\n{call}"
        self.functions.update_function_code(
            FunctionName=name, ZipFile=_zip({"app.py": wrapper, "original.py": original})
        )
        try:
            yield
        finally:
            self.functions.update_function_code(FunctionName=name, ZipFile=_zip({"app.py": original}))

    @contextmanager
    def changed(self, logical: str, **configuration: Any) -> Iterator[None]:
        """Runs a block while a function has another configuration (memory, timeout, layers, handler)."""
        name = self.function(logical)
        before = self.functions.get_function_configuration(FunctionName=name)
        restore = {key: before[key] for key in configuration if key != "Layers"}
        if "Layers" in configuration:
            restore["Layers"] = [layer["Arn"] for layer in before["Layers"]]
        self.functions.update_function_configuration(FunctionName=name, **configuration)
        try:
            yield
        finally:
            self.functions.update_function_configuration(FunctionName=name, **restore)


def _zip(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def wait_for[T](look: Callable[[], T | Literal[False] | None], what: str, patience: float = PATIENCE_SECONDS) -> T:
    """The first truthy answer of `look`."""
    started = time.monotonic()
    while not (answer := look()):
        waited = time.monotonic() - started
        if waited > patience:
            raise AssertionError(f"waited {patience:.0f} s for {what}")
        # Each look takes processor time from what is waited for.
        time.sleep(min(0.05 + waited / 10, 0.5))
    return answer

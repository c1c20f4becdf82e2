"""moto in a process of its own, with the mends that a test names or with none: so that a test sees both."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from celldock_local.mends.context import InvokeResult, MendContext, Throttled

REGION = "us-east-1"
_bodies = itertools.count()


def new_client(endpoint: str, service: str) -> Any:
    return boto3.Session().client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, read_timeout=60),
    )


@dataclass(frozen=True)
class Server:
    endpoint: str
    data: Path
    pid: int

    def client(self, service: str) -> Any:
        return new_client(self.endpoint, service)

    def peak_rss(self) -> int:
        """Bytes of memory that the server's process held at most."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
        raise LookupError("no VmHWM")


@contextlib.contextmanager
def serving(*mends: str) -> Iterator[Server]:
    """A running moto server with these mends applied."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, folder, *mends]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port, "the server did not start"
            yield Server(f"http://127.0.0.1:{port}", Path(folder), process.pid)
        finally:
            process.terminate()
            process.wait()


def until[T](found: Callable[[], T | None], seconds: float = 10) -> T:
    """What `found` returns, as soon as that is something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.02)
    raise TimeoutError(f"nothing within {seconds} s")


def received(sqs: Any, url: str, count: int = 1, wait: float = 5) -> list[dict[str, Any]]:
    """The messages that reach a queue until there are `count` of them or `wait` seconds have passed."""
    messages: list[dict[str, Any]] = []
    deadline = time.monotonic() + wait
    while len(messages) < count and time.monotonic() < deadline:
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
        for message in answer.get("Messages", []):
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            messages.append(message)
        time.sleep(0.02)
    return messages


class ScriptedRunner:
    """Functions whose behaviour is in their payload: `sleep`, `throttle`, `error`, `put` (a message to a queue)."""

    def __init__(self, client: Callable[[str], Any]) -> None:
        self._client = client

    def invoke(self, function: str, payload: bytes) -> InvokeResult:
        event = json.loads(payload)
        if event.get("throttle"):
            raise Throttled(function)
        time.sleep(event.get("sleep", 0))
        if "put" in event:
            self._client("sqs").send_message(QueueUrl=event["put"], MessageBody=function)
        error = event.get("error")
        body = json.dumps({"errorType": error, "errorMessage": "as asked"} if error else {"echo": event})
        return InvokeResult(body.encode(), "Unhandled" if error else None, "", f"{next(_bodies)}", 0, None, 0)

    def invoke_async(self, function: str, payload: bytes) -> None:
        threading.Thread(target=self.invoke, args=(function, payload), daemon=True).start()


def _script_lambda(runner: ScriptedRunner) -> None:
    """Have moto's Lambda API answer as the scripted runner does."""
    from moto.awslambda import models
    from moto.awslambda.exceptions import LambdaClientError

    def invoke(self: Any, body: Any, _headers: Any, response_headers: Any) -> bytes:
        try:
            result = runner.invoke(self.function_name, body if isinstance(body, bytes) else body.encode())
        except Throttled:
            raise LambdaClientError("TooManyRequestsException", "Rate Exceeded.") from None
        if result.error:
            response_headers["x-amz-function-error"] = result.error
        return result.payload

    function: Any = models.LambdaFunction
    function.invoke = invoke


def main(folder: str, mends: list[str]) -> None:
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)

    clients, making = {}, threading.Lock()

    def client(service: str) -> Any:
        host, port = server.get_host_and_port()
        with making:
            if service not in clients:
                clients[service] = new_client(f"http://{host}:{port}", service)
            return clients[service]

    runner = ScriptedRunner(client)
    _script_lambda(runner)
    context = MendContext(client, runner, Path(folder), ThreadPoolExecutor(16), REGION)
    for mend in mends:
        importlib.import_module(f"celldock_local.mends.{mend}").apply(context)
    server.start()
    port = server.get_host_and_port()[1]
    os.environ["MOTO_PORT"] = str(port)
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

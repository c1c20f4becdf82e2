"""What a mend may use of the running local stack."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class InvokeResult:
    """One Lambda invocation as its caller sees it."""

    payload: bytes
    error: str | None  # "Unhandled" for any function error, as the X-Amz-Function-Error header says
    logs: str
    request_id: str
    duration_ms: float
    init_ms: float | None
    peak_mb: float


class Throttled(Exception):
    """The function's reserved concurrency is used up (429)."""


class LambdaRunner(Protocol):
    """Runs functions that are deployed in moto, each in its sandbox. `function` is a name or ARN."""

    def invoke(self, function: str, payload: bytes) -> InvokeResult:
        """Synchronously; raises Throttled."""
        ...

    def invoke_async(self, function: str, payload: bytes) -> None:
        """As InvocationType=Event: queued, two retries on error."""
        ...


@dataclass(slots=True)
class MendContext:
    """Handed to each mend's `apply(context)` once, before the server starts."""

    client: Callable[[str], Any]  # boto3 client of a service against this stack
    runner: LambdaRunner
    data: Path  # the stack's folder
    executor: Executor  # for work that must not block a request
    region: str = "us-east-1"
    stop: threading.Event = field(default_factory=threading.Event)  # set when the stack goes down

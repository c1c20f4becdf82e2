"""Runs deployed functions: warm sandboxes, reserved concurrency, asynchronous retries, and the invocation log."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from datetime import UTC, datetime
from os import cpu_count
from pathlib import Path

from celldock_local.invocations import FILE_NAME, Invocation, InvocationLog
from celldock_local.isolation import Isolation
from celldock_local.mends.context import InvokeResult, Throttled
from celldock_local.sandbox import FunctionSpec, Sandbox

SLOT_WAIT_S = 60.0
"""How long an invocation waits for a free slot of this machine before it is throttled."""

MAX_IDLE = 16
"""Warm sandboxes that are kept; the one that was idle longest goes first."""

_log = logging.getLogger(__name__)


class SandboxRunner:
    """The `LambdaRunner` of the local stack.

    At most `max_running` sandboxes work at once: more than the machine has cores for would only make all of them time
    out. An invocation that finds no slot waits, and is throttled in the end, so that functions which call each other
    cannot block for ever.
    """

    def __init__(
        self,
        *,
        find: Callable[[str], FunctionSpec],
        runtime: Path,
        data: Path,
        isolation: Isolation,
        executor: Executor,
        max_running: int | None = None,
    ) -> None:
        self._find = find
        self._runtime = runtime
        self._isolation = isolation
        self._executor = executor
        self._invocations = InvocationLog(data / FILE_NAME)
        self._max_running = max_running or max(4, 2 * (cpu_count() or 1))
        self._slots = threading.BoundedSemaphore(self._max_running)
        self._lock = threading.Lock()
        self._idle: deque[Sandbox] = deque()
        self._busy: set[Sandbox] = set()
        self._in_flight: dict[str, int] = {}
        self._stopped = threading.Event()
        self.endpoint = ""  # known once the server listens
        self.on_logs: Callable[[FunctionSpec, str, str], None] = lambda spec, stream, logs: None
        self.on_failure: Callable[[str, str], None] = lambda arn, body: None

    def invoke(self, function: str, payload: bytes) -> InvokeResult:
        """Run `function` (a name or ARN) now. Raises Throttled."""
        spec = self._find(function)
        with self._reserve(spec), self._slot():
            started = datetime.now(UTC)
            sandbox = self._warm(spec) or self._start(spec)
            try:
                result = sandbox.invoke(payload)
            finally:
                self._release(sandbox)
        self._record(spec, sandbox, started, result)
        return result

    def invoke_async(self, function: str, payload: bytes) -> None:
        """Queue the event and return; an error is retried, then goes to the function's failure destinations.

        Lambda waits one and two minutes before its retries, here it is one and two seconds.
        """
        spec = self._find(function)
        self._executor.submit(self._run_async, spec, payload)

    def in_flight(self) -> int:
        """How many invocations run or wait right now."""
        with self._lock:
            return sum(self._in_flight.values())

    def close(self) -> None:
        """Kill every sandbox; invocations that still run end as killed."""
        self._stopped.set()
        with self._lock:
            doomed = [*self._idle, *self._busy]
            self._idle.clear()
        for sandbox in doomed:
            sandbox.close()

    def _run_async(self, spec: FunctionSpec, payload: bytes) -> None:
        result, attempt = None, 0
        while attempt <= spec.retries and not self._stopped.is_set():
            try:
                result = self.invoke(spec.arn, payload)
            except Throttled:  # Lambda tries for hours: throttling is no attempt
                self._stopped.wait(1)
                continue
            except Exception:  # noqa: BLE001 - nobody waits for an asynchronous invocation
                _log.exception("asynchronous invocation of %s", spec.name)
                return
            if not result.error:
                return
            attempt += 1
            self._stopped.wait(min(attempt, 2) if attempt <= spec.retries else 0)
        if result is not None:
            self._tell_failure(spec, payload, result, attempt)

    def _tell_failure(self, spec: FunctionSpec, payload: bytes, result: InvokeResult, attempts: int) -> None:
        if spec.on_failure:
            self.on_failure(spec.on_failure, json.dumps(failure_record(spec.arn, payload, result, attempts)))
        if spec.dead_letter:
            self.on_failure(spec.dead_letter, payload.decode("utf-8", "replace"))

    @contextmanager
    def _reserve(self, spec: FunctionSpec) -> Iterator[None]:
        with self._lock:
            running = self._in_flight.get(spec.name, 0)
            if spec.reserved is not None and running >= spec.reserved:
                raise Throttled(f"{spec.name}: all {spec.reserved} reserved executions are running")
            self._in_flight[spec.name] = running + 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight[spec.name] -= 1

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._slots.acquire(timeout=SLOT_WAIT_S):
            raise Throttled(f"all {self._max_running} sandboxes of this machine were busy for {SLOT_WAIT_S:.0f} s")
        try:
            yield
        finally:
            self._slots.release()

    def _warm(self, spec: FunctionSpec) -> Sandbox | None:
        with self._lock:
            for sandbox in list(self._idle):
                if sandbox.spec == spec and sandbox.alive:
                    self._idle.remove(sandbox)
                    self._busy.add(sandbox)
                    return sandbox
        return None

    def _start(self, spec: FunctionSpec) -> Sandbox:
        sandbox = Sandbox(spec, runtime=self._runtime, endpoint=self.endpoint, isolation=self._isolation)
        with self._lock:
            self._busy.add(sandbox)
        return sandbox

    def _release(self, sandbox: Sandbox) -> None:
        with self._lock:
            self._busy.discard(sandbox)
            if sandbox.alive and not self._stopped.is_set():
                self._idle.appendleft(sandbox)
                surplus = [self._idle.pop()] if len(self._idle) > MAX_IDLE else []
            else:
                surplus = [sandbox]
        for old in surplus:
            old.close()

    def _record(self, spec: FunctionSpec, sandbox: Sandbox, started: datetime, result: InvokeResult) -> None:
        self._invocations.append(
            Invocation(
                function=spec.name,
                request_id=result.request_id,
                started=started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                duration_ms=round(result.duration_ms, 2),
                init_ms=None if result.init_ms is None else round(result.init_ms, 2),
                memory_mb=spec.memory_mb,
                peak_mb=round(result.peak_mb, 1),
                error=_error_type(result),
            )
        )
        self.on_logs(spec, sandbox.stream, result.logs)


def failure_record(arn: str, payload: bytes, result: InvokeResult, attempts: int) -> dict[str, object]:
    """What an on-failure destination gets for an asynchronous invocation.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    return {
        "version": "1.0",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": result.request_id or str(uuid.uuid4()),
            "functionArn": arn,
            "condition": "RetriesExhausted",
            "approximateInvokeCount": attempts,
        },
        "requestPayload": _json_or_text(payload),
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": result.error},
        "responsePayload": _json_or_text(result.payload),
    }


def _error_type(result: InvokeResult) -> str | None:
    if not result.error:
        return None
    answer = _json_or_text(result.payload)
    return str(answer.get("errorType") or result.error) if isinstance(answer, dict) else result.error


def _json_or_text(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")

"""One Lambda execution environment: a process of the official `awslambdaric`, with a Runtime API of its own."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from celldock_local.isolation import VERSION, Isolation, Roots
from celldock_local.memory import meter
from celldock_local.mends.context import InvokeResult
from celldock_local.runtime_api import RESPONSE_LIMIT, Invocation, RuntimeApi, Signal

INIT_LIMIT_S = 10.0
"""Lambda's limit for the init phase; one that is slower starts again within the invocation."""

LOG_LIMIT = 1 << 20
"""Bytes of one invocation's output that are kept (its end)."""

# bubblewrap's --die-with-parent follows the *thread* that spawned it: this one lives as long as the process.
_SPAWNER = ThreadPoolExecutor(1, thread_name_prefix="sandbox-spawner")


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """One deployed version of a function, as its sandbox needs it."""

    name: str
    arn: str
    version: str
    handler: str
    task: Path
    layers: Path | None
    region: str
    memory_mb: int = 128
    timeout_s: float = 3
    tmp_mb: int = 512
    reserved: int | None = None  # concurrent executions; None: unreserved
    retries: int = 2  # of an asynchronous invocation
    on_failure: str = ""  # ARN that gets the record of a failed asynchronous invocation
    dead_letter: str = ""  # ARN that gets the event of one
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    log_group: str = ""
    log_format: str = "Text"
    log_level: str = ""


class _Ended(Exception):
    """The environment cannot go on: what the caller is told."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class Sandbox:
    """Runs one invocation at a time; after a crash, a timeout or too much memory it is `dead`."""

    def __init__(
        self,
        spec: FunctionSpec,
        *,
        runtime: Path,
        endpoint: str,
        isolation: Isolation,
        init_limit_s: float = INIT_LIMIT_S,
    ) -> None:
        self.spec = spec
        self.stream = f"{time.strftime('%Y/%m/%d', time.gmtime())}/[{spec.version}]{uuid.uuid4().hex}"
        self.dead = False
        self._used = False
        self._init_limit_s = init_limit_s
        self._endpoint = endpoint
        self._isolation = isolation
        self._roots = Roots(spec.task, runtime, spec.layers, spec.tmp_mb)
        self._output = tempfile.NamedTemporaryFile(prefix="celldock-log-", buffering=0)  # noqa: SIM115 - lives as long as self
        self._peak = 0.0
        self._boot()

    def invoke(self, payload: bytes) -> InvokeResult:
        """Run the handler once. A function's error is a result, not an exception."""
        request_id = str(uuid.uuid4())
        self._peak, init_ms, error = 0.0, None, None
        started = time.monotonic()
        try:
            if not self._used:
                init_ms, started = self._initialise()
            else:
                self._meter.reset()
            heard, body = self._run(payload, request_id, started + self.spec.timeout_s)
            if heard == "error":
                error = "Unhandled"
            elif heard == "too-large":
                text = f"Response payload size exceeded maximum allowed payload size ({RESPONSE_LIMIT} bytes)."
                body, error = _error("Function.ResponseSizeTooLarge", text), "Unhandled"
                self.close()  # awslambdaric exits when its response is refused
            elif heard == "init-error":
                error = "Unhandled"
                self.close()
        except _Ended as end:
            body, error = _error(end.error_type, f"RequestId: {request_id} Error: {end}"), "Unhandled"
            self.close()
        duration_ms = (time.monotonic() - started) * 1000
        logs = self._report(request_id, duration_ms, init_ms)
        return InvokeResult(body, error, logs, request_id, duration_ms, init_ms, self._peak)

    def close(self) -> None:
        """Kill the process and everything that it started."""
        if not self.dead:
            self.dead = True
            self._halt()

    @property
    def alive(self) -> bool:
        return not self.dead and self._process.poll() is None

    def _boot(self) -> None:
        self._booted = time.monotonic()
        self._api = RuntimeApi()
        self._enclosure = self._isolation.enclose(self._roots)
        environment = self._environment() | self._enclosure.environment
        log = os.open(self._output.name, os.O_WRONLY | os.O_APPEND)
        try:
            self._process = _SPAWNER.submit(
                subprocess.Popen[bytes],
                self._enclosure.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/",
            ).result()
        finally:
            os.close(log)
        self._meter = meter(self._process.pid, hidden=self._enclosure.own_processes)

    def _halt(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self._process.kill()
        self._process.wait()
        self._api.close()
        if self._enclosure.scratch:
            shutil.rmtree(self._enclosure.scratch, ignore_errors=True)

    def _initialise(self) -> tuple[float, float]:
        """Wait for the init phase; (its milliseconds, when the invocation began)."""
        self._used = True
        if self._await_ready(self._booted + self._init_limit_s):
            return (time.monotonic() - self._booted) * 1000, time.monotonic()
        # As Lambda does: the slow init is given up and runs anew, now on the function's own time.
        self._halt()
        self._boot()
        started = self._booted
        if not self._await_ready(started + self.spec.timeout_s):
            raise self._timed_out()
        return (time.monotonic() - started) * 1000, started

    def _await_ready(self, deadline: float) -> bool:
        said = self._listen(deadline)
        if said is not None and said[0] != "ready":
            self._api.signals.put(said)
        return said is not None

    def _run(self, payload: bytes, request_id: str, deadline: float) -> tuple[Signal, bytes]:
        deadline_ms = int((time.time() + deadline - time.monotonic()) * 1000)
        self._api.offer(Invocation(request_id, payload, deadline_ms, self.spec.arn))
        said = self._listen(deadline)
        if said is None:
            raise self._timed_out()
        self._peak = max(self._peak, self._meter.peak(), self._meter.now())
        # A peak between two samples gets the same verdict as one that was seen.
        self._check_memory()
        return said

    def _listen(self, deadline: float) -> tuple[Signal, bytes] | None:
        """The next signal, None at the deadline; watches memory and the process meanwhile."""
        while True:
            try:
                return self._api.signals.get(timeout=self._meter.interval_s)
            except queue.Empty:
                pass
            self._peak = max(self._peak, self._meter.now())
            self._check_memory()
            if self._process.poll() is not None and self._api.signals.empty():
                raise _Ended("Runtime.ExitError", f"Runtime exited with error: {_ending(self._process.returncode)}")
            if time.monotonic() > deadline:
                return None

    def _check_memory(self) -> None:
        if self._peak > self.spec.memory_mb:
            raise _Ended("Runtime.ExitError", "Runtime exited with error: signal: killed")

    def _timed_out(self) -> _Ended:
        return _Ended("Sandbox.Timedout", f"Task timed out after {self.spec.timeout_s:.2f} seconds")

    def _report(self, request_id: str, duration_ms: float, init_ms: float | None) -> str:
        """Lambda's log lines around what the function printed, which is then forgotten."""
        size = Path(self._output.name).stat().st_size
        self._output.seek(max(0, size - LOG_LIMIT))
        printed = self._output.read().decode("utf-8", "replace")
        self._output.truncate(0)  # the process appends: it goes on at the new end
        if printed and not printed.endswith("\n"):
            printed += "\n"
        report = [
            f"REPORT RequestId: {request_id}",
            f"Duration: {duration_ms:.2f} ms",
            f"Memory Size: {self.spec.memory_mb} MB",
            f"Max Memory Used: {self._peak:.0f} MB",
        ]
        if init_ms is not None:
            report.append(f"Init Duration: {init_ms:.2f} ms")
        start = f"START RequestId: {request_id} Version: {self.spec.version}\n"
        return f"{start}{printed}END RequestId: {request_id}\n" + "\t".join(report) + "\n"

    def _environment(self) -> dict[str, str]:
        spec = self.spec
        reserved = {
            "_HANDLER": spec.handler,
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{VERSION}",
            "AWS_LAMBDA_FUNCTION_NAME": spec.name,
            "AWS_LAMBDA_FUNCTION_VERSION": spec.version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(spec.memory_mb),
            "AWS_LAMBDA_LOG_GROUP_NAME": spec.log_group or f"/aws/lambda/{spec.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": self.stream,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_REGION": spec.region,
            "AWS_DEFAULT_REGION": spec.region,
            "AWS_ACCESS_KEY_ID": "ASIACELLDOCKLOCAL000",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_SESSION_TOKEN": "local",
            "AWS_ENDPOINT_URL": self._endpoint,
            # No profile of the user may change where the function's clients go.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        if spec.log_format == "JSON":
            reserved["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
            reserved["AWS_LAMBDA_LOG_LEVEL"] = spec.log_level or "INFO"
        defaults = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/opt/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            # Lambda gives one vCPU for each 1,769 MB: BLAS would else start a thread for each core of this machine.
            "OMP_NUM_THREADS": str(max(1, min(6, -(-spec.memory_mb // 1769)))),
        }
        return defaults | dict(spec.environment) | reserved


def _error(error_type: str, message: str) -> bytes:
    return json.dumps({"errorType": error_type, "errorMessage": message}).encode()


def _ending(code: int) -> str:
    """How a process ended, in Lambda's words. bubblewrap reports a signal as 128 + its number."""
    number = -code if code < 0 else code - 128 if code > 128 else 0
    if number == signal.SIGKILL:
        return "signal: killed"
    if number == signal.SIGSEGV:
        return "signal: segmentation fault"
    if number == signal.SIGABRT:
        return "signal: aborted"
    return f"exit status {code}" if code >= 0 else f"signal: {number}"

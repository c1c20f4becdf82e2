"""Starting a local stack, in a process of its own: moto's state is global and its mends change it for good."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from celldock_local.aws import ACCESS_KEY, REGION, SECRET_KEY, local_client
from celldock_local.data_folder import LOG_FILE, DataFolderError, StackInfo, open_folder
from celldock_local.invocations import FILE_NAME, Invocation, read_invocations
from celldock_local.isolation import VERSION

START_LIMIT_S = 180.0
STOP_LIMIT_S = 40.0


class StackFailed(Exception):
    """The stack could not start; the message says why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a stack is started with."""

    data: str
    runtime: str  # folder with awslambdaric and boto3
    build: str = ""  # folder that `sam build` made; none: nothing is deployed
    port: int = 0
    isolation: str = "auto"
    keeps: bool = True  # save the data on a stop, bring them back on a start
    attached: bool = False  # stop when stdin closes
    parameters: dict[str, str] = field(default_factory=dict[str, str])
    code: str = ""  # folder of unpacked code, if it is shared


def runtime_folder(root: Path) -> Path:
    """Where `make` puts the Lambda runtime's own packages, awslambdaric and boto3, below a checkout."""
    return root / ".celldock" / "runtime" / VERSION


class LocalStack:
    """A stack for as long as a `with` block; its data are not kept.

    >>> with LocalStack(Path(".aws-sam/build"), tmp_path, runtime=runtime) as stack:  # doctest: +SKIP
    ...     stack.client("s3").upload_file("a.h5ad", stack.outputs["InboxBucket"], "c/a.h5ad")

    `build` is the folder that `sam build` made, None for a stack with nothing deployed; `data` the stack's own folder;
    `runtime` the folder with awslambdaric and boto3 (default: that of the working directory's checkout); `isolation`
    auto, bubblewrap or folders; `code` a folder for unpacked code that several stacks may share.
    Raises StackFailed on entering.
    """

    def __init__(
        self,
        build: Path | None,
        data: Path,
        port: int = 0,
        parameters: dict[str, str] | None = None,
        *,
        runtime: Path | None = None,
        isolation: str = "auto",
        code: Path | None = None,
    ) -> None:
        self._data = data
        self._settings = Settings(
            data=str(data.resolve()),
            runtime=str((runtime or runtime_folder(Path.cwd())).resolve()),
            build=str(build.resolve()) if build else "",
            port=port,
            isolation=isolation,
            keeps=False,
            attached=True,
            parameters=parameters or {},
            code=str(code.resolve()) if code else "",
        )
        self._clients: dict[str, Any] = {}

    def __enter__(self) -> LocalStack:
        self._process, self.info = launch(self._settings)
        return self

    def __exit__(self, *_: object) -> None:
        stop_process(self._process)

    @property
    def endpoint(self) -> str:
        return self.info.endpoint

    @property
    def outputs(self) -> dict[str, str]:
        return self.info.outputs

    @property
    def api_url(self) -> str:
        """The `api` function's URL, without the slash at its end."""
        return self.outputs["ApiUrl"].rstrip("/")

    def client(self, service: str) -> Any:
        """A boto3 client of this stack."""
        if service not in self._clients:
            self._clients[service] = local_client(service, self.endpoint)
        return self._clients[service]

    def invocations(self) -> Iterator[Invocation]:
        """Every invocation of a function so far, oldest first."""
        return read_invocations(self._data / FILE_NAME)

    def log(self) -> str:
        """What the stack's process has written to its log."""
        return (self._data / LOG_FILE).read_text(errors="replace")


def launch(settings: Settings) -> tuple[subprocess.Popen[str], StackInfo]:
    """Start a stack's process and wait until it is ready. Raises StackFailed."""
    data = Path(settings.data)
    try:
        open_folder(data)
    except DataFolderError as error:
        raise StackFailed(str(error)) from error
    with (data / LOG_FILE).open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celldock_local.server", json.dumps(asdict(settings))],
            stdin=subprocess.PIPE if settings.attached else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=not settings.attached,
            env=child_environment(),
        )
    assert process.stdout
    line = _first_line(process.stdout)
    process.stdout.close()
    message: dict[str, Any] = (
        json.loads(line) if line else {"failed": f"it ended or did not start, see {data / LOG_FILE}"}
    )
    if "failed" in message:
        stop_process(process)
        raise StackFailed(message["failed"])
    return process, StackInfo(**message["ready"])


def _first_line(stream: IO[str]) -> str:
    ready, _, _ = select.select([stream], [], [], START_LIMIT_S)
    return stream.readline() if ready else ""


def stop_process(process: subprocess.Popen[str]) -> None:
    """SIGTERM, and SIGKILL for one that does not end."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin:
        process.stdin.close()


def stop_pid(pid: int, limit_s: float = STOP_LIMIT_S) -> bool:
    """As `stop_process` for a process that is not a child; whether it ended by itself."""
    try:
        os.kill(pid, signal.SIGTERM)
        if _ends(pid, limit_s):
            return True
        os.kill(pid, signal.SIGKILL)
        _ends(pid, 10)
    except ProcessLookupError:
        return True
    return False


def _ends(pid: int, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while not _ended(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _ended(pid: int) -> bool:
    try:
        # A child that has ended but was not waited for still answers signals.
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return True
    except ChildProcessError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def child_environment() -> dict[str, str]:
    """This process's environment without the user's AWS: neither credentials, profiles, endpoints nor proxies."""
    proxies = {"http_proxy", "https_proxy", "all_proxy"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "MOTO_", "BOTO_")) and name.lower() not in proxies
    }
    return kept | {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "PYTHONUNBUFFERED": "1",
    }

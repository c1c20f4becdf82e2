"""A local stack for measuring: it counts what its functions ask of S3, and the processor time that each of them takes.

    with counted_stack(folder) as stack:
        ...
        stack.counts(), stack.cpu()

Linux only (/proc).
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from benchmarks.common import cpu_of, descendants
from celldock_local.aws import local_client
from celldock_local.checkout import BUILD, RUNTIME
from celldock_local.data_folder import StackInfo
from celldock_local.invocations import FILE_NAME, Invocation, read_invocations
from celldock_local.stack import Settings, child_environment

_SAMPLE = 0.2  # seconds
_STOP_SECONDS = 40
# Functions have session credentials, whoever uploads and the stack itself have not.
_SESSION_KEY = "Credential=ASIA"
_NAME = b"AWS_LAMBDA_FUNCTION_NAME="


@dataclass(frozen=True, slots=True)
class Counts:
    """What functions asked of S3: requests by method (a listing is `LIST`), bytes of objects to them and from them."""

    requests: dict[str, int]
    received: int
    sent: int


class CountedStack:
    """A running stack."""

    def __init__(self, info: StackInfo, data: Path, ask: Connection) -> None:
        self.info = info
        self._data = data
        self._ask = ask
        self._meter = _Meter(info.pid)
        self._meter.start()

    def client(self, service: str) -> Any:
        """A boto3 client of this stack."""
        return local_client(service, self.info.endpoint)

    def counts(self) -> Counts:
        """Since the start."""
        self._ask.send(True)
        return self._ask.recv()

    def cpu(self) -> dict[str, float]:
        """Seconds by function, its start included, as seen last."""
        return self._meter.by_function()

    def invocations(self) -> list[Invocation]:
        """Every invocation of a function so far, oldest first."""
        return list(read_invocations(self._data / FILE_NAME))

    def close(self) -> None:
        """Ends the stack's process."""
        self._meter.stop()
        self._ask.send(False)


@contextmanager
def counted_stack(data: Path) -> Generator[CountedStack]:
    """The stack of what is built, in a process of its own. Raises RuntimeError if it cannot start."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    settings = Settings(data=str(data), runtime=str(RUNTIME), build=str(BUILD), keeps=False)
    process = spawn.Process(target=_serve, args=(settings, theirs))
    process.start()
    theirs.close()
    try:
        stack = CountedStack(ours.recv(), data, ours)
    except EOFError as error:
        process.join()
        raise RuntimeError(f"the stack did not start (exit status {process.exitcode})") from error
    try:
        yield stack
    finally:
        stack.close()
        process.join(_STOP_SECONDS)
        process.kill()


def _serve(settings: Settings, answer: Connection) -> None:
    os.environ.clear()
    os.environ.update(child_environment())
    from moto.moto_server import threaded_moto_server

    from celldock_local.server import Server

    for chatty in ("werkzeug", "moto"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    tally = _Tally()
    module: Any = threaded_moto_server
    stock = module.DomainDispatcherApplication
    module.DomainDispatcherApplication = lambda *args: tally.counting(stock(*args))
    server = Server(settings)
    answer.send(server.start())
    while answer.recv():
        answer.send(tally.counts())
    server.stop()
    # As the server itself does: pollers are daemons that would be waited for.
    os._exit(0)


class _Tally:
    """Counts the functions' requests on their way to moto."""

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._lock = threading.Lock()

    def counts(self) -> Counts:
        with self._lock:
            return Counts(dict(self._requests), self._bytes["received"], self._bytes["sent"])

    def counting(self, application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        def counted(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            if not _asks_s3(environ.get("HTTP_AUTHORIZATION", "")):
                return application(environ, start_response)
            method = environ["REQUEST_METHOD"]
            whole = environ.get("HTTP_X_AMZ_DECODED_CONTENT_LENGTH") or environ.get("CONTENT_LENGTH") or 0

            def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
                length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
                self._add(_operation(method, environ["PATH_INFO"]), length if method == "GET" else 0, int(whole))
                return start_response(status, headers, *rest)

            return application(environ, start)

        return counted

    def _add(self, operation: str, received: int, sent: int) -> None:
        with self._lock:
            self._requests[operation] += 1
            self._bytes["received"] += received
            self._bytes["sent"] += sent


def _asks_s3(authorization: str) -> bool:
    return _SESSION_KEY in authorization and "/s3/aws4_request" in authorization


def _operation(method: str, path: str) -> str:
    """The method; `LIST` for a GET of a bucket rather than an object."""
    _, _, key = unquote(path).strip("/").partition("/")
    return "LIST" if method == "GET" and not key else method


class _Meter(threading.Thread):
    """Watches the processor time of a stack's sandboxes, which live on after an invocation."""

    def __init__(self, server: int) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._ended = threading.Event()
        self._seconds: dict[tuple[int, str], float] = {}

    def run(self) -> None:
        while not self._ended.wait(_SAMPLE):
            self._look()

    def by_function(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for (_, name), seconds in list(self._seconds.items()):
            found[name] = found.get(name, 0.0) + seconds
        return found

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def _look(self) -> None:
        seen: set[int] = set()
        for pid in descendants(self._server):
            name = "" if pid in seen else _function_of(pid)
            if name:
                # Together: a process that has ended counts for the one that has waited for it.
                sandbox = [pid, *descendants(pid)]
                seen.update(sandbox)
                spent = sum(map(cpu_of, sandbox))
                self._seconds[pid, name] = max(self._seconds.get((pid, name), 0.0), spent)


def _function_of(pid: int) -> str:
    """The function that a process belongs to; "" for others."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    return next((value.removeprefix(_NAME).decode() for value in variables if value.startswith(_NAME)), "")

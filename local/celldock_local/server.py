"""The process of a local stack: moto with all mends, the functions' sandboxes, and the deployed template.

    python -m celldock_local.server '{"data": "...", "build": "...", ...}'

It prints one line of JSON when the stack is ready, `{"ready": {...}}`, or cannot be, `{"failed": "..."}`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moto.server import ThreadedMotoServer

from celldock_local import keep
from celldock_local.aws import REGION, local_client
from celldock_local.code import CodeStore
from celldock_local.data_folder import INFO_FILE, Lock, StackInfo, open_folder, read_info, write_info
from celldock_local.deploy import DeployFailed, build_template, deploy
from celldock_local.destinations import send_to
from celldock_local.functions import spec_finder, store_logs
from celldock_local.isolation import Isolation, choose_isolation
from celldock_local.mends import apply_all
from celldock_local.mends.context import MendContext
from celldock_local.ports import claim_port
from celldock_local.runner import SandboxRunner
from celldock_local.stack import Settings

DRAIN_S = 15.0
"""How long a stop waits for what is under way."""

_log = logging.getLogger("celldock_local")


class Server:
    """One stack in this process. moto's state is global: there is one for each process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._data = Path(settings.data)
        self._lock: Lock | None = None
        self._notes: list[str] = []
        self._clients: dict[str, Any] = {}
        self._client_lock = threading.Lock()
        self.endpoint = ""

    def start(self) -> StackInfo:
        """Raises DeployFailed, ValueError (isolation) or OSError (port)."""
        open_folder(self._data)
        self._lock = Lock(self._data)
        killed = read_info(self._data)
        isolation = choose_isolation(self._settings.isolation)
        port = claim_port(self._data, "endpoint", self._settings.port)
        self.endpoint = f"http://127.0.0.1:{port}"
        self._executor = ThreadPoolExecutor(32, thread_name_prefix="stack")
        self._code = CodeStore(Path(self._settings.code) if self._settings.code else self._data / "code")
        self._mend(isolation)
        self._listen(port)
        outputs = self._deploy()
        if self._settings.keeps:
            self._notes += keep.restore(self._data)
            if killed:
                self._notes.append(keep.killed_note(self._data, killed))
        info = StackInfo(
            pid=os.getpid(),
            endpoint=self.endpoint,
            region=REGION,
            outputs=outputs,
            started_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            build=build_digest(self._settings.build),
            isolation=isolation.name,
            data=str(self._data),
            notes=self._notes,
        )
        write_info(self._data, info)
        return info

    def stop(self) -> None:
        """End what is under way, save the data if they are kept, and take the endpoint down."""
        ended = 0
        if self._settings.keeps:
            ended = keep.end_executions(self.client, self._runner.in_flight, time.monotonic() + DRAIN_S)
        self._context.stop.set()
        self._runner.close()
        if self._settings.keeps:
            keep.save(self._data, ended)
        (self._data / INFO_FILE).unlink(missing_ok=True)
        if self._lock:
            self._lock.release()

    def client(self, service: str) -> Any:
        with self._client_lock:
            if service not in self._clients:
                self._clients[service] = local_client(service, self.endpoint, read_timeout_s=300)
            return self._clients[service]

    def _mend(self, isolation: Isolation) -> None:
        self._runner = SandboxRunner(
            find=spec_finder(self._code, REGION),
            runtime=Path(self._settings.runtime).resolve(),
            data=self._data,
            isolation=isolation,
            executor=self._executor,
        )
        self._runner.endpoint = self.endpoint
        self._runner.on_logs = store_logs
        self._runner.on_failure = lambda arn, body: send_to(self.client, arn, body)
        self._context = MendContext(self.client, self._runner, self._data, self._executor, REGION)
        apply_all(self._context)

    def _listen(self, port: int) -> None:
        os.environ["MOTO_PORT"] = str(port)  # moto's own clients look for it
        ThreadedMotoServer("127.0.0.1", port, verbose=False).start()

    def _deploy(self) -> dict[str, str]:
        if not self._settings.build:
            return {}
        outputs = deploy(Path(self._settings.build), self.client, self._code, self._settings.parameters)
        if not self._settings.code:
            self._code.prune()
        return outputs


def build_digest(build: str) -> str:
    """Names a build by its template; empty without one."""
    if not build:
        return ""
    return hashlib.sha256(build_template(Path(build)).read_bytes()).hexdigest()[:16]


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main(argument: str) -> int:
    settings = Settings(**json.loads(argument))
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for chatty in ("werkzeug", "moto"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    server = Server(settings)
    try:
        info = server.start()
    except Exception as error:  # noqa: BLE001 - told to whoever waits for the start
        if not isinstance(error, DeployFailed):
            _log.exception("the stack could not start")
        _say({"failed": f"{error}" or type(error).__name__})
        return 1
    _say({"ready": asdict(info)})
    # Whoever started this process may be gone before it is.
    os.dup2(2, 1)
    if settings.attached:
        threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    ended.wait()
    server.stop()
    logging.shutdown()
    # Sandboxes and pollers are daemons; waiting for the executor's threads would wait for what was just abandoned.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

"""The parent's handle on its launcher: started when first needed, and again after it died."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from threading import Lock
from typing import Any

from celldock.errors import ServiceFault
from celldock.h5ad.sandbox.confine import hide_memory
from celldock.h5ad.sandbox.limits import Limits

# sys.path is handed over: the launcher sees the very packages that the parent sees, and nothing by environment.
_BOOT = """\
import json, sys
arguments = json.loads(sys.argv[1])
sys.path[:] = arguments["path"]
from celldock.h5ad.sandbox.launcher import main
main(arguments["control"], arguments["operations"])
"""
# One thread; and no filter that a file asks for is searched on disk (HDF5 would load plugins).
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "HDF5_PLUGIN_PRELOAD": "::"}
_START_SECONDS = 60.0
_ATTEMPTS = 2
_ANSWER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended: its wait status, None if nobody knows any more; `killed` if it did not end by itself."""

    status: int | None
    killed: bool


def ended_by(ending: Ending, number: signal.Signals) -> bool:
    """Whether this signal ended the child."""
    status = ending.status
    return status is not None and os.WIFSIGNALED(status) and os.WTERMSIG(status) == number


class Launcher:
    """Starts and ends children, for any number of threads."""

    def __init__(self, operations: str) -> None:
        self._operations = operations
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def warm(self) -> None:
        """Starts the launcher if it does not run, without waiting until it is ready."""
        # Whatever goes wrong here goes wrong again in `start`, which says so.
        with self._lock, contextlib.suppress(OSError):
            self._running()

    def start(self, limits: Limits) -> tuple[int, socket.socket]:
        """A new child: its process id, and the parent's end of its session socket.

        Raises:
            ServiceFault: no process can be started.
        """
        ours, theirs = socket.socketpair()
        trouble: OSError | None = None
        with theirs, self._lock:
            for _ in range(_ATTEMPTS):
                try:
                    answer = self._ask({"start": dataclasses.asdict(limits)}, theirs)
                except OSError as error:
                    # A launcher that died since the last file is not this file's fault: the next one is a new one.
                    trouble = error
                    self._stop()
                else:
                    return answer["pid"], ours
        ours.close()
        raise ServiceFault("The process that reads files could not be started.", code="sandbox.start") from trouble

    def end(self, pid: int, patience: float) -> Ending:
        """Ends a child, by force if it is still alive after `patience` seconds."""
        with self._lock:
            try:
                return Ending(**self._ask({"end": pid, "patience": patience}))
            except OSError:
                # It took its children along.
                self._stop()
                return Ending(None, killed=False)

    def close(self) -> None:
        """Ends the launcher and all of its children."""
        with self._lock:
            self._stop()

    def abandon(self) -> None:
        """In a process that was forked off: leaves the launcher to the process that started it."""
        self._lock = Lock()
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            # It is no child of this process: nothing to wait for.
            self._process.returncode = 0
        self._control = self._process = None

    def _ask(self, request: dict[str, Any], handed: socket.socket | None = None) -> dict[str, Any]:
        control = self._running()
        message = json.dumps(request).encode() + b"\n"
        if handed is None:
            control.sendall(message)
        else:
            socket.send_fds(control, [message], [handed.fileno()])
        data = b""
        while not data.endswith(b"\n"):
            more = control.recv(_ANSWER_BYTES)
            if not more:
                raise ConnectionError("the launcher ended")
            data += more
        answer: dict[str, Any] = json.loads(data)
        return answer

    def _running(self) -> socket.socket:
        if self._control is None:
            hide_memory()
            self._control, theirs = socket.socketpair()
            self._control.settimeout(_START_SECONDS)
            with theirs:
                self._process = self._execute(theirs)
        return self._control

    def _execute(self, control: socket.socket) -> subprocess.Popen[bytes]:
        if not sys.executable:
            raise ServiceFault("There is no Python interpreter to start.", code="sandbox.start")
        arguments = {
            "path": [os.path.abspath(entry) for entry in sys.path],  # noqa: PTH100 - "" is the working folder
            "control": control.fileno(),
            "operations": self._operations,
        }
        libraries = os.environ.get("LD_LIBRARY_PATH")
        # Only this process imports h5py: where nobody may keep its byte-code, each start would compile it anew.
        byte_code = ["-B"] if sys.dont_write_bytecode else []
        return subprocess.Popen(
            [sys.executable, "-I", "-S", *byte_code, "-c", _BOOT, json.dumps(arguments)],
            env=_ENVIRONMENT | ({"LD_LIBRARY_PATH": libraries} if libraries else {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(control.fileno(),),
            # Out of reach of the terminal's Ctrl-C: it ends when its control socket closes.
            start_new_session=True,
        )

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(1)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._control = self._process = None

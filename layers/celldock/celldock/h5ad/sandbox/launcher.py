"""The process that starts children. It never sees a byte of a file.

It is executed afresh, with an empty environment, imports once what every child needs, and then forks a child for each
session socket that the parent hands it. It serves one request of the parent at a time:

| request | answer |
|---|---|
| `{"start": limits}` with a session socket | `{"pid": number}` |
| `{"end": pid, "patience": seconds}` | `{"status": wait status, or null if there is no such child, "killed": bool}` |

It ends, and every child with it, when the parent closes the control socket or dies.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from celldock.h5ad.sandbox.child import Operation, preload, serve
from celldock.h5ad.sandbox.confine import close_all_but, confine, die_with_parent, hide_memory
from celldock.h5ad.sandbox.limits import EXIT_MEMORY, Limits

_MAX_REQUEST = 4096
_POLL_SECONDS = 0.002


def main(control_descriptor: int, operations: str) -> None:
    """Serves the control socket until the parent is gone. `operations` names the module of `OPERATIONS`."""
    hide_memory()
    table: Mapping[str, Operation] = importlib.import_module(operations).OPERATIONS
    preload()
    # Children share these pages as long as nobody touches them.
    gc.freeze()
    children: set[int] = set()
    with socket.socket(fileno=control_descriptor) as control:
        try:
            while request := _next_request(control):
                control.sendall(json.dumps(_serve(request, children, table)).encode() + b"\n")
        finally:
            for pid in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _next_request(control: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next request and the descriptors that came with it; None when the parent is gone."""
    data, descriptors, _, _ = socket.recv_fds(control, _MAX_REQUEST, 1)
    while data and not data.endswith(b"\n"):
        more = control.recv(_MAX_REQUEST)
        data = data + more if more else b""
    return (json.loads(data), list(descriptors)) if data else None


def _serve(
    request: tuple[dict[str, Any], list[int]], children: set[int], operations: Mapping[str, Operation]
) -> dict[str, Any]:
    message, descriptors = request
    if "start" in message:
        pid = _fork(descriptors[0], Limits(**message["start"]), operations)
        os.close(descriptors[0])
        children.add(pid)
        return {"pid": pid}
    pid = message["end"]
    if pid not in children:
        return {"status": None, "killed": False}
    children.discard(pid)
    status, killed = _end(pid, message["patience"])
    return {"status": status, "killed": killed}


def _fork(descriptor: int, limits: Limits, operations: Mapping[str, Operation]) -> int:
    launcher = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become_child(descriptor, limits, operations, launcher)
    return pid


def _become_child(descriptor: int, limits: Limits, operations: Mapping[str, Operation], launcher: int) -> NoReturn:
    code = 1
    try:
        die_with_parent()
        if os.getppid() == launcher:
            close_all_but(descriptor)
            connection = socket.socket(fileno=descriptor)
            confine(limits)
            serve(connection, operations)
            code = 0
    except MemoryError:
        code = EXIT_MEMORY
    finally:
        # Nothing of the launcher's may run here: no handlers, no buffers to flush.
        os._exit(code)


def _end(pid: int, patience: float) -> tuple[int, bool]:
    """The wait status of a child, and whether it had to be killed because it was still alive after `patience`."""
    deadline = time.monotonic() + patience
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status, False
        if time.monotonic() >= deadline:
            break
        time.sleep(_POLL_SECONDS)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return status, os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL

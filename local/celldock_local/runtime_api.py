"""The Lambda Runtime API of one execution environment, on loopback.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

RESPONSE_LIMIT = 6_291_556
"""Bytes of a synchronous response, AWS's figure."""

Signal = Literal["ready", "response", "error", "init-error", "too-large"]


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the runtime is handed."""

    request_id: str
    payload: bytes
    deadline_ms: int  # Unix time
    function_arn: str


class RuntimeApi:
    """Serves one runtime process; what it says arrives in `signals`."""

    def __init__(self) -> None:
        self.signals: queue.Queue[tuple[Signal, bytes]] = queue.Queue()
        self._offers: queue.Queue[Invocation | None] = queue.Queue()
        self._ready = False
        self._current = ""
        api = self

        class Handler(_Handler):
            owner = api

        self._server = _Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True, name="runtime-api").start()

    @property
    def address(self) -> str:
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def offer(self, invocation: Invocation) -> None:
        self._current = invocation.request_id
        self._offers.put(invocation)

    def close(self) -> None:
        self._offers.put(None)
        threading.Thread(target=self._shut_down, daemon=True).start()

    def _shut_down(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self) -> Invocation | None:
        if not self._ready:
            self._ready = True
            self.signals.put(("ready", b""))
        return self._offers.get()

    def hear(self, path: str, body: bytes | None) -> int:
        """A POST of the runtime; the HTTP status to answer. `body` is None if it was over the limit."""
        parts = path.strip("/").split("/")
        if parts[-2:] == ["init", "error"]:
            self.signals.put(("init-error", body or b"{}"))
            return 202
        if len(parts) < 2 or parts[-2] != self._current:
            return 400
        if body is None:
            self.signals.put(("too-large", b""))
            return 413
        if parts[-1] == "response":
            self.signals.put(("response", body))
        elif parts[-1] == "error":
            self.signals.put(("error", body))
        else:
            return 404
        return 202


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        return None  # a killed runtime breaks its connection: expected


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    owner: RuntimeApi

    def log_message(self, format: str, *args: Any) -> None:
        return None

    def do_GET(self) -> None:
        invocation = self.owner.take()
        if invocation is None:
            self.close_connection = True
            return
        self._answer(
            200,
            invocation.payload,
            {
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
                "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
                "Lambda-Runtime-Invoked-Function-Arn": invocation.function_arn,
                "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
            },
        )

    def do_POST(self) -> None:
        status = self.owner.hear(self.path, self._body())
        self._answer(status, b'{"status":"OK"}' if status == 202 else b'{"errorType":"RequestRefused"}', {})

    def _body(self) -> bytes | None:
        length = int(self.headers.get("Content-Length") or 0)
        if length <= RESPONSE_LIMIT:
            return self.rfile.read(length)
        while length > 0 and (chunk := self.rfile.read(min(length, 1 << 20))):
            length -= len(chunk)
        return None

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

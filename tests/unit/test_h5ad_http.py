"""A file on a web server: ranges over few connections, patience with what passes, and one version only."""

from __future__ import annotations

import http.server
import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from celldock.errors import ObjectGone, ServiceFault, Throttled, TransientError
from celldock.h5ad import retry
from celldock.h5ad.http import HttpSource
from celldock.h5ad.matrix import MatrixReader
from tests.matrices import Stored, random_counts, saved

CONTENT = bytes(range(256)) * 40


def hang_up(request: http.server.BaseHTTPRequestHandler) -> None:
    request.wfile.flush()
    request.connection.shutdown(socket.SHUT_RDWR)
    request.close_connection = True


class _QuietServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was hung up on is what a test asked for."""


class Server:
    """Serves one resource by ranges. `answers` holds faults for the next requests: a status, or how it breaks."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.etag = '"v1"'
        self.answers: list[int | str] = []
        self.requests: list[str] = []
        self.connections = 0
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                server.connections += 1

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                server.requests.append(self.headers.get("Range", ""))
                server.answer(self)

        self._http = _QuietServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/atlas/cells%20%2B.h5ad?signature=secret"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        fault = self.answers.pop(0) if self.answers else None
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        condition = request.headers.get("If-Match")
        if isinstance(fault, int):
            self._send(request, fault, b"", {})
        elif fault == "hang up":
            hang_up(request)
        elif fault == "moved":
            self._send(request, 307, b"", {"Location": "/elsewhere"})
        elif condition is not None and condition != self.etag:
            self._send(request, 412, b"", {})
        elif fault == "no ranges" or wanted is None:
            self._send(request, 200, self.content, {})
        elif int(wanted[1]) >= len(self.content):
            self._send(request, 416, b"", {"Content-Range": f"bytes */{len(self.content)}"})
        else:
            self._send_part(request, int(wanted[1]), min(int(wanted[2]) + 1, len(self.content)), fault)

    def _send_part(self, request: http.server.BaseHTTPRequestHandler, start: int, stop: int, fault: str | None) -> None:
        body = self.content[start:stop]
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(self.content)}", "ETag": self.etag}
        if fault == "break off":
            self._send(request, 206, body[: len(body) // 2], headers, length=len(body))
            hang_up(request)
        elif fault == "short":
            self._send(request, 206, body[:-1], headers)
        else:
            self._send(request, 206, body * 2 if fault == "long" else body, headers)

    @staticmethod
    def _send(
        request: http.server.BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str],
        length: int | None = None,
    ) -> None:
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body) if length is None else length)}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that a reader waits between its attempts; nobody does."""
    seconds: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", seconds.append)
    return seconds


def test_a_resource_is_read_by_ranges(server: Server) -> None:
    source = HttpSource.open(server.url)
    assert (source.size, source.name) == (len(CONTENT), "cells +.h5ad")
    assert source.read(1000, 24) == CONTENT[1000:1024]
    assert source.read(len(CONTENT), 0) == b""
    assert server.requests == ["bytes=0-0", "bytes=1000-1023"]


def test_connections_are_kept_and_shared_by_threads(server: Server) -> None:
    source = HttpSource.open(server.url)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda start: source.read(start, 64), range(0, 6400, 64)))
    assert b"".join(parts) == CONTENT[:6400]
    assert server.connections <= 5


def test_a_matrix_is_read_from_a_server(server: Server) -> None:
    matrix = random_counts(np.random.default_rng(5), (300, 40), 0.3, "csr")
    server.content, layout = saved(matrix, Stored())
    blocks = list(MatrixReader(HttpSource.open(server.url), layout).row_blocks())
    np.testing.assert_array_equal(np.concatenate([block.data for block in blocks]), matrix.data)


@pytest.mark.parametrize("fault", [500, 502, 503, 504, 408, 429, "hang up", "break off", "short"])
def test_what_passes_is_tried_again_after_a_growing_wait(server: Server, waits: list[float], fault: int | str) -> None:
    source = HttpSource.open(server.url)
    server.answers = [fault] * 3
    assert source.read(100, 50) == CONTENT[100:150]
    assert [0.1 * 2**n <= wait <= 0.2 * 2**n for n, wait in enumerate(waits)] == [True] * 3


@pytest.mark.parametrize(("fault", "error"), [(503, TransientError), (429, Throttled), ("short", TransientError)])
def test_what_does_not_pass_is_an_error_that_the_workflow_repeats(
    server: Server, waits: list[float], fault: int | str, error: type[Exception]
) -> None:
    source = HttpSource.open(server.url)
    server.answers = [fault] * 9
    with pytest.raises(error):
        source.read(0, 10)
    assert len(waits) == retry.READ_ATTEMPTS - 1


def test_a_redirect_is_followed(server: Server) -> None:
    source = HttpSource.open(server.url)
    server.answers = ["moved"]
    assert source.read(5, 3) == CONTENT[5:8]


def replaced(server: Server) -> None:
    server.etag = '"v2"'


def replaced_under_the_same_tag(server: Server) -> None:
    server.content = CONTENT + b"more"


def replaced_by_less(server: Server) -> None:
    server.content = CONTENT[:5]


@pytest.mark.parametrize(
    ("etag", "change"),
    [
        ('"v1"', replaced),
        ('"v1"', replaced_under_the_same_tag),
        ('"v1"', replaced_by_less),
        ("", replaced_under_the_same_tag),
        ("", replaced_by_less),
        ('W/"v1"', replaced_by_less),
    ],
)
def test_another_version_is_an_error_of_its_own(
    server: Server, waits: list[float], change: Callable[[Server], None], etag: str
) -> None:
    server.etag = etag
    source = HttpSource.open(server.url)
    change(server)
    with pytest.raises(ObjectGone) as changed:
        source.read(100, 10)
    assert changed.value.code == "source.changed"
    assert waits == []


@pytest.mark.parametrize("status", [404, 410])
def test_a_deleted_resource_is_gone(server: Server, status: int) -> None:
    source = HttpSource.open(server.url)
    server.answers = [status]
    with pytest.raises(ObjectGone) as gone:
        source.read(100, 10)
    assert gone.value.code == "source.gone"


def test_a_server_that_sends_more_than_was_asked_for_is_not_believed(server: Server) -> None:
    source = HttpSource.open(server.url)
    server.answers = ["long"] * 9
    with pytest.raises(TransientError):
        source.read(100, 10)


def test_a_server_without_ranges_is_refused(server: Server) -> None:
    server.answers = ["no ranges"]
    with pytest.raises(ServiceFault) as refused:
        HttpSource.open(server.url)
    assert refused.value.code == "source.no_ranges"


def test_an_empty_resource_has_no_bytes(server: Server) -> None:
    server.content = b""
    assert HttpSource.open(server.url).size == 0


def test_a_refusal_tells_nothing_of_the_signature(server: Server) -> None:
    server.answers = [403]
    with pytest.raises(ServiceFault) as refused:
        HttpSource.open(server.url)
    assert refused.value.where == "cells +.h5ad"
    assert "secret" not in f"{refused.value}"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x.h5ad", "/etc/passwd"])
def test_only_the_web_is_read(url: str) -> None:
    with pytest.raises(ServiceFault):
        HttpSource.open(url)


@pytest.mark.parametrize(("offset", "length"), [(0, len(CONTENT) + 1), (-1, 2), (0, -1)])
def test_a_range_outside_of_the_resource_is_a_mistake(server: Server, offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="do not lie within"):
        HttpSource.open(server.url).read(offset, length)

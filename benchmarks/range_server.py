"""A web server that answers byte ranges of the files in a folder, late, and counts what it was asked.

    python -m benchmarks.range_server FOLDER [--latency MILLISECONDS] [--port PORT]

It prints its port. Every GET and HEAD waits for the latency first, as a request to object storage does; several are
answered at once. `GET /bucket/key` finds `key` too, so that S3's clients can read from it: what they ask for beside the
range (version, signature) is not looked at. `/_counters` answers `{"requests", "rounds", "bytes"}` since the last time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from urllib.parse import unquote, urlsplit

COUNTERS = "/_counters"
_STEP = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Counters:
    """Requests for a file's bytes or head, and bytes of files sent.

    `rounds` are the requests that came when no other was underway: so many latencies were waited for, at least.
    """

    requests: int
    rounds: int
    bytes: int

    def each(self, runs: int) -> Counters:
        """Those of one of several equal runs."""
        return Counters(self.requests // runs, self.rounds // runs, self.bytes // runs)


class RangeServer:
    """A running server, seen from outside."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def take_counters(self) -> Counters:
        """What was asked since the last call."""
        with urllib.request.urlopen(self.url + COUNTERS) as answer:
            return Counters(**json.load(answer))


@contextmanager
def serve(folder: Path, latency_ms: float) -> Generator[RangeServer]:
    """A server over `folder` in a process of its own, so that its work is not the reader's."""
    command = [sys.executable, "-m", "benchmarks.range_server", str(folder), "--latency", str(latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield RangeServer(int(process.stdout.readline()))
        finally:
            process.terminate()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, port: int, folder: Path, latency: float) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.folder = folder.resolve()
        self.latency = latency
        self._counting = Lock()
        self._underway = 0
        self._counts = Counters(0, 0, 0)

    @contextmanager
    def underway(self) -> Generator[None]:
        """Counts a request from its arrival to the end of the answer."""
        with self._counting:
            counts = self._counts
            self._counts = replace(counts, requests=counts.requests + 1, rounds=counts.rounds + (self._underway == 0))
            self._underway += 1
        try:
            yield
        finally:
            with self._counting:
                self._underway -= 1

    def sent(self, count: int) -> None:
        with self._counting:
            self._counts = replace(self._counts, bytes=self._counts.bytes + count)

    def take(self) -> Counters:
        with self._counting:
            taken, self._counts = self._counts, Counters(0, 0, 0)
        return taken

    def find(self, target: str) -> Path | None:
        """The file that `/key` or `/bucket/key` names, if it lies in the folder."""
        key = unquote(urlsplit(target).path).lstrip("/")
        for name in (key, key.partition("/")[2]):
            path = (self.folder / name).resolve()
            if path.is_file() and path.is_relative_to(self.folder):
                return path
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet for a head

    @property
    def _files(self) -> _Server:
        assert isinstance(self.server, _Server)
        return self.server

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: a line for each request would be much of the server's work."""

    def do_HEAD(self) -> None:
        with self._files.underway():
            self._answer(send=False)

    def do_GET(self) -> None:
        if self.path == COUNTERS:
            body = json.dumps(asdict(self._files.take())).encode()
            self._head(HTTPStatus.OK, {"Content-Length": str(len(body))})
            self.wfile.write(body)
            return
        with self._files.underway():
            self._answer(send=True)

    def _answer(self, *, send: bool) -> None:
        time.sleep(self._files.latency)
        path = self._files.find(self.path)
        if path is None:
            self._head(HTTPStatus.NOT_FOUND, {"Content-Length": "0"})
            return
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            etag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
            span = self._span(stat.st_size)
            if self.headers.get("If-Match", etag) != etag or span is None:
                missing = HTTPStatus.PRECONDITION_FAILED if span else HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
                self._head(missing, {"Content-Length": "0"})
                return
            start, stop = span
            headers = {
                "Accept-Ranges": "bytes",
                "Content-Type": "application/octet-stream",
                "Content-Length": str(stop - start),
                "ETag": etag,
                "Last-Modified": formatdate(stat.st_mtime, usegmt=True),
            }
            if "Range" in self.headers:
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{stat.st_size}"
            self._head(HTTPStatus.PARTIAL_CONTENT if "Range" in self.headers else HTTPStatus.OK, headers)
            if send:
                self._files.sent(self._send(file.fileno(), start, stop))

    def _span(self, size: int) -> tuple[int, int] | None:
        """The bytes [start, stop) that were asked for; None where the file has none of them."""
        unit, _, wanted = self.headers.get("Range", "bytes=0-").partition("=")
        first, _, last = wanted.partition("-")
        if unit != "bytes" or not (first or last).isdigit():
            return 0, size
        start = int(first) if first else max(0, size - int(last))
        stop = min(int(last) + 1, size) if first and last else size
        return (start, stop) if start < stop or size == 0 else None

    def _head(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, descriptor: int, start: int, stop: int) -> int:
        self.wfile.flush()
        at = start
        try:
            while at < stop:
                at += os.sendfile(self.connection.fileno(), descriptor, at, min(stop - at, _STEP))
        except ConnectionError:
            self.close_connection = True  # the reader has had enough
        return at - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latency", type=float, default=20, help="milliseconds")
    parser.add_argument("--port", type=int, default=0, help="any free one by default")
    arguments = parser.parse_args()
    with _Server(arguments.port, arguments.folder, arguments.latency / 1000) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()

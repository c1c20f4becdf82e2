"""The parent's side: opens files in children, hands them byte ranges, and believes nothing that they say."""

from __future__ import annotations

import atexit
import os
import re
import signal
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Any, Protocol, cast

from celldock.errors import CelldockError, HostileFile, ServiceFault, TransientError
from celldock.h5ad.container import HEAD_BYTES, refuse_container
from celldock.h5ad.sandbox.limits import (
    BLOCK_BYTES,
    EXIT_MEMORY,
    MAX_RANGES,
    MAX_READ_BYTES,
    MAX_REQUEST_BYTES,
    Limits,
)
from celldock.h5ad.sandbox.processes import Ending, Launcher, ended_by
from celldock.h5ad.sandbox.protocol import REFUSALS, Array, Buffer, Channel, Malformed, pack, unpack
from celldock.h5ad.source import ByteSource

OPERATIONS = "celldock.h5ad.sandbox.operations"

_PARALLEL = 32
_FIRST_BYTES = 1024 * 1024
_LAST_BYTES = 1024 * 1024
_PATIENCE = 1.0
_SLOW_REQUEST = 1.0
_CODE = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")
_MAX_TEXT = 4000
# Padding, and what a few strings more than the bound may take.
_MAX_BODY = MAX_READ_BYTES + 1024 * 1024


class PageStore(Protocol):
    """Who takes the pages that a child writes. Raises Malformed for what no honest child would do."""

    def keep(self, numbers: Any, body: Array) -> None:
        """Takes the pages of these numbers, whose bytes (uint8) are in `body`, one after the other."""
        ...

    def recall(self, number: Any) -> bytes:
        """The page that was kept last under this number."""
        ...


class _NoPages:
    """Where no child writes."""

    def keep(self, numbers: Any, body: Array) -> None:
        raise Malformed("pages of a file that nobody writes to")

    def recall(self, number: Any) -> bytes:
        raise Malformed("a page of a file that nobody writes to")


_NO_PAGES = _NoPages()


class Sandbox:
    """Opens files, each in a child of its own. `operations` names the module that says what a child can do."""

    def __init__(self, operations: str = OPERATIONS) -> None:
        self._launcher = Launcher(operations)

    def warm(self) -> None:
        """Starts what the first `open` will need, without waiting until it is there."""
        self._launcher.warm()

    @contextmanager
    def open(self, source: ByteSource, limits: Limits | None = None) -> Generator[Session]:
        """The file in a child that lives until the context ends.

        Raises:
            InvalidSubmission: no HDF5 file, or a broken one. HostileFile: see `Session.call`.
            TransientError: what the source raises, and a child that the system killed.
            ServiceFault: no process can be started.
        """
        self.warm()
        session = Session(self._launcher, source, limits or Limits())
        try:
            session.open()
            yield session
        finally:
            session.close()

    def close(self) -> None:
        """Ends all children. The next `open` starts anew."""
        self._launcher.close()

    def abandon(self) -> None:
        """In a process that was forked off: leaves the children to the process that started them."""
        self._launcher.abandon()


class Session:
    """One file, open in a child; one call at a time, from any thread."""

    def __init__(self, launcher: Launcher, source: ByteSource, limits: Limits) -> None:
        self._launcher = launcher
        self._source = source
        self._limits = limits
        self._lock = Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._channel: Channel | None = None
        self._pid = 0
        self._failure: Exception | None = None
        self._kept: PageStore = _NO_PAGES
        self._requests = 0
        self._fetching = 0.0

    def open(self) -> None:
        """Judges the first bytes, then starts the child, which opens the file."""
        known = self._first_ranges()
        parts = self._fetch(known)
        refuse_container(parts[0][:HEAD_BYTES] if parts else b"", self._source.size, self._source.name)
        self._pid, connection = self._launcher.start(self._limits)
        self._channel = Channel(connection, _MAX_BODY)
        self._exchange({"open": self._source.name, "size": self._source.size, "known": known}, parts)

    def call(self, operation: str, /, **arguments: Any) -> Any:
        """What `operation` of the child's table returns for the open file: JSON-able values and NumPy arrays.

        Arguments must be of the same kinds as what is returned.

        Raises:
            InvalidSubmission, CannotAppend: what the operation raised.
            HostileFile: the child crashed (`file.crashes_reader`), took too long (`file.hangs_reader`) or too much
                memory (`file.memory`). After the first two every further call raises the same.
            TransientError: the system killed the child, or the source is slow. Also whatever the source raises.
            ServiceFault: a mistake of ours in the operation.
        """
        with self._lock:
            document, buffers = pack(arguments)
            return self._exchange({"call": operation, **document}, buffers)

    @contextmanager
    def keeping(self, pages: PageStore) -> Generator[None]:
        """Lets the child write pages while the context lasts; at other times one that does is not believed."""
        self._kept = pages
        try:
            yield
        finally:
            self._kept = _NO_PAGES

    def close(self) -> None:
        """Ends the child."""
        self._end(patience=0)
        self._failure = None
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _exchange(self, message: dict[str, Any], buffers: Sequence[Buffer]) -> Any:
        if self._channel is None:
            raise self._failure or ServiceFault("The file is closed.", code="sandbox.closed")
        try:
            document, body = self._converse(self._channel, message, buffers)
            if "answer" in document:
                return unpack(document, body)
            failure = self._told(document)
        except _SourceFault as fault:
            self._end(patience=0)
            failure = self._failure = fault.error
        except (Malformed, TimeoutError, EOFError, OSError) as error:
            failure = self._failure = self._explain(error)
            failure.__cause__ = error
        except BaseException:
            self._end(patience=0)
            raise
        try:
            raise failure
        finally:
            # The frame would keep the error that keeps the frame, and with it the source and its descriptor.
            del failure

    def _converse(
        self, channel: Channel, message: dict[str, Any], buffers: Sequence[Buffer]
    ) -> tuple[dict[str, Any], Array]:
        """Sends a message and serves ranges until the answer comes."""
        self._requests, self._fetching = 0, 0.0
        deadline = time.monotonic() + self._limits.call_seconds
        channel.send(message, buffers, deadline=deadline)
        while True:
            document, body = channel.receive(deadline=deadline)
            if "read" in document:
                channel.send({}, self._read(document["read"]), deadline=deadline)
            elif "recall" in document:
                channel.send({}, [self._kept.recall(document["recall"])], deadline=deadline)
            elif "keep" in document:
                self._kept.keep(document["keep"], body)
            else:
                return document, body

    def _read(self, asked: Any) -> list[bytes]:
        ranges = self._checked(asked)
        try:
            return self._fetch(ranges)
        except Exception as error:
            raise _SourceFault(error) from error

    def _first_ranges(self) -> list[tuple[int, int]]:
        """Where an HDF5 file has most of what a header needs: its beginning and its end."""
        size = self._source.size
        ranges = [(0, min(size, _FIRST_BYTES))]
        if size > _FIRST_BYTES:
            start = max(_FIRST_BYTES, (size - _LAST_BYTES) // BLOCK_BYTES * BLOCK_BYTES)
            ranges.append((start, size - start))
        return ranges if size else []

    def _fetch(self, ranges: list[tuple[int, int]]) -> list[bytes]:
        started = time.monotonic()
        if len(ranges) > 1:
            self._pool = self._pool or ThreadPoolExecutor(_PARALLEL, thread_name_prefix="ranges")
            parts = list(self._pool.map(self._source.read, *zip(*ranges, strict=True)))
        else:
            parts = [self._source.read(*piece) for piece in ranges]
        self._requests += 1
        self._fetching += time.monotonic() - started
        if any(len(part) != length for part, (_, length) in zip(parts, ranges, strict=True)):
            raise TransientError("The source sent fewer bytes.", code="source.short_read", where=self._source.name)
        return parts

    def _checked(self, ranges: Any) -> list[tuple[int, int]]:
        """The child's request, if an honest child could have made it."""
        checked: list[tuple[int, int]] = []
        total = 0
        for item in cast("list[Any]", ranges) if isinstance(ranges, list) else [None]:
            match item:
                case [int(offset), int(length)] if 0 <= offset <= offset + length <= self._source.size:
                    checked.append((offset, length))
                    total += length
                case _:
                    raise Malformed("no byte ranges")
        if total > MAX_REQUEST_BYTES or len(checked) > MAX_RANGES:
            raise Malformed("more bytes than agreed")
        return checked

    def _told(self, document: dict[str, Any]) -> CelldockError:
        """What the child says instead of an answer."""
        match document:
            case {"failed": "memory"}:
                return self._out_of_memory()
            case {"failed": "depth"}:
                return self._refusal("file.too_deep", "is nested deeper than any real file")
            case {"fault": str(text)}:
                return ServiceFault(f"Reading failed:\n{text[:_MAX_TEXT]}", code="sandbox.fault")
            case {
                "refused": {
                    "kind": str(kind),
                    "code": str(code),
                    "message": str(message),
                    "where": str(where),
                    "hint": str(hint),
                }
            } if _CODE.fullmatch(code) and kind in REFUSALS:
                return REFUSALS[kind](message[:_MAX_TEXT], code=code, where=where[:_MAX_TEXT], hint=hint[:_MAX_TEXT])
            case _:
                raise Malformed("no answer")

    def _explain(self, error: Exception) -> CelldockError:
        """Ends a child that broke off the conversation and says whose fault it was."""
        hung_up = not isinstance(error, Malformed | TimeoutError)
        ending = self._end(patience=_PATIENCE if hung_up else 0)
        if isinstance(error, TimeoutError) and self._fetching > _SLOW_REQUEST * max(1, self._requests):
            return TransientError("The source is too slow.", code="source.slow", where=self._source.name)
        if isinstance(error, TimeoutError) or (hung_up and ended_by(ending, signal.SIGXCPU)):
            return self._refusal("file.hangs_reader", "keeps the program that reads it busy without end")
        if hung_up and not ending.killed:
            if ending.status is None or ended_by(ending, signal.SIGKILL):
                return TransientError("The process that read the file was killed.", code="sandbox.killed")
            if os.WIFEXITED(ending.status) and os.WEXITSTATUS(ending.status) == EXIT_MEMORY:
                return self._out_of_memory()
        return self._refusal("file.crashes_reader", "crashes the program that reads it")

    def _out_of_memory(self) -> HostileFile:
        return self._refusal("file.memory", "needs more memory than any real file")

    def _refusal(self, code: str, problem: str) -> HostileFile:
        name = self._source.name
        return HostileFile(
            f"{name} {problem}.",
            code=code,
            where=name,
            hint="Load it with anndata.read_h5ad, if that works, and write it anew with write_h5ad.",
        )

    def _end(self, patience: float) -> Ending:
        if self._channel is None:
            return Ending(None, killed=False)
        self._channel.close()
        self._channel = None
        return self._launcher.end(self._pid, patience)


class _SourceFault(Exception):
    """Carries what the source raised past everything that explains the child."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


SANDBOX = Sandbox()
"""The one that every step uses; nothing runs before the first file is opened."""
atexit.register(SANDBOX.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SANDBOX.abandon)

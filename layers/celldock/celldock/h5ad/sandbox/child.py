"""The process of one file: opens it over the session socket and serves calls until the parent hangs up."""

from __future__ import annotations

import codecs
import itertools
import socket
import sys
import tokenize
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from celldock.errors import CannotAppend, CelldockError, InvalidSubmission
from celldock.h5ad.hdf5.frames import Frames
from celldock.h5ad.hdf5.opened import OpenFile
from celldock.h5ad.hdf5.stream import SourceFile, open_file
from celldock.h5ad.sandbox.limits import BLOCK_BYTES, MAX_RANGES, MAX_REQUEST_BYTES, PAGE_BYTES
from celldock.h5ad.sandbox.protocol import REFUSALS, Channel, pack, unpack

type Operation = Callable[..., Any]

_MAX_FAULT = 4000


def preload() -> None:
    """Loads what Python would import late, when a confined process cannot any more."""
    for name in ("ascii", "latin-1", "utf-8"):
        codecs.lookup(name)
    assert tokenize.open, "used where a traceback is formatted"


def serve(connection: socket.socket, operations: Mapping[str, Operation]) -> None:
    """Serves one file; the process is confined already. Returns when the parent is done or gone."""
    # A late import says so, instead of failing at `open` and being taken for a damaged file.
    sys.meta_path.clear()
    channel = Channel(connection, MAX_REQUEST_BYTES)
    try:
        _converse(channel, operations)
    except (EOFError, ConnectionError):
        return
    except Exception:  # noqa: BLE001 - the parent raises it again
        channel.send(_fault())


def _converse(channel: Channel, operations: Mapping[str, Operation]) -> None:
    opening, known = channel.receive()
    stream = SourceFile(_Ranges(channel, opening["size"]), block_size=BLOCK_BYTES)
    at = 0
    for offset, length in opening["known"]:
        stream.keep(offset, known[at : at + length].tobytes())
        at += length
    hdf5 = _answer(channel, lambda: open_file(stream, opening["open"]), tell=False)
    if hdf5 is None:
        return
    file = OpenFile(hdf5, Frames(hdf5), stream, opening["size"], _Pages(channel))
    while True:
        request, body = channel.receive()
        operation = operations[request["call"]]
        arguments: dict[str, Any] = unpack(request, body)
        _answer(channel, lambda operation=operation, arguments=arguments: operation(file, **arguments))


class _Ranges:
    """The file's bytes, asked of the parent."""

    def __init__(self, channel: Channel, size: int) -> None:
        self._channel = channel
        self._size = size

    @property
    def size(self) -> int:
        """Total bytes."""
        return self._size

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> Iterator[memoryview]:
        """As `RangeReader.read_many`; what is too much for one request is asked for in several."""
        for batch in _batches(ranges):
            self._channel.send({"read": batch})
            _, body = self._channel.receive()
            view = memoryview(body)
            at = 0
            for _offset, length in batch:
                yield view[at : at + length]
                at += length


class _Pages:
    """The written pages that the parent keeps."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def keep(self, pages: Sequence[tuple[int, bytes | bytearray]]) -> None:
        """As `PageKeeper.keep`."""
        for batch in itertools.batched(pages, MAX_REQUEST_BYTES // PAGE_BYTES, strict=False):
            self._channel.send({"keep": [number for number, _ in batch]}, [page for _, page in batch])

    def recall(self, number: int) -> bytearray:
        """As `PageKeeper.recall`."""
        self._channel.send({"recall": number})
        _, body = self._channel.receive()
        return bytearray(body.data)


def _batches(ranges: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    batch: list[tuple[int, int]] = []
    total = 0
    for offset, length in ranges:
        if batch and (total + length > MAX_REQUEST_BYTES or len(batch) == MAX_RANGES):
            yield batch
            batch, total = [], 0
        batch.append((offset, length))
        total += length
    if batch:
        yield batch


def _answer(channel: Channel, work: Callable[[], Any], *, tell: bool = True) -> Any:
    """Sends what `work` gives (unless not to `tell`) or why it gives nothing; returns it, None after a failure."""
    try:
        value = work()
        document, buffers = pack(value if tell else None)
    except (InvalidSubmission, CannotAppend) as error:
        document, buffers = _refusal(error), []
        value = None
    except MemoryError:
        document, buffers = {"failed": "memory"}, []
        value = None
    except RecursionError:
        document, buffers = {"failed": "depth"}, []
        value = None
    except (EOFError, ConnectionError):
        raise
    except Exception:  # noqa: BLE001 - the parent raises it again
        document, buffers = _fault(), []
        value = None
    channel.send(document, buffers)
    return value


def _fault() -> dict[str, Any]:
    return {"fault": traceback.format_exc()[-_MAX_FAULT:]}


def _refusal(error: CelldockError) -> dict[str, Any]:
    return {
        "refused": {
            "kind": next(name for name, kind in REFUSALS.items() if isinstance(error, kind)),
            "code": error.code,
            "message": error.message,
            "where": error.where,
            "hint": error.hint,
        }
    }

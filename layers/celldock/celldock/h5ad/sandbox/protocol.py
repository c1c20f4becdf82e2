"""How parent and child talk: frames of a JSON document with raw bytes behind it. Nothing in them is ever executed.

| from | document | bytes behind it |
|---|---|---|
| parent | `{"open": name, "size": bytes, "known": [[offset, length], …]}` | those ranges, one after the other |
| parent | `{"call": operation, "answer": arguments, "arrays": [description, …]}` | the arrays |
| child | `{"read": [[offset, length], …]}` | – |
| parent | `{}`, the answer to "read" | those ranges, one after the other |
| child | `{"keep": [page, …]}`, to which there is no answer | written pages, one after the other |
| child | `{"recall": page}` | – |
| parent | `{}`, the answer to "recall" | that page |
| child | `{"answer": value, "arrays": [description, …]}` | the arrays, each padded to 8 bytes |
| child | `{"refused": {"kind": name of the exception, "code", "message", "where", "hint"}}` | – |
| child | `{"fault": text}`: our own mistake | – |

Pages are numbered from the file's beginning and have `PAGE_BYTES` each, the last one too.

A value is JSON; wherever it holds a NumPy array of numbers or of `str`, the document says `{"$array": index}`. The
parent believes nothing of what a child sends: a frame is checked in size, shape and type before it becomes a value.
"""

from __future__ import annotations

import json
import math
import re
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from celldock.errors import CannotAppend, CelldockError, HostileFile, InvalidSubmission
from celldock.h5ad.sandbox.limits import BYTES_PER_TEXT, MAX_HEAD_BYTES, MAX_READ_BYTES

type Array = np.ndarray[Any, Any]
type Buffer = bytes | bytearray | memoryview | Array

REFUSALS: Mapping[str, type[CelldockError]] = {
    kind.__name__: kind for kind in (HostileFile, InvalidSubmission, CannotAppend)
}
"""What an operation may raise, by name; the first that fits, for one is a kind of another."""

_PREFIX = struct.Struct("<QQ")
_ALIGNMENT = 8
_NUMBERS = ("|b1", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8", "<c8", "<c16")
_TEXT = "str"
_ARRAY = "$array"
_MAX_DEPTH = 64


class Malformed(ValueError):
    """A frame that no honest child sends."""


class Channel:
    """One end of the session socket."""

    def __init__(self, connection: socket.socket, max_body: int) -> None:
        self._connection = connection
        self._max_body = max_body

    def send(
        self, document: Mapping[str, Any], buffers: Sequence[Buffer] = (), *, deadline: float | None = None
    ) -> None:
        """Sends one frame. Raises TimeoutError at the `deadline` (of `time.monotonic`), OSError if nobody listens."""
        head = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        views = [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]
        prefix = _PREFIX.pack(len(head), sum(map(len, views)))
        for part in (prefix + head, *views):
            self._wait_until(deadline)
            self._connection.sendall(part)

    def receive(self, *, deadline: float | None = None) -> tuple[dict[str, Any], Array]:
        """The next frame: its document, and the bytes behind it (uint8).

        Raises:
            EOFError: the other end is gone.
            TimeoutError: the `deadline` has passed.
            Malformed: the frame is larger than agreed or its head no JSON object.
        """
        head_bytes, body_bytes = _PREFIX.unpack(self._receive(_PREFIX.size, deadline))
        if head_bytes > MAX_HEAD_BYTES or body_bytes > self._max_body:
            raise Malformed(f"a frame of {head_bytes:,} + {body_bytes:,} bytes")
        document = _parse(self._receive(head_bytes, deadline))
        return document, self._receive(body_bytes, deadline)

    def close(self) -> None:
        """Closes this end."""
        self._connection.close()

    def _receive(self, length: int, deadline: float | None) -> Array:
        # Not touched before bytes arrive: a length that is a lie costs no memory.
        data = np.empty(length, np.uint8)
        view = memoryview(data)
        at = 0
        while at < length:
            self._wait_until(deadline)
            received = self._connection.recv_into(view[at:])
            if not received:
                raise EOFError
            at += received
        return data

    def _wait_until(self, deadline: float | None) -> None:
        """Without a deadline the socket stays blocking: a confined child may not poll."""
        if deadline is None:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)


def pack(value: Any) -> tuple[dict[str, Any], list[Buffer]]:
    """The frame that answers a call with `value`: JSON-able, with NumPy arrays of numbers or `str` anywhere in it.

    Raises:
        InvalidSubmission: an answer that is too large, or of numbers that celldock does not handle.
        TypeError: anything else in the value; a mistake of ours.
    """
    packing = _Packing()
    return {"answer": packing.plain(value), "arrays": packing.descriptions}, packing.buffers


def unpack(document: Mapping[str, Any], body: Array) -> Any:
    """The value that `pack` framed. Raises Malformed for what it would never have made."""
    match document:
        case {"answer": value, "arrays": [*descriptions]}:
            try:
                return _restore(value, _unpack_arrays(descriptions, body), 0)
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                raise Malformed("an answer in no known form") from error
        case _:
            raise Malformed("no answer")


@dataclass(slots=True)
class _Packing:
    """Collects the arrays of a value while its document is made."""

    descriptions: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    buffers: list[Buffer] = field(default_factory=list[Buffer])
    total: int = 0

    def plain(self, value: Any) -> Any:
        match value:
            case None | bool() | int() | float() | str():
                return value
            case np.ndarray():
                return {_ARRAY: self._add(cast("Array", value))}
            case np.generic():
                return self.plain(value.item())
            case list() | tuple():
                return [self.plain(item) for item in cast("Sequence[Any]", value)]
            case dict():
                items = cast("dict[str, Any]", value).items()
                return {f"${key}" if key.startswith("$") else key: self.plain(item) for key, item in items}
            case _:
                raise TypeError(f"a {type(value).__name__} cannot leave the sandbox")

    def _add(self, array: Array) -> int:
        if array.dtype.kind in "OU":
            self._add_text(array)
        else:
            self._add_numbers(array)
        return len(self.descriptions) - 1

    def _add_numbers(self, array: Array) -> None:
        dtype = array.dtype.newbyteorder("<")
        if dtype.str not in _NUMBERS:
            raise InvalidSubmission(
                f"The file holds values of the type {array.dtype.name}, which celldock does not read.",
                code="file.type_unknown",
                hint="Store plain integers, real numbers of up to 64 bits, booleans or strings.",
            )
        self._append({"dtype": dtype.str}, array.shape, np.ascontiguousarray(array, dtype), array.nbytes)

    def _add_text(self, array: Array) -> None:
        texts: list[str] = array.ravel().tolist()
        self._count(sum(map(len, texts)) + BYTES_PER_TEXT * len(texts))
        # Longer than any run of its kind in the texts, and without an end that is also its beginning.
        runs = re.findall("\0\1*", "".join(texts))
        separator = "\0" + "\1" * max(map(len, runs), default=0)
        data = separator.join(texts).encode()
        self._append({"dtype": _TEXT, "separator": separator, "bytes": len(data)}, array.shape, data, len(data))

    def _append(self, description: dict[str, Any], shape: tuple[int, ...], data: Buffer, nbytes: int) -> None:
        self._count(nbytes)
        self.descriptions.append({**description, "shape": list(shape)})
        padding = bytes(-nbytes % _ALIGNMENT)
        self.buffers.extend((memoryview(data).cast("B") if nbytes else b"", padding))

    def _count(self, nbytes: int) -> None:
        self.total += nbytes + _ALIGNMENT
        if self.total > MAX_READ_BYTES:
            raise HostileFile(
                f"One block of values takes more than {MAX_READ_BYTES // 1024**2} MiB.",
                code="file.too_large_to_read",
                hint="Write the file with smaller chunks, shorter texts and fewer categories.",
            )


def _unpack_arrays(descriptions: list[Any], body: Array) -> list[Array]:
    arrays: list[Array] = []
    at = texts = 0
    for description in descriptions:
        match description:
            case {"dtype": "str", "shape": [*shape], "separator": str(separator), "bytes": int(nbytes)}:
                count = _count_of(shape)
                texts += count
                if BYTES_PER_TEXT * texts > MAX_READ_BYTES:
                    raise Malformed(f"{texts:,} strings")
                array = _texts(_cut(body, at, nbytes), separator, count)
            case {"dtype": str(dtype), "shape": [*shape]} if dtype in _NUMBERS:
                nbytes = np.dtype(dtype).itemsize * _count_of(shape)
                array = _cut(body, at, nbytes).view(dtype)
                if dtype == "|b1":
                    # Any other byte than 0 and 1 would make NumPy count wrong.
                    array = array.view(np.uint8) != 0
            case _:
                raise Malformed("an array of no known type")
        arrays.append(array.reshape(shape))
        at += nbytes + -nbytes % _ALIGNMENT
    if at != len(body):
        raise Malformed(f"{len(body):,} bytes for arrays of {at:,}")
    return arrays


def _texts(data: Array, separator: str, count: int) -> Array:
    text = data.tobytes().decode()
    if not separator or text.count(separator) != max(0, count - 1) or (text and not count):
        raise Malformed("another number of strings than announced")
    texts = np.empty(count, dtype=object)
    texts[:] = text.split(separator) if count else []
    return texts


def _count_of(shape: list[Any]) -> int:
    if len(shape) > _MAX_DEPTH // 2 or any(type(length) is not int or length < 0 for length in shape):
        raise Malformed("an array of no lawful shape")
    count = math.prod(shape)
    if max([count, *shape]) > MAX_READ_BYTES:
        raise Malformed("an array larger than agreed")
    return count


def _cut(body: Array, at: int, nbytes: int) -> Array:
    if not 0 <= nbytes <= len(body) - at:
        raise Malformed("fewer bytes than announced")
    return body[at : at + nbytes]


def _restore(value: Any, arrays: list[Array], depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise Malformed("a value nested too deep")
    if isinstance(value, list):
        return [_restore(item, arrays, depth + 1) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    items = cast("dict[str, Any]", value)
    if _ARRAY in items:
        index = items[_ARRAY]
        if len(items) != 1 or type(index) is not int or not 0 <= index < len(arrays):
            raise Malformed("a value that refers to no array")
        return arrays[index]
    return {key.removeprefix("$"): _restore(item, arrays, depth + 1) for key, item in items.items()}


def _parse(data: Array) -> dict[str, Any]:
    try:
        text = data.tobytes().decode()
        document: Any = json.loads(text)
        if "\\u" in text:
            # An escape may be half of a character, which nobody could write out again.
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Malformed("a head that is no JSON") from error
    if not isinstance(document, dict):
        raise Malformed("a head that is no JSON object")
    return cast("dict[str, Any]", document)

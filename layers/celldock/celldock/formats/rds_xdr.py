"""R's serialisation (version 2, XDR: big-endian), of which an .rds file is the gzip, written as a stream.

A file of gzip members one after the other is a gzip file itself. So what is large can be written by many workers, each
as members of its own, and what stands between is written later: a `Splice` says where such members belong.

The format is described in "R Internals", section "Serialization Formats".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import deflate
import numpy as np

from celldock.errors import NotFeasible

NA_INTEGER = -(2**31)
"""What stands for a missing value in vectors of integers and of logicals."""
MAX_INTEGER = 2**31 - 1
MAX_EXACT = 2**53
"""The greatest number up to which doubles hold every integer."""

_MEMBER_BYTES = 4 << 20
# The fastest; what it leaves is about what zlib leaves at its level 1.
_LEVEL = 1
_VERSIONS = (2, 0x00040202, 0x00020300)  # of the format, of the R that may have written it, and that can read it

_NIL, _SYMBOL, _PAIRS, _CHARS, _LIST, _S4, _REFERENCE = 254, 1, 2, 9, 19, 25, 255
_IS_OBJECT, _HAS_ATTRIBUTES, _HAS_TAG = 1 << 8, 1 << 9, 1 << 10
_IS_S4 = 1 << 16
_UTF8, _ASCII = 8 << 12, 64 << 12
# The symbol that stands for NULL in a slot.
_NULL_IN_SLOT = "\x01NULL\x01"

type Array = np.ndarray[Any, Any]


class Kind(IntEnum):
    """The types of R's vectors, by their numbers in a stream."""

    LOGICAL = 10
    INTEGER = 13
    REAL = 14
    TEXT = 16


_STORED = {Kind.LOGICAL: ">i4", Kind.INTEGER: ">i4", Kind.REAL: ">f8"}


@dataclass(frozen=True, slots=True, eq=False)
class Vector:
    """A vector of `length` values, which `blocks` gives in order, once; an array with the attribute `dim`.

    Integers and logicals (0 and 1) have `NA_INTEGER` where they are missing; text is `str` objects, None where missing.
    """

    kind: Kind
    length: int
    blocks: Iterable[Array]
    attributes: Mapping[str, Value] = field(default_factory=dict[str, "Value"])


@dataclass(frozen=True, slots=True, eq=False)
class RList:
    """A list, or by its attributes something that is made of one, such as a data frame."""

    items: Sequence[Value]
    attributes: Mapping[str, Value] = field(default_factory=dict[str, "Value"])


@dataclass(frozen=True, slots=True, eq=False)
class S4:
    """An object of a formal class; `slots` has all that the class has."""

    name: str
    package: str
    slots: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Splice:
    """A whole value that lies in the members of files, in their order."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deferred:
    """A value that is made when it is its turn to be written, so that not all are in memory."""

    make: Callable[[], Value]


type Value = Vector | RList | S4 | Splice | Deferred | None
"""None is NULL, also in a slot."""


class MemberFile:
    """A file of gzip members. Equal bytes written in equal portions give equal files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] = path.open("wb")
        self._held = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        """Appends bytes. Memory: those of a member, 4 MiB, and what is written at a time."""
        view = memoryview(data)
        while view:
            taken = view[: _MEMBER_BYTES - len(self._held)]
            self._held += taken
            view = view[len(taken) :]
            if len(self._held) == _MEMBER_BYTES:
                self._flush()

    def write_values(self, kind: Kind, values: Array) -> None:
        """Appends the values of a vector. Raises NotFeasible for text that R cannot hold."""
        self.write(_texts(values) if kind is Kind.TEXT else _numbers(kind, values))

    def close(self) -> None:
        """Finishes the last member. A file without any bytes has one as well: it is a gzip file by itself."""
        if not self._file.closed:
            if self._held or not self._file.tell():
                self._flush()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _flush(self) -> None:
        self._file.write(deflate.gzip_compress(bytes(self._held), _LEVEL))
        self._held.clear()


class Encoder:
    """Writes one value, and the head of the file before it.

    `out` gives the file that takes the next bytes; `splice` is called with the paths of a splice when it is its turn.
    """

    def __init__(self, out: Callable[[], MemberFile], splice: Callable[[Sequence[str]], None]) -> None:
        self._out = out
        self._splice = splice
        self._symbols: dict[str, int] = {}

    def write(self, value: Value) -> None:
        """Writes the whole stream. Raises NotFeasible for text that R cannot hold, and what the blocks raise."""
        self._out().write(b"X\n")
        self._words(*_VERSIONS)
        self._value(value)

    def _words(self, *words: int) -> None:
        self._out().write(struct.pack(f">{len(words)}i", *words))

    def _value(self, value: Value) -> None:
        match value:
            case None:
                self._words(_NIL)
            case Splice(paths):
                self._splice(paths)
            case Deferred(make):
                self._value(make())
            case Vector(kind, length, blocks, attributes):
                self._out().write(vector_head(kind, length, _flags(attributes)))
                written = 0
                for block in blocks:
                    self._out().write_values(kind, block)
                    written += block.size
                if written != length:
                    raise ValueError(f"{written} values for a vector of {length}")
                self._attributes(attributes)
            case RList(items, attributes):
                self._words(_LIST | _flags(attributes), len(items))
                for item in items:
                    self._value(item)
                self._attributes(attributes)
            case S4(name, package, slots):
                self._words(_S4 | _IS_OBJECT | _HAS_ATTRIBUTES | _IS_S4)
                for slot, item in slots.items():
                    self._tag(slot)
                    if item is None:
                        self._symbol(_NULL_IN_SLOT)
                    else:
                        self._value(item)
                self._tag("class")
                self._value(texts([name], package=texts([package])))
                self._words(_NIL)

    def _attributes(self, attributes: Mapping[str, Value]) -> None:
        if attributes:
            for name, item in attributes.items():
                self._tag(name)
                self._value(item)
            self._words(_NIL)

    def _tag(self, name: str) -> None:
        self._words(_PAIRS | _HAS_TAG)
        self._symbol(name)

    def _symbol(self, name: str) -> None:
        if name in self._symbols:
            self._words(_REFERENCE | self._symbols[name] << 8)
            return
        self._symbols[name] = len(self._symbols) + 1
        self._words(_SYMBOL)
        self._out().write(_text(name))


def vector_head(kind: Kind, length: int, flags: int = 0) -> bytes:
    """What stands before the values of a vector; with it and its values alone one without attributes is complete."""
    if length <= MAX_INTEGER:
        return struct.pack(">ii", kind | flags, length)
    return struct.pack(">iiII", kind | flags, -1, length >> 32, length & 0xFFFFFFFF)


def texts(values: Iterable[str | None], **attributes: Value) -> Vector:
    """A character vector."""
    array = np.array([*values, None], dtype=object)[:-1]
    return Vector(Kind.TEXT, len(array), [array], attributes)


def integers(values: Sequence[int], **attributes: Value) -> Vector:
    """An integer vector."""
    return Vector(Kind.INTEGER, len(values), [np.array(values, np.int32)], attributes)


def reals(values: Sequence[float], **attributes: Value) -> Vector:
    """A vector of doubles."""
    return Vector(Kind.REAL, len(values), [np.array(values, np.float64)], attributes)


def logicals(values: Sequence[bool], **attributes: Value) -> Vector:
    """A logical vector."""
    return Vector(Kind.LOGICAL, len(values), [np.array(values, np.int32)], attributes)


def named_list(items: Mapping[str, Value], **attributes: Value) -> RList:
    """A list with names; one without items has none."""
    return RList([*items.values()], {"names": texts(items), **attributes} if items else attributes)


def _flags(attributes: Mapping[str, Value]) -> int:
    return (_HAS_ATTRIBUTES if attributes else 0) | (_IS_OBJECT if "class" in attributes else 0)


def _numbers(kind: Kind, values: Array) -> memoryview:
    # Raveled in the order of the array's memory, or R's, the first axis fastest, where there are several axes.
    return memoryview(np.ascontiguousarray(values.ravel(order="F"), dtype=_STORED[kind])).cast("B")


def _texts(values: Array) -> bytes:
    return b"".join([_text(value) for value in values.ravel(order="F").tolist()])


def _text(value: str | None) -> bytes:
    if value is None:
        return struct.pack(">ii", _CHARS, -1)
    data = value.encode()
    if b"\0" in data:
        raise NotFeasible(f"R has no text with a NUL in it, as {value!r:.60} is.", code="rds.text")
    return struct.pack(">ii", _CHARS | (_ASCII if value.isascii() else _UTF8), len(data)) + data

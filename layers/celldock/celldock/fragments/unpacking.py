"""A gzip file's contents, a piece at a time: as one stream, as several, or in the blocks of bgzip."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator
from contextlib import closing

import deflate
import numpy as np

from celldock.h5ad.fetching import Job, fetch_ahead
from celldock.h5ad.source import ByteSource

MAX_RATIO = 250
"""Bytes of contents for one of the file, at most: fragments shrink to a fifth."""

_READ = 4 << 20
_AHEAD = 4 * _READ
_FEED = 1 << 18
_STEP = 1 << 20
_FREE = 64 << 20
_MAGIC = b"\x1f\x8b"
_HEAD = 18
_TAIL = 8
_MAX_BLOCK = 1 << 16


class UnreadableError(Exception):
    """The file is no gzip file, or a damaged one. `hint` says how to mend it."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.hint = hint


_AGAIN = "Copy or compress the file again: bgzip -c fragments.tsv > fragments.tsv.gz."


def unpacked(source: ByteSource) -> Iterator[bytes]:
    """The contents in pieces of at most 1 MiB. The file is read some 16 MiB ahead, which is the memory that it takes.

    Raises UnreadableError for what is no sound gzip file, and what the source raises.
    """
    with closing(fetch_ahead(source, _ranges(source.size), ahead=_AHEAD)) as fetched:
        yield from _unpacked(_Reader(piece for _, (piece,) in fetched), source.size)


def _ranges(size: int) -> Generator[Job[None]]:
    """The file in pieces, in order."""
    for start in range(0, size, _READ):
        yield Job(None, np.array([start]), np.array([min(_READ, size - start)]))


def _unpacked(reader: _Reader, packed: int) -> Iterator[bytes]:
    if reader.peek(len(_MAGIC)) != _MAGIC:
        raise UnreadableError("is not compressed by gzip", _AGAIN)
    done = 0
    while not reader.at_end():
        head = reader.peek(_HEAD)
        if head[: len(_MAGIC)] != _MAGIC:
            raise UnreadableError("has bytes after the compressed ones", _AGAIN)
        size = _block_size(head)
        for piece in _block(reader, size) if size else _stream(reader):
            done += len(piece)
            if done > _FREE + MAX_RATIO * packed:
                raise UnreadableError(
                    f"holds more than {MAX_RATIO} times its size", "Look at what it holds: zcat | head."
                )
            yield piece


class _Reader:
    """Reads pieces of a file from its start to its end."""

    def __init__(self, pieces: Iterator[memoryview]) -> None:
        self._pieces = pieces
        self._buffer = b""
        self._place = 0

    def peek(self, length: int) -> bytes:
        """The next bytes, fewer at the end."""
        while len(self._buffer) - self._place < length and (more := next(self._pieces, None)) is not None:
            self._buffer = b"".join((memoryview(self._buffer)[self._place :], more))
            self._place = 0
        return self._buffer[self._place : self._place + length]

    def skip(self, length: int) -> None:
        """Passes over bytes that `peek` has shown."""
        self._place += length

    def at_end(self) -> bool:
        """Whether all is read; zeros that fill up a last record are nothing."""
        while self.peek(1) == b"\0":
            rest = self.peek(_FEED)
            self.skip(len(rest) - len(rest.lstrip(b"\0")))
        return not self.peek(1)


def _block_size(head: bytes) -> int:
    """The size of a block of bgzip, which its header tells; 0 for any other gzip stream."""
    is_block = len(head) == _HEAD and head[2:4] == b"\x08\x04" and head[10:16] == b"\x06\0BC\x02\0"
    return int.from_bytes(head[16:18], "little") + 1 if is_block else 0


def _block(reader: _Reader, size: int) -> Iterator[bytes]:
    block = reader.peek(size)
    reader.skip(size)
    length = int.from_bytes(block[-4:], "little")
    if len(block) < size or size < _HEAD + _TAIL or length > _MAX_BLOCK:
        raise _broken(reader)
    try:
        piece = bytes(deflate.deflate_decompress(memoryview(block)[_HEAD:-_TAIL], length)) if length else b""
    except deflate.DeflateError as error:
        raise _broken(reader) from error
    if len(piece) != length or deflate.crc32(piece) != int.from_bytes(block[-8:-4], "little"):
        raise _broken(reader)
    yield piece


def _stream(reader: _Reader) -> Iterator[bytes]:
    packed = zlib.decompressobj(wbits=31)
    while not packed.eof:
        part = reader.peek(_FEED)
        try:
            piece = packed.decompress(part, _STEP)
        except zlib.error as error:
            raise _broken(reader) from error
        if not (part or piece or packed.eof):
            raise _broken(reader)
        reader.skip(len(part) - len(packed.unconsumed_tail) - len(packed.unused_data))
        yield piece


def _broken(reader: _Reader) -> UnreadableError:
    if not reader.peek(1):
        return UnreadableError("ends before its time", "The copy was interrupted: copy the whole file.")
    return UnreadableError("is damaged: its compressed bytes cannot be unpacked", _AGAIN)

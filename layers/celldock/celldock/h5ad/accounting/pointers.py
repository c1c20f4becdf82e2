"""Pointers into global heaps: what the values of varying length in datasets and attributes refer to."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from celldock.h5ad.accounting.chunks import Chunks
from celldock.h5ad.accounting.cursor import UNDEFINED, Window, batches
from celldock.h5ad.accounting.datatypes import POINTER_BYTES, Datatype
from celldock.h5ad.accounting.ledger import NotUnderstoodError
from celldock.h5ad.damage import damaged
from celldock.h5ad.fetching import MAX_RANGE, read_range
from celldock.h5ad.filters import SHUFFLE, Bytes, ChunkDecoder
from celldock.h5ad.inflating import applied, can_stream, inflated
from celldock.h5ad.layout import Array, ArrayLayout, Filter

NUMBER_BITS = 16
"""Of a key: an object's number in its collection, below the collection's address."""

_MAX_ADDRESS = 1 << 47
_MAX_RUNS = 1 << 23
_PENDING = 1 << 20
_MAX_HELD = 16 * 1024 * 1024
"""Bytes of a chunk, decoded, that is held whole; larger ones are unpacked as streams."""
_STEP = 1024 * 1024

_POINTER = np.dtype([("length", "<u4"), ("address", "<u8"), ("number", "<u4")])


class Pointers:
    """The set of all objects in global heaps that something refers to.

    A key is the collection's address and the object's number. Values were mostly written one after the other, so that
    the keys make long runs: memory is 16 bytes a run, some for each collection.
    """

    def __init__(self) -> None:
        self._pending: list[Array] = []
        self._count = 0
        self._starts = np.empty(0, np.uint64)
        self._stops = np.empty(0, np.uint64)

    def add(self, values: Bytes, datatype: Datatype, where: str) -> None:
        """Takes down what whole values of a type refer to."""
        if len(values) % datatype.size:
            raise damaged(where, "its last value is not whole")
        rows = np.frombuffer(values, np.uint8).reshape(-1, datatype.size)
        for place in datatype.pointers:
            pointers = np.ascontiguousarray(rows[:, place : place + POINTER_BYTES]).view(_POINTER)[:, 0]
            address = pointers["address"]
            live = (address != 0) & (address != UNDEFINED) & (pointers["number"] != 0)
            address, number = address[live], pointers["number"][live].astype(np.uint64)
            if (address >= _MAX_ADDRESS).any() or (number >> NUMBER_BITS).any():
                raise damaged(where, "its text is said to lie outside of the file")
            self._pending.append(address << np.uint64(NUMBER_BITS) | number)
            self._count += len(number)
        if self._count >= _PENDING:
            self._merge()

    def runs(self) -> tuple[Array, Array]:
        """The keys, as the first and the one behind the last of each run, ascending (uint64)."""
        self._merge()
        return self._starts, self._stops

    def _merge(self) -> None:
        keys = np.concatenate([np.empty(0, np.uint64), *self._pending])
        keys.sort()
        self._pending.clear()
        self._count = 0
        starts = np.concatenate([self._starts, _first_of_runs(keys)])
        stops = np.concatenate([self._stops, _behind_runs(keys)])
        starts.sort()
        stops.sort()
        # Runs may overlap: values that share an object. Where one begins before the last of all before it ends, both
        # are one; sorted apart, that is where a start is not behind the stop of the one before.
        apart = starts[1:] > stops[:-1]
        self._starts = starts[np.append(True, apart)] if len(starts) else starts
        self._stops = stops[np.append(apart, True)] if len(stops) else stops
        if len(self._starts) > _MAX_RUNS:
            raise NotUnderstoodError("The file's texts lie in more disorder than is followed")


def _first_of_runs(keys: Array) -> Array:
    return keys[np.append(True, keys[1:] - keys[:-1] > 1)] if len(keys) else keys


def _behind_runs(keys: Array) -> Array:
    return (keys[np.append(keys[1:] - keys[:-1] > 1, True)] if len(keys) else keys) + np.uint64(1)


def add_contiguous(
    pointers: Pointers, window: Window, offset: int, length: int, datatype: Datatype, where: str
) -> None:
    """Adds what a dataset in one piece refers to; its bytes lie within the file."""
    step = max(1, MAX_RANGE // datatype.size) * datatype.size
    for start in range(offset, offset + length, step):
        pointers.add(read_range(window.source, start, min(start + step, offset + length)), datatype, where)


class ChunkPointers:
    """Adds what the chunks of one dataset refer to."""

    def __init__(
        self,
        pointers: Pointers,
        window: Window,
        chunk: tuple[int, ...],
        filters: tuple[Filter, ...],
        datatype: Datatype,
        where: str,
    ) -> None:
        none = np.empty(0, np.int64)
        dtype = f"|V{datatype.size}"
        self._layout = ArrayLayout(where, dtype, chunk, chunk, filters, b"", none, none, none)
        self._pointers = pointers
        self._window = window
        self._datatype = datatype
        self._bytes = math.prod(chunk) * datatype.size
        self._decoder = ChunkDecoder(self._layout)

    def add(self, chunks: Chunks) -> None:
        """Adds those of some chunks, which lie within the file."""
        # No filter adds more than this; what it grows, HDF5 stores unfiltered.
        longest = self._bytes + self._bytes // 8 + 4096
        if (chunks.sizes > longest).any():
            raise damaged(self._layout.path, "a chunk takes more bytes than its values")
        if self._bytes > _MAX_HELD:
            for offset, size, mask in zip(
                chunks.offsets.tolist(), chunks.sizes.tolist(), chunks.masks.tolist(), strict=True
            ):
                self._stream(offset, size, mask)
            return
        for part, pieces in batches(self._window, chunks.offsets, chunks.sizes):
            for stored, mask in zip(pieces, chunks.masks[part].tolist(), strict=True):
                self._pointers.add(self._decoder.decode(stored, mask), self._datatype, self._layout.path)

    def _stream(self, offset: int, size: int, mask: int) -> None:
        filters = applied(self._layout, mask)
        # A stream gives shuffled bytes as they are, not values.
        if any(item.identifier == SHUFFLE for item in filters) or not can_stream(filters, self._datatype.size):
            raise NotUnderstoodError(f"{self._layout.path} is stored in chunks too large to be unpacked", offset)
        stored = (
            read_range(self._window.source, start, min(start + _STEP, offset + size))
            for start in range(offset, offset + size, _STEP)
        )
        plain = inflated(self._layout.path, stored, filters, self._bytes, _STEP)
        for part in whole_values(plain, self._datatype.size):
            self._pointers.add(part, self._datatype, self._layout.path)


def whole_values(parts: Iterator[Bytes], size: int) -> Iterator[bytes]:
    """The same bytes, cut between values of `size` bytes."""
    held = b""
    for part in parts:
        joined = held + bytes(part)
        end = len(joined) // size * size
        held = joined[end:]
        yield joined[:end]

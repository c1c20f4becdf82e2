"""Arrays whose chunks are too large to be held, read as if they were stored in one piece.

Some programs (anndataR and rhdf5 among them) store a whole array as one deflated chunk. Such a chunk is inflated as a
stream into a scratch file, once, and its elements are read from there by ranges; a chunk without filters is read by
ranges where it lies. Readers see both as more bytes behind those of the source, and an array in one piece there.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from bisect import bisect_right
from collections.abc import Buffer, Generator, Iterable, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final

import numpy as np

from celldock.errors import NotFeasible
from celldock.h5ad.fetching import MAX_RANGE, Job, Ranges, fetch_ahead, read_range
from celldock.h5ad.filters import SHUFFLE, Bytes
from celldock.h5ad.inflating import applied, can_stream, inflated
from celldock.h5ad.layout import Array, ArrayLayout
from celldock.h5ad.reader import SMALLER_CHUNKS, StoredArray, too_large

MAX_CHUNK: Final = 1 << 32
"""Bytes of one chunk, decoded: what HDF5's format allows."""

_GATHER = 16 * 1024
_STEP = 1024 * 1024


def spooled_bytes(layout: ArrayLayout, limit: int) -> int:
    """Bytes of disk that reading the whole array takes where no chunk of more than `limit` bytes can be held.

    Raises InvalidSubmission (`file.chunk_too_large`) for chunks that are larger and cannot be unpacked as a stream.
    """
    if not is_giant(layout, limit):
        return 0
    itemsize = np.dtype(layout.dtype).itemsize
    chunk_bytes = math.prod(layout.chunks or ()) * itemsize
    masks, counts = np.unique(layout.masks[layout.offsets >= 0], return_counts=True)
    total = 0
    for mask, count in zip(masks.tolist(), counts.tolist(), strict=True):
        filters = applied(layout, mask)
        if not can_stream(filters, itemsize):
            raise too_large(layout.path, chunk_bytes, limit)
        total += 0 if _lies_ready(layout, mask) else count * chunk_bytes
    return total


def is_giant(layout: ArrayLayout, limit: int) -> bool:
    """Whether the array's chunks take more than `limit` bytes each, decoded."""
    return layout.chunks is not None and math.prod(layout.chunks) * np.dtype(layout.dtype).itemsize > limit


def _lies_ready(layout: ArrayLayout, mask: int) -> bool:
    """Whether rows of a chunk lie in the file as they are needed.

    Where several chunks lie side by side, a row would take as many reads.
    """
    return not applied(layout, mask) and math.prod(layout.grid[1:]) == 1


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """Rows [start, stop) of an array, wanted by a reader that holds chunks of up to `limit` bytes."""

    layout: ArrayLayout
    limit: int
    start: int
    stop: int


@contextmanager
def unpacked(
    source: Ranges, arrays: Mapping[str, Wanted], *, budget: int, scratch: Path | None
) -> Generator[tuple[Ranges, dict[str, ArrayLayout]]]:
    """A source and layouts from which the wanted rows can be read, as long as the context lasts.

    They are the given ones unless chunks are too large. Those that hold wanted rows are unpacked into a file in
    `scratch` that no longer has a name; rows that nobody wants have no defined values. `budget` bounds the bytes that
    are held meanwhile.

    Raises InvalidSubmission for damaged bytes (`file.damaged`) and where chunks cannot be unpacked, for lack of a
    folder too (`file.chunk_too_large`); NotFeasible (`matrix.scratch_too_small`) if the disk is too small; and what
    the source raises.
    """
    layouts = {name: array.layout for name, array in arrays.items()}
    giants = {name: _Giant(source, array) for name, array in arrays.items() if is_giant(array.layout, array.limit)}
    if not giants:
        yield source, layouts
        return
    behind = _Behind(source)
    with _file(list(giants.values()), scratch) as file:
        for name, giant in giants.items():
            giant.unpack(file, budget)
            layouts[name] = behind.add(giant)
        yield behind, layouts


@contextmanager
def _file(giants: list[_Giant], scratch: Path | None) -> Generator[_Scratch | None]:
    """A file for the chunks that have to be unpacked; None if there are none."""
    largest = max(giants, key=lambda giant: giant.needed)
    needed = sum(giant.needed for giant in giants)
    if not needed:
        yield None
        return
    if scratch is None:
        raise too_large(largest.array.path, largest.array.chunk_bytes, largest.limit)
    free = shutil.disk_usage(scratch).free
    if needed > free:
        raise NotFeasible(
            f"{largest.array.path} is stored in chunks of {largest.array.chunk_bytes:,} bytes; to unpack them takes "
            f"{needed:,} bytes of disk, and {free:,} are free.",
            code="matrix.scratch_too_small",
            where=largest.array.path,
            hint=SMALLER_CHUNKS,
        )
    with tempfile.TemporaryFile(dir=scratch) as file:
        yield _Scratch(file)


class _Scratch:
    """A file that grows at its end, and is read by ranges."""

    name = "scratch"

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = 0

    def append(self, parts: Iterable[Bytes]) -> int:
        """Writes the parts, and returns where they begin."""
        begin = self.size
        for part in parts:
            self._file.write(part)
            self.size += len(part)
        self._file.flush()
        return begin

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, offset)


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where the elements of a chunk lie: one after the other, or shuffled, the first bytes of all before the second."""

    ranges: Ranges
    offset: int
    shuffled: bool


class _Giant:
    """An array in large chunks, and where its wanted ones can be read. `needed` is what they take when unpacked."""

    def __init__(self, source: Ranges, wanted: Wanted) -> None:
        self.layout = wanted.layout
        self.limit = wanted.limit
        self.array = StoredArray(wanted.layout, source.size, max_chunk=MAX_CHUNK)
        self._source = source
        first, last = self.array.chunk_range(wanted.start, wanted.stop)
        offsets, sizes = self.array.extents(first, last)
        self._extents = {first + at: (int(offsets[at]), int(sizes[at])) for at in np.flatnonzero(offsets >= 0).tolist()}
        self._places: dict[int, _Place] = {}
        self.needed = spooled_bytes(self._only(self._extents), self.limit)

    def _only(self, numbers: Iterable[int]) -> ArrayLayout:
        """The layout as if there were no other chunks."""
        offsets = np.full_like(self.layout.offsets, -1)
        kept = list(numbers)
        offsets[kept] = self.layout.offsets[kept]
        return replace(self.layout, offsets=offsets)

    def unpack(self, file: _Scratch | None, budget: int) -> None:
        """Writes to the file what has to be unpacked; there is one if anything has to."""
        for number, (offset, size) in self._extents.items():
            mask = int(self.layout.masks[number])
            filters = applied(self.layout, mask)
            shuffled = any(item.identifier == SHUFFLE for item in filters)
            if file is None or _lies_ready(self.layout, mask):
                self._places[number] = _Place(self._source, offset, shuffled)
                continue
            jobs = _parts(offset, size, min(MAX_RANGE, budget // 16))
            with closing(fetch_ahead(self._source, jobs, ahead=budget // 4)) as fetched:
                stored = (piece for _, (piece,) in fetched)
                step = min(_STEP, budget // 16)
                plain = inflated(self.layout.path, stored, filters, self.array.chunk_bytes, step)
                self._places[number] = _Place(file, file.append(plain), shuffled)

    def read(self, offset: int, length: int) -> Buffer:
        """Bytes of the array as if it was stored in one piece; whole rows alone are asked for."""
        array = self.array
        start, stop = offset // array.row_bytes, (offset + length) // array.row_bytes
        first, last = array.chunk_range(start, stop)
        place = self._places.get(first)
        if last - first == 1 and place and not place.shuffled and array.chunks[1:] == array.shape[1:]:
            begin = place.offset + offset - first * array.chunk_bytes
            return read_range(place.ranges, begin, begin + length)
        out = np.empty((stop - start, *array.shape[1:], array.dtype.itemsize), np.uint8)
        for number in range(first, last):
            self._copy(number, out, start)
        return out.reshape(-1).data

    def _copy(self, number: int, out: Array, start: int) -> None:
        """Copies what chunk `number` holds of the rows of `out`, the first of which is row `start`, byte by byte."""
        array = self.array
        begin = number // array.per_band * array.chunk_rows
        low, high = max(begin, start), min(begin + array.chunk_rows, start + len(out))
        columns = array.columns(number)
        target = out[(slice(low - start, high - start), *columns)]
        place = self._places.get(number)
        if place is None:
            target[...] = np.frombuffer(self.layout.fill, np.uint8)
            return
        itemsize = array.dtype.itemsize
        elements = array.chunk_bytes // itemsize
        widths = [slice(part, part + 1) for part in range(itemsize)] if place.shuffled else [slice(0, itemsize)]
        inside = tuple(slice(0, there.stop - there.start) for there in columns)
        for width in widths:
            each = width.stop - width.start
            row = elements // array.chunk_rows * each
            step = max(1, max(_GATHER, out.nbytes // 8) // row)
            for at in range(low, high, step):
                end = min(at + step, high)
                first = place.offset + width.start * elements
                part = read_range(place.ranges, first + (at - begin) * row, first + (end - begin) * row)
                values = np.frombuffer(part, np.uint8).reshape(end - at, *array.chunks[1:], each)
                target[at - low : end - low, ..., width] = values[:, *inside]


def _parts(offset: int, size: int, step: int) -> Generator[Job[None]]:
    for begin in range(offset, offset + size, step):
        yield Job(None, np.array([begin]), np.array([min(step, offset + size - begin)]))


class _Behind:
    """A source with arrays behind its end, so far apart that no ranged read spans two of them."""

    def __init__(self, source: Ranges) -> None:
        self._source = source
        self._giants: list[_Giant] = []
        self._begins: list[int] = []
        self.name = source.name
        self.size = source.size

    def add(self, giant: _Giant) -> ArrayLayout:
        """Adds an array; returns its layout, in one piece."""
        begin = self.size + MAX_RANGE
        self.size = begin + giant.layout.nbytes
        self._giants.append(giant)
        self._begins.append(begin)
        return replace(
            giant.layout,
            chunks=None,
            filters=(),
            offsets=np.array([begin], np.int64),
            sizes=np.array([giant.layout.nbytes], np.int64),
            masks=np.zeros(1, np.uint32),
        )

    def read(self, offset: int, length: int) -> Buffer:
        number = bisect_right(self._begins, offset) - 1
        if number < 0:
            return self._source.read(offset, length)
        return self._giants[number].read(offset - self._begins[number], length)

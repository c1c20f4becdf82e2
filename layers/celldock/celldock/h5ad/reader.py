"""Elements of numeric datasets, read by byte ranges and decoded without libhdf5.

What a layout says is checked against the source before anything is read or sized by it; bytes that do not decode to
what it promises are refused as damaged.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from celldock.errors import InvalidSubmission
from celldock.h5ad.damage import damaged
from celldock.h5ad.fetching import Job, Ranges, fetch_ahead
from celldock.h5ad.filters import Bytes, ChunkDecoder
from celldock.h5ad.layout import Array, ArrayLayout

DEFAULT_BUDGET = 64 * 1024 * 1024

_SLICE = 256 * 1024
_NUMERIC = "fiub"


SMALLER_CHUNKS = "Write the file anew with anndata's write_h5ad, which makes chunks of a megabyte or less."


def too_large(path: str, size: int, limit: int) -> InvalidSubmission:
    """The refusal of an array of which `size` bytes must be unpacked at once, where `limit` can be."""
    return InvalidSubmission(
        f"{path} is stored in pieces of {size:,} bytes, more than celldock unpacks at once ({limit:,}).",
        code="file.chunk_too_large",
        where=path,
        hint=SMALLER_CHUNKS,
    )


class StoredArray:
    """A dataset as a grid of chunks: which bytes hold which rows, and how they become elements.

    A dataset in one piece is cut into slices of whole rows, up to 256 KiB each, and read like chunks. `shape` is that
    of the elements, `dtype` their type in this machine's byte order. `chunk_rows` rows make one band of chunks, of
    which `per_band` lie side by side; chunks are numbered in C order. No chunk may take more than `max_chunk` bytes.

    Raises InvalidSubmission if the layout does not fit itself or `size`, the bytes of the source.
    """

    def __init__(self, layout: ArrayLayout, size: int, *, max_chunk: int) -> None:
        self.path = layout.path
        self.shape = layout.shape
        self._layout = layout
        self._masked = bool(layout.masks.any())
        self._stored_dtype = np.dtype(layout.dtype)
        if self._stored_dtype.kind not in _NUMERIC or not self.shape or min(self.shape) < 0:
            raise damaged(self.path, "it is no array of numbers")
        if len(layout.fill) != self._stored_dtype.itemsize:
            raise damaged(self.path, "its fill value is not one element")
        self.dtype = self._stored_dtype.newbyteorder("=")
        self.row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        self._fill = np.frombuffer(layout.fill, self._element)[0]
        if layout.chunks is None:
            self._in_one_piece(layout, size, min(_SLICE, max_chunk))
        else:
            self._in_chunks(layout, layout.chunks, size)
        self.chunk_bytes = math.prod(self.chunks) * self.dtype.itemsize
        self._row_of_chunk = math.prod(self.chunks[1:]) * self.dtype.itemsize
        self.band_bytes = self.chunk_bytes * self.per_band
        if self.chunk_bytes > max_chunk:
            raise too_large(self.path, self.chunk_bytes, max_chunk)

    def _in_one_piece(self, layout: ArrayLayout, size: int, slice_bytes: int) -> None:
        rows = max(1, min(slice_bytes // max(self.row_bytes, 1), self.shape[0]))
        self.chunks = (rows, *self.shape[1:])
        self.chunk_rows, self.per_band = rows, 1
        self._decoder = None
        if layout.inline is not None:
            if len(layout.inline) != layout.nbytes:
                raise damaged(self.path, f"{len(layout.inline):,} bytes are there, {layout.nbytes:,} are promised")
            return
        if len(layout.offsets) != 1 or layout.filters:
            raise damaged(self.path, "it is not in the one piece that it promises")
        offset, stored = int(layout.offsets[0]), int(layout.sizes[0])
        if offset >= 0 and (stored < layout.nbytes or offset + layout.nbytes > size):
            raise damaged(self.path, f"its {layout.nbytes:,} bytes do not lie within the file")

    def _in_chunks(self, layout: ArrayLayout, chunks: tuple[int, ...], size: int) -> None:
        if len(chunks) != len(self.shape) or min(chunks) < 1 or len(layout.offsets) != math.prod(layout.grid):
            raise damaged(self.path, "its chunks do not make up its shape")
        self.chunks = chunks
        self.chunk_rows, self.per_band = chunks[0], math.prod(layout.grid[1:])
        self._decoder = ChunkDecoder(layout)
        # No filter adds more than this; what it grows, HDF5 stores unfiltered.
        longest = self._decoder.chunk_bytes + self._decoder.chunk_bytes // 8 + 4096
        written = layout.offsets >= 0
        sizes = layout.sizes[written]
        if ((sizes < 0) | (sizes > longest) | (layout.offsets[written] > size - sizes)).any():
            raise damaged(self.path, "the places of its chunks do not lie within the file")

    def chunk_range(self, start: int, stop: int) -> tuple[int, int]:
        """The numbers [first, last) of the chunks that hold rows [start, stop)."""
        if start >= stop or not self.row_bytes:
            return 0, 0
        return start // self.chunk_rows * self.per_band, -(-stop // self.chunk_rows) * self.per_band

    def extents(self, first: int, last: int) -> tuple[Array, Array]:
        """Offsets and sizes in the file, in bytes, of the chunks [first, last); the offset is -1 where none is."""
        layout = self._layout
        if layout.chunks is not None:
            return layout.offsets[first:last], layout.sizes[first:last]
        edges = np.minimum(np.arange(first, last + 1, dtype=np.int64) * self.chunk_rows, self.shape[0]) * self.row_bytes
        base = int(layout.offsets[0]) if layout.inline is None else -1
        return (edges[:-1] + base if base >= 0 else np.full(last - first, -1)), np.diff(edges)

    def decode(self, number: int, stored: memoryview | None) -> Bytes | None:
        """The elements of a chunk as bytes, in the file's byte order; None where it was never written.

        `stored` are its bytes in the file, None where `extents` names none. The last slice of a dataset in one piece
        ends with the dataset; chunks always have their full shape.
        """
        if self._layout.inline is not None:
            start = number * self.chunk_rows * self.row_bytes
            return memoryview(self._layout.inline)[start : start + self.chunk_rows * self.row_bytes]
        if stored is None or self._decoder is None:
            return stored
        return self._decoder.decode(stored, int(self._layout.masks[number]) if self._masked else 0)

    def elements(self, plain: Bytes | None) -> Array:
        """What `decode` gave, as an array in the shape of a chunk; the fill value in all places for None."""
        if plain is None:
            return np.broadcast_to(self._fill, self.chunks)
        rows = len(plain) // self._row_of_chunk if self._row_of_chunk else self.chunk_rows
        return np.frombuffer(plain, self._element).reshape(rows, *self.chunks[1:])

    @property
    def _element(self) -> np.dtype[Any]:
        # A byte that is neither 0 nor 1 is no NumPy bool: it is read as a number, and made one at the end.
        return np.dtype(np.uint8) if self.dtype.kind == "b" else self._stored_dtype

    def empty(self, rows: int) -> Array:
        """An array for `rows` rows, to be given to `place` and then to `finish`."""
        return np.empty((rows, *self.shape[1:]), self._element)

    def place(self, out: Array, start: int, number: int, plain: Bytes | None) -> None:
        """Copies what decoded chunk `number` holds of the rows of `out`, the first of which is row `start`."""
        begin = number // self.per_band * self.chunk_rows
        low, high = max(begin, start), min(begin + self.chunk_rows, start + len(out))
        if len(self.shape) == 1 and plain is not None:
            # The usual case, thousands of times a block: bytes cost less time than arrays.
            width = self.row_bytes
            part = memoryview(plain)[(low - begin) * width : (high - begin) * width]
            out.view(np.uint8).data[(low - start) * width : (high - start) * width] = part
            return
        columns = self.columns(number)
        inside = (slice(0, there.stop - there.start) for there in columns)
        out[slice(low - start, high - start), *columns] = self.elements(plain)[
            slice(low - begin, high - begin), *inside
        ]

    def columns(self, number: int) -> tuple[slice[int, int], ...]:
        """What a chunk holds of the array along each axis but the first."""
        sizes = list(zip(self.shape[1:], self.chunks[1:], strict=True))
        indices = np.unravel_index(number % self.per_band, [-(-length // width) for length, width in sizes])
        return tuple(
            slice(int(index) * width, min((int(index) + 1) * width, length))
            for index, (length, width) in zip(indices, sizes, strict=True)
        )

    def finish(self, out: Array) -> Array:
        """`out` as the elements' own type, in this machine's byte order; nothing is copied."""
        if self.dtype.kind == "b":
            return np.minimum(out, 1, out=out).view(np.bool_)
        return out if out.dtype.isnative else out.byteswap(inplace=True).view(self.dtype)


class RowStream:
    """Reads adjoining ranges of rows of one dataset, each chunk once: what a range leaves of a band serves the next.

    `plan` runs ahead of `assemble`; both must see the same ranges in the same order, without gaps.
    """

    def __init__(self, array: StoredArray) -> None:
        self.array = array
        self._planned = 0
        self._kept: dict[int, Bytes | None] = {}

    def plan(self, start: int, stop: int) -> range:
        """The chunks that rows [start, stop) need beyond those that earlier ranges brought."""
        first, last = self.array.chunk_range(start, stop)
        first = max(first, self._planned)
        self._planned = max(last, self._planned)
        return range(first, max(first, last))

    def assemble(self, start: int, stop: int, chunks: Iterator[tuple[int, memoryview | None]]) -> Array:
        """Rows [start, stop) from the planned chunks' bytes."""
        array = self.array
        out = array.empty(stop - start)
        for number in self._kept:
            array.place(out, start, number, self._kept[number])
        # The band in which this range ends goes on in the next one.
        unfinished = stop // array.chunk_rows * array.per_band
        self._kept = {number: plain for number, plain in self._kept.items() if number >= unfinished}
        for number, stored in chunks:
            plain = array.decode(number, stored)
            array.place(out, start, number, plain)
            if number >= unfinished:
                # A copy, because an undecoded chunk would hold all the bytes that were fetched with it.
                self._kept[number] = None if plain is None else bytes(plain)
        return array.finish(out)


def read_together[T](
    source: Ranges, arrays: Sequence[StoredArray], ranges: Generator[tuple[int, int, T]], *, ahead: int
) -> Generator[tuple[int, int, T, list[Array]]]:
    """Rows [start, stop) of several datasets of equal length, for adjoining `ranges`, fetched together and ahead.

    Yields each range with its third item and the rows of each dataset. At most `ahead` undecoded bytes are held, or
    those of one range if they are more.
    """
    streams = [RowStream(array) for array in arrays]

    def jobs() -> Generator[Job[tuple[int, int, T, list[range], list[bool]]]]:
        with closing(ranges):
            for start, stop, tag in ranges:
                numbers = [stream.plan(start, stop) for stream in streams]
                extents = [array.extents(span.start, span.stop) for array, span in zip(arrays, numbers, strict=True)]
                offsets = np.concatenate([offsets for offsets, _ in extents])
                sizes = np.concatenate([sizes for _, sizes in extents])
                there = offsets >= 0
                yield Job((start, stop, tag, numbers, there.tolist()), offsets[there], sizes[there])

    with closing(fetch_ahead(source, jobs(), ahead=ahead)) as fetched:
        for (start, stop, tag, numbers, there), pieces in fetched:
            arrived = iter(pieces)
            stored = iter([next(arrived) if fetched else None for fetched in there])
            rows = [
                stream.assemble(start, stop, zip(chunks, stored, strict=False))
                for stream, chunks in zip(streams, numbers, strict=True)
            ]
            # Not to be held while the next range is read.
            del pieces, arrived, stored
            yield start, stop, tag, rows


def chunk_limit(budget: int) -> int:
    """Bytes of the largest chunk, decoded, that an ArrayReader of this budget holds."""
    return budget // 4


class ArrayReader:
    """Reads rows of one dataset: elements of a one-dimensional one, whole rows of any other.

    `budget` bounds the bytes that are held beside what is handed out. Raises InvalidSubmission if the layout does not
    fit the source, or if a band of its chunks is too large for the budget.
    """

    def __init__(self, source: Ranges, layout: ArrayLayout, *, budget: int = DEFAULT_BUDGET) -> None:
        self._source = source
        self._array = StoredArray(layout, source.size, max_chunk=chunk_limit(budget))
        self._ahead = budget // 4
        self._window = max(1, budget // 8 // max(self._array.row_bytes, 1))
        if self._array.band_bytes > chunk_limit(budget):
            raise too_large(layout.path, self._array.band_bytes, chunk_limit(budget))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole dataset."""
        return self._array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The elements' type, in this machine's byte order."""
        return self._array.dtype

    def read(self, start: int, stop: int) -> Array:
        """Rows [start, stop) as one array. Raises InvalidSubmission if they are damaged, and what the source raises."""
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        done = 0
        for block in self.blocks(start, stop, self._window):
            out[done : done + len(block)] = block
            done += len(block)
        return out

    def blocks(self, start: int, stop: int, rows: int) -> Generator[Array]:
        """Rows [start, stop) in order, `rows` at a time, each chunk read once; later ones are fetched ahead."""
        if not 0 <= start <= stop <= self.shape[0]:
            raise ValueError(f"rows {start} to {stop} do not lie within {self.shape[0]}")
        ranges = ((begin, min(begin + rows, stop), None) for begin in range(start, stop, rows))
        with closing(read_together(self._source, [self._array], ranges, ahead=self._ahead)) as blocks:
            for _, _, _, (block,) in blocks:
                yield block

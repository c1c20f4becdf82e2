"""HDF5's filters, undone without libhdf5: deflate, shuffle, Fletcher-32 and LZF.

Sources: HDF5 File Format Specification, IV.A.2.l (filter pipeline); H5Zshuffle.c, H5Zfletcher32.c and H5checksum.c of
libhdf5 for what the specification leaves open; liblzf's lzf_d.c for LZF.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import deflate
import numpy as np

from celldock.errors import InvalidSubmission
from celldock.h5ad.damage import damaged
from celldock.h5ad.layout import ArrayLayout, Filter

DEFLATE: Final = 1
SHUFFLE: Final = 2
FLETCHER32: Final = 3
LZF: Final = 32000

CHECKSUM_BYTES = 4
_FLETCHER_BLOCK = 1 << 12
_FLETCHER_WEIGHTS = np.arange(_FLETCHER_BLOCK, 0, -1, dtype=np.uint64)
_LZF_LITERALS = 32

type Bytes = bytes | bytearray | memoryview


class ChunkDecoder:
    """Turns the stored bytes of one dataset's chunks into the bytes of their elements.

    `chunk_bytes` is what a chunk takes once it is decoded. Raises InvalidSubmission for filters that celldock does
    not undo.
    """

    def __init__(self, layout: ArrayLayout) -> None:
        self._where = layout.path
        self.chunk_bytes = math.prod(layout.chunks or layout.shape) * np.dtype(layout.dtype).itemsize
        unknown = [item.identifier for item in layout.filters if item.identifier not in _UNDO]
        if unknown or sum(item.identifier in (DEFLATE, LZF) for item in layout.filters) > 1:
            raise InvalidSubmission(
                f"{self._where} is compressed in a way that celldock does not read.",
                code="file.filter_unknown",
                where=self._where,
                hint='Write the file again with write_h5ad(…, compression="gzip").',
            )
        # One pipeline serves nearly all chunks; a mask that leaves filters out is rare.
        self._filters = layout.filters
        self._pipelines = {0: self._pipeline(0)}

    def decode(self, stored: Bytes, mask: int) -> Bytes:
        """The chunk's elements as they lie in memory, exactly `chunk_bytes` long.

        `mask` has bit i set where filter i was not applied. Raises InvalidSubmission (`file.damaged`) for bytes that
        do not decode to a whole chunk or do not match their checksum.
        """
        # Bits beyond the filters mean nothing.
        mask &= (1 << len(self._filters)) - 1
        pipeline = self._pipelines.get(mask)
        if pipeline is None:
            pipeline = self._pipelines.setdefault(mask, self._pipeline(mask))
        try:
            for undo, values, size in pipeline:
                stored = undo(stored, values, size)
        except BrokenChunkError as error:
            raise damaged(self._where, str(error)) from error
        if len(stored) != self.chunk_bytes:
            problem = f"a chunk holds {len(stored):,} bytes where {self.chunk_bytes:,} are promised"
            raise damaged(self._where, problem)
        return stored

    def _pipeline(self, mask: int) -> list[tuple[_Undo, tuple[int, ...], int]]:
        """The steps that undo the filters, last one first, each with the size in bytes that it must arrive at."""
        size = self.chunk_bytes
        steps: list[tuple[_Undo, tuple[int, ...], int]] = []
        for bit, item in enumerate(self._filters):
            if not mask >> bit & 1:
                steps.append((_UNDO[item.identifier], _values(item), size))
                size += CHECKSUM_BYTES if item.identifier == FLETCHER32 else 0
        return steps[::-1]


class BrokenChunkError(Exception):
    """What is wrong with the bytes of a chunk."""


type _Undo = Callable[[Bytes, tuple[int, ...], int], Bytes]


def _values(item: Filter) -> tuple[int, ...]:
    if item.identifier == SHUFFLE and (not item.values or item.values[0] < 1):
        return (1,)
    return item.values


def _inflate(stored: Bytes, _values: tuple[int, ...], size: int) -> Bytes:
    try:
        return deflate.zlib_decompress(stored, size)
    except deflate.DeflateError as error:
        raise BrokenChunkError("the compressed bytes of a chunk cannot be unpacked") from error


def _unshuffle(stored: Bytes, values: tuple[int, ...], _size: int) -> Bytes:
    """Bytes were sorted by their place in the element; what does not fill an element stays at the end."""
    width = values[0]
    count = len(stored) // width
    if width == 1 or count < 2:
        return stored
    plain = np.frombuffer(stored, np.uint8)
    whole = np.empty(len(plain), np.uint8)
    elements = whole[: count * width].reshape(count, width)
    # Byte by byte: NumPy's own transposition of such narrow rows takes 2.5 times as long.
    for place in range(width):
        elements[:, place] = plain[place * count : (place + 1) * count]
    whole[count * width :] = plain[count * width :]
    return whole.data


def _check_fletcher32(stored: Bytes, _values: tuple[int, ...], _size: int) -> Bytes:
    if len(stored) < CHECKSUM_BYTES:
        raise BrokenChunkError("a chunk is shorter than its checksum")
    content = memoryview(stored)[:-CHECKSUM_BYTES]
    checksum = Fletcher32()
    checksum.update(content)
    checksum.compare(stored[-CHECKSUM_BYTES:])
    return content


class Fletcher32:
    """The checksum of HDF5's Fletcher-32 filter, part by part: sums of big-endian 16-bit words, modulo 65,535."""

    def __init__(self) -> None:
        self._first = self._second = 0
        self._odd = b""

    def update(self, content: Bytes) -> None:
        """Takes the next bytes."""
        if self._odd or len(content) % 2:
            content = self._odd + bytes(content)
            self._odd = content[len(content) // 2 * 2 :]
        words = np.frombuffer(content, ">u2", len(content) // 2)
        for start in range(0, len(words), _FLETCHER_BLOCK):
            # Integers, for which NumPy does not call BLAS: that would wake a thread a core for each chunk.
            block = words[start : start + _FLETCHER_BLOCK].astype(np.uint64)
            weighted = int(block @ _FLETCHER_WEIGHTS[-len(block) :])
            self._second = _fold(self._second + len(block) * self._first + weighted)
            self._first = _fold(self._first + int(block.sum()))

    def value(self) -> int:
        """The checksum of all bytes so far; a last one without its neighbour counts as if a zero followed."""
        last = self._odd[0] << 8 if self._odd else 0
        first = _fold(self._first + last)
        # An even number of bytes has no word more to add.
        second = _fold(self._second + first) if self._odd else self._second
        return second << 16 | first

    def compare(self, stored: Bytes) -> None:
        """Raises BrokenChunkError unless `stored` is the checksum as HDF5 writes it."""
        checksum = self.value()
        # libhdf5 before 1.6.3 wrote the two bytes of each half the other way round.
        swapped = (checksum & 0x00FF00FF) << 8 | (checksum >> 8) & 0x00FF00FF
        if int.from_bytes(stored, "little") not in (checksum, swapped):
            raise BrokenChunkError("a chunk does not match its checksum")


def _fold(total: int) -> int:
    """Modulo 65,535, where only a sum of zeros is 0: the carry is added at the other end."""
    return (total - 1) % 0xFFFF + 1 if total else 0


def _unpack_lzf(stored: Bytes, _values: tuple[int, ...], size: int) -> Bytes:
    """LZF is a sequence of literal runs (1 to 32 bytes) and references (3 to 264 bytes, up to 8 KiB back)."""
    stored = bytes(stored)
    plain = bytearray()
    at, end = 0, len(stored)
    try:
        while at < end:
            control = stored[at]
            at += 1
            if control < _LZF_LITERALS:
                plain += stored[at : at + control + 1]
                at += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += stored[at]
                at += 1
            distance = (control & 0x1F) << 8 | stored[at]
            at += 1
            start = len(plain) - distance - 1
            length += 2
            if start < 0 or len(plain) > size:
                break
            if length <= distance + 1:
                plain += plain[start : start + length]
            else:
                # A reference may reach into what it writes: its piece repeats.
                piece = plain[start:]
                plain += (piece * (length // len(piece) + 1))[:length]
    except IndexError as error:
        raise BrokenChunkError("the compressed bytes of a chunk end too early") from error
    if at != end or len(plain) != size:
        raise BrokenChunkError("the compressed bytes of a chunk cannot be unpacked")
    return plain


_UNDO: dict[int, _Undo] = {
    DEFLATE: _inflate,
    SHUFFLE: _unshuffle,
    FLETCHER32: _check_fletcher32,
    LZF: _unpack_lzf,
}

"""A chunk's filters undone as a stream, for chunks that are too large to be held.

Shuffle is left as it is: its bytes are put in place as they are read, see `celldock.h5ad.unpacking`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from celldock.h5ad.damage import damaged
from celldock.h5ad.filters import CHECKSUM_BYTES, DEFLATE, FLETCHER32, SHUFFLE, BrokenChunkError, Bytes, Fletcher32
from celldock.h5ad.layout import ArrayLayout, Filter

_FEED = 64 * 1024


def applied(layout: ArrayLayout, mask: int) -> list[Filter]:
    """The filters of a chunk with this mask, in the order in which they were applied; shuffles of single bytes not."""
    return [
        item
        for bit, item in enumerate(layout.filters)
        if not mask >> bit & 1 and not (item.identifier == SHUFFLE and shuffle_width(item) == 1)
    ]


def shuffle_width(item: Filter) -> int:
    """Bytes of what a shuffle takes for an element."""
    return max(1, item.values[0]) if item.values else 1


def can_stream(filters: list[Filter], itemsize: int) -> bool:
    """Whether `inflated` undoes these: deflate and Fletcher-32 in any order, and shuffle of whole elements before."""
    if filters and filters[0].identifier == SHUFFLE:
        if shuffle_width(filters[0]) != itemsize:
            return False
        filters = filters[1:]
    return all(item.identifier in (DEFLATE, FLETCHER32) for item in filters)


def inflated(path: str, stored: Iterable[Bytes], filters: list[Filter], size: int, step: int) -> Iterator[Bytes]:
    """The decoded bytes of a chunk that is stored as the parts `stored`, at most `step` at a time; `size` in all.

    Raises InvalidSubmission (`file.damaged`) as soon as there are more, or in the end if there are fewer.
    """
    plain = stored
    for item in reversed(filters):
        if item.identifier == DEFLATE:
            plain = _inflate(plain, step)
        elif item.identifier == FLETCHER32:
            plain = _without_checksum(plain)
    done = 0
    try:
        for part in plain:
            done += len(part)
            if done > size:
                raise BrokenChunkError(f"a chunk holds more than the {size:,} bytes that are promised")
            yield part
        if done < size:
            raise BrokenChunkError(f"a chunk holds {done:,} bytes where {size:,} are promised")
    except BrokenChunkError as error:
        raise damaged(path, str(error)) from error


def _inflate(stored: Iterable[Bytes], step: int) -> Iterator[Bytes]:
    packed = zlib.decompressobj()
    try:
        for part in _little_by_little(stored):
            rest, more = part, True
            while more:
                if packed.eof:
                    raise BrokenChunkError("bytes follow the compressed ones of a chunk")
                plain = packed.decompress(rest, step)
                rest = packed.unconsumed_tail or packed.unused_data
                # A full step may have left output behind although all input is taken.
                more = bool(rest) or (len(plain) == step and not packed.eof)
                yield plain
    except zlib.error as error:
        raise BrokenChunkError("the compressed bytes of a chunk cannot be unpacked") from error
    if not packed.eof:
        raise BrokenChunkError("the compressed bytes of a chunk end too early")


def _little_by_little(stored: Iterable[Bytes]) -> Iterator[Bytes]:
    # zlib hands back a copy of what is left of its input after each step.
    for part in stored:
        for at in range(0, len(part), _FEED):
            yield part[at : at + _FEED]


def _without_checksum(stored: Iterable[Bytes]) -> Iterator[Bytes]:
    checksum = Fletcher32()
    held = b""
    for part in stored:
        joined = held + bytes(part)
        content, held = joined[:-CHECKSUM_BYTES], joined[-CHECKSUM_BYTES:]
        checksum.update(content)
        yield content
    if len(held) < CHECKSUM_BYTES:
        raise BrokenChunkError("a chunk is shorter than its checksum")
    checksum.compare(held)

"""Remains that say nothing new: what libhdf5 leaves behind where it moves names and messages to a larger place.

A group's list of names moves as the group grows, a message of an object's header as another one does. The old place is
free then, but not zero, and other things may be written over a part of it. As long as all that is left there is in use
elsewhere, in the same order, nothing survives in it: adding a column needs no second copy of the file.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from celldock.h5ad.layout import Array

WORD: Final = 8
"""Bytes to whose multiples names and messages are padded, in files of HDF5's older format."""
LAST_FREE: Final = 1
"""What free space in a list of names begins with where no other follows; its size comes next."""

_MOST_WORDS = 1 << 21
_MOST_COMPARED = 1 << 20
_MOST_SPACE = 1 << 26
_MOST_ADDRESS = 1 << 47
_CONTINUATION, _LAST_TYPE = 0x10 | 0x10 << 16, 0x18
_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


class LiveMetadata:
    """The words (8 bytes) of all lists of names and object headers, and which follows which.

    Memory: 16 bytes a word, up to 32 MiB; what is beyond is not compared with.
    """

    def __init__(self) -> None:
        self._words: list[Array] = []
        self._pairs: list[Array] = []
        self._count = 0
        self._compared = 0

    def add(self, data: bytes | bytearray) -> None:
        """A list or a block of messages as it lies in the file, zero where nothing is in use."""
        words = np.frombuffer(data, "<u8", len(data) // WORD)
        self._count += len(words)
        if self._count <= _MOST_WORDS:
            self._words.append(words.astype(np.uint64))
            self._pairs.append(_hashes(words))

    def explain(self, data: bytes) -> bool:
        """Whether all of `data` is in use elsewhere in the same order, but for numbers of the structure."""
        data = data.strip(b"\0")
        self._compared += len(data)
        if self._compared > _MOST_COMPARED or not self._count:
            return False
        self._words = [np.unique(np.concatenate(self._words))] if len(self._words) > 1 else self._words
        self._pairs = [np.unique(np.concatenate(self._pairs))] if len(self._pairs) > 1 else self._pairs
        # Its first word may have begun with zeros.
        return any(self._explain(bytes(zeros) + data) for zeros in range(WORD))

    def _explain(self, data: bytes) -> bool:
        words = np.frombuffer(data.ljust(len(data) + -len(data) % WORD, b"\0"), "<u8")
        known = np.isin(words, self._words[0]).tolist()
        follows = [False, *np.isin(_hashes(words), self._pairs[0]).tolist()]
        plain: list[int] = words.tolist()
        at, fresh = 0, True
        while at < len(plain):
            if plain[at] == 0 or follows[at] or (fresh and known[at]):
                fresh = plain[at] == 0
                at += 1
                continue
            length = _numbers(plain[at : at + 3])
            if not length:
                return False
            at, fresh = at + length, True
        return True


def _hashes(words: Array) -> Array:
    """One number for each two neighbours."""
    return words[:-1] * _FIRST ^ words[1:] * _SECOND


def _numbers(words: list[int]) -> int:
    """How many of these words are numbers alone: of free space in a list, a continuation, the head of a message."""
    first, second, third = [*words, 0, 0][:3]
    if first == LAST_FREE and second % WORD == 0 and second <= _MOST_SPACE:
        return 2
    if first == _CONTINUATION and second <= _MOST_ADDRESS and third <= _MOST_SPACE:
        return 3
    is_prefix = first & 0xFFFF <= _LAST_TYPE and not first >> 16 & 7 and not first >> 40
    return int(is_prefix)

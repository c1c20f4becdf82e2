"""observation_joinid: a short identifier that depends on a cell's name alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xxhash

from celldock.h5ad.additions import NewColumn
from celldock.h5ad.file import H5adFile
from celldock.h5ad.frames import iter_blocks
from celldock.h5ad.headers import FrameHeader

type Array = np.ndarray[Any, Any]

_BLOCK = 1 << 16
_LETTERS = np.frombuffer(
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~", np.uint8
)
_LETTERS_OF_A_WORD = 5


def join_id_column(file: H5adFile, frame: FrameHeader, name: str) -> NewColumn:
    """For each row 64 bits of XXH3 over its name in UTF-8, as ten letters of base 85."""

    def blocks() -> Iterator[Array]:
        for start, stop in iter_blocks(frame.length, _BLOCK):
            names = map(str.encode, file.index(frame, start, stop).tolist())
            yield _in_base_85(np.fromiter(map(xxhash.xxh3_64_intdigest, names), np.uint64, stop - start))

    return NewColumn(frame.path, name, "string", frame.length, blocks)


def _in_base_85(numbers: Array) -> Array:
    """What `base64.b85encode` makes of each number's eight bytes, the first the highest; of all of them at once."""
    words = numbers.astype(">u8").view(">u4").astype(np.uint32)
    letters = np.empty((len(words), _LETTERS_OF_A_WORD), np.uint8)
    for place in reversed(range(_LETTERS_OF_A_WORD)):
        words, digits = np.divmod(words, len(_LETTERS))
        letters[:, place] = _LETTERS[digits]
    return letters.reshape(len(numbers), -1).view(f"S{2 * _LETTERS_OF_A_WORD}").ravel().astype(str).astype(object)

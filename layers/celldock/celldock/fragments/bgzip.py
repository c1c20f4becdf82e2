"""bgzip, the gzip in small blocks that can be entered anywhere: written, and its places told.

Source: the SAM specification, "The BGZF compression format".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import deflate
import numpy as np

from celldock.fragments.text import Array

BLOCK_BYTES = 65_280
"""Text in one block, as the program bgzip has it: even what cannot be compressed then fits into a block."""

END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that ends a file, by which readers tell a whole one."""

# libdeflate's: blocks as small as those of zlib's level 6, which bgzip has, in a fraction of the time.
_LEVEL = 4
_HEADER = struct.Struct("<4sIBBHBBHH")
_TRAILER = struct.Struct("<II")
_MAGIC = b"\x1f\x8b\x08\x04"
_UNKNOWN_SYSTEM = 255
# The length of the extra field, its name, and the length of what it says: the block's size less one.
_FIELD = (6, ord("B"), ord("C"), 2)


def pack(text: bytes) -> bytes:
    """The text as blocks, without the one that ends a file. The same text gives the same bytes."""
    return b"".join(map(_block, _cut(text)))


class BgzipWriter:
    """Writes text into a file, which it does not close. Memory: a block."""

    def __init__(self, file: BinaryIO) -> None:
        self.written = 0
        """Bytes of text so far."""
        self._file = file
        self._waiting = b""
        # Where each block begins in the file; the last one is not full yet.
        self._starts = [0]

    def write(self, text: bytes) -> None:
        """Appends text."""
        self.written += len(text)
        text = self._waiting + text
        whole = len(text) // BLOCK_BYTES * BLOCK_BYTES
        for part in _cut(text[:whole]):
            block = _block(part)
            self._file.write(block)
            self._starts.append(self._starts[-1] + len(block))
        self._waiting = text[whole:]

    def places(self, positions: Array) -> Array:
        """The virtual offsets (uint64) of ascending positions in the text that has been written."""
        if not len(positions):
            return np.zeros(0, np.uint64)
        blocks, within = np.divmod(positions, BLOCK_BYTES)
        first = int(blocks[0])
        starts = np.array(self._starts[first : int(blocks[-1]) + 1], np.uint64)
        return (starts[blocks - first] << np.uint64(16)) | within.astype(np.uint64)

    def finish(self) -> None:
        """Writes what is left and the end."""
        self._file.write(pack(self._waiting) + END)
        self._waiting = b""


def _cut(text: bytes) -> Iterator[bytes]:
    return (text[start : start + BLOCK_BYTES] for start in range(0, len(text), BLOCK_BYTES))


def _block(text: bytes) -> bytes:
    packed = bytes(deflate.deflate_compress(text, _LEVEL))
    size = _HEADER.size + len(packed) + _TRAILER.size
    # No time and no flags, so that the same text gives the same bytes.
    header = _HEADER.pack(_MAGIC, 0, 0, _UNKNOWN_SYSTEM, *_FIELD, size - 1)
    return header + packed + _TRAILER.pack(deflate.crc32(text), len(text))

"""Lines of text as NumPy sees them: many fields of one block taken out, read as integers and hashed at once."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

type Array = np.ndarray[Any, Any]

BLOCK_BYTES = 1 << 20
"""Text that is worked on at once; a line that is longer than that is none."""

MAX_DIGITS = 16

_WORD = 8
_BEFORE = MAX_DIGITS
# By how many bytes of a word count: masks of its first bytes, and of those before its last ones.
_FIRST = np.array([(1 << (8 * n)) - 1 for n in range(_WORD + 1)], np.uint64)
_BEFORE_LAST = np.array([(1 << (8 * (_WORD - n))) - 1 for n in range(_WORD + 1)], np.uint64)
_ZEROS = np.uint64(0x3030303030303030)
_ABOVE_NINE = np.uint64(0x7676767676767676)
_HIGH_BITS = np.uint64(0x8080808080808080)
_MINUS = ord("-")


class LongLineError(Exception):
    """There is a line of more than BLOCK_BYTES: the contents are no text in lines."""


class Text:
    """Whole lines of text. Places are byte numbers in it; `data` holds the bytes, uint8."""

    def __init__(self, lines: bytes) -> None:
        padded = np.zeros(_BEFORE + len(lines) + _WORD, np.uint8)
        padded[_BEFORE : _BEFORE + len(lines)] = np.frombuffer(lines, np.uint8)
        self.data: Array = padded[_BEFORE : _BEFORE + len(lines)]
        # A word at every byte. NumPy gathers opaque items of eight bytes faster than integers that are not aligned.
        self._words: Array = np.ndarray((len(padded) - _WORD + 1,), f"V{_WORD}", padded.data, 0, (1,))

    def words(self, places: Array) -> Array:
        """The eight bytes from each place on, the first in the lowest bits; from 16 before the text on. uint64."""
        return self._words[places + _BEFORE].view(np.uint64)

    def decoded(self, start: int, stop: int) -> str:
        """The text at a place, whatever its bytes are."""
        return self.data[start:stop].tobytes().decode(errors="backslashreplace")


def text_blocks(pieces: Iterable[bytes]) -> Iterator[Text]:
    """The lines of a text that comes in pieces, the last one ended if it is not. Memory: BLOCK_BYTES and a piece."""
    parts: list[bytes] = []
    size = 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size < BLOCK_BYTES:
            continue
        joined = b"".join(parts)
        end = joined.rfind(b"\n") + 1
        if not end:
            raise LongLineError
        yield Text(joined[:end])
        parts, size = [joined[end:]], len(joined) - end
    if rest := b"".join(parts):
        yield Text(rest if rest.endswith(b"\n") else rest + b"\n")


def integers(text: Text, starts: Array, stops: Array) -> tuple[Array, Array]:
    """The decimal integers at [starts, stops), int64, and which of the fields are any, of MAX_DIGITS at most."""
    negative = text.data[starts] == _MINUS
    lengths = stops - starts - negative
    sound = (lengths > 0) & (lengths <= MAX_DIGITS)
    values, digits = _eight_digits(text, stops, np.clip(lengths, 0, _WORD))
    sound &= digits
    long = np.flatnonzero(sound & (lengths > _WORD))
    if len(long):
        upper, digits = _eight_digits(text, stops[long] - _WORD, lengths[long] - _WORD)
        values[long] += upper * 10**_WORD
        sound[long] &= digits
    return np.where(negative, -values, values), sound


def _eight_digits(text: Text, stops: Array, lengths: Array) -> tuple[Array, Array]:
    """The integers of up to eight digits before the places `stops`, and whether they are digits."""
    others = _BEFORE_LAST[lengths]
    digits = ((text.words(stops - _WORD) & ~others) | (_ZEROS & others)) ^ _ZEROS
    sound = ((digits + _ABOVE_NINE) | digits) & _HIGH_BITS == 0
    # Neighbours are joined, digits to pairs, pairs to fours: the first of two stands in the lower bits.
    for places, factor in ((8, 10), (16, 100), (32, 10_000)):
        digits = (digits * np.uint64(1 + (factor << places))) >> np.uint64(places)
        digits &= np.uint64(sum(((1 << places) - 1) << at for at in range(0, 64, 2 * places)))
    return digits.astype(np.int64), sound


class Hashes:
    """Hashes of 64 bits, keyed anew for each check of a file: nobody can craft texts that share one."""

    def __init__(self) -> None:
        self._key = np.uint64(secrets.randbits(64))
        self._factors = [np.uint64(secrets.randbits(64) | 1) for _ in range(2)]

    def of_fields(self, text: Text, starts: Array, lengths: Array) -> Array:
        """The hashes of the fields that begin at `starts`: equal bytes, equal hashes. uint64."""
        hashes = self.joined(lengths.astype(np.uint64))
        for done in range(0, int(lengths.max(initial=0)), _WORD):
            rows = np.flatnonzero(lengths > done) if done else slice(None)
            left = np.minimum(lengths[rows] - done, _WORD)
            hashes[rows] = self.joined(hashes[rows], text.words(starts[rows] + done) & _FIRST[left])
        return hashes

    def of_texts(self, texts: Iterable[str]) -> Array:
        """The hashes of some texts' UTF-8."""
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        lengths = np.array([len(each) for each in encoded], np.int64)
        return self.of_fields(Text(b"".join(encoded)), np.cumsum(lengths) - lengths, lengths)

    def joined(self, hashes: Array, *others: Array) -> Array:
        """The hashes of rows that consist of several numbers of 64 bits each."""
        mixed = self._mixed(hashes ^ self._key)
        for other in others:
            mixed = self._mixed(mixed ^ other.view(np.uint64))
        return mixed

    def _mixed(self, numbers: Array) -> Array:
        """A different number for each number, all of whose bits depend on all of its bits."""
        mixed = numbers ^ (numbers >> np.uint64(32))
        mixed *= self._factors[0]
        mixed ^= mixed >> np.uint64(29)
        mixed *= self._factors[1]
        mixed ^= mixed >> np.uint64(32)
        return mixed

"""Global heaps: collections of texts of any length, and which of them nobody refers to (III.E of the specification)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from celldock.h5ad.accounting.cursor import Window, batches
from celldock.h5ad.accounting.ledger import Ledger
from celldock.h5ad.accounting.pointers import NUMBER_BITS, Pointers
from celldock.h5ad.damage import damaged
from celldock.h5ad.layout import Array

_HEAD = 16
_SMALLEST = 4096
"""Bytes of the collections that libhdf5 makes, if no object needs more."""
_LARGEST_HELD = 1 << 20
_PIECE = 1024 * 1024
TEXTS = "among the texts of any length"
_SIGNATURE = int.from_bytes(b"GCOL\x01\0\0\0", "little")


def check_heaps(window: Window, ledger: Ledger, pointers: Pointers) -> None:
    """Claims all collections that something refers to, and notes every object in them that nothing refers to.

    Raises InvalidSubmission for broken collections, and where a text is missing.
    """
    starts, stops = pointers.runs()
    addresses = np.unique(starts >> np.uint64(NUMBER_BITS)).astype(np.int64)
    wanted = _Wanted(starts, stops)
    likely = _likely(addresses)
    for part in _parts(likely):
        _check_some(window, ledger, addresses[part], likely[part], wanted)
    if wanted.missing():
        raise damaged(ledger.name, "some of its texts are missing")


class _Wanted:
    """The objects that something refers to, and how many of them were met."""

    def __init__(self, starts: Array, stops: Array) -> None:
        self._starts = starts
        self._stops = stops
        self._met = 0

    def among(self, keys: Array) -> Array:
        """Which of these objects are wanted. Each object is asked for once."""
        at = np.searchsorted(self._starts, keys, "right")
        wanted = (at > 0) & (keys < self._stops[at - 1])
        self._met += int(wanted.sum())
        return wanted

    def missing(self) -> bool:
        """Whether an object that is wanted was never met."""
        return self._met < int((self._stops - self._starts).sum())


def _check_some(window: Window, ledger: Ledger, addresses: Array, likely: Array, wanted: _Wanted) -> None:
    if addresses.max() + _SMALLEST > ledger.size:
        raise damaged(ledger.name, "its texts are said to lie outside of it")
    first = [piece for _, pieces in batches(window, addresses, likely) for piece in pieces]
    heads = np.frombuffer(b"".join(bytes(piece[:_HEAD]) for piece in first), "<u8").reshape(-1, 2)
    sizes = heads[:, 1]
    if (heads[:, 0] != _SIGNATURE).any() or (sizes < _SMALLEST).any():
        raise damaged(ledger.name, "a collection of its texts is broken")
    ledger.claim_all(addresses, sizes.astype(np.int64) if (sizes < 1 << 62).all() else sizes)
    small = np.flatnonzero(sizes <= _LARGEST_HELD)
    for part in _parts(sizes[small].astype(np.int64)):
        chosen = small[part]
        _check_held(
            ledger,
            _Held.of(window, addresses[chosen], sizes[chosen].astype(np.int64), [first[i] for i in chosen]),
            wanted,
        )
    for number in np.flatnonzero(sizes > _LARGEST_HELD).tolist():
        _check_large(window, ledger, int(addresses[number]), int(sizes[number]), wanted)


def _likely(addresses: Array) -> Array:
    """How much to read of each collection before its size is known: up to the next one, where that is near."""
    gaps = np.diff(addresses, append=addresses[-1:] + _SMALLEST)
    return np.where((gaps >= _SMALLEST) & (gaps <= _LARGEST_HELD), gaps, _SMALLEST)


def _parts(sizes: Array) -> Iterator[slice]:
    """Runs of collections that take some 16 MiB together."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + (1 << 24), "right")))
        yield slice(start, stop)
        start = stop


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """Collections side by side in memory, as 8-byte words: where each lies in the file, begins and ends in `words`."""

    words: Array
    addresses: Array
    begins: Array
    ends: Array

    @classmethod
    def of(cls, window: Window, addresses: Array, sizes: Array, first: list[memoryview]) -> _Held:
        padded = sizes + -sizes % 8
        ends = np.cumsum(padded)
        begins = ends - padded
        data = np.zeros(int(ends[-1]), np.uint8)
        read = np.minimum([len(piece) for piece in first], sizes)
        for begin, length, piece in zip(begins.tolist(), read.tolist(), first, strict=True):
            data[begin : begin + length] = np.frombuffer(piece, np.uint8, length)
        more = np.flatnonzero(sizes > read)
        for part, pieces in batches(window, (addresses + read)[more], (sizes - read)[more]):
            for begin, piece in zip((begins + read)[more][part].tolist(), pieces, strict=True):
                data[begin : begin + len(piece)] = np.frombuffer(piece, np.uint8)
        return cls(data.view("<u8"), addresses, begins, begins + sizes)


def _check_held(ledger: Ledger, held: _Held, wanted: _Wanted) -> None:
    """Goes through all collections at once, object by object: the nth of each together."""
    active = np.arange(len(held.addresses))
    at = held.begins + _HEAD
    while len(active):
        room = held.ends[active] - at[active]
        head = held.words[at[active][room >= _HEAD] // 8]
        whole = np.zeros(len(active), bool)
        whole[room >= _HEAD] = (head & np.uint64(0xFFFF)) != 0
        for number in active[~whole].tolist():
            _look_at_tail(ledger, held, number, int(at[number]))
        active = active[whole]
        if len(active):
            _check_objects(ledger, held, active, at, wanted)


def _check_objects(ledger: Ledger, held: _Held, active: Array, at: Array, wanted: _Wanted) -> None:
    """One object of each of the active collections; `at` is moved behind them."""
    places = at[active]
    numbers = held.words[places // 8] & np.uint64(0xFFFF)
    sizes = held.words[places // 8 + 1]
    room = (held.ends[active] - places - _HEAD).astype(np.uint64)
    if (sizes > room).any():
        raise damaged(ledger.name, "a collection of its texts is broken")
    sizes = sizes.astype(np.int64)
    behind = places + _HEAD + sizes + -sizes % 8
    if (behind > held.ends[active]).any():
        raise damaged(ledger.name, "a collection of its texts is broken")
    keys = held.addresses[active].astype(np.uint64) << np.uint64(NUMBER_BITS) | numbers
    offsets = held.addresses[active] + places - held.begins[active]
    for number in np.flatnonzero(~wanted.among(keys)).tolist():
        start, size = int(places[number]) + _HEAD, int(sizes[number])
        text = held.words.view(np.uint8)[start : start + size].tobytes()
        # To add a column is to write the list of columns anew. The names in the old one are those of members, still.
        if text not in ledger.names:
            ledger.slack(TEXTS, int(offsets[number]) + _HEAD, text)
    _check_padding(ledger, held, offsets, behind, sizes)
    at[active] = behind


def _check_padding(ledger: Ledger, held: _Held, offsets: Array, behind: Array, sizes: Array) -> None:
    """What follows a text up to the next multiple of 8."""
    unused = -sizes % 8
    padded = np.flatnonzero(unused)
    padding = held.words[behind[padded] // 8 - 1] >> (8 * (8 - unused[padded])).astype(np.uint64)
    for number in padded[padding != 0].tolist():
        begin = int(behind[number] - unused[number])
        rest = held.words.view(np.uint8)[begin : int(behind[number])].tobytes()
        ledger.slack(TEXTS, int(offsets[number]) + _HEAD + int(sizes[number]), rest)


def _look_at_tail(ledger: Ledger, held: _Held, number: int, at: int) -> None:
    """The free space of a collection, behind the two words that say how much it is."""
    end = int(held.ends[number])
    start = at + _HEAD if end - at >= _HEAD else at
    rest = held.words.view(np.uint8)[start:end].tobytes()
    ledger.slack(TEXTS, int(held.addresses[number]) + start - int(held.begins[number]), rest)


def _check_large(window: Window, ledger: Ledger, address: int, size: int, wanted: _Wanted) -> None:
    """A collection that is not held: a text of a megabyte and more takes one for itself."""
    at, end = address + _HEAD, address + size
    while end - at >= _HEAD:
        head = window.cursor(ledger.name, at, _HEAD)
        number = head.number(2)
        head.take(6)
        length = head.number(8)
        if number == 0:
            at += _HEAD
            break
        behind = at + _HEAD + length + -length % 8
        if behind > end:
            raise damaged(ledger.name, "a collection of its texts is broken")
        stop = at + _HEAD + length
        if not wanted.among(np.array([address << NUMBER_BITS | number], np.uint64))[0]:
            look_at(window, ledger, TEXTS, at + _HEAD, stop)
        look_at(window, ledger, TEXTS, stop, behind)
        at = behind
    look_at(window, ledger, TEXTS, at, end)


def look_at(window: Window, ledger: Ledger, kind: str, start: int, stop: int) -> None:
    """Notes what of the bytes [start, stop) of the file, which belong to nobody, is not zero."""
    for begin in range(start, stop, _PIECE):
        length = min(_PIECE, stop - begin)
        ledger.slack(kind, begin, window.cursor(ledger.name, begin, length).data)

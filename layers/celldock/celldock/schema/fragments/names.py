"""Names that are looked up many at a time, by their hashes: the cells of a file, the chromosomes of a genome."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from celldock.fragments.text import Array, Hashes

_ROOM = 2


class Names:
    """Names in a table of hashes, each in the first free place from the one on that its hash tells.

    Memory: 24 to 48 bytes a name. `length` is how many there are; names that occur twice share the first one's number.
    """

    def __init__(self, blocks: Iterable[Iterable[str]], hashes: Hashes) -> None:
        parts = [hashes.of_texts(block) for block in blocks]
        keys = _never_zero(np.concatenate([np.zeros(0, np.uint64), *parts]))
        self.length = len(keys)
        bits = max(1, (_ROOM * self.length).bit_length())
        self._shift, self._last = np.uint64(64 - bits), (1 << bits) - 1
        self._keys = np.zeros(1 << bits, np.uint64)
        self._numbers = np.full(1 << bits, -1, np.int32)
        self._fill(keys)

    def numbers(self, hashes: Array) -> Array:
        """The number of the name of each hash, int32; -1 for one that no name has."""
        wanted = _never_zero(hashes)
        places = (wanted >> self._shift).astype(np.int64)
        found = self._numbers[places]
        waiting = np.flatnonzero((self._keys[places] != wanted) & (self._keys[places] != 0))
        while len(waiting):
            places[waiting] = (places[waiting] + 1) & self._last
            keys = self._keys[places[waiting]]
            found[waiting] = self._numbers[places[waiting]]
            waiting = waiting[(keys != wanted[waiting]) & (keys != 0)]
        return found

    def _fill(self, keys: Array) -> None:
        """Puts all in at once: where several want one place, the first has it and the others look further."""
        places = (keys >> self._shift).astype(np.int64)
        waiting = np.arange(len(keys))
        while len(waiting):
            wanted = places[waiting]
            free = self._keys[wanted] == 0
            # Of several assignments to one place the last one holds.
            self._keys[wanted[free][::-1]] = keys[waiting[free]][::-1]
            self._numbers[wanted[free][::-1]] = waiting[free][::-1]
            waiting = waiting[self._keys[wanted] != keys[waiting]]
            places[waiting] = (places[waiting] + 1) & self._last


def _never_zero(hashes: Array) -> Array:
    """The hashes with one in place of zero, which marks what is free."""
    return np.maximum(hashes, np.uint64(1))

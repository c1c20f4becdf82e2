"""Which pages of a file are kept: a byte for each of them, since there may be millions."""

from __future__ import annotations

from collections.abc import Iterator


class PageSet:
    """A set of page numbers: memory is a byte for each number up to the highest."""

    def __init__(self) -> None:
        self._flags = bytearray()

    def __contains__(self, number: int) -> bool:
        return number < len(self._flags) and self._flags[number] != 0

    def add(self, number: int) -> None:
        """Adds a number, which is not negative."""
        if number >= len(self._flags):
            self._flags.extend(bytes(number + 1 - len(self._flags)))
        self._flags[number] = 1

    def from_on(self, number: int) -> Iterator[int]:
        """The numbers in the set that are not smaller than this one, in ascending order."""
        at = self._flags.find(1, number)
        while at >= 0:
            yield at
            at = self._flags.find(1, at + 1)

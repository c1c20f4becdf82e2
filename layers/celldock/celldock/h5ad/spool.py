"""What a child writes while it appends to a file: the parent's copy of it, which trusts nothing of how it came."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

import numpy as np

from celldock.errors import HostileFile
from celldock.h5ad.pages import PageSet
from celldock.h5ad.sandbox.limits import MAX_APPENDED_BYTES, MAX_TOUCHED_BYTES, PAGE_BYTES
from celldock.h5ad.sandbox.protocol import Array, Malformed

_PIECE_BYTES = 8 * 1024 * 1024


class Spool:
    """Written pages of a file of `size` bytes.

    Those from the original's last page on lie in a temporary file in `directory`; those before it, which are few, in
    memory. No page lies more than `room` bytes behind the original's end. Not to be used after its context.
    """

    def __init__(self, size: int, directory: Path | None = None, *, room: int = MAX_APPENDED_BYTES) -> None:
        self._first = size // PAGE_BYTES
        self._last = (size + room) // PAGE_BYTES
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed by `close`
        self._kept = PageSet()
        self._touched: dict[int, bytes] = {}

    @classmethod
    @contextmanager
    def opened(cls, size: int, directory: Path | None = None, *, room: int = MAX_APPENDED_BYTES) -> Generator[Self]:
        """A spool that is deleted when the context ends."""
        spool = cls(size, directory, room=room)
        try:
            yield spool
        finally:
            spool.close()

    @property
    def start(self) -> int:
        """Where in the new file the temporary file begins."""
        return self._first * PAGE_BYTES

    @property
    def touched(self) -> Mapping[int, bytes]:
        """The pages before `start`, by number."""
        return self._touched

    @property
    def has_end(self) -> bool:
        """Whether the page with the original's end was written to."""
        return self._first in self._kept

    @property
    def length(self) -> int:
        """Bytes of the temporary file."""
        return os.fstat(self._file.fileno()).st_size

    def keep(self, numbers: Any, body: Array) -> None:
        """Takes pages from a child. Raises Malformed for pages that it may not write."""
        checked = [self._checked(number) for number in cast("list[Any]", numbers if isinstance(numbers, list) else [])]
        if not checked or len(body) != PAGE_BYTES * len(checked):
            raise Malformed("other bytes than those of pages")
        for index, number in enumerate(checked):
            page = body[index * PAGE_BYTES : (index + 1) * PAGE_BYTES]
            if number < self._first:
                self._touched[number] = page.tobytes()
            else:
                self.write((number - self._first) * PAGE_BYTES, page.data)
                self._kept.add(number)
        if len(self._touched) * PAGE_BYTES > MAX_TOUCHED_BYTES:
            raise Malformed("more pages of the original than any file's groups take")

    def recall(self, number: Any) -> bytes:
        """Gives a page back. Raises Malformed for one that was never written."""
        known = self._checked(number)
        if known in self._touched:
            return self._touched[known]
        if known not in self._kept:
            raise Malformed("a page that was never written")
        return self.read((known - self._first) * PAGE_BYTES, PAGE_BYTES)

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the temporary file; zeros where nothing was written, and beyond its end."""
        data = os.pread(self._file.fileno(), length, offset)
        while len(data) < length and (more := os.pread(self._file.fileno(), length - len(data), offset + len(data))):
            data += more
        return data.ljust(length, b"\0")

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Writes into the temporary file."""
        view = memoryview(data).cast("B")
        while view:
            written = os.pwrite(self._file.fileno(), view, offset)
            offset, view = offset + written, view[written:]

    def close(self) -> None:
        """Deletes everything."""
        self._touched.clear()
        self._file.close()

    def _checked(self, number: Any) -> int:
        if type(number) is not int or not 0 <= number <= self._last:
            raise Malformed("no page of the file")
        return number


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """A whole new file of `size` bytes in a spool, which must stay open; to be read as any other source."""

    name: str
    size: int
    spool: Spool

    @property
    def new_ranges(self) -> list[tuple[int, int]]:
        """All of it."""
        return [(0, self.size)]

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`."""
        if not 0 <= offset <= offset + length <= self.size:
            raise ValueError("beyond the end of the file")
        return self.spool.read(offset, length)

    def write_to(self, target: BinaryIO) -> None:
        """Writes the whole file, a few MiB at a time."""
        for start in range(0, self.size, _PIECE_BYTES):
            target.write(self.read(start, min(_PIECE_BYTES, self.size - start)))


def spooled(name: str, size: Any, spool: Spool) -> SpooledFile:
    """What a child has written into an empty spool, if an honest one could have. Raises HostileFile if not."""
    if type(size) is not int or not 0 < size <= spool.length:
        raise HostileFile(
            "The file makes the program that writes it anew do nonsense.",
            code="file.crashes_reader",
            where=name,
            hint="Load it with anndata.read_h5ad, if that works, and write it anew with write_h5ad.",
        )
    return SpooledFile(name, size, spool)


def changed_runs(before: bytes, after: bytes) -> list[tuple[int, int]]:
    """The ranges [start, stop) in which two sequences of the same length differ."""
    differs = np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8)
    edges = np.flatnonzero(np.diff(differs.astype(np.int8), prepend=0, append=0))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]

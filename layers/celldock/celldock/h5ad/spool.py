"""What a child writes while it appends to a file: the parent's copy of it, which trusts nothing of how it came."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

import numpy as np

from celldock.h5ad.sandbox.limits import MAX_APPENDED_BYTES, MAX_TOUCHED_BYTES, PAGE_BYTES
from celldock.h5ad.sandbox.protocol import Array, Malformed


class Spool:
    """Written pages of a file of `size` bytes.

    Those from the original's last page on lie in a temporary file in `directory`; those before it, which are few, in
    memory. Not to be used after its context.
    """

    def __init__(self, size: int, directory: Path | None = None) -> None:
        self._first = size // PAGE_BYTES
        self._last = (size + MAX_APPENDED_BYTES) // PAGE_BYTES
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed by `close`
        self._kept: set[int] = set()
        self._touched: dict[int, bytes] = {}

    @classmethod
    @contextmanager
    def opened(cls, size: int, directory: Path | None = None) -> Generator[Self]:
        """A spool that is deleted when the context ends."""
        spool = cls(size, directory)
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


def changed_runs(before: bytes, after: bytes) -> list[tuple[int, int]]:
    """The ranges [start, stop) in which two sequences of the same length differ."""
    differs = np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8)
    edges = np.flatnonzero(np.diff(differs.astype(np.int8), prepend=0, append=0))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]

"""Where bytes come from: one protocol, and a local file that keeps to it."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Protocol

from celldock.errors import ObjectGone


class ByteSource(Protocol):
    """Random access to one immutable sequence of bytes (a local file, one pinned S3 version)."""

    @property
    def size(self) -> int:
        """Total bytes."""
        ...

    @property
    def name(self) -> str:
        """What to call it in messages; never a local path or a bucket."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`; raises ObjectGone, TransientError or Throttled.

        Called from several threads at once.
        """
        ...


class LocalSource:
    """A file on this machine, held open for as long as the source lives, so that a rename does not swap it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        weakref.finalize(self, os.close, self._descriptor)
        self._size = os.fstat(self._descriptor).st_size
        # A name on disk may be any bytes; messages and reports are UTF-8.
        self._name = os.fsencode(path.name).decode(errors="backslashreplace")

    @property
    def size(self) -> int:
        """Total bytes when it was opened."""
        return self._size

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self._name

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`; raises ObjectGone if the file has shrunk since it was opened."""
        data = os.pread(self._descriptor, length, offset)
        while 0 < len(data) < length and (more := os.pread(self._descriptor, length - len(data), offset + len(data))):
            data += more
        if len(data) != length:
            raise ObjectGone(f"{self._name} was changed while it was read.", code="source.changed", where=self._name)
        return data

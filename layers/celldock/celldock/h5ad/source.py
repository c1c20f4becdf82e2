"""Where bytes come from: one protocol, and a local file that keeps to it."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import BinaryIO, Protocol

from celldock.errors import ObjectGone

_PIECE_BYTES = 8 * 1024 * 1024


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
            raise self._changed()
        return data

    def send_to(self, target: BinaryIO, offset: int, length: int) -> None:
        """Writes `length` bytes from `offset` to a file, where that stands; raises as `read` does.

        The system copies them by itself where it can, so that they do not pass through this process.
        """
        position = target.tell()
        target.flush()
        done = 0
        try:
            while done < length:
                copied = os.copy_file_range(self._descriptor, target.fileno(), length - done, offset + done)
                if not copied:
                    raise self._changed()
                done += copied
        except (AttributeError, OSError):
            # Another system, another disk, or no file at all: the rest goes the long way.
            target.seek(position + done)
            for start in range(offset + done, offset + length, _PIECE_BYTES):
                target.write(self.read(start, min(_PIECE_BYTES, offset + length - start)))
        target.seek(position + length)

    def _changed(self) -> ObjectGone:
        return ObjectGone(f"{self._name} was changed while it was read.", code="source.changed", where=self._name)

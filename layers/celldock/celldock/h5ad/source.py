"""Where bytes come from: one protocol, and a seekable file over it for h5py."""

from __future__ import annotations

import io
import os
import weakref
from collections import OrderedDict
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol

import h5py

from celldock.errors import InvalidSubmission, ObjectGone
from celldock.h5ad.btree import child_addresses, coalesce
from celldock.h5ad.container import HEAD_BYTES, refuse_container

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


_MAX_NODES = 4096
_MAX_GAP = 16 * 1024
_PARALLEL = 16


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
        self._name = path.name

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


class SourceFile(io.RawIOBase):
    """A read-only seekable file over a `ByteSource`, as h5py wants it.

    HDF5 reads metadata in many small pieces that lie close together: those are served from aligned blocks, the
    `max_blocks` last used of which are kept (`max_blocks * block_size` bytes, 16 MiB). A read of a block or more goes
    straight through, as one request. The nodes of a large chunk index lie far apart: those are fetched ahead, in
    small parallel requests. `requests` and `bytes_read` count what was asked of the source.
    """

    def __init__(self, source: ByteSource, *, block_size: int = 512 * 1024, max_blocks: int = 32) -> None:
        super().__init__()
        self.requests = 0
        self.bytes_read = 0
        self.error: Exception | None = None
        self._source = source
        self._size = source.size
        self._position = 0
        self._block_size = block_size
        self._max_blocks = max_blocks
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._nodes: dict[int, bytes] = {}
        self._counting = Lock()

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """The current position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to `offset` from the start, the current position or the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the start of the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fills `buffer` as far as the file goes. A fault of the source is raised and kept in `error`."""
        target = memoryview(buffer).cast("B")
        start = min(self._position, self._size)
        length = min(len(target), self._size - start)
        target[:length] = self._take(start, length)
        self._position = start + length
        return length

    def _take(self, start: int, length: int) -> bytes:
        if length >= self._block_size:
            return self._fetch(start, length)
        node = self._nodes.pop(start, b"")
        data = node if len(node) == length else self._cached(start, length)
        self._read_ahead(child_addresses(data), length)
        return data

    def _read_ahead(self, addresses: list[int], length: int) -> None:
        """Fetches the nodes of `length` bytes at these addresses, as far as they are not at hand."""
        wanted = [
            address
            for address in addresses
            if address + length <= self._size
            and address not in self._nodes
            and address // self._block_size not in self._blocks
        ]
        if len(wanted) < 2:
            return
        if len(self._nodes) > _MAX_NODES:
            self._nodes.clear()
        ranges = coalesce(wanted, length, _MAX_GAP)
        with ThreadPoolExecutor(min(len(ranges), _PARALLEL)) as pool:
            pieces = [(begin, end, pool.submit(self._fetch, begin, end - begin)) for begin, end in ranges]
        for begin, end, pending in pieces:
            piece = pending.result()
            for address in wanted:
                if begin <= address < end:
                    self._nodes[address] = piece[address - begin : address - begin + length]

    def _cached(self, start: int, length: int) -> bytes:
        """A read shorter than a block: at most two neighbouring blocks, which one request brings if both are new."""
        if not length:
            return b""
        first, last = start // self._block_size, (start + length - 1) // self._block_size
        missing = [index for index in range(first, last + 1) if index not in self._blocks]
        held = {index: self._blocks[index] for index in range(first, last + 1) if index not in missing}
        if missing:
            held |= self._load(missing)
        for index, block in sorted(held.items()):
            self._blocks[index] = block
            self._blocks.move_to_end(index)
        while len(self._blocks) > self._max_blocks:
            self._blocks.popitem(last=False)
        offset = start - first * self._block_size
        return b"".join(held[index] for index in range(first, last + 1))[offset : offset + length]

    def _load(self, missing: list[int]) -> dict[int, bytes]:
        begin = missing[0] * self._block_size
        end = min((missing[-1] + 1) * self._block_size, self._size)
        data = self._fetch(begin, end - begin)
        return {index: data[i * self._block_size : (i + 1) * self._block_size] for i, index in enumerate(missing)}

    def _fetch(self, offset: int, length: int) -> bytes:
        with self._counting:
            self.requests += 1
            self.bytes_read += length
        try:
            return self._source.read(offset, length)
        except Exception as error:
            self.error = error
            raise


@contextmanager
def open_h5ad(source: ByteSource) -> Generator[h5py.File]:
    """The source as an HDF5 file, read-only.

    Raises InvalidSubmission, with a hint, for what is no HDF5 file or a broken one. A fault of the source itself
    (ObjectGone, TransientError …) is raised as it was, whatever libhdf5 made of it.
    """
    stream = SourceFile(source)
    try:
        refuse_container(stream.read(HEAD_BYTES), source.size, source.name)
        with _open(stream, source.name) as file:
            yield file
    except Exception as error:
        if stream.error is not None and stream.error is not error:
            raise stream.error from error
        raise
    if stream.error is not None:
        raise stream.error


def _open(stream: SourceFile, name: str) -> h5py.File:
    try:
        return h5py.File(stream, "r")
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise InvalidSubmission(
            f"{name} begins as an HDF5 file, but its structure cannot be read.",
            code="file.damaged",
            where=name,
            hint="Check that the file opens on your machine (anndata.read_h5ad), then upload it again.",
        ) from error

"""A seekable file over byte ranges, as h5py wants it."""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import h5py

from celldock.errors import InvalidSubmission
from celldock.h5ad.hdf5.btree import child_addresses, coalesce, is_above_parents
from celldock.h5ad.hdf5.symbols import STRUCTURE_BYTES, chunk_index_of, members_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PIECE_BYTES = 4 * 1024 * 1024
_DIRECT_BYTES = 512 * 1024
_RUN = 16
_LONGEST_RUN = 128
_MAX_NODES = 8192
_MAX_GAP = 16 * 1024
_MAX_STRUCTURES = 4096


class RangeReader(Protocol):
    """Who has the bytes of the file."""

    @property
    def size(self) -> int:
        """Total bytes."""
        ...

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> Iterable[bytes | memoryview]:
        """Exactly the bytes of each (offset, length), in order; all of them cost about one request's latency."""
        ...


class SourceFile(io.RawIOBase):
    """A read-only seekable file, as h5py wants it.

    HDF5 reads metadata in many small pieces. They are served from aligned blocks, the `max_blocks` last used of which
    are kept (`max_blocks * block_size` bytes, 32 MiB). A request brings 16 blocks, and twice as many each time that it
    goes on where the last one ended. A read of 512 KiB or more goes straight through, in pieces that are asked for at
    once.

    Two things lie far apart and are fetched level by level, as soon as their root is seen: the nodes of a large chunk
    index (up to 8,192 nodes of about 2 KiB are kept), and the headers of all that lies in a group.
    """

    def __init__(self, ranges: RangeReader, *, block_size: int = 32 * 1024, max_blocks: int = 1024) -> None:
        super().__init__()
        self._ranges = ranges
        self._size = ranges.size
        self._position = 0
        self._block_size = block_size
        self._max_blocks = max_blocks
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._nodes: OrderedDict[int, bytes] = OrderedDict()
        self._followed: set[int] = set()
        self._run = _RUN
        self._run_end = -1

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

    def keep(self, offset: int, data: bytes) -> None:
        """Takes bytes that are at hand already; blocks that they hold whole need no request."""
        first = -(-offset // self._block_size)
        for index in range(first, -(-self._size // self._block_size)):
            begin, end = index * self._block_size, min((index + 1) * self._block_size, self._size)
            if end > offset + len(data):
                return
            self._keep_block(index, data[begin - offset : end - offset])

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fills `buffer` as far as the file goes."""
        target = memoryview(buffer).cast("B")
        start = min(self._position, self._size)
        length = min(len(target), self._size - start)
        if length >= _DIRECT_BYTES:
            self._fill(target, start, length)
        else:
            target[:length] = self._take(start, length)
        self._position = start + length
        return length

    def _fill(self, target: memoryview, start: int, length: int) -> None:
        steps = range(0, length, _PIECE_BYTES)
        pieces = [(start + step, min(_PIECE_BYTES, length - step)) for step in steps]
        for step, piece in zip(steps, self._ranges.read_many(pieces), strict=True):
            target[step : step + len(piece)] = piece

    def _take(self, start: int, length: int) -> bytes:
        data = self._at_hand(start, length)
        if data is None:
            data = self._cached(start, length)
        self._follow_index(data)
        self._follow_group(start, data)
        return data

    def _follow_group(self, start: int, structure: bytes) -> None:
        """From a node of a group, fetches the headers of all that lies in it, and the tops of their chunk indexes."""
        if start in self._followed:
            return
        level = members_of(structure)
        roots: dict[int, int] = {}
        while level and len(self._followed) < _MAX_STRUCTURES:
            level = [address for address in dict.fromkeys(level) if address not in self._followed]
            self._followed.update(level)
            self._fetch_blocks({address // self._block_size for address in level if address < self._size})
            found = [self._peek(address) for address in level]
            level = [member for structure in found for member in members_of(structure)]
            roots.update(root for structure in found if (root := chunk_index_of(structure)))
        self._fetch_indexes(roots)

    def _fetch_indexes(self, roots: dict[int, int]) -> None:
        """Fetches chunk indexes from the roots (address to bytes) on, all but the lowest level, which is their bulk."""
        level = roots
        seen: set[int] = set()
        while level and len(seen) < _MAX_NODES // 2:
            seen.update(level)
            nodes = self._fetch_exactly(level)
            upper = [node for node in nodes if is_above_parents(node)]
            below = {child: len(node) for node in upper for child in child_addresses(node)}
            level = {address: length for address, length in below.items() if address not in seen}

    def _fetch_exactly(self, wanted: dict[int, int]) -> list[bytes]:
        """The bytes (address to length) that lie within the file; kept as index nodes."""
        inside = sorted((address, length) for address, length in wanted.items() if address + length <= self._size)
        missing = [piece for piece in inside[: _MAX_NODES // 2] if self._at_hand(*piece) is None]
        if missing:
            for (address, _), piece in zip(missing, self._ranges.read_many(missing), strict=True):
                self._nodes[address] = bytes(piece)
        return [node for piece in inside if (node := self._at_hand(*piece))]

    def _fetch_blocks(self, indices: set[int]) -> None:
        missing = sorted(indices - self._blocks.keys())[: self._max_blocks // 2]
        runs = coalesce(missing, 1, 1)
        ranges = [(first * self._block_size, min(stop * self._block_size, self._size)) for first, stop in runs]
        if not ranges:
            return
        pieces = self._ranges.read_many([(begin, end - begin) for begin, end in ranges])
        for (first, stop), piece in zip(runs, pieces, strict=True):
            for index in range(first, stop):
                at = (index - first) * self._block_size
                self._keep_block(index, bytes(piece[at : at + self._block_size]))

    def _peek(self, address: int) -> bytes:
        """What is at hand of a structure, from one block or two."""
        index, offset = divmod(address, self._block_size)
        block = self._blocks.get(index, b"")[offset : offset + STRUCTURE_BYTES]
        if block and len(block) < STRUCTURE_BYTES:
            block += self._blocks.get(index + 1, b"")[: STRUCTURE_BYTES - len(block)]
        return block

    def _follow_index(self, node: bytes) -> None:
        """From an inner node of a chunk index, fetches the nodes below it that are not at hand, a level at a time."""
        length = len(node)
        level = child_addresses(node)
        # A crafted index may lead back to where it came from.
        seen: set[int] = set()
        while level and len(seen) < _MAX_NODES:
            seen.update(level)
            missing = [address for address in level if self._at_hand(address, length) is None]
            if len(missing) > 1:
                self._fetch_nodes(missing[: _MAX_NODES // 2], length)
            nodes = (self._at_hand(address, length) for address in level)
            below = (address for node in nodes if node for address in child_addresses(node))
            level = [address for address in dict.fromkeys(below) if address not in seen]

    def _fetch_nodes(self, addresses: list[int], length: int) -> None:
        inside = sorted(address for address in addresses if address + length <= self._size)
        ranges = coalesce(inside, length, _MAX_GAP)
        pieces = self._ranges.read_many([(begin, end - begin) for begin, end in ranges])
        waiting = iter(inside)
        address = next(waiting, None)
        for (begin, end), piece in zip(ranges, pieces, strict=True):
            while address is not None and address < end:
                self._nodes[address] = bytes(piece[address - begin : address - begin + length])
                address = next(waiting, None)
        while len(self._nodes) > _MAX_NODES:
            self._nodes.popitem(last=False)

    def _at_hand(self, start: int, length: int) -> bytes | None:
        """A whole index node or a piece of kept blocks; None if a request is needed."""
        node = self._nodes.get(start)
        if node is not None and len(node) == length:
            return node
        first, last = start // self._block_size, (start + max(length, 1) - 1) // self._block_size
        blocks = [self._blocks.get(index) for index in range(first, last + 1)]
        held = [block for block in blocks if block is not None]
        if len(held) < len(blocks):
            return None
        for index in range(first, last + 1):
            self._blocks.move_to_end(index)
        offset = start - first * self._block_size
        data = (held[0] if len(held) == 1 else b"".join(held))[offset : offset + length]
        return data if len(data) == length else None

    def _cached(self, start: int, length: int) -> bytes:
        """A read that needs a request, which brings what follows as well: a round trip costs as much as megabytes."""
        if not length:
            return b""
        first, last = start // self._block_size, (start + length - 1) // self._block_size
        missing = [index for index in range(first, last + 1) if index not in self._blocks]
        held = {index: self._blocks[index] for index in range(first, last + 1) if index not in missing}
        if missing:
            held |= self._load(missing[0], last)
        # Should they be more than are kept, the first ones stay.
        for index, block in sorted(held.items(), reverse=True):
            self._keep_block(index, block)
        offset = start - first * self._block_size
        return b"".join(held[index] for index in range(first, last + 1))[offset : offset + length]

    def _keep_block(self, index: int, block: bytes) -> None:
        self._blocks[index] = block
        self._blocks.move_to_end(index)
        while len(self._blocks) > self._max_blocks:
            self._blocks.popitem(last=False)

    def _load(self, first: int, last: int) -> dict[int, bytes]:
        """The blocks from `first` to `last`, and as many after them as one request brings and are not at hand."""
        self._run = min(2 * self._run, _LONGEST_RUN) if first == self._run_end else _RUN
        count = -(-self._size // self._block_size)
        stop = last + 1
        while stop < min(first + self._run, count) and stop not in self._blocks:
            stop += 1
        self._run_end = stop
        begin, end = first * self._block_size, min(stop * self._block_size, self._size)
        (data,) = self._ranges.read_many([(begin, end - begin)])
        cut = (data[at : at + self._block_size] for at in range(0, end - begin, self._block_size))
        return {index: bytes(block) for index, block in enumerate(cut, first)}


def open_file(stream: SourceFile, name: str) -> h5py.File:
    """The stream as an HDF5 file, read-only. Raises InvalidSubmission, with a hint, for a broken one."""
    try:
        return h5py.File(stream, "r")
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise InvalidSubmission(
            f"{name} begins as an HDF5 file, but its structure cannot be read.",
            code="file.damaged",
            where=name,
            hint="Check that the file opens on your machine (anndata.read_h5ad), then upload it again.",
        ) from error

"""Where the chunks of a dataset lie: all indexes of HDF5 (File Format Specification, III.A.1, VII.A-D)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from celldock.h5ad.accounting.arrays import extensible_array, fixed_array
from celldock.h5ad.accounting.cursor import Window, nodes
from celldock.h5ad.accounting.ledger import Ledger, NotUnderstoodError
from celldock.h5ad.accounting.messages import Layout
from celldock.h5ad.accounting.trees import numbers, tree_records
from celldock.h5ad.damage import damaged
from celldock.h5ad.layout import Array

_SINGLE, _IMPLICIT, _FIXED, _EXTENSIBLE, _TREE = 1, 2, 3, 4, 5
_SLACK = "in an index of chunks"
_NODE_HEAD = 24
_MASK_BYTES = 4
_MAX_CHUNK = 1 << 44
_MOST_IMPLICIT = 1 << 23


@dataclass(frozen=True, slots=True, eq=False)
class Chunks:
    """Some chunks of a dataset: offsets and stored sizes (uint64, bytes), and filter masks (uint32)."""

    offsets: Array
    sizes: Array
    masks: Array


def chunks_of(
    window: Window, ledger: Ledger, chunk_k: int, layout: Layout, shape: tuple[int, ...], *, filtered: bool, where: str
) -> Iterator[Chunks]:
    """The chunks of a dataset, many at a time. The index's own bytes are claimed, those of the chunks are not.

    Raises InvalidSubmission for a broken index, NotUnderstoodError for one that AnnData does not write.
    """
    assert layout.chunk is not None
    size = math.prod(layout.chunk) * layout.element
    if size > _MAX_CHUNK:
        raise damaged(where, "its chunks are larger than any file")
    if layout.index == 0:
        yield from _tree_1(window, ledger, chunk_k, layout.address, len(layout.chunk) + 1, where)
    elif layout.index == _SINGLE:
        stored, mask = layout.parameters or (size, 0)
        places = np.array([layout.address, stored], np.uint64)
        yield Chunks(places[:1], places[1:], np.array([mask], np.uint32))
    elif layout.index == _IMPLICIT:
        if len(layout.chunk) != len(shape):
            raise damaged(where, f"it has {len(shape)} axes and its chunks have {len(layout.chunk)}")
        count = math.prod(-(-length // edge) for length, edge in zip(shape, layout.chunk, strict=True))
        if layout.address + count * size > ledger.size:
            raise damaged(where, "its chunks take more than the file")
        if count > _MOST_IMPLICIT:
            raise NotUnderstoodError(f"{where} is in more chunks than are followed", layout.address)
        offsets = layout.address + size * np.arange(count, dtype=np.uint64)
        yield Chunks(offsets, np.full(count, size, np.uint64), np.zeros(count, np.uint32))
    elif layout.index == _TREE:
        for records in tree_records(window, ledger, layout.address, where):
            yield _entries(records, size, records.shape[1] - 8 * len(layout.chunk) if filtered else 8)
    else:
        read = fixed_array if layout.index == _FIXED else extensible_array
        for records in read(window, ledger, layout.address, where):
            yield _entries(records, size, records.shape[1])


def _entries(records: Array, size: int, width: int) -> Chunks:
    """Chunks from records that begin with an address and, if they are filtered, a size and a mask; `width` bytes."""
    if records.shape[1] < 8 or (width != 8 and not 8 + _MASK_BYTES < width <= 8 + 8 + _MASK_BYTES):
        raise NotUnderstoodError("An index of chunks has entries that are not followed")
    offsets = numbers(records, 0, 8)
    if width == 8:
        chunks = Chunks(offsets, np.full(len(offsets), size, np.uint64), np.zeros(len(offsets), np.uint32))
    else:
        masks = numbers(records, width - _MASK_BYTES, _MASK_BYTES).astype(np.uint32)
        chunks = Chunks(offsets, numbers(records, 8, width - 8 - _MASK_BYTES), masks)
    written = offsets != np.uint64(0xFFFFFFFFFFFFFFFF)
    return Chunks(chunks.offsets[written], chunks.sizes[written], chunks.masks[written])


def _tree_1(window: Window, ledger: Ledger, k: int, root: int, rank: int, where: str) -> Iterator[Chunks]:
    """A version 1 B-tree, level by level, all nodes of a level as one table of bytes."""
    key = 8 + 8 * rank
    step = key + 8
    length = _NODE_HEAD + 2 * k * step + key
    addresses = np.array([root], np.uint64)
    level: int | None = None
    while len(addresses):
        if len(addresses) * length > ledger.size:
            raise damaged(where, "its index has more nodes than the file can hold")
        ledger.claim_all(addresses, np.full(len(addresses), length, np.uint64))
        below: list[Array] = []
        for places, rows in nodes(window, addresses, length):
            level = _level(rows, places, level, k, where)
            table = rows[:, _NODE_HEAD : _NODE_HEAD + 2 * k * step].reshape(len(rows), 2 * k, step)
            used = numbers(rows, 6, 2).astype(np.int64)
            _look_at_slack(ledger, places, rows, used, step, key)
            entries = table[np.arange(2 * k) < used[:, None]]
            children = numbers(entries, key, 8)
            if level:
                below.append(children)
            else:
                yield Chunks(children, numbers(entries, 0, 4), numbers(entries, 4, 4).astype(np.uint32))
        addresses = np.concatenate(below) if below else np.empty(0, np.uint64)
        level = level - 1 if level else None


def _level(rows: Array, places: Array, expected: int | None, k: int, where: str) -> int:
    """The level of all of these nodes. Raises InvalidSubmission if they are no nodes of one level."""
    heads = rows[:, :6]
    level = int(heads[0, 5]) if expected is None else expected
    right = np.frombuffer(b"TREE\x01" + bytes([level]), np.uint8)
    wrong = (heads != right).any(axis=1) | (numbers(rows, 6, 2) > 2 * k)
    if wrong.any():
        raise damaged(where, f"the index of its chunks is broken (at {int(places[wrong.argmax()]):,})")
    return level


def _look_at_slack(ledger: Ledger, places: Array, rows: Array, used: Array, step: int, key: int) -> None:
    """What follows the last key of each node."""
    ends = _NODE_HEAD + used * step + key
    for number, end in enumerate(ends.tolist()):
        rest = rows[number, end:]
        if rest.any():
            ledger.slack(_SLACK, int(places[number]) + end, rest.tobytes())

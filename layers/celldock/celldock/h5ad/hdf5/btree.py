"""The chunk index of an HDF5 dataset, as far as reading ahead needs it.

A chunked dataset of thousands of chunks has an index of hundreds of small nodes, strewn over the whole file; libhdf5
asks for them one after the other. From an inner node all of its children are known at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

_HEADER = struct.Struct("<4sBBHQQ")
_SIGNATURE = b"TREE"
_CHUNK_NODE = 1
_MAX_CHILDREN = 64  # twice the default "indexed storage internal node K"
_ADDRESS = 8


def child_addresses(node: bytes) -> list[int]:
    """Where the children of an inner node of a version 1 chunk B-tree lie; [] for any other bytes.

    Source: HDF5 File Format Specification, III.A.1. Only the usual widths (8-byte addresses, K = 32) are understood:
    this is for reading ahead, so anything else merely costs time.
    """
    if not node.startswith(_SIGNATURE) or len(node) < _HEADER.size:
        return []
    _, kind, level, used, _, _ = _HEADER.unpack_from(node)
    key_size, rest = divmod(len(node) - _HEADER.size - _MAX_CHILDREN * _ADDRESS, _MAX_CHILDREN + 1)
    if kind != _CHUNK_NODE or level == 0 or used > _MAX_CHILDREN or rest or key_size < 3 * _ADDRESS:
        return []
    first = _HEADER.size + key_size
    step = key_size + _ADDRESS
    return [int.from_bytes(node[at : at + _ADDRESS], "little") for at in range(first, first + used * step, step)]


def is_above_parents(node: bytes) -> bool:
    """Whether the children of an index node are inner nodes themselves."""
    return len(node) > _HEADER.size and node[5] > 1


def node_bytes(rank: int) -> int:
    """Bytes of a node of the index of chunks of `rank` dimensions, the element's size counted as one."""
    key = 2 * 4 + rank * _ADDRESS
    return _HEADER.size + (_MAX_CHILDREN + 1) * key + _MAX_CHILDREN * _ADDRESS


def coalesce(offsets: Iterable[int], length: int, gap: int) -> list[tuple[int, int]]:
    """The ranges [start, stop) that cover pieces of `length` bytes at `offsets`, joined across up to `gap` bytes."""
    ranges: list[tuple[int, int]] = []
    for offset in sorted(offsets):
        if ranges and offset - ranges[-1][1] <= gap:
            ranges[-1] = ranges[-1][0], max(ranges[-1][1], offset + length)
        else:
            ranges.append((offset, offset + length))
    return ranges

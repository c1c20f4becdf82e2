"""Groups of HDF5's older format, as far as reading ahead needs them.

From the root on, a group's B-tree leads to its symbol table nodes, and these to the object headers of all members and
to the B-trees of the groups among them. libhdf5 asks for one after the other; strewn among the columns of a large file
each costs a request of its own. From each level the next one is known whole.
"""

from __future__ import annotations

import struct

from celldock.h5ad.hdf5.btree import node_bytes

_TREE = struct.Struct("<4sBBHQQ")
_TREE_SIGNATURE = b"TREE"
_GROUP_NODE = 0
_TABLE = struct.Struct("<4sBBH")
_TABLE_SIGNATURE = b"SNOD"
_ENTRY = struct.Struct("<QQIIQQ")
_CACHED_GROUP = 1
_ADDRESS = 8
_HEADER_VERSION = 1
_HEADER_BYTES = 16
_MESSAGE = struct.Struct("<HHB3x")
_LAYOUT_MESSAGE = 8
_LAYOUT = struct.Struct("<BBBQ")
_LAYOUT_VERSION, _CHUNKED = 3, 2
_MAX_RANK = 3  # of a table or matrix, the element's size counted as one

STRUCTURE_BYTES = 4096
"""Bytes from the address of a structure on that `members_of` may need."""


def members_of(structure: bytes) -> list[int]:
    """Where libhdf5 will look next after a B-tree node or a symbol table node of a group; [] for any other bytes.

    Source: HDF5 File Format Specification, III.A.1, III.B and III.C. Only 8-byte addresses are understood, and bytes
    that end early give what they hold: this is for reading ahead, so anything else merely costs time.
    """
    if structure.startswith(_TREE_SIGNATURE) and len(structure) >= _TREE.size:
        _, kind, _level, used, _, _ = _TREE.unpack_from(structure)
        return _children(structure, used) if kind == _GROUP_NODE else []
    if structure.startswith(_TABLE_SIGNATURE) and len(structure) >= _TABLE.size:
        *_, used = _TABLE.unpack_from(structure)
        return _objects(structure, used)
    return []


def _children(node: bytes, used: int) -> list[int]:
    """Keys (offsets into the heap of names) and children take turns, a key first."""
    step = 2 * _ADDRESS
    first = _TREE.size + _ADDRESS
    stop = min(first + used * step, len(node) - _ADDRESS + 1)
    return [int.from_bytes(node[at : at + _ADDRESS], "little") for at in range(first, stop, step)]


def _objects(table: bytes, used: int) -> list[int]:
    found: list[int] = []
    for at in range(_TABLE.size, min(_TABLE.size + used * _ENTRY.size, len(table) - _ENTRY.size + 1), _ENTRY.size):
        _name, header, cached, _, tree, heap = _ENTRY.unpack_from(table, at)
        found += [header, tree, heap] if cached == _CACHED_GROUP else [header]
    return found


def chunk_index_of(header: bytes) -> tuple[int, int] | None:
    """Address and bytes of the root of a dataset's chunk index, from its object header; None for any other bytes.

    Source: HDF5 File Format Specification, IV.A.1.a and IV.A.2.i: a version 1 header, layout message of version 3.
    """
    if len(header) < _HEADER_BYTES or header[0] != _HEADER_VERSION:
        return None
    at, stop = _HEADER_BYTES, min(len(header), _HEADER_BYTES + int.from_bytes(header[8:12], "little"))
    while at + _MESSAGE.size + _LAYOUT.size <= stop:
        kind, size, _flags = _MESSAGE.unpack_from(header, at)
        at += _MESSAGE.size
        if kind == _LAYOUT_MESSAGE:
            version, layout, rank, address = _LAYOUT.unpack_from(header, at)
            usual = (version, layout) == (_LAYOUT_VERSION, _CHUNKED) and rank <= _MAX_RANK
            return (address, node_bytes(rank)) if usual else None
        at += size
    return None

"""Version 2 B-trees: the records of all nodes (HDF5 File Format Specification, III.A.2)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from celldock.h5ad.accounting.cursor import Cursor, Window, nodes
from celldock.h5ad.accounting.ledger import Ledger, NotUnderstoodError
from celldock.h5ad.damage import damaged
from celldock.h5ad.layout import Array

_HEADER = 38
_PREFIX = 6
_CHECKSUM = 4
_ADDRESS = 8
_MAX_DEPTH = 16
_MAX_NODE = 1 << 20
_SLACK = "in an index"


def tree_records(window: Window, ledger: Ledger, address: int, where: str) -> Iterator[Array]:
    """The records of a B-tree, as rows of bytes (uint8), node by node in the order of depth."""
    ledger.visit(address)
    ledger.claim(address, _HEADER)
    head = window.cursor(where, address, _HEADER)
    head.expect(b"BTHD")
    head.take(2)
    tree = _Tree(window, ledger, where, head.number(4), head.number(2))
    depth = head.number(2)
    head.take(2)
    root, used = head.number(8), head.number(2)
    if used:
        yield from tree.records(root, used, depth)


class _Tree:
    """What the header of a tree says of all of its nodes: bytes of a node and of a record."""

    def __init__(self, window: Window, ledger: Ledger, where: str, node: int, record: int) -> None:
        if not (record > 0 and _PREFIX + record + _CHECKSUM <= node <= _MAX_NODE):
            raise damaged(where, "the sizes of an index are impossible")
        self._window = window
        self._ledger = ledger
        self._where = where
        self._node = node
        self._record = record
        # How many records a node of each depth may hold, and all below it, decides how wide such counts are written.
        most = (node - _PREFIX - _CHECKSUM) // record
        self._count_width = _width(most)
        self._all = [most]

    def _pointer(self, depth: int) -> int:
        """Bytes of a child's pointer in a node of this depth."""
        while len(self._all) < depth:
            at = len(self._all)
            pointer = self._pointer(at)
            most = (self._node - _PREFIX - _CHECKSUM - pointer) // (self._record + pointer)
            self._all.append((most + 1) * self._all[-1] + most)
        return _ADDRESS + self._count_width + (_width(self._all[depth - 1]) if depth > 1 else 0)

    def records(self, root: int, used: int, depth: int) -> Iterator[Array]:
        if depth > _MAX_DEPTH:
            raise NotUnderstoodError("An index is deeper than any that AnnData writes", root)
        addresses, counts = np.array([root], np.uint64), np.array([used], np.int64)
        for level in range(depth, -1, -1):
            if len(addresses) * self._node > self._ledger.size:
                raise damaged(self._where, "its index has more nodes than the file can hold")
            self._ledger.claim_all(addresses, np.full(len(addresses), self._node, np.uint64))
            below: list[tuple[Array, Array]] = []
            done = 0
            for places, rows in nodes(self._window, addresses, self._node):
                for place, row in zip(places.tolist(), rows, strict=True):
                    count = int(counts[done])
                    done += 1
                    records, children = self._read(Cursor(row.data, place, self._where), count, level)
                    below.append(children)
                    yield records
            addresses = np.concatenate([part for part, _ in below])
            counts = np.concatenate([part for _, part in below])

    def _read(self, node: Cursor, used: int, level: int) -> tuple[Array, tuple[Array, Array]]:
        node.expect(b"BTIN" if level else b"BTLF")
        node.take(2)
        records = np.frombuffer(node.take(used * self._record), np.uint8).reshape(used, self._record)
        children = np.empty(0, np.uint64), np.empty(0, np.int64)
        if level:
            width = self._pointer(level)
            rows = np.frombuffer(node.take((used + 1) * width), np.uint8).reshape(used + 1, width)
            children = numbers(rows, 0, _ADDRESS), numbers(rows, _ADDRESS, self._count_width).astype(np.int64)
        node.take(_CHECKSUM)
        self._ledger.slack(_SLACK, node.place, node.take(node.stop - node.at))
        return records, children


def numbers(rows: Array, start: int, width: int) -> Array:
    """The little-endian numbers of `width` bytes, up to 8, at `start` of each row (uint64)."""
    wide = np.zeros((len(rows), 8), np.uint8)
    wide[:, :width] = rows[:, start : start + width]
    return wide.view("<u8")[:, 0].astype(np.uint64)


def _width(limit: int) -> int:
    """Bytes in which HDF5 writes numbers up to `limit`."""
    return max(0, limit.bit_length() - 1) // 8 + 1

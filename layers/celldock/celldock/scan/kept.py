"""What is kept of each row: its non-zeros and a hash, to find rows without counts and rows that are equal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from celldock.errors import ServiceFault
from celldock.h5ad.layout import Array


class KeptRows:
    """Non-zeros and hash of the rows of a matrix, or of a part of it: 20 bytes a row.

    It may be made of parts that come in any order.
    """

    def __init__(self, start: int, nnz: Array, hashes: Array) -> None:
        self._parts = [(start, nnz, hashes)]

    def merge(self, other: KeptRows) -> None:
        """Takes the other's rows in, without copying."""
        self._parts += other._parts

    @property
    def start(self) -> int:
        """The first row."""
        return min(start for start, _, _ in self._parts)

    @property
    def nnz(self) -> Array:
        """Non-zeros of each row, uint32, in the order of the rows."""
        return self._joined()[1]

    @property
    def hashes(self) -> Array:
        """The hash of each row's canonical form, uint64 of shape (rows, 2), in the order of the rows."""
        return self._joined()[2]

    def duplicates(self, considered: Array | None = None) -> RowGroups:
        """The groups of rows that are equal, among all rows or those that `considered`, a bool for each row, marks.

        Rows without non-zeros are equal to each other, too. Memory: about 60 bytes a row that is considered.
        """
        hashes = self.hashes
        rows = np.arange(len(hashes)) if considered is None else np.flatnonzero(considered)
        # One half of the hash leaves next to nothing but true duplicates to compare by the other.
        rows = _with_a_twin(rows, hashes[rows, 0])
        rows = rows[np.lexsort((rows, hashes[rows, 1], hashes[rows, 0]))]
        new = np.ones(len(rows), np.bool)
        new[1:] = (hashes[rows[1:]] != hashes[rows[:-1]]).any(axis=1)
        starts = np.flatnonzero(new)
        lengths = np.diff(np.append(starts, len(rows)))
        groups = np.repeat(rows[starts], lengths)
        several = np.repeat(lengths > 1, lengths)
        rows, groups = rows[several], groups[several]
        order = np.lexsort((rows, groups))
        rows, groups = rows[order], groups[order]
        return RowGroups(rows + self.start, np.flatnonzero(np.diff(groups, prepend=-1)))

    def _joined(self) -> tuple[int, Array, Array]:
        if len(self._parts) > 1:
            parts = sorted(self._parts, key=lambda part: (part[0], len(part[1])))
            for (start, nnz, _), (following, _, _) in pairwise(parts):
                if start + len(nnz) != following:
                    raise ServiceFault(f"rows are missing before row {following}", code="scan.gap")
            joined = (np.concatenate([part[1] for part in parts]), np.concatenate([part[2] for part in parts]))
            self._parts = [(parts[0][0], *joined)]
        return self._parts[0]


@dataclass(frozen=True, slots=True, eq=False)
class RowGroups:
    """Groups of rows, in the order of their first rows: group i is `rows[starts[i]:starts[i + 1]]`, ascending."""

    rows: Array
    starts: Array

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[Array]:
        """The row numbers of one group after another."""
        return (self.rows[start:stop] for start, stop in pairwise([*self.starts.tolist(), len(self.rows)]))


def _with_a_twin(rows: Array, keys: Array) -> Array:
    """The rows whose key is that of another row."""
    order = np.argsort(keys)
    ordered = keys[order]
    same = ordered[1:] == ordered[:-1]
    twin = np.zeros(len(rows), np.bool)
    twin[1:] |= same
    twin[:-1] |= same
    return rows[order[twin]]

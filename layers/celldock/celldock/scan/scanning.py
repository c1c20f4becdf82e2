"""The one pass over the rows of a matrix that all rules and summaries of values live on."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from celldock.errors import ServiceFault
from celldock.h5ad.block import Block
from celldock.h5ad.layout import Array
from celldock.scan.defects import DefectKind, Defects
from celldock.scan.kept import KeptRows
from celldock.scan.matrix import MatrixScan
from celldock.scan.rows import Tile, canonical, row_hashes, tiles
from celldock.scan.sums import SUM_LIMIT, ExactTotals

MAX_PAIRS = 1 << 22
"""Most pairs of group and gene: each takes 8 bytes while rows are scanned, 28 when the result is made."""


def scan_rows(
    blocks: Iterable[Block],
    *,
    path: str,
    start: int,
    stop: int,
    n_vars: int,
    groups: Array | None = None,
    n_groups: int = 0,
    keep_rows: bool = False,
) -> MatrixScan:
    """Scans the rows [start, stop) of the matrix at `path`, which `blocks` hold in order.

    Args:
        blocks: column indices must be in [0, n_vars).
        path: the matrix, as `X`, `raw/X` or `layers/NAME`.
        start: first row.
        stop: row after the last one.
        n_vars: genes, at most MAX_PAIRS.
        groups: the group (cell type) of each row, shape (stop - start,); a row is in none if it is not in
            [0, n_groups).
        n_groups: how many there are. More than MAX_PAIRS / n_vars are not told apart: see `groups_left_out`.
        keep_rows: whether to keep the non-zeros and hash of each row.

    Raises:
        InvalidSubmission: the matrix has no numbers; also what `blocks` raise.
        ServiceFault: the blocks hold other rows.
    """
    scan = _Scan(path, (start, stop), n_vars, groups, n_groups, keep_rows)
    for block in blocks:
        for tile in tiles(block, path):
            scan.add(tile)
    return scan.result()


class _Scan:
    """The facts of the rows so far."""

    def __init__(
        self, path: str, span: tuple[int, int], n_vars: int, groups: Array | None, n_groups: int, keep_rows: bool
    ) -> None:
        self._path, self._n_vars = path, n_vars
        self._start, self._stop = span
        self._next = self._start
        self._left_out = ""
        if groups is not None and (n_groups + 1) * n_vars > MAX_PAIRS:
            self._left_out = f"{n_groups:,} groups x {n_vars:,} genes are more than {MAX_PAIRS:,} pairs"
            groups = None
        self._n_groups = 0 if groups is None else n_groups
        # Where in the table of groups and genes each row belongs.
        self._places = None if groups is None else _group_rows(groups, n_groups) * n_vars
        self._sums = ExactTotals((self._n_groups + 1, n_vars))
        self._nnz = np.zeros(self._stop - self._start, np.uint32) if keep_rows else None
        self._hashes: Array = np.zeros((self._stop - self._start if keep_rows else 0, 2), np.uint64)
        self._stored = self._zeros = self._nonzeros = 0
        self._low, self._high = math.inf, -math.inf
        self._defects = Defects()

    def add(self, tile: Tile) -> None:
        if tile.row != self._next or tile.row + tile.n_rows > self._stop:
            raise ServiceFault(f"row {tile.row} came for row {self._next}", code="scan.rows", where=self._path)
        self._next += tile.n_rows
        tile, storage = canonical(tile)
        self._stored += storage.elements
        self._zeros += storage.zeros
        self._nonzeros += len(tile.values)
        if storage.unsorted is not None:
            self._note(DefectKind.UNSORTED_ROW, storage.unsorted, tile)
        if storage.repeated is not None:
            self._note(DefectKind.REPEATED_INDEX, storage.repeated, tile)
        lengths = tile.lengths
        if not lengths.all():
            self._note(DefectKind.EMPTY_ROW, lengths == 0, tile)
        if len(tile.values):
            self._add_values(tile)
        if self._nnz is not None:
            place = slice(tile.row - self._start, tile.row - self._start + tile.n_rows)
            self._nnz[place] = lengths
            self._hashes[place] = row_hashes(tile)

    def result(self) -> MatrixScan:
        if self._next != self._stop:
            raise ServiceFault(f"no rows from row {self._next} on", code="scan.rows", where=self._path)
        return MatrixScan(
            path=self._path,
            n_vars=self._n_vars,
            n_groups=self._n_groups,
            groups_left_out=self._left_out,
            spans=[(self._start, self._stop)] if self._start < self._stop else [],
            stored=self._stored,
            explicit_zeros=self._zeros,
            nonzeros=self._nonzeros,
            low=None if math.isinf(self._low) else self._low,
            high=None if math.isinf(self._high) else self._high,
            defects=self._defects,
            totals=self._sums.result(),
            rows=None if self._nnz is None else KeptRows(self._start, self._nnz, self._hashes),
        )

    def _add_values(self, tile: Tile) -> None:
        """Looks at the values. The extremes show what is worth a closer look."""
        values = tile.values
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            values, low, high = self._without_non_finite(tile)
        self._low, self._high = min(self._low, low), max(self._high, high)
        if low < 0:
            self._mark(DefectKind.NEGATIVE, values < 0, tile)
        integers = values.dtype.kind != "f"
        if not integers:
            integers = not self._mark(DefectKind.NON_INTEGER, values != np.rint(values), tile)
        largest = max(-low, high, 0.0)
        if largest >= SUM_LIMIT:
            large = np.abs(values) >= SUM_LIMIT
            self._mark(DefectKind.LARGE, large, tile)
            values = np.where(large, 0, values)
            largest = float(np.abs(values).max())
        self._sums.add(self._slots(tile), values, largest=largest, integers=integers, rows=tile.n_rows)

    def _without_non_finite(self, tile: Tile) -> tuple[Array, float, float]:
        """The values with zeros for NaN and infinities, and the extremes of the rest."""
        values = tile.values
        self._mark(DefectKind.NAN, np.isnan(values), tile)
        self._mark(DefectKind.POSITIVE_INFINITY, values == np.inf, tile)
        self._mark(DefectKind.NEGATIVE_INFINITY, values == -np.inf, tile)
        finite = np.isfinite(values)
        low = float(values.min(where=finite, initial=np.inf))
        high = float(values.max(where=finite, initial=-np.inf))
        return np.where(finite, values, 0), low, high

    def _slots(self, tile: Tile) -> Array:
        """For each element its place in the table of groups and genes."""
        if self._places is None:
            return tile.indices.astype(np.int64)
        places = self._places[tile.row - self._start : tile.row - self._start + tile.n_rows]
        slots = np.repeat(places, tile.lengths)
        slots += tile.indices
        return slots

    def _mark(self, kind: DefectKind, marked: Array, tile: Tile) -> int:
        """Notes the defect of the elements that `marked`, a bool for each, marks; returns how many."""
        values = int(np.count_nonzero(marked))
        if values:
            self._defects.note(kind, values, tile.has(marked), tile.row)
        return values

    def _note(self, kind: DefectKind, counts: Array, tile: Tile) -> None:
        """Notes a defect that each row of the tile has `counts` times."""
        self._defects.note(kind, int(counts.sum()), counts > 0, tile.row)


def _group_rows(groups: Array, n_groups: int) -> Array:
    """The row of the table for each cell, int64: its group, or the last row for none."""
    rows = groups.astype(np.int64)
    rows[(rows < 0) | (rows >= n_groups)] = n_groups
    return rows

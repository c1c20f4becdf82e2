"""Blocks of rows of a matrix that is stored by columns (csc), by way of a scratch file.

First the row numbers are read once to count the elements of the rows, which are then cut into buckets of about equal
bytes. In a second pass over the columns each element goes to its row's bucket in the scratch file. A bucket, sorted by
row, is a block. Columns are passed in order and all sorting is stable, so the columns of a row come out in order.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from celldock.errors import NotFeasible
from celldock.h5ad.block import Block, as_indices, check_indices, row_too_large
from celldock.h5ad.fetching import Ranges
from celldock.h5ad.layout import Array, MatrixLayout
from celldock.h5ad.pointers import pointers_within
from celldock.h5ad.reader import ArrayReader, StoredArray, read_together

# Bytes an element beside two copies of its record: its place after sorting, its row and bucket, its decoded parts.
_SORTING = 32


def transposed_bytes(layout: MatrixLayout) -> int:
    """Bytes of disk that turning the matrix round takes; 0 unless it is stored by columns."""
    if layout.header.encoding != "csc":
        return 0
    return layout.arrays["data"].shape[0] * _record(layout).itemsize


def transposed_blocks(
    source: Ranges,
    layout: MatrixLayout,
    arrays: dict[str, StoredArray],
    start: int,
    stop: int,
    *,
    budget: int,
    scratch: Path,
) -> Generator[Block]:
    """Rows [start, stop) of a csc matrix as blocks; see `MatrixReader`. Nothing stays in `scratch`.

    Raises NotFeasible (`matrix.scratch_too_small`) if the elements of these rows do not fit on the disk.
    """
    unit = budget // 8
    record = _record(layout)
    largest = max(1, 3 * unit // (2 * record.itemsize + _SORTING))
    buckets = _count(source, layout, start, stop, largest=largest, budget=budget)
    needed = int(buckets.elements[-1]) * record.itemsize
    free = shutil.disk_usage(scratch).free
    if needed > free:
        raise NotFeasible(
            f"{layout.header.path} is stored by columns (csc); to read it by rows takes {needed:,} bytes of disk, and "
            f"{free:,} are free.",
            code="matrix.scratch_too_small",
            where=layout.header.path,
            hint="Store the matrix by rows: scipy.sparse.csr_matrix(adata.X), then write_h5ad.",
        )
    with tempfile.TemporaryFile(dir=scratch) as file:
        ranges = _column_ranges(source, layout, largest, budget=unit)
        streams = [arrays["data"], arrays["indices"]]
        with closing(read_together(source, streams, ranges, ahead=2 * unit)) as parts:
            _scatter(file, parts, buckets, record)
        yield from _gather(file, buckets, record)


@dataclass(frozen=True, slots=True, eq=False)
class _Buckets:
    """Rows cut into buckets: bucket i has the rows [rows[i], rows[i + 1]).

    Its elements are [elements[i], elements[i + 1]) in the scratch file. Rows were counted in groups of 2^shift;
    `of_group` names the bucket of each group.
    """

    rows: Array
    elements: Array
    of_group: Array
    shift: int

    def numbers(self, rows: Array) -> Array:
        """The bucket of each of these rows."""
        return self.of_group[(rows - self.rows[0]) >> self.shift]


def _record(layout: MatrixLayout) -> np.dtype[np.void]:
    """An element in the scratch file; numbers of up to 32 bits where the shape allows."""
    rows, columns = layout.header.shape
    value = np.dtype(layout.arrays["data"].dtype).newbyteorder("=")
    row, column = ("u4" if rows < 2**32 else "i8"), ("i4" if columns < 2**31 else "i8")
    return np.dtype([("row", row), ("column", column), ("value", value)])


def _count(source: Ranges, layout: MatrixLayout, start: int, stop: int, *, largest: int, budget: int) -> _Buckets:
    """Counts the elements of rows [start, stop) and cuts them into buckets of at most `largest` elements or rows."""
    path, n_obs = layout.header.path, layout.header.shape[0]
    most_groups = max(1, budget // 128)
    shift = max(0, (max(stop - start, 1) - 1) // most_groups).bit_length()
    groups = -(-(stop - start) // (1 << shift))
    counts = np.zeros(groups, np.int64)
    indices = layout.arrays["indices"]
    reader = ArrayReader(source, indices, budget=budget // 2)
    position = 0
    for stored in reader.blocks(0, indices.shape[0], max(1, budget // 128)):
        rows = as_indices(stored)
        check_indices(path, rows, position, n_obs)
        position += len(rows)
        inside = rows[(rows >= start) & (rows < stop)]
        counts += np.bincount((inside - start) >> shift, minlength=groups)
    ends = np.zeros(groups + 1, np.int64)
    np.cumsum(counts, out=ends[1:])
    edges = [0]
    while edges[-1] < groups:
        at = edges[-1]
        most = min(int(np.searchsorted(ends, int(ends[at]) + largest, side="right")) - 1, at + max(1, largest >> shift))
        if most <= at:
            raise row_too_large(path, start + (at << shift), int(counts[at]) * _record(layout).itemsize)
        edges.append(most)
    of_group = np.repeat(np.arange(len(edges) - 1, dtype=np.min_scalar_type(len(edges))), np.diff(edges))
    return _Buckets(np.minimum(start + (np.array(edges) << shift), stop), ends[edges], of_group, shift)


def _column_ranges(
    source: Ranges, layout: MatrixLayout, largest: int, *, budget: int
) -> Generator[tuple[int, int, tuple[int, Array]]]:
    """Ranges of at most `largest` elements, each with its first column and how many elements each column has in it."""
    n_vars = layout.header.shape[1]
    with closing(pointers_within(source, layout, 0, n_vars, budget=budget)) as parts:
        for first, pointers in parts:
            for begin in range(int(pointers[0]), int(pointers[-1]), largest):
                end = min(begin + largest, int(pointers[-1]))
                low = int(np.searchsorted(pointers, begin, side="right")) - 1
                high = int(np.searchsorted(pointers, end, side="left"))
                yield begin, end, (first + low, np.diff(np.clip(pointers[low : high + 1], begin, end)))


def _scatter(
    file: IO[bytes],
    parts: Generator[tuple[int, int, tuple[int, Array], list[Array]]],
    buckets: _Buckets,
    record: np.dtype[np.void],
) -> None:
    """Writes the elements of each part behind those that their buckets already have."""
    reached = buckets.elements[:-1].copy()
    for _, _, (first, counts), (stored_values, stored_rows) in parts:
        rows, values = as_indices(stored_rows), stored_values
        columns = np.repeat(np.arange(first, first + len(counts), dtype=record["column"]), counts)
        inside = (rows >= buckets.rows[0]) & (rows < buckets.rows[-1])
        if not inside.all():
            rows, columns, values = rows[inside], columns[inside], values[inside]
        numbers = buckets.numbers(rows)
        order = np.argsort(numbers, kind="stable")
        records = np.empty(len(rows), record)
        records["row"], records["column"], records["value"] = rows[order], columns[order], values[order]
        counted = np.bincount(numbers, minlength=len(reached))
        plain = records.view(np.uint8).data
        done = 0
        for bucket in np.flatnonzero(counted).tolist():
            size = int(counted[bucket]) * record.itemsize
            _write_at(file.fileno(), plain[done : done + size], int(reached[bucket]) * record.itemsize)
            done += size
        reached += counted


def _write_at(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def _gather(file: IO[bytes], buckets: _Buckets, record: np.dtype[np.void]) -> Generator[Block]:
    """Each bucket as a block of sorted rows."""
    for number in range(len(buckets.rows) - 1):
        first, last = int(buckets.rows[number]), int(buckets.rows[number + 1])
        begin, end = int(buckets.elements[number]), int(buckets.elements[number + 1])
        file.seek(begin * record.itemsize)
        records: np.ndarray[Any, Any] = np.fromfile(file, record, end - begin)
        # NumPy sorts numbers of 16 bits several times as fast.
        rows = (records["row"] - first).astype(np.min_scalar_type(last - first))
        order = np.argsort(rows, kind="stable")
        indptr = np.zeros(last - first + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=last - first), out=indptr[1:])
        yield Block(first, indptr, records["column"][order], records["value"][order])

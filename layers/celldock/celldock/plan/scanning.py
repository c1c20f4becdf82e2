"""One partition of a plan, read and scanned: all that a worker of Scan does, wherever it runs; or all, in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from celldock.errors import InvalidSubmission
from celldock.h5ad.block import Block
from celldock.h5ad.layout import Array, FileLayout
from celldock.h5ad.matrix import MatrixReader
from celldock.h5ad.reader import ArrayReader, chunk_limit
from celldock.h5ad.source import ByteSource
from celldock.h5ad.unpacking import Wanted, unpacked
from celldock.plan.making import Planned
from celldock.plan.partitions import ScanPartition
from celldock.plan.scan import BUDGET_BYTES, ScanPlan, matrices_of, stored_elements
from celldock.scan import MatrixScan, Refusal, ScanResult, scan_rows

type Progress = Callable[[int, int], None]
"""Told how much of something has been done, and how much of it there is."""


def scan_partition(
    source: ByteSource,
    plan: ScanPlan,
    layout: FileLayout,
    partition: ScanPartition,
    *,
    scratch: Path,
    tell: Callable[[int], None] | None = None,
) -> MatrixScan | Refusal:
    """Reads the partition's rows once, by ranges and without libhdf5; a Refusal says what is wrong with its bytes.

    `scratch` is a local folder for matrices that are stored by columns or in large chunks. `tell` is called with the
    number of rows in each block, once they are scanned. Memory: BUDGET_BYTES, the sums of all genes and groups, and
    what is kept of each row. Raises what the source raises.
    """
    path, start, stop = partition.path, partition.start, partition.stop
    try:
        reader = MatrixReader(source, layout.matrices[path], budget=BUDGET_BYTES, scratch=scratch)
        blocks = reader.row_blocks(start, stop)
        return scan_rows(
            blocks if tell is None else _told(blocks, tell),
            path=path,
            start=start,
            stop=stop,
            n_vars=reader.n_vars,
            groups=_groups(source, plan, layout, partition, scratch),
            n_groups=plan.n_groups,
            keep_rows=path == plan.kept,
        )
    except InvalidSubmission as refusal:
        return Refusal.of(refusal, path=path, start=start, stop=stop)


def _told(blocks: Iterable[Block], tell: Callable[[int], None]) -> Iterator[Block]:
    for block in blocks:
        yield block
        tell(block.n_rows)


def _groups(
    source: ByteSource, plan: ScanPlan, layout: FileLayout, partition: ScanPartition, scratch: Path
) -> Array | None:
    """The group of each of the partition's cells; None where cells are not grouped."""
    codes = layout.columns.get(plan.groups)
    # A column of another length is the file's fault, of which other rules tell.
    if codes is None or codes.shape != layout.matrices[partition.path].header.shape[:1]:
        return None
    start, stop = partition.start, partition.stop
    wanted = {"codes": Wanted(codes, chunk_limit(BUDGET_BYTES), start, stop)}
    with unpacked(source, wanted, budget=BUDGET_BYTES, scratch=scratch) as (places, layouts):
        return ArrayReader(places, layouts["codes"], budget=BUDGET_BYTES).read(start, stop)


def scan_file(source: ByteSource, planned: Planned, *, scratch: Path, progress: Progress | None = None) -> ScanResult:
    """All partitions of a file, one after the other; `progress` is told of the stored elements of the matrices.

    Memory: that of `scan_partition`, and the merged result. Raises what the source raises.
    """
    plan, layout = planned.plan.scan, planned.layout
    result = ScanResult(plan.rows)
    for refusal in plan.refusals:
        result.add(refusal)
    meter = _Meter(planned, progress) if progress else None
    for partition in plan.partitions:
        tell = partial(meter.count, partition.path) if meter else None
        result.add(scan_partition(source, plan, layout, partition, scratch=scratch, tell=tell))
    result.check_complete()
    return result


class _Meter:
    """Turns rows of matrices into stored elements; within a matrix all rows count alike."""

    def __init__(self, planned: Planned, progress: Progress) -> None:
        self._progress = progress
        self._per_row = {
            matrix.path: stored_elements(matrix) / max(1, matrix.shape[0])
            for matrix in matrices_of(planned.plan.header)
        }
        self._done = 0.0
        self._total = sum(self._per_row[each.path] * (each.stop - each.start) for each in planned.plan.scan.partitions)
        self._tell()

    def count(self, path: str, rows: int) -> None:
        self._done += rows * self._per_row[path]
        self._tell()

    def _tell(self) -> None:
        self._progress(round(self._done), round(self._total))

"""One partition of a plan, read and scanned: all that a worker of Scan does, wherever it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from celldock.errors import InvalidSubmission
from celldock.h5ad.block import Block
from celldock.h5ad.layout import Array, FileLayout
from celldock.h5ad.matrix import MatrixReader
from celldock.h5ad.reader import ArrayReader, chunk_limit
from celldock.h5ad.source import ByteSource
from celldock.h5ad.unpacking import Wanted, unpacked
from celldock.plan.partitions import ScanPartition
from celldock.plan.scan import BUDGET_BYTES, ScanPlan
from celldock.scan import MatrixScan, Refusal, scan_rows


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

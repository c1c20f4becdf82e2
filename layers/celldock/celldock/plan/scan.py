"""How the matrices are read by Scan: in which blocks of rows, and what is kept of them besides the counts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from celldock.errors import InvalidSubmission
from celldock.h5ad.headers import ColumnHeader, Header, MatrixHeader
from celldock.h5ad.layout import ArrayLayout, FileLayout, MatrixLayout
from celldock.h5ad.matrix import scratch_bytes, unpacked_bytes
from celldock.h5ad.pointers import indptr_blocks
from celldock.h5ad.reader import SMALLER_CHUNKS, chunk_limit
from celldock.h5ad.source import ByteSource
from celldock.h5ad.unpacking import spooled_bytes
from celldock.plan.partitions import (
    PARTITION_ELEMENTS,
    ScanPartition,
    cost_of,
    cut_rows,
    elements_of_dense,
    elements_of_sparse,
)
from celldock.scan import MAX_PAIRS, Refusal

GROUP_COLUMN = "cell_type_ontology_term_id"
"""The column of obs by whose categories sums and counts are also kept."""

MAX_PARTITIONS = 10_000
"""A Distributed Map takes more; 200 billion elements are a file that nobody has sent yet, and one bill's limit."""
BUDGET_BYTES = 96 << 20
"""Memory that a worker has for blocks of rows, and for what is fetched ahead of them."""
SCRATCH_BYTES = 9 << 30
"""What a worker's /tmp has for a matrix that is stored by columns while it is turned round, and for large chunks."""

_PARALLEL = 4
_POINTERS = 1 << 18
# Chunks of 32 MiB can be held: the pointers of four million rows in one piece.
_POINTER_BUDGET = 128 << 20


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """The blocks of all matrices, and what is kept of them.

    Attributes:
        rows: of each matrix, by its path.
        partitions: in the order of the matrices, then of the rows.
        kept: path of the matrix whose rows are counted and hashed one by one: raw.X, or X without it; "" for none.
        groups: path of the codes by which cells are grouped, "" where there are none.
        n_groups: how many groups they tell apart.
        refusals: what is wrong with matrices that therefore have no partition.
    """

    rows: dict[str, int]
    partitions: tuple[ScanPartition, ...]
    kept: str
    groups: str
    n_groups: int
    refusals: tuple[Refusal, ...]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict` after a trip through JSON."""
        partitions = tuple(ScanPartition(**partition) for partition in data["partitions"])
        refusals = tuple(Refusal(**refusal) for refusal in data["refusals"])
        return cls(data["rows"], partitions, data["kept"], data["groups"], data["n_groups"], refusals)

    def of(self, path: str) -> tuple[ScanPartition, ...]:
        """The partitions of the matrix at `path`."""
        return tuple(partition for partition in self.partitions if partition.path == path)


def plan_scan(source: ByteSource, header: Header, layout: FileLayout) -> ScanPlan:
    """Cuts every matrix into partitions of about equal cost; reads the indptr of those that need more than one.

    Raises what the source raises. What is wrong with a matrix is in the plan's `refusals`.
    """
    matrices = list(layout.matrices.values())
    with ThreadPoolExecutor(_PARALLEL) as pool:
        cuts = list(pool.map(partial(_cut, source), matrices))
    partitions: list[ScanPartition] = []
    refusals: list[Refusal] = []
    for matrix, rows in zip(matrices, cuts, strict=True):
        path = matrix.header.path
        if isinstance(rows, InvalidSubmission):
            refusals.append(Refusal.of(rows, path=path, start=0, stop=matrix.header.shape[0]))
            continue
        partitions += [ScanPartition(len(partitions) + i, path, start, stop) for i, (start, stop) in enumerate(rows)]
    kept = header.raw_x or header.x
    column = group_column(header)
    groups = next(iter(layout.columns), "")
    return ScanPlan(
        rows={matrix.header.path: matrix.header.shape[0] for matrix in matrices},
        partitions=tuple(partitions),
        kept=kept.path if kept else "",
        groups=groups,
        n_groups=(column.categories or 0) if column and groups else 0,
        refusals=tuple(refusals),
    )


def group_column(header: Header) -> ColumnHeader | None:
    """The column by which cells are grouped; None where there is none or it is no categorical."""
    for column in header.obs.columns:
        if column.name == GROUP_COLUMN and column.kind == "categorical" and column.categories:
            return column
    return None


def matrices_of(header: Header) -> Iterator[MatrixHeader]:
    """X, raw.X and the layers, as far as there are any."""
    yield from (matrix for matrix in (header.x, header.raw_x, *header.layers) if matrix is not None)


def stored_elements(matrix: MatrixHeader | None) -> int:
    """Elements that a matrix stores: those of a sparse one, explicit zeros included; all of a dense one; 0 without."""
    if matrix is None:
        return 0
    rows, columns = matrix.shape
    return rows * columns if matrix.nnz is None else matrix.nnz


def _cut(source: ByteSource, matrix: MatrixLayout) -> list[tuple[int, int]] | InvalidSubmission:
    """The row blocks of one matrix, or why it cannot be read."""
    try:
        _refuse_sizes(matrix)
        return _blocks(source, matrix)
    except InvalidSubmission as refusal:
        return refusal


def _blocks(source: ByteSource, matrix: MatrixLayout) -> list[tuple[int, int]]:
    header = matrix.header
    rows, columns = header.shape
    if rows == 0:
        return []
    if cost_of(rows, stored_elements(header)) <= PARTITION_ELEMENTS or _is_read_whole(matrix):
        # A worker that reads all rows checks indptr itself.
        return [(0, rows)]
    if header.encoding == "dense":
        return cut_rows(rows, elements_of_dense(rows, columns))
    return cut_rows(rows, elements_of_sparse(indptr_blocks(source, matrix, _POINTERS, budget=_POINTER_BUDGET)))


def _is_read_whole(matrix: MatrixLayout) -> bool:
    """Whether one worker reads all rows, because each of several would have to unpack most of the matrix."""
    if matrix.header.encoding == "csc":
        return True
    large = unpacked_bytes(matrix, budget=BUDGET_BYTES).keys()
    indptr = matrix.arrays.get("indptr")
    if indptr is not None and spooled_bytes(indptr, chunk_limit(_POINTER_BUDGET)):
        return True
    return any(2 * band_elements(matrix.arrays[name]) > PARTITION_ELEMENTS for name in large - {"indptr"})


def band_elements(array: ArrayLayout) -> int:
    """Elements of the chunks that lie side by side, all of which it takes to read one row."""
    return math.prod(array.chunks or array.shape) * math.prod(array.grid[1:])


def _refuse_sizes(matrix: MatrixLayout) -> None:
    """Refuses what no worker could hold or nobody would pay for."""
    header = matrix.header
    rows, columns = header.shape
    elements = stored_elements(header)
    if columns > MAX_PAIRS:
        raise InvalidSubmission(
            f"{header.path} has {columns:,} genes; celldock reads matrices of up to {MAX_PAIRS:,}.",
            code="matrix.too_wide",
            where=header.path,
            hint="Check the matrix's shape: cells are its rows and genes its columns.",
        )
    if cost_of(rows, elements) > MAX_PARTITIONS * PARTITION_ELEMENTS:
        raise InvalidSubmission(
            f"{header.path} has {elements:,} elements in {rows:,} rows, more than celldock reads.",
            code="matrix.too_large",
            where=header.path,
            hint="Submit the data in several files, and a matrix that is mostly zeros as sparse (csr).",
        )
    scratch = scratch_bytes(matrix, budget=BUDGET_BYTES)
    if scratch <= SCRATCH_BYTES or not _is_read_whole(matrix):
        return
    if header.encoding == "csc":
        raise InvalidSubmission(
            f"{header.path} is stored by columns (csc), and its {elements:,} elements are too many to turn it round.",
            code="matrix.csc_too_large",
            where=header.path,
            hint=f"Store it by rows before you write the file: {_to_csr(header.path)}",
        )
    raise InvalidSubmission(
        f"{header.path} is stored in so large chunks that {scratch:,} bytes must be unpacked to read it, more than "
        f"celldock does ({SCRATCH_BYTES:,}).",
        code="file.chunk_too_large",
        where=header.path,
        hint=SMALLER_CHUNKS,
    )


def _to_csr(path: str) -> str:
    """The Python statement that stores the matrix at `path` by rows."""
    if path in ("raw/X", "raw.X"):
        return "raw = adata.raw.to_adata(); raw.X = raw.X.tocsr(); adata.raw = raw"
    name = "adata.X" if path == "X" else f"adata.layers[{path.removeprefix('layers/')!r}]"
    return f"{name} = {name}.tocsr()"

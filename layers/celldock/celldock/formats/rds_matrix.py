"""A matrix of cells by genes as the slots of a `dgCMatrix` of genes by cells, of which it is the transpose as it lies.

Each partition writes its rows of three vectors as gzip members: `i` the numbers of the genes, `p` where each cell ends,
`x` the values, as doubles. What follows a vector's length cannot change it any more; the first partition writes the
lengths down. Where one partition has all rows they are counted; else they are those that the file declares.

Explicit zeros stay: R takes a stored zero for the zero that it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, cast

import numpy as np

from celldock.errors import NotFeasible, ServiceFault
from celldock.formats.protocol import FileRecord, Partition, Sink, Subject
from celldock.formats.rds_layout import MAX_LENGTH
from celldock.formats.rds_xdr import MAX_EXACT, Kind, MemberFile, Splice, vector_head
from celldock.h5ad.block import Block
from celldock.h5ad.headers import MatrixHeader
from celldock.h5ad.matrix import DEFAULT_BUDGET, MatrixReader, indptr_blocks

_KINDS = {"i": Kind.INTEGER, "p": Kind.INTEGER, "x": Kind.REAL}
_HEADED = ("i", "x")

type Array = np.ndarray[Any, Any]


def write_matrix(
    subject: Subject, name: str, matrix: MatrixHeader, rows: Partition, sink: Sink, folder: Path
) -> list[FileRecord]:
    """Writes the pieces of one partition. `name` says in their paths which matrix it is; `folder` is for scratch.

    Memory: the reader's budget, and the values of a block as doubles. Disk: the pieces, and what the reader takes.

    Raises:
        NotFeasible: more non-zeros than R's matrices can have, a gene twice in a cell, or integers beyond 2**53.
        InvalidSubmission: as `MatrixReader` does.
    """
    _check_length(matrix, _scanned(subject, matrix))
    with ExitStack() as stack:
        files = {slot: _piece(stack, folder, f"{name}-{slot}") for slot in _KINDS}
        end = first = _first(subject, matrix, rows)
        if rows.start == 0:
            files["p"].write(vector_head(Kind.INTEGER, matrix.shape[0] + 1) + bytes(4))
        layout = subject.layout.matrices[matrix.path]
        reader = MatrixReader(subject.source, layout, budget=DEFAULT_BUDGET, scratch=folder)
        with closing(reader.row_blocks(rows.start, rows.stop)) as blocks:
            for block in blocks:
                indices, values = _ordered(block, matrix.path)
                _check_length(matrix, end + len(indices))
                files["i"].write_values(Kind.INTEGER, indices)
                files["p"].write_values(Kind.INTEGER, block.indptr[1:] + end)
                files["x"].write_values(Kind.REAL, values)
                end += len(indices)
        if rows.start == 0:
            length = end - first if rows.stop == matrix.shape[0] else matrix.nnz or 0
            for slot in _HEADED:
                head = _piece(stack, folder, f"{name}-{slot}-head")
                head.write(vector_head(_KINDS[slot], length))
                files[f"{slot}-head"] = head
        return [_put(sink, _path(name, slot, rows.index), file) for slot, file in files.items()]


def splices(name: str, partitions: Sequence[Partition]) -> dict[str, Splice]:
    """The vectors that the pieces of all partitions make, by their slots."""
    return {
        slot: Splice(
            (
                *([_path(name, f"{slot}-head", 0)] if slot in _HEADED else []),
                *(_path(name, slot, partition.index) for partition in partitions),
            )
        )
        for slot in _KINDS
    }


def _path(name: str, slot: str, index: int) -> str:
    return f"pieces/{index:05d}/{name}-{slot}.gz"


def _piece(stack: ExitStack, folder: Path, name: str) -> MemberFile:
    path = folder / f"{name}.gz"
    stack.callback(path.unlink, missing_ok=True)
    return stack.enter_context(MemberFile(path))


def _put(sink: Sink, path: str, file: MemberFile) -> FileRecord:
    file.close()
    return sink.put(path, file.path)


def _scanned(subject: Subject, matrix: MatrixHeader) -> int:
    """The non-zeros that the scan found in a dense matrix large enough to have too many; 0 where nobody knows them.

    So that no worker reads for minutes what R cannot hold. The plan has seen to what headers tell.
    """
    rows, genes = matrix.shape
    if matrix.encoding != "dense" or rows * genes <= MAX_LENGTH or subject.scan is None:
        return 0
    found = subject.scan().matrix(matrix.path)
    return found.stored if found is not None else 0


def _check_length(matrix: MatrixHeader, count: int) -> None:
    if count > MAX_LENGTH:
        raise NotFeasible(
            f"{matrix.path} has more than {MAX_LENGTH:,} non-zeros, the most in R's sparse matrices.",
            code="rds.nonzeros",
            where=matrix.path,
        )


def _first(subject: Subject, matrix: MatrixHeader, rows: Partition) -> int:
    """The elements before the first row, of which only a csr matrix knows the number."""
    if (rows.start, rows.stop) == (0, matrix.shape[0]):
        return 0
    if matrix.encoding != "csr":
        raise ServiceFault(f"{matrix.path} is {matrix.encoding} and not to be cut", code="rds.parts", where=matrix.path)
    layout = subject.layout.matrices[matrix.path]
    with closing(indptr_blocks(subject.source, layout, 1, rows.start, rows.start)) as parts:
        return next(int(pointers[0]) for _, pointers in parts)


def _ordered(block: Block, path: str) -> tuple[Array, Array]:
    """The indices and values of a block, ascending in each row. Raises NotFeasible for an index twice in a row."""
    indices, values = block.indices, block.data
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8 and values.size:
        largest = max(abs(int(values.min())), abs(int(values.max())))
        if largest > MAX_EXACT:
            raise NotFeasible(
                f"{path} has the integer {largest:,}, which R's doubles do not hold.", code="rds.integer", where=path
            )
    if not _falls(block.indptr, indices).any():
        return indices, values
    rows = np.repeat(np.arange(block.n_rows), np.diff(block.indptr))
    order = np.lexsort((indices, rows))
    indices = indices[order]
    if _falls(block.indptr, indices).any():
        row = block.start + int(rows[1:][_falls(block.indptr, indices)][0])
        raise NotFeasible(
            f"Row {row:,} of {path} has a column twice, which R's sparse matrices cannot have.",
            code="rds.duplicates",
            where=path,
            hint="adata.X.sum_duplicates(), then write_h5ad.",
        )
    return indices, values[order]


def _falls(indptr: Array, indices: Array) -> Array:
    """Whether each index but the first is no greater than the one before it in its row."""
    falls = cast(Array, indices[1:] <= indices[:-1])
    starts = indptr[1:-1]
    inside = starts[(starts > 0) & (starts < len(indices))]
    falls[inside - 1] = False
    return falls

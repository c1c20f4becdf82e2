"""`expression.parquet`, beside the cells: how strongly each gene is expressed in each cell type, for dot plots.

One row for each gene and cell type in which any cell has a value of X other than zero, and one for each gene over all
cells, whose `cell_type_id` is NULL. Nothing is read for it: Scan has summed up the values when it went through them.

| column | |
|---|---|
| `gene_id`, `gene_name` | the index of var, and `feature_name`; NULL where there is none |
| `cell_type_id`, `cell_type` | the term and its label |
| `n_cells` | cells of the type |
| `n_expressing` | those of them in which the gene is not zero |
| `sum`, `mean`, `fraction` | of the values in X: their sum, that over `n_cells`, and `n_expressing` over `n_cells` |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from celldock import __version__
from celldock.canonical import canonical_json
from celldock.formats.cells_layout import TableColumn
from celldock.formats.protocol import FileRecord, Sink, Subject
from celldock.h5ad.file import H5adFile, open_h5ad
from celldock.h5ad.frames import iter_blocks
from celldock.h5ad.headers import ColumnHeader, FrameHeader
from celldock.scan import MatrixScan

FILE = "expression.parquet"

_TERM, _LABEL, _NAME = "cell_type_ontology_term_id", "cell_type", "feature_name"
_BLOCK_ROWS = 1 << 20
_GROUP_ROWS = 122_880
_TEXT_ROWS = 65_536
_COLUMNS = (
    TableColumn("gene_id", "VARCHAR"),
    TableColumn("gene_name", "VARCHAR"),
    TableColumn("cell_type_id", "VARCHAR"),
    TableColumn("cell_type", "VARCHAR"),
    TableColumn("n_cells", "BIGINT"),
    TableColumn("n_expressing", "BIGINT"),
    TableColumn("sum", "DOUBLE"),
    TableColumn("mean", "DOUBLE"),
    TableColumn("fraction", "DOUBLE"),
)

type Array = np.ndarray[Any, Any]


def write_expression(subject: Subject, scan: MatrixScan, sink: Sink) -> FileRecord:
    """Writes the table of what a scan of X found. Memory: the scan, and some blocks of rows.

    Raises InvalidSubmission for a damaged file.
    """
    # DuckDB is in the layer of the workers that convert; those that plan do without it.
    from celldock.formats.parquet import ParquetWriter

    with TemporaryDirectory(dir=sink.scratch, prefix="expression-") as folder, open_h5ad(subject.source) as file:
        genes = _genes(file, subject.header.var)
        types = list(_types(file, subject.header.obs, scan))
        local = Path(folder) / FILE
        with ParquetWriter(_COLUMNS, Path(folder), _GROUP_ROWS) as writer:
            for block in _blocks(scan, types):
                writer.append(_table(block, genes))
            writer.finish(local, _metadata(scan, len(types)))
        return sink.put(FILE, local)


@dataclass(frozen=True, slots=True)
class _CellType:
    """A row of the scan's table of groups, and what it stands for; all cells where `id` is None."""

    row: int
    id: str | None
    label: str | None
    cells: int


@dataclass(frozen=True, slots=True)
class _Genes:
    """The names of all genes, as `str` objects."""

    ids: Array
    names: Array


@dataclass(frozen=True, slots=True)
class _Rows:
    """The genes of some cell types: gene numbers, and for each its type, count and sum."""

    types: list[_CellType]
    genes: list[Array]
    counts: list[Array]
    sums: list[Array]


def _genes(file: H5adFile, var: FrameHeader) -> _Genes:
    blocks = [file.index(var, start, stop) for start, stop in iter_blocks(var.length, _TEXT_ROWS)]
    ids = np.concatenate([np.empty(0, object), *blocks])
    column = next((each for each in var.columns if each.name == _NAME), None)
    names = _texts(file, column, var.length) if column is not None else np.full(var.length, None, object)
    return _Genes(ids, names)


def _texts(file: H5adFile, column: ColumnHeader, rows: int) -> Array:
    """A column of texts; None where it has none, and everywhere in a column of anything else."""
    if column.kind not in ("categorical", "string"):
        return np.full(rows, None, object)
    labels = np.array([*map(str, file.categories(column).tolist()), None], dtype=object)
    blocks = [file.column(column, start, stop).values for start, stop in iter_blocks(rows, _TEXT_ROWS)]
    values = np.concatenate([np.empty(0, object if column.kind == "string" else np.int64), *blocks])
    return values if column.kind == "string" else labels[values]


def _types(file: H5adFile, obs: FrameHeader, scan: MatrixScan) -> Iterator[_CellType]:
    """All cells, then each cell type that has some."""
    yield _CellType(-1, None, None, scan.n_rows)
    columns = {column.name: column for column in obs.columns if column.kind == "categorical"}
    terms = columns.get(_TERM)
    if terms is None or scan.groups is None or terms.categories != scan.n_groups:
        return
    cells, labels = _labelled(file, obs, terms, columns.get(_LABEL))
    ids = file.categories(terms).tolist()
    for row in np.flatnonzero(cells).tolist():
        yield _CellType(row, str(ids[row]), labels[row], int(cells[row]))


def _labelled(
    file: H5adFile, obs: FrameHeader, terms: ColumnHeader, labels: ColumnHeader | None
) -> tuple[Array, Sequence[str | None]]:
    """How many cells each term has, and the label that stands beside it."""
    count = terms.categories or 0
    cells = np.zeros(count + 1, np.int64)
    beside = np.full(count + 1, -1, np.int64)
    for start, stop in iter_blocks(obs.length, _BLOCK_ROWS):
        codes = file.column(terms, start, stop).values.astype(np.int64)
        cells += np.bincount(codes + 1, minlength=count + 1)
        if labels is not None:
            beside[codes + 1] = file.column(labels, start, stop).values
    texts: list[str] = [*map(str, file.categories(labels).tolist())] if labels is not None else []
    labelled: list[int] = beside[1:].tolist()
    return cells[1:], [texts[code] if code >= 0 else None for code in labelled]


def _blocks(scan: MatrixScan, types: Sequence[_CellType]) -> Iterator[_Rows]:
    """The genes that have a value in each cell type, some types at a time."""
    held = _Rows([], [], [], [])
    size = 0
    for kind in types:
        totals = scan.genes if kind.row < 0 else scan.totals[kind.row : kind.row + 1].over_rows()
        genes = np.flatnonzero(totals.counts)
        held.types.append(kind)
        held.genes.append(genes)
        held.counts.append(totals.counts[genes])
        held.sums.append(totals.sums()[genes])
        size += len(genes)
        if size >= _BLOCK_ROWS:
            yield held
            held, size = _Rows([], [], [], []), 0
    if held.types:
        yield held


def _table(rows: _Rows, genes: _Genes) -> list[Array]:
    """One array for each of the columns."""
    lengths = [len(some) for some in rows.genes]
    numbers, counts, sums = (np.concatenate(some) for some in (rows.genes, rows.counts, rows.sums))

    def repeated(values: list[Any], dtype: Any) -> Array:
        each: Array = np.array(values, dtype=dtype)
        return np.repeat(each, lengths)

    cells = repeated([kind.cells for kind in rows.types], np.int64)
    return [
        genes.ids[numbers],
        genes.names[numbers],
        repeated([kind.id for kind in rows.types], object),
        repeated([kind.label for kind in rows.types], object),
        cells,
        counts,
        sums,
        sums / cells,
        counts / cells,
    ]


def _metadata(scan: MatrixScan, types: int) -> str:
    document = {
        "celldock": __version__,
        "matrix": scan.path,
        "cell_types": types - 1,
        "cell_types_left_out": scan.groups_left_out,
    }
    return canonical_json(document).decode("ascii")

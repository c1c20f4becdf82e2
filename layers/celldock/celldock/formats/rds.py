"""`rds`: R objects, written without R: `seurat.rds`, a Seurat object, and `sce.rds`, a SingleCellExperiment.

| of the file | Seurat | SingleCellExperiment |
|---|---|---|
| raw.X; X where there is no raw | assay `RNA`: `counts` | `counts` |
| X | assay `RNA`: `data` | `logcounts`, where there is a raw |
| obs, var | `meta.data`, `meta.features` | `colData`, `rowData` |
| obsm, dense | reductions, `X_` stripped | `reducedDims` |
| uns | `misc` | `metadata$uns` |
| what is left out, and why | `tools$celldock$omitted` | `metadata$celldock$omitted` |

Values keep their types where R has them; integers beyond R's become doubles, beyond those text.

A partition writes its share of the matrices as gzip members (`celldock.formats.rds_matrix`); assembling writes what
stands before, between and after them, and joins all. R has no matrix of more than 2³¹ − 1 non-zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from celldock.errors import NotFeasible
from celldock.formats.partitions import check_whole
from celldock.formats.protocol import Assembled, FileRecord, FormatPlan, Part, Partition, Prediction, Sink, Subject
from celldock.formats.rds_layout import layout_of
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.frames import iter_blocks
from celldock.h5ad.headers import Header, MatrixHeader

_ROW_STEP = 256
_PARTITION_VALUES = 20_000_000
# What a worker takes: a base, and a share for each non-zero or value that is read.
_BASE_SECONDS = 1.5
_VALUE_SECONDS = 2e-7
_DENSE_SECONDS = 1.5e-8
_CELL_SECONDS = 3e-6
_COLUMN_SECONDS = 1.5e-7
_CONVERT_MB = 420
_ASSEMBLE_MB = 350
# Compressed; no value takes more than it does plain.
_VALUE_BYTES = 12
_CELL_BYTES = 80
_MB = 1 << 20


class Rds:
    """The format `rds`; see the module."""

    name: str = "rds"
    version: str = "1"
    companion: str = ""

    def plan(self, header: Header, size: int) -> FormatPlan:
        """Partitions of about 20 million non-zeros; a single one unless both matrices are csr.

        Only a csr matrix says how many elements come before a row.
        """
        layout = layout_of(header)
        if layout.obstacle:
            return FormatPlan(self.name, self.version, False, layout.obstacle, ())
        rows = header.n_obs
        if all(matrix.encoding == "csr" for matrix in layout.matrices.values()):
            most = max(matrix.nnz or 0 for matrix in layout.matrices.values())
            count = max(1, -(-most // _PARTITION_VALUES))
            rows = -(-header.n_obs // count // _ROW_STEP) * _ROW_STEP or _ROW_STEP
        partitions = tuple(Partition(index, *span) for index, span in enumerate(iter_blocks(header.n_obs, rows)))
        return FormatPlan(self.name, self.version, True, "", partitions, layout.omitted)

    def predict(self, header: Header, planned: FormatPlan, size: int) -> tuple[Prediction, ...]:
        """The matrices of a partition are read in blocks and their pieces are in /tmp; so are obs and an embedding."""
        layout = layout_of(header)
        matrices = [*layout.matrices.values()]
        share = max((each.stop - each.start for each in planned.partitions), default=0) / max(1, header.n_obs)
        stored = [int(_stored(matrix) * share) for matrix in matrices]
        dense = sum(matrix.shape[0] * matrix.shape[1] for matrix in matrices if matrix.encoding == "dense")
        by_columns = [_stored(matrix) * 16 for matrix in matrices if matrix.encoding == "csc"]
        convert = Prediction(
            step=f"convert/{self.name}",
            seconds=round(_BASE_SECONDS + sum(stored) * _VALUE_SECONDS + dense * _DENSE_SECONDS, 1),
            memory_mb=_CONVERT_MB,
            scratch_mb=max((count * _VALUE_BYTES for count in stored), default=0) // _MB + sum(by_columns) // _MB,
            basis=f"{sum(stored):,} values of {len(stored)} matrices",
        )
        axes = sum(each.header.shape[1] for each in layout.reductions)
        spools = [each.header.shape[1] * np.dtype(each.header.dtype).itemsize for each in layout.reductions]
        columns = len(layout.obs) + axes
        assemble = Prediction(
            step=f"assemble/{self.name}",
            seconds=round(_BASE_SECONDS + header.n_obs * (_CELL_SECONDS + columns * _COLUMN_SECONDS), 1),
            memory_mb=_ASSEMBLE_MB + header.n_obs * 8 // _MB,
            scratch_mb=header.n_obs * (_CELL_BYTES + 8 * columns + max(spools, default=0)) // _MB,
            basis=f"{header.n_obs:,} cells, {columns:,} columns, {len(planned.partitions):,} parts to join",
        )
        return convert, assemble

    def convert(self, subject: Subject, partition: Partition, sink: Sink) -> Part:
        """Writes the partition's pieces. Raises NotFeasible for what R's matrices cannot hold."""
        from celldock.formats.rds_matrix import write_matrix
        from celldock.formats.rds_values import same_names

        header = subject.header
        layout = layout_of(header)
        if partition.start == 0 and layout.counts is not layout.data and layout.counts is not None:
            with open_h5ad(subject.source) as file:
                if header.raw_var is None or not same_names(file, header.var, header.raw_var):
                    raise NotFeasible(
                        "raw.var names other genes than var, or in another order; an assay has one set of genes.",
                        code="rds.raw_genes",
                        where="raw/var",
                    )
        files: list[FileRecord] = []
        with TemporaryDirectory(dir=sink.scratch, prefix="rds-") as folder:
            for name, matrix in layout.matrices.items():
                files += write_matrix(subject, name, matrix, partition, sink, Path(folder))
        return Part(partition, tuple(files))

    def assemble(self, subject: Subject, parts: Sequence[Part], sink: Sink) -> Assembled:
        """Writes the object around the parts' pieces. Raises ServiceFault unless the parts are obs, once.

        Raises NotFeasible where cells or genes share a name, and for text that R cannot hold.
        """
        from celldock.formats.rds_joining import write_objects
        from celldock.formats.rds_sce import single_cell_experiment
        from celldock.formats.rds_seurat import seurat

        partitions = [part.partition for part in parts]
        check_whole(self.name, partitions, subject.header.n_obs)
        with TemporaryDirectory(dir=sink.scratch, prefix="rds-") as folder, open_h5ad(subject.source) as file:
            makers = {"seurat.rds": seurat, "sce.rds": single_cell_experiment}
            return write_objects(file, subject.header, partitions, sink, Path(folder), makers)


def _stored(matrix: MatrixHeader) -> int:
    """Elements that are written, at most."""
    return matrix.nnz if matrix.nnz is not None else matrix.shape[0] * matrix.shape[1]

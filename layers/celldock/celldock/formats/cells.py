"""`cells`: obs with the embeddings as Parquet, the table that a browser, a notebook or a SQL client asks first.

`expression.parquet` beside it (`celldock.formats.expression`) says how strongly each gene is expressed in a cell type.

One file a partition, `part-00000.parquet` and so on, zstd; all have one schema, fixed by headers alone. Columns:

- `obs_id`: the index of obs.
- Each column of obs under its own name. Categories and strings are VARCHAR (Parquet itself keeps a dictionary; numbers
  used as categories become their text), booleans BOOLEAN, numbers keep their width (float16 becomes FLOAT). What is
  missing is NULL; NaN in a float column is a value and stays NaN.
- Each dense element of obsm as one column a dimension: `X_umap_0`, `X_umap_1`. Flat rather than a list, because readers
  fetch only the axes that they draw, get minimum and maximum from the footer, and decode flat numbers faster than
  lists (500,000 cells with two axes: pyarrow 1.5×, DuckDB 2.7×, hyparquet, which browsers use, 3.7×; two axes of
  fifty: DuckDB 25×).

Names that a reader who ignores case would take for one get a suffix. The key-value metadata `celldock` of each file is
a JSON document that maps columns back to the file and lists what was left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np

from celldock import __version__
from celldock.canonical import canonical_json
from celldock.formats.cells_layout import MAX_CATEGORIES, CellsLayout, layout_of
from celldock.formats.expression import write_expression
from celldock.formats.partitions import check_whole
from celldock.formats.protocol import Assembled, FormatPlan, Part, Partition, Prediction, Sink, Subject
from celldock.h5ad.file import H5adFile, open_h5ad
from celldock.h5ad.frames import iter_blocks
from celldock.h5ad.headers import ColumnHeader, Header

# The tile of the formats that hold matrices: partitions of all formats begin on it.
_ROW_STEP = 256
_PARTITION_ROWS = 500_000
_PARTITION_BYTES = 256_000_000
_BLOCK_ROWS = 65_536
_BLOCK_BYTES = 32_000_000
_GROUP_ROWS = 122_880
_GROUP_BYTES = 64_000_000
_GROUP_STEP = 2_048
# What a worker takes, measured by benchmarks/plan.py: a base, and a share for each value and each decoded byte.
_BASE_SECONDS = 1.0
_VALUE_SECONDS = 4e-7
_BASE_MB = 190
_BYTES_HELD = 2
_MB = 1 << 20

type Array = np.ndarray[Any, Any]


class Cells:
    """The format `cells`; see the module."""

    name: str = "cells"
    version: str = "2"
    companion: str = ""

    def plan(self, header: Header, size: int) -> FormatPlan:
        """Partitions of equal numbers of cells, of at most 500,000 cells and 256 MB decoded."""
        if header.n_obs < 1:
            return FormatPlan(self.name, self.version, False, "there are no cells", ())
        layout = layout_of(header)
        most = _rows_within(_PARTITION_BYTES, layout.row_bytes, _PARTITION_ROWS, _ROW_STEP)
        count = -(-header.n_obs // most)
        rows = _round_up(-(-header.n_obs // count), _ROW_STEP)
        blocks = enumerate(iter_blocks(header.n_obs, rows))
        partitions = tuple(Partition(index, start, stop) for index, (start, stop) in blocks)
        return FormatPlan(self.name, self.version, True, "", partitions, layout.omitted)

    def predict(self, header: Header, planned: FormatPlan, size: int) -> tuple[Prediction, ...]:
        """A block and a row group are in memory; the file, and what DuckDB puts aside, in /tmp."""
        layout = layout_of(header)
        rows = max((partition.stop - partition.start for partition in planned.partitions), default=0)
        decoded = rows * layout.row_bytes
        held = _BYTES_HELD * min(decoded, _BLOCK_BYTES + _GROUP_BYTES)
        columns = len(layout.columns)
        convert = Prediction(
            step=f"convert/{self.name}",
            seconds=round(_BASE_SECONDS + rows * columns * _VALUE_SECONDS, 1),
            memory_mb=_BASE_MB + held // _MB,
            scratch_mb=decoded // _MB,
            basis=f"{rows:,} rows of {columns:,} columns, {decoded:,} bytes",
        )
        parts = f"{len(planned.partitions):,} parts, taken as they are"
        return convert, Prediction(f"assemble/{self.name}", _BASE_SECONDS, _BASE_MB, 0, parts)

    def convert(self, subject: Subject, partition: Partition, sink: Sink) -> Part:
        """Writes the partition's file. Raises InvalidSubmission where the values contradict the header."""
        # DuckDB is in the layer of the workers that convert; those that plan do without it.
        from celldock.formats.parquet import ParquetWriter

        header = subject.header
        layout = layout_of(header)
        rows = _rows_within(_BLOCK_BYTES, layout.row_bytes, _BLOCK_ROWS, _ROW_STEP)
        group = _rows_within(_GROUP_BYTES, layout.row_bytes, _GROUP_ROWS, _GROUP_STEP)
        with TemporaryDirectory(dir=sink.scratch, prefix="cells-") as folder:
            local = Path(folder) / "part.parquet"
            with open_h5ad(subject.source) as file, ParquetWriter(layout.columns, Path(folder), group) as writer:
                labels = _Labels(file)
                for start, stop in iter_blocks(partition.stop - partition.start, rows):
                    begin, end = partition.start + start, partition.start + stop
                    writer.append(_read_block(file, header, layout, labels, begin, end))
                writer.finish(local, _metadata(layout, partition))
            return Part(partition, (sink.put(f"part-{partition.index:05d}.parquet", local),))

    def assemble(self, subject: Subject, parts: Sequence[Part], sink: Sink) -> Assembled:
        """All files of the parts, and the table of expression. Raises ServiceFault unless the parts are obs, once."""
        check_whole(self.name, [part.partition for part in parts], subject.header.n_obs)
        files = tuple(file for part in parts for file in part.files)
        scan = subject.scan() if subject.scan is not None else None
        found = scan.matrix(subject.header.x.path) if scan is not None and subject.header.x is not None else None
        return Assembled((*files, write_expression(subject, found, sink)) if found is not None else files)


class _Labels:
    """The categories of columns as text, followed by None; kept for the next blocks as long as there is room."""

    def __init__(self, file: H5adFile) -> None:
        self._file = file
        self._kept: dict[str, Array] = {}
        self._room = MAX_CATEGORIES

    def of(self, column: ColumnHeader) -> Array:
        found = self._kept.get(column.path)
        if found is None:
            found = np.array([*map(str, self._file.categories(column).tolist()), None], dtype=object)
            if len(found) <= self._room:
                self._kept[column.path] = found
                self._room -= len(found)
        return found


def _read_block(
    file: H5adFile, header: Header, layout: CellsLayout, labels: _Labels, start: int, stop: int
) -> list[Array]:
    """One array a column of the layout, rows [start, stop)."""
    arrays = [file.index(header.obs, start, stop)]
    arrays += [_read_obs(file, part.header, labels, start, stop) for part in layout.obs]
    for embedding in layout.embeddings:
        arrays.extend(file.array(embedding.header, start, stop).T)
    return arrays


def _read_obs(file: H5adFile, header: ColumnHeader, labels: _Labels, start: int, stop: int) -> Array:
    column = file.column(header, start, stop)
    if column.kind == "categorical":
        # The code of a missing value is -1, so it finds the None at the end.
        return labels.of(header)[column.values]
    if column.mask is None:
        return column.values
    if column.values.dtype == object:
        values = column.values.copy()
        values[column.mask] = None
        return values
    return cast(Array, np.ma.masked_array(column.values, mask=column.mask))


def _rows_within(budget: int, row_bytes: int, most: int, step: int) -> int:
    """Rows of `row_bytes` that fit the budget, at most `most`; a multiple of `step`, and never less than one."""
    return max(step, min(most, budget // row_bytes) // step * step)


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step


def _metadata(layout: CellsLayout, partition: Partition) -> str:
    document = {
        "format": Cells.name,
        "version": Cells.version,
        "celldock": __version__,
        "partition": asdict(partition),
        "index": layout.index.name,
        "obs": [
            {"column": part.column.name, "name": part.header.name, "kind": part.header.kind} for part in layout.obs
        ],
        "embeddings": [
            {"key": embedding.header.key, "columns": [column.name for column in embedding.columns]}
            for embedding in layout.embeddings
        ],
        "omitted": [asdict(omission) for omission in layout.omitted],
    }
    return canonical_json(document).decode("ascii")

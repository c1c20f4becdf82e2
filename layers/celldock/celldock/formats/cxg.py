"""`cxg`: the format of CELLxGENE Explorer, version 0.3.0: a group of TileDB arrays.

| array | |
|---|---|
| `X` | cells by genes, float32; sparse below a quarter of non-zeros, dense otherwise (`celldock.formats.cxg_matrix`) |
| `obs`, `var` | a column an attribute (`celldock.formats.cxg_frames`) |
| `emb/<name>` | a dense element of obsm each, `X_` stripped (`celldock.formats.cxg_embeddings`) |
| `cxg_group_metadata` | what the dataset says of itself, and what is left out (`celldock.formats.cxg_metadata`) |
| `uns` | an array of one zero, whose metadata `spatial` say where the image below the cells lies |

Beside the arrays, `deepzoom/` has that image, if there is one (`celldock.formats.spatial`).

A partition's rows of X are fragments of their own, sorted as TileDB keeps them, so that nothing is merged. They have
names that depend on the partition alone, and are seen once their commit files are there, which are stored last; what
makes arrays of them, and a CXG of the arrays, is stored when the artifact is assembled.

Specification: https://github.com/chanzuckerberg/single-cell-explorer, whose server reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from celldock.canonical import canonical_json
from celldock.errors import NotFeasible, ServiceFault
from celldock.formats.cxg_colors import category_colors
from celldock.formats.cxg_embeddings import FOLDER, make_embedding
from celldock.formats.cxg_frames import Fields, fields_of
from celldock.formats.cxg_layout import CxgLayout, is_sparse, layout_of
from celldock.formats.cxg_matrix import ROW_TILE, dense_fragments, dense_rows, matrix_schema, sparse_fragments
from celldock.formats.cxg_metadata import group_metadata, var_index
from celldock.formats.cxg_store import ArraySchema, Attribute, Dimension, LocalArray, put_group
from celldock.formats.partitions import check_whole
from celldock.formats.protocol import (
    Assembled,
    FileRecord,
    FormatPlan,
    Omission,
    Part,
    Partition,
    Prediction,
    Sink,
    Subject,
)
from celldock.formats.spatial import plan_spatial, spatial_of
from celldock.h5ad.file import H5adFile, open_h5ad
from celldock.h5ad.frames import iter_blocks
from celldock.h5ad.headers import Header, MatrixHeader
from celldock.h5ad.matrix import MatrixReader

_PARTITION_ROWS = ROW_TILE * 2000
_PARTITION_CELLS = 20_000_000
# Each partition reads a matrix by columns from end to end.
_PARTITION_CSC_CELLS = 200_000_000
_BUDGET = 1 << 27
_DEFAULT_LEVEL, _HIGHEST_LEVEL, _HIGHEST_EFFORT = 5, 22, 30
_UNS, _METADATA = "uns", "cxg_group_metadata"
_SPATIAL = "spatial"
# What a worker takes, measured on files of random counts: a base, and a share for each non-zero, value and cell.
_BASE_SECONDS = 1.5
_CELL_SECONDS = 2e-7
_VALUE_SECONDS = 4e-8
_FIELD_SECONDS = 4e-7
_TILE_SECONDS = 6e-3
_CONVERT_MB = 700
_ASSEMBLE_MB = 700
_CSC_BYTES = 16
_MB = 1 << 20


class Cxg:
    """The format `cxg`; see the module. `level` is that of zstd, 1 to 22: 22 takes twenty times as long as 5."""

    name: str = "cxg"
    version: str = "1"
    companion: str = ""

    def __init__(self, level: int = _DEFAULT_LEVEL) -> None:
        self._level = level
        # How much longer than at the default level X takes; measured at the highest.
        self._effort = max(1.0, _HIGHEST_EFFORT ** ((level - _DEFAULT_LEVEL) / (_HIGHEST_LEVEL - _DEFAULT_LEVEL)))

    def plan(self, header: Header, size: int) -> FormatPlan:
        """Partitions of equal numbers of cells, of about 20 million non-zeros, or of a dense fragment."""
        layout = layout_of(header)
        if layout.obstacle:
            return FormatPlan(self.name, self.version, False, layout.obstacle, ())
        rows = _partition_rows(_matrix(header))
        blocks = enumerate(iter_blocks(header.n_obs, rows))
        partitions = tuple(Partition(index, start, stop) for index, (start, stop) in blocks)
        spatial = plan_spatial(header)
        omitted = (*layout.omitted, *(spatial.omitted if spatial is not None else ()))
        return FormatPlan(self.name, self.version, True, "", partitions, omitted)

    def predict(self, header: Header, planned: FormatPlan, size: int) -> tuple[Prediction, ...]:
        """A fragment is in memory and in /tmp; all of a matrix by columns in /tmp as well; and obs, when assembled."""
        layout, x = layout_of(header), _matrix(header)
        largest = max((each.stop - each.start for each in planned.partitions), default=0)
        values = largest * x.shape[1]
        stored = values if x.nnz is None else x.nnz * largest // max(1, header.n_obs)
        by_columns = x.nnz or 0 if x.encoding == "csc" else 0
        read = stored * _CELL_SECONDS if x.nnz is not None else values * _VALUE_SECONDS
        convert = Prediction(
            step=f"convert/{self.name}",
            seconds=round(_BASE_SECONDS + read * self._effort + by_columns * _CELL_SECONDS, 1),
            memory_mb=_CONVERT_MB,
            scratch_mb=(min(stored, 2 * values) * 8 + by_columns * _CSC_BYTES) // _MB,
            basis=f"{largest:,} rows, {stored:,} values",
        )
        fields = header.n_obs * len(layout.obs) + header.n_vars * len(layout.var)
        spatial = plan_spatial(header)
        tiles = spatial.tiles if spatial is not None else 0
        coordinates = sum(int(np.prod(each.header.shape, dtype=object)) for each in layout.embeddings)
        assemble = Prediction(
            step=f"assemble/{self.name}",
            seconds=round(
                _BASE_SECONDS + fields * _FIELD_SECONDS + coordinates * _VALUE_SECONDS + tiles * _TILE_SECONDS, 1
            ),
            memory_mb=_ASSEMBLE_MB,
            scratch_mb=(fields * 8 + coordinates * 4) // _MB,
            basis=f"{fields:,} values of columns, {coordinates:,} coordinates, {tiles:,} tiles",
        )
        return convert, assemble

    def convert(self, subject: Subject, partition: Partition, sink: Sink) -> Part:
        """Writes the partition's fragments of X. Raises NotFeasible for values beyond float32.

        Memory: a fragment, and a block of rows, whatever the size of the partition.
        """
        x = _matrix(subject.header)
        sparse, time = _is_sparse(subject), partition.index + 1
        with TemporaryDirectory(dir=sink.scratch, prefix="cxg-") as folder:
            reader = MatrixReader(subject.source, subject.layout.matrices[x.path], budget=_BUDGET, scratch=Path(folder))
            array = LocalArray(Path(folder), "X", matrix_schema(x, sparse=sparse, level=self._level))
            if sparse:
                with closing(sparse_fragments(reader, partition.start, partition.stop)) as fragments:
                    for piece, batches in enumerate(fragments):
                        with array.fragment(time, str(piece)) as submit:
                            for batch in batches:
                                submit(batch)
            else:
                with closing(dense_fragments(reader, partition.start, partition.stop)) as bands:
                    for piece, (rows, values) in enumerate(bands):
                        with array.fragment(time, str(piece), rows) as submit:
                            submit([values])
            return Part(partition, tuple(array.put_fragments(sink)))

    def assemble(self, subject: Subject, parts: Sequence[Part], sink: Sink) -> Assembled:
        """All other arrays, and what makes a group of them, last.

        Raises ServiceFault unless the parts are obs, once, and NotFeasible if no embedding turns out to be one.
        """
        check_whole(self.name, [part.partition for part in parts], subject.header.n_obs)
        files = [record for part in parts for record in part.files]
        with TemporaryDirectory(dir=sink.scratch, prefix="cxg-") as folder, open_h5ad(subject.source) as file:
            local, header, layout = Path(folder), subject.header, layout_of(subject.header)
            omitted = [*layout.omitted]
            files += self._embeddings(file, layout, sink, local, omitted)
            x = matrix_schema(_matrix(header), sparse=_is_sparse(subject), level=self._level)
            files += LocalArray(local, "X", x).put_schema(sink)
            obs = fields_of(file, header.obs, layout.obs)
            files += self._frame("obs", obs, obs.index, sink, local)
            var = fields_of(file, header.var, layout.var)
            files += self._frame("var", var, var_index(file, header, var), sink, local)
            omitted += [*obs.omitted, *var.omitted]
            spatial = spatial_of(file, subject, sink, local)
            if spatial is not None:
                omitted += spatial.omitted
                files += spatial.records
            known = {} if spatial is None else {_SPATIAL: canonical_json(spatial.metadata).decode("ascii")}
            files += self._metadata(_UNS, known, sink, local)
            colors, without = category_colors(file, header)
            omitted += without
            files += self._metadata(_METADATA, group_metadata(file, header, colors, omitted), sink, local)
            files.append(put_group("", sink, local))
        return Assembled(tuple(files), tuple(omitted))

    def _frame(self, path: str, fields: Fields, index: str, sink: Sink, folder: Path) -> list[FileRecord]:
        array = LocalArray(folder, path, fields.schema(self._level))
        array.write_rows(fields.rows, fields.block, fields.read)
        array.set_metadata({"cxg_schema": fields.hints(index)})
        return [*array.put_all(sink)]

    def _embeddings(
        self, file: H5adFile, layout: CxgLayout, sink: Sink, folder: Path, omitted: list[Omission]
    ) -> list[FileRecord]:
        files: list[FileRecord] = []
        for embedding in layout.embeddings:
            array = make_embedding(file, embedding, folder, self._level)
            if isinstance(array, str):
                omitted.append(Omission(embedding.header.path, array))
            else:
                files += array.put_all(sink)
        if not files:
            raise NotFeasible("there is no embedding of finite coordinates", code="cxg.embeddings", where="obsm")
        return [*files, put_group(FOLDER, sink, folder)]

    def _metadata(self, path: str, entries: dict[str, str], sink: Sink, folder: Path) -> list[FileRecord]:
        """An array of one zero, which is there for its metadata: TileDB's groups had none once."""
        schema = ArraySchema((Dimension(1, 1),), (Attribute("", np.dtype(np.float64)),), self._level)
        array = LocalArray(folder, path, schema)
        array.write_rows(1, 1, lambda _start, _stop: [np.zeros(1)])
        if entries:
            array.set_metadata(entries)
        return [*array.put_all(sink)]


def _matrix(header: Header) -> MatrixHeader:
    if header.x is None:
        raise ServiceFault("a file without X was planned", code="cxg.plan", where=Cxg.name)
    return header.x


def _is_sparse(subject: Subject) -> bool:
    """Asks the scan only where the header does not tell; all workers have the same one."""
    x = _matrix(subject.header)
    if x.nnz is not None or subject.scan is None:
        return is_sparse(x, None)
    found = subject.scan().matrix(x.path)
    return is_sparse(x, found.nonzeros if found is not None else None)


def _partition_rows(x: MatrixHeader) -> int:
    rows, genes = x.shape
    if x.nnz is None or not is_sparse(x, None):
        return min(_PARTITION_ROWS, dense_rows(genes))
    cells = _PARTITION_CSC_CELLS if x.encoding == "csc" else _PARTITION_CELLS
    count = -(-rows // max(1, min(_PARTITION_ROWS, cells * rows // max(1, x.nnz))))
    return -(-rows // count // ROW_TILE) * ROW_TILE

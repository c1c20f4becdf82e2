"""The CXG of an h5ad file by the algorithm of CELLxGENE's own portal: what `benchmarks.formats` sets celldock's beside.

    ENVIRONMENT/bin/python benchmarks/portal_cxg.py FILE.h5ad OUT.cxg [--rows 7500]

It prints one JSON document: the CPU seconds of each stage, and the highest resident set. It needs the portal's
libraries, which want other versions than celldock's, so it runs in an environment of its own and imports nothing of
celldock:

    uv venv --python 3.13 ENVIRONMENT
    uv pip install --python ENVIRONMENT/bin/python --compile-bytecode cellxgene-schema==7.1.2 tiledb

Written anew from what the portal does (github.com/chanzuckerberg/single-cell-data-portal, backend/layers/processing:
`h5ad_data_file.py`, `utils/cxg_generation_utils.py`, `utils/dask_utils.py`, `utils/matrix_utils.py`) and from the
format's description (single-cell-explorer, `dev_docs/cxg.md`):

- the matrix is read as a dask array in blocks of rows, with threads, and its non-zeros are counted: one pass;
- each block is one unordered write to an array of tiles 256 × 2048, column by column, all of it zstd at level 22;
- obs and var at level 22, embeddings at the default level; each of these arrays is consolidated;
- the matrix's fragments are consolidated, by at most ten at once, and the old ones vacuumed.

What costs nothing in comparison is left out: colours, corpora properties, spatial data.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tiledb
from scipy import sparse

# celldock's own environment has neither.
dask: Any = import_module("dask")
schema_utils: Any = import_module("cellxgene_schema.utils")

_LEVEL = 22
_OBS_TILE, _VAR_TILE, _FRAME_TILE = 256, 2048, 1000
_CAPACITY = 1_024_000
_SPARSE_BELOW = 0.25
_CATEGORIES_AT_MOST = 0.75  # of the rows; a column of more different strings is stored as strings
_THREADS = 2
_INDEX = np.dtype(np.uint32)
_CONTEXT = {"sm.consolidation.step_min_frags": 2, "sm.consolidation.step_max_frags": 20, "py.deduplicate": True}
_CONSOLIDATION = {
    "sm.consolidation.buffer_size": 1 << 30,
    "sm.consolidation.steps_size_ratio": 0.1,
    "sm.consolidation.step_min_frags": 2,
    "sm.consolidation.step_max_frags": 10,
    "sm.memory_budget": 2 << 30,
}


class Stages:
    """CPU seconds of this process, all of its threads, by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        begun = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - begun


class BlockWriter:
    """What dask stores the blocks of a sparse matrix into: one write, and so one fragment, a block."""

    def __init__(self, uri: str, ctx: tiledb.Ctx) -> None:
        self._uri = uri
        self._ctx = ctx

    def __setitem__(self, place: tuple[slice, slice], block: sparse.spmatrix) -> None:
        cells = sparse.coo_matrix(block)
        first = place[0].start or 0
        with tiledb.open(self._uri, "w", ctx=self._ctx) as array:
            array[cells.row + first, cells.col] = cells.data.astype(np.float32, copy=False)


def write_cxg(path: Path, out: Path, rows: int) -> dict[str, float]:
    """Writes the CXG of `path` to `out`; returns the CPU seconds of its stages."""
    stages, ctx = Stages(), tiledb.Ctx(tiledb.Config(_CONTEXT))
    with stages.stage("open"):
        data = schema_utils.read_h5ad(str(path), chunk_size=rows)
    with stages.stage("frames"):
        tiledb.group_create(str(out), ctx=ctx)
        write_metadata(str(out / "cxg_group_metadata"), path.stem)
        for name, frame in (("obs", data.obs), ("var", data.var)):
            write_frame(str(out / name), frame.rename_axis("name_0").reset_index(), ctx)
        tiledb.group_create(str(out / "emb"), ctx=ctx)
        for key, values in data.obsm.items():
            write_array(str(out / "emb" / key.removeprefix("X_")), np.asarray(values), ctx)
    uri = str(out / "X")
    with dask.config.set(scheduler="threads", num_workers=_THREADS):
        with stages.stage("count"):
            few = count_nonzero(data.X) < _SPARSE_BELOW * data.n_obs * data.n_vars
        with stages.stage("X"):
            write_matrix(uri, data.X, ctx, encode_sparse=few)
    with stages.stage("consolidate"):
        tiledb.consolidate(uri, ctx=ctx, config=tiledb.Config(_CONSOLIDATION))
        tiledb.vacuum(uri)
    return stages.seconds


def count_nonzero(matrix: Any) -> int:
    """Non-zeros of a dask array, whatever its blocks are."""

    def count(block: Any) -> np.ndarray:
        return np.array([[block.count_nonzero() if sparse.issparse(block) else np.count_nonzero(block)]])

    counts = matrix.map_blocks(count, chunks=((1,) * matrix.numblocks[0], (1,) * matrix.numblocks[1]), dtype=np.int64)
    return int(counts.sum().compute())


def write_matrix(uri: str, matrix: Any, ctx: tiledb.Ctx, *, encode_sparse: bool) -> None:
    """X, as a sparse array of fragments that overlap, or as a dense one."""
    coordinates = tiledb.FilterList([tiledb.ByteShuffleFilter(), tiledb.ZstdFilter(_LEVEL)])
    values = tiledb.FilterList([tiledb.ZstdFilter(_LEVEL)])
    dimensions = [
        tiledb.Dim(name, domain=(0, size - 1), tile=min(size, tile), dtype=_INDEX, filters=coordinates)
        for name, size, tile in zip(("obs", "var"), matrix.shape, (_OBS_TILE, _VAR_TILE), strict=True)
    ]
    further = {"allows_duplicates": True, "capacity": _CAPACITY} if encode_sparse else {}
    schema = tiledb.ArraySchema(
        tiledb.Domain(*dimensions),
        attrs=[tiledb.Attr(dtype=np.dtype(np.float32), filters=values)],
        sparse=encode_sparse,
        cell_order="row-major",
        tile_order="col-major",
        **further,
    )
    tiledb.Array.create(uri, schema)
    if encode_sparse:
        blocks = matrix if sparse.issparse(matrix._meta) else matrix.map_blocks(sparse.csr_matrix)
        blocks.store(BlockWriter(uri, ctx), lock=False, compute=True)
        return
    plain = matrix.map_blocks(
        lambda block: (block.toarray() if sparse.issparse(block) else block).astype(np.float32),
        dtype=np.float32,
        meta=np.empty((0, 0), np.float32),
    )
    with tiledb.open(uri, "w", ctx=ctx) as array:
        plain.to_tiledb(array, storage_options={"ctx": ctx})


def write_frame(uri: str, frame: pd.DataFrame, ctx: tiledb.Ctx) -> None:
    """obs or var: an attribute a column, categories as codes beside their names in the metadata."""
    filters = tiledb.FilterList([tiledb.ZstdFilter(_LEVEL)])
    columns: dict[str, np.ndarray] = {}
    hints: dict[str, Any] = {"index": "name_0"}
    for name, column in frame.items():
        columns[str(name)], hints[str(name)] = encode_column(column)
    attributes = [
        tiledb.Attr(name, dtype=np.dtype("U") if values.dtype == object else values.dtype, filters=filters)
        for name, values in columns.items()
    ]
    _create(uri, (len(frame),), attributes)
    with tiledb.open(uri, "w", ctx=ctx) as array:
        array[:] = columns
        array.meta["cxg_schema"] = json.dumps(hints)
    tiledb.consolidate(uri, ctx=ctx)


def encode_column(column: pd.Series) -> tuple[np.ndarray, dict[str, Any]]:
    """A column's values as CXG stores them, and what its schema says of them."""
    kind = column.dtype.kind
    if isinstance(column.dtype, pd.CategoricalDtype):
        found = pd.Categorical(column.astype(str))
        if len(found.categories) <= _CATEGORIES_AT_MOST * len(column):
            return found.codes, {"type": "categorical", "categories": list(found.categories)}
    elif kind == "b":
        return column.to_numpy(np.uint8), {"type": "boolean"}
    elif kind in "iu":
        return column.to_numpy(np.int32), {"type": "int32"}
    elif kind == "f":
        return column.to_numpy(np.float32), {"type": "float32"}
    return column.astype(str).to_numpy(object), {"type": "string"}


def write_array(uri: str, values: np.ndarray, ctx: tiledb.Ctx) -> None:
    """An embedding."""
    _create(uri, values.shape, [tiledb.Attr(dtype=values.dtype, filters=tiledb.FilterList([tiledb.ZstdFilter()]))])
    with tiledb.open(uri, "w", ctx=ctx) as array:
        array[:] = values
    tiledb.consolidate(uri, ctx=ctx)


def write_metadata(uri: str, title: str) -> None:
    """The array that holds what is known of the whole."""
    tiledb.from_numpy(uri, np.zeros(1)).close()
    with tiledb.open(uri, "w") as array:
        array.meta["cxg_version"] = "0.3.0"
        array.meta["cxg_properties"] = json.dumps({"title": title, "about": None})


def _create(uri: str, shape: tuple[int, ...], attributes: list[tiledb.Attr]) -> None:
    dimensions = [
        tiledb.Dim(f"d{axis}", domain=(0, size - 1), tile=min(size, _FRAME_TILE), dtype=_INDEX)
        for axis, size in enumerate(shape)
    ]
    tiledb.Array.create(uri, tiledb.ArraySchema(tiledb.Domain(*dimensions), attrs=attributes, sparse=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path, help="a folder that is not there yet")
    parser.add_argument("--rows", type=int, default=7_500, help="of a block")
    arguments = parser.parse_args()
    begun = time.perf_counter()
    stages = write_cxg(arguments.file, arguments.out, arguments.rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    size = sum(file.stat().st_size for file in arguments.out.rglob("*") if file.is_file())
    print(json.dumps({"stages": stages, "wall": time.perf_counter() - begun, "peak": peak, "bytes": size}))


if __name__ == "__main__":
    main()

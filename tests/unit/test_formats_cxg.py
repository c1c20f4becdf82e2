"""tiledb-py finds in a CXG the X that AnnData reads from the file, wherever it is cut and whatever worker dies."""

from __future__ import annotations

import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import tiledb
from scipy import sparse

from celldock.errors import NotFeasible, ServiceFault
from celldock.formats import cxg, cxg_matrix, cxg_store
from celldock.formats.cxg import Cxg
from celldock.formats.protocol import FileRecord, Partition
from celldock.formats.sink import LocalSink
from tests.builders import make_anndata, make_counts, make_h5ad
from tests.cxg_reading import CXG, CxgReader, convert, make_cxg
from tests.scanning import scanned
from tests.subjects import sink_of, subject_of


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 4 by 3 cells and fragments of some 20; TileDB itself looks whether cells come in its order."""
    monkeypatch.setattr(cxg_matrix, "ROW_TILE", 4)
    monkeypatch.setattr(cxg_matrix, "COLUMN_TILE", 3)
    monkeypatch.setattr(cxg_matrix, "FRAGMENT_CELLS", 20)
    monkeypatch.setattr(cxg_matrix, "FRAGMENT_VALUES", 80)
    monkeypatch.setattr(cxg_matrix, "_BATCH_CELLS", 7)
    monkeypatch.setattr("celldock.scan.rows.TILE", 16)
    monkeypatch.setattr(cxg_store, "_CONFIG", cxg_store._CONFIG | {"sm.check_global_order": "true"})


def unsorted_rows(n_obs: int, n_vars: int) -> sparse.csr_matrix:
    """Rows of falling columns, one of them twice, and zeros that are stored."""
    columns = np.tile(np.array([7, 3, 3, 0]), n_obs)
    data = np.tile(np.array([1, 0.25, 2, 0], np.float32), n_obs)
    return sparse.csr_matrix((data, columns, np.arange(n_obs + 1) * 4), shape=(n_obs, n_vars))


def wide_indices(n_obs: int, n_vars: int) -> sparse.csr_matrix:
    counts = sparse.csr_matrix(few_counts(n_obs, n_vars))
    counts.indices, counts.indptr = counts.indices.astype(np.int64), counts.indptr.astype(np.int64)
    return counts


def few_counts(n_obs: int, n_vars: int) -> np.ndarray:
    return make_counts(n_obs, n_vars, 0.1)


MATRICES: dict[str, Callable[[int, int], Any]] = {
    "csr": lambda n_obs, n_vars: sparse.csr_matrix(few_counts(n_obs, n_vars)),
    "csr, much": lambda n_obs, n_vars: sparse.csr_matrix(make_counts(n_obs, n_vars, 2)),
    "csr, unsorted": unsorted_rows,
    "csr, wide indices": wide_indices,
    "csr, nothing": lambda n_obs, n_vars: sparse.csr_matrix((n_obs, n_vars), dtype=np.float32),
    "csc, float64": lambda n_obs, n_vars: sparse.csc_matrix(np.log1p(few_counts(n_obs, n_vars)).astype(np.float64)),
    "csc, integers": lambda n_obs, n_vars: sparse.csc_matrix(make_counts(n_obs, n_vars, 2).astype(np.int64)),
    "dense": lambda n_obs, n_vars: make_counts(n_obs, n_vars, 2),
}
SAMPLE = {"csr, unsorted", "csc, float64", "dense"}
DENSE = {"csr, much", "csc, integers", "dense"}


def write_h5ad(path: Path, x: Any) -> Path:
    data = make_anndata(n_obs=x.shape[0], n_vars=x.shape[1], raw=False)
    data.X = x
    data.write_h5ad(path)
    return path


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize(
    "kind", [kind if kind in SAMPLE else pytest.param(kind, marks=pytest.mark.long) for kind in MATRICES]
)
def test_every_matrix_comes_back_however_it_is_cut(kind: str, tmp_path: Path) -> None:
    x = MATRICES[kind](30, 20)
    h5ad = write_h5ad(tmp_path / "a.h5ad", x)

    files = make_cxg(h5ad, tmp_path / "cxg", [4, 16])

    found = CxgReader(tmp_path / "cxg")
    assert found.is_sparse == (kind not in DENSE)
    np.testing.assert_array_equal(found.x, np.asarray(x.astype(np.float32).todense() if sparse.issparse(x) else x))
    assert found.fragments >= 3 or kind == "csr, nothing"
    assert tiledb.object_type(str(tmp_path / "cxg")) == tiledb.object_type(str(tmp_path / "cxg" / "emb")) == "group"
    assert files[-1].path == "__tiledb_group.tdb"


def test_a_dense_matrix_of_few_values_is_sparse_if_the_scan_found_that(tmp_path: Path) -> None:
    h5ad = write_h5ad(tmp_path / "a.h5ad", few_counts(300, 10))
    scan = partial(scanned, h5ad, tmp_path)

    make_cxg(h5ad, tmp_path / "cxg", [256], scan)

    assert CxgReader(tmp_path / "cxg").is_sparse
    np.testing.assert_array_equal(CxgReader(tmp_path / "cxg").x, few_counts(300, 10))


def test_a_single_cell(tmp_path: Path) -> None:
    make_cxg(write_h5ad(tmp_path / "a.h5ad", sparse.csr_matrix(few_counts(1, 10))), tmp_path / "cxg")

    found = CxgReader(tmp_path / "cxg")
    np.testing.assert_array_equal(found.x, few_counts(1, 10))
    assert found.frame("obs")["name_0"] == ["cell-0000"]


def test_another_process_writes_the_same_files_again(tmp_path: Path) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=300)
    files = make_cxg(h5ad, tmp_path / "cxg", [256])
    (tmp_path / "again").mkdir()
    script = (
        "import sys; from pathlib import Path; from tests.cxg_reading import make_cxg\n"
        "for file in make_cxg(Path(sys.argv[1]), Path(sys.argv[2]), [256]): print(file)"
    )

    again = subprocess.run(
        [sys.executable, "-c", script, str(h5ad), str(tmp_path / "again")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
    )

    assert again.stdout.splitlines() == [str(file) for file in files]


class DyingSink(LocalSink):
    """A sink whose worker dies before it stores more than the first few files."""

    def __init__(self, sink: LocalSink, folder: Path, left: int) -> None:
        super().__init__(folder, sink.scratch)
        self._left = threading.Semaphore(left)

    def put(self, path: str, local: Path) -> FileRecord:
        if not self._left.acquire(blocking=False):
            raise ServiceFault("killed", code="test.killed")
        return super().put(path, local)


@pytest.mark.parametrize("density", [0.1, pytest.param(2, marks=pytest.mark.long)])
def test_what_a_dead_worker_leaves_is_not_seen_and_the_next_one_mends_it(density: float, tmp_path: Path) -> None:
    x = make_counts(600, 10, density)
    h5ad = write_h5ad(tmp_path / "a.h5ad", sparse.csr_matrix(x))
    subject, parts = convert(h5ad, tmp_path / "cxg", [256])
    files = CXG.assemble(subject, parts, sink_of(tmp_path / "cxg")).files
    first = x.copy()
    first[256:] = 0

    for stored in range(len(parts[1].files)):
        for file in parts[1].files:
            (tmp_path / "cxg" / file.path).unlink()
        sink = DyingSink(sink_of(tmp_path / "cxg"), tmp_path / "cxg", stored)
        with pytest.raises(ServiceFault, match="killed"):
            CXG.convert(subject, parts[1].partition, sink)

        np.testing.assert_array_equal(np.nan_to_num(CxgReader(tmp_path / "cxg").x), first)
        assert CXG.convert(subject, parts[1].partition, sink_of(tmp_path / "cxg")) == parts[1]
        np.testing.assert_array_equal(CxgReader(tmp_path / "cxg").x, x)
    (tmp_path / "cxg" / files[-1].path).unlink()
    for left in (0, len(files) - sum(len(part.files) for part in parts) - 1):
        with pytest.raises(ServiceFault, match="killed"):
            CXG.assemble(subject, parts, DyingSink(sink_of(tmp_path / "cxg"), tmp_path / "cxg", left))
        assert tiledb.object_type(str(tmp_path / "cxg")) is None
    assert CXG.assemble(subject, parts, sink_of(tmp_path / "cxg")).files == files
    assert tiledb.object_type(str(tmp_path / "cxg")) == "group"


@pytest.mark.long
@pytest.mark.parametrize("density", [0.1, 2])
def test_what_tiledb_merges_stays_correct(density: float, tmp_path: Path) -> None:
    x = make_counts(1100, 10, density)
    make_cxg(write_h5ad(tmp_path / "a.h5ad", sparse.csr_matrix(x)), tmp_path / "cxg", [256, 512])
    found = CxgReader(tmp_path / "cxg")
    obs = found.frame("obs")

    for path in ("X", "obs"):
        tiledb.consolidate(str(tmp_path / "cxg" / path))
        tiledb.vacuum(str(tmp_path / "cxg" / path))

    assert found.fragments == 1
    np.testing.assert_array_equal(found.x, x)
    assert found.frame("obs") == obs


def test_values_beyond_float32_make_the_file_infeasible(tmp_path: Path) -> None:
    x = sparse.csr_matrix(few_counts(20, 10).astype(np.float64))
    x.data[0] = 1e39

    with pytest.raises(NotFeasible):
        convert(write_h5ad(tmp_path / "a.h5ad", x), tmp_path / "cxg")


def test_infinities_stay_and_what_float32_takes_for_zero_goes(tmp_path: Path) -> None:
    x = sparse.csr_matrix(np.eye(20, 10))
    x.data[:3] = [np.inf, 1e-60, np.nan]

    make_cxg(write_h5ad(tmp_path / "a.h5ad", x), tmp_path / "cxg")

    found = CxgReader(tmp_path / "cxg").x
    np.testing.assert_array_equal(found[:3, :3], np.diag([np.inf, 0, np.nan]))


def test_no_gene_or_cell_is_lost_where_tiles_of_the_real_size_end(tmp_path: Path) -> None:
    x = sparse.random(600, 4100, density=0.01, format="csr", dtype=np.float32, rng=np.random.default_rng(1))
    x.data[:] = np.arange(1, len(x.data) + 1)
    data = anndata.AnnData(x)
    data.obsm["X_umap"] = np.zeros((600, 2), np.float32)
    data.write_h5ad(tmp_path / "a.h5ad")

    make_cxg(tmp_path / "a.h5ad", tmp_path / "cxg", [512])

    np.testing.assert_array_equal(CxgReader(tmp_path / "cxg").x, x.toarray())
    with CxgReader(tmp_path / "cxg").open("X") as array:
        schema = array.schema
    assert [(axis.name, int(axis.tile)) for axis in schema.domain] == [("obs", 256), ("var", 2048)]
    assert (schema.cell_order, schema.tile_order, schema.capacity) == ("row-major", "col-major", 1_024_000)
    assert schema.attr(0).dtype == np.float32


def test_plans_cut_by_what_a_worker_holds_and_say_what_cannot_be(tmp_path: Path) -> None:
    header = subject_of(make_h5ad(tmp_path / "a.h5ad", n_obs=3)).header
    assert header.x is not None
    x = replace(header.x, shape=(1_000_000, 30_000), nnz=2_000_000_000)
    obsm = tuple(replace(array, shape=(1_000_000, 2)) for array in header.obsm)
    large = replace(header, n_obs=1_000_000, x=x, obsm=obsm)

    def sizes(**changed: Any) -> list[int]:
        partitions = CXG.plan(replace(large, x=replace(x, **changed)), 0).partitions
        assert (partitions[0].start, partitions[-1].stop) == (0, 1_000_000)
        assert all(part.start % 256 == 0 for part in partitions)
        return [part.stop - part.start for part in partitions[:-1]]

    assert set(sizes()) == {10240}
    assert set(sizes(encoding="csc")) == {100_096}
    assert set(sizes(encoding="dense", nnz=None)) == set(sizes(nnz=8_000_000_000)) == {1280}
    for found in (None, replace(header.x, shape=(3, 0)), replace(header.x, dtype="complex64")):
        planned = CXG.plan(replace(header, x=found), 0)
        assert not planned.feasible
        assert planned.reason
    assert "embedding" in CXG.plan(replace(header, obsm=()), 0).reason
    rounded = CXG.plan(replace(header, x=replace(header.x, dtype="float64")), 0)
    assert [item.where for item in rounded.omitted] == ["X"]


def test_predictions_fit_a_worker(tmp_path: Path) -> None:
    header = subject_of(make_h5ad(tmp_path / "a.h5ad", n_obs=3)).header
    assert header.x is not None
    header = replace(header, x=replace(header.x, nnz=20_000_000))

    steps = CXG.predict(header, CXG.plan(header, 0), 0)

    assert Cxg(22).predict(header, CXG.plan(header, 0), 0)[0].seconds > 10 * steps[0].seconds
    assert [step.step for step in steps] == ["convert/cxg", "assemble/cxg"]
    assert all(0 < step.memory_mb < 1769 and step.seconds > 0 for step in steps)


def test_an_artifact_consists_of_all_parts_and_of_nothing_less(tmp_path: Path) -> None:
    subject, parts = convert(make_h5ad(tmp_path / "a.h5ad", n_obs=9), tmp_path / "cxg", [2, 5])

    for incomplete in ([], parts[:2], parts[1:], [parts[0], parts[2]], [parts[1], parts[0], parts[2]], parts + parts):
        with pytest.raises(ServiceFault):
            CXG.assemble(subject, incomplete, sink_of(tmp_path / "cxg"))


def test_stronger_compression_is_an_option(tmp_path: Path) -> None:
    subject = subject_of(write_h5ad(tmp_path / "a.h5ad", sparse.csr_matrix(few_counts(2000, 40))))
    sizes = []
    for level in (1, 19):
        part = Cxg(level).convert(subject, Partition(0, 0, 2000), sink_of(tmp_path / f"cxg-{level}"))
        sizes.append(sum(file.bytes for file in part.files))

    assert sizes[1] < sizes[0]


def test_memory_does_not_grow_with_the_partition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n_obs, genes = 20_000, np.arange(0, 1000, 20)
    columns, rows = np.tile(genes, n_obs), np.arange(n_obs + 1) * len(genes)
    data = anndata.AnnData(sparse.csr_matrix((np.ones(len(columns), np.float32), columns, rows), (n_obs, 1000)))
    data.obsm["X_umap"] = np.zeros((n_obs, 2), np.float32)
    data.write_h5ad(tmp_path / "a.h5ad", compression="gzip")
    subject = subject_of(tmp_path / "a.h5ad")
    monkeypatch.setattr("celldock.scan.rows.TILE", 10_000)
    monkeypatch.setattr(cxg_matrix, "FRAGMENT_CELLS", 50_000)
    monkeypatch.setattr(cxg_matrix, "_BATCH_CELLS", 10_000)
    monkeypatch.setattr(cxg, "_BUDGET", 1 << 21)
    tracemalloc.start()
    try:
        CXG.convert(subject, Partition(0, 0, n_obs), sink_of(tmp_path / "cxg"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < len(columns) * 12 / 2

"""Blocks of rows: equal to what SciPy holds however the matrix is stored, within the budget, and never wrong."""

from __future__ import annotations

import io
import threading
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from celldock.errors import InvalidSubmission, NotFeasible, ServiceFault, TransientError
from celldock.h5ad import transpose
from celldock.h5ad.hdf5.headers import header_of
from celldock.h5ad.hdf5.layouts import file_layout
from celldock.h5ad.layout import FileLayout, MatrixLayout
from celldock.h5ad.matrix import Block, MatrixReader, indptr_blocks, scratch_bytes
from celldock.h5ad.source import LocalSource
from tests.builders import make_h5ad
from tests.matrices import FILTERS, Stored, WatchedSource, layout_of, random_counts, saved, write_matrix

BUDGET = 32 * 1024


def joined(blocks: Iterable[Block], n_vars: int, start: int) -> sparse.csr_matrix:
    """The blocks, one below the other, with a check that they adjoin."""
    rows, nnz = start, 0
    pointers, indices, data = [np.zeros(1, np.int64)], [np.empty(0, np.int32)], [np.empty(0)]
    for block in blocks:
        assert block.start == rows, "no gap, no overlap"
        assert (block.indptr.dtype, block.indptr[0]) == (np.int64, 0)
        assert block.indices.dtype in (np.int32, np.int64)
        assert block.indptr[-1] == len(block.indices) == len(block.data)
        pointers.append(block.indptr[1:] + nnz)
        indices.append(block.indices)
        data.append(block.data)
        rows, nnz = rows + block.n_rows, nnz + len(block.data)
    # Set, not given: SciPy would look into them.
    matrix = sparse.csr_matrix((rows - start, n_vars))
    matrix.indptr, matrix.indices, matrix.data = map(np.concatenate, (pointers, indices, data))
    return matrix


storages = st.builds(
    Stored,
    encoding=st.sampled_from(["csr", "csc", "dense"]),
    data=st.sampled_from(["<f4", "<f8", "<f2", ">f4", "<i4", "<i8", "|u1", "<u2", ">i8", "|b1"]),
    indices=st.sampled_from(["<i4", "<i8", "<u2", ">i4", "<u8"]),
    indptr=st.sampled_from(["<i4", "<i8", ">i8", "<u4"]),
    chunks=st.one_of(st.none(), st.tuples(st.integers(1, 40), st.integers(1, 8))),
    filters=st.sampled_from(list(FILTERS)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stored=storages,
    shape=st.tuples(st.integers(1, 70), st.integers(1, 30)),
    density=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    bounds=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    budget=st.sampled_from([45_000, 128_000, 1 << 20]),
)
def test_blocks_are_the_rows_that_scipy_holds(
    tmp_path: Path,
    stored: Stored,
    shape: tuple[int, int],
    density: float,
    bounds: tuple[float, float],
    budget: int,
) -> None:
    rng = np.random.default_rng(5)
    matrix = random_counts(rng, shape, density, "csc" if stored.encoding == "csc" else "csr")
    # SciPy sorts a matrix in place when it sees fit.
    indptr, indices, data = (getattr(matrix, name).copy() for name in ("indptr", "indices", "data"))
    content, layout = saved(matrix.toarray() if stored.encoding == "dense" else matrix, stored)
    start, stop = sorted(int(bound * shape[0]) for bound in bounds)
    reader = MatrixReader(WatchedSource(content), layout, budget=budget, scratch=tmp_path)
    read = joined(reader.row_blocks(start, stop), reader.n_vars, start)
    as_read = read.copy()
    expected = matrix.toarray().astype(stored.data)[start:stop]
    np.testing.assert_array_equal(read.toarray(), expected)
    if stored.encoding == "csr":
        begin, end = indptr[start], indptr[stop]
        np.testing.assert_array_equal(as_read.indices, indices[begin:end], "as stored: unsorted rows stay so")
        np.testing.assert_array_equal(as_read.data, data[begin:end].astype(stored.data), "explicit zeros included")
    if stored.encoding == "csc":
        assert read.nnz == sum((indices >= start) & (indices < stop)), "explicit zeros included"
    if stored.encoding == "dense":
        assert read.nnz == np.count_nonzero(expected), "no zeros"


@pytest.mark.parametrize("x", ["csr", "csc", "dense"])
@pytest.mark.parametrize("compression", ["gzip", "lzf", None])
def test_files_that_anndata_writes_read_as_anndata_reads_them(tmp_path: Path, x: Any, compression: Any) -> None:
    layer = sparse.csr_matrix(np.arange(200).reshape(20, 10))
    path = make_h5ad(tmp_path / "x.h5ad", x=x, compression=compression, layers={"counts": layer})
    data = anndata.read_h5ad(path)
    with h5py.File(path) as file:
        layout = file_layout(file, header_of(file), ["obs/cell_type_ontology_term_id/codes"])
    layout = FileLayout.from_bytes(layout.to_bytes())
    expected = {"X": data.X, "raw/X": data.raw.X, "layers/counts": data.layers["counts"]}
    assert list(layout.matrices) == list(expected)
    for name, matrix in expected.items():
        reader = MatrixReader(LocalSource(path), layout.matrices[name], scratch=tmp_path)
        assert reader.dtype == matrix.dtype
        dense = matrix.toarray() if sparse.issparse(matrix) else matrix
        np.testing.assert_array_equal(joined(reader.row_blocks(), reader.n_vars, 0).toarray(), dense)


def test_nan_and_infinity_of_a_dense_matrix_are_kept() -> None:
    values = np.zeros((3, 4), np.float32)
    values[1, 2], values[2, 0] = np.nan, -np.inf
    content, layout = saved(values, Stored("dense", chunks=(2, 3)))
    (block,) = MatrixReader(WatchedSource(content), layout).row_blocks()
    np.testing.assert_array_equal(block.indptr, [0, 0, 1, 2])
    np.testing.assert_array_equal(block.indices, [2, 0])
    np.testing.assert_array_equal(block.data, np.array([np.nan, -np.inf], np.float32))


def test_a_matrix_without_values_has_empty_rows() -> None:
    content, layout = saved(sparse.csr_matrix((5, 3)), Stored())
    (block,) = MatrixReader(WatchedSource(content), layout).row_blocks()
    assert (block.n_rows, block.start, len(block.data)) == (5, 0, 0)


def test_rows_outside_of_the_matrix_are_a_mistake() -> None:
    content, layout = saved(sparse.csr_matrix((5, 3)), Stored())
    with pytest.raises(ValueError, match="do not lie within 5"):
        MatrixReader(WatchedSource(content), layout).row_blocks(0, 6)


# --- what is wrong with a matrix


def refusal(content: bytes, layout: MatrixLayout, **options: Any) -> InvalidSubmission:
    with pytest.raises(InvalidSubmission) as refused:
        list(MatrixReader(WatchedSource(content), layout, **options).row_blocks())
    return refused.value


def with_arrays(stored: Stored, **arrays: list[int]) -> tuple[bytes, MatrixLayout]:
    """A matrix of 4 rows and 3 columns whose arrays do not fit together."""
    matrix = sparse.csr_matrix(np.ones((4, 3)))
    if stored.encoding == "csc":
        matrix = sparse.csc_matrix(np.ones((4, 3)))
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        header = write_matrix(file, "X", matrix, stored)
        for name, values in arrays.items():
            file[f"X/{name}"][...] = values
    return buffer.getvalue(), layout_of(buffer.getvalue(), header)


@pytest.mark.parametrize(
    ("indptr", "position"),
    [
        ([1, 3, 6, 9, 12], 0),
        ([0, 6, 3, 9, 12], 2),
        ([0, 3, 6, 9, 11], 4),
        ([0, 3, 99, 9, 12], 2),
        ([0, -3, 6, 9, 12], 1),
    ],
)
def test_row_pointers_that_do_not_fit_are_refused_where_they_go_wrong(indptr: list[int], position: int) -> None:
    error = refusal(*with_arrays(Stored(), indptr=indptr))
    assert (error.code, error.where) == ("matrix.indptr_invalid", "X/indptr")
    assert f"position {position}" in error.message


def test_pointers_are_checked_across_the_parts_in_which_they_are_read() -> None:
    content, layout = with_arrays(Stored(), indptr=[0, 6, 3, 9, 12])
    with pytest.raises(InvalidSubmission) as refused:
        list(indptr_blocks(WatchedSource(content), layout, 1))
    assert refused.value.code == "matrix.indptr_invalid"


def test_pointers_come_in_parts_that_share_their_edge() -> None:
    content, layout = with_arrays(Stored())
    parts = [(first, pointers.tolist()) for first, pointers in indptr_blocks(WatchedSource(content), layout, 3)]
    assert parts == [(0, [0, 3, 6]), (2, [6, 9, 12])]


@pytest.mark.parametrize("encoding", ["csr", "csc"])
@pytest.mark.parametrize("value", [4, -1, 2**31 - 1])
def test_an_index_outside_of_the_matrix_is_refused(tmp_path: Path, encoding: Any, value: int) -> None:
    content, layout = with_arrays(Stored(encoding), indices=[0, 1, 2, 0, 1, 2, 0, value, 2, 0, 1, 2])
    error = refusal(content, layout, scratch=tmp_path)
    assert (error.code, error.where) == ("matrix.index_out_of_range", "X/indices")
    assert "position 7" in error.message


def test_an_index_beyond_int64_is_refused_and_not_wrapped_around() -> None:
    stored = Stored(indices="<u8")
    content, layout = with_arrays(stored, indices=[0, 1, 2, 2**64 - 1, 1, 2, 0, 1, 2, 0, 1, 2])
    assert refusal(content, layout).code == "matrix.index_out_of_range"


def test_a_row_larger_than_the_budget_is_refused_kindly() -> None:
    matrix = sparse.csr_matrix(np.ones((2, 3000)))
    error = refusal(*saved(matrix, Stored()), budget=BUDGET)
    assert (error.code, error.where) == ("matrix.row_too_large", "X")
    assert error.hint


def test_arrays_of_unequal_length_are_refused() -> None:
    content, layout = saved(sparse.csr_matrix(np.ones((4, 3))), Stored())
    short = replace(layout.arrays["indices"], shape=(11,))
    broken = MatrixLayout(layout.header, {**layout.arrays, "indices": short})
    assert refusal(content, broken).code == "file.damaged"


# --- columns to rows


def test_a_csc_matrix_needs_room_on_disk_that_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = sparse.csc_matrix(np.ones((50, 40), np.float32))
    content, layout = saved(matrix, Stored("csc"))
    assert scratch_bytes(layout) == 2000 * 12, "4 bytes each for row, column and value"
    assert scratch_bytes(saved(matrix.tocsr(), Stored())[1]) == 0
    with pytest.raises(ServiceFault):
        MatrixReader(WatchedSource(content), layout).row_blocks()
    usage = transpose.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(transpose.shutil, "disk_usage", lambda _: usage._replace(free=2000 * 12 - 1))
    with pytest.raises(NotFeasible, match="24,000 bytes of disk"):
        list(MatrixReader(WatchedSource(content), layout, scratch=tmp_path).row_blocks())


def test_nothing_stays_in_the_scratch_folder(tmp_path: Path) -> None:
    content, layout = saved(sparse.csc_matrix(np.ones((50, 40))), Stored("csc"))
    reader = MatrixReader(WatchedSource(content), layout, budget=BUDGET, scratch=tmp_path)
    for _ in reader.row_blocks():
        break
    list(reader.row_blocks())
    assert list(tmp_path.iterdir()) == []


# --- memory


@pytest.mark.parametrize(
    "stored",
    [
        Stored("csr", chunks=(8192,)),
        Stored("csr", chunks=(8192,), filters="gzip, shuffle, fletcher32", indices="<i8", data="<f8"),
        Stored("csr", chunks=None),
        Stored("csr", chunks=(500,), filters="none"),
        Stored("csc", data="<i8", chunks=(8192,)),
        Stored("dense", chunks=(100, 50)),
        Stored("dense", chunks=(300, 40)),
        Stored("dense", chunks=None),
        # Chunks that are unpacked on disk, or read where they lie.
        Stored("csr", chunks=(2_660_000,), filters="gzip, shuffle", indices="<i8"),
        pytest.param(Stored("csr", chunks=(900_000,), filters="gzip, shuffle, fletcher32"), marks=pytest.mark.long),
        Stored("csr", chunks=(900_000,), filters="none"),
        pytest.param(Stored("csc", data="<i8", chunks=(2_660_000,)), marks=pytest.mark.long),
        Stored("dense", chunks=(20_000, 400)),
        Stored("dense", chunks=(15_000, 300), filters="gzip, shuffle"),
    ],
    ids=str,
)
def test_a_matrix_twenty_times_the_budget_is_read_within_the_budget(tmp_path: Path, stored: Stored) -> None:
    budget = 1 << 20
    rng = np.random.default_rng(3)
    n_obs, n_vars = 20_000, 400
    values = rng.integers(1, 9, n_obs * n_vars // 3)
    indptr = np.arange(n_obs + 1) * (n_vars // 3)
    columns = np.concatenate([np.sort(rng.permutation(n_vars)[: n_vars // 3]) for _ in range(50)] * (n_obs // 50))
    matrix = sparse.csr_matrix((values[: len(columns)], columns, indptr), (n_obs, n_vars))
    if stored.encoding == "dense":
        matrix = matrix.toarray()
    content, layout = saved(matrix.tocsc() if stored.encoding == "csc" else matrix, stored)
    assert sum(array.nbytes for array in layout.arrays.values()) > 20 * budget
    total = matrix.sum()
    del matrix, values, columns
    source = WatchedSource(content)
    tracemalloc.start()
    try:
        reader = MatrixReader(source, layout, budget=budget, scratch=tmp_path)
        # As a caller does: the last block is still held while the next one is made.
        for block in reader.row_blocks():
            total -= block.data.sum(dtype=np.float64)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 0
    # Threads, futures and the lists of pieces are not counted by the reader.
    assert peak < budget + (1 << 18)


# --- reading little, and ending early


def test_every_chunk_is_fetched_once_though_blocks_end_within_it() -> None:
    rng = np.random.default_rng(5)
    matrix = random_counts(rng, (4000, 50), 0.5, "csr")
    content, layout = saved(matrix, Stored(chunks=(500,), filters="gzip"))
    source = WatchedSource(content)
    blocks = list(MatrixReader(source, layout, budget=1 << 18).row_blocks())
    assert len(blocks) > 10
    stored = sum(array.stored_bytes for array in layout.arrays.values())
    assert source.bytes_read < 1.06 * stored


def test_tall_and_wide_chunks_of_a_dense_matrix_are_not_fetched_for_every_block() -> None:
    rng = np.random.default_rng(5)
    values = rng.poisson(0.05, (400, 600)).astype(np.float32)
    content, layout = saved(values, Stored("dense", chunks=(200, 100)))
    source = WatchedSource(content)
    reader = MatrixReader(source, layout, budget=16 * 200 * 100 * 4)
    read = joined(reader.row_blocks(), 600, 0)
    np.testing.assert_array_equal(read.toarray(), values)
    assert source.bytes_read < 1.1 * layout.arrays["data"].stored_bytes


def test_a_part_of_the_rows_needs_a_part_of_the_bytes() -> None:
    matrix = random_counts(np.random.default_rng(5), (4000, 50), 0.5, "csr")
    content, layout = saved(matrix, Stored(chunks=(500,)))
    source = WatchedSource(content)
    list(MatrixReader(source, layout).row_blocks(1000, 1400))
    assert source.bytes_read < 0.15 * len(content)


def many_blocks(encoding: Any) -> tuple[bytes, MatrixLayout]:
    """A matrix of many chunks and, read with a budget of 1 MiB, of many blocks."""
    matrix = random_counts(np.random.default_rng(5), (4000, 50), 0.5, "csc" if encoding == "csc" else "csr")
    return saved(matrix.toarray() if encoding == "dense" else matrix, Stored(encoding, chunks=(200, 50)))


@pytest.mark.parametrize("encoding", ["csr", "csc", "dense"])
def test_a_fault_of_the_source_is_raised_as_it_was(tmp_path: Path, encoding: Any) -> None:
    content, layout = many_blocks(encoding)
    for short in (False, True):
        source = WatchedSource(content, fail_from=6, short=short)
        with pytest.raises(TransientError):
            list(MatrixReader(source, layout, budget=1 << 20, scratch=tmp_path).row_blocks())


def fetching_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("fetch")]


@pytest.mark.parametrize("encoding", ["csr", "csc", "dense"])
def test_an_iterator_that_is_closed_early_ends_its_threads(tmp_path: Path, encoding: Any) -> None:
    content, layout = many_blocks(encoding)
    source = WatchedSource(content, delay=0.001)
    blocks = MatrixReader(source, layout, budget=1 << 20, scratch=tmp_path).row_blocks()
    next(blocks)
    blocks.close()
    assert fetching_threads() == []

"""Scans of real files, read by ranges: what is found does not depend on the encoding that a file chose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from scipy import sparse

from celldock.h5ad.file import open_h5ad
from celldock.h5ad.matrix import MatrixReader
from celldock.h5ad.source import LocalSource
from celldock.scan import Defect, DefectKind, MatrixScan, scan_rows
from tests.builders import make_anndata

N_OBS, N_VARS = 300, 40


def counts() -> np.ndarray:
    matrix = np.random.default_rng(3).poisson(0.4, (N_OBS, N_VARS)).astype(np.float32)
    matrix[7] = 0
    matrix[11] = matrix[5]
    matrix[20, 3] = -1.5
    return matrix


def scan_x(path: Path, scratch: Path) -> MatrixScan:
    """The scan of X in two partitions, as two workers make it."""
    source = LocalSource(path)
    with open_h5ad(source) as file:
        layout = file.layout(file.header(), [])
    halves: list[MatrixScan] = []
    for start, stop in ((0, 100), (100, N_OBS)):
        reader = MatrixReader(source, layout.matrices["X"], scratch=scratch)
        blocks = reader.row_blocks(start, stop)
        halves.append(scan_rows(blocks, path="X", start=start, stop=stop, n_vars=reader.n_vars, keep_rows=True))
    first, second = halves
    first.merge(second)
    return first


def as_int64(matrix: np.ndarray) -> sparse.csr_matrix:
    stored = sparse.csr_matrix(matrix)
    stored.indptr, stored.indices = stored.indptr.astype(np.int64), stored.indices.astype(np.int64)
    return stored


def unsorted(matrix: np.ndarray) -> sparse.csr_matrix:
    stored = sparse.csr_matrix(matrix)
    for start, stop in zip(stored.indptr, stored.indptr[1:], strict=False):
        stored.indices[start:stop] = stored.indices[start:stop][::-1].copy()
        stored.data[start:stop] = stored.data[start:stop][::-1].copy()
    return stored


@pytest.mark.parametrize(
    ("encode", "compression"),
    [
        pytest.param(sparse.csr_matrix, "gzip", id="csr"),
        pytest.param(as_int64, "gzip", id="csr of 64 bits"),
        pytest.param(unsorted, "gzip", id="unsorted csr"),
        pytest.param(sparse.csc_matrix, "gzip", id="csc"),
        pytest.param(np.asarray, "gzip", id="dense"),
        pytest.param(lambda matrix: sparse.csr_matrix(matrix.astype(np.float64)), "gzip", id="csr of float64"),
        pytest.param(sparse.csr_matrix, None, id="uncompressed csr"),
    ],
)
def test_scan_of_a_file_finds_the_same_in_every_encoding(
    tmp_path: Path, encode: Callable[[np.ndarray], Any], compression: Any
) -> None:
    matrix = counts()
    data: anndata.AnnData = make_anndata(n_obs=N_OBS, n_vars=N_VARS, raw=False)
    data.X = encode(matrix)
    data.write_h5ad(tmp_path / "x.h5ad", compression=compression)

    found = scan_x(tmp_path / "x.h5ad", tmp_path)

    assert found.nonzeros == np.count_nonzero(matrix)
    assert (found.low, found.high) == (-1.5, matrix.max())
    assert found.genes.counts.tolist() == np.count_nonzero(matrix, axis=0).tolist()
    assert found.genes.sums().tolist() == matrix.sum(axis=0, dtype=np.float64).tolist()
    assert found.defects[DefectKind.NEGATIVE] == found.defects[DefectKind.NON_INTEGER] == Defect(1, 1, (20,))
    assert found.defects[DefectKind.EMPTY_ROW] == Defect(1, 1, (7,))
    assert found.rows is not None
    assert found.rows.nnz.tolist() == np.count_nonzero(matrix, axis=1).tolist()
    assert [group.tolist() for group in found.rows.duplicates()] == [[5, 11]]

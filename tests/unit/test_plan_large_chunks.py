"""Matrices that other programs stored as a few large chunks: planned, scanned, and within what a worker has."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy import sparse

from celldock.errors import InvalidSubmission
from celldock.h5ad.source import LocalSource
from celldock.plan import Planned, partitions, scan, scan_partition
from celldock.scan import MatrixScan
from tests.builders import MatrixKind, make_h5ad
from tests.scanning import planned, scanned

N_OBS, N_VARS = 1024, 20
PER_PARTITION = 16 * 256 + 256 * N_VARS
ENCODE: dict[str, Any] = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}
CELL_TYPES = ["CL:0000084", "CL:0000236"] * (N_OBS // 2)


@pytest.fixture(autouse=True)
def small_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that take 256 rows, and hold chunks of 4 KiB."""
    monkeypatch.setattr(partitions, "PARTITION_ELEMENTS", PER_PARTITION)
    monkeypatch.setattr(scan, "PARTITION_ELEMENTS", PER_PARTITION)
    monkeypatch.setattr("celldock.plan.scanning.BUDGET_BYTES", 1 << 16)
    monkeypatch.setattr("celldock.plan.prediction.BUDGET_BYTES", 1 << 16)
    monkeypatch.setattr(scan, "BUDGET_BYTES", 1 << 16)


def usual(path: Path, x: MatrixKind = "csr") -> Path:
    values = np.random.default_rng(1).integers(0, 5, (N_OBS, N_VARS)).astype(np.float32)
    return make_h5ad(
        path,
        n_obs=N_OBS,
        n_vars=N_VARS,
        x=None,
        raw=False,
        compression=None,
        layers={"counts": ENCODE[x](values)},
        obs={"cell_type_ontology_term_id": CELL_TYPES},
    )


def rechunked(path: Path, rows: int | None = None, **options: Any) -> Path:
    """Stores the arrays of the layer and the cell types anew, in chunks of so many rows, all by default."""
    with h5py.File(path, "r+") as file:
        names = [name for name in ("data", "indices", "indptr") if f"layers/counts/{name}" in file]
        paths = [f"layers/counts/{name}" for name in names] or ["layers/counts"]
        for each in (*paths, "obs/cell_type_ontology_term_id/codes"):
            values, attributes = file[each][()], dict(file[each].attrs)
            del file[each]
            chunks = (min(rows or len(values), len(values)), *values.shape[1:])
            file.create_dataset(each, data=values, chunks=chunks, **options).attrs.update(attributes)
    return path


def layer(plan: Planned) -> list[tuple[int, int]]:
    return [(part.start, part.stop) for part in plan.plan.scan.of("layers/counts")]


@pytest.mark.parametrize("x", ["csr", "csc", "dense"])
@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"compression": "gzip", "shuffle": True}, {}], ids=str)
def test_one_chunk_holds_the_same_as_many(tmp_path: Path, x: MatrixKind, options: dict[str, Any]) -> None:
    expected = scanned(usual(tmp_path / "a.h5ad", x), tmp_path).matrix("layers/counts")
    found = scanned(rechunked(usual(tmp_path / "b.h5ad", x), **options), tmp_path).matrix("layers/counts")
    assert expected is not None
    assert found is not None
    assert found.groups is not None
    assert found.to_bytes() == expected.to_bytes()


def test_rows_of_one_compressed_chunk_are_read_by_one_worker(tmp_path: Path) -> None:
    plan = planned(rechunked(usual(tmp_path / "a.h5ad"), compression="gzip"))
    assert layer(plan) == [(0, N_OBS)]


def test_rows_of_a_chunk_that_is_not_compressed_are_shared_among_workers(tmp_path: Path) -> None:
    plan = planned(rechunked(usual(tmp_path / "a.h5ad")))
    assert len(layer(plan)) > 2


def test_chunks_that_are_small_beside_a_partition_are_shared_too(tmp_path: Path) -> None:
    plan = planned(rechunked(usual(tmp_path / "a.h5ad"), 1500, compression="gzip"))
    assert len(layer(plan)) > 2
    (prediction,) = [each for each in plan.plan.predictions if each.step == "scan"]
    assert prediction.scratch_mb == 1


def test_pointers_in_one_chunk_do_not_keep_workers_apart(tmp_path: Path) -> None:
    path = usual(tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        values = file["layers/counts/indptr"][()]
        del file["layers/counts/indptr"]
        file.create_dataset("layers/counts/indptr", data=values, chunks=values.shape, compression="gzip")
    plan = planned(path)
    assert len(layer(plan)) > 2
    for part in plan.plan.scan.partitions:
        found = scan_partition(LocalSource(path), plan.plan.scan, plan.layout, part, scratch=tmp_path)
        assert isinstance(found, MatrixScan)


def test_the_disk_that_a_worker_needs_is_predicted(tmp_path: Path) -> None:
    small, large = (
        next(each for each in planned(path).plan.predictions if each.step == "scan")
        for path in (usual(tmp_path / "a.h5ad"), rechunked(usual(tmp_path / "b.h5ad"), compression="gzip"))
    )
    assert (small.scratch_mb, large.scratch_mb) == (0, 1)
    assert large.seconds >= small.seconds


@pytest.mark.parametrize(("options", "room"), [({"compression": "gzip"}, 1000), ({"compression": "lzf"}, 1 << 30)])
def test_what_no_worker_could_unpack_is_refused_by_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], room: int
) -> None:
    monkeypatch.setattr(scan, "SCRATCH_BYTES", room)
    plan = planned(rechunked(usual(tmp_path / "a.h5ad"), **options))
    assert layer(plan) == []
    (refusal,) = plan.plan.scan.refusals
    assert (refusal.code, refusal.path) == ("file.chunk_too_large", "layers/counts")
    assert "write_h5ad" in refusal.hint


def with_zeros(path: Path, place: str) -> Path:
    """Adds 300 million zeros in one chunk."""
    count = 300 << 20
    packer = zlib.compressobj()
    zeros = bytes(1 << 20)
    packed = b"".join([*(packer.compress(zeros) for _ in range(count >> 20)), packer.flush()])
    with h5py.File(path, "r+") as file:
        shape = (N_OBS, count // N_OBS)
        dataset = file.create_dataset(place, shape, "u1", chunks=shape, compression="gzip")
        dataset.id.write_direct_chunk((0, 0), packed)
        dataset.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    return path


def test_chunks_beyond_what_libhdf5_may_hold_are_allowed_in_matrices_alone(tmp_path: Path) -> None:
    plan = planned(with_zeros(usual(tmp_path / "a.h5ad"), "layers/zeros"))
    assert plan.layout.matrices["layers/zeros"].arrays["data"].chunks == (N_OBS, (300 << 20) // N_OBS)
    with pytest.raises(InvalidSubmission) as refused:
        planned(with_zeros(usual(tmp_path / "b.h5ad"), "obsm/X_zeros"))
    assert refused.value.code == "file.chunk_too_large"

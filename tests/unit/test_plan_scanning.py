"""A partition is read from the plan and the layout alone, and what is wrong with its bytes is its result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pytest
from scipy import sparse

from celldock.errors import TransientError
from celldock.h5ad.source import LocalSource
from celldock.plan import ScanPartition, scan_partition
from celldock.scan import MatrixScan, Refusal
from tests.builders import make_h5ad
from tests.scanning import planned

pytestmark = pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")

CELL_TYPES = ["CL:0000084", "CL:0000236"] * 10

# A worker without h5py: all that it is given are the plan's two files.
WORKER = """
import sys
from pathlib import Path
sys.modules["h5py"] = None
from celldock.h5ad.layout import FileLayout
from celldock.h5ad.source import LocalSource
from celldock.plan import Plan, scan_partition
folder = Path(sys.argv[1])
plan, layout = Plan.from_bytes((folder / "plan.json").read_bytes()), FileLayout.from_bytes((folder / "l").read_bytes())
for part in plan.scan.partitions:
    found = scan_partition(LocalSource(folder / "a.h5ad"), plan.scan, layout, part, scratch=folder)
    (folder / f"{part.index}.bin").write_bytes(found.to_bytes())
"""


def test_workers_need_neither_libhdf5_nor_the_files_structure(tmp_path: Path) -> None:
    layers = {"by genes": sparse.csc_matrix(np.eye(20, 10)), "dense": np.ones((20, 10), np.float32)}
    path = make_h5ad(tmp_path / "a.h5ad", layers=layers)
    plan = planned(path)
    (tmp_path / "plan.json").write_bytes(plan.plan.to_bytes())
    (tmp_path / "l").write_bytes(plan.layout.to_bytes())

    subprocess.run([sys.executable, "-c", WORKER, str(tmp_path)], check=True, timeout=60)

    for part in plan.plan.scan.partitions:
        here = scan_partition(LocalSource(path), plan.plan.scan, plan.layout, part, scratch=tmp_path)
        assert isinstance(here, MatrixScan)
        assert (tmp_path / f"{part.index}.bin").read_bytes() == here.to_bytes()


def test_cells_are_grouped_by_their_type(tmp_path: Path) -> None:
    path = make_h5ad(tmp_path / "a.h5ad", obs={"cell_type_ontology_term_id": CELL_TYPES}, raw=False)

    scan = _scan(path, "X")

    assert scan.groups is not None
    values = _values(path)
    assert scan.groups.sums().tolist() == [values[::2].sum(axis=0).tolist(), values[1::2].sum(axis=0).tolist()]


def test_cells_of_a_file_by_anndata_0_7_are_grouped_too(tmp_path: Path) -> None:
    path = make_h5ad(tmp_path / "a.h5ad", obs={"cell_type_ontology_term_id": CELL_TYPES}, raw=False)
    with h5py.File(path, "r+") as file:
        obs: Any = file["obs"]
        obs.attrs["encoding-version"] = "0.1.0"
        for name in obs.attrs["column-order"]:
            if isinstance(obs[name], h5py.Group):
                codes, categories = obs[name]["codes"][()], obs[name]["categories"][()]
                del obs[name]
                obs[name], obs[f"__categories/{name}"] = codes, categories
                obs[name].attrs["categories"] = obs[f"__categories/{name}"].ref

    scan = _scan(path, "X")

    assert planned(path).plan.scan.groups == "obs/cell_type_ontology_term_id"
    assert scan.groups is not None
    assert scan.groups.sums()[1].tolist() == _values(path)[1::2].sum(axis=0).tolist()


def test_cells_whose_type_is_no_categorical_are_not_grouped(tmp_path: Path) -> None:
    path = make_h5ad(tmp_path / "a.h5ad", obs={"cell_type_ontology_term_id": range(20)})
    assert planned(path).plan.scan.groups == ""
    assert _scan(path, "X").groups is None


def test_rows_are_kept_of_the_raw_matrix_alone(tmp_path: Path) -> None:
    path = make_h5ad(tmp_path / "a.h5ad")
    assert _scan(path, "X").rows is None
    rows = _scan(path, "raw/X").rows
    assert rows is not None
    assert len(rows.nnz) == 20


def test_a_partition_is_the_rows_that_it_names(tmp_path: Path) -> None:
    path = make_h5ad(tmp_path / "a.h5ad", n_obs=600)
    plan = planned(path)
    part = ScanPartition(0, "X", 256, 512)
    found = scan_partition(LocalSource(path), plan.plan.scan, plan.layout, part, scratch=tmp_path)
    assert isinstance(found, MatrixScan)
    assert found.spans == [(256, 512)]


def test_damaged_bytes_are_a_result_and_say_where(tmp_path: Path) -> None:
    path = make_h5ad(tmp_path / "a.h5ad", n_obs=300)
    plan = planned(path)
    place = int(plan.layout.matrices["X"].arrays["indices"].offsets[0])
    content = bytearray(path.read_bytes())
    content[place : place + 8] = b"\xff" * 8
    path.write_bytes(bytes(content))

    part = plan.plan.scan.partitions[0]
    found = scan_partition(LocalSource(path), plan.plan.scan, plan.layout, part, scratch=tmp_path)

    assert isinstance(found, Refusal)
    assert (found.path, found.start, found.stop) == ("X", 0, 300)
    assert (found.code, found.where) == ("file.damaged", "X/indices")


def test_a_fault_of_the_source_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_h5ad(tmp_path / "a.h5ad")
    plan = planned(path)

    def fail(*_: object) -> bytes:
        raise TransientError("no answer", code="test")

    monkeypatch.setattr(LocalSource, "read", fail)
    with pytest.raises(TransientError):
        scan_partition(LocalSource(path), plan.plan.scan, plan.layout, plan.plan.scan.partitions[0], scratch=tmp_path)


def _scan(path: Path, matrix: str) -> MatrixScan:
    plan = planned(path)
    (part,) = plan.plan.scan.of(matrix)
    found = scan_partition(LocalSource(path), plan.plan.scan, plan.layout, part, scratch=path.parent)
    assert isinstance(found, MatrixScan)
    return found


def _values(path: Path) -> np.ndarray:
    return anndata.read_h5ad(path).to_df().to_numpy()

"""The scan of a file's values, through the deployed stack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy import sparse

from celldock.scan import MatrixScan, read_partial
from tests.builders import make_h5ad
from tests.dock import Dock, Drop, wait_for

# Partitions of 40,000 elements, so that a small file has several.
SMALL = "from celldock.plan import partitions, scan; partitions.PARTITION_ELEMENTS = scan.PARTITION_ELEMENTS = 40_000"
WITHOUT_LIBHDF5 = "import sys; sys.modules['h5py'] = None"
CRASH_ONCE_IN = "if event['partition']['index'] == {}: import os; os._exit(3)"


def matrix(n_obs: int = 1024, n_vars: int = 100) -> np.ndarray:
    return np.random.default_rng(1).poisson(0.7, (n_obs, n_vars)).astype(np.float32)


@contextmanager
def small_partitions(dock: Dock) -> Iterator[None]:
    with dock.wrapped("PlanFunction", SMALL):
        yield


def partials(dock: Dock, drop: Drop, run: int = 1) -> dict[int, dict[str, Any]]:
    """The manifests that the parts of a run's scan have left, by partition."""
    folder = f"work/{drop.version_id}/{run}/scan/parts/"
    keys = [key for key in dock.keys(dock.artifacts, folder) if key.endswith(".json")]
    return {int(Path(key).stem): dock.read_json(dock.artifacts, key) for key in keys}


def load(dock: Dock, manifest: dict[str, Any]) -> MatrixScan:
    (stored,) = manifest["files"]
    body = dock.s3.get_object(Bucket=dock.artifacts, Key=stored["key"], VersionId=stored["object_version"])["Body"]
    found = read_partial(body.read())
    assert isinstance(found, MatrixScan)
    return found


def test_every_row_of_every_matrix_is_scanned_without_libhdf5(dock: Dock, tmp_path: Path) -> None:
    values = matrix()
    # The schema takes neither csc nor, of so many zeros, a dense matrix: they are scanned, and then refused.
    layers = {"by rows": sparse.csr_matrix(values), "by genes": sparse.csc_matrix(values), "dense": values}
    path = make_h5ad(tmp_path / "a.h5ad", n_obs=1024, n_vars=100, layers=layers)
    with small_partitions(dock), dock.wrapped("ScanFunction", WITHOUT_LIBHDF5):
        drop = dock.drop(path, "scan/layers.h5ad")
        assert dock.finished(drop)["state"] == "INVALID"
    assert dock.codes(drop) == {"layers.not_csr"}

    found: dict[str, MatrixScan] = {}
    for manifest in partials(dock, drop).values():
        part = load(dock, manifest)
        if part.path in found:
            found[part.path].merge(part)
        else:
            found[part.path] = part
    planned = dock.read_json(dock.artifacts, f"work/{drop.version_id}/1/plan/plan.json")
    assert len(partials(dock, drop)) == len(planned["scan"]["partitions"]) > len(found)
    assert set(found) == {"X", "raw/X", *(f"layers/{name}" for name in layers)}
    for name in layers:
        scan = found[f"layers/{name}"]
        assert scan.spans == [(0, 1024)]
        assert scan.nonzeros == np.count_nonzero(values), name
        assert scan.genes.sums().tolist() == values.sum(axis=0, dtype=np.float64).tolist(), name


@pytest.mark.long
def test_the_step_is_on_record_while_it_runs(dock: Dock, example: Path) -> None:
    with dock.wrapped("ScanFunction", "import time; time.sleep(3)"):
        drop = dock.drop(example, "scan/step.h5ad")
        wait_for(lambda: (v := dock.version(drop)) and v.get("step") == "Scan", "the step Scan")
        version = dock.finished(drop)
    assert version["state"] == "READY"
    assert version["plan"]["seconds"] > 0


def test_only_the_partition_that_failed_is_scanned_again(dock: Dock, tmp_path: Path) -> None:
    path = make_h5ad(tmp_path / "a.h5ad", n_obs=1024, n_vars=100)
    with small_partitions(dock), dock.wrapped("ScanFunction", CRASH_ONCE_IN.format(1)):
        drop = dock.drop(path, "scan/redriven.h5ad")
        version = dock.finished(drop)
        assert (version["state"], version["failure"]["step"]) == ("FAILED", "Scan")
        wait_for(lambda: 0 in partials(dock, drop), "another partition's manifest")
    done = set(partials(dock, drop))
    assert 1 not in done

    dock.api.redrive(drop.dataset)
    wait_for(lambda: (dock.version(drop) or {})["state"] != "FAILED", "the second run to claim")
    assert dock.finished(drop)["state"] == "READY"

    made_by = {index: manifest["made_by_run"] for index, manifest in partials(dock, drop, run=2).items()}
    assert made_by[1] == 2
    assert {made_by[index] for index in done} == {1}


def test_a_retried_part_leaves_what_the_first_try_left(dock: Dock, example: Path) -> None:
    drop = dock.drop(example, "scan/twice.h5ad")
    assert dock.finished(drop)["state"] == "READY"
    (key,) = [key for key in dock.keys(dock.artifacts, f"work/{drop.version_id}/1/scan/parts/") if "00000.json" in key]
    before = dock.s3.head_object(Bucket=dock.artifacts, Key=key)["VersionId"]
    execution = json.loads(dock.sfn.describe_execution(executionArn=dock.execution(drop))["input"])
    partition = dock.read_json(dock.artifacts, f"work/{drop.version_id}/1/plan/scan-partitions.json")[0]

    answer = dock.functions.invoke(
        FunctionName=dock.function("ScanFunction"),
        Payload=json.dumps({"submission": submission_of(dock, drop, execution), "partition": partition}).encode(),
    )

    assert json.loads(answer["Payload"].read()) == {}
    assert dock.s3.head_object(Bucket=dock.artifacts, Key=key)["VersionId"] == before


def submission_of(dock: Dock, drop: Drop, execution: dict[str, Any]) -> dict[str, Any]:
    """What Claim has handed on."""
    collection, _, name = drop.dataset.partition("/")
    version = dock.version(drop) or {}
    names = {"collection": collection, "name": name, "dataset": drop.dataset, "publish": False}
    item = {key: version[key] for key in ("execution", "pk", "sk", "etag")}
    return {**execution, **names, **item, "size": int(version["size"]), "required_formats": ["cells"]}


def test_a_damaged_chunk_is_invalid_and_told_with_its_place(dock: Dock, tmp_path: Path) -> None:
    path = make_h5ad(tmp_path / "a.h5ad", n_obs=300)
    with h5py.File(path) as file:
        data: Any = file["raw/X/data"]
        place = data.id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[place.byte_offset : place.byte_offset + place.size] = b"\xff" * place.size

    drop = dock.drop(bytes(content), "scan/damaged.h5ad")

    assert dock.finished(drop)["state"] == "INVALID"
    assert dock.codes(drop) == {"file.damaged"}
    finding = next(each for each in dock.report(drop)["findings"] if each["code"] == "file.damaged")
    assert finding["where"] == "raw/X/data"
    assert finding["suggestion"]
    assert dock.execution_status(drop) == "SUCCEEDED"


@pytest.mark.parametrize(
    ("dataset", "value", "code"),
    [
        ("X/data", np.nan, "x.not_finite"),
        ("X/indices", 99, "matrix.index_out_of_range"),
        ("raw/X/indptr", -5, "matrix.indptr_invalid"),
    ],
)
def test_values_that_lie_are_invalid(dock: Dock, tmp_path: Path, dataset: str, value: float, code: str) -> None:
    path = make_h5ad(tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        found: Any = file[dataset]
        found[2] = value
    drop = dock.drop(path, f"scan/{code}.h5ad")
    assert dock.finished(drop)["state"] == "INVALID"
    assert dock.codes(drop) == {code}


def test_a_refused_file_is_not_scanned(dock: Dock) -> None:
    drop = dock.drop(b"<html>not found</html>", "scan/refused.h5ad")
    assert dock.finished(drop)["state"] == "INVALID"
    assert partials(dock, drop) == {}

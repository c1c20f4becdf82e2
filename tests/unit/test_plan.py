"""A plan comes from one guarded opening of the file and says what every later step needs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import sparse

from celldock.errors import HostileFile, InvalidSubmission, ServiceFault
from celldock.formats.protocol import Prediction
from celldock.formats.registry import FORMATS, get_format
from celldock.h5ad.headers import ArrayHeader, ColumnHeader, FrameHeader, Header, MatrixHeader
from celldock.h5ad.source import LocalSource
from celldock.plan import LIMITS, Plan, make_plan, partitions, partitions_json, scan, shortfall
from celldock.plan.prediction import check_format
from tests.builders import MatrixKind, make_h5ad, make_with_external_link
from tests.scanning import planned


def header_of(n_obs: int, *, dimensions: int = 2, columns: int = 10, strings: int = 0) -> Header:
    """The header of a file with `columns` float64 and `strings` string columns in obs and one float32 embedding."""
    floats = [ColumnHeader(f"f{i}", f"obs/f{i}", "float", "float64", None, False) for i in range(columns)]
    texts = [ColumnHeader(f"s{i}", f"obs/s{i}", "string", "object", None, False) for i in range(strings)]
    x = MatrixHeader("X", "csr", (n_obs, 30_000), "float32", n_obs * 2_000, "int64", "gzip")
    return Header(
        encoding_type="anndata",
        encoding_version="0.1.0",
        n_obs=n_obs,
        n_vars=30_000,
        x=x,
        raw_x=None,
        layers=(),
        obs=FrameHeader("obs", n_obs, "obs/_index", (*floats, *texts)),
        var=FrameHeader("var", 30_000, "var/_index", ()),
        raw_var=None,
        obsm=(ArrayHeader("obsm/X_pca", "X_pca", (n_obs, dimensions), "float32", "dense"),),
        uns=(),
    )


def row_bytes(dimensions: int, columns: int, strings: int) -> int:
    return 64 + 8 * columns + 64 * strings + 4 * dimensions


@pytest.mark.parametrize(
    ("n_obs", "dimensions", "columns", "strings"),
    [
        (1, 2, 0, 0),
        (255, 2, 10, 0),
        (256, 2, 10, 0),
        (257, 2, 10, 0),
        (499_968, 2, 10, 0),
        (499_969, 2, 10, 0),
        (10_000_000, 2, 10, 0),
        (1_300_001, 50, 40, 5),
        (90_000, 4_000, 100, 3),
    ],
)
def test_partitions_of_cells_cover_every_cell_once_within_the_budget(
    n_obs: int, dimensions: int, columns: int, strings: int
) -> None:
    header = header_of(n_obs, dimensions=dimensions, columns=columns, strings=strings)

    parts = get_format("cells").plan(header, 0).partitions

    assert [part.index for part in parts] == list(range(len(parts)))
    assert [0, *(part.stop for part in parts)] == [*(part.start for part in parts), n_obs]
    for part in parts:
        rows = part.stop - part.start
        assert 0 < rows <= 500_000
        assert rows * row_bytes(dimensions, columns, strings) <= 256_000_000
        assert part.start % 256 == 0


def test_partitions_of_cells_are_of_one_size_but_for_the_last() -> None:
    parts = get_format("cells").plan(header_of(1_000_001), 0).partitions

    assert [part.stop - part.start for part in parts] == [333_568, 333_568, 332_865]


def test_the_worker_gets_a_json_array_of_partitions() -> None:
    assert json.loads(partitions_json(get_format("cells").plan(header_of(600_000), 0).partitions)) == [
        {"index": 0, "start": 0, "stop": 300_032},
        {"index": 1, "start": 300_032, "stop": 600_000},
    ]


def test_a_file_without_cells_cannot_be_held_and_says_why() -> None:
    cells = get_format("cells").plan(header_of(0), 0)

    assert (cells.feasible, cells.reason, cells.partitions) == (False, "there are no cells", ())


def test_a_format_that_a_worker_could_not_make_is_taken_back_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    header = header_of(10)
    greedy = Prediction("convert/cells", 1200.0, 500, 0, "10 rows")
    monkeypatch.setattr(type(get_format("cells")), "predict", lambda *_: (greedy,))

    checked = check_format(header, get_format("cells").plan(header, 0), 0)

    assert (checked.feasible, checked.partitions) == (False, ())
    assert checked.reason == "convert/cells would need 1,200 s, 900 given"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"memory_mb": 5000}, "scan would need 5,000 MB of memory, 1,769 given"),
        ({"seconds": 1000.0, "scratch_mb": 20_000}, "scan would need 1,000 s, 900 given and 20,000 MB of /tmp, 10,240"),
    ],
)
def test_a_shortfall_is_said_in_words(change: dict[str, float], words: str) -> None:
    said = shortfall(replace(Prediction("scan", 10.0, 300, 0, ""), **change))
    assert said.startswith(words)
    assert bool(said) == bool(words)


@pytest.mark.parametrize(("x", "nnz"), [("csr", None), ("csc", None), ("dense", 200)])
def test_a_real_file_is_planned_with_its_counts_and_encodings(tmp_path: Path, x: MatrixKind, nnz: int | None) -> None:
    plan = planned(make_h5ad(tmp_path / "a.h5ad", n_obs=20, n_vars=10, x=x)).plan
    assert plan.header.x is not None
    assert plan.header.raw_x is not None

    document = json.loads(plan.to_bytes())

    assert (document["n_obs"], document["n_vars"]) == (20, 10)
    assert document["nnz"] == (nnz or plan.header.x.nnz)
    assert document["raw_nnz"] == plan.header.raw_x.nnz
    assert document["encodings"] == {"X": x, "raw/X": "csr"}
    assert [(item["format"], item["required"], item["feasible"]) for item in document["formats"]] == [
        ("cells", True, True)
    ]


def test_every_matrix_is_scanned_and_every_step_predicted(tmp_path: Path) -> None:
    layer = sparse.csc_matrix(np.eye(20, 10, dtype=np.float32))
    plan = planned(make_h5ad(tmp_path / "a.h5ad", layers={"counts": layer})).plan

    assert [(part.index, part.path, part.start, part.stop) for part in plan.scan.partitions] == [
        (0, "X", 0, 20),
        (1, "raw/X", 0, 20),
        (2, "layers/counts", 0, 20),
    ]
    assert (plan.scan.kept, plan.scan.groups, plan.scan.n_groups) == (
        "raw/X",
        "obs/cell_type_ontology_term_id/codes",
        1,
    )
    assert plan.scan.refusals == ()
    steps = [prediction.step for prediction in plan.predictions]
    assert steps == ["plan", "scan", "validate", "convert/cells", "assemble/cells"]
    assert not any(shortfall(prediction) for prediction in plan.predictions)
    assert plan.seconds > 0


def test_rows_of_x_are_kept_where_there_is_no_raw(tmp_path: Path) -> None:
    assert planned(make_h5ad(tmp_path / "a.h5ad", raw=False)).plan.scan.kept == "X"


def test_a_file_without_a_matrix_has_nothing_to_scan(tmp_path: Path) -> None:
    plan = planned(make_h5ad(tmp_path / "a.h5ad", x=None, raw=False)).plan
    assert (plan.scan.partitions, plan.scan.kept) == ((), "")


def test_a_larger_matrix_is_cut_by_its_stored_elements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given: nothing in the first half, all in the second; workers that take 2,000 elements.
    monkeypatch.setattr(partitions, "PARTITION_ELEMENTS", 40_000)
    monkeypatch.setattr(scan, "PARTITION_ELEMENTS", 40_000)
    counts = np.zeros((2048, 60), np.float32)
    counts[1024:] = 1
    path = make_h5ad(tmp_path / "a.h5ad", n_obs=2048, n_vars=60, raw=False, layers={"half": sparse.csr_matrix(counts)})

    parts = planned(path).plan.scan.of("layers/half")

    assert [(part.start, part.stop) for part in parts] == [(0, 1280), (1280, 1792), (1792, 2048)]


def test_what_is_wrong_with_one_matrix_leaves_the_others_to_be_scanned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "SCRATCH_BYTES", 1)
    layer = sparse.csc_matrix(np.ones((20, 10), np.float32))
    plan = planned(make_h5ad(tmp_path / "a.h5ad", layers={"by genes": layer})).plan

    assert {part.path for part in plan.scan.partitions} == {"X", "raw/X"}
    (refusal,) = plan.scan.refusals
    assert (refusal.code, refusal.where, refusal.start, refusal.stop) == (
        "matrix.csc_too_large",
        "layers/by genes",
        0,
        20,
    )
    assert "adata.layers['by genes'] = adata.layers['by genes'].tocsr()" in refusal.hint


def test_a_hostile_file_has_no_plan(tmp_path: Path) -> None:
    with pytest.raises(HostileFile) as refused:
        planned(make_with_external_link(tmp_path / "a.h5ad"))
    assert refused.value.code == "file.external_link"


def test_what_no_step_would_read_is_guarded_too(tmp_path: Path) -> None:
    path = make_h5ad(tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        file["uns/notes"] = h5py.ExternalLink("/etc/hostname", "/")
    with pytest.raises(InvalidSubmission, match="uns/notes"):
        planned(path)


class CountingSource(LocalSource):
    """Counts the bytes that are read."""

    bytes_read = 0

    def read(self, offset: int, length: int) -> bytes:
        self.bytes_read += length
        return super().read(offset, length)


def test_a_plan_reads_no_values(tmp_path: Path) -> None:
    layers = {name: np.ones((4000, 1000), np.float32) for name in ("a", "b")}
    path = make_h5ad(tmp_path / "a.h5ad", n_obs=4000, n_vars=1000, layers=layers, compression=None)
    source = CountingSource(path)

    plan = make_plan(source, []).plan

    assert len(plan.scan.partitions) == 4
    assert source.size > 50_000_000
    assert source.bytes_read < 6_000_000


def test_a_format_is_planned_also_where_it_is_not_required(tmp_path: Path) -> None:
    plan = make_plan(LocalSource(make_h5ad(tmp_path / "a.h5ad")), []).plan

    assert {each.format for each in plan.formats} == {name for name, each in FORMATS.items() if not each.companion}
    assert plan.required == frozenset()


def test_formats_that_nobody_wants_are_not_planned(tmp_path: Path) -> None:
    source = LocalSource(make_h5ad(tmp_path / "a.h5ad"))

    plan = make_plan(source, ["cells"], {"fragments": 10**9}, formats=["zarr"]).plan

    assert [(each.format, each.format in plan.required) for each in plan.formats] == [("cells", True), ("zarr", False)]


def test_a_format_is_planned_where_the_companion_that_it_is_made_of_is_there(tmp_path: Path) -> None:
    source = LocalSource(make_h5ad(tmp_path / "a.h5ad"))
    alone, plan = make_plan(source, []).plan, make_plan(source, [], {"fragments": 10**9}).plan

    assert {each.format for each in plan.formats} == set(FORMATS)
    assert {each.step for each in plan.predictions} > {each.step for each in alone.predictions} | {"fragments"}
    assert plan.seconds > alone.seconds + 60


def test_a_plan_comes_back_from_its_bytes(tmp_path: Path) -> None:
    plan = planned(make_h5ad(tmp_path / "a.h5ad")).plan

    assert Plan.from_bytes(plan.to_bytes()) == plan
    assert Plan.from_bytes(plan.to_bytes()).to_bytes() == plan.to_bytes()


def test_a_plan_of_another_version_is_refused(tmp_path: Path) -> None:
    document = json.loads(planned(make_h5ad(tmp_path / "a.h5ad")).plan.to_bytes()) | {"plan_version": 1}

    with pytest.raises(ServiceFault) as refusal:
        Plan.from_bytes(json.dumps(document).encode())

    assert refusal.value.code == "plan.version"


def test_an_unknown_format_is_our_fault_and_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ServiceFault) as refusal:
        make_plan(LocalSource(make_h5ad(tmp_path / "a.h5ad")), ["cells", "cloupe"])

    assert refusal.value.code == "format.unknown"
    assert refusal.value.where == "cloupe"
    assert "cells" in refusal.value.hint


def test_every_format_is_found_by_its_own_name_and_predicts_its_steps() -> None:
    assert {name: get_format(name).name for name in FORMATS} == {name: name for name in FORMATS}
    header = header_of(1000)
    for name, each in FORMATS.items():
        steps = [prediction.step for prediction in each.predict(header, each.plan(header, 0), 0)]
        assert steps == [f"convert/{name}", f"assemble/{name}"]
        assert {step.partition("/")[0] for step in steps} <= set(LIMITS)

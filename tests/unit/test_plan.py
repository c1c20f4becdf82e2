"""A plan comes from the header alone and says what every later step needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from celldock.errors import ServiceFault
from celldock.formats.registry import FORMATS, get_format
from celldock.h5ad.headers import ArrayHeader, ColumnHeader, FrameHeader, Header, MatrixHeader, read_header
from celldock.h5ad.source import LocalSource
from celldock.plan import Plan, make_plan, partitions_json
from tests.builders import MatrixKind, make_h5ad


def header_of(n_obs: int, *, dimensions: int = 2, columns: int = 10, strings: int = 0) -> Header:
    """The header of a file with `columns` float64 and `strings` string columns in obs and one float32 embedding."""
    floats = [ColumnHeader(f"f{i}", f"obs/f{i}", "float", "float64", None, False) for i in range(columns)]
    texts = [ColumnHeader(f"s{i}", f"obs/s{i}", "string", "object", None, False) for i in range(strings)]
    x = MatrixHeader("X", "csr", (n_obs, 30_000), "float32", n_obs * 2_000, "int64", "gzip", n_obs * 5_000)
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
def test_partitions_cover_every_cell_once_within_the_budget(
    n_obs: int, dimensions: int, columns: int, strings: int
) -> None:
    header = header_of(n_obs, dimensions=dimensions, columns=columns, strings=strings)

    partitions = make_plan(header, ["cells"]).format("cells").partitions

    assert [partition.index for partition in partitions] == list(range(len(partitions)))
    assert [0, *(partition.stop for partition in partitions)] == [*(p.start for p in partitions), n_obs]
    for partition in partitions:
        rows = partition.stop - partition.start
        assert 0 < rows <= 500_000
        assert rows * row_bytes(dimensions, columns, strings) <= 256_000_000
        assert partition.start % 256 == 0


def test_partitions_are_of_one_size_but_for_the_last() -> None:
    partitions = make_plan(header_of(1_000_001), []).format("cells").partitions

    sizes = [partition.stop - partition.start for partition in partitions]
    assert sizes == [333_568, 333_568, 332_865]


def test_the_worker_gets_a_json_array_of_partitions() -> None:
    planned = make_plan(header_of(600_000), []).format("cells")

    assert json.loads(partitions_json(planned)) == [
        {"index": 0, "start": 0, "stop": 300_032},
        {"index": 1, "start": 300_032, "stop": 600_000},
    ]


def test_a_file_without_cells_cannot_be_held_and_says_why() -> None:
    planned = make_plan(header_of(0), ["cells"]).format("cells")

    assert not planned.feasible
    assert planned.reason == "there are no cells"
    assert partitions_json(planned) == b"[]"


@pytest.mark.parametrize(("x", "nnz"), [("csr", None), ("csc", None), ("dense", 200)])
def test_a_real_file_is_planned_with_its_counts_and_encodings(tmp_path: Path, x: MatrixKind, nnz: int | None) -> None:
    header = read_header(LocalSource(make_h5ad(tmp_path / "a.h5ad", n_obs=20, n_vars=10, x=x)))
    assert header.x is not None
    assert header.raw_x is not None

    document = json.loads(make_plan(header, ["cells"]).to_bytes())

    assert (document["n_obs"], document["n_vars"]) == (20, 10)
    assert document["nnz"] == (nnz or header.x.nnz)
    assert document["raw_nnz"] == header.raw_x.nnz
    assert document["encodings"] == {"X": x, "raw/X": "csr"}
    assert [(item["format"], item["required"], item["feasible"]) for item in document["formats"]] == [
        ("cells", True, True)
    ]


def test_a_format_is_planned_also_where_it_is_not_required() -> None:
    plan = make_plan(header_of(10), [])

    assert {planned.format for planned in plan.formats} == set(FORMATS)
    assert plan.required == frozenset()


def test_a_plan_comes_back_from_its_bytes() -> None:
    plan = make_plan(header_of(700_000), ["cells"])

    assert Plan.from_bytes(plan.to_bytes()) == plan
    assert Plan.from_bytes(plan.to_bytes()).to_bytes() == plan.to_bytes()


def test_a_plan_of_another_version_is_refused() -> None:
    document = json.loads(make_plan(header_of(10), []).to_bytes()) | {"plan_version": 0}

    with pytest.raises(ServiceFault) as refusal:
        Plan.from_bytes(json.dumps(document).encode())

    assert refusal.value.code == "plan.version"


def test_an_unknown_format_is_our_fault_and_names_the_known_ones() -> None:
    with pytest.raises(ServiceFault) as refusal:
        make_plan(header_of(10), ["cells", "cloupe"])

    assert refusal.value.code == "format.unknown"
    assert refusal.value.where == "cloupe"
    assert "cells" in refusal.value.hint


def test_every_format_is_found_by_its_own_name() -> None:
    assert {name: get_format(name).name for name in FORMATS} == {name: name for name in FORMATS}

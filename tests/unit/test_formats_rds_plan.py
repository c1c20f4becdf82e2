"""What R objects can hold, and in which partitions they are made, is known from the header alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from celldock.formats.protocol import FormatPlan
from celldock.formats.rds import Rds
from celldock.formats.rds_layout import MAX_EMBEDDING_BYTES, layout_of
from celldock.h5ad.file import read_header
from celldock.h5ad.headers import ArrayHeader, ElementHeader, MatrixHeader
from celldock.h5ad.source import LocalSource
from tests.builders import make_counts, make_h5ad

RDS = Rds()


def test_plans_are_made_of_the_header_alone(tmp_path: Path) -> None:
    header = read_header(LocalSource(make_h5ad(tmp_path / "a.h5ad")))
    assert header.x is not None

    def plan(matrix: MatrixHeader | None, **changes: Any) -> FormatPlan:
        return RDS.plan(replace(header, x=matrix, **changes), 0)

    too_many = plan(replace(header.x, nnz=2**31))
    assert not too_many.feasible
    assert "2,147,483,648 non-zeros" in too_many.reason
    raw = replace(header.raw_x or header.x, nnz=2**31)
    assert not RDS.plan(replace(header, raw_x=raw), 0).feasible
    assert plan(replace(header.x, nnz=2**31 - 1)).feasible
    assert [plan(None).reason, plan(header.x, n_obs=0).reason] == ["there is no X", "there are no cells"]
    assert "complex64" in plan(replace(header.x, dtype="complex64")).reason

    large = replace(header.x, shape=(100_000, header.n_vars), nnz=2**30)
    partitions = plan(large, n_obs=100_000, raw_x=None).partitions
    assert len(partitions) > 40
    assert all(left.stop == right.start and right.start % 256 == 0 for left, right in pairwise(partitions))
    assert (partitions[0].start, partitions[-1].stop) == (0, 100_000)
    predictions = RDS.predict(header, RDS.plan(header, 0), 0)
    assert [prediction.step for prediction in predictions] == ["convert/rds", "assemble/rds"]


def test_what_is_too_large_for_an_object_is_left_out_with_the_reason(tmp_path: Path) -> None:
    header = read_header(LocalSource(make_h5ad(tmp_path / "a.h5ad", layers={"l": make_counts(20, 10, 1)})))
    wide = ArrayHeader("obsm/X_wide", "X_wide", (20, MAX_EMBEDDING_BYTES // 80 + 1), "float32", "dense")
    large = ElementHeader("uns/large", "array", (5_000, 5_000), "float64")
    crowd = ElementHeader("uns/crowd", "dict", (2_000,), "")

    layout = layout_of(replace(header, obsm=(*header.obsm, wide), uns=(*header.uns, large, crowd)))

    assert [each.where for each in layout.omitted] == ["obsm/X_wide", "layers/l", "uns/large", "uns/crowd"]
    assert all(each.reason for each in layout.omitted)
    assert [each.where for each in layout_of(replace(header, uns_complete=False)).omitted] == ["layers/l", "uns"]

"""What the format `cells` says of expression, and what one query over several datasets finds; read by DuckDB alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import duckdb
import numpy as np
import pandas as pd
import pytest

from celldock.formats.cells import Cells
from celldock.formats.expression import FILE
from celldock.formats.protocol import Subject
from celldock.formats.sink import LocalSink
from celldock.h5ad.source import LocalSource
from celldock.labelling import label_file
from celldock.plan import make_plan, scan_file
from celldock.schema import load_schema
from tests.builders import make_h5ad
from tests.subjects import subject_of

CELLS = Cells()
TYPES = ["CL:0000084", "CL:0000236", "CL:0000583"]
NAMES = {"CL:0000084": "T cell", "CL:0000236": "B cell", "CL:0000583": "alveolar macrophage"}


def published(h5ad: Path, folder: Path) -> Path:
    """The artifact `cells` of a valid file, labelled and scanned as the service does it."""
    source = LocalSource(h5ad)
    scan = scan_file(source, make_plan(source, []), scratch=folder.parent)
    with label_file(source, load_schema("7.1.0"), scratch=folder.parent) as labelled:
        subject = replace(subject_of(labelled.file), scan=lambda: scan)
        made(subject, folder)
    return folder


def made(subject: Subject, folder: Path) -> list[str]:
    sink = LocalSink(folder, folder.parent)
    parts = [CELLS.convert(subject, part, sink) for part in CELLS.plan(subject.header, 0).partitions]
    return [file.path for file in CELLS.assemble(subject, parts, sink).files]


def with_types(path: Path, types: list[str]) -> Path:
    """A valid file whose cells are of these types in turn; others are categories without cells."""
    values = np.array([types[row % len(types)] for row in range(40)], object)
    return make_h5ad(path, n_obs=40, obs={"cell_type_ontology_term_id": pd.Categorical(values, [*TYPES, "CL:0000540"])})


def query(sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as database:
        return database.execute(sql).fetchall()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifacts of three datasets."""
    root = tmp_path_factory.mktemp("public")
    published(with_types(root / "a.h5ad", TYPES[:2]), root / "a")
    published(with_types(root / "b.h5ad", [TYPES[2]]), root / "b")
    published(with_types(root / "c.h5ad", [TYPES[2], TYPES[0]]), root / "c")
    return root


def test_each_gene_and_cell_type_has_what_its_values_sum_up_to(folder: Path) -> None:
    data: Any = anndata.read_h5ad(folder / "a.h5ad")
    values = data.X.toarray().astype(float)
    rows = query(f"select * from read_parquet('{folder}/a/{FILE}')")

    kinds = np.array([str(term) for term in data.obs["cell_type_ontology_term_id"]])
    expected: dict[tuple[str, str | None], tuple[int, int, float]] = {}
    for kind in (None, *TYPES[:2]):
        inside = values[kinds == kind] if kind else values
        for gene, name in enumerate(data.var_names):
            if (inside[:, gene] != 0).any():
                expected[str(name), kind] = len(inside), int((inside[:, gene] != 0).sum()), inside[:, gene].sum()
    assert {(row[0], row[2]) for row in rows} == set(expected)
    for gene, symbol, kind, label, cells, expressing, total, mean, fraction in rows:
        assert (cells, expressing) == expected[gene, kind][:2]
        assert total == pytest.approx(expected[gene, kind][2], rel=1e-7)
        assert (mean, fraction) == (total / cells, expressing / cells)
        assert label == (NAMES[kind] if kind else None)
        assert symbol != gene


def test_one_query_finds_the_datasets_that_have_enough_cells_of_a_type(folder: Path) -> None:
    found = query(
        f"""
        select filename, count(*) as cells, count(distinct donor_id) as donors, any_value(sex), any_value(disease)
        from read_parquet('{folder}/*/part-*.parquet', filename = true, union_by_name = true)
        where cell_type = 'alveolar macrophage'
        group by filename having cells >= 20 order by filename
        """
    )
    assert [(Path(name).parent.name, cells, donors) for name, cells, donors, *_ in found] == [
        ("b", 40, 1),
        ("c", 20, 1),
    ]
    assert {(sex, disease) for *_, sex, disease in found} == {("female", "normal")}


def test_without_a_scan_or_a_matrix_there_are_cells_alone(tmp_path: Path) -> None:
    subject = subject_of(make_h5ad(tmp_path / "a.h5ad"))
    assert made(subject, tmp_path / "cells") == ["part-00000.parquet"]

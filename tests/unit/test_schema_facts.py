"""What rules know of columns: values, counts, first rows and what is missing, equal to what pandas counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from celldock.h5ad.file import open_h5ad
from celldock.h5ad.source import LocalSource
from celldock.schema import facts
from celldock.schema.facts import ColumnFacts, Combination, Tables, TooManyValuesError
from tests import builders

LETTERS = ["b", "a", "b", None, "c", "a", "b", None]


@contextmanager
def tables_of(path: Path) -> Iterator[Tables]:
    with open_h5ad(LocalSource(path)) as file:
        yield Tables(file, file.header())


def make(tmp_path: Path, **columns: Any) -> Path:
    n_obs = len(next(iter(columns.values())))
    return builders.make_h5ad(tmp_path / "a.h5ad", n_obs=n_obs, obs=columns)


def column(tables: Tables, name: str) -> ColumnFacts:
    return tables.column(header(tables, name), tables.header.n_obs)


def header(tables: Tables, name: str) -> Any:
    return next(column for column in tables.header.obs.columns if column.name == name)


@pytest.fixture(params=[3, facts.BLOCK_ROWS])
def block_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that cut the columns, and blocks that hold them whole."""
    monkeypatch.setattr(facts, "BLOCK_ROWS", request.param)
    monkeypatch.setattr(facts, "_TEXT_ROWS", request.param)


@pytest.mark.usefixtures("block_rows")
@pytest.mark.parametrize(
    ("values", "expected", "missing"),
    [
        (pd.Categorical(LETTERS, [*"cdab"]), {"c": (1, 4), "d": (0, -1), "a": (2, 1), "b": (3, 0)}, (2, 3)),
        (pd.array(LETTERS, dtype="string"), {"b": (3, 0), "a": (2, 1), "c": (1, 4)}, (2, 3)),
        (["y", "x", "y", "y", "x", "z", "y", "y"], {"y": (5, 0), "x": (2, 1), "z": (1, 5)}, (0, -1)),
        ([True, False, False, True, True, False, False, False], {True: (3, 0), False: (5, 1)}, (0, -1)),
        (pd.array([True, None, False, True, None], dtype="boolean"), {True: (2, 0), False: (1, 2)}, (2, 1)),
        ([2.5, np.nan, 2.5, -1.0, np.nan, np.nan, 7.0, 7.0], {2.5: (2, 0), -1.0: (1, 3), 7.0: (2, 6)}, (3, 1)),
        ([3, 1, 3, 3, 1, 1, 1, 9], {3: (3, 0), 1: (4, 1), 9: (1, 7)}, (0, -1)),
        (pd.Categorical([5, 6, 5, None, 6, 6, 5, 5]), {5: (4, 0), 6: (3, 1)}, (1, 3)),
    ],
    ids=["categorical", "nullable text", "text", "bool", "nullable bool", "float", "int", "categorical of int"],
)  # fmt: skip
def test_every_kind_of_column_is_counted(
    tmp_path: Path, values: Any, expected: dict[Any, tuple[int, int]], missing: tuple[int, int]
) -> None:
    with tables_of(make(tmp_path, a=values)) as tables:
        found = column(tables, "a")
    places = zip(found.counts.tolist(), found.first.tolist(), strict=True)
    assert dict(zip(found.values, places, strict=True)) == expected
    assert (found.missing, found.first_missing) == missing
    assert found.used == {value: count for value, (count, _) in expected.items() if count}
    assert found.unused == [value for value, (count, _) in expected.items() if not count]


@pytest.mark.usefixtures("block_rows")
def test_columns_are_counted_together(tmp_path: Path) -> None:
    tissue = pd.Categorical(["lung", "lung", "gut", None, "gut", "lung"], ["gut", "lung", "skin"])
    primary = [True, True, False, True, False, False]
    with tables_of(make(tmp_path, tissue=tissue, primary=primary)) as tables:
        together = tables.combinations([header(tables, "tissue"), header(tables, "primary")], 6)
    assert together == [
        Combination(("lung", True), 2, 0),
        Combination(("gut", False), 2, 2),
        Combination((None, True), 1, 3),
        Combination(("lung", False), 1, 5),
    ]


def test_a_column_is_read_once_for_all_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tables_of(make(tmp_path, a=["x", "y"])) as tables:
        first = column(tables, "a")
        monkeypatch.setattr(tables.file, "column", lambda *_: pytest.fail("read again"))
        assert column(tables, "a") is first


@pytest.mark.parametrize("categorical", [True, False])
def test_too_many_values_are_not_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, categorical: bool) -> None:
    monkeypatch.setattr(facts, "MAX_VALUES", 4)
    values = [f"barcode-{i}" for i in range(6)]
    with tables_of(make(tmp_path, a=pd.Categorical(values) if categorical else values)) as tables:
        for _ in range(2):
            with pytest.raises(TooManyValuesError):
                column(tables, "a")


def test_too_many_combinations_are_not_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "MAX_COMBINATIONS", 2)
    values = pd.Categorical(["p", "q", "r"])
    with tables_of(make(tmp_path, a=values, b=values)) as tables, pytest.raises(TooManyValuesError):
        tables.combinations([header(tables, "a"), header(tables, "b")], 3)


def test_categories_that_no_cell_has_make_no_combinations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "MAX_COMBINATIONS", 3)
    values = pd.Categorical(["p", "q"], ["p", "q", *(f"unused {i}" for i in range(50))])
    with tables_of(make(tmp_path, a=values, b=values)) as tables:
        together = tables.combinations([header(tables, "a"), header(tables, "b")], 2)
    assert together == [Combination(("p", "p"), 1, 0), Combination(("q", "q"), 1, 1)]


def test_rows_and_elements_by_name(tmp_path: Path) -> None:
    with tables_of(builders.make_h5ad(tmp_path / "a.h5ad", n_obs=3)) as tables:
        assert tables.names(tables.header.obs, [2, 0, 7]) == ["cell-0002", "cell-0000", "row 7"]
        title = tables.element_header("uns/title")
        assert title is not None
        assert (title.kind, title.dtype) == ("scalar", "str")
        assert tables.element("uns/title") == builders.UNS["title"]
        assert tables.element_header("uns/nothing") is None

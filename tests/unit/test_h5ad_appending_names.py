"""Other names for columns, elements and rows: what has them keeps its bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from celldock.errors import InvalidSubmission, ServiceFault
from celldock.h5ad.additions import Additions, NewColumn, NewElement, NewIndex, RenamedColumn, RenamedElement
from celldock.h5ad.additivity import prove_additivity
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.source import LocalSource
from celldock.h5ad.spool import Spool
from tests import builders
from tests.appending import append
from tests.builders_0_7 import rewrite_as_0_7

pytestmark = pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")

CELLS = 20
GENES = 10
CODES = np.arange(CELLS) % 2
IDS = np.array([f"ENSG{number:011}" for number in range(GENES)], dtype=object)


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    colors = np.array(["red", "blue"], dtype=object)
    return builders.make_h5ad(
        tmp_path / "cells.h5ad",
        n_obs=CELLS,
        n_vars=GENES,
        obs={"cell_type": pd.Categorical(["T", "B"] * 10), "author_n": np.arange(CELLS)},
        uns={"cell_type_colors": colors, "made": {"by": "us"}},
    )


def as_written(path: Path) -> Path:
    return path


ENCODINGS = pytest.mark.parametrize("encode", [as_written, rewrite_as_0_7])


# --- Columns and elements ---


@ENCODINGS
def test_a_column_makes_room_for_another(cells: Path, encode: Callable[[Path], Path]) -> None:
    encode(cells)
    before: Any = anndata.read_h5ad(cells)
    label = NewColumn("obs", "cell_type", "categorical", CELLS, lambda: [CODES], ("one", "two"))
    additions = Additions(
        columns=(label,),
        elements=(NewElement("uns/cell_type_colors", np.array(["#fff", "#000"], dtype=object)),),
        renamed_columns=(RenamedColumn("obs", "cell_type", "author_cell_type"),),
        renamed_elements=(
            RenamedElement("uns/cell_type_colors", "uns/author_cell_type_colors"),
            RenamedElement("uns/made", "uns/author_made"),
        ),
    )
    result = append(cells, additions)
    data: Any = anndata.read_h5ad(result.path)
    expected = ["author_cell_type" if name == "cell_type" else name for name in before.obs]
    assert list(data.obs) == [*expected, "cell_type"]
    assert data.obs["author_cell_type"].tolist() == before.obs["cell_type"].tolist()
    assert data.obs["cell_type"].tolist() == ["one", "two"] * 10
    assert data.uns["author_cell_type_colors"].tolist() == ["red", "blue"]
    assert data.uns["cell_type_colors"].tolist() == ["#fff", "#000"]
    assert data.uns["author_made"] == {"by": "us"}
    assert "made" not in data.uns
    assert result.proof.removed == ()
    assert result.proof.renamed["uns/made/by"] == "uns/author_made/by"
    assert any(name.startswith("obs/author_cell_type") for name in result.proof.renamed.values())
    if encode is as_written:
        assert result.path.read_bytes() == append(cells, additions).path.read_bytes()


def test_names_move_on_in_a_chain(cells: Path) -> None:
    renamed = (RenamedColumn("obs", "author_n", "cell_type"), RenamedColumn("obs", "cell_type", "third"))
    before: Any = anndata.read_h5ad(cells)
    data: Any = anndata.read_h5ad(append(cells, Additions(renamed_columns=renamed)).path)
    assert data.obs["cell_type"].tolist() == list(range(CELLS))
    assert data.obs["third"].tolist() == before.obs["cell_type"].tolist()
    changed = {"author_n": "cell_type", "cell_type": "third"}
    assert list(data.obs) == [changed.get(name, name) for name in before.obs]


@pytest.mark.parametrize(
    "additions",
    [
        Additions(renamed_columns=(RenamedColumn("obs", "author_n", "cell_type"),)),
        Additions(renamed_elements=(RenamedElement("uns/made", "uns/cell_type_colors"),)),
        Additions(
            renamed_columns=(RenamedColumn("obs", "author_n", "new"),),
            columns=(NewColumn("obs", "new", "integer", CELLS, lambda: [CODES], dtype="int64"),),
        ),
        Additions(indexes=(NewIndex("obs", CELLS, lambda: [IDS], "cell_type"),)),
    ],
)
def test_names_that_are_taken(cells: Path, additions: Additions) -> None:
    with pytest.raises(InvalidSubmission) as caught:
        append(cells, additions)
    assert caught.value.code == "file.name_taken"


@pytest.mark.parametrize(
    "renamed",
    [
        (RenamedColumn("obs", "nobody", "somebody"),),
        (RenamedColumn("obs", "author_n", "new"), RenamedColumn("obs", "cell_type", "new")),
        (RenamedColumn("obs", "author_n", "cell_type"), RenamedColumn("obs", "cell_type", "author_n")),
    ],
)
def test_names_that_nobody_can_give(cells: Path, renamed: tuple[RenamedColumn, ...]) -> None:
    with pytest.raises(ServiceFault):
        append(cells, Additions(renamed_columns=renamed))


# --- Names of rows ---


@ENCODINGS
def test_rows_get_other_names(cells: Path, encode: Callable[[Path], Path]) -> None:
    encode(cells)
    before: Any = anndata.read_h5ad(cells)
    indexes = (
        NewIndex("var", GENES, lambda: [IDS[:3], IDS[3:]], "gene_symbol"),
        NewIndex("raw/var", GENES, lambda: [IDS], "gene_symbol"),
    )
    result = append(cells, Additions(indexes=indexes))
    data: Any = anndata.read_h5ad(result.path)
    for frame, old in ((data.var, before.var), (data.raw.var, before.raw.var)):
        assert frame.index.tolist() == IDS.tolist()
        assert frame.index.name == old.index.name
        assert list(frame) == [*old, "gene_symbol"]
        assert frame["gene_symbol"].tolist() == old.index.tolist()
    assert result.proof.renamed == {"var/_index": "var/gene_symbol", "raw/var/_index": "raw/var/gene_symbol"}
    np.testing.assert_array_equal(data.X.toarray(), before.X.toarray())


@pytest.mark.parametrize(
    ("former", "name", "kept"),
    [pytest.param("symbol", "gene", "symbol", marks=pytest.mark.long), ("gene", None, "gene"), ("", "gene", None)],
)
def test_an_index_with_a_name(cells: Path, former: str, name: str | None, kept: str | None) -> None:
    data: Any = anndata.read_h5ad(cells)
    symbols = data.var_names.tolist()
    data.var.index.name = "gene"
    data.write_h5ad(cells)
    result = append(cells, Additions(indexes=(NewIndex("var", GENES, lambda: [IDS], former),)))
    read: Any = anndata.read_h5ad(result.path)
    assert read.var_names.tolist() == IDS.tolist()
    assert read.var.index.name == name
    assert list(read.var) == [*data.var, *([kept] if kept else [])]
    if kept:
        assert read.var[kept].tolist() == symbols
    assert {name.split("/")[1] for name in result.proof.removed} == (set() if kept else {"gene"})


@pytest.mark.parametrize("former", ["symbol", pytest.param("", marks=pytest.mark.long)])
def test_an_index_that_is_a_column_too(cells: Path, former: str) -> None:
    data: Any = anndata.read_h5ad(cells)
    data.var["gene"] = data.var_names
    data.var.index.name = "gene"
    data.write_h5ad(cells)
    result = append(cells, Additions(indexes=(NewIndex("var", GENES, lambda: [IDS], former),)))
    read: Any = anndata.read_h5ad(result.path)
    assert read.var_names.tolist() == IDS.tolist()
    assert read.var["gene"].tolist() == data.var_names.tolist()
    assert list(read.var) == list(data.var)


def test_a_former_index_is_proven_to_be_there(cells: Path) -> None:
    source = LocalSource(cells)
    with Spool.opened(source.size) as spool, open_h5ad(source) as original:
        appended = original.append(Additions(indexes=(NewIndex("var", GENES, lambda: [IDS], "symbol"),)), spool)
        with open_h5ad(appended) as new:
            other = Additions(indexes=(NewIndex("var", GENES, lambda: [IDS], "another"),))
            for wrong in (other, Additions(renamed_columns=(RenamedColumn("obs", "author_n", "x"),))):
                with pytest.raises(ServiceFault) as caught:
                    prove_additivity(original, new, appended, wrong)
                assert caught.value.code == "additivity.broken"


def test_too_few_names(cells: Path) -> None:
    with pytest.raises(ServiceFault, match="instead of"):
        append(cells, Additions(indexes=(NewIndex("var", GENES, lambda: [IDS[:3]], "symbol"),)))


def test_a_new_dictionary_where_one_was_renamed(cells: Path) -> None:
    additions = Additions(
        elements=(NewElement("uns/made/by", "celldock"),),
        renamed_elements=(RenamedElement("uns/made", "uns/author_made"),),
    )
    data: Any = anndata.read_h5ad(append(cells, additions).path)
    assert (data.uns["made"], data.uns["author_made"]) == ({"by": "celldock"}, {"by": "us"})

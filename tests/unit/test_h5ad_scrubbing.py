"""What renaming and removing leaves in a file is overwritten, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from celldock.h5ad import scrubbing
from celldock.h5ad.accounting.accounting import account
from celldock.h5ad.additions import Additions, NewColumn, NewIndex, RemovedColumn, RenamedColumn, RenamedElement
from celldock.h5ad.additivity import prove_additivity
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.scrubbing import scrubbed
from celldock.h5ad.source import LocalSource
from celldock.h5ad.spool import Spool
from tests import builders

CELLS = 200
GENES = 10
LONG = "a_name_that_is_longer_than_what_replaces_it"
IDS = np.array([f"ENSG{number:011}" for number in range(GENES)], dtype=object)
CHANGES = Additions(
    columns=(NewColumn("obs", LONG, "integer", CELLS, lambda: [np.arange(CELLS)], dtype="int64"),),
    removed_columns=(RemovedColumn("obs", "patient"), RemovedColumn("obs", "number")),
    removed_elements=("uns/secret",),
    renamed_columns=(RenamedColumn("obs", LONG, "n"), RenamedColumn("obs", "cell_type", "author_cell_type")),
    renamed_elements=(RenamedElement("uns/cell_type_colors", "uns/colors"),),
    indexes=(NewIndex("var", GENES, lambda: [IDS], "symbol"), NewIndex("raw/var", GENES, lambda: [IDS], "")),
)


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    path = builders.make_h5ad(
        tmp_path / "cells.h5ad",
        n_obs=CELLS,
        n_vars=GENES,
        obs={
            "patient": pd.Categorical([f"Patient {number}" for number in range(CELLS)]),
            "number": np.arange(CELLS) + 0x5EC12E7,
            "cell_type": pd.Categorical(["T", "B"] * (CELLS // 2)),
            LONG: np.arange(CELLS),
        },
        uns={"secret": "Jane Doe", "cell_type_colors": np.array(["red", "blue"], dtype=object)},
    )
    assert account(LocalSource(path)).clean
    return path


def test_nothing_is_left(cells: Path) -> None:
    source = LocalSource(cells)
    target = cells.with_name("scrubbed.h5ad")
    with Spool.opened(source.size) as spool, open_h5ad(source) as original:
        appended = original.append(CHANGES, spool)
        before = appended.read(0, appended.size)
        assert account(appended).verdict == "residue"
        clean = scrubbed(appended)
        assert account(clean).clean
        with open_h5ad(clean) as new:
            new.guard()
            proof = prove_additivity(original, new, clean, CHANGES)
        after = clean.read(0, clean.size)
        with target.open("wb") as stream:
            clean.write_to(stream)
    assert target.read_bytes() == after
    assert_changes_are_told(cells.read_bytes(), after, clean.changed)
    assert not any(secret in after for secret in (b"Patient 7", b"Jane Doe", (0x5EC12E7 + 9).to_bytes(8, "little")))
    differ = np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8)
    assert not np.frombuffer(after, np.uint8)[differ].any()
    assert proof.kept_datasets > 20
    expected: Any = anndata.read_h5ad(cells)
    data: Any = anndata.read_h5ad(target)
    assert data.obs["author_cell_type"].tolist() == expected.obs["cell_type"].tolist()
    assert data.obs["n"].tolist() == data.obs[LONG].tolist() == list(range(CELLS))
    assert data.var["symbol"].tolist() == expected.var_names.tolist()
    assert data.raw.var_names.tolist() == IDS.tolist()
    with h5py.File(target, "r+") as file:
        file["uns/more"] = np.arange(1000)
        file["obs"].attrs["column-order"] = [f"{name}_more" for name in data.obs]


def assert_changes_are_told(old: bytes, new: bytes, changed: tuple[tuple[int, int], ...]) -> None:
    first, second = np.frombuffer(old, np.uint8), np.frombuffer(new, np.uint8)[: len(old)]
    told = np.zeros(len(old), bool)
    for start, stop in changed:
        assert not told[start:stop].any()
        told[start:stop] = True
    np.testing.assert_array_equal(told, first != second)


def test_too_much_stays(cells: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubbing, "_MAX_BYTES", 10)
    source = LocalSource(cells)
    with Spool.opened(source.size) as spool, open_h5ad(source) as original:
        appended = original.append(CHANGES, spool)
        assert scrubbed(appended) is appended


def test_a_clean_file_stays(cells: Path) -> None:
    source = LocalSource(cells)
    with Spool.opened(source.size) as spool, open_h5ad(source) as original:
        appended = original.append(Additions(), spool)
        assert scrubbed(appended) is appended

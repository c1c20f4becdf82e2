"""Columns and elements appended to a file, as AnnData reads them, and what cannot be appended to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from celldock.errors import CannotAppend, CelldockError, InvalidSubmission, ServiceFault
from celldock.h5ad.additions import Additions, NewColumn, NewElement, RemovedColumn
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.source import LocalSource
from celldock.h5ad.spool import Spool
from tests import builders
from tests.appending import append
from tests.builders_0_7 import rewrite_as_0_7

pytestmark = pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")

CELLS = 20
GENES = 10


def column(
    name: str, values: np.ndarray, *, kind: Any = "string", frame: str = "obs", rows: int = CELLS, **more: Any
) -> NewColumn:
    return NewColumn(frame, name, kind, rows, lambda: [values], **more)


CODES = np.arange(CELLS) % 3 - 1
TEXTS = np.array([f"é{row}" for row in range(CELLS)], dtype=object)
LABELS = column("cell_type", CODES, kind="categorical", categories=("T cell", "B cell"))


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return builders.make_h5ad(tmp_path / "cells.h5ad", n_obs=CELLS, n_vars=GENES)


# --- What AnnData reads ---


def test_columns_of_every_kind(cells: Path) -> None:
    numbers = np.ma.masked_less(np.arange(GENES), 3)
    additions = Additions(
        (
            LABELS,
            column("grade", CODES, kind="categorical", categories=("low", "high", "unused"), ordered=True),
            column("joinid", TEXTS),
            column("flag", CODES > 0, kind="boolean"),
            column("score", CODES.astype(np.float32), kind="float", dtype="float32"),
            column("length", np.arange(GENES), kind="integer", dtype="int64", frame="var", rows=GENES),
            column("count", numbers, kind="nullable-integer", dtype="int64", frame="raw/var", rows=GENES),
            column("known", numbers > 5, kind="nullable-boolean", frame="raw/var", rows=GENES),
        )
    )
    before: Any = anndata.read_h5ad(cells)
    data: Any = anndata.read_h5ad(append(cells, additions).path)
    assert list(data.obs) == [*before.obs, "cell_type", "grade", "joinid", "flag", "score"]
    pd.testing.assert_frame_equal(data.obs[list(before.obs)], before.obs)
    assert data.obs["cell_type"].astype(object).fillna("none").tolist()[:4] == ["none", "T cell", "B cell", "none"]
    assert data.obs["grade"].cat.ordered
    assert data.obs["grade"].cat.categories.tolist() == ["low", "high", "unused"]
    assert data.obs["joinid"].tolist() == TEXTS.tolist()
    assert data.obs["flag"].tolist() == (CODES > 0).tolist()
    assert (data.obs["score"].dtype, data.obs["score"].tolist()) == (np.float32, CODES.tolist())
    assert data.var["length"].tolist() == list(range(GENES))
    assert data.raw.var["count"].tolist()[2:4] == [pd.NA, 3]
    assert data.raw.var["known"].tolist()[2:7] == [pd.NA, False, False, False, True]


def test_elements_of_uns(cells: Path) -> None:
    additions = Additions(
        elements=(
            NewElement("uns/organism", "Homo sapiens"),
            NewElement("uns/deep/er/number", 1.5),
            NewElement("uns/deep/er/texts", np.array(["a", "ü"], dtype=object)),
            NewElement("uns/dictionary", {"$flag": True, "count": 7, "inner": {"values": np.arange(3)}}),
        )
    )
    uns = anndata.read_h5ad(append(cells, additions).path).uns
    assert uns["title"] == "A small dataset"
    assert uns["organism"] == "Homo sapiens"
    assert uns["deep"]["er"]["number"] == 1.5
    assert uns["deep"]["er"]["texts"].tolist() == ["a", "ü"]
    assert (uns["dictionary"]["$flag"], uns["dictionary"]["count"]) == (True, 7)
    assert uns["dictionary"]["inner"]["values"].tolist() == [0, 1, 2]


def test_the_encodings_are_those_that_anndata_writes(tmp_path: Path, cells: Path) -> None:
    frame = pd.DataFrame(
        {
            "cell_type": pd.Categorical.from_codes(CODES, pd.Index(["T cell", "B cell"], dtype=object)),
            "joinid": pd.Series(TEXTS, dtype=object).to_numpy(),
        },
        index=builders.cell_names(CELLS),
    ).astype({"joinid": object})
    anndata.AnnData(obs=frame).write_h5ad(tmp_path / "written.h5ad")
    result = append(cells, Additions((LABELS, column("joinid", TEXTS)))).path
    with h5py.File(tmp_path / "written.h5ad") as written, h5py.File(result) as appended:
        for path in ("cell_type", "cell_type/codes", "cell_type/categories", "joinid"):
            ours, theirs = appended["obs"][path], written["obs"][path]
            assert dict(ours.attrs) == dict(theirs.attrs)
            assert getattr(ours, "dtype", None) == getattr(theirs, "dtype", None)


def test_a_frame_of_anndata_0_7_gets_columns_of_its_kind(cells: Path) -> None:
    rewrite_as_0_7(cells)
    with h5py.File(cells, "r+") as file:
        # As AnnData 0.7 itself left a frame without categoricals.
        del file["var/__categories"]
    additions = Additions(
        (
            LABELS,
            column("joinid", TEXTS),
            column("name", np.zeros(GENES, int), kind="categorical", frame="var", rows=GENES, categories=("a",)),
        ),
        (NewElement("uns/made/by", "celldock"),),
    )
    result = append(cells, additions).path
    data: Any = anndata.read_h5ad(result)
    before: Any = anndata.read_h5ad(cells)
    assert data.obs["cell_type"].astype(object).fillna("none").tolist()[:3] == ["none", "T cell", "B cell"]
    assert data.obs["joinid"].tolist() == TEXTS.tolist()
    assert data.var["name"].tolist() == ["a"] * GENES
    pd.testing.assert_frame_equal(data.obs[list(before.obs)], before.obs)
    with h5py.File(result) as file:
        assert file[file["obs/cell_type"].attrs["categories"]] == file["obs/__categories/cell_type"]
        # AnnData 0.7 reads no group with a mark that it does not know.
        assert all("encoding-type" not in file[path].attrs for path in ("obs/joinid", "uns/made", "uns/made/by"))


def test_many_rows_in_uneven_blocks(tmp_path: Path) -> None:
    rows = 150_000
    frame = pd.DataFrame(index=pd.RangeIndex(rows).astype(str))
    anndata.AnnData(obs=frame).write_h5ad(tmp_path / "many.h5ad")
    texts = np.array([f"{row:010}" for row in range(rows)], dtype=object)

    def additions(*cuts: int) -> Additions:
        def blocks(values: np.ndarray) -> Callable[[], Iterable[np.ndarray]]:
            return lambda: np.split(values, cuts)

        codes = np.arange(rows) % 300
        labels = tuple(f"label {code}" for code in range(300))
        return Additions(
            (
                NewColumn("obs", "joinid", "string", rows, blocks(texts)),
                NewColumn("obs", "cell_type", "categorical", rows, blocks(codes), labels),
            )
        )

    result = append(tmp_path / "many.h5ad", additions(1, 7, 7, 70_000))
    obs = anndata.read_h5ad(result.path).obs
    assert obs["joinid"].tolist() == texts.tolist()
    assert obs["cell_type"].cat.codes.tolist() == (np.arange(rows) % 300).tolist()
    again = append(tmp_path / "many.h5ad", additions(100_000))
    assert result.path.read_bytes() == again.path.read_bytes()


def test_values_are_read_from_the_same_file_meanwhile(cells: Path) -> None:
    source = LocalSource(cells)
    with open_h5ad(source) as file, Spool.opened(source.size) as spool:
        donor = next(item for item in file.header().obs.columns if item.name == "donor_id")

        def blocks() -> Iterator[np.ndarray]:
            for start, stop in ((0, 7), (7, CELLS)):
                yield file.categories(donor)[file.column(donor, start, stop).values]

        appended = file.append(Additions((NewColumn("obs", "copy", "string", CELLS, blocks),)), spool)
        assert "copy" not in [item.name for item in file.header().obs.columns]
        (cells.parent / "new.h5ad").write_bytes(appended.read(0, appended.size))
    obs: Any = anndata.read_h5ad(cells.parent / "new.h5ad").obs
    assert obs["copy"].tolist() == obs["donor_id"].tolist()


# --- What goes ---


def test_a_label_that_is_refreshed_keeps_its_place(cells: Path) -> None:
    labelled = append(cells, Additions((LABELS, column("last", TEXTS)), (NewElement("uns/version", "7.0"),))).path
    fresh = column("cell_type", np.zeros(CELLS, int), kind="categorical", categories=("NK",), replaces=True)
    additions = Additions((fresh,), (NewElement("uns/version", "7.1", replaces=True),))
    data = anndata.read_h5ad(append(labelled, additions).path)
    assert list(data.obs)[-2:] == ["cell_type", "last"]
    assert data.obs["cell_type"].tolist() == ["NK"] * CELLS
    assert data.uns["version"] == "7.1"


@pytest.mark.parametrize("old", [False, True])
def test_labels_are_removed_again(cells: Path, *, old: bool) -> None:
    if old:
        rewrite_as_0_7(cells)
    additions = Additions((LABELS, column("joinid", TEXTS)), (NewElement("uns/version", "7.1"),))
    labelled = append(cells, additions).path
    removal = Additions(
        removed_columns=(RemovedColumn("obs", "cell_type"), RemovedColumn("obs", "joinid")),
        removed_elements=("uns/version",),
    )
    plain = append(labelled, removal)
    assert {path.split("/")[1] for path in plain.proof.removed} <= {"cell_type", "joinid", "version", "__categories"}
    before: Any = anndata.read_h5ad(cells)
    after: Any = anndata.read_h5ad(plain.path)
    pd.testing.assert_frame_equal(before.obs, after.obs)
    assert dict(before.uns) == dict(after.uns)
    with h5py.File(plain.path) as file:
        assert "cell_type" not in file["obs"].get("__categories", {})


def test_all_columns_of_a_frame_are_removed(cells: Path) -> None:
    removal = Additions(removed_columns=(RemovedColumn("var", "feature_is_filtered"),))
    result = append(cells, removal).path
    assert list(anndata.read_h5ad(result).var) == []
    assert list(anndata.read_h5ad(append(result, Additions((LABELS,))).path).obs)[-1] == "cell_type"


# --- What is refused ---


def refusal[T: CelldockError](kind: type[T], path: Path, additions: Additions) -> T:
    digest = hashlib.sha256(path.read_bytes()).digest()
    with pytest.raises(kind) as refused:
        append(path, additions)
    assert hashlib.sha256(path.read_bytes()).digest() == digest
    return refused.value


@pytest.mark.parametrize(
    "additions",
    [
        Additions((column("donor_id", TEXTS),)),
        Additions((column("_index", TEXTS, replaces=True),)),
        Additions(elements=(NewElement("uns/title", "another"),)),
        Additions(elements=(NewElement("uns/title/below", "a text is no dictionary"),)),
    ],
)
def test_an_authors_name_is_not_taken(cells: Path, additions: Additions) -> None:
    error = refusal(InvalidSubmission, cells, additions)
    assert error.code == "file.name_taken"
    assert "author_" in error.hint


@pytest.mark.parametrize(
    ("values", "more"),
    [
        (TEXTS[:-1], {}),
        (CODES, {}),
        (CODES, {"kind": "categorical", "categories": ("one",)}),
        (CODES.astype(np.int8), {"kind": "integer", "dtype": "int64"}),
        (TEXTS.reshape(2, -1), {}),
    ],
)
def test_values_that_are_not_what_the_column_says(cells: Path, values: np.ndarray, more: dict[str, Any]) -> None:
    assert refusal(ServiceFault, cells, Additions((column("new", values, **more),))).code.startswith("additions.")


def test_more_columns_than_an_attribute_holds(cells: Path) -> None:
    names = [f"gene_{index}" for index in range(4060)]
    with h5py.File(cells, "r+") as file:
        # The columns themselves would take a minute to write, and nobody looks at them.
        file["obs"].attrs["column-order"] = np.array(names, dtype=object)
    with h5py.File(append(cells, Additions((column("one_more", TEXTS),))).path) as file:
        assert list(file["obs"].attrs["column-order"]) == [*names, "one_more"]
    too_many = Additions(tuple(column(f"more_{index}", TEXTS) for index in range(10)))
    assert "columns" in refusal(CannotAppend, cells, too_many).message


def test_frames_of_records(cells: Path) -> None:
    with h5py.File(cells, "r+") as file:
        del file["var"]
        file["var"] = np.array([(b"a", 1)] * GENES, dtype=[("index", "S1"), ("n", "i4")])
    additions = Additions((column("name", np.arange(GENES), kind="integer", dtype="int64", frame="var", rows=GENES),))
    error = refusal(CannotAppend, cells, additions)
    assert (error.code, error.where) == ("file.not_appendable", "var")


def test_a_column_that_anndata_0_7_does_not_know(cells: Path) -> None:
    missing = column("n", np.ma.masked_less(CODES, 0), kind="nullable-integer", dtype="int64")
    assert "0.7" in refusal(CannotAppend, rewrite_as_0_7(cells), Additions((missing,))).message


def test_a_file_that_remembers_its_gaps(tmp_path: Path, cells: Path) -> None:
    path = tmp_path / "gaps.h5ad"
    with h5py.File(cells) as source, h5py.File(path, "w", fs_strategy="fsm", fs_persist=True) as target:
        target.attrs.update(source.attrs)
        for name in source:
            source.copy(name, target)
    assert "free places" in refusal(CannotAppend, path, Additions((LABELS,))).message


def test_bytes_after_the_end_are_not_written_over(cells: Path) -> None:
    with cells.open("ab") as stream:
        stream.write(b"something that somebody put there")
    assert "end" in refusal(CannotAppend, cells, Additions((LABELS,))).message

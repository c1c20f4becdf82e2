"""Whole files, in every encoding that a program has written, against what AnnData reads of them."""

from __future__ import annotations

import json
import lzma
import string
import tarfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from celldock.errors import InvalidSubmission
from celldock.h5ad.elements import MAX_ELEMENT_NODES, Awkward, Column, Sparse, Table, from_plain
from celldock.h5ad.file import open_h5ad, read_header
from celldock.h5ad.headers import CROWD, MAX_UNS_ELEMENTS
from celldock.h5ad.source import LocalSource
from tests import builders, builders_r
from tests.reading import assert_reads_as_anndata, plain_element, read_by_anndata

DATA = Path(__file__).parents[1] / "data" / "h5ad"
FILES = sorted(path.name.removesuffix(".h5ad.xz") for path in DATA.glob("*.xz"))
CORPORA = {"schema_corpus.tar.xz": 15, "schema_corpus_2.0.0.tar.xz": 6}
"""Archives of sound and unsound files; one in so many is read here, which takes some five seconds."""


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[str], Path]:
    """A file of tests/data/h5ad, decompressed."""

    def decompress(name: str) -> Path:
        path = tmp_path / f"{name}.h5ad"
        path.write_bytes(lzma.decompress((DATA / f"{name}.h5ad.xz").read_bytes()))
        return path

    return decompress


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith("-awkward")])
def test_each_version_of_anndata_is_read(name: str, stored: Callable[[str], Path]) -> None:
    header = assert_reads_as_anndata(stored(name), rows=3)
    assert all(column.kind != "unsupported" for column in header.obs.columns)


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith("-awkward")])
def test_awkward_arrays_are_handed_out_as_they_are_stored(name: str, stored: Callable[[str], Path]) -> None:
    with open_h5ad(LocalSource(stored(name))) as file:
        header = file.header()
        records, ragged = file.element("uns/records"), file.element("obsm/ragged")
    assert [(array.key, array.kind) for array in header.obsm] == [("ragged", "other")]
    assert [(element.path, element.kind) for element in header.uns] == [("uns/records", "awkward")]
    assert isinstance(records, Awkward)
    assert isinstance(ragged, Awkward)
    assert (records.length, ragged.length) == (2, 7)
    offsets, values = (ragged.buffers[name].tolist() for name in ("node0-offsets", "node1-data"))
    lists = [values[start:stop] for start, stop in pairwise(offsets)]
    assert lists == [[1, 2], [], [3], [4, 5, 6], [], [], [7]]
    assert json.loads(records.form)["fields"] == ["a", "b"]


@pytest.mark.parametrize("options", [{}, {"scaled": True}, {"meta_features": False}, {"graph": False}], ids=str)
def test_what_seurat_disk_writes_is_read(tmp_path: Path, options: dict[str, bool]) -> None:
    assert_reads_as_anndata(builders_r.make_seurat_disk(tmp_path / "seurat.h5ad", **options), rows=4)


def test_what_anndatar_writes_is_read(tmp_path: Path) -> None:
    header = assert_reads_as_anndata(builders_r.make_anndatar(tmp_path / "r.h5ad"), rows=4)
    kinds = {column.name: (column.kind, column.ordered) for column in header.obs.columns}
    assert kinds["dose"] == ("categorical", True)
    assert (header.var.columns, header.var.length) == ((), 4)


def test_text_of_anndatar_that_is_not_the_ascii_it_says_is_refused_as_by_anndata(tmp_path: Path) -> None:
    path = builders_r.make_anndatar(tmp_path / "r.h5ad", label="Zellträger")
    with pytest.raises(UnicodeDecodeError):
        read_by_anndata(path)
    with open_h5ad(LocalSource(path)) as file:
        kind = next(column for column in file.header().obs.columns if column.name == "kind")
        with pytest.raises(InvalidSubmission) as refused:
            file.categories(kind)
    assert (refused.value.code, refused.value.where) == ("file.not_utf8", "obs/kind/categories")


@pytest.mark.parametrize(
    "name", ["pbmc68k_reduced.h5ad", "pbmc68k_schema2.0.0.h5ad", "pbmc68k_schema2.0.0_labelled.h5ad"]
)
def test_real_files_are_read(name: str) -> None:
    assert_reads_as_anndata(builders.shared_data(name), rows=64)


@pytest.mark.parametrize(("name", "step"), CORPORA.items())
def test_the_corpora_are_read_or_refused_where_anndata_fails(name: str, step: int, tmp_path: Path) -> None:
    with tarfile.open(builders.shared_data(name)) as archive:
        members = [member for member in archive if member.name.endswith(".h5ad")]
        members.sort(key=lambda member: member.name)
        archive.extractall(tmp_path, members[::step], filter="data")
    read = 0
    for path in tmp_path.rglob("*.h5ad"):
        try:
            read_by_anndata(path)
        except Exception:  # noqa: BLE001 - whatever AnnData raises, the file is not to be read
            with pytest.raises(InvalidSubmission):
                read_header(LocalSource(path))
        else:
            assert_reads_as_anndata(path)
            read += 1
    assert read


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6)
NAMES = st.text(string.ascii_letters + "é日_ -", min_size=1, max_size=6).filter(lambda name: name != "_index")
NUMBERS = ["int8", "uint16", "int32", "int64", "uint64", "float16", "float32", "float64", "bool", ">i4", ">f8"]


def numbers(shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
    def cast(dtype: str, seed: int) -> np.ndarray:
        values = np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)
        if values.dtype.kind == "f" and values.size:
            values.flat[0] = np.nan
        return values

    return st.builds(cast, st.sampled_from(NUMBERS), st.integers(0, 99))


def columns(n: int) -> st.SearchStrategy[Any]:
    def lists(of: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
        return st.lists(st.none() | of, min_size=n, max_size=n)

    labels = TEXT | st.sampled_from(["a", "b"])
    return st.one_of(
        numbers((n,)),
        st.lists(TEXT, min_size=n, max_size=n).map(lambda values: np.array(values, dtype=object)),
        lists(labels).map(lambda values: pd.array(values, dtype="string")),
        lists(labels).map(lambda values: pd.array(values, dtype="str")),
        lists(st.integers(-9, 9)).map(lambda values: pd.array(values, dtype="Int16")),
        lists(st.booleans()).map(lambda values: pd.array(values, dtype="boolean")),
        st.builds(lambda values, ordered: pd.Categorical(values, ordered=ordered), lists(labels), st.booleans()),
        lists(st.integers(-9, 9)).map(pd.Categorical),
        lists(st.booleans()).map(pd.Categorical),
    )


def frames(n: int) -> st.SearchStrategy[pd.DataFrame]:
    index = pd.Index([f"row-{i}" for i in range(n)], dtype="str")
    return st.dictionaries(NAMES, columns(n), max_size=4).map(lambda values: pd.DataFrame(values, index=index))


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(),
        st.complex_numbers().map(np.complex128),
        TEXT,
        numbers((2, 3)),
        st.lists(TEXT, min_size=1, max_size=3).map(lambda values: np.array(values, dtype=object)),
        st.integers(0, 3).flatmap(frames),
        st.just(sparse.csc_matrix(np.eye(3, 2))),
        st.just(np.rec.fromarrays([np.array(["a", "é"], object), np.array([1.5, 2])], names=["text", "number"])),
    ),
    lambda children: st.dictionaries(NAMES, children, max_size=3),
    max_leaves=6,
)


@st.composite
def datasets(draw: st.DrawFn) -> anndata.AnnData:
    n_obs, n_vars = draw(st.integers(0, 5)), draw(st.integers(0, 3))
    data = anndata.AnnData(
        X=draw(st.sampled_from([sparse.csr_matrix, sparse.csc_matrix, np.asarray]))(np.ones((n_obs, n_vars), "f4")),
        obs=draw(frames(n_obs)),
        var=draw(frames(n_vars)),
        uns=draw(st.dictionaries(NAMES, VALUES, max_size=3)),
    )
    data.obsm["dense"], data.obsm["frame"] = draw(numbers((n_obs, 2))), draw(frames(n_obs))
    data.varm["cube"] = draw(numbers((n_vars, 2, 2)))
    data.obsp["graph"] = sparse.csr_matrix(np.eye(n_obs))
    if draw(st.booleans()):
        data.raw = data.copy()
    return data


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(data=datasets(), rows=st.integers(1, 5))
@pytest.mark.filterwarnings("ignore")
def test_whatever_anndata_writes_is_read(tmp_path: Path, data: anndata.AnnData, rows: int) -> None:
    path = tmp_path / "data.h5ad"
    with anndata.settings.override(allow_write_nullable_strings=True):
        data.write_h5ad(path)
    assert_reads_as_anndata(path, rows)


def changed(tmp_path: Path, change: Callable[[h5py.File], Any], **options: Any) -> Path:
    path = builders.make_h5ad(tmp_path / "cells.h5ad", **options)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def test_a_part_of_uns_is_read_alone(tmp_path: Path) -> None:
    colors = np.array(["#ff0000", "#00ff00"], dtype=object)
    frame = pd.DataFrame({"x": ["u", "v"]}, index=["r", "s"])
    nested = {"a": {"b": {"c": 1.5}}, "donor_id_colors": colors, "frame": frame}
    path = builders.make_h5ad(tmp_path / "cells.h5ad", uns=nested)
    with open_h5ad(LocalSource(path)) as file:
        listed = {element.path: (element.kind, element.shape, element.dtype) for element in file.header().uns}
        assert file.element("uns/a") == {"b": {"c": 1.5}}
        assert file.element("uns/a/b/c") == 1.5
        assert file.element("uns/title") == "A small dataset"
        np.testing.assert_array_equal(file.element("uns/donor_id_colors"), colors)
        table = file.element("uns/frame")
    assert plain_element(table) == [("_index", ["r", "s"]), ("x", ["u", "v"])]
    assert listed == {
        "uns/a": ("dict", (1,), ""),
        "uns/a/b": ("dict", (1,), ""),
        "uns/a/b/c": ("scalar", (), "float64"),
        "uns/donor_id_colors": ("array", (2,), "str"),
        "uns/frame": ("frame", (2, 1), ""),
        "uns/organism_ontology_term_id": ("scalar", (), "str"),
        "uns/title": ("scalar", (), "str"),
    }


def _unknown(file: h5py.File) -> None:
    file["uns/title"].attrs["encoding-type"] = "hologram"


def _large(file: h5py.File) -> None:
    file["uns"].create_dataset("big", (9 * 1024**2,), "f8", chunks=(1024**2,), compression="gzip")[...] = 1


def _deep(file: h5py.File) -> None:
    file["uns"].create_group("big/" + "/".join("abcdefghijklmnopqrst"))


def _crowded(file: h5py.File) -> None:
    crowd, uns = file["uns"].create_group("big").id, file["uns"].id
    h5py.h5g.create(uns, b"member").close()
    for i in range(MAX_ELEMENT_NODES):
        crowd.links.create_hard(b"%d" % i, uns, b"member")


def _outside(file: h5py.File) -> None:
    group = file["uns"].create_group("big")
    group.attrs.update({"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False})
    group["codes"], group["categories"] = np.array([0, 7], "i1"), ["a"]


@pytest.mark.parametrize(
    ("spoil", "path", "code"),
    [
        (lambda _: None, "uns/missing", "file.element_missing"),
        (_unknown, "uns/title", "file.element_unreadable"),
        (_large, "uns/big", "file.element_too_large"),
        (_large, "uns", "file.element_too_large"),
        (_deep, "uns/big", "file.too_many_members"),
        (_crowded, "uns/big", "file.too_many_members"),
        (_outside, "uns/big", "file.category_out_of_range"),
    ],
)
def test_what_cannot_be_read_whole_is_refused(
    tmp_path: Path, spoil: Callable[[h5py.File], None], path: str, code: str
) -> None:
    with open_h5ad(LocalSource(changed(tmp_path, spoil))) as file, pytest.raises(InvalidSubmission) as refused:
        file.element(path)
    assert refused.value.code == code
    assert refused.value.where.startswith("uns")
    assert refused.value.hint


def test_a_header_lists_only_so_many_elements_of_uns(tmp_path: Path) -> None:
    header = read_header(LocalSource(changed(tmp_path, _crowded)))
    assert (len(header.uns), header.uns_complete) == (MAX_UNS_ELEMENTS, False)
    assert {"uns/big", "uns/title"} <= {element.path for element in header.uns[:4]}, "level by level"


def test_a_header_does_not_look_into_the_members_of_a_crowd(tmp_path: Path) -> None:
    def screen(file: h5py.File) -> None:
        for number in range(CROWD + 1):
            file.create_group(f"uns/guides/{number}")["role"] = "control"
        file.create_group("uns/few/one")["role"] = "control"

    with open_h5ad(LocalSource(changed(tmp_path, screen))) as file:
        header = file.header()
        guides = file.element("uns/guides")
    listed = {element.path: element.shape for element in header.uns}
    assert header.uns_complete
    assert (listed["uns/guides"], listed["uns/guides/0"]) == ((CROWD + 1,), (1,))
    assert ("uns/few/one/role" in listed, "uns/guides/0/role" in listed) == (True, False)
    assert guides == {str(number): {"role": "control"} for number in range(CROWD + 1)}


def _answers() -> Iterator[Any]:
    column = {"name": "x", "kind": "categorical", "values": np.zeros(2, "i1"), "categories": np.ones(1), "mask": None}
    assert isinstance(from_plain({"column": column}), Column)
    yield {"column": {**column, "values": np.ones(2, "i1")}}
    yield {"column": {**column, "values": np.zeros(2)}}
    yield {"column": {**column, "kind": "soup"}}
    yield {"column": {**column, "categories": None, "mask": np.zeros(3, bool)}}
    yield {"table": {"index": None, "columns": [column, {}]}}
    yield {"sparse": {"encoding": "csr", "shape": [1, 1], "arrays": [np.ones(1)]}}
    yield {"sparse": {"encoding": "coo", "shape": [1, 1], "arrays": [np.ones(1)] * 3}}
    yield {"awkward": {"form": "{}", "length": 1, "buffers": {"a": [1]}}}
    yield {"complex": [np.ones(1), np.ones(2)]}
    yield {"complex": ["1", 2.0]}
    yield {"dict": {"a": {"b": 1}}}
    yield [1]


@pytest.mark.parametrize("answer", list(_answers()))
def test_what_no_reader_would_answer_is_no_element(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_plain(answer)


def test_tables_and_sparse_matrices_are_told_apart(tmp_path: Path) -> None:
    records = np.rec.fromarrays([np.array(["a", "b"], object), np.array([1.5, 2])], names=["text", "number"])
    path = builders.make_h5ad(tmp_path / "cells.h5ad", uns={"records": records, "matrix": sparse.csr_matrix(np.eye(2))})
    with open_h5ad(LocalSource(path)) as file:
        table, matrix = file.element("uns/records"), file.element("uns/matrix")
    assert isinstance(table, Table)
    assert table.index is None
    assert [column.kind for column in table.columns] == ["string", "float"]
    assert isinstance(matrix, Sparse)
    assert (matrix.encoding, matrix.shape, matrix.data.tolist()) == ("csr", (2, 2), [1, 1])

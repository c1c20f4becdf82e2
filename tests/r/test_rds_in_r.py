"""R's own packages read the objects, take them for valid, work on them and find in them what AnnData finds in the file.

`make test-r` runs this; nothing else does, for it takes R with Seurat and SingleCellExperiment. Each package reads all
files in one run of R.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from celldock.formats.protocol import Partition
from celldock.formats.rds import Rds
from celldock.formats.sink import LocalSink
from tests.builders import make_anndata
from tests.reading import plain_series, read_by_anndata
from tests.subjects import subject_of

HERE = Path(__file__).parent
COUNTS, DATA = "counts", "data"

CUTS = {"every column": [7, 20], "whole counts": [], "unsorted": [1, 13, 19], "a single cell": [], "by columns": []}
"""Where files are cut into partitions; others not at all."""


def every_column() -> anndata.AnnData:
    """Columns of every kind, names that are not ASCII, embeddings without some values."""
    frame = {
        "cell type": pd.Categorical(["é", None, "T cell, αβ", "é"] * 10, ["T cell, αβ", "é", "unused"]),
        "dose": pd.Categorical(["low", "high", None, "low"] * 10, ["low", "high"], ordered=True),
        "cluster": pd.Categorical([10, 2, None, 10] * 10),
        "text": ["é", "", "\N{GRINNING FACE}", "NA"] * 10,
        "nullable text": pd.array(["x", pd.NA, "", "NA"] * 10, dtype="string"),
        "bool": [True, False, True, True] * 10,
        "nullable bool": pd.array([True, pd.NA, False, True] * 10, dtype="boolean"),
        "i4": np.array([2**31 - 1, -(2**31) + 1, 0, 1] * 10, np.int32),
        "i8": np.array([2**53, -(2**31), 0, 1] * 10),
        "nullable integer": pd.array([7, pd.NA, 0, -5] * 10, dtype="Int64"),
        "nullable double": pd.array([2**40, pd.NA, 0, 1] * 10, dtype="Int64"),
        "f4": np.array([0.1, np.nan, np.inf, -np.inf] * 10, np.float32),
    }
    umap = np.random.default_rng(5).normal(size=(40, 2)).astype(np.float32)
    umap[3] = np.nan
    names = [f"Zelle-{number}-ü" for number in range(40)]
    obsm = {"X_umap": umap, "X_u.map": np.arange(120).reshape(40, 3), "spatial": umap.astype(np.float64)}
    data = make_anndata(n_obs=40, obs=frame, obs_names=names, obsm=obsm)
    data.var["score"] = np.linspace(0, 1, 10)
    return data


def whole_counts() -> anndata.AnnData:
    """Counts as int32 in raw, a dense X of doubles."""
    data = make_anndata(n_obs=30, n_vars=12)
    counts = sparse.csr_matrix(data.raw.X, dtype=np.int32)
    data.X = np.log1p(counts.toarray()).astype(np.float64)
    data.raw = anndata.AnnData(counts, var=data.raw.var)
    return data


def unsorted() -> anndata.AnnData:
    """Rows of falling columns with 64-bit indices and zeros that are stored; no raw."""
    data = make_anndata(n_obs=25, raw=False)
    columns, values = np.tile(np.array([7, 5, 3, 0]), 25), np.arange(100) % 4
    matrix = sparse.csr_matrix((values.astype(np.float64), columns, np.arange(26) * 4), shape=(25, 10))
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    data.X = matrix
    return data


def without_values() -> anndata.AnnData:
    """Matrices of zeros alone."""
    data = make_anndata(n_obs=20, raw=False)
    data.X = sparse.csr_matrix(data.shape, dtype=np.float32)
    return data


def wide_table() -> anndata.AnnData:
    """300 columns, and one of 100,000 categories."""
    many = pd.Categorical.from_codes(np.arange(20) * 5_000, [f"category {number}" for number in range(100_000)])
    return make_anndata(
        n_obs=20, obs={f"column {number}": np.arange(20) * number for number in range(300)} | {"m": many}
    )


def underscores() -> anndata.AnnData:
    """Names of genes as flies have them."""
    return make_anndata(n_obs=20, var_names=[f"FBtr{number}_df_nrg" for number in range(10)])


def raw_of_more_genes() -> anndata.AnnData:
    """Fewer genes in X than in raw, which is left out for that."""
    return make_anndata(n_obs=20)[:, :6].copy()


FILES: Mapping[str, Callable[[], anndata.AnnData]] = {
    "every column": every_column,
    "whole counts": whole_counts,
    "unsorted": unsorted,
    "by columns": lambda: make_anndata(n_obs=20, x="csc"),
    "without values": without_values,
    "a single cell": lambda: make_anndata(n_obs=1),
    "wide table": wide_table,
    "underscores": underscores,
    "raw of more genes": raw_of_more_genes,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each file, with both objects and the file itself."""
    root = tmp_path_factory.mktemp("rds")
    for name, make in FILES.items():
        place = root / name
        place.mkdir()
        with anndata.settings.override(allow_write_nullable_strings=True):
            make().write_h5ad(place / "a.h5ad", compression="gzip")
        subject = subject_of(place / "a.h5ad")
        edges = pairwise([0, *CUTS.get(name, []), subject.header.n_obs])
        sink = LocalSink(place, tmp_path_factory.mktemp("scratch"))
        cuts = [Partition(index, start, stop) for index, (start, stop) in enumerate(edges)]
        Rds().assemble(subject, [Rds().convert(subject, cut, sink) for cut in cuts], sink)
    return root


@pytest.fixture(scope="module", params=["seurat", "sce"])
def read(request: pytest.FixtureRequest, folder: Path) -> str:
    """The package that has read all files and left what it found beside each."""
    script = HERE / f"check_{request.param}.R"
    answer = subprocess.run(["Rscript", script, folder], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return request.param


def same_matrix(found: Mapping[str, Any], expected: Any, *, turned: bool) -> None:
    """Every element; `turned` for genes by cells."""
    matrix = expected.toarray() if sparse.issparse(expected) else np.asarray(expected)
    values = np.array(found["values"], np.float64).reshape(found["shape"], order="F")
    np.testing.assert_array_equal(values.T if turned else values, matrix.astype(np.float64))


def values_in_r(column: Mapping[str, Any]) -> list[Any]:
    """Numbers are given as text."""
    if column["type"] not in ("numeric", "double"):
        return column["values"]
    return [None if value is None else float(value) for value in column["values"]]


R_TYPES = {"O": {"character", "factor", "ordered"}, "b": {"logical"}, "i": {"integer", "numeric"}, "f": {"numeric"}}


def same_frame(found: Mapping[str, Any], frame: Any) -> None:
    assert found["rows"] == list(frame.index)
    assert found["names"] == list(frame.columns)
    for name, column in zip(found["names"], found["columns"], strict=True):
        series = frame[name]
        expected = plain_series(series)
        if isinstance(series.dtype, pd.CategoricalDtype):
            assert column["type"] == ("ordered" if series.dtype.ordered else "factor"), name
            assert column["levels"] == [str(label) for label in series.cat.categories], name
            expected = [None if value is None else str(value) for value in expected]
        else:
            kind = "O" if pd.api.types.is_string_dtype(series.dtype) else series.dtype.kind
            assert column["type"] in R_TYPES[kind], name
        np.testing.assert_equal(values_in_r(column), expected, err_msg=name)


@pytest.mark.parametrize("name", FILES)
def test_r_finds_what_anndata_finds(folder: Path, read: str, name: str) -> None:
    found = json.loads((folder / name / f"{read}.json").read_text())
    data = read_by_anndata(folder / name / "a.h5ad")

    assert found["cells"] == list(data.obs_names)
    if read == "seurat":
        data.var_names = [name.replace("_", "-") for name in data.var_names]
    assert found["genes"] == list(data.var_names)
    same_frame(found["obs"], data.obs)
    same_frame(found["var"], data.var)
    assert found["title"] == ["A small dataset"]
    raw = data.raw if data.raw is not None and data.raw.shape == data.shape else None
    normal = DATA if read == "seurat" else "logcounts"
    expected = {normal: data.X} if raw is None else {COUNTS: raw.X, normal: data.X}
    if data.raw is None:
        expected = {COUNTS: data.X, DATA: data.X} if read == "seurat" else {COUNTS: data.X}
    assert found["matrices"].keys() == expected.keys()
    for slot, matrix in expected.items():
        same_matrix(found["matrices"][slot], matrix, turned=True)
    assert found["reductions"].keys() == {key.removeprefix("X_") for key in data.obsm}
    for key, embedding in data.obsm.items():
        same_matrix(found["reductions"][key.removeprefix("X_")], embedding, turned=False)
    assert found["omitted"] == (["raw/X"] if data.raw is not None and raw is None else [])

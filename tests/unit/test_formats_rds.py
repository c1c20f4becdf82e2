"""The R objects hold what AnnData reads from the file, however it is stored and wherever it is cut."""

from __future__ import annotations

import math
import shutil
import subprocess
import tracemalloc
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from celldock.errors import InvalidSubmission, NotFeasible, ServiceFault
from celldock.formats.protocol import Part, Partition, Subject
from celldock.formats.rds import Rds
from celldock.formats.rds_xdr import Kind, vector_head
from celldock.formats.sink import LocalSink
from tests.builders import make_h5ad
from tests.r_reading import NA, RObject, read_rds
from tests.subjects import subject_of

RDS = Rds()
SEURAT, SCE = "seurat.rds", "sce.rds"
CHECKS = Path(__file__).parents[1] / "r"


def partitions_of(subject: Subject, cuts: Sequence[int] | None) -> list[Partition]:
    if cuts is None:
        return list(RDS.plan(subject.header, 0).partitions)
    edges = pairwise([0, *cuts, subject.header.n_obs])
    return [Partition(index, start, stop) for index, (start, stop) in enumerate(edges)]


def convert(h5ad: Path, folder: Path, cuts: Sequence[int] | None = None) -> tuple[Subject, list[Part]]:
    """Converts a file into `folder`, in the planned partitions or in those between `cuts`."""
    subject = subject_of(h5ad)
    scratch = folder.with_name(f"{folder.name}-scratch")
    scratch.mkdir(exist_ok=True)
    sink = LocalSink(folder, scratch)
    parts = [RDS.convert(subject, partition, sink) for partition in partitions_of(subject, cuts)]
    files = RDS.assemble(subject, parts, sink)
    assert [file.path for file in files] == [SEURAT, SCE]
    assert list(scratch.iterdir()) == []
    return subject, parts


def assay(folder: Path) -> RObject:
    return read_rds(folder / SEURAT)["assays"]["RNA"]


def cells_by_genes(matrix: RObject) -> np.ndarray:
    """The values of a dgCMatrix, turned round, after the checks that R makes of it."""
    genes, cells = matrix["Dim"].value
    p, i, x = (matrix[slot].value for slot in ("p", "i", "x"))
    assert matrix.value == "dgCMatrix"
    assert len(p) == cells + 1
    assert (p[0], p[-1]) == (0, len(i))
    assert len(i) == len(x)
    for start, stop in pairwise(p):
        assert (np.diff(i[start:stop]) > 0).all()
    assert not len(i) or 0 <= i.min() <= i.max() < genes
    return sparse.csr_matrix((x, i, p), shape=(cells, genes)).toarray()


def dense(matrix: Any) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


def plain(column: RObject) -> list[Any]:
    """The values of a column, None where missing; the labels of a factor."""
    values = column.value
    if "levels" in column.attributes:
        return [None if code == NA else column["levels"].value[code - 1] for code in values]
    if not isinstance(values, np.ndarray):
        return values
    # Among the NaN, R takes the one whose lower word is 1954 for missing.
    missing = values.view(np.int64) & 0xFFFFFFFF == 1954 if values.dtype.kind == "f" else values == NA
    return [None if gone else value for value, gone in zip(values.tolist(), missing, strict=True)]


@pytest.mark.parametrize(
    "cuts", [[7], pytest.param(None, marks=pytest.mark.long), pytest.param([1, 2, 19], marks=pytest.mark.long)]
)
def test_both_matrices_come_back_as_anndata_reads_them(tmp_path: Path, cuts: list[int] | None) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad")

    convert(h5ad, tmp_path / "rds", cuts)

    data = anndata.read_h5ad(h5ad)
    assert data.raw is not None
    slots = assay(tmp_path / "rds")
    for slot, matrix in (("counts", data.raw.X), ("data", data.X)):
        assert np.array_equal(cells_by_genes(slots[slot]), dense(matrix))
        genes, cells = slots[slot]["Dimnames"].value
        assert (genes.value, cells.value) == (list(data.var_names), list(data.obs_names))
    assays = read_rds(tmp_path / "rds" / SCE)["assays"]["data"]["listData"]
    assert assays.names == ["counts", "logcounts"]
    assert np.array_equal(cells_by_genes(assays["logcounts"]), dense(data.X))


@pytest.mark.parametrize("x", ["csc", "dense"])
def test_matrices_that_are_not_stored_by_rows_make_one_partition(tmp_path: Path, x: Literal["csc", "dense"]) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad", x=x, n_obs=600)

    subject, parts = convert(h5ad, tmp_path / "rds")

    assert [part.partition for part in parts] == [Partition(0, 0, 600)]
    slots = assay(tmp_path / "rds")
    assert np.array_equal(cells_by_genes(slots["data"]), dense(anndata.read_h5ad(h5ad).X))
    with pytest.raises(ServiceFault):
        RDS.convert(subject, Partition(0, 0, 256), LocalSink(tmp_path / "cut", tmp_path))


def test_without_a_raw_x_is_counts_and_data_and_is_written_once(tmp_path: Path) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad", raw=False)

    _, (part,) = convert(h5ad, tmp_path / "rds")

    slots = assay(tmp_path / "rds")
    assert np.array_equal(cells_by_genes(slots["counts"]), dense(anndata.read_h5ad(h5ad).X))
    assert np.array_equal(cells_by_genes(slots["counts"]), cells_by_genes(slots["data"]))
    assert not [file.path for file in part.files if "raw" in file.path]
    assert read_rds(tmp_path / "rds" / SCE)["assays"]["data"]["listData"].names == ["counts"]


def rewrite(h5ad: Path, **arrays: np.ndarray) -> Path:
    """Replaces arrays of X by others."""
    with h5py.File(h5ad, "r+") as file:
        for name, values in arrays.items():
            del file[f"X/{name}"]
            file[f"X/{name}"] = values
    return h5ad


@pytest.mark.parametrize("indices", [np.int32, np.int64])
def test_unsorted_rows_are_sorted_and_stored_zeros_stay(tmp_path: Path, indices: type) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=3, n_vars=4, raw=False)
    rewrite(
        h5ad,
        indptr=np.array([0, 3, 3, 5], np.int64),
        indices=np.array([3, 0, 2, 1, 0], indices),
        data=np.array([0.1, 2, 0, 7, 8]),
    )

    convert(h5ad, tmp_path / "rds", [1])

    assert cells_by_genes(assay(tmp_path / "rds")["data"]).tolist() == [[2, 0, 0, 0.1], [0] * 4, [8, 7, 0, 0]]


def test_a_gene_twice_in_a_cell_is_refused_with_the_row(tmp_path: Path) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=3, n_vars=4, raw=False)
    rewrite(h5ad, indptr=np.array([0, 1, 1, 4]), indices=np.array([1, 2, 0, 2]), data=np.ones(4, np.float32))

    with pytest.raises(NotFeasible, match=r"Row 2 of X"):
        convert(h5ad, tmp_path / "rds")


def test_integers_are_exact_or_refused(tmp_path: Path) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=1, n_vars=4, raw=False)
    rewrite(h5ad, indptr=np.array([0, 1]), indices=np.array([1]), data=np.array([2**53], np.int64))
    convert(h5ad, tmp_path / "rds")
    assert cells_by_genes(assay(tmp_path / "rds")["data"]).tolist() == [[0, 2**53, 0, 0]]

    rewrite(h5ad, data=np.array([2**53 + 1], np.int64))
    with pytest.raises(NotFeasible, match=r"9,007,199,254,740,993"):
        convert(h5ad, tmp_path / "rds")


def test_a_matrix_without_any_value(tmp_path: Path) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=3, n_vars=4, raw=False)
    rewrite(h5ad, indptr=np.zeros(4, np.int32), indices=np.empty(0, np.int32), data=np.empty(0, np.float32))

    convert(h5ad, tmp_path / "rds", [2])

    assert not cells_by_genes(assay(tmp_path / "rds")["data"]).any()


COLUMNS = {
    "category": (pd.Categorical(["é", None, "a", "é"]), ["é", None, "a", "é"]),
    "number as category": (pd.Categorical([10, 2, None, 10]), ["10", "2", None, "10"]),
    "string": (["é", "", "NA", "\N{GRINNING FACE}"], ["é", "", "NA", "\N{GRINNING FACE}"]),
    "nullable string": (pd.array(["x", pd.NA, "", "z"], dtype="string"), ["x", None, "", "z"]),
    "bool": (np.array([True, False, True, True]), [1, 0, 1, 1]),
    "nullable bool": (pd.array([True, pd.NA, False, True], dtype="boolean"), [1, None, 0, 1]),
    "i4": (np.array([2**31 - 1, -(2**31) + 1, 0, 1], np.int32), [2**31 - 1, -(2**31) + 1, 0, 1]),
    "R's NA": (np.array([-(2**31), 5, 0, 1], np.int32), [float(-(2**31)), 5.0, 0.0, 1.0]),
    "double": (np.array([2**53, -(2**53), 0, 1]), [2.0**53, -(2.0**53), 0.0, 1.0]),
    "text": (np.array([2**64 - 1, 0, 1, 2], np.uint64), [str(2**64 - 1), "0", "1", "2"]),
    "nullable": (pd.array([7, pd.NA, 0, -5], dtype="Int64"), [7, None, 0, -5]),
    "nullable double": (pd.array([2**40, pd.NA, 0, 1], dtype="Int64"), [2.0**40, None, 0.0, 1.0]),
    "f2": (np.array([0.5, np.inf, -2, 0], np.float16), [0.5, math.inf, -2, 0]),
    "f4": (np.array([0.1, 1, -np.inf, 0], np.float32), [float(np.float32(0.1)), 1, -math.inf, 0]),
}


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a file with columns of every kind."""
    folder = tmp_path_factory.mktemp("kinds")
    obs = {name: values for name, (values, _) in COLUMNS.items()}
    obs["nan"] = np.array([np.nan, 1, 2, 3])
    obs["ordered"] = pd.Categorical(["low", "high", None, "low"], ["low", "high"], ordered=True)
    uns = {
        "nested": {"number": 3, "yes": True, "nothing": None, "empty": {}, "real": 0.5},
        "grid": np.arange(6).reshape(2, 3),
        "words": np.array([["a", "b"], ["c", "d"]]),
        "frame": pd.DataFrame({"k": pd.Categorical(["u", "v"])}, index=["x", "y"]),
        "records": np.array([(1, 0.5)], dtype=[("i", "i4"), ("f", "f8")]),
        "graph": sparse.csr_matrix(np.eye(2)),
        "waves": pd.DataFrame({"wave": [1, 2]}),
    }
    with anndata.settings.override(allow_write_nullable_strings=True):
        h5ad = make_h5ad(folder / "kinds.h5ad", n_obs=4, obs=obs, uns=uns)
    with h5py.File(h5ad, "r+") as file:
        del file["uns/waves/wave"]
        file["uns/waves/wave"] = np.array([1j, 2j])
    convert(h5ad, folder / "rds")
    return folder / "rds"


def test_every_kind_of_column_keeps_its_values(every_kind: Path) -> None:
    table = read_rds(every_kind / SEURAT)["meta.data"]

    assert table.classes == ["data.frame"]
    assert table["row.names"].value == [f"cell-{i:04}" for i in range(4)]
    for name, (_, expected) in COLUMNS.items():
        assert plain(table[name]) == expected, name
    # A value that is no number is not a value that is missing.
    assert plain(table["nan"])[0] is not None
    assert math.isnan(plain(table["nan"])[0])
    assert (table["category"].classes, table["ordered"].classes) == (["factor"], ["ordered", "factor"])
    assert table["ordered"]["levels"].value == ["low", "high"]
    columns = read_rds(every_kind / SCE)["colData"]["listData"]
    assert columns.names == table.names
    for name, (_, expected) in COLUMNS.items():
        assert plain(columns[name]) == expected, name


def test_uns_keeps_its_tree_and_what_r_cannot_hold_is_listed(every_kind: Path) -> None:
    seurat = read_rds(every_kind / SEURAT)
    misc = seurat["misc"]

    nested = misc["nested"]
    assert nested["nothing"] is None
    assert [nested[name].value[0] for name in ("number", "yes", "real")] == [3, 1, 0.5]
    assert nested["empty"].value == []
    assert misc["title"].value == ["A small dataset"]
    assert (misc["grid"].value.tolist(), misc["grid"]["dim"].value.tolist()) == ([0, 3, 1, 4, 2, 5], [2, 3])
    assert misc["words"].value == ["a", "c", "b", "d"]
    assert (misc["frame"]["row.names"].value, plain(misc["frame"]["k"])) == (["x", "y"], ["u", "v"])
    assert misc["records"]["row.names"].value.tolist() == [NA, -1]
    assert "graph" not in misc.names
    assert misc["waves"] is None
    assert seurat["tools"]["celldock"]["omitted"]["where"].value == ["uns/graph", "uns/waves"]


def test_embeddings_come_by_columns_under_keys_that_differ(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    obsm = {"X_umap": np.array([[1, np.nan], [3, np.inf], [5, 6]]), "X_u.map": rng.normal(size=(3, 3))}
    obsm |= {"spatial": np.array([[1, 2], [3, 4], [5, 6]]), "X_RNA": np.ones((3, 1)), "3d": np.ones((3, 3))}
    obsm["cube"] = np.ones((3, 2, 2))
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=3, obsm=obsm)

    subject, _ = convert(h5ad, tmp_path / "rds")

    reductions = read_rds(tmp_path / "rds" / SEURAT)["reductions"]
    embeddings = {name: reductions[name]["cell.embeddings"] for name in reductions.names}
    assert set(embeddings) == {"umap", "u.map", "spatial", "RNA_1", "3d"}
    for key, name in (("X_umap", "umap"), ("X_u.map", "u.map"), ("spatial", "spatial")):
        values = embeddings[name].value.reshape(embeddings[name]["dim"].value, order="F")
        assert np.array_equal(values, obsm[key], equal_nan=True)
    keys = {name: reductions[name]["key"].value[0] for name in reductions.names}
    assert keys == {"umap": "UMAPX2_", "u.map": "UMAP_", "spatial": "SPATIAL_", "RNA_1": "RNA1_", "3d": "DIM3D_"}
    rows, columns = embeddings["umap"]["dimnames"].value
    assert (rows.value, columns.value) == ([f"cell-{i:04}" for i in range(3)], ["UMAPX2_1", "UMAPX2_2"])
    assert [each.where for each in RDS.plan(subject.header, 0).omitted] == ["obsm/cube"]


def test_a_raw_with_genes_of_its_own_is_left_out(tmp_path: Path) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad")
    data = anndata.read_h5ad(h5ad)
    data[:, :6].copy().write_h5ad(h5ad)

    subject, _ = convert(h5ad, tmp_path / "rds")

    assert [each.where for each in RDS.plan(subject.header, 0).omitted] == ["raw/X"]
    slots = assay(tmp_path / "rds")
    assert slots["counts"]["dim"].value.tolist() == [0, 0]
    assert cells_by_genes(slots["data"]).shape == (20, 6)
    assert read_rds(tmp_path / "rds" / SCE)["assays"]["data"]["listData"].names == ["logcounts"]


def test_raw_genes_in_another_order_are_not_taken_for_those_of_x(tmp_path: Path) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad")
    data = anndata.read_h5ad(h5ad)
    data[:, ::-1].copy().write_h5ad(h5ad)

    with pytest.raises(NotFeasible, match=r"raw\.var"):
        convert(h5ad, tmp_path / "rds")


def test_names_that_come_twice_are_refused(tmp_path: Path) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=3, obs_names=["a", "b", "a"])

    with pytest.raises(NotFeasible, match=r"share a name"):
        convert(h5ad, tmp_path / "rds")


def test_text_that_r_cannot_hold_is_refused(tmp_path: Path) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=2)
    with h5py.File(h5ad, "r+") as file:
        del file["uns/title"]
        file["uns/title"] = np.array([b"a\0b"], "S3")

    with pytest.raises(NotFeasible, match=r"NUL"):
        convert(h5ad, tmp_path / "rds")


def test_a_partition_that_is_made_twice_is_the_same(tmp_path: Path) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad")

    _, first = convert(h5ad, tmp_path / "first", [8])
    _, second = convert(h5ad, tmp_path / "second", [8])

    assert first == second
    for name in (SEURAT, SCE):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_an_artifact_is_made_of_all_parts_and_of_nothing_less(tmp_path: Path) -> None:
    subject, parts = convert(make_h5ad(tmp_path / "a.h5ad", n_obs=9), tmp_path / "rds", [2, 5])
    sink = LocalSink(tmp_path / "rds", tmp_path)

    for incomplete in ([], parts[:2], parts[1:], [parts[0], parts[2]], [parts[1], parts[0], parts[2]]):
        with pytest.raises(ServiceFault):
            RDS.assemble(subject, incomplete, sink)


def test_pointers_that_contradict_the_matrix_are_the_submitters_fault(tmp_path: Path) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=3, n_vars=4, raw=False)
    rewrite(h5ad, indptr=np.array([0, 2, 1, 3]), indices=np.arange(3), data=np.ones(3))

    with pytest.raises(InvalidSubmission):
        convert(h5ad, tmp_path / "rds", [1, 2])


def test_vectors_of_more_than_an_int32_of_values_have_a_length_of_two_words() -> None:
    words = np.frombuffer(vector_head(Kind.REAL, 5 * 2**32 + 7), ">i4").tolist()

    assert words == [14, -1, 5, 7]


@pytest.mark.long
def test_memory_does_not_grow_with_the_cells(tmp_path: Path) -> None:
    def peak(n_obs: int) -> int:
        pca = np.broadcast_to(np.arange(200, dtype=np.float32), (n_obs, 200))
        h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=n_obs, n_vars=1, raw=False, obsm={"X_pca": pca}, compression=None)
        subject = subject_of(h5ad)
        sink = LocalSink(tmp_path / "rds", tmp_path)
        parts = [RDS.convert(subject, partition, sink) for partition in partitions_of(subject, None)]
        tracemalloc.start()
        try:
            RDS.assemble(subject, parts, sink)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(16_000) < 1.3 * peak(8_000)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
@pytest.mark.parametrize(("name", "check"), [(SEURAT, "check_seurat.R"), (SCE, "check_sce.R")])
def test_r_takes_the_objects_for_valid_and_sums_them_alike(tmp_path: Path, name: str, check: str) -> None:
    h5ad = make_h5ad(tmp_path / "a.h5ad", n_obs=40, obs={"cell type": pd.Categorical(["é", None] * 20)})
    convert(h5ad, tmp_path / "rds", [7, 20])

    answer = subprocess.run(
        ["Rscript", CHECKS / check, tmp_path / "rds" / name], capture_output=True, text=True, check=False
    )

    assert answer.returncode == 0, answer.stderr
    data = anndata.read_h5ad(h5ad)
    assert data.raw is not None
    facts = {words[0]: [float(word) for word in words[1:]] for words in map(str.split, answer.stdout.splitlines())}
    normal = dense(data.X).astype(np.float64)
    counts = dense(data.raw.X).astype(np.float64)
    assert facts["counts"] == [10, 40, counts.sum(), (counts**2).sum()]
    assert facts["data" if name == SEURAT else "logcounts"] == pytest.approx([10, 40, normal.sum(), (normal**2).sum()])
    umap = data.obsm["X_umap"].astype(np.float64)
    assert facts["umap"] == pytest.approx([40, 2, umap.sum(), (umap**2).sum()], abs=1e-5)

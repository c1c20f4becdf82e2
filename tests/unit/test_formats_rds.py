"""The R objects hold what AnnData reads from the file, however it is stored and wherever it is cut."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from celldock.errors import InvalidSubmission, NotFeasible, ServiceFault
from celldock.formats import rds_matrix
from celldock.formats.protocol import Part, Partition, Subject
from celldock.formats.rds import Rds
from celldock.formats.rds_xdr import Kind, MemberFile, vector_head
from celldock.formats.sink import LocalSink
from tests.builders import OBS, make_anndata, make_h5ad
from tests.r_reading import NA, RObject, cells_by_genes, plain, read_rds
from tests.scanning import scanned
from tests.subjects import converted, sink_of, subject_of

RDS = Rds()
SEURAT, SCE = "seurat.rds", "sce.rds"


def small_h5ad(path: Path, **overrides: Any) -> Path:
    """A file with few columns."""
    return make_h5ad(path, drop=OBS.keys() - {"donor_id"}, **overrides)


def convert(h5ad: Path, folder: Path, cuts: Sequence[int] | None = None) -> tuple[Subject, list[Part]]:
    """Converts a file into `folder`, in the planned partitions or in those between `cuts`."""
    subject, parts = converted(RDS, h5ad, folder, cuts)
    sink = sink_of(folder)
    files = RDS.assemble(subject, parts, sink).files
    assert [file.path for file in files] == [SEURAT, SCE]
    assert list(sink.scratch.iterdir()) == []
    return subject, parts


def assay(folder: Path) -> RObject:
    return read_rds(folder / SEURAT)["assays"]["RNA"]


def dense(matrix: Any) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


@dataclass(frozen=True)
class Converted:
    """A file that has been converted in three parts, into `folder`."""

    h5ad: Path
    folder: Path
    subject: Subject
    parts: list[Part]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """Counts in raw, their logarithm in X."""
    root = tmp_path_factory.mktemp("whole")
    h5ad = small_h5ad(root / "a.h5ad")
    subject, parts = convert(h5ad, root / "rds", [1, 8])
    return Converted(h5ad, root / "rds", subject, parts)


def assert_both_matrices(folder: Path, h5ad: Path) -> None:
    data = anndata.read_h5ad(h5ad)
    assert data.raw is not None
    slots = assay(folder)
    for slot, matrix in (("counts", data.raw.X), ("data", data.X)):
        assert np.array_equal(cells_by_genes(slots[slot]), dense(matrix))
        genes, cells = slots[slot]["Dimnames"].value
        assert (genes.value, cells.value) == (list(data.var_names), list(data.obs_names))


def test_both_matrices_come_back_as_anndata_reads_them(whole: Converted) -> None:
    assert_both_matrices(whole.folder, whole.h5ad)

    assays = read_rds(whole.folder / SCE)["assays"]["data"]["listData"]
    assert assays.names == ["counts", "logcounts"]
    assert np.array_equal(cells_by_genes(assays["logcounts"]), dense(anndata.read_h5ad(whole.h5ad).X))


@pytest.mark.long
@pytest.mark.parametrize("cuts", [None, [7], [1, 2, 19]])
def test_both_matrices_come_back_wherever_they_are_cut(tmp_path: Path, cuts: list[int] | None) -> None:
    h5ad = small_h5ad(tmp_path / "a.h5ad")

    convert(h5ad, tmp_path / "rds", cuts)

    assert_both_matrices(tmp_path / "rds", h5ad)


def test_what_is_made_twice_is_the_same(whole: Converted, tmp_path: Path) -> None:
    sink = LocalSink(tmp_path / "rds", tmp_path)

    parts = [RDS.convert(whole.subject, part.partition, sink) for part in whole.parts]

    assert parts == whole.parts
    RDS.assemble(whole.subject, parts, sink)
    for name in (SEURAT, SCE):
        assert (tmp_path / "rds" / name).read_bytes() == (whole.folder / name).read_bytes()


def test_an_artifact_is_made_of_all_parts_and_of_nothing_less(whole: Converted, tmp_path: Path) -> None:
    parts, sink = whole.parts, LocalSink(whole.folder, tmp_path)

    for incomplete in ([], parts[:2], parts[1:], [parts[0], parts[2]], [parts[1], parts[0], parts[2]], parts + parts):
        with pytest.raises(ServiceFault):
            RDS.assemble(whole.subject, incomplete, sink)


def test_matrices_that_are_not_stored_by_rows_make_one_partition(tmp_path: Path) -> None:
    data = make_anndata(x="dense", n_obs=300)
    data.raw = anndata.AnnData(sparse.csc_matrix(data.raw.X), var=data.raw.var)
    data.write_h5ad(tmp_path / "a.h5ad")

    subject, parts = convert(tmp_path / "a.h5ad", tmp_path / "rds")

    assert [part.partition for part in parts] == [Partition(0, 0, 300)]
    assert [matrix and matrix.encoding for matrix in (subject.header.x, subject.header.raw_x)] == ["dense", "csc"]
    assert_both_matrices(tmp_path / "rds", tmp_path / "a.h5ad")
    with pytest.raises(ServiceFault):
        RDS.convert(subject, Partition(0, 0, 256), LocalSink(tmp_path / "cut", tmp_path))


def rewrite(h5ad: Path, **arrays: np.ndarray) -> Path:
    """Replaces arrays of X by others."""
    with h5py.File(h5ad, "r+") as file:
        for name, values in arrays.items():
            del file[f"X/{name}"]
            file[f"X/{name}"] = values
    return h5ad


def test_without_a_raw_x_is_counts_and_data_and_is_written_once(tmp_path: Path) -> None:
    """The rows of X fall, its indices are of 64 bits, and zeros are stored."""
    h5ad = small_h5ad(tmp_path / "a.h5ad", n_obs=3, n_vars=4, raw=False)
    rewrite(
        h5ad,
        indptr=np.array([0, 3, 3, 5], np.int64),
        indices=np.array([3, 0, 2, 1, 0], np.int64),
        data=np.array([0.1, 2, 0, 7, 8]),
    )

    _, parts = convert(h5ad, tmp_path / "rds", [1])

    slots = assay(tmp_path / "rds")
    for slot in ("counts", "data"):
        assert cells_by_genes(slots[slot]).tolist() == [[2, 0, 0, 0.1], [0] * 4, [8, 7, 0, 0]]
        assert slots[slot]["i"].value.tolist() == [0, 2, 3, 0, 1]
    assert not [file.path for part in parts for file in part.files if "raw" in file.path]
    assert read_rds(tmp_path / "rds" / SCE)["assays"]["data"]["listData"].names == ["counts"]


def convert_x(h5ad: Path) -> None:
    """Makes the only part of a small file."""
    subject = subject_of(h5ad)
    RDS.convert(subject, Partition(0, 0, subject.header.n_obs), LocalSink(h5ad.with_name("rds"), h5ad.parent))


def test_more_nonzeros_than_r_holds_are_refused_before_any_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header does not say how many a dense matrix has; the scan does."""
    h5ad = small_h5ad(tmp_path / "a.h5ad", x="dense", n_obs=5, raw=False)
    subject, sink = subject_of(h5ad), LocalSink(tmp_path / "rds", tmp_path)
    nonzeros = np.count_nonzero(dense(anndata.read_h5ad(h5ad).X))
    monkeypatch.setattr(rds_matrix, "MAX_LENGTH", nonzeros)
    RDS.convert(subject, Partition(0, 0, 5), sink)

    monkeypatch.setattr(rds_matrix, "MAX_LENGTH", nonzeros - 1)
    with pytest.raises(NotFeasible, match=r"X has more than"):
        RDS.convert(subject, Partition(0, 0, 5), sink)
    monkeypatch.setattr(rds_matrix, "MatrixReader", None)
    with pytest.raises(NotFeasible, match=r"X has more than"):
        RDS.convert(replace(subject, scan=partial(scanned, h5ad, tmp_path)), Partition(0, 0, 5), sink)


def test_a_gene_twice_in_a_cell_is_refused_with_the_row(tmp_path: Path) -> None:
    h5ad = small_h5ad(tmp_path / "a.h5ad", n_obs=3, n_vars=4, raw=False)
    rewrite(h5ad, indptr=np.array([0, 1, 1, 4]), indices=np.array([1, 2, 0, 2]), data=np.ones(4, np.float32))

    with pytest.raises(NotFeasible, match=r"Row 2 of X"):
        convert_x(h5ad)


def test_integers_are_exact_or_refused(tmp_path: Path) -> None:
    h5ad = small_h5ad(tmp_path / "a.h5ad", n_obs=1, n_vars=4, raw=False)
    rewrite(h5ad, indptr=np.array([0, 1]), indices=np.array([1], np.int32), data=np.array([2**53], np.int64))
    convert(h5ad, tmp_path / "rds")
    assert cells_by_genes(assay(tmp_path / "rds")["data"]).tolist() == [[0, 2**53, 0, 0]]

    rewrite(h5ad, data=np.array([2**53 + 1], np.int64))
    with pytest.raises(NotFeasible, match=r"9,007,199,254,740,993"):
        convert_x(h5ad)


def test_one_cell_without_any_value(tmp_path: Path) -> None:
    h5ad = small_h5ad(tmp_path / "a.h5ad", n_obs=1, n_vars=4, raw=False)
    rewrite(h5ad, indptr=np.zeros(2, np.int32), indices=np.empty(0, np.int32), data=np.empty(0, np.float32))

    convert(h5ad, tmp_path / "rds")

    assert cells_by_genes(assay(tmp_path / "rds")["data"]).tolist() == [[0] * 4]


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
        h5ad = small_h5ad(folder / "kinds.h5ad", n_obs=4, obs=obs, uns=uns)
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
    h5ad = small_h5ad(tmp_path / "a.h5ad", n_obs=3, obsm=obsm)

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
    h5ad = small_h5ad(tmp_path / "a.h5ad")
    data = anndata.read_h5ad(h5ad)
    data[:, :6].copy().write_h5ad(h5ad)

    subject, _ = convert(h5ad, tmp_path / "rds")

    assert [each.where for each in RDS.plan(subject.header, 0).omitted] == ["raw/X"]
    slots = assay(tmp_path / "rds")
    assert slots["counts"]["dim"].value.tolist() == [0, 0]
    assert cells_by_genes(slots["data"]).shape == (20, 6)
    assert read_rds(tmp_path / "rds" / SCE)["assays"]["data"]["listData"].names == ["logcounts"]


def test_raw_genes_in_another_order_are_not_taken_for_those_of_x(tmp_path: Path) -> None:
    h5ad = small_h5ad(tmp_path / "a.h5ad")
    data = anndata.read_h5ad(h5ad)
    data[:, ::-1].copy().write_h5ad(h5ad)

    with pytest.raises(NotFeasible, match=r"raw\.var"):
        convert_x(h5ad)


def test_seurat_has_dashes_where_its_names_of_genes_must_not_have_underscores(tmp_path: Path) -> None:
    names = ["FBtr0304170_df_nrg", "a|b"]
    h5ad = small_h5ad(tmp_path / "a.h5ad", n_obs=1, n_vars=2, var_names=names, raw=False)

    convert(h5ad, tmp_path / "rds")

    assert assay(tmp_path / "rds")["data"]["Dimnames"].value[0].value == ["FBtr0304170-df-nrg", "a-b"]
    assert assay(tmp_path / "rds")["meta.features"]["row.names"].value == ["FBtr0304170-df-nrg", "a-b"]
    sce = read_rds(tmp_path / "rds" / SCE)
    assert sce["assays"]["data"]["listData"]["counts"]["Dimnames"].value[0].value == names


def test_names_that_come_twice_are_refused(tmp_path: Path) -> None:
    h5ad = small_h5ad(tmp_path / "a.h5ad", n_obs=3, obs_names=["a", "b", "a"])

    with pytest.raises(NotFeasible, match=r"share a name"):
        convert(h5ad, tmp_path / "rds")


def test_text_that_r_cannot_hold_is_refused(tmp_path: Path) -> None:
    with MemberFile(tmp_path / "text.gz") as file, pytest.raises(NotFeasible, match=r"NUL"):
        file.write_values(Kind.TEXT, np.array(["a", "a\0b"], object))


def test_pointers_that_contradict_the_matrix_are_the_submitters_fault(tmp_path: Path) -> None:
    h5ad = small_h5ad(tmp_path / "a.h5ad", n_obs=3, n_vars=4, raw=False)
    rewrite(h5ad, indptr=np.array([0, 2, 1, 3]), indices=np.arange(3), data=np.ones(3))

    with pytest.raises(InvalidSubmission):
        convert_x(h5ad)


def test_vectors_of_more_than_an_int32_of_values_have_a_length_of_two_words() -> None:
    words = np.frombuffer(vector_head(Kind.REAL, 5 * 2**32 + 7), ">i4").tolist()

    assert words == [14, -1, 5, 7]


@pytest.mark.long
def test_memory_does_not_grow_with_the_cells(tmp_path: Path) -> None:
    def peak(n_obs: int) -> int:
        pca = np.broadcast_to(np.arange(200, dtype=np.float32), (n_obs, 200))
        h5ad = small_h5ad(tmp_path / "a.h5ad", n_obs=n_obs, n_vars=1, raw=False, obsm={"X_pca": pca}, compression=None)
        subject = subject_of(h5ad)
        sink = LocalSink(tmp_path / "rds", tmp_path)
        parts = [RDS.convert(subject, partition, sink) for partition in RDS.plan(subject.header, 0).partitions]
        tracemalloc.start()
        try:
            RDS.assemble(subject, parts, sink)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(16_000) < 1.3 * peak(8_000)


@pytest.mark.long
def test_many_columns_and_many_categories(tmp_path: Path) -> None:
    labels = [f"Kategorie {number} – é" for number in range(100_000)]
    many = pd.Categorical.from_codes([99_999, 0, -1], labels)
    obs: dict[str, Any] = {f"column {number}": [number, -number, 0] for number in range(300)}
    h5ad = small_h5ad(tmp_path / "a.h5ad", n_obs=3, obs=obs | {"many": many})

    convert(h5ad, tmp_path / "rds")

    table = read_rds(tmp_path / "rds" / SEURAT)["meta.data"]
    assert [plain(table[name]) for name in obs] == [*obs.values()]
    assert plain(table["many"]) == [labels[-1], labels[0], None]
    assert table["many"]["levels"].value == labels

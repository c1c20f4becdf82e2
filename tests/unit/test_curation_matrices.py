"""Matrices where the schema wants them and as it wants them; what cannot be done without loss is refused."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from celldock.curation.ledger import CurationRefused
from celldock.report import Finding
from tests.builders import gene_names, make_anndata, make_anndata_2_0_0, make_counts
from tests.builders_0_7 import rewrite_as_0_7
from tests.changing import findings_of
from tests.curated_matrices import Done, do
from tests.reading import plain_series
from tests.scanning import scanned

HUMAN = "NCBITaxon:9606"
SYMBOLS = {"TP53": "ENSG00000141510", "CD4": "ENSG00000010610", "GAPDH": "ENSG00000111640"}
CELLS, GENES = 20, 10
COUNTS = make_counts(CELLS, GENES, 0.4)


def written(folder: Path, data: anndata.AnnData) -> Path:
    path = folder / "a.h5ad"
    data.write_h5ad(path, compression="gzip")
    return path


def curated(folder: Path, data: anndata.AnnData, config: Mapping[str, Any] | None = None, **options: Any) -> Done:
    return do(written(folder, data), config, **options)


def dense(matrix: Any) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


def problems(folder: Path, data: anndata.AnnData, config: Mapping[str, Any] | None = None, **options: Any) -> list[Any]:
    with pytest.raises(CurationRefused) as caught:
        curated(folder, data, config, **options)
    return [finding for finding in caught.value.findings if finding.severity == "error"]


def complaints(path: Path) -> list[Finding]:
    """What the schema's rules about matrices and genes find wrong."""
    found = findings_of(path, ("x.", "raw.", "layers.", "matrices.", "var."), scanned(path, path.parent))
    return [finding for finding in found if finding.severity == "error"]


# --- Where matrices are ---


def test_a_valid_file_is_left_as_it_is(tmp_path: Path) -> None:
    done = curated(tmp_path, make_anndata())
    assert done.plan.rewrite is None
    assert done.plan.indexes == done.plan.columns == ()
    assert done.codes == []


@pytest.mark.parametrize("drop", [pytest.param([], marks=pytest.mark.long), ["layers.counts"]])
def test_counts_in_a_layer_become_raw(tmp_path: Path, drop: list[str]) -> None:
    data = make_anndata(raw=False, layers={"counts": sparse.csr_matrix(COUNTS)})
    data.X = sparse.csr_matrix(np.log1p(COUNTS))
    done = curated(tmp_path, data, {"matrices": {"raw.X": "layers.counts"}, "drop": drop})

    assert done.plan.rewrite is not None
    assert done.plan.rewrite.matrices == ()
    assert {**done.plan.rewrite.moved, **done.plan.rewrite.copied} == {"layers/counts": "raw/X"}
    assert done.codes == [*([] if drop else ["matrices.layer_moved"]), "matrices.moved"]
    np.testing.assert_array_equal(dense(done.data.raw.X), COUNTS)
    np.testing.assert_array_equal(dense(done.data.X), np.log1p(COUNTS))
    assert "counts" not in done.data.layers
    assert list(done.data.raw.var_names) == list(done.data.var_names)
    assert "feature_is_filtered" not in done.data.raw.var
    assert "feature_is_filtered" in done.data.var


def test_matrices_may_change_places_and_be_used_many_times(tmp_path: Path) -> None:
    data = make_anndata()
    rules = {"X": "raw.X", "raw.X": "X", "layers.a": "X", "layers.b": "X", "layers.c": "X"}
    done = curated(tmp_path, data, {"matrices": rules})
    np.testing.assert_array_equal(dense(done.data.X), COUNTS)
    for matrix in (done.data.raw.X, *(done.data.layers[name] for name in "abc")):
        np.testing.assert_array_equal(dense(matrix), np.log1p(COUNTS))


def test_a_matrix_that_nothing_keeps_is_not_replaced(tmp_path: Path) -> None:
    data = make_anndata(layers={"scaled": COUNTS - 1})
    rules = {"matrices": {"X": "layers.scaled"}}
    (problem,) = problems(tmp_path, data, rules)
    assert (problem.code, problem.where) == ("matrices.lost", "curation.yaml")
    assert "drop: [X]" in problem.suggestion

    done = curated(tmp_path, data, {**rules, "drop": ["X"]})
    np.testing.assert_array_equal(dense(done.data.X), COUNTS - 1)


def test_what_the_config_names_must_be_there(tmp_path: Path) -> None:
    rules = {"raw.X": "layers.count", "layers.a/b": "X", "obsm.c": "X"}
    found = problems(tmp_path, make_anndata(layers={"counts": COUNTS}), {"matrices": rules, "drop": ["layers.countz"]})
    assert {problem.code for problem in found} == {"matrices.no_such_source", "matrices.no_such_target", "drop.missing"}
    assert len(found) == 4
    assert "layers.counts" in found[1].suggestion


@pytest.mark.long
def test_raw_may_be_left_out(tmp_path: Path) -> None:
    done = curated(tmp_path, make_anndata(), {"drop": ["raw"]})
    assert done.data.raw is None
    np.testing.assert_array_equal(dense(done.data.X), np.log1p(COUNTS))


# --- How they are stored ---


def stored_badly(path: Path) -> Path:
    """raw.X with indices in reverse, each value in two halves, and a zero in each row."""
    with h5py.File(path, "r+") as opened:
        group: Any = opened["raw/X"]
        indptr, indices, data = (group[name][:] for name in ("indptr", "indices", "data"))
        for name in ("indptr", "indices", "data"):
            del group[name]
        rows = [slice(*pair) for pair in pairwise(indptr)]
        group["indices"] = np.concatenate([np.r_[indices[row][::-1], indices[row], 9] for row in rows])
        group["data"] = np.concatenate([np.r_[data[row][::-1] * 2, -data[row], 0] for row in rows])
        group["indptr"] = indptr * 2 + np.arange(len(indptr))
    return path


def test_disorder_is_mended(tmp_path: Path) -> None:
    done = do(stored_badly(written(tmp_path, make_anndata())))
    assert done.codes == ["matrices.explicit_zeros", "matrices.summed", "matrices.sorted"]
    nnz = np.count_nonzero(COUNTS)
    assert done.change("matrices.explicit_zeros").count == CELLS
    assert done.change("matrices.summed").count >= nnz
    assert done.change("matrices.sorted").count == sum(np.count_nonzero(COUNTS, axis=1) > 1)
    made: Any = done.data.raw.X
    np.testing.assert_array_equal(made.toarray(), COUNTS)
    assert made.nnz == nnz
    assert made.has_canonical_format
    assert [new.path for new in done.plan.rewrite.matrices] == ["raw/X"]  # type: ignore[union-attr]
    assert complaints(done.path) == []


@pytest.mark.long
def test_disorder_stays_where_nobody_wants_it_mended(tmp_path: Path) -> None:
    assert do(stored_badly(written(tmp_path, make_anndata())), {"tidy": False}).plan.rewrite is None


@pytest.mark.parametrize(
    ("kind", "dtype"), [("csc", "int64"), ("dense", "float32"), pytest.param("dense", "int64", marks=pytest.mark.long)]
)
def test_matrices_of_mostly_zeros_are_stored_by_rows(tmp_path: Path, kind: Any, dtype: str) -> None:
    data = make_anndata(raw=False)
    encode = sparse.csc_matrix if kind == "csc" else np.asarray
    data.X = encode(COUNTS.astype(dtype))
    done = curated(tmp_path, data)
    assert done.codes == (["matrices.cast"] if dtype == "int64" else []) + ["matrices.csr"]
    made: Any = done.data.X
    assert (made.format, made.dtype) == ("csr", np.float32)
    np.testing.assert_array_equal(made.toarray(), COUNTS)


def test_dense_values_stay_dense(tmp_path: Path) -> None:
    data = make_anndata(layers={"scaled": COUNTS.astype(np.float64) - 1})
    rule = {"layers.small": {"from": "layers.scaled", "dtype": "float32"}}
    done = curated(tmp_path, data, {"matrices": rule})
    made: Any = done.data.layers["small"]
    assert isinstance(made, np.ndarray)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, COUNTS - 1)
    assert done.data.layers["scaled"].dtype == np.float64


@pytest.mark.long
def test_an_older_schema_asks_for_less(tmp_path: Path) -> None:
    path = stored_badly(written(tmp_path, make_anndata_2_0_0()))
    assert "matrices.explicit_zeros" not in do(path, version="2.0.0").codes
    data = make_anndata_2_0_0(x="dense")
    assert data.raw is not None
    data.X = sparse.csc_matrix(dense(data.X))
    assert curated(tmp_path, data, version="2.0.0").plan.rewrite is None


@pytest.mark.parametrize("wanted", [{}, pytest.param({"rounding": "allow"}, marks=pytest.mark.long)])
def test_a_cast_that_loses_is_refused_unless_rounding_is_allowed(tmp_path: Path, wanted: dict[str, str]) -> None:
    data = make_anndata(raw=False, layers={"exact": sparse.csr_matrix(COUNTS.astype(np.float64) / 3)})
    rules = {"matrices": {"layers.short": {"from": "layers.exact", "dtype": "float32", **wanted}}}
    if wanted:
        done = curated(tmp_path, data, rules)
        np.testing.assert_array_equal(dense(done.data.layers["short"]), (COUNTS.astype(np.float64) / 3).astype("f4"))
        return
    (problem,) = problems(tmp_path, data, rules)
    assert (problem.code, problem.where) == ("matrices.unfit", "layers/exact")
    assert "float32 without loss" in problem.message
    assert problem.examples[0].startswith("cell-")
    assert "ENSG" in problem.examples[0]


def test_whole_numbers_that_cannot_be_added_exactly_are_refused(tmp_path: Path) -> None:
    huge = sparse.csr_matrix(np.array([[0, 2**60 + 1] * 5] * CELLS))
    data = make_anndata(var_names=["nonsense", *gene_names(9)], layers={"huge": huge})
    (problem,) = problems(tmp_path, data, {"genes": {"unknown": "drop"}})
    assert (problem.code, problem.where) == ("matrices.unfit", "layers/huge")
    assert f"cell-0000, {gene_names(1)[0]}" in problem.examples[0]


def test_matrices_of_another_shape_are_told(tmp_path: Path) -> None:
    path = written(tmp_path, make_anndata())
    with h5py.File(path, "r+") as file:
        file["raw/X"].attrs["shape"] = (CELLS, GENES + 1)
    with pytest.raises(CurationRefused) as caught:
        do(path)
    assert [finding.code for finding in caught.value.findings] == ["matrices.shape"]


def test_a_damaged_matrix_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, make_anndata())
    with h5py.File(path, "r+") as opened:
        indices: Any = opened["X/indices"]
        indices[0] = GENES
    with pytest.raises(CurationRefused) as caught:
        do(path)
    assert [finding.code for finding in caught.value.findings] == ["matrix.index_out_of_range"]


# --- Genes ---


def test_genes_without_an_id_leave_all_matrices(tmp_path: Path) -> None:
    names = ["TP53", "nonsense", "CD4", "GAPDH", *gene_names(6)]
    kept = [0, *range(2, 10)]
    data = make_anndata(var_names=names, layers={"scaled": COUNTS - 1})
    data.varm["PCs"] = np.arange(30.0).reshape(10, 3)
    data.var["number"] = np.arange(10)
    done = curated(tmp_path, data, {"genes": {"unknown": "drop"}}, organism=HUMAN)

    ids = [*SYMBOLS.values(), *gene_names(6)]
    new = done.data
    assert list(new.var_names) == list(new.raw.var_names) == ids
    assert list(new.var["author_index"]) == list(new.raw.var["author_index"]) == [names[gene] for gene in kept]
    assert list(new.var["number"]) == kept
    np.testing.assert_array_equal(dense(new.raw.X), COUNTS[:, kept])
    np.testing.assert_array_equal(dense(new.X), np.log1p(COUNTS)[:, kept])
    np.testing.assert_array_equal(dense(new.layers["scaled"]), COUNTS[:, kept] - 1)
    np.testing.assert_array_equal(new.varm["PCs"], data.varm["PCs"][kept])
    assert done.plan.genes.organisms == {HUMAN: 9}
    assert done.plan.ids == {"var": tuple(ids), "raw/var": tuple(ids)}
    assert done.codes.count("genes.dropped") == 2
    assert complaints(done.path) == []


def test_symbols_are_replaced_without_a_matrix_being_written(tmp_path: Path) -> None:
    data = make_anndata(n_vars=3, var_names=[*SYMBOLS])
    done = curated(tmp_path, data, organism=HUMAN)
    assert done.plan.rewrite is None
    assert list(done.data.var_names) == list(done.data.raw.var_names) == [*SYMBOLS.values()]
    assert list(done.data.var["gene_symbol"]) == list(done.data.raw.var["gene_symbol"]) == [*SYMBOLS]


def variable_genes() -> tuple[Any, list[int]]:
    """A file of which X has some of raw's genes, in another order; and which."""
    chosen = [7, 2, 5]
    data: Any = make_anndata()
    raw, names = data.raw, gene_names(GENES)
    data = data[:, chosen].copy()
    data.raw = raw.to_adata()
    data.layers["scaled"] = dense(data.X) - 1
    data.varm["PCs"] = np.arange(6, dtype=np.float32).reshape(3, 2)
    data.varm["ranks"] = np.arange(3).reshape(3, 1)
    data.var["text"] = pd.array(["a", "b", "c"], dtype=object)
    data.var["kind"] = pd.Categorical(["x", "y", "x"], ["y", "x"], ordered=True)
    data.var["number"] = np.array([1, 2, 3], np.int16)
    data.var["share"] = np.array([0.5, 0.25, 1.0], np.float32)
    data.var["flag"] = [True, False, True]
    data.var["maybe"] = pd.array([True, None, False], dtype="boolean")
    assert list(data.raw.var_names) == names
    return data, chosen


def test_x_of_variable_genes_is_widened_to_those_of_raw(tmp_path: Path) -> None:
    data, chosen = variable_genes()
    done = curated(tmp_path, data)
    new, others = done.data, [gene for gene in range(GENES) if gene not in chosen]

    assert list(new.var_names) == list(new.raw.var_names) == gene_names(GENES)
    np.testing.assert_array_equal(dense(new.X)[:, chosen], dense(data.X))
    np.testing.assert_array_equal(dense(new.layers["scaled"])[:, chosen], data.layers["scaled"])
    assert not dense(new.X)[:, others].any()
    np.testing.assert_array_equal(dense(new.raw.X), COUNTS)
    np.testing.assert_array_equal(new.varm["PCs"][chosen], data.varm["PCs"])
    assert np.isnan(new.varm["PCs"][others]).all()
    assert new.varm["ranks"][chosen].tolist() == data.varm["ranks"].tolist()
    assert new.var["feature_is_filtered"].tolist() == [gene in others for gene in range(GENES)]
    for name in ("kind", "number", "share", "flag", "maybe"):
        assert plain_series(new.var[name].iloc[chosen]) == plain_series(data.var[name]), name
        assert new.var[name].iloc[others].isna().all(), name
    assert new.var["text"].iloc[chosen].tolist() == ["a", "b", "c"]
    assert set(new.var["text"].iloc[others]) == {""}
    assert new.var["kind"].cat.ordered
    assert list(new.var["kind"].cat.categories) == ["y", "x"]
    assert done.change("var.widened").count == len(others)
    assert {"matrices.widened", "matrices.genes_ordered", "varm.widened"} <= set(done.codes)
    assert complaints(done.path) == []


@pytest.mark.long
def test_an_old_encoding_is_widened_to_what_it_can_hold(tmp_path: Path) -> None:
    data, chosen = variable_genes()
    data.var = data.var[["number", "flag"]]
    done = do(rewrite_as_0_7(written(tmp_path, data)))
    var = done.data.var
    assert var["number"].dtype == np.float64
    assert var["number"].iloc[chosen].tolist() == [1, 2, 3]
    assert var["flag"].iloc[chosen].tolist() == ["True", "False", "True"]
    assert var["flag"].isna().sum() == GENES - 3


@pytest.mark.long
def test_what_cannot_follow_the_genes_must_be_dropped(tmp_path: Path) -> None:
    data, _ = variable_genes()
    data.varp["links"] = np.eye(3)
    data.varm["frame"] = pd.DataFrame({"a": [1, 2, 3]}, index=data.var_names)
    found = problems(tmp_path, data)
    assert [problem.where for problem in found] == ["varp/links", "varm/frame"]
    done = curated(tmp_path, data, {"drop": ["varp.links", "varm.frame"]})
    assert not done.data.varp
    assert set(done.data.varm) == {"PCs", "ranks"}


def test_x_of_genes_that_raw_has_not_is_a_problem(tmp_path: Path) -> None:
    data = make_anndata()
    data.raw = data[:, :8].copy()
    (problem,) = problems(tmp_path, data)
    assert (problem.code, problem.count) == ("matrices.genes_differ", 2)
    assert list(problem.examples) == gene_names(GENES)[8:]


@pytest.mark.long
def test_raw_of_other_genes_may_become_x(tmp_path: Path) -> None:
    data, _ = variable_genes()
    rules = {"matrices": {"X": "raw.X"}, "drop": ["raw", "layers.scaled", "X"]}
    done = curated(tmp_path, data, rules)
    assert done.data.raw is None
    assert list(done.data.var_names) == gene_names(GENES)
    np.testing.assert_array_equal(dense(done.data.X), COUNTS)
    assert not done.data.var["feature_is_filtered"].any()


# --- feature_is_filtered ---


@pytest.mark.parametrize("raw", [True, pytest.param(False, marks=pytest.mark.long)])
def test_filtered_genes_are_found_by_their_values(tmp_path: Path, raw: bool) -> None:
    data: Any = make_anndata(raw=raw)
    del data.var["feature_is_filtered"]
    x = dense(data.X)
    x[:, [3, 4]] = 0
    data.X = sparse.csr_matrix(x)
    done = curated(tmp_path, data)
    assert done.plan.rewrite is None
    assert done.data.var["feature_is_filtered"].tolist() == [raw and gene in (3, 4) for gene in range(GENES)]
    assert done.codes == ["var.feature_is_filtered"]


@pytest.mark.long
def test_what_the_config_says_of_filtered_genes_must_be_true(tmp_path: Path) -> None:
    data, _ = variable_genes()
    (problem,) = problems(tmp_path, data, {"var": {"feature_is_filtered": False}})
    assert problem.code == "var.filtered_contradicts"

    data.var["mine"] = [True, False, False]
    done = curated(tmp_path, data, {"var": {"feature_is_filtered": {"column": "mine"}}})
    assert done.data.var["mine"].tolist() == [True, True, False, True, True, False, True, True, True, True]


@pytest.mark.long
def test_without_a_look_at_the_values_nothing_is_assumed(tmp_path: Path) -> None:
    data: Any = make_anndata()
    del data.var["feature_is_filtered"]
    (problem,) = problems(tmp_path, data, {"tidy": False}, scan=False)
    assert problem.code == "var.filtered_unknown"


# --- Counts ---


def undo(**changes: Any) -> dict[str, Any]:
    rule = {"from": "X", "undo": "log1p", "target_sum": 10_000, "totals": "n_counts", **changes}
    return {"matrices": {"raw.X": {key: value for key, value in rule.items() if value is not None}}}


def test_the_counts_of_real_cells_come_back(example: Path, tmp_path: Path) -> None:
    data = anndata.read_h5ad(example)
    expected = dense(data.raw.X)
    del data.raw
    done = curated(tmp_path, data, undo())
    made: Any = done.data.raw.X
    assert (made.format, made.dtype) == ("csr", np.float32)
    np.testing.assert_array_equal(made.toarray(), expected)
    np.testing.assert_array_equal(dense(done.data.X), dense(data.X))
    assert "its normalisation to 10000 were undone" in done.change("matrices.counts").message

    data.obs["n_counts"] *= 1.01
    (problem,) = problems(tmp_path, data, undo())
    assert problem.code == "matrices.unfit"
    assert "raw.X cannot be made of X" in problem.message
    assert problem.examples[0].split(",")[0] in data.obs_names


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"target_sum": None}, "matrices.no_target_sum"),
        pytest.param({"totals": None}, "matrices.no_totals", marks=pytest.mark.long),
        ({"totals": "donor_id"}, "matrices.no_totals"),
        ({"from": "layers.whole", "totals": "n"}, "matrices.not_log1p"),
    ],
)
def test_undoing_takes_what_was_done(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    data = make_anndata(raw=False, obs={"n": COUNTS.sum(axis=1)}, layers={"whole": COUNTS.astype(np.int32)})
    (problem,) = problems(tmp_path, data, undo(**changes))
    assert problem.code == code

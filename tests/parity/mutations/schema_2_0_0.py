"""Files by schema 2.0.0, where it asks for something else than 7.1.0, or is asked in other words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from celldock.h5ad.headers import MAX_UNS_ELEMENTS
from tests.parity.bases import Data, put
from tests.parity.mutations.registry import Change, Edit, File, changes, edits

_BASE, _COUNTS, _OTHER = "human_2_0_0", "human_counts_2_0_0", "macaque_2_0_0"
ASSAY, CELL_TYPE, DISEASE = "assay_ontology_term_id", "cell_type_ontology_term_id", "disease_ontology_term_id"
STAGE, ETHNICITY = "development_stage_ontology_term_id", "ethnicity_ontology_term_id"
ORGANISM, SEX, TISSUE = "organism_ontology_term_id", "sex_ontology_term_id", "tissue_ontology_term_id"
TERMS = (ASSAY, CELL_TYPE, STAGE, DISEASE, ETHNICITY, ORGANISM, SEX, TISSUE)
FLAG = "feature_is_filtered"
_LABELS = ("assay", "cell_type", "development_stage", "disease", "ethnicity", "organism", "sex", "tissue")


def _change(
    name: str, *codes: str, base: str | Sequence[str] = _BASE, values: Sequence[Any] = (None,)
) -> Callable[[Change], Change]:
    return changes(f"2.0.0-{name}", *codes, base=base, values=values, version="2.0.0")


def _edit(
    name: str, *codes: str, base: str | Sequence[str] = _BASE, values: Sequence[Any] = (None,)
) -> Callable[[Edit], Edit]:
    return edits(f"2.0.0-{name}", *codes, base=base, values=values, version="2.0.0")


@_edit("encoding", "file.encoding", values=("0.0.9", "1"))
def _encoding(file: File, version: str) -> None:
    file.attrs["encoding-version"] = version


@_edit("column-twice", "obs.columns.duplicate")
def _twice(file: File, _: None) -> None:
    order = file["obs"].attrs["column-order"].tolist()
    file["obs"].attrs["column-order"] = np.array([*order, order[0]], dtype=object)


@_change("matrix-encoding", "x.not_csr", "raw.not_csr", values=("dense", "csc"))
def _not_csr(data: Data, encoding: str) -> None:
    data.X = data.X.toarray() if encoding == "dense" else sparse.csc_matrix(data.X)


@_edit("layer-shape", "layers.shape")
def _layer_shape(file: File, _: None) -> None:
    shape = file["layers/scaled"].attrs["shape"]
    file["layers/scaled"].attrs["shape"] = np.array([shape[0], shape[1] + 1])


@_change("raw-shape", "raw.shape")
def _raw_shape(data: Data, _: None) -> None:
    data.raw = data.raw[:, : data.n_vars - 1].to_adata()


@_change("genes-filtered", "var.few_genes")
def _genes_filtered(data: Data, _: None) -> anndata.AnnData:
    data.raw = data.raw[:, :4].to_adata()
    return data[:, :4].copy()


@_edit("repeated-entries", "x.repeated_entries")
def _repeated_entries(file: File, _: None) -> None:
    first, last = file["X/indptr"][:2].tolist()
    indices = file["X/indices"][:]
    indices[first:last] = np.minimum(indices[first:last], indices[first:last][-2])
    file["X/indices"][:] = indices


@_change("raw-missing", "raw.missing")
def _raw_missing(data: Data, _: None) -> None:
    del data.raw


@_change("raw-missing-beside-accessibility", "raw.missing")
def _raw_missing_beside(data: Data, _: None) -> None:
    put(data, ASSAY, "EFO:0010891", [1, 2])
    del data.raw


@_change("raw-not-required", values=("EFO:0010891", "EFO:0008939"))
def _raw_not_required(data: Data, assay: str) -> None:
    put(data, ASSAY, assay)
    del data.raw


def _set_count(file: File, value: float) -> None:
    file["raw/X/data" if "raw" in file else "X/data"][3] = value


@_edit("raw-fractions", "raw.not_integer", base=(_BASE, _COUNTS), values=(0.5,))
def _fractions(file: File, value: float) -> None:
    _set_count(file, value)


@_edit("raw-negative", "raw.negative", base=(_BASE, _COUNTS), values=(-1, -0.5))
def _negative(file: File, value: float) -> None:
    _set_count(file, value)


@_edit("raw-not-finite", "raw.not_finite", base=(_BASE, _COUNTS), values=(np.nan, np.inf))
def _not_finite(file: File, value: float) -> None:
    _set_count(file, value)


@_edit("x-not-finite", "x.not_finite", values=(np.nan, -np.inf))
def _x_not_finite(file: File, value: float) -> None:
    file["X/data"][3] = value


@_change("no-final", "x.not_normalised")
def _no_final(data: Data, _: None) -> None:
    data.X, data.uns["X_normalization"] = data.raw.X, "none"
    del data.raw


@_change("column-dropped", *(f"obs.{column}.missing" for column in TERMS), values=TERMS)
def _dropped(data: Data, column: str) -> None:
    del data.obs[column]


@_edit("column-plain-text", "obs.columns.not_categorical", values=TERMS)
def _plain_text(file: File, column: str) -> None:
    group = file["obs"][column]
    values = group["categories"].asstr()[:][group["codes"][:]]
    del file["obs"][column]
    dataset = file["obs"].create_dataset(column, data=values.astype(object), dtype=h5py.string_dtype())
    dataset.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})


@_change("column-numbers", *(f"obs.{column}.type" for column in TERMS), values=TERMS)
def _numbers(data: Data, column: str) -> None:
    data.obs[column] = 3


@_change("value-missing", *(f"obs.{column}.values_missing" for column in TERMS), values=TERMS)
def _value_missing(data: Data, column: str) -> None:
    put(data, column, None, [4])


@_change("primary-text", "obs.is_primary_data.type", values=("True", 1))
def _primary(data: Data, value: object) -> None:
    data.obs["is_primary_data"] = value


_NO_TERMS: Sequence[tuple[str, str]] = (
    (CELL_TYPE, "T cell"),
    (ASSAY, "EFO:0010183 sci-plex"),
    (STAGE, "HsapDv:9999999"),
    (DISEASE, "healthy"),
    (ETHNICITY, "HANCESTRO:0005,HANCESTRO:0014"),
    (ORGANISM, "Homo sapiens"),
    (ORGANISM, "NCBITaxon:3702"),
    (ORGANISM, "NCBITaxon:2697049"),
    (SEX, "female"),
    (TISSUE, "UBERON:0000955 (ORGANOID)"),
)


@_change("no-term", *(f"obs.{column}.term_unknown" for column in TERMS), values=_NO_TERMS)
def _no_term(data: Data, value: tuple[str, str]) -> None:
    put(data, *value, [2, 3])


_OBSOLETE = ((ASSAY, "EFO:0009310"), (CELL_TYPE, "CL:0000003"))


@_change("obsolete", *(f"obs.{column}.term_obsolete" for column in TERMS), values=_OBSOLETE[:1])
def _obsolete(data: Data, value: tuple[str, str]) -> None:
    put(data, *value, [2, 3])


_FORBIDDEN: Sequence[tuple[str, str, str]] = (
    (ASSAY, "EFO:0000001", _BASE),
    (CELL_TYPE, "UBERON:0000178", _BASE),
    (STAGE, "UBERON:0000113", _BASE),
    (STAGE, "UBERON:0000071", _OTHER),
    (DISEASE, "PATO:0000383", _BASE),
    (ETHNICITY, "na", _BASE),
    (ETHNICITY, "HANCESTRO:0005", _OTHER),
    (ORGANISM, "CL:0000084", _BASE),
    (SEX, "PATO:0001894", _BASE),
    (TISSUE, "CL:0000057 (organoid)", _BASE),
    (TISSUE, "UBERON:0000955 (cell culture)", _BASE),
)
for _column, _term, _of in _FORBIDDEN:

    @_change(
        f"forbidden-{_term}-{_of}".replace(" ", "-"),
        f"obs.{_column}.term_not_allowed",
        base=_of,
        values=((_column, _term),),
    )
    def _forbidden(data: Data, value: tuple[str, str]) -> None:
        put(data, *value, [2, 3])


_ALLOWED: Sequence[tuple[str, str]] = (
    (ASSAY, "EFO:0002772"),
    (ASSAY, "EFO:0010183 (a text (of its own))"),
    (STAGE, "unknown"),
    (DISEASE, "MONDO:0100096"),
    (ETHNICITY, "HANCESTRO:0005"),
    (SEX, "unknown"),
    (SEX, "PATO:0001340"),
    (TISSUE, "UBERON:0000955 (organoid)"),
    (TISSUE, "CL:0000057"),
)


@_change("allowed", values=_ALLOWED)
def _allowed(data: Data, value: tuple[str, str]) -> None:
    put(data, *value, [2, 3])


@_change("animal", values=("NCBITaxon:7227", "NCBITaxon:6239", "NCBITaxon:7719"))
def _animal(data: Data, organism: str) -> None:
    for column, value in ((ORGANISM, organism), (STAGE, "UBERON:0000113"), (ETHNICITY, "na")):
        put(data, column, value, [2, 3])


def _renamed(data: Data, gene: str, at: int = -1) -> None:
    names = data.var_names.to_list()
    names[at] = gene
    data.raw.var.index = data.var.index = pd.Index(names, dtype=object)


@_change("gene-twice", "var.index.duplicates")
def _gene_twice(data: Data, _: None) -> None:
    _renamed(data, str(data.var_names[0]))


@_change("gene-order", "raw.var.index.differs")
def _gene_order(data: Data, _: None) -> None:
    data.raw.var.index = data.raw.var.index[::-1]


@_change("gene-unknown", "var.index.gene_unknown", values=("CD4", "ENSDARG00000077220", "ENSG99999999999"))
def _gene_unknown(data: Data, gene: str) -> None:
    _renamed(data, gene)


@_change("gene-version", "var.index.gene_version")
def _gene_version(data: Data, _: None) -> None:
    _renamed(data, f"{data.var_names[-1]}.7")


@_change("biotype-dropped", "var.feature_biotype.missing", "raw.var.feature_biotype.missing", values=("var", "raw"))
def _no_biotype(data: Data, frame: str) -> None:
    del (data.var if frame == "var" else data.raw.var)["feature_biotype"]


@_edit("biotype-plain-text", "var.feature_biotype.type", "raw.var.feature_biotype.type", values=("var", "raw/var"))
def _plain_biotype(file: File, frame: str) -> None:
    rows = file[frame]["feature_biotype/codes"].shape[0]
    del file[frame]["feature_biotype"]
    texts = np.array(["gene"] * rows, dtype=object)
    dataset = file[frame].create_dataset("feature_biotype", data=texts, dtype=h5py.string_dtype())
    dataset.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})


@_change("biotype-wrong", "var.feature_biotype.not_allowed", values=("spike-in", "protein_coding", None))
def _wrong_biotype(data: Data, value: str | None) -> None:
    values = ["gene"] * (data.n_vars - 1)
    data.var["feature_biotype"] = pd.Categorical([value, *values])


@_change("flag-dropped", f"var.{FLAG}.missing")
def _no_flag(data: Data, _: None) -> None:
    del data.var[FLAG]


@_change("flag-of-raw", f"raw.var.{FLAG}.not_expected")
def _flag_of_raw(data: Data, _: None) -> None:
    data.raw.var[FLAG] = False


@_change("flag-without-raw", f"var.{FLAG}.without_raw", base=_COUNTS)
def _flag_without_raw(data: Data, _: None) -> None:
    data.var.loc[data.var_names[0], FLAG] = True


@_change("flag-with-values", f"var.{FLAG}.not_zero", values=([0], [0, 3]))
def _flag_with_values(data: Data, genes: Sequence[int]) -> None:
    data.var.loc[data.var_names[list(genes)], FLAG] = True


@_change("zeros-without-flag", f"var.{FLAG}.all_zero")
def _zeros(data: Data, _: None) -> None:
    dense = data.X.toarray()
    dense[:, 0] = 0
    data.X = sparse.csr_matrix(dense)


@_change("obsm-frame", "obsm.not_array")
def _frame(data: Data, _: None) -> None:
    data.obsm["X_other"] = pd.DataFrame({"x": np.ones(data.n_obs)}, index=data.obs_names)


@_change("no-embedding", "obsm.embedding_missing")
def _no_embedding(data: Data, _: None) -> None:
    del data.obsm["X_umap"]
    del data.uns["default_embedding"]


@_change("one-column", "obsm.embedding_dimensions")
def _one_column(data: Data, _: None) -> None:
    data.obsm["X_umap"] = np.ones((data.n_obs, 1), np.float32)


@_change("other-array", values=(1, 2))
def _other_array(data: Data, columns: int) -> None:
    data.obsm["1st pass"] = np.full((data.n_obs, columns), np.nan)


@_change("embedding-of-text", "obsm.embedding_dtype")
def _texts(data: Data, _: None) -> None:
    data.obsm["X_umap"] = np.full((data.n_obs, 2), "1", dtype=object)


@_change(
    "version",
    "uns.schema_version.missing",
    "uns.schema_version.not_allowed",
    "uns.schema_version.type",
    values=(None, "1.0.0", "2.0", 2.0, ["2.0.0"]),
)
def _version(data: Data, value: Any) -> None:
    _set(data, "schema_version", value)


@_change("title", "uns.title.missing", "uns.title.type", values=(None, 5, ["a title"]))
def _title(data: Data, value: Any) -> None:
    _set(data, "title", value)


@_change("title-spaces", "uns.title.spaces", values=(" A title", "A  title", "   "))
def _title_spaces(data: Data, value: str) -> None:
    data.uns["title"] = value


@_change("normalization", "uns.X_normalization.missing", "uns.X_normalization.type", values=(None, 5, ["log1p"]))
def _normalization(data: Data, value: Any) -> None:
    _set(data, "X_normalization", value)


@_change("normalization-contradicts", "uns.X_normalization.contradicts_raw", values=("none",))
def _normalization_of_raw(data: Data, value: str) -> None:
    data.uns["X_normalization"] = value


@_change("normalization-of-counts", "uns.X_normalization.contradicts_raw", base=_COUNTS, values=("log1p", "None"))
def _normalization_of_counts(data: Data, value: str) -> None:
    data.uns["X_normalization"] = value


@_change("batch", "uns.batch_condition.type", "uns.batch_condition.column_unknown", values=(["no"], "no", 3))
def _batch(data: Data, value: Any) -> None:
    _set(data, "batch_condition", value)


@_change(
    "default-embedding", "uns.default_embedding.not_in_obsm", "uns.default_embedding.type", values=("umap", ["X_umap"])
)
def _default_embedding(data: Data, value: Any) -> None:
    _set(data, "default_embedding", value)


@_change(
    "distribution",
    "uns.X_approximate_distribution.not_allowed",
    "uns.X_approximate_distribution.type",
    values=("Normal", 1),
)
def _distribution(data: Data, value: Any) -> None:
    data.uns["X_approximate_distribution"] = value


@_change("empty", "uns.values.empty", values=("batch_condition", "default_embedding", "title"))
def _empty(data: Data, key: str) -> None:
    data.uns[key] = np.array([], dtype=object) if key == "batch_condition" else ""


@_change("empty-of-their-own", values=("author_note", "tags"))
def _empty_allowed(data: Data, key: str) -> None:
    data.uns[key] = ""


@_edit("uns-too-large", "uns.too_many_elements")
def _too_large(file: File, _: None) -> None:
    for number in range(MAX_UNS_ELEMENTS + 1):
        file["uns"].create_group(f"note {number}")


@_change("label", "labels.present", values=_LABELS)
def _label(data: Data, column: str) -> None:
    put(data, column, "a label")


@_change("feature-label", "labels.present", values=(("var", "feature_name"), ("raw.var", "feature_reference")))
def _feature_label(data: Data, value: tuple[str, str]) -> None:
    frame, column = value
    (data.var if frame == "var" else data.raw.var)[column] = "a label"


@_change("all-labels", "file.labelled")
def _all_labels(data: Data, _: None) -> None:
    for column in _LABELS:
        put(data, column, "a label")


@_change("cells-twice", "obs.index.duplicates")
def _cells_twice(data: Data, _: None) -> None:
    data.obs_names = pd.Index([*data.obs_names[:-1], data.obs_names[0]], dtype=object)


@_edit("no-x", "x.missing")
def _no_x(file: File, _: None) -> None:
    del file["X"]


@_change("no-cells", "obs.empty")
def _no_cells(data: Data, _: None) -> anndata.AnnData:
    return data[:0].copy()


def _set(data: Data, key: str, value: Any) -> None:
    if value is None:
        del data.uns[key]
    else:
        data.uns[key] = np.array(value, dtype=object) if isinstance(value, list) else value

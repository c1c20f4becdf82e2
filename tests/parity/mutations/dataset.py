"""uns: title, organism, colors and the other keys of the whole dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from tests.parity.bases import Data
from tests.parity.mutations.registry import changes

ORGANISM = "organism_ontology_term_id"
_DEPRECATED = (
    "X_normalization",
    "default_field",
    "layer_descriptions",
    "tags",
    "version",
    "contributors",
    "preprint_doi",
    "project_description",
    "project_links",
    "project_name",
    "publication_doi",
)
_RESERVED = ("organism", "schema_version", "schema_reference", "citation", "is_pre_analysis")


@changes("uns-title", "uns.title.missing", "uns.title.type", values=(None, 5, True, ["a title"]))
def _title(data: Data, value: Any) -> None:
    if value is None:
        del data.uns["title"]
    else:
        data.uns["title"] = np.array(value, dtype=object) if isinstance(value, list) else value


@changes("uns-title-spaces", "uns.title.spaces", values=(" A title", "A title ", "A  title", "A\ttitle"))
def _title_spaces(data: Data, value: str) -> None:
    data.uns["title"] = value


_ORGANISM_FAULTS = [f"uns.{ORGANISM}.{fault}" for fault in ("missing", "type", "term_unknown", "term_not_allowed")]
_NOT_ORGANISMS = (None, "Homo sapiens", "NCBITaxon:1234", "NCBITaxon:9999999", "NCBITaxon:2697049", "NCBITaxon:32630")
_OTHER_ORGANISMS = ("EFO:0000001", "NCBITaxon:33208", "NCBITaxon:9605", "NCBITaxon:63221", "NCBITaxon:9913", 9606)


@changes("uns-organism", *_ORGANISM_FAULTS, values=(*_NOT_ORGANISMS, *_OTHER_ORGANISMS))
def _organism(data: Data, value: Any) -> None:
    if value is None:
        del data.uns[ORGANISM]
    else:
        data.uns[ORGANISM] = value


@changes("uns-organism-of-other-genes", "var.index.gene_organism", values=("NCBITaxon:10090", "NCBITaxon:9544"))
def _other_genes(data: Data, value: str) -> None:
    data.uns[ORGANISM] = value


_EMPTY: dict[str, Any] = {
    "text": "",
    "array": np.array([], np.float32),
    "dict": {},
    "wide": np.ones((3, 0), np.float32),
    "three_axes": np.ones((2, 3, 0), np.float32),
    "csr": sparse.csr_matrix((0, 3), dtype=np.float32),
}


@changes("uns-empty", "uns.values.empty", values=tuple(_EMPTY))
def _empty(data: Data, kind: str) -> None:
    data.uns["log1p"] = _EMPTY[kind]


_FULL: dict[str, Any] = {
    "true": True,
    "false": False,
    "zero": 0,
    "text": "x",
    "float": np.nan,
    "nested": {"a": {"b": [1]}},
    "matrix": sparse.csr_matrix((2, 3), dtype=np.float32),
    "nested_empty": {"a": {}},
    "space": " ",
}


@changes("uns-not-empty", values=tuple(_FULL))
def _full(data: Data, kind: str) -> None:
    data.uns["mine"] = _FULL[kind]


@changes("uns-deprecated", "uns.keys.deprecated", values=_DEPRECATED)
def _deprecated(data: Data, key: str) -> None:
    data.uns[key] = "x"


@changes("uns-label", "labels.present", "file.labelled", values=_RESERVED)
def _label(data: Data, key: str) -> None:
    data.uns[key] = False if key == "is_pre_analysis" else "x"


_BATCHES: tuple[Any, ...] = (["NO_COLUMN"], ["donor_id", "no"], ["Donor_id"], "donor_id", 3)


@changes("uns-batch", "uns.batch_condition.type", "uns.batch_condition.column_unknown", values=_BATCHES)
def _batch(data: Data, value: Any) -> None:
    data.uns["batch_condition"] = np.array(value, dtype=object) if isinstance(value, list) else value


@changes("uns-batch-allowed", values=(["donor_id"], ["donor_id", "sex_ontology_term_id", "is_primary_data"]))
def _batch_allowed(data: Data, value: list[str]) -> None:
    data.uns["batch_condition"] = np.array(value, dtype=object)


_EMBEDDINGS: tuple[Any, ...] = ("X_other", "umap", "x_umap", ["X_umap"], 2, " X_umap")
_EMBEDDING_FAULTS = [f"uns.default_embedding.{fault}" for fault in ("type", "not_in_obsm", "spaces")]


@changes("uns-default-embedding", *_EMBEDDING_FAULTS, values=_EMBEDDINGS)
def _default_embedding(data: Data, value: Any) -> None:
    data.uns["default_embedding"] = np.array(value, dtype=object) if isinstance(value, list) else value


_DISTRIBUTIONS: tuple[Any, ...] = ("poisson", "Count", "normal ", ["normal"], 1)
_DISTRIBUTION_FAULTS = [f"uns.X_approximate_distribution.{fault}" for fault in ("type", "not_allowed", "spaces")]


@changes("uns-distribution", *_DISTRIBUTION_FAULTS, values=_DISTRIBUTIONS)
def _distribution(data: Data, value: Any) -> None:
    data.uns["X_approximate_distribution"] = np.array(value, dtype=object) if isinstance(value, list) else value


@changes("uns-distribution-allowed", values=("count", "normal"))
def _distribution_allowed(data: Data, value: str) -> None:
    data.uns["X_approximate_distribution"] = value


def _colors(data: Data, value: Any, column: str = "donor_id") -> None:
    data.uns[f"{column}_colors"] = np.array(value, dtype=object) if isinstance(value, list) else value


@changes("colors-column", "uns.colors.column", values=("no_column", "is_primary_data", "score", ""))
def _colors_column(data: Data, column: str) -> None:
    data.obs["score"] = np.arange(data.n_obs, dtype=np.float32)
    _colors(data, ["aqua", "red"], column)


_LABELS = ("assay", "cell_type", "development_stage", "disease", "self_reported_ethnicity", "sex", "tissue")


@changes("colors-label-column", "uns.colors.label_column", "uns.colors.column", values=_LABELS)
def _colors_label(data: Data, column: str) -> None:
    _colors(data, ["aqua", "red"], column)


_NOT_COLORS: dict[str, Any] = {
    "text": "aqua",
    "numbers": np.array([3, 4]),
    "missing": np.array([np.nan, np.nan]),
    "dict": {"a": "aqua"},
}


@changes("colors-type", "uns.colors.type", values=tuple(_NOT_COLORS))
def _colors_type(data: Data, kind: str) -> None:
    data.uns["donor_id_colors"] = _NOT_COLORS[kind]


@changes("colors-dimensions", "uns.colors.dimensions", values=((2, 1), (1, 2)))
def _colors_dimensions(data: Data, shape: tuple[int, int]) -> None:
    data.uns["donor_id_colors"] = np.array(["aqua", "red"], dtype=object).reshape(shape)


@changes("colors-few", "uns.colors.count", values=(["aqua"], ["#aabbcc"]))
def _colors_few(data: Data, value: list[str]) -> None:
    _colors(data, value)


@changes("colors-few-with-unused", "uns.colors.count", values=(["aqua", "red"],))
def _colors_unused(data: Data, value: list[str]) -> None:
    data.obs["donor_id"] = data.obs["donor_id"].cat.add_categories(["donor_3"])
    _colors(data, value)


_NO_MODEL = (
    ["#000000", "pink"],
    ["#000", "#fff"],
    ["aqua", "no color"],
    ["#00000g", "#000000"],
    ["light blue", "red"],
    ["#aabbccdd", "#aabbccdd"],
)


@changes("colors-model", "uns.colors.model", values=_NO_MODEL)
def _colors_model(data: Data, value: list[str]) -> None:
    _colors(data, value)


@changes(
    "colors-allowed",
    values=(["aqua", "red", "blue"], ["#AABBCC", "#aabbcc"], ["red", "red"], ["rebeccapurple", "grey"]),
)
def _colors_allowed(data: Data, value: list[str]) -> None:
    _colors(data, value)


@changes("colors-any-case", values=(["Red", "BLUE"], ["AliceBlue", "aqua"]))
def _colors_case(data: Data, value: list[str]) -> None:
    _colors(data, value)

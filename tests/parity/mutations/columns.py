"""Columns of obs and var: missing, renamed, of another type, forbidden; and the words that they may hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
import pandas as pd

from tests.parity.bases import BASES, Data, put
from tests.parity.mutations.registry import File, changes, edits
from tests.parity.mutations.terms import ASSAY, CELL_TYPE, DISEASE, ETHNICITY, SEX, STAGE, TISSUE

TERMS = (ASSAY, CELL_TYPE, STAGE, DISEASE, ETHNICITY, SEX, TISSUE)
WORDS = ("donor_id", "suspension_type", "tissue_type")
REQUIRED = (*TERMS, *WORDS, "is_primary_data")
_LABELS = ("assay", "cell_type", "development_stage", "disease", "sex", "tissue", "self_reported_ethnicity")
_OWN = ("experimental_condition", "observation_joinid", "perturbation_types")
_FEATURES = ("feature_name", "feature_reference", "feature_biotype", "feature_length", "feature_type")


def _codes(fault: str, columns: Sequence[str] = REQUIRED) -> list[str]:
    return [f"obs.{column}.{fault}" for column in columns]


@changes("obs-column-dropped", *_codes("missing"), values=REQUIRED)
def _drop(data: Data, column: str) -> None:
    del data.obs[column]


@changes("obs-column-renamed", *_codes("missing"), values=[(name, name.title()) for name in REQUIRED[:4]])
def _rename(data: Data, names: tuple[str, str]) -> None:
    data.obs = data.obs.rename(columns=dict([names]))


@changes("obs-values-missing", *_codes("values_missing", (*TERMS, *WORDS)), values=(*TERMS, *WORDS))
def _blank_cells(data: Data, column: str) -> None:
    values = data.obs[column].to_numpy(object).copy()
    values[[2, 3]] = None
    data.obs[column] = pd.Categorical(values)


@changes("obs-values-all-missing", "obs.donor_id.values_missing", "obs.donor_id.type", values=("donor_id",))
def _blank_column(data: Data, column: str) -> None:
    data.obs[column] = pd.Categorical([None] * data.n_obs, categories=["donor_1"])


@changes("obs-values-empty-text", "obs.donor_id.empty", values=("", " ", "\t"))
def _empty_text(data: Data, value: str) -> None:
    put(data, "donor_id", value, [4])


@edits("obs-not-categorical", *_codes("type", (*TERMS, *WORDS)), values=(*TERMS, *WORDS))
def _not_categorical(file: File, column: str) -> None:
    group = file["obs"][column]
    values = group["categories"].asstr()[:][group["codes"][:]]
    del file["obs"][column]
    dataset = file["obs"].create_dataset(column, data=values.astype(object), dtype=h5py.string_dtype())
    dataset.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})


@changes("obs-categories-numbers", *_codes("type", WORDS), *_codes("not_allowed", WORDS), values=WORDS)
def _number_categories(data: Data, column: str) -> None:
    data.obs[column] = pd.Categorical(np.arange(data.n_obs) % 2)


@changes("obs-donor-numbers", "obs.donor_id.type", values=(np.int64, np.float32, bool))
def _donor_numbers(data: Data, kind: type) -> None:
    data.obs["donor_id"] = (np.arange(data.n_obs) % 2).astype(kind)


@changes("obs-donor-na", "obs.donor_id.cell_line", values=("na",))
def _donor_na(data: Data, value: str) -> None:
    put(data, "donor_id", value, [1])


@changes("obs-donor-of-cell-line", "obs.donor_id.cell_line", base="cell_line", values=("donor_1", "NA", "unknown"))
def _donor_of_cell_line(data: Data, value: str) -> None:
    put(data, "donor_id", value, [1])


@changes("obs-donor-words", values=("unknown", "pooled", "NA", "donor 1 || donor 2"))
def _donor_words(data: Data, value: str) -> None:
    put(data, "donor_id", value)
    del data.uns["donor_id_colors"]


@changes("obs-primary-not-bool", "obs.is_primary_data.type", values=("text", "category", "number", "missing"))
def _primary(data: Data, kind: str) -> None:
    values: dict[str, Any] = {
        "text": pd.Categorical(["True"] * data.n_obs),
        "category": pd.Categorical([True] * data.n_obs),
        "number": np.ones(data.n_obs, np.int8),
        "missing": pd.array([True, None] * (data.n_obs // 2), dtype="boolean"),
    }
    data.obs["is_primary_data"] = values[kind]


@changes("obs-primary-false", values=(False,))
def _not_primary(data: Data, value: bool) -> None:
    data.obs["is_primary_data"] = value


@changes("obs-tissue-type-words", "obs.tissue_type.not_allowed", values=("cell culture", "Tissue", "blood", "na", ""))
def _tissue_type(data: Data, value: str) -> None:
    put(data, "tissue_type", value, [2])


@changes(
    "obs-tissue-type-swapped",
    f"obs.{TISSUE}.term_not_allowed",
    f"obs.{STAGE}.cell_line",
    values=("cell line", "primary cell culture"),
)
def _tissue_type_swapped(data: Data, value: str) -> None:
    put(data, "tissue_type", value, [2])


@changes("obs-tissue-is-organoid", values=("organoid",))
def _organoid(data: Data, value: str) -> None:
    put(data, "tissue_type", value, [2])


@changes("obs-suspension-words", "obs.suspension_type.not_allowed", values=("cells", "Nucleus", "unknown"))
def _suspension(data: Data, value: str) -> None:
    put(data, "suspension_type", value, [2])


# Assay, suspension: those that the schema's table does not bring together.
_WRONG_SUSPENSION = (
    ("EFO:0009922", "na"),
    ("EFO:0007045", "cell"),
    ("EFO:0700004", "nucleus"),
    ("EFO:0700003", "na"),
    ("EFO:0008679", "nucleus"),
    ("EFO:0010010", "na"),
    ("EFO:0008720", "cell"),
    ("EFO:0008722", "na"),
    ("EFO:0700011", "na"),
    ("EFO:0008780", "na"),
    ("EFO:0008796", "nucleus"),
    ("EFO:0030060", "na"),
    ("EFO:0008992", "cell"),
    ("EFO:0030002", "nucleus"),
    ("EFO:0008853", "nucleus"),
    ("EFO:0008877", "na"),
    ("EFO:0022490", "na"),
    ("EFO:0030026", "cell"),
    ("EFO:0030028", "na"),
    ("EFO:0008919", "nucleus"),
    ("EFO:0008931", "na"),
    ("EFO:0008994", "cell"),
    ("EFO:0009919", "na"),
    ("EFO:0008953", "nucleus"),
    ("EFO:0700010", "na"),
    ("EFO:0030080", "na"),
)
_RIGHT = {"na": "cell", "cell": "nucleus", "nucleus": "cell"}
_RIGHT_SUSPENSION = (
    ("EFO:0008931", "nucleus"),
    ("EFO:0008992", "na"),
    ("EFO:0030026", "nucleus"),
    ("EFO:0008853", "cell"),
    ("EFO:0008877", "cell"),
)


def _set_assay(data: Data, pair: tuple[str, str]) -> None:
    put(data, ASSAY, pair[0])
    put(data, "suspension_type", pair[1])


changes("obs-suspension-off-table", "obs.suspension_type.assay", values=_WRONG_SUSPENSION)(_set_assay)
changes("obs-suspension-by-table", values=_RIGHT_SUSPENSION)(_set_assay)
# Assays that the table does not name: any suspension is taken, with a warning.
changes(
    "obs-suspension-unlisted",
    "obs.suspension_type.assay_unlisted",
    values=(("EFO:0008905", "cell"), ("EFO:0008905", "na"), ("EFO:0003755", "nucleus")),
)(_set_assay)


@changes(
    "obs-column-deprecated",
    "obs.columns.deprecated",
    values=("ethnicity", "ethnicity_ontology_term_id", "organism", "organism_ontology_term_id"),
)
def _deprecated(data: Data, column: str) -> None:
    put(data, column, "x")


@changes("obs-label-column", "labels.present", "file.labelled", values=(*_LABELS, *_OWN))
def _label(data: Data, column: str) -> None:
    put(data, column, "x")


@changes("obs-all-labels", "labels.present", "file.labelled", values=(_LABELS,))
def _all_labels(data: Data, columns: Sequence[str]) -> None:
    for column in columns:
        put(data, column, "x")
    data.uns |= {"schema_version": "6.0.0", "organism": "Homo sapiens", "citation": "Dataset Version: x"}


@changes("var-label-column", "labels.present", "file.labelled", values=_FEATURES)
def _var_label(data: Data, column: str) -> None:
    data.var[column] = "x"


@changes("raw-var-label-column", "labels.present", "file.labelled", values=_FEATURES)
def _raw_var_label(data: Data, column: str) -> None:
    data.raw.var[column] = "x"


@changes(
    "names-double-underscore",
    "names.double_underscore",
    values=("obs", "var", "raw.var", "uns", "obsm", "varm", "obsp", "varp"),
)
def _underscore(data: Data, where: str) -> None:
    cells, genes = data.shape
    match where:
        case "obs" | "var":
            getattr(data, where)["__mine"] = 1
        case "raw.var":
            data.raw.var["__mine"] = 1
        case "uns":
            data.uns["__mine"] = 1
        case "obsm" | "varm":
            getattr(data, where)["__mine"] = np.ones((cells if where == "obsm" else genes, 2), np.float32)
        case _:
            side = cells if where == "obsp" else genes
            getattr(data, where)["__mine"] = np.ones((side, side), np.float32)


@changes("names-own-columns", values=("_mine", "my column", "a.b", "X_umap", "clusters (0.5)"))
def _own_columns(data: Data, column: str) -> None:
    data.obs[column] = np.arange(data.n_obs)
    data.var[column] = 1.5


@edits(
    "columns-repeated",
    "obs.columns.duplicate",
    "var.columns.duplicate",
    "raw.var.columns.duplicate",
    values=("obs", "var", "raw/var"),
)
def _repeated(file: File, frame: str) -> None:
    names = [*file[frame].attrs["column-order"]] or ["mine"]
    if "mine" in names:
        length = len(file[frame][file[frame].attrs["_index"]])
        column = file[frame].create_dataset("mine", data=np.ones(length))
        column.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    file[frame].attrs["column-order"] = np.array([*names, names[0]], dtype=h5py.string_dtype())


@changes("obs-categories-unused", "obs.columns.unused_categories", values=("donor_id", "tissue_type"))
def _unused(data: Data, column: str) -> None:
    data.obs[column] = data.obs[column].cat.add_categories(["organoid"])
    data.uns.pop("donor_id_colors")


@changes("obs-names-repeated", "obs.index.duplicates", values=(1, 3))
def _names_repeated(data: Data, times: int) -> None:
    names = data.obs_names.to_numpy(object).copy()
    names[1 : 1 + times] = names[0]
    data.obs_names = names


_POSITIONS = ("array_row", "array_col", "in_tissue")


@changes("obs-column-not-expected", *_codes("not_expected", _POSITIONS), values=_POSITIONS)
def _tissue_position(data: Data, column: str) -> None:
    data.obs[column] = 1


@changes("nothing", base=tuple(BASES))
def _nothing(data: Data, _: None) -> None:
    """The bases as they are."""

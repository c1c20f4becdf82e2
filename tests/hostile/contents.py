"""Matrices whose parts do not belong together, and tables that AnnData would not understand."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from tests import builders
from tests.hostile.case import Change, edited


def _shape(*shape: int) -> Change:
    return lambda file: file["X"].attrs.__setitem__("shape", np.array(shape))


def _without(element: str) -> Change:
    return lambda file: file.__delitem__(element)


def _instead(element: str, data: Any) -> Change:
    def change(file: h5py.File) -> None:
        attributes = dict(file[element].attrs)
        del file[element]
        file[element] = data
        file[element].attrs.update(attributes)

    return change


def _data_group(file: h5py.File) -> None:
    del file["X/data"]
    file["X"].create_group("data")


def _obsp_of_2_to_the_40(file: h5py.File) -> None:
    file.copy("X", file["obsp"], "connectivities")
    file["obsp/connectivities"].attrs["shape"] = [1 << 40, 1 << 40]


for _name, _change in (
    ("shape-2-to-the-40", _shape(1 << 40, 10)),
    ("shape-2-to-the-40-genes", _shape(20, 1 << 40)),
    ("shape-negative", _shape(-20, 10)),
    ("shape-of-one", _shape(20)),
    ("shape-overflows", _shape((1 << 63) - 1, (1 << 63) - 1)),
    ("shape-of-text", lambda file: file["X"].attrs.__setitem__("shape", "20 × 10")),
    ("shape-missing", lambda file: file["X"].attrs.__delitem__("shape")),
    ("indptr-missing-one", _instead("X/indptr", np.zeros(20, "i4"))),
    ("indptr-of-floats", _instead("X/indptr", np.zeros(21, "f8"))),
    ("indices-shorter", _instead("X/indices", np.zeros(3, "i4"))),
    ("indices-two-dimensional", _instead("X/indices", np.zeros((3, 3), "i4"))),
    ("indices-of-floats", _instead("X/indices", np.zeros(3, "f4"))),
    ("data-of-text", _instead("X/data", ["a", "b"])),
    ("data-missing", _without("X/data")),
    ("data-is-a-group", _data_group),
    ("obsp-shape", _obsp_of_2_to_the_40),
):
    edited(_name, "file.sparse_invalid")(_change)


def _first(element: str, value: float, at: int = 0) -> Change:
    return lambda file: file[element].__setitem__(at, value)


edited("index-too-high", "matrix.index_out_of_range", stage="rules")(_first("X/indices", 10))
edited("index-far-too-high", "matrix.index_out_of_range", stage="rules")(_first("raw/X/indices", 2**31 - 1))
edited("index-negative", "matrix.index_out_of_range", stage="rules")(_first("X/indices", -1))
edited("indptr-not-from-0", "matrix.indptr_invalid", stage="rules")(_first("X/indptr", 1))
edited("indptr-decreasing", "matrix.indptr_invalid", stage="rules")(_first("X/indptr", 2**30, at=5))
edited("indptr-negative", "matrix.indptr_invalid", stage="rules")(_first("raw/X/indptr", -5, at=5))
edited("indptr-ends-elsewhere", "matrix.indptr_invalid", stage="rules")(_first("X/indptr", 3, at=20))
edited("nan-in-x", "x.not_finite", stage="rules")(_first("X/data", np.nan))
edited("infinity-in-x", "x.not_finite", stage="rules")(_first("X/data", np.inf))
edited("nan-in-raw", "raw.not_finite", stage="rules")(_first("raw/X/data", np.nan))
edited("nan-in-dense-x", "x.not_finite", stage="rules", x="dense")(lambda file: file["X"].__setitem__((3, 4), np.nan))

edited("no-cells", "obs.empty", stage="rules", n_obs=0)(lambda _: None)
edited("no-genes", "var.empty", stage="rules", n_vars=0)(lambda _: None)
edited("x-missing", "x.missing", stage="rules")(_without("X"))
edited("obs-missing", "file.not_anndata", stage="rules")(_without("obs"))
edited("obs-names-missing", "file.not_anndata", stage="rules")(_without("obs/_index"))
edited("obsm-too-short", "obsm.rows", stage="rules")(_instead("obsm/X_umap", np.zeros((19, 2), "f4")))
edited("column-too-short", "obs.columns.length", stage="rules")(_instead("obs/is_primary_data", np.ones(19, "?")))
edited(
    "obs-names-twice",
    "obs.index.duplicates",
    stage="rules",
    obs_names=("twice", *builders.cell_names(19)[:18], "twice"),
)(lambda _: None)


@edited("encoding-unknown", "file.encoding_unknown", stage="rules")
def encoding_unknown(file: h5py.File) -> None:
    file["X"].attrs["encoding-type"] = "coo_matrix"


@edited("encoding-of-the-future", "file.encoding_unknown", stage="rules")
def encoding_of_the_future(file: h5py.File) -> None:
    file["obs"].attrs["encoding-version"] = "9.0.0"


@edited("another-kind-of-file", "file.not_anndata", stage="rules")
def another_kind_of_file(file: h5py.File) -> None:
    file.attrs["encoding-type"] = "MuData"

"""obsm, and the sizes of what obsp, varm and varp hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from tests.parity.bases import Data
from tests.parity.mutations.registry import File, changes, edits

_BAD_KEYS = ("X_", "X_ umap", "X_1", "X__a", "X_u(map)", "X_é", "u map", "1umap", "-tsne")
_KEYS = ("X_umap2", "X_a", "X_tSNE-2.1", "X_A_b")


def _points(data: Data, columns: int = 2) -> np.ndarray:
    return np.ones((data.n_obs, columns), np.float32)


@changes("obsm-key", "obsm.key", values=_BAD_KEYS)
def _key(data: Data, key: str) -> None:
    data.obsm[key] = _points(data)


@changes("obsm-key-allowed", values=_KEYS)
def _allowed(data: Data, key: str) -> None:
    data.obsm[key] = _points(data)


@changes("obsm-key-not-shown", "obsm.not_shown", values=("pca", "UMAP.2", "x_umap"))
def _not_shown(data: Data, key: str) -> None:
    data.obsm[key] = _points(data, 1)


@changes("obsm-x-spatial", "obsm.x_spatial", values=("X_spatial", "X_Spatial"))
def _x_spatial(data: Data, key: str) -> None:
    data.obsm[key] = _points(data)


@changes("obsm-no-embedding", "obsm.embedding_missing", values=("", "umap"))
def _none(data: Data, key: str) -> None:
    points = data.obsm.pop("X_umap")
    del data.uns["default_embedding"]
    if key:
        data.obsm[key] = points


@changes("obsm-spatial-without-x", base="slide_seq")
def _spatial_alone(data: Data, _: None) -> None:
    """Spatial files need no other embedding."""


@changes("obsm-one-column", "obsm.embedding_dimensions", values=(0, 1))
def _columns(data: Data, columns: int) -> None:
    data.obsm["X_umap"] = np.ones((data.n_obs, columns), np.float32)


@edits("obsm-one-dimension", "obsm.embedding_dimensions", values=("X_umap",))
def _dimension(file: File, key: str) -> None:
    rows = len(file["obsm"][key])
    del file["obsm"][key]
    array = file["obsm"].create_dataset(key, data=np.ones(rows, np.float32))
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


@changes("obsm-three-axes", "obsm.embedding_dimensions", values=("X_umap", "X_other", "mine"))
def _axes(data: Data, key: str) -> None:
    data.obsm[key] = np.ones((data.n_obs, 2, 3), np.float32)


@edits("obsm-rows", "obsm.rows", values=(15, 17))
def _rows(file: File, rows: int) -> None:
    del file["obsm/X_umap"]
    array = file["obsm"].create_dataset("X_umap", data=np.ones((rows, 2), np.float32))
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


@changes("obsm-not-array", "obsm.not_array", values=("frame", "sparse"))
def _not_array(data: Data, kind: str) -> None:
    points = _points(data)
    data.obsm["X_other"] = (
        pd.DataFrame(points, index=data.obs_names, columns=["x", "y"]) if kind == "frame" else sparse.csr_matrix(points)
    )


@changes("obsm-dtype", "obsm.embedding_dtype", values=("S3", "bool"))
def _dtype(data: Data, kind: str) -> None:
    points: Any = _points(data).astype(bool) if kind == "bool" else np.full((data.n_obs, 2), "a", object)
    data.obsm["X_umap"] = points


@changes("obsm-dtype-allowed", values=("float16", "float64", "int8", "uint64"))
def _dtype_allowed(data: Data, kind: str) -> None:
    data.obsm["X_umap"] = _points(data).astype(kind)


@changes("obsm-infinite", "obsm.infinite", values=(np.inf, -np.inf))
def _infinite(data: Data, value: float) -> None:
    data.obsm["X_umap"][3, 1] = value


@changes("obsm-some-nan", values=(3,))
def _some_nan(data: Data, cell: int) -> None:
    data.obsm["X_umap"][cell] = np.nan


@changes("obsm-all-nan", "obsm.all_nan", values=("X_umap",))
def _all_nan(data: Data, key: str) -> None:
    data.obsm[key][:] = np.nan


@changes("obsm-spatial-missing", "obsm.spatial.missing", base=("slide_seq", "visium"))
def _spatial_missing(data: Data, _: None) -> None:
    data.obsm["X_umap"] = data.obsm.pop("spatial")


@changes("obsm-spatial-not-expected", "obsm.spatial.not_expected", values=("spatial",))
def _not_expected(data: Data, key: str) -> None:
    data.obsm[key] = _points(data)


@changes("obsm-spatial-optional", base="visium_joined", values=("spatial",))
def _optional(data: Data, key: str) -> None:
    data.obsm[key] = _points(data)


@changes("obsm-spatial-nan", "obsm.spatial.nan", base="slide_seq", values=(1, 16))
def _spatial_nan(data: Data, cells: int) -> None:
    data.obsm["spatial"][:cells] = np.nan


@changes("array-empty", "obsm.empty", "varm.empty", values=("obsm", "varm"))
def _empty(data: Data, where: str) -> None:
    rows = data.n_obs if where == "obsm" else data.n_vars
    getattr(data, where)["empty"] = np.ones((rows, 0), np.float32)


@edits("pairs-empty", "obsp.empty", "varp.empty", values=("obsp", "varp"))
def _pairs_empty(file: File, where: str) -> None:
    group = file.require_group(where)
    group.attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
    array = group.create_dataset("empty", data=np.ones((0, 0), np.float32))
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


@changes("pairs-present", values=("obsp", "varp"))
def _pairs(data: Data, where: str) -> None:
    side = data.n_obs if where == "obsp" else data.n_vars
    getattr(data, where)["distances"] = sparse.csr_matrix((side, side), dtype=np.float32)

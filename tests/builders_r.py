"""Files in the structure that R's packages give them, reproduced with h5py: no R has run here.

Read off the packages' sources: SeuratDisk 0.0.0.9021 (`H5SeuratToH5AD` in R/Convert.R, `SparseWrite` and the method
for data frames in R/WriteH5Group.R, on top of hdf5r), anndataR 0.99.0 (R/write_h5ad_helpers.R and
R/write_hdf5_helpers.R, on top of rhdf5's h5createDataset and h5writeAttribute).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import sparse

R_NA = -(2**31)
"""How an R integer is missing."""
CELLS = [f"AAAC{i}-1" for i in range(6)]
GENES = [f"GENE{i}" for i in range(4)]

_UTF8 = h5py.string_dtype("utf-8")
_ASCII = h5py.string_dtype("ascii")
_COUNTS = np.arange(24, dtype="f8").reshape(6, 4) % 3


def make_seurat_disk(path: Path, *, scaled: bool = False, meta_features: bool = True, graph: bool = True) -> Path:
    """What SeuratDisk converts a Seurat object to.

    Factors become plain codes: their levels go to `__categories`, but nothing refers to them. Logicals become integers.
    With `scaled` data X is dense; without `meta_features` raw/var is a group that does not say what it is.
    """
    with h5py.File(path, "w") as file:
        if scaled:
            _hdf5r(file, "X", np.log1p(_COUNTS))
        else:
            _dgc_matrix(file, "X", np.log1p(_COUNTS))
        features = {"vst.mean": np.linspace(0, 1, 4), "vst.variable": np.array([1, 0, 1, 0], "i4")}
        _seurat_frame(file, "var", GENES, features if meta_features else {"features": GENES})
        _dgc_matrix(file, "raw/X", _COUNTS)
        if meta_features:
            _seurat_frame(file, "raw/var", GENES, features)
        else:
            _hdf5r(file, "raw/var/_index", GENES)
            file["raw/var"].attrs["_index"] = "_index"
        meta_data = {
            "orig.ident": np.zeros(6, "i4"),
            "nCount_RNA": _COUNTS.sum(1),
            "nFeature_RNA": (_COUNTS > 0).sum(1).astype("i4"),
            "letter": list("aébcde"),
            "is_doublet": np.array([0, 1, 2, 0, 0, 1], "i4"),
            "seurat_clusters": np.array([0, 1, R_NA, 0, 1, 0], "i4"),
        }
        _seurat_frame(file, "obs", CELLS, meta_data)
        _hdf5r(file, "obs/__categories/orig.ident", ["pbmc"])
        _hdf5r(file, "obs/__categories/seurat_clusters", ["0", "1"])
        _hdf5r(file, "obsm/X_umap", np.linspace(-3, 3, 12).reshape(6, 2))
        _hdf5r(file, "varm/PCs", np.linspace(-1, 1, 12).reshape(4, 3))
        _dgc_matrix(file, "layers/SCT", _COUNTS)
        if graph:
            _dgc_matrix(file, "uns/neighbors/distances", np.eye(6))
            file["uns/neighbors/distances"].attrs["dims"] = np.array([6, 6], "i4")
            _hdf5r(file, "uns/neighbors/params/method", ["snn"])
            _hdf5r(file, "uns/neighbors/params/n_neighbors", np.array([20.0]))
    return path


def _hdf5r(file: h5py.File, path: str, value: Any) -> h5py.Dataset:
    """hdf5r compresses and chunks whatever it writes; text is UTF-8 of any length."""
    array = np.array(value, dtype=_UTF8) if isinstance(value, list) else value
    return file.create_dataset(path, data=array, chunks=array.shape, compression="gzip", compression_opts=4)


def _dgc_matrix(file: h5py.File, path: str, dense: np.ndarray) -> None:
    """The columns of R's dgCMatrix of genes by cells are the rows of a csr matrix of cells by genes."""
    matrix = sparse.csr_matrix(dense)
    _hdf5r(file, f"{path}/indices", matrix.indices.astype("i4"))
    _hdf5r(file, f"{path}/indptr", matrix.indptr.astype("i4"))
    _hdf5r(file, f"{path}/data", matrix.data)
    file[path].attrs["shape"] = np.array(matrix.shape, "i4")
    _encode(file[path], "csr_matrix", "0.1.0")


def _seurat_frame(file: h5py.File, path: str, names: Sequence[str], columns: dict[str, Any]) -> None:
    for name, values in columns.items():
        _hdf5r(file, f"{path}/{name}", values)
    _hdf5r(file, f"{path}/_index", names)
    attributes = file[path].attrs
    attributes["_index"] = "_index"
    attributes.create("column-order", list(columns), dtype=_UTF8)
    _encode(file[path], "dataframe", "0.1.0")


def make_anndatar(path: Path, *, label: str = "T cell") -> Path:
    """What anndataR's write_h5ad makes. Its text says that it is ASCII, whatever it is; integers are 64 bits wide."""
    with h5py.File(path, "w") as file:
        _encode(file, "anndata", "0.1.0")
        for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
            _encode(file.create_group(name), "dict", "0.1.0")
        obs = _anndatar_frame(file, "obs", CELLS, ["kind", "dose", "count", "maybe", "treated", "perhaps", "note"])
        _factor(obs, "kind", [0, 1, -1, 0, 1, 0], ["B cell", label], ordered=False)
        _factor(obs, "dose", [0, 1, 1, 0, 1, 0], ["low", "high"], ordered=True)
        _rhdf5(obs, "count", np.arange(6, dtype="i8"), "array")
        _nullable(obs, "maybe", np.array([1, 0, 3, 4, 5, 6], "i8"), "nullable-integer")
        _rhdf5(obs, "treated", np.arange(6) % 2 == 0, "array")
        _nullable(obs, "perhaps", np.arange(6) % 3 == 0, "nullable-boolean")
        _rhdf5(obs, "note", [f"n{i}" for i in range(6)], "string-array")
        _anndatar_frame(file, "var", GENES, [])
        _anndatar_sparse(file, "X", sparse.csr_matrix(_COUNTS))
        _anndatar_sparse(file, "layers/csc", sparse.csc_matrix(_COUNTS))
        _rhdf5(file, "layers/dense", _COUNTS.astype("i8"), "array")
        _rhdf5(file, "obsm/X_umap", np.linspace(-3, 3, 12).reshape(6, 2), "array")
        _anndatar_sparse(file, "obsp/graph", sparse.csr_matrix(np.eye(6)))
        _encode(file.create_dataset("uns/title", data="Ein Titel – utf8", dtype=_UTF8), "string", "0.2.0")
        _encode(file.create_dataset("uns/number", data=np.int64(7)), "numeric-scalar", "0.2.0")
        _encode(file.create_dataset("uns/flag", data=np.bool_(True)), "numeric-scalar", "0.2.0")
        _encode(file.create_dataset("uns/nothing", data=h5py.Empty("f4")), "null", "0.1.0")
        _encode(file.create_group("uns/list"), "dict", "0.1.0")
        _rhdf5(file, "uns/list/texts", ["a", "b"], "string-array")
    return path


def _rhdf5(group: h5py.Group, path: str, value: Any, encoding: str) -> None:
    """Chunked as a whole; rhdf5 marks integers as safe from R's NA."""
    array = np.array([text.encode() for text in value], dtype=_ASCII) if isinstance(value, list) else value
    dataset = group.create_dataset(path, data=array, chunks=array.shape)
    if array.dtype.kind == "i":
        dataset.attrs["rhdf5-NA.OK"] = np.array([1], "i4")
    _encode(dataset, encoding, "0.2.0")


def _anndatar_sparse(file: h5py.File, path: str, matrix: Any) -> None:
    for name in ("indices", "indptr", "data"):
        file.create_dataset(f"{path}/{name}", data=getattr(matrix, name))
    file[path].attrs["shape"] = np.array(matrix.shape, "i4")
    _encode(file[path], f"{matrix.format}_matrix", "0.1.0")


def _anndatar_frame(file: h5py.File, path: str, names: list[str], columns: list[str]) -> h5py.Group:
    group = file.create_group(path)
    _encode(group, "dataframe", "0.2.0")
    _rhdf5(group, "_index", names, "string-array")
    group.attrs["_index"] = "_index"
    # Where R has no names of columns, it writes an empty vector of numbers.
    group.attrs["column-order"] = np.array(columns, dtype=_UTF8) if columns else np.empty(0)
    return group


def _factor(group: h5py.Group, name: str, codes: list[int], levels: list[str], *, ordered: bool) -> None:
    factor = group.create_group(name)
    _rhdf5(factor, "categories", levels, "string-array")
    _rhdf5(factor, "codes", np.array(codes, "i8"), "array")
    _encode(factor, "categorical", "0.2.0")
    truth = h5py.h5t.enum_create(h5py.h5t.NATIVE_UINT8)
    truth.enum_insert(b"TRUE", 1)
    truth.enum_insert(b"FALSE", 0)
    attribute = h5py.h5a.create(factor.id, b"ordered", truth, h5py.h5s.create(h5py.h5s.SCALAR))
    attribute.write(np.array(ordered, "u1"), truth)


def _nullable(group: h5py.Group, name: str, values: np.ndarray, encoding: str) -> None:
    nullable = group.create_group(name)
    _rhdf5(nullable, "values", values, "array")
    _rhdf5(nullable, "mask", np.arange(len(values)) == 1, "array")
    _encode(nullable, encoding, "0.1.0")


def _encode(node: h5py.Group | h5py.Dataset, encoding: str, version: str) -> None:
    node.attrs["encoding-type"] = encoding
    node.attrs["encoding-version"] = version

"""X, raw.X and layers: their values, types, encodings and shapes; and the file around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anndata
import numpy as np
from scipy import sparse

from tests.parity.bases import Data, put
from tests.parity.mutations.registry import File, changes, edits

_WITH_COUNTS = ("human", "human_counts", "multiome", "cell_line")


def _raw_values(file: File) -> Any:
    return file["raw/X/data" if "raw" in file else "X/data"]


_BAD_COUNTS: Sequence[tuple[str, Sequence[float], Sequence[str]]] = (
    ("raw-not-integer", (0.5, 1.0000001, 1e-7), ("raw.not_integer", "raw.missing")),
    ("raw-negative", (-1.0, -0.5), ("raw.negative", "raw.not_integer", "raw.missing")),
    ("raw-not-finite", (np.nan, np.inf, -np.inf), ("raw.not_finite", "raw.negative", "raw.missing", "x.not_finite")),
)
for _name, _values, _codes in _BAD_COUNTS:

    @edits(_name, *_codes, base=_WITH_COUNTS[:2], values=_values)
    def _bad_count(file: File, value: float) -> None:
        values = _raw_values(file)
        values[3] = value if value != 1.0000001 else np.nextafter(np.float32(1), np.float32(2))


@edits("raw-all-normalised", "raw.not_integer", "raw.missing", base=_WITH_COUNTS)
def _normalised(file: File, _: None) -> None:
    values = _raw_values(file)
    values[:] = np.log1p(values[:])


@edits("raw-dtype", "raw.dtype", base=_WITH_COUNTS[:2], values=("float64", "int32", "uint16", "float16"))
def _dtype(file: File, kind: str) -> None:
    values = _raw_values(file)
    group, data, attributes = values.parent, values[:].astype(kind), dict(values.attrs)
    del group["data"]
    group.create_dataset("data", data=data).attrs.update(attributes)


@edits("x-dtype", values=("float64", "int32"))
def _x_dtype(file: File, kind: str) -> None:
    data, attributes = file["X/data"][:].astype(kind), dict(file["X/data"].attrs)
    del file["X/data"]
    file["X"].create_dataset("data", data=data).attrs.update(attributes)


def _counts(data: Data) -> np.ndarray:
    return (data.X if data.raw is None else data.raw.X).toarray()


def _set_counts(data: Data, values: np.ndarray) -> None:
    matrix = sparse.csr_matrix(values)
    if data.raw is None:
        data.X = matrix
        return
    raw = anndata.AnnData(matrix, obs=data.obs[[]], var=data.raw.var)
    data.raw = raw


@changes("raw-empty-cells", "raw.empty_cells", base=_WITH_COUNTS[:3], values=([0], [3, 4, 15]))
def _empty_cells(data: Data, cells: Sequence[int]) -> None:
    values = _counts(data)
    values[list(cells)] = 0
    _set_counts(data, values)


@changes("raw-identical-cells", "raw.identical_cells", base=_WITH_COUNTS[:3], values=([1], [3, 4, 15]))
def _identical_cells(data: Data, cells: Sequence[int]) -> None:
    values = _counts(data)
    values[list(cells)] = values[0]
    _set_counts(data, values)


@changes("accessibility-identical-cells", base="accessibility", values=([1],))
def _identical_activities(data: Data, cells: Sequence[int]) -> None:
    values = data.X.toarray()
    values[list(cells)] = values[0]
    data.X = sparse.csr_matrix(values)


@changes("accessibility-empty-cells", base="accessibility", values=([1],))
def _empty_activities(data: Data, cells: Sequence[int]) -> None:
    values = data.X.toarray()
    values[list(cells)] = 0
    data.X = sparse.csr_matrix(values)


@changes("accessibility-not-primary", "fragments.not_primary", base="accessibility", values=([0], [1, 2, 3]))
def _not_primary(data: Data, cells: Sequence[int]) -> None:
    data.obs.loc[data.obs_names[list(cells)], "is_primary_data"] = False


@changes("accessibility-organism", "fragments.organism", base="macaque")
def _no_chromosomes(data: Data, _: None) -> None:
    put(data, "assay_ontology_term_id", "EFO:0010891")
    put(data, "suspension_type", "nucleus")


@changes("raw-dropped", "raw.missing", "raw.not_integer", base=("human", "multiome"))
def _dropped(data: Data, _: None) -> None:
    data.raw = None


@changes("raw-none-of-mixed-assays", "raw.missing", "raw.not_integer", base="accessibility", values=([0], [1, 2, 3]))
def _mixed(data: Data, cells: Sequence[int]) -> None:
    put(data, "assay_ontology_term_id", "EFO:0009922", list(cells))


@changes("raw-other-genes", "raw.shape", values=(7, 3))
def _other_genes(data: Data, genes: int) -> None:
    data.raw = data.raw.to_adata()[:, :genes].copy()


@edits("raw-incomplete", "raw.incomplete", values=("raw/var",))
def _incomplete(file: File, path: str) -> None:
    del file[path]


_ENCODINGS = ("csc", "dense")


@changes("x-encoding", "x.not_csr", values=_ENCODINGS)
def _x_encoding(data: Data, encoding: str) -> None:
    data.X = sparse.csc_matrix(data.X) if encoding == "csc" else data.X.toarray()


@changes("raw-encoding", "raw.not_csr", values=_ENCODINGS)
def _raw_encoding(data: Data, encoding: str) -> None:
    matrix = sparse.csc_matrix(data.raw.X) if encoding == "csc" else data.raw.X.toarray()
    data.raw = anndata.AnnData(matrix, obs=data.obs[[]], var=data.raw.var)


@changes("layer-encoding", "layers.not_csr", values=_ENCODINGS)
def _layer_encoding(data: Data, encoding: str) -> None:
    data.layers["scaled"] = sparse.csc_matrix(data.X) if encoding == "csc" else data.X.toarray()


@changes("x-dense-full", values=(1.5,))
def _dense_full(data: Data, value: float) -> None:
    data.X = data.X.toarray() + np.float32(value)


@changes("x-dense-half-zeros", "x.not_csr", values=(4,))
def _half(data: Data, genes: int) -> None:
    dense = np.ones(data.shape, np.float32)
    dense[:, :genes] = 0
    data.X = dense
    data.var.loc[data.var_names[:genes], "feature_is_filtered"] = True


@edits(
    "explicit-zeros",
    "x.explicit_zeros",
    "raw.explicit_zeros",
    "layers.explicit_zeros",
    values=("X", "raw/X", "layers/scaled"),
)
def _zeros(file: File, path: str) -> None:
    values = file[path]["data"]
    values[1] = 0


@edits(
    "repeated-entries",
    "x.repeated_entries",
    "raw.repeated_entries",
    "layers.repeated_entries",
    values=("X", "raw/X", "layers/scaled"),
)
def _entries(file: File, path: str) -> None:
    indices = file[path]["indices"]
    indices[1] = indices[0]


@edits(
    "x-not-finite",
    "x.not_finite",
    "layers.not_finite",
    values=(("X", np.nan), ("X", np.inf), ("layers/scaled", np.nan)),
)
def _not_finite(file: File, where: tuple[str, float]) -> None:
    values = file[where[0]]["data"]
    values[1] = where[1]


@edits("x-index-out-of-range", "matrix.index_out_of_range", values=("X", "raw/X"))
def _out_of_range(file: File, path: str) -> None:
    indices = file[path]["indices"]
    indices[1] = 4000


@edits("x-indptr-broken", "matrix.indptr_invalid", values=("X",))
def _indptr(file: File, path: str) -> None:
    pointers = file[path]["indptr"]
    pointers[2] = 100_000


@edits("layer-shape", "layers.shape", values=((16, 7), (15, 8)))
def _layer_shape(file: File, shape: tuple[int, int]) -> None:
    del file["layers/scaled"]
    layer = file["layers"].create_dataset("scaled", data=np.ones(shape, np.float32))
    layer.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


@edits("x-dropped", "x.missing")
def _x_dropped(file: File, _: None) -> None:
    del file["X"]


@edits("file-encoding", "file.encoding", values=("0.0.1", "0.2.0", ""))
def _encoding(file: File, version: str) -> None:
    if version:
        file.attrs["encoding-version"] = version
    else:
        del file.attrs["encoding-version"], file.attrs["encoding-type"]


_GONE = ("file.not_anndata", "obs.columns.unreadable", "uns.title.missing", "obsm.embedding_missing")


@edits("element-dropped", *_GONE, values=("obs", "var", "uns", "obsm", "obs/donor_id"))
def _element_dropped(file: File, path: str) -> None:
    del file[path]

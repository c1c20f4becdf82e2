"""What an h5ad file declares about itself: shapes, encodings and columns, read without touching a value.

A `Header` is small and plain, so it travels as JSON from the step that read it to every step that needs it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, NoReturn, Self

import h5py
import numpy as np

from celldock.errors import InvalidSubmission
from celldock.h5ad import nodes
from celldock.h5ad.series import ColumnKind, open_series
from celldock.h5ad.source import ByteSource, open_h5ad

MatrixEncoding = Literal["csr", "csc", "dense"]
ArrayKind = Literal["dense", "sparse", "frame", "other"]

_NUMERIC = "fiub"


@dataclass(frozen=True, slots=True)
class MatrixHeader:
    """A matrix of cells by genes: X, raw.X or a layer.

    `dtype` is that of the values; `nnz` the stored elements of a sparse matrix, explicit zeros included;
    `stored_bytes` what its datasets take in the file, after compression; `compression` the filter of the values.
    """

    path: str
    encoding: MatrixEncoding
    shape: tuple[int, int]
    dtype: str
    nnz: int | None
    index_dtype: str | None
    compression: str | None
    stored_bytes: int

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict` after a trip through JSON."""
        rows, columns = data["shape"]
        fields: dict[str, Any] = {**data, "shape": (rows, columns)}
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class ColumnHeader:
    """One column of a data frame. `categories` is how many there are; `dtype` that of the values or codes."""

    name: str
    path: str
    kind: ColumnKind
    dtype: str
    categories: int | None
    ordered: bool


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """A data frame (obs, var, raw.var). `index` is the path of the index's dataset or group."""

    path: str
    length: int
    index: str
    columns: tuple[ColumnHeader, ...]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict` after a trip through JSON."""
        fields: dict[str, Any] = {**data, "columns": tuple(ColumnHeader(**column) for column in data["columns"])}
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """One element of obsm. `shape` is () for what has none."""

    path: str
    key: str
    shape: tuple[int, ...]
    dtype: str
    kind: ArrayKind

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict` after a trip through JSON."""
        fields: dict[str, Any] = {**data, "shape": tuple(data["shape"])}
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Header:
    """Everything the file declares that celldock plans and validates by. `n_obs` cells, `n_vars` genes."""

    encoding_type: str
    encoding_version: str
    n_obs: int
    n_vars: int
    x: MatrixHeader | None
    raw_x: MatrixHeader | None
    layers: tuple[MatrixHeader, ...]
    obs: FrameHeader
    var: FrameHeader
    raw_var: FrameHeader | None
    obsm: tuple[ArrayHeader, ...]
    uns: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A document for `json.dumps`; `from_json` gives an equal header back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The header that `to_json` wrote, also after a trip through JSON."""
        x, raw_x, raw_var = data["x"], data["raw_x"], data["raw_var"]
        return cls(
            encoding_type=data["encoding_type"],
            encoding_version=data["encoding_version"],
            n_obs=data["n_obs"],
            n_vars=data["n_vars"],
            x=MatrixHeader.from_json(x) if x is not None else None,
            raw_x=MatrixHeader.from_json(raw_x) if raw_x is not None else None,
            layers=tuple(MatrixHeader.from_json(layer) for layer in data["layers"]),
            obs=FrameHeader.from_json(data["obs"]),
            var=FrameHeader.from_json(data["var"]),
            raw_var=FrameHeader.from_json(raw_var) if raw_var is not None else None,
            obsm=tuple(ArrayHeader.from_json(array) for array in data["obsm"]),
            uns=tuple(data["uns"]),
        )


def read_header(source: ByteSource) -> Header:
    """Reads the header by ranged reads. Raises InvalidSubmission for what AnnData could not understand."""
    with open_h5ad(source) as file:
        return header_of(file)


def header_of(file: h5py.File) -> Header:
    """The header of an open file; see `read_header`."""
    encoding_type = nodes.text_attribute(file, "encoding-type")
    if encoding_type not in ("", "anndata"):
        _refuse("The file", "", f"is of the kind {encoding_type!r}, not AnnData")
    obs, var = _frame(file, "obs"), _frame(file, "var")
    if obs is None or var is None:
        _refuse("The file", "", f"has no {'obs' if obs is None else 'var'}, so it is not AnnData")
    layers = (_matrix(file, f"layers/{name}") for name in _members(file, "layers"))
    return Header(
        encoding_type=encoding_type,
        encoding_version=nodes.text_attribute(file, "encoding-version"),
        n_obs=obs.length,
        n_vars=var.length,
        x=_matrix(file, "X"),
        raw_x=_matrix(file, "raw/X"),
        layers=tuple(layer for layer in layers if layer is not None),
        obs=obs,
        var=var,
        raw_var=_frame(file, "raw/var"),
        obsm=tuple(_array(file, name) for name in _members(file, "obsm")),
        uns=tuple(_members(file, "uns")),
    )


def _frame(file: h5py.File, path: str) -> FrameHeader | None:
    node = nodes.find(file, path)
    if node is None:
        return None
    if isinstance(node, h5py.Dataset):
        _refuse(path, path, "is stored as AnnData did before version 0.7, which no current AnnData writes")
    _known_encoding(node, {("dataframe", "0.1.0"), ("dataframe", "0.2.0")})
    index = nodes.text_attribute(node, "_index")
    names = nodes.text_list_attribute(node, "column-order")
    if not index or names is None:
        _refuse(path, path, "does not say which columns it has and which one names its rows, so it is no data frame")
    series = open_series(node, index)
    if series is None:
        _refuse(path, f"{path}/{index}", "has no readable index: the names of its rows are missing")
    for dataset in (series.values, series.mask):
        if dataset is not None:
            nodes.refuse_inflated(dataset)
    columns = tuple(_column(node, path, name) for name in names)
    return FrameHeader(path=path, length=series.length, index=f"{path}/{index}", columns=columns)


def _column(frame: h5py.Group, path: str, name: str) -> ColumnHeader:
    series = open_series(frame, name)
    if series is None:
        return ColumnHeader(name, f"{path}/{name}", "unsupported", "", None, ordered=False)
    categories = series.categories.length if series.categories else None
    return ColumnHeader(name, f"{path}/{name}", series.kind, series.dtype, categories, series.ordered)


def _matrix(file: h5py.File, path: str) -> MatrixHeader | None:
    node = nodes.find(file, path)
    if node is None or nodes.text_attribute(node, "encoding-type") == "null":
        return None
    return _dense(node, path) if isinstance(node, h5py.Dataset) else _sparse(node, path)


def _dense(dataset: h5py.Dataset, path: str) -> MatrixHeader:
    _known_encoding(dataset, {("", ""), ("array", "0.2.0")})
    shape = dataset.shape or ()
    if len(shape) != 2 or dataset.dtype.kind not in _NUMERIC:
        _refuse(path, path, "is not a two-dimensional matrix of numbers")
    return MatrixHeader(
        path=path,
        encoding="dense",
        shape=(shape[0], shape[1]),
        dtype=dataset.dtype.name,
        nnz=None,
        index_dtype=None,
        compression=dataset.compression,
        stored_bytes=nodes.stored_bytes(dataset),
    )


def _sparse(group: h5py.Group, path: str) -> MatrixHeader:
    encoding = _known_encoding(group, {("csr_matrix", "0.1.0"), ("csc_matrix", "0.1.0")})
    parts = [nodes.find_dataset(group, name) for name in ("data", "indices", "indptr")]
    data, indices, indptr = parts
    if data is None or indices is None or indptr is None:
        _refuse(path, path, "lacks one of the three arrays of a sparse matrix: data, indices, indptr")
    shape = _sparse_shape(group)
    nnz, major = _length(data), shape[0 if encoding == "csr_matrix" else 1]
    numeric = data.dtype.kind in _NUMERIC and indices.dtype.kind in "iu" and indptr.dtype.kind in "iu"
    if not numeric or nnz < 0 or _length(indices) != nnz or _length(indptr) != major + 1:
        _refuse(path, path, "is a sparse matrix whose arrays do not fit together")
    return MatrixHeader(
        path=path,
        encoding="csr" if encoding == "csr_matrix" else "csc",
        shape=shape,
        dtype=data.dtype.name,
        nnz=nnz,
        index_dtype=indices.dtype.name,
        compression=data.compression,
        stored_bytes=sum(nodes.stored_bytes(dataset) for dataset in (data, indices, indptr)),
    )


def _sparse_shape(group: h5py.Group) -> tuple[int, int]:
    path = nodes.path_of(group)
    value = np.atleast_1d(nodes.attribute(group, "shape"))
    if value.shape != (2,) or value.dtype.kind not in "iu" or (value < 0).any():
        _refuse(path, path, "is a sparse matrix that does not say its shape")
    return int(value[0]), int(value[1])


def _array(file: h5py.File, key: str) -> ArrayHeader:
    path = f"obsm/{key}"
    node = nodes.find(file, path)
    if isinstance(node, h5py.Dataset):
        dense = node.dtype.kind in _NUMERIC and bool(node.shape)
        return ArrayHeader(path, key, node.shape or (), node.dtype.name, "dense" if dense else "other")
    if node is None:
        return ArrayHeader(path, key, (), "", "other")
    match nodes.text_attribute(node, "encoding-type"):
        case "csr_matrix" | "csc_matrix":
            matrix = _sparse(node, path)
            return ArrayHeader(path, key, matrix.shape, matrix.dtype, "sparse")
        case "dataframe":
            frame = _frame(file, path)
            return ArrayHeader(path, key, (frame.length, len(frame.columns)) if frame else (), "", "frame")
        case _:
            return ArrayHeader(path, key, (), "", "other")


def _members(file: h5py.File, path: str) -> list[str]:
    group = nodes.find_group(file, path)
    return nodes.members(group) if group is not None else []


def _length(dataset: h5py.Dataset) -> int:
    """Elements of a one-dimensional dataset, -1 for any other."""
    shape = dataset.shape or ()
    return shape[0] if len(shape) == 1 else -1


def _known_encoding(node: nodes.Node, known: set[tuple[str, str]]) -> str:
    """The encoding type of a node, if AnnData knows it in this place and version."""
    encoding = nodes.text_attribute(node, "encoding-type"), nodes.text_attribute(node, "encoding-version")
    if encoding not in known:
        path = nodes.path_of(node)
        name = " ".join(encoding).strip() or "none"
        raise InvalidSubmission(
            f"{path} is stored in an encoding that AnnData does not use there: {name}.",
            code="file.encoding_unknown",
            where=path,
            hint="Load the file with the program that wrote it and write it anew with anndata 0.8 to 0.13.",
        )
    return encoding[0]


def _refuse(what: str, where: str, problem: str) -> NoReturn:
    raise InvalidSubmission(
        f"{what} {problem}.",
        code="file.not_anndata",
        where=where,
        hint="Check that the file opens with anndata.read_h5ad; if it does, write it anew with write_h5ad.",
    )

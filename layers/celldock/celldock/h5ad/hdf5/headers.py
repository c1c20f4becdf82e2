"""Reads the header of an open file: what it declares, without touching a value."""

from __future__ import annotations

from typing import NoReturn

import h5py

from celldock.h5ad.hdf5 import nodes
from celldock.h5ad.hdf5.elements import FRAMES, describe_array, describe_tree, open_frame
from celldock.h5ad.hdf5.faults import damaged, unread
from celldock.h5ad.hdf5.records import field_names
from celldock.h5ad.hdf5.series import Series, encoding_of, open_series
from celldock.h5ad.hdf5.sparse import sparse_parts
from celldock.h5ad.headers import ArrayHeader, ColumnHeader, FrameHeader, Header, MatrixHeader

_NUMERIC = "fiub"
_MEMBERS = {"X", "layers", "obs", "obsm", "obsp", "raw", "uns", "var", "varm", "varp"}
_OLD_RAW = "raw."
_INDEX_NAMES = {"obs": ("obs_names", "row_names"), "var": ("var_names", "col_names"), "raw/var": ("var_names",)}
"""What names the rows of a frame that says nothing of itself, as AnnData understands it."""
_OLD_HINT = "Load the file with the program that wrote it and write it anew with anndata 0.8 to 0.13."


def header_of(file: h5py.File) -> Header:
    """The header of an open file. Raises InvalidSubmission for what AnnData could not understand."""
    encoding_type, encoding_version = encoding_of(file)
    if encoding_type not in ("", "anndata"):
        _refuse("", f"is of the kind {encoding_type!r}, not AnnData")
    raw = _raw(nodes.members(file))
    obs, var = _frame(file, "obs"), _frame(file, "var")
    if obs is None or var is None:
        _refuse("", f"has no {'obs' if obs is None else 'var'}, so it is not AnnData")
    layers = (matrix_of(file, f"layers/{name}") for name in _members(file, "layers"))
    uns, complete = describe_tree(file, "uns")
    return Header(
        encoding_type=encoding_type,
        encoding_version=encoding_version,
        n_obs=obs.length,
        n_vars=var.length,
        x=matrix_of(file, "X"),
        raw_x=matrix_of(file, f"{raw}X"),
        layers=tuple(layer for layer in layers if layer is not None),
        obs=obs,
        var=var,
        raw_var=_frame(file, f"{raw}var"),
        obsm=_arrays(file, "obsm"),
        varm=_arrays(file, "varm"),
        obsp=_arrays(file, "obsp"),
        varp=_arrays(file, "varp"),
        uns=uns,
        uns_complete=complete,
    )


def _raw(members: list[str]) -> str:
    """Where the elements of raw begin: at `raw/`, before AnnData 0.7 at `raw.`."""
    old = any(name.startswith(_OLD_RAW) for name in members)
    if old and "raw" in members:
        _refuse("raw", "is there twice, as AnnData stores it and as it did before version 0.7")
    unknown = [name for name in members if name not in _MEMBERS and not name.startswith(_OLD_RAW)]
    if unknown:
        _refuse(unknown[0], "is no part of AnnData, which therefore does not open the file")
    return _OLD_RAW if old else "raw/"


def _frame(file: h5py.File, path: str) -> FrameHeader | None:
    node = nodes.find(file, path)
    if node is None:
        return None
    if isinstance(node, h5py.Dataset):
        return _record_frame(node, path)
    if encoding_of(node) == ("", ""):
        return _bare_frame(node, path)
    _known_encoding(node, FRAMES)
    frame = open_frame(node)
    if frame is None:
        _refuse(path, "does not say which columns it has and which one names its rows, so it is no data frame")
    return _frame_header(node, path, frame.index_name, frame.index, frame.columns)


def _record_frame(dataset: h5py.Dataset, path: str) -> FrameHeader:
    """A frame as AnnData before 0.7 stored it: a record array, whose first field names the rows."""
    _known_encoding(dataset, {("", "")})
    fields = field_names(dataset)
    index = open_series(dataset, fields[0]) if fields else None
    if index is None or len(dataset.shape or ()) != 1 or path == "raw/var":
        _refuse(path, "is one array, where AnnData expects a data frame")
    return _frame_header(dataset, path, fields[0], index, list(fields[1:]))


def _bare_frame(group: h5py.Group, path: str) -> FrameHeader:
    """A group that does not say that it is a frame, as SeuratDisk leaves raw/var: its members are the columns."""
    names = nodes.members(group)
    series = {name: open_series(group, name) for name in names}
    first = next((found for found in series.values() if found is not None), None)
    if first is None:
        _refuse(path, "has no columns and no names of rows, so it is no data frame")
    index = next((name for name in _INDEX_NAMES.get(path, ()) if name in names), "")
    return _frame_header(group, path, index, series.get(index) or first, [name for name in names if name != index])


def _frame_header(node: nodes.Node, path: str, index_name: str, index: Series, names: list[str]) -> FrameHeader:
    return FrameHeader(
        path=path,
        length=index.length,
        index=f"{path}/{index_name}" if index_name else "",
        columns=tuple(_column(node, path, name) for name in names),
        index_kind=index.kind if index_name else "string",
    )


def _column(frame: nodes.Node, path: str, name: str) -> ColumnHeader:
    series = open_series(frame, name)
    if series is None:
        return ColumnHeader(name, f"{path}/{name}", "unsupported", "", None, ordered=False)
    categories = series.categories.length if series.categories else None
    return ColumnHeader(name, f"{path}/{name}", series.kind, series.dtype, categories, series.ordered)


def matrix_of(file: h5py.File, path: str) -> MatrixHeader | None:
    """The matrix at a path, None if there is none. Raises InvalidSubmission for what is something else."""
    node = nodes.find(file, path)
    if node is None or encoding_of(node)[0] == "null":
        return None
    return _dense(node, path) if isinstance(node, h5py.Dataset) else _sparse(node, path)


def _dense(dataset: h5py.Dataset, path: str) -> MatrixHeader:
    _known_encoding(dataset, {("", ""), ("array", "0.2.0")})
    shape = dataset.shape or ()
    if len(shape) != 2 or dataset.dtype.kind not in _NUMERIC:
        _refuse(path, "is not a two-dimensional matrix of numbers")
    return MatrixHeader(
        path=path,
        encoding="dense",
        shape=(shape[0], shape[1]),
        dtype=dataset.dtype.name,
        nnz=None,
        index_dtype=None,
        compression=_compression(dataset, path),
    )


def _sparse(group: h5py.Group, path: str) -> MatrixHeader:
    parts = sparse_parts(group, encoding_of(group))
    if parts is None:
        _refuse_encoding(group)
    return MatrixHeader(
        path=path,
        encoding=parts.encoding,
        shape=parts.shape,
        dtype=parts.data.dtype.name,
        nnz=len(parts.data),
        index_dtype=parts.indices.dtype.name,
        compression=_compression(parts.data, path),
    )


def _compression(dataset: h5py.Dataset, path: str) -> str | None:
    with damaged(path):
        return dataset.compression


def _arrays(file: h5py.File, path: str) -> tuple[ArrayHeader, ...]:
    return tuple(describe_array(file, f"{path}/{name}") for name in _members(file, path))


def _members(file: h5py.File, path: str) -> list[str]:
    node = nodes.find(file, path)
    if isinstance(node, h5py.Dataset):
        _refuse(path, "is one array, where AnnData expects a group of arrays")
    return nodes.members(node) if node is not None else []


def _known_encoding(node: nodes.Node, known: set[tuple[str, str]]) -> None:
    if encoding_of(node) not in known:
        _refuse_encoding(node)


def _refuse_encoding(node: nodes.Node) -> NoReturn:
    name = " ".join(encoding_of(node)).strip() or "none"
    problem = f"is stored in an encoding that AnnData does not use there: {name}"
    unread("file.encoding_unknown", nodes.path_of(node), problem, _OLD_HINT)


def _refuse(where: str, problem: str) -> NoReturn:
    hint = "Check that the file opens with anndata.read_h5ad; if it does, write it anew with write_h5ad."
    unread("file.not_anndata", where, problem, hint)

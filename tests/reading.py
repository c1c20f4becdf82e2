"""Whether celldock reads an h5ad file as AnnData does: both sides are brought to plain Python values and compared."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from celldock.h5ad.elements import Sparse, Table
from celldock.h5ad.file import H5adFile, open_h5ad
from celldock.h5ad.frames import Column, iter_blocks
from celldock.h5ad.headers import ArrayHeader, ColumnHeader, FrameHeader, Header, MatrixHeader
from celldock.h5ad.source import LocalSource


def read_by_anndata(path: Path) -> anndata.AnnData:
    """The whole file, however old it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return anndata.read_h5ad(path)


def assert_reads_as_anndata(path: Path, rows: int = 1000) -> Header:
    """Header, frames (in blocks of `rows`), arrays and uns of a file are what AnnData reads."""
    data = read_by_anndata(path)
    with open_h5ad(LocalSource(path)) as file:
        header = file.header()
        assert Header.from_json(header.to_json()) == header
        assert (header.n_obs, header.n_vars) == data.shape
        assert_matrices(header, data)
        assert_frame(file, header.obs, data.obs, rows)
        assert_frame(file, header.var, data.var, rows)
        assert header.has_raw == (data.raw is not None)
        if header.raw_var is not None:
            assert_frame(file, header.raw_var, data.raw.var, rows)
        moved = [element.path for element in header.uns if element.path in OLD_GRAPHS]
        assert_arrays(file, header.obsm, data.obsm, rows)
        assert_arrays(file, header.varm, data.varm, rows)
        assert_arrays(
            file, header.obsp, {key: data.obsp[key] for key in data.obsp if OLD_PLACE + key not in moved}, rows
        )
        assert_arrays(file, header.varp, data.varp, rows)
        assert_uns(file, header, data, moved)
    return header


OLD_PLACE = "uns/neighbors/"
OLD_GRAPHS = {f"{OLD_PLACE}distances", f"{OLD_PLACE}connectivities"}
"""Where AnnData before 0.7 kept what belongs into obsp; the new ones move it when they read."""


def assert_matrices(header: Header, data: anndata.AnnData) -> None:
    layers = {f"layers/{name}": matrix for name, matrix in data.layers.items() if name is not None}
    assert {layer.path for layer in header.layers} == set(layers)
    raw = data.raw.X if data.raw is not None else None
    for described, matrix in [
        (header.x, data.X),
        (header.raw_x, raw),
        *zip(header.layers, layers.values(), strict=True),
    ]:
        assert _matrix(described) == _stored(matrix)


def _matrix(header: MatrixHeader | None) -> tuple[Any, ...] | None:
    return None if header is None else (header.encoding, header.shape, header.dtype, header.nnz)


def _stored(matrix: Any) -> tuple[Any, ...] | None:
    if matrix is None:
        return None
    if sparse.issparse(matrix):
        return (matrix.format, matrix.shape, matrix.dtype.name, len(matrix.data))
    return ("dense", matrix.shape, matrix.dtype.name, None)


def assert_frame(file: H5adFile, header: FrameHeader, frame: Any, rows: int) -> None:
    """Index and columns of a frame, read in blocks of `rows`."""
    assert [column.name for column in header.columns] == list(frame.columns)
    assert header.length == len(frame)
    assert header.index_name == frame.index.name
    blocks = list(iter_blocks(header.length, rows))
    names = [name for block in blocks for name in file.index(header, *block)]
    assert names == ["" if pd.isna(name) else name for name in frame.index]
    for position, column in enumerate(header.columns):
        series = frame.iloc[:, position]
        values = values_of(file, column, header.length, rows)
        np.testing.assert_equal(values, plain_series(series), err_msg=column.name)
        assert column.ordered == bool(getattr(series.dtype, "ordered", False)), column.name


def values_of(file: H5adFile, column: ColumnHeader, length: int, rows: int) -> list[Any]:
    """All values of a column as Python sees them, None where one is missing."""
    categories = file.categories(column) if column.kind == "categorical" else None
    assert column.categories == (None if categories is None else len(categories))
    blocks = [file.column(column, *block) for block in iter_blocks(length, rows)]
    assert all(block.categories is None for block in blocks)
    return [value for block in blocks for value in plain_column(block, categories)]


def plain_column(column: Column, categories: np.ndarray | None) -> list[Any]:
    if categories is not None:
        return [None if code < 0 else categories[code] for code in column.values]
    values = column.values.tolist()
    if column.mask is None:
        return values
    return [None if missing else value for value, missing in zip(values, column.mask, strict=True)]


def plain_series(series: Any) -> list[Any]:
    """The same of pandas' values; a NaN that is a floating-point value stays one."""
    keeps_nan = isinstance(series.dtype, np.dtype) and series.dtype.kind == "f"
    return [None if not keeps_nan and pd.isna(value) else value for value in _text(series.tolist())]


def assert_arrays(file: H5adFile, headers: tuple[ArrayHeader, ...], arrays: Mapping[str, Any], rows: int) -> None:
    """Elements of obsm and the like: dense ones in blocks of `rows`, the others whole."""
    assert {header.key for header in headers} == set(arrays)
    for header in headers:
        array = arrays[header.key]
        assert header.shape == tuple(array.shape), header.path
        if header.kind == "dense":
            parts = [file.array(header, *block) for block in iter_blocks(header.shape[0], rows)]
            read = np.concatenate(parts) if parts else np.empty(header.shape, header.dtype)
            assert read.dtype.name == array.dtype.name == header.dtype
            np.testing.assert_array_equal(read, array)
        else:
            read, expected = plain_element(file.element(header.path)), plain_anndata(array)
            if header.kind == "frame":
                # AnnData gives these frames the name of the index of obs or var.
                read[0], expected[0] = read[0][1], expected[0][1]
            np.testing.assert_equal(read, expected, header.path)


def assert_uns(file: H5adFile, header: Header, data: anndata.AnnData, moved: list[str]) -> None:
    """All of uns; and its parts are what the header says that they are."""
    uns = plain_anndata(dict(data.uns))
    for path in moved:
        uns["neighbors"][path.removeprefix(OLD_PLACE)] = plain_anndata(data.obsp[path.removeprefix(OLD_PLACE)])
    read = plain_element(file.element("uns")) if header.uns else {}
    old_categories = {key for key in read if key.endswith("_categories")} - set(uns)
    assert {key.removesuffix("_categories") for key in old_categories} <= {*data.obs.columns, *data.var.columns}
    np.testing.assert_equal({key: value for key, value in read.items() if key not in old_categories}, uns)
    for element in header.uns:
        assert element.kind != "unsupported", element.path


def plain_element(value: Any) -> Any:
    """A value that celldock read, in plain Python."""
    match value:
        case Column():
            return plain_column(value, value.categories)
        case Table():
            index = [] if value.index is None else [(value.index.name, plain_element(value.index))]
            return index + [(column.name, plain_element(column)) for column in value.columns]
        case Sparse():
            return (value.encoding, value.shape, value.indptr, value.indices, value.data)
        case Mapping():
            return {key: plain_element(item) for key, item in value.items()}
        case np.ndarray():
            return _plain_array(value)
        case _:
            return value


def plain_anndata(value: Any) -> Any:
    """The same value as AnnData reads it."""
    if isinstance(value, pd.DataFrame):
        index = (value.index.name or "_index", plain_series(value.index))
        return [index, *((name, plain_series(value[name])) for name in value.columns)]
    if isinstance(value, pd.Categorical | pd.api.extensions.ExtensionArray):
        return plain_series(value)
    if sparse.issparse(value):
        return (value.format, value.shape, value.indptr, value.indices, value.data)
    if isinstance(value, Mapping):
        return {key: plain_anndata(item) for key, item in value.items()}
    if isinstance(value, np.ndarray) and value.dtype.names:
        return [(name, _text(value[name].tolist())) for name in value.dtype.names]
    return _plain_array(value) if isinstance(value, np.ndarray) else value


def _plain_array(array: np.ndarray) -> tuple[Any, ...]:
    if array.dtype.kind in "OSUT":
        return ("text", array.shape, _text(array.ravel().tolist()))
    return (array.dtype.name, array.shape, array)


def _text(values: list[Any]) -> list[Any]:
    """Text that does not say that it is UTF-8 AnnData leaves as bytes."""
    return [value.decode() if isinstance(value, bytes) else value for value in values]

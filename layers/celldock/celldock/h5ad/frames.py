"""Data frames and embeddings, one column and one block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import h5py
import numpy as np

from celldock.errors import InvalidSubmission
from celldock.h5ad import nodes
from celldock.h5ad.headers import ArrayHeader, ColumnHeader, FrameHeader
from celldock.h5ad.series import ColumnKind, Series, open_series


@dataclass(frozen=True, slots=True)
class Column:
    """Rows of one column.

    `values` holds the plain values, strings as `str` objects; for a categorical the integer codes, -1 where missing,
    and `categories` what they stand for. `mask` is True where a nullable value is missing (`values` mean nothing
    there); None where the encoding has no mask.
    """

    name: str
    kind: ColumnKind
    values: np.ndarray
    categories: np.ndarray | None
    mask: np.ndarray | None


def read_column(file: h5py.File, column: ColumnHeader, start: int, stop: int) -> Column:
    """Rows [start, stop) of a column. Memory: these rows, and all categories of a categorical.

    Raises InvalidSubmission if the column is damaged, shorter than `stop`, or of kind "unsupported".
    """
    series = _series(file, column)
    values = nodes.read_rows(series.values, start, stop)
    mask = nodes.read_rows(series.mask, start, stop) if series.mask is not None else None
    categories = None
    if series.categories is not None:
        categories = _read_all(series.categories)
        if len(values) and (values.min() < -1 or values.max() >= len(categories)):
            raise InvalidSubmission(
                f"{column.path} refers to categories that it does not have.",
                code="file.category_out_of_range",
                where=column.path,
                hint="Write the file anew with anndata's write_h5ad.",
            )
    return Column(column.name, series.kind, values, categories, mask)


def read_categories(file: h5py.File, column: ColumnHeader) -> np.ndarray:
    """All categories of a categorical column, in the order of their codes; an empty array for any other column."""
    series = _series(file, column)
    return _read_all(series.categories) if series.categories is not None else np.empty(0, dtype=object)


def read_index(file: h5py.File, frame: FrameHeader, start: int, stop: int) -> np.ndarray:
    """The names of rows [start, stop), as `str` objects; "" where a name is missing."""
    series = _open(file, frame.path, frame.index.removeprefix(f"{frame.path}/"))
    values = nodes.read_rows(series.values, start, stop)
    if series.categories is not None:
        values = np.append(_read_all(series.categories), "")[values]
    names = np.array([str(value) for value in values.tolist()], dtype=object)
    if series.mask is not None:
        names[nodes.read_rows(series.mask, start, stop)] = ""
    return names


def read_array(file: h5py.File, array: ArrayHeader, start: int, stop: int) -> np.ndarray:
    """Rows [start, stop) of a dense element of obsm, with all of its columns. Other kinds raise ValueError."""
    dataset = nodes.find_dataset(file, array.path)
    if array.kind != "dense" or dataset is None:
        raise ValueError(f"{array.path} is no dense array")
    return nodes.read_rows(dataset, start, stop)


def column_length(file: h5py.File, column: ColumnHeader) -> int:
    """The rows that a column has, which a broken file may not match to its index."""
    return _series(file, column).length


def iter_blocks(length: int, rows: int) -> Iterator[tuple[int, int]]:
    """The row ranges [start, stop) that cover `length` rows in blocks of at most `rows`."""
    for start in range(0, length, rows):
        yield start, min(start + rows, length)


def _series(file: h5py.File, column: ColumnHeader) -> Series:
    return _open(file, column.path.removesuffix(f"/{column.name}"), column.name)


def _open(file: h5py.File, frame_path: str, name: str) -> Series:
    frame = nodes.find_group(file, frame_path)
    series = open_series(frame, name) if frame is not None else None
    if series is None:
        where = f"{frame_path}/{name}"
        raise InvalidSubmission(
            f"{where} is missing or in an encoding that AnnData does not know.",
            code="file.column_unreadable",
            where=where,
            hint="Write the file anew with anndata's write_h5ad.",
        )
    return series


def _read_all(series: Series) -> np.ndarray:
    """A whole series; only for categories. Missing ones of a nullable encoding become ""."""
    nodes.refuse_inflated(series.values)
    values = nodes.read_rows(series.values, 0, series.length)
    if series.mask is not None:
        mask = nodes.read_rows(series.mask, 0, series.length)
        values = np.where(mask, "", values.astype(object))
    return values

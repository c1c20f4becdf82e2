"""Data frames and embeddings, one column and one block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import h5py
import numpy as np

from celldock.h5ad.frames import Column
from celldock.h5ad.hdf5 import nodes
from celldock.h5ad.hdf5.faults import unread
from celldock.h5ad.hdf5.series import Series, open_series
from celldock.h5ad.headers import ArrayHeader, ColumnHeader, FrameHeader

_KEPT_OPEN = 16
"""Columns: rules come back to them block by block, and to open one takes longer than to read a block of a small file.

libhdf5 keeps chunks of each dataset that is open, up to 8 MiB.
"""


class Frames:
    """The data frames and embeddings of one open file. The columns that were used last stay open."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._open: Callable[[str, str], Series] = lru_cache(_KEPT_OPEN)(partial(_open, file))

    def column(self, column: ColumnHeader, start: int, stop: int) -> Column:
        """Rows [start, stop) of a column, without the categories of a categorical. Memory: these rows.

        Raises InvalidSubmission if the column is damaged, shorter than `stop`, of kind "unsupported", or has codes
        that stand for nothing.
        """
        return column_of(self._series(column), column.name, start, stop)

    def categories(self, column: ColumnHeader) -> np.ndarray:
        """All categories of a categorical column, in the order of their codes; an empty array for any other column.

        Raises InvalidSubmission if one is missing or comes twice, with which no program reads the column.
        """
        series = self._series(column)
        return categories_of(series) if series.categories is not None else np.empty(0, dtype=object)

    def column_length(self, column: ColumnHeader) -> int:
        """The rows that a column has, which a broken file may not match to its index."""
        return self._series(column).length

    def index(self, frame: FrameHeader, start: int, stop: int) -> np.ndarray:
        """The names of rows [start, stop), as `str` objects; "" where a name is missing."""
        if not frame.index:
            return np.array([str(row) for row in range(start, stop)], dtype=object)
        series = self._open(frame.path, frame.index.removeprefix(f"{frame.path}/"))
        block = column_of(series, "", start, stop)
        values = block.values
        if series.categories is not None:
            # The code of a missing name is -1, so it finds the "" at the end.
            values = np.append(categories_of(series).astype(object), "")[values]
        names = np.array([str(value) for value in values.tolist()], dtype=object)
        if block.mask is not None:
            names[block.mask] = ""
        return names

    def array(self, array: ArrayHeader, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) of a dense array, with all of its columns. Other kinds raise ValueError."""
        dataset = nodes.find_dataset(self._file, array.path)
        if array.kind != "dense" or dataset is None:
            raise ValueError(f"{array.path} is no dense array")
        return nodes.read_rows(dataset, start, stop)

    def _series(self, column: ColumnHeader) -> Series:
        return self._open(column.path.removesuffix(f"/{column.name}"), column.name)


def column_of(series: Series, name: str, start: int, stop: int) -> Column:
    """Rows [start, stop) of an opened column; see `Frames.column`."""
    values = series.read(start, stop)
    if series.categories is not None and len(values):
        count, lowest, highest = series.categories.length, int(values.min()), int(values.max())
        if lowest < -1 or highest >= count:
            code = lowest if lowest < -1 else highest
            where = nodes.path_of(series.values)
            unread("file.category_out_of_range", where, f"refers to category {code} where there are {count:,}")
    return Column(name, series.kind, values, None, series.read_mask(start, stop))


def categories_of(series: Series) -> np.ndarray:
    """All categories of an opened categorical; see `Frames.categories`."""
    assert series.categories is not None
    labels = series.categories
    values = labels.read(0, labels.length)
    mask = labels.read_mask(0, labels.length)
    where = nodes.path_of(labels.values)
    if (mask is not None and mask.any()) or (labels.kind == "float" and np.isnan(values).any()):
        unread("file.category_missing", where, "has a category that is a missing value")
    repeated = len(values) - len(set(values.tolist()))
    if repeated:
        unread("file.category_repeated", where, f"has {repeated:,} categories twice")
    return values


def _open(file: h5py.File, frame_path: str, name: str) -> Series:
    frame = nodes.find(file, frame_path)
    series = open_series(frame, name) if frame is not None else None
    if series is None:
        unread("file.column_unreadable", f"{frame_path}/{name}", "is missing or in an encoding that AnnData lacks")
    return series

"""The plain values of elements: uns, and whatever else is small enough to be read whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NoReturn

import h5py
import numpy as np

from celldock.h5ad.elements import (
    MAX_ELEMENT_BYTES,
    MAX_ELEMENT_DEPTH,
    MAX_ELEMENT_NODES,
    Awkward,
    Element,
    Scalar,
    Sparse,
    Table,
)
from celldock.h5ad.frames import Column, iter_blocks
from celldock.h5ad.hdf5 import nodes
from celldock.h5ad.hdf5.elements import describe, open_frame
from celldock.h5ad.hdf5.faults import hostile, unread
from celldock.h5ad.hdf5.frames import categories_of, column_of
from celldock.h5ad.hdf5.records import field_names
from celldock.h5ad.hdf5.series import Series, encoding_of, open_series, series_of
from celldock.h5ad.hdf5.sparse import sparse_parts
from celldock.h5ad.headers import ElementKind

_STRINGS_AT_ONCE = 8192


def read_element(file: h5py.File, path: str) -> Element:
    """The plain value of the element at `path`, with all that lies below it.

    Raises InvalidSubmission for one that is missing, damaged, in no encoding of AnnData, or larger than an element may
    be (see `celldock.h5ad.elements`).
    """
    node = nodes.find(file, path)
    if node is None:
        unread("file.element_missing", path, "does not exist")
    return _Reader(path).read(node, path, 0)


class _Reader:
    """Reads one element within its bounds."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._bytes = 0
        self._nodes = 0

    def read(self, node: nodes.Node, path: str, depth: int) -> Element:
        self._nodes += 1
        if self._nodes > MAX_ELEMENT_NODES or depth > MAX_ELEMENT_DEPTH:
            hostile("file.too_many_members", self._path, "holds more elements, or deeper ones, than celldock reads")
        kind = describe(node, path).kind
        if kind == "null":
            return None
        if isinstance(node, h5py.Dataset):
            return self._of_dataset(node, path, kind)
        if kind == "dict":
            return {name: self.read(child, f"{path}/{name}", depth + 1) for name, child in nodes.children(node)}
        return self._of_group(node, path, kind)

    def _of_dataset(self, dataset: h5py.Dataset, path: str, kind: ElementKind) -> Element:
        match kind:
            case "scalar":
                return self._scalar(dataset)
            case "array":
                return self._array(dataset)
            case "records":
                return self._records(dataset)
            case _:
                return _refuse_encoding(path)

    def _of_group(self, group: h5py.Group, path: str, kind: ElementKind) -> Element:
        match kind:
            case "sparse":
                return self._sparse(group, path)
            case "column":
                return self._column(series_of(group, encoding_of(group)), path.rpartition("/")[2], path)
            case "frame":
                return self._frame(group, path)
            case "awkward":
                return self._awkward(group, path)
            case _:
                return _refuse_encoding(path)

    def _scalar(self, dataset: h5py.Dataset) -> Scalar:
        value = nodes.read_scalar(dataset)
        self._count(len(value) if isinstance(value, str) else 0)
        return value

    def _array(self, dataset: h5py.Dataset) -> np.ndarray:
        shape = dataset.shape or (0,)
        if nodes.is_text(dataset):
            return self._text(lambda start, stop: nodes.read_rows(dataset, start, stop), shape)
        self._count(math.prod(shape) * dataset.dtype.itemsize)
        return nodes.read_rows(dataset, 0, shape[0])

    def _text(self, read: Callable[[int, int], np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        """Strings by blocks of rows, since only reading them tells how long they are."""
        self._count(math.prod(shape) * np.dtype(object).itemsize)
        values = np.empty(shape, dtype=object)
        for start, stop in iter_blocks(shape[0], _STRINGS_AT_ONCE):
            values[start:stop] = read(start, stop)
            self._count(sum(map(len, values[start:stop].ravel().tolist())))
        return values

    def _records(self, dataset: h5py.Dataset) -> Table:
        path = nodes.path_of(dataset)
        columns = (self._column(open_series(dataset, name), name, path) for name in field_names(dataset))
        return Table(None, tuple(columns))

    def _frame(self, group: h5py.Group, path: str) -> Table:
        frame = open_frame(group)
        if frame is None:
            _refuse_encoding(path)
        index = self._column(frame.index, frame.index_name, path)
        columns = (self._column(open_series(group, name), name, f"{path}/{name}") for name in frame.columns)
        return Table(index, tuple(columns))

    def _column(self, series: Series | None, name: str, path: str) -> Column:
        if series is None:
            _refuse_encoding(path)
        return Column(
            name=name,
            kind=series.kind,
            values=self._series(series, name),
            categories=self._categories(series, series.categories) if series.categories is not None else None,
            mask=series.read_mask(0, series.length),
            ordered=series.ordered,
        )

    def _series(self, series: Series, name: str) -> np.ndarray:
        if series.dtype == "str":
            return self._text(series.read, (series.length,))
        self._count(series.length * np.dtype(series.dtype).itemsize)
        return column_of(series, name, 0, series.length).values

    def _categories(self, series: Series, labels: Series) -> np.ndarray:
        self._count(labels.length * np.dtype(object).itemsize)
        values = categories_of(series)
        self._count(sum(map(len, values.tolist())) if labels.dtype == "str" else 0)
        return values

    def _sparse(self, group: h5py.Group, path: str) -> Sparse:
        parts = sparse_parts(group, encoding_of(group))
        if parts is None:
            _refuse_encoding(path)
        indptr, indices, data = (self._array(dataset) for dataset in (parts.indptr, parts.indices, parts.data))
        return Sparse(parts.encoding, parts.shape, indptr, indices, data)

    def _awkward(self, group: h5py.Group, path: str) -> Awkward:
        form, length = nodes.text_attribute(group, "form"), np.asarray(nodes.attribute(group, "length"))
        buffers = {name: self._array(child) for name, child in nodes.children(group) if isinstance(child, h5py.Dataset)}
        if not form or length.size != 1 or length.dtype.kind not in "iu":
            _refuse_encoding(path)
        return Awkward(form, int(length.item()), buffers)

    def _count(self, nbytes: int) -> None:
        self._bytes += nbytes
        if self._bytes > MAX_ELEMENT_BYTES:
            limit = MAX_ELEMENT_BYTES // 1024**2
            unread(
                "file.element_too_large",
                self._path,
                f"takes more than {limit} MiB, more than celldock reads in one piece",
                "Keep large arrays in obsm, varm or layers, and images no larger than they are looked at.",
            )


def _refuse_encoding(path: str) -> NoReturn:
    unread("file.element_unreadable", path, "is in an encoding that AnnData does not know")

"""Makes columns and elements in AnnData's encodings: objects of a file that have no name yet, and so no place in it.

Source: https://anndata.readthedocs.io/en/stable/fileformat-prose.html; for frames of AnnData 0.7 its own reader.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import h5py
import numpy as np
from h5py import h5g

from celldock.errors import CannotAppend
from celldock.h5ad.chunking import LEVEL, dense_chunks, is_shuffled
from celldock.h5ad.hdf5 import nodes
from celldock.h5ad.hdf5.faults import FAULTS, shown

OLD_CATEGORIES = "__categories"
"""Where a frame of AnnData 0.7 has the categories of its columns."""
TEXT = h5py.string_dtype()
"""Strings of any length, as AnnData's format demands: each takes its place in a heap."""

_PLAIN_ROWS = 4096
"""A column of up to so many rows is stored in one piece: a chunk's index would take more than compression gains."""
_CHUNK_ROWS, _TEXT_CHUNK_ROWS = 65_536, 8192
_GZIP_LEVEL = 4

type Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """A column that is to be made; fields as in `celldock.h5ad.additions.NewColumn`."""

    frame: str
    name: str
    kind: str
    rows: int
    dtype: str
    categories: Sequence[str] | Sequence[int]
    ordered: bool
    replaces: bool


@dataclass
class Filling:
    """A column that is being filled: the datasets of its values or codes and of its mask, and the rows they have."""

    values: h5py.Dataset
    mask: h5py.Dataset | None = None
    rows: int = 0

    def write(self, values: Array, mask: Array | None) -> None:
        """The next rows."""
        start, stop = self.rows, self.rows + len(values)
        with appending(nodes.path_of(self.values)):
            self.values[start:stop] = values
            if self.mask is not None:
                self.mask[start:stop] = mask
        self.rows = stop


@dataclass(frozen=True, slots=True)
class MadeColumn:
    """A column that has no name yet, and what fills it; in AnnData 0.7 its categories lie in another place."""

    node: nodes.Node
    filling: Filling
    old_labels: h5py.Dataset | None = None


@dataclass(frozen=True)
class Encoder:
    """Makes objects of one file, opened for writing. Every method may raise CannotAppend.

    They are `marked` with the names of their encodings or, as before AnnData 0.8, are not: AnnData 0.7 reads no element
    with a mark that it does not know.
    """

    file: h5py.File
    marked: bool = True

    def group(self) -> h5py.Group:
        """A group that says nothing of itself."""
        with appending(""):
            return h5py.Group(h5g.create(self.file.id, None))

    def dictionary(self) -> h5py.Group:
        """A dictionary of uns."""
        group = self.group()
        self._mark(group, "dict", "0.1.0")
        return group

    def sparse(self, shape: tuple[int, int]) -> h5py.Group:
        """A csr matrix without its three arrays. It says what it is in AnnData 0.7 already."""
        group = self.group()
        with appending(""):
            group.attrs["encoding-type"], group.attrs["encoding-version"] = "csr_matrix", "0.1.0"
            group.attrs["shape"] = np.array(shape, np.int64)
        return group

    def raw(self) -> h5py.Group:
        """A raw with nothing in it; it says what it is in AnnData 0.7 already, but has no varm there."""
        group = self.group()
        with appending("raw"):
            group.attrs["encoding-type"], group.attrs["encoding-version"] = "raw", "0.1.0"
            if self.marked:
                group["varm"] = self.dictionary()
        return group

    def frame(self, index: str, columns: Sequence[str]) -> h5py.Group:
        """A frame without its columns; before AnnData 0.8 it has a place for their categories."""
        group = self.group()
        with appending(""):
            group.attrs["encoding-type"] = "dataframe"
            group.attrs["encoding-version"] = "0.2.0" if self.marked else "0.1.0"
            group.attrs["_index"] = index
            group.attrs.create("column-order", np.array(columns, dtype=object), dtype=TEXT)
            if not self.marked:
                group[OLD_CATEGORIES] = self.group()
        return group

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> h5py.Dataset:
        """A dense array, for chunks that are compressed already."""
        dataset = self._compressed(shape, dtype, dense_chunks(shape, dtype))
        self._mark_array(dataset)
        return dataset

    def growing(self, dtype: np.dtype[Any], chunk: int) -> h5py.Dataset:
        """One of the arrays of a sparse matrix, which is to grow with its chunks; these are compressed already."""
        return self._compressed((0,), dtype, (chunk,), maxshape=(None,))

    def column(self, plan: ColumnPlan) -> MadeColumn:
        """A column of any kind. Raises CannotAppend for kinds that AnnData 0.7 does not have."""
        if plan.kind.startswith("nullable"):
            if not self.marked:
                problem = "is in the encoding of AnnData 0.7, which has no such columns with missing values"
                message = f"{shown(plan.frame)} {problem}."
                raise CannotAppend(message, code="file.not_appendable", where=shown(plan.frame))
            return MadeColumn(*self.nullable(plan))
        if plan.kind == "categorical" and self.marked:
            return MadeColumn(*self.categorical(plan))
        if plan.kind == "categorical":
            labels, filling = self.old_categorical(plan)
            return MadeColumn(filling.values, filling, labels)
        filling = self.plain(plan)
        return MadeColumn(filling.values, filling)

    def plain(self, plan: ColumnPlan) -> Filling:
        """A column that is one dataset."""
        known = {"string": TEXT, "boolean": np.dtype(bool)}
        values = self._rows(plan, known.get(plan.kind) or np.dtype(plan.dtype))
        self._mark_array(values)
        return Filling(values)

    def nullable(self, plan: ColumnPlan) -> tuple[h5py.Group, Filling]:
        """A column of integers or booleans, with a mask of those that are missing."""
        group, values = self.group(), self._rows(plan, np.dtype(plan.dtype or bool))
        mask = self._rows(plan, np.dtype(bool))
        self._mark(group, plan.kind, "0.1.0")
        self._mark_array(values)
        self._mark_array(mask)
        with appending(plan.frame):
            group["values"], group["mask"] = values, mask
        return group, Filling(values, mask)

    def categorical(self, plan: ColumnPlan) -> tuple[h5py.Group, Filling]:
        """A column of codes, with its categories."""
        group, codes, labels = self.group(), self._codes(plan), self._labels(plan)
        self._mark(group, "categorical", "0.2.0")
        self._mark_array(codes)
        self._mark_array(labels)
        with appending(plan.frame):
            group.attrs["ordered"] = np.bool_(plan.ordered)
            group["codes"], group["categories"] = codes, labels
        return group, Filling(codes)

    def old_categorical(self, plan: ColumnPlan) -> tuple[h5py.Dataset, Filling]:
        """The same as in AnnData 0.7: the categories, and codes that refer to them."""
        codes, labels = self._codes(plan), self._labels(plan)
        with appending(plan.frame):
            labels.attrs["ordered"] = np.bool_(plan.ordered)
            codes.attrs["categories"] = labels.ref
        return labels, Filling(codes)

    def element(self, path: str, value: Any) -> nodes.Node:
        """An element of uns: text, a number, an array, or a dictionary of such."""
        if isinstance(value, dict):
            group = self.dictionary()
            for name, item in cast("dict[str, Any]", value).items():
                node = self.element(f"{path}/{name}", item)
                with appending(path):
                    group[name] = node
            return group
        if isinstance(value, np.ndarray):
            array = cast("Array", value)
            dataset = self._filled(path, array, TEXT if array.dtype == object else None)
            self._mark_array(dataset)
        else:
            is_text = isinstance(value, str)
            dataset = self._filled(path, value, TEXT if is_text else None)
            self._mark(dataset, "string" if is_text else "numeric-scalar", "0.2.0")
        return dataset

    def _codes(self, plan: ColumnPlan) -> h5py.Dataset:
        # Signed, since -1 is missing: for 128 categories one byte is enough.
        return self._rows(plan, np.min_scalar_type(-max(1, len(plan.categories))))

    def _labels(self, plan: ColumnPlan) -> h5py.Dataset:
        text = all(isinstance(category, str) for category in plan.categories)
        labels = np.array(plan.categories, dtype=object if text else np.int64)
        return self._filled(plan.frame, labels, TEXT if text else None)

    def _rows(self, plan: ColumnPlan, dtype: np.dtype[Any]) -> h5py.Dataset:
        """The values of a column, in compressed chunks where they are many."""
        options: dict[str, Any] = {}
        if plan.rows > _PLAIN_ROWS:
            chunk = min(plan.rows, _TEXT_CHUNK_ROWS if dtype == TEXT else _CHUNK_ROWS)
            options = {"chunks": (chunk,), "compression": "gzip", "compression_opts": _GZIP_LEVEL, "shuffle": True}
        with appending(plan.frame):
            return self.file.create_dataset(None, (plan.rows,), dtype, track_times=False, **options)

    def _compressed(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        chunks: tuple[int, ...] | None,
        maxshape: tuple[None] | None = None,
    ) -> h5py.Dataset:
        options: dict[str, Any] = {}
        if chunks:
            shuffle = is_shuffled(dtype)
            options = {"chunks": chunks, "compression": "gzip", "compression_opts": LEVEL, "shuffle": shuffle}
        with appending(""):
            return self.file.create_dataset(None, shape, dtype, track_times=False, maxshape=maxshape, **options)

    def _filled(self, where: str, value: Any, dtype: np.dtype[Any] | None) -> h5py.Dataset:
        with appending(where):
            return self.file.create_dataset(None, dtype=dtype, data=value, track_times=False)

    def _mark_array(self, dataset: h5py.Dataset) -> None:
        self._mark(dataset, "string-array" if nodes.is_text(dataset) else "array", "0.2.0")

    def _mark(self, node: nodes.Node, encoding: str, version: str) -> None:
        if self.marked:
            with appending(""):
                node.attrs["encoding-type"], node.attrs["encoding-version"] = encoding, version


@contextmanager
def appending(where: str) -> Generator[None]:
    """Turns what h5py raises into CannotAppend. Wrap single calls into h5py."""
    try:
        yield
    except FAULTS as error:
        message = f"Nothing can be added to {shown(where)}: {error}."
        raise CannotAppend(message, code="file.not_appendable", where=shown(where)) from error

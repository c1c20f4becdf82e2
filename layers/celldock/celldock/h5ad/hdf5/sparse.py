"""Sparse matrices: whether their three arrays and their shape can belong together, from metadata alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NoReturn

import h5py
import numpy as np

from celldock.h5ad.hdf5 import nodes
from celldock.h5ad.hdf5.faults import hostile

MAX_AXIS = 2**31 - 1
"""Rows or columns of a sparse matrix: what a 32-bit index can name."""

_ENCODINGS: dict[tuple[str, str], Literal["csr", "csc"]] = {
    ("csr_matrix", "0.1.0"): "csr",
    ("csc_matrix", "0.1.0"): "csc",
}
_OLD_ENCODINGS: dict[str, Literal["csr", "csc"]] = {"csr": "csr", "csc": "csc"}
"""The attribute `h5sparse_format` of AnnData before 0.7."""


@dataclass(frozen=True, slots=True)
class SparseParts:
    """The arrays of a sparse matrix whose lengths and types fit its shape; their contents have not been looked at."""

    encoding: Literal["csr", "csc"]
    shape: tuple[int, int]
    data: h5py.Dataset
    indices: h5py.Dataset
    indptr: h5py.Dataset


def sparse_parts(group: h5py.Group, stated: tuple[str, str]) -> SparseParts | None:
    """The parts of a group that says, in its encoding, that it is a sparse matrix; None if it says something else.

    Raises HostileFile for a matrix on which arithmetic would fail: arrays that are missing, not one-dimensional, of
    another type or length than the shape asks for, or a shape that no index could name.
    """
    encoding = _ENCODINGS.get(stated)
    if stated == ("", ""):
        encoding = _OLD_ENCODINGS.get(nodes.text_attribute(group, "h5sparse_format"))
    if encoding is None:
        return None
    path = nodes.path_of(group)
    data = _array(group, path, "data", "fiub")
    indices = _array(group, path, "indices", "iu")
    indptr = _array(group, path, "indptr", "iu")
    shape = _shape(group, path)
    major = shape[0 if encoding == "csr" else 1]
    if len(indices) != len(data):
        _refuse(path, f"has {len(data):,} values but {len(indices):,} indices")
    if len(indptr) != major + 1:
        _refuse(path, f"has {len(indptr):,} values in indptr where its shape asks for {major + 1:,}")
    if not math.prod(shape) and len(data):
        _refuse(path, f"has {len(data):,} values, but its shape has no room for any")
    return SparseParts(encoding, shape, data, indices, indptr)


def _array(group: h5py.Group, path: str, name: str, kinds: str) -> h5py.Dataset:
    dataset = nodes.find_dataset(group, name)
    if dataset is None:
        _refuse(path, f"lacks its array {name}")
    if len(dataset.shape or ()) != 1 or dataset.dtype.kind not in kinds:
        _refuse(path, f"has an array {name} that is not a list of {'numbers' if 'f' in kinds else 'integers'}")
    return dataset


def _shape(group: h5py.Group, path: str) -> tuple[int, int]:
    stated = nodes.attribute(group, "shape")
    value = np.atleast_1d(nodes.attribute(group, "h5sparse_shape") if stated is None else stated)
    if value.shape != (2,) or value.dtype.kind not in "iu":
        _refuse(path, "does not say its shape")
    rows, columns = int(value[0]), int(value[1])
    if not (0 <= rows <= MAX_AXIS and 0 <= columns <= MAX_AXIS):
        _refuse(path, f"states the shape {rows:,} × {columns:,}")
    return rows, columns


def _refuse(path: str, problem: str) -> NoReturn:
    hostile("file.sparse_invalid", path, f"is a sparse matrix that {problem}")

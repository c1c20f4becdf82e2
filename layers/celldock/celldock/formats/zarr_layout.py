"""What of a file a Zarr store can hold, and where it goes, from the header alone.

Paths in the store are those in the file, but for what old files have elsewhere: AnnData finds an element by the name of
its node. So a name that is no plain step of a path is left out rather than replaced.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from celldock.formats.protocol import Omission
from celldock.formats.zarr_store import METADATA
from celldock.h5ad.elements import MAX_ELEMENT_BYTES
from celldock.h5ad.headers import (
    CROWD,
    MAX_UNS_ELEMENTS,
    ArrayHeader,
    ColumnHeader,
    ColumnKind,
    ElementHeader,
    FrameHeader,
    Header,
    MatrixHeader,
)

MAX_NAME_BYTES = 200
"""Bytes of one step of a path: file systems allow 255."""
MAX_PATH_BYTES = 600
"""Bytes of a path: S3 allows 1,024 with all that stands before and behind it."""
MAX_CATEGORIES = 1_000_000
"""All categories of a column are in memory at once."""

_NUMBERS = "fiub"
_WIDEST = 8
_TEXT_BYTES = 64
_MEMBERS = ("codes", "categories", "values", "mask")


@dataclass(slots=True)
class ZarrLayout:
    """What is kept. Matrices and frames by their paths in the store; all others have the same path as in the file.

    `frames` have the columns that are kept. `arrays` are read by rows, `graphs` are sparse, `elements` are small and
    read whole, `dicts` are dictionaries of uns, the outer ones first.
    """

    matrices: dict[str, MatrixHeader] = field(default_factory=dict[str, MatrixHeader])
    frames: dict[str, FrameHeader] = field(default_factory=dict[str, FrameHeader])
    arrays: list[ArrayHeader] = field(default_factory=list[ArrayHeader])
    graphs: list[str] = field(default_factory=list[str])
    elements: list[ElementHeader] = field(default_factory=list[ElementHeader])
    dicts: list[str] = field(default_factory=list[str])
    omitted: list[Omission] = field(default_factory=list[Omission])

    def omit(self, where: str, reason: str) -> None:
        """Notes what is left out."""
        self.omitted.append(Omission(where, reason))


def layout_of(header: Header) -> ZarrLayout:
    """Lays the store out. What it, or AnnData when it reads it, could not hold is omitted with the reason."""
    layout = ZarrLayout()
    _matrices(layout, header)
    _frame(layout, "obs", header.obs)
    _frame(layout, "var", header.var)
    if header.raw_var is not None:
        _frame(layout, "raw/var", header.raw_var)
    for arrays, axes in (
        (header.obsm, (header.n_obs,)),
        (header.varm, (header.n_vars,)),
        (header.obsp, (header.n_obs, header.n_obs)),
        (header.varp, (header.n_vars, header.n_vars)),
    ):
        for array in arrays:
            _array(layout, array, axes)
    _uns(layout, header)
    return layout


def path_obstacle(path: str) -> str:
    """Why a store cannot have a node at this path; "" if it can."""
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"its path has more than {MAX_PATH_BYTES} bytes"
    for name in path.split("/"):
        if name in ("", ".", "..", METADATA) or name.startswith("__"):
            return f"a node of a Zarr store cannot be called {name!r}"
        if not name.isprintable() or "\\" in name:
            return "its name has characters that paths do not have everywhere"
        if len(name.encode()) > MAX_NAME_BYTES:
            return f"its name has more than {MAX_NAME_BYTES} bytes"
    return ""


def _matrices(layout: ZarrLayout, header: Header) -> None:
    found = {matrix.path: matrix for matrix in (header.x, *header.layers) if matrix is not None}
    if header.raw_x is not None:
        found["raw/X"] = header.raw_x
    genes = {"raw/X": header.raw_var.length} if header.raw_var is not None else {}
    for path, matrix in found.items():
        reason = path_obstacle(path) or _dtype_obstacle(matrix.dtype)
        if not reason and matrix.shape != (header.n_obs, genes.get(path, header.n_vars)):
            reason = f"its shape {matrix.shape} does not fit the cells and genes"
        if reason:
            layout.omit(matrix.path, reason)
        else:
            layout.matrices[path] = matrix


def _frame(layout: ZarrLayout, path: str, frame: FrameHeader) -> None:
    index = frame.index_name or "_index"
    kinds: dict[str, ColumnKind] = {index: "string"}
    kinds.update((column.name, column.kind) for column in frame.columns)
    kept: dict[str, ColumnHeader] = {}
    for column in frame.columns:
        reason = _column_obstacle(column, path) or _name_obstacle(column.name, kinds, frame)
        if not reason and column.name in kept:
            reason = "there is another column of this name"
        if reason:
            layout.omit(column.path, reason)
        else:
            kept[column.name] = column
    if path_obstacle(f"{path}/{index}"):
        # The names of the rows are kept, what they are called is not.
        layout.omit(frame.index, "the name of the index cannot be that of a node of a Zarr store")
    layout.frames[path] = replace(frame, columns=tuple(kept.values()))


def _column_obstacle(column: ColumnHeader, path: str) -> str:
    if column.kind == "unsupported":
        return "it is in an encoding that AnnData does not have"
    if (column.categories or 0) > MAX_CATEGORIES:
        return f"{column.categories:,} categories are more than {MAX_CATEGORIES:,}"
    text = column.kind in ("string", "nullable-string")
    return path_obstacle(f"{path}/{column.name}") or ("" if text else _dtype_obstacle(column.dtype))


def _name_obstacle(name: str, kinds: Mapping[str, ColumnKind], frame: FrameHeader) -> str:
    if name == "_index" and frame.index_name is not None:
        return "AnnData has no column of this name"
    steps = name.split("/")
    for end in range(1, len(steps)):
        kind = kinds.get("/".join(steps[:end]))
        # Nothing can lie in an array; a group has room beside its own members.
        within = kind is not None and (not _is_group(kind) or steps[end] in _MEMBERS)
        if within:
            return "its name would place it within another column"
    return ""


def _is_group(kind: ColumnKind) -> bool:
    return kind == "categorical" or kind.startswith("nullable")


def _array(layout: ZarrLayout, array: ArrayHeader, axes: tuple[int, ...]) -> None:
    reason = path_obstacle(array.path)
    if not reason and array.kind == "other":
        reason = "it is neither an array of numbers, dense or sparse, nor a data frame"
    elif not reason and (len(array.shape) < 2 or array.shape[: len(axes)] != axes):
        reason = f"its shape {array.shape} does not fit the cells and genes"
    elif not reason and array.kind != "frame":
        reason = _dtype_obstacle(array.dtype)
    if not reason and array.kind == "frame":
        reason = _size_obstacle(array.shape, _WIDEST)
    if reason:
        layout.omit(array.path, reason)
    elif array.kind == "dense":
        layout.arrays.append(array)
    elif array.kind == "sparse":
        layout.graphs.append(array.path)
    else:
        layout.elements.append(ElementHeader(array.path, "frame", array.shape, ""))


def _uns(layout: ZarrLayout, header: Header) -> None:
    if not header.uns_complete:
        layout.omit("uns", f"it has more than {MAX_UNS_ELEMENTS:,} elements")
        return
    members = Counter(element.path.rpartition("/")[0] for element in header.uns)
    left_out: set[str] = set()
    for element in header.uns:
        above = element.path.rpartition("/")[0]
        if above in left_out:
            left_out.add(element.path)
        elif reason := _element_obstacle(element):
            layout.omit(element.path, reason)
            left_out.add(element.path)
        elif element.kind == "dict" and members[above] <= CROWD:
            layout.dicts.append(element.path)
        elif element.kind == "sparse":
            layout.graphs.append(element.path)
        elif element.kind == "array" and _is_number(element.dtype):
            key = element.path.partition("/")[2]
            layout.arrays.append(ArrayHeader(element.path, key, element.shape, element.dtype, "dense"))
        else:
            layout.elements.append(element)


def _element_obstacle(element: ElementHeader) -> str:
    if reason := path_obstacle(element.path):
        return reason
    if element.kind == "unsupported":
        return "it is in an encoding that AnnData does not have"
    if element.kind in ("dict", "null", "awkward"):
        return ""
    if element.kind in ("frame", "records"):
        return _size_obstacle(element.shape, _WIDEST)
    if element.dtype == "str":
        return _size_obstacle(element.shape, _TEXT_BYTES)
    dtype = element.dtype.replace("complex128", "float64").replace("complex64", "float32")
    size = 0 if element.kind in ("array", "sparse") and _is_number(element.dtype) else 2 * _WIDEST
    return _dtype_obstacle(dtype) or _size_obstacle(element.shape, size)


def _size_obstacle(shape: tuple[int, ...], item: int) -> str:
    size = math.prod(shape) * item
    return f"about {size:,} bytes are more than are read as one element" if size > MAX_ELEMENT_BYTES else ""


def _dtype_obstacle(dtype: str) -> str:
    return "" if _is_number(dtype) else f"Zarr has no type for {dtype or 'what it holds'}"


def _is_number(dtype: str) -> bool:
    try:
        parsed = np.dtype(dtype)
    except TypeError:
        return False
    return parsed.kind in _NUMBERS and parsed.itemsize <= _WIDEST and bool(dtype)

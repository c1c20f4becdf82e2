"""What an element in one of AnnData's general encodings says that it is, wherever it lies."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

import h5py

from celldock.h5ad.hdf5 import nodes
from celldock.h5ad.hdf5.records import field_names
from celldock.h5ad.hdf5.series import Series, encoding_of, open_series, series_of
from celldock.h5ad.hdf5.sparse import sparse_parts
from celldock.h5ad.headers import (
    CROWD,
    MAX_UNS_ELEMENTS,
    ArrayHeader,
    ArrayKind,
    ElementHeader,
    ElementKind,
)

FRAMES = {("dataframe", "0.1.0"), ("dataframe", "0.2.0")}

_NUMERIC = "fiub"
_DICTS = {("", ""), ("dict", "0.1.0")}
_AWKWARD = ("awkward-array", "0.1.0")
_DATASETS: dict[tuple[str, str], Literal["anything", "numbers", "text", "records", "null"]] = {
    ("", ""): "anything",
    ("array", "0.2.0"): "anything",
    ("numeric-scalar", "0.2.0"): "numbers",
    ("string-array", "0.2.0"): "text",
    ("string", "0.2.0"): "text",
    ("bytes", "0.2.0"): "text",
    ("rec-array", "0.2.0"): "records",
    ("null", "0.1.0"): "null",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """An opened data frame: what names its rows, and the names of its columns."""

    index_name: str
    index: Series
    columns: list[str]


def open_frame(group: h5py.Group) -> Frame | None:
    """The data frame that a group holds; None if it does not say what its columns or rows are called."""
    index_name = nodes.text_attribute(group, "_index")
    columns = nodes.text_list_attribute(group, "column-order")
    index = open_series(group, index_name) if index_name else None
    return Frame(index_name, index, columns) if index is not None and columns is not None else None


def describe(node: nodes.Node, path: str) -> ElementHeader:
    """What an element says that it is. Raises HostileFile for a sparse matrix whose parts do not fit together."""
    if isinstance(node, h5py.Dataset):
        return _describe_dataset(node, path)
    kind: ElementKind = "unsupported"
    shape, dtype = (), ""
    encoding = encoding_of(node)
    if (parts := sparse_parts(node, encoding)) is not None:
        kind, shape, dtype = "sparse", parts.shape, parts.data.dtype.name
    elif encoding in _DICTS:
        kind, shape = "dict", (nodes.count_members(node.id, path),)
    elif encoding == _AWKWARD:
        kind = "awkward"
    elif encoding in FRAMES:
        frame = open_frame(node)
        if frame is not None:
            kind, shape = "frame", (frame.index.length, len(frame.columns))
    elif (series := series_of(node, encoding)) is not None:
        kind, shape, dtype = "column", (series.length,), series.dtype
    return ElementHeader(path, kind, shape, dtype)


def _describe_dataset(dataset: h5py.Dataset, path: str) -> ElementHeader:
    expected, shape = _DATASETS.get(encoding_of(dataset)), dataset.shape
    if expected == "null":
        return ElementHeader(path, "null", (), "")
    if expected is not None and shape is not None:
        of_values: ElementKind = "array" if shape else "scalar"
        fields = field_names(dataset)
        if fields and len(shape) == 1 and expected in ("anything", "records"):
            return ElementHeader(path, "records", (*shape, len(fields)), "")
        if nodes.is_text(dataset) and expected in ("anything", "text"):
            return ElementHeader(path, of_values, shape, "str")
        if dataset.dtype.kind in f"{_NUMERIC}c" and expected in ("anything", "numbers"):
            return ElementHeader(path, of_values, shape, dataset.dtype.name)
    return ElementHeader(path, "unsupported", (), "")


def describe_tree(file: h5py.File, root: str) -> tuple[tuple[ElementHeader, ...], bool]:
    """The elements below a group, level by level, at most `MAX_UNS_ELEMENTS`; and whether these are all.

    What lies below the members of a crowd does not count: whoever wants it reads it as one element.
    """
    found: list[ElementHeader] = []
    top = nodes.find_group(file, root)
    waiting = deque([(root, top)] if top is not None else [])
    while waiting:
        path, group = waiting.popleft()
        crowd = nodes.count_members(group.id, path) > CROWD
        for name, node in nodes.children(group):
            if len(found) == MAX_UNS_ELEMENTS:
                return tuple(found), False
            below = f"{path}/{name}"
            element = describe(node, below)
            found.append(element)
            if isinstance(node, h5py.Group) and element.kind == "dict" and not crowd:
                waiting.append((below, node))
    return tuple(found), True


def describe_array(file: h5py.File, path: str) -> ArrayHeader:
    """An element of obsm, varm, obsp or varp."""
    key = path.partition("/")[2]
    node = nodes.find(file, path)
    if node is None:
        return ArrayHeader(path, key, (), "", "other")
    element = describe(node, path)
    kind: ArrayKind = "other"
    match element.kind:
        case "array" if element.dtype != "str" and not element.dtype.startswith("complex"):
            kind = "dense"
        case "sparse" | "frame":
            kind = element.kind
        case _:
            pass
    return ArrayHeader(path, key, element.shape, element.dtype, kind)

"""A file written anew, so that it holds nothing but what its objects reach.

Groups, datasets and attributes are made again one by one. Stored chunks are copied as they are, never inflated; text of
any length is read and written by blocks, so that the new heaps hold what is in use alone. Names of members keep the
order that the file gives them, time stamps are off: the same file gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5o, h5r, h5s, h5t

from celldock.h5ad.hdf5 import nodes
from celldock.h5ad.hdf5.attributes import is_object_reference
from celldock.h5ad.hdf5.faults import damaged
from celldock.h5ad.hdf5.overlay import Overlay

_ROWS_AT_FIRST = 256
_MOST_ROWS = 65_536
_BLOCK_BYTES = 8 * 1024 * 1024


def repack(original: h5py.File, overlay: Overlay) -> int:
    """Copies all of `original`, which the guard has passed, into `overlay`, which is empty. Returns the new size.

    Memory: one stored chunk, or a block of some MiB. Raises InvalidSubmission where the original's bytes are damaged.
    """
    with h5py.File(overlay, "w", libver=("earliest", "latest")) as target:
        _Copy(original, target).copy()
    overlay.hand_over()
    return overlay.size


class _Copy:
    """One copy: `_references` are attributes that refer to other objects, which are written once all of these exist."""

    def __init__(self, original: h5py.File, target: h5py.File) -> None:
        self._original = original
        self._target = target
        self._references: list[tuple[str, bytes, bytes]] = []

    def copy(self) -> None:
        with damaged(""):
            root = h5g.open(self._original.id, b"/")
        pending: list[tuple[str, h5g.GroupID, h5g.GroupID]] = [("", root, h5g.open(self._target.id, b"/"))]
        self._attributes(root, pending[0][2], "")
        while pending:
            path, source, target = pending.pop()
            for name, kind, _ in nodes.links_of(source, path):
                where = f"{path}/{name.decode(errors='surrogateescape')}".lstrip("/")
                nodes.refuse_link(kind, where)
                with damaged(where):
                    node = h5o.open(source, name)
                if isinstance(node, h5g.GroupID):
                    made = h5g.create(target, name)
                    pending.append((where, node, made))
                    self._attributes(node, made, where)
                elif isinstance(node, h5d.DatasetID):
                    self._attributes(node, _copy_dataset(node, target, name, where), where)
                else:
                    nodes.refuse_stored_type(where)
        self._write_references()

    def _attributes(self, source: h5g.GroupID | h5d.DatasetID, target: h5g.GroupID | h5d.DatasetID, where: str) -> None:
        names: list[bytes] = []
        with damaged(where):
            h5a.iterate(source, names.append)
        for name in names:
            with damaged(where):
                attribute = h5a.open(source, name)
                type_id, space = attribute.get_type(), attribute.get_space()
            if is_object_reference(type_id):
                with damaged(where):
                    value = np.zeros((), h5py.ref_dtype)
                    attribute.read(value)
                    referred = h5r.get_name(value[()], self._original.id)
                self._references.append((where, name, referred or b""))
                continue
            made = h5a.create(target, name, type_id, space)
            if space.get_simple_extent_type() != h5s.NULL:
                value = np.zeros(space.shape, type_id.dtype)
                with damaged(where):
                    attribute.read(value, mtype=_in_memory(type_id))
                made.write(value, mtype=_in_memory(type_id))

    def _write_references(self) -> None:
        for where, name, referred in self._references:
            value = np.array(h5r.create(self._target.id, referred, h5r.OBJECT), h5py.ref_dtype)
            with damaged(where):
                node = h5o.open(self._target.id, where.encode("utf-8", "surrogateescape"))
            h5a.create(node, name, h5t.STD_REF_OBJ, h5s.create(h5s.SCALAR)).write(value)


def _copy_dataset(source: h5d.DatasetID, parent: h5g.GroupID, name: bytes, where: str) -> h5d.DatasetID:
    """A dataset of the same type, shape and storage, with the same values."""
    with damaged(where):
        properties: Any = source.get_create_plist()
        type_id, space = source.get_type(), source.get_space()
        layout = properties.get_layout()
    properties.set_obj_track_times(False)
    made = h5d.create(parent, name, type_id, space, properties)
    if space.get_simple_extent_type() == h5s.NULL:
        return made
    if _points(type_id) or layout != h5d.CHUNKED:
        _copy_values(source, made, type_id, source.shape, where)
    else:
        _copy_chunks(source, made, where)
    return made


def _points(type_id: h5t.TypeID) -> bool:
    """Whether values lie in a heap: text of any length, and records with such text."""
    return type_id.detect_class(h5t.VLEN) or (
        type_id.detect_class(h5t.STRING) and any(text.is_variable_str() for text in _texts(type_id))
    )


def _texts(type_id: h5t.TypeID) -> Iterator[h5t.TypeStringID]:
    if isinstance(type_id, h5t.TypeStringID):
        yield type_id
    elif isinstance(type_id, h5t.TypeCompoundID):
        for number in range(type_id.get_nmembers()):
            yield from _texts(type_id.get_member_type(number))


def _in_memory(type_id: h5t.TypeID) -> h5t.TypeID:
    """Text keeps the type that it has in the file, so that its bytes pass through as they are."""
    return h5t.py_create(type_id.dtype) if _points(type_id) else type_id


def _copy_chunks(source: h5d.DatasetID, made: h5d.DatasetID, where: str) -> None:
    """Copies the stored chunks, one after the other, in the order of the original's index."""

    def copy(chunk: h5d.StoreInfo) -> None:
        with damaged(where):
            mask, stored = source.read_direct_chunk(chunk.chunk_offset)
        made.write_direct_chunk(chunk.chunk_offset, stored, mask)

    source.chunk_iter(copy)


def _copy_values(
    source: h5d.DatasetID, made: h5d.DatasetID, type_id: h5t.TypeID, shape: tuple[int, ...], where: str
) -> None:
    """Copies values through memory, some rows at a time."""
    memory = _in_memory(type_id)
    if not shape:
        value = np.zeros((), type_id.dtype)
        with damaged(where):
            source.read(h5s.ALL, h5s.ALL, value, memory)
        made.write(h5s.ALL, h5s.ALL, value, memory)
        return
    row_bytes = max(1, math.prod(shape[1:])) * type_id.get_size()
    start, rows = 0, _ROWS_AT_FIRST
    while start < shape[0] and math.prod(shape):
        stop = min(start + max(1, min(rows, _BLOCK_BYTES // row_bytes)), shape[0])
        block = np.zeros((stop - start, *shape[1:]), type_id.dtype)
        within = h5s.create_simple(block.shape)
        space = h5s.create_simple(shape)
        space.select_hyperslab((start, *(0,) * (len(shape) - 1)), block.shape)
        with damaged(where):
            source.read(within, space, block, memory)
        made.write(within, space, block, memory)
        start = stop
        rows = min(_MOST_ROWS, 2 * (stop - start or rows), _rows_that_fit(block, rows))


def _rows_that_fit(block: np.ndarray[Any, Any], rows: int) -> int:
    """How many rows of text like those of the last block take as much memory as a block may."""
    texts = block.ravel() if block.dtype == object else np.empty(0, object)
    taken = sum(len(text) for text in texts.tolist())
    return max(1, min(2 * rows, _BLOCK_BYTES * len(block) // max(1, taken)))

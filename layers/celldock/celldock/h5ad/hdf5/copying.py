"""Copies objects from one file to another, one by one: groups, datasets and attributes are made again.

Stored chunks are copied as they are, never inflated; text of any length is read and written by blocks, so that the new
heaps hold what is in use alone. Names of members keep the order that the file gives them, time stamps are off: the same
file gives the same bytes.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5o, h5r, h5s, h5t

from celldock.h5ad import damage
from celldock.h5ad.hdf5 import nodes
from celldock.h5ad.hdf5.attributes import is_object_reference
from celldock.h5ad.hdf5.faults import damaged
from celldock.h5ad.placing import Placing, Root

_ROWS_AT_FIRST = 256
_MOST_ROWS = 65_536
_BLOCK_BYTES = 8 * 1024 * 1024
_ORDER = b"column-order"

type _Node = h5g.GroupID | h5d.DatasetID
type _Pending = tuple[str, h5g.GroupID, h5g.GroupID]


class Copying:
    """One copy of `original`, which the guard has passed, to the places that `placing` has for its objects.

    Memory: one stored chunk, or a block of some MiB, and the places of one dataset's chunks. Raises InvalidSubmission
    where the original's bytes are damaged.
    """

    def __init__(self, original: h5py.File, target: h5py.File, placing: Placing) -> None:
        self._original = original
        self._target = target
        self._placing = placing
        # Attributes that refer to other objects are written once all of these exist.
        self._references: list[tuple[str, bytes, str]] = []

    def copy(self, root: Root, parent: h5g.GroupID) -> Iterator[int]:
        """Copies a root into the group that is to hold it, or all of the file into its root group.

        Yields, every few MiB, how many bytes were copied since the last time.
        """
        pending: list[_Pending] = []
        if not root.source:
            with damaged(""):
                top = h5g.open(self._original.id, b"/")
            pending.append(("", top, parent))
            self._attributes(top, parent, root, "")
        else:
            node = nodes.find(self._original, root.source)
            if node is None:
                raise ValueError(f"there is no {root.source} that could come to {root.target}")
            name = _encoded(root.target.rpartition("/")[2])
            yield from self._object(node.id, parent, name, root, root.source, pending)
        while pending:
            path, source, target = pending.pop()
            for name, kind, _ in nodes.links_of(source, path):
                where = f"{path}/{name.decode(errors='surrogateescape')}".lstrip("/")
                nodes.refuse_link(kind, where)
                if self._placing.keeps(root, where):
                    with damaged(where):
                        below = h5o.open(source, name)
                    yield from self._object(below, target, name, root, where, pending)

    def write_references(self) -> None:
        """Lets attributes refer to the copies; to be called last."""
        for where, name, referred in self._references:
            value = np.array(h5r.create(self._target.id, _encoded(referred), h5r.OBJECT), h5py.ref_dtype)
            with damaged(where):
                node = h5o.open(self._target.id, _encoded(where))
            h5a.create(node, name, h5t.STD_REF_OBJ, h5s.create(h5s.SCALAR)).write(value)

    def _object(
        self,
        node: Any,
        parent: h5g.GroupID,
        name: bytes,
        root: Root,
        where: str,
        pending: list[_Pending],
    ) -> Iterator[int]:
        """Copies one object; what lies in a group is `pending` then."""
        if isinstance(node, h5g.GroupID):
            group = h5g.create(parent, name)
            pending.append((where, node, group))
            self._attributes(node, group, root, where)
        elif isinstance(node, h5d.DatasetID):
            dataset = _empty_copy(node, parent, name, where)
            yield from _copy_stored(node, dataset, where)
            self._attributes(node, dataset, root, where)
        else:
            nodes.refuse_stored_type(where)

    def _attributes(self, source: _Node, target: _Node, root: Root, where: str) -> None:
        names: list[bytes] = []
        with damaged(where):
            h5a.iterate(source, names.append)
        for name in names:
            if self._is_stale(root.place(where), name):
                continue
            with damaged(where):
                attribute = h5a.open(source, name)
                type_id, space = attribute.get_type(), attribute.get_space()
            if is_object_reference(type_id):
                self._references.append((root.place(where), name, self._referred(attribute, root, where)))
                continue
            if space.get_simple_extent_type() == h5s.NULL:
                h5a.create(target, name, type_id, space)
                continue
            value = np.zeros(space.shape, type_id.dtype)
            with damaged(where):
                attribute.read(value, mtype=_in_memory(type_id))
            if name == _ORDER and value.ndim == 1:
                value = self._kept_columns(value, root, where)
                space = h5s.create_simple(value.shape) if value.shape != space.shape else space
            h5a.create(target, name, type_id, space).write(value, mtype=_in_memory(type_id))

    def _is_stale(self, target: str, attribute: bytes) -> bool:
        """AnnData 0.7 notes the shape of raw.X beside it, where nobody reads it."""
        return (target, attribute) == ("raw", b"shape") and self._placing.takes("raw/X")

    def _referred(self, attribute: h5a.AttrID, root: Root, where: str) -> str:
        """The place in the new file of what an attribute refers to."""
        value = np.zeros((), h5py.ref_dtype)
        with damaged(where):
            attribute.read(value)
            named = h5r.get_name(value[()], self._original.id)
        path = (named or b"").decode(errors="surrogateescape").lstrip("/")
        return root.place(path) if root.holds(path) else path

    def _kept_columns(self, order: Any, root: Root, where: str) -> Any:
        """The names of a frame's columns without those that are not copied."""
        columns = [name.decode(errors="surrogateescape") for name in order.tolist() if isinstance(name, bytes)]
        gone = {_encoded(name) for name in columns if not self._placing.keeps(root, f"{where}/{name}")}
        return order[[name not in gone for name in order.tolist()]] if gone else order


def _encoded(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _empty_copy(source: h5d.DatasetID, parent: h5g.GroupID, name: bytes, where: str) -> h5d.DatasetID:
    """A dataset of the same type, shape and storage."""
    with damaged(where):
        properties: Any = source.get_create_plist()
        type_id, space = source.get_type(), source.get_space()
    properties.set_obj_track_times(False)
    # What libhdf5 reads but would never make, such as chunks that are larger than a dataset of fixed size.
    with damaged(where):
        return h5d.create(parent, name, type_id, space, properties)


def _copy_stored(source: h5d.DatasetID, made: h5d.DatasetID, where: str) -> Iterator[int]:
    """Copies all values; yields, every few MiB, how many bytes they took."""
    with damaged(where):
        layout = source.get_create_plist().get_layout()
    type_id = source.get_type()
    if source.get_space().get_simple_extent_type() == h5s.NULL:
        return
    if _points(type_id) or layout != h5d.CHUNKED:
        yield from _copy_values(source, made, type_id, source.shape, where)
    else:
        yield from _copy_chunks(source, made, where)


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


def _copy_chunks(source: h5d.DatasetID, made: h5d.DatasetID, where: str) -> Iterator[int]:
    """Copies the stored chunks, one after the other, in the order of the original's index."""
    rank = len(source.shape)
    creation = source.get_create_plist()
    # Without filters libhdf5 reads and writes whole chunks, whatever the index says.
    whole = 0 if creation.get_nfilters() else math.prod(creation.get_chunk()) * source.get_type().get_size()
    corners = array("q")

    def note(chunk: h5d.StoreInfo) -> None:
        if whole and chunk.size != whole:
            raise damage.damaged(where, "one of its chunks is cut short")
        corners.extend(chunk.chunk_offset or ())

    with damaged(where):
        source.chunk_iter(note)
    since = 0
    for at in range(0, len(corners), rank):
        corner = tuple(corners[at : at + rank])
        with damaged(where):
            mask, stored = source.read_direct_chunk(corner)
        if not stored:
            raise damage.damaged(where, "one of its chunks is empty")
        made.write_direct_chunk(corner, stored, mask)
        since += len(stored)
        if since >= _BLOCK_BYTES:
            yield since
            since = 0
    yield since


def _copy_values(
    source: h5d.DatasetID, made: h5d.DatasetID, type_id: h5t.TypeID, shape: tuple[int, ...], where: str
) -> Iterator[int]:
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
        yield block.nbytes


def _rows_that_fit(block: np.ndarray[Any, Any], rows: int) -> int:
    """How many rows of text like those of the last block take as much memory as a block may."""
    texts = block.ravel() if block.dtype == object else np.empty(0, object)
    taken = sum(len(text) for text in texts.tolist())
    return max(1, min(2 * rows, _BLOCK_BYTES * len(block) // max(1, taken)))

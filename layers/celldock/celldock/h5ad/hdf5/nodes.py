"""The one way to an element of an h5ad file.

A submitted file may point at other files, ask for filters that would load plugins, or declare sizes that it does not
hold. Whatever celldock reads, it opens through `find` and reads through `read_rows`, which refuse all of these.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, NoReturn

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5s, h5t

from celldock.h5ad.hdf5 import datasets
from celldock.h5ad.hdf5.attributes import admit_attribute, place
from celldock.h5ad.hdf5.faults import Place, damaged, hostile, unread
from celldock.h5ad.hdf5.names import refuse_member_name
from celldock.h5ad.sandbox.limits import MAX_READ_BYTES

Node = h5py.Group | h5py.Dataset

MAX_MEMBERS = 25_000
"""Members of one group; a whole file has no more (lawful files have less than 10,000)."""

_STRINGS_AT_FIRST = 256
_STRINGS_AT_ONCE = 8192
_TEXT_AT_ONCE = 32 * 1024 * 1024
_TEXT = h5py.string_dtype()
_TEXT_IN_MEMORY = h5t.py_create(_TEXT)
_LINK_HINT = "A submission must hold all of its data itself: load it and write it anew with anndata's write_h5ad."


def path_of(node: Node) -> str:
    """The path of a node inside the file, without the leading slash."""
    return (node.name or "").lstrip("/")


def find(parent: h5py.Group, path: str) -> Node | None:
    """The group or dataset at `path` below `parent`; None if there is none.

    Raises HostileFile for a link or dataset whose content lies elsewhere, on the way or at its end.
    """
    node: Node = parent
    for name in path.split("/"):
        if name in ("", ".", "..") or "\0" in name or not isinstance(node, h5py.Group):
            return None
        child = _member(node, name)
        if child is None:
            return None
        node = child
    return node


def find_group(parent: h5py.Group, path: str) -> h5py.Group | None:
    """The group at `path`, None if there is none or it is no group."""
    node = find(parent, path)
    return node if isinstance(node, h5py.Group) else None


def find_dataset(parent: h5py.Group, path: str) -> h5py.Dataset | None:
    """The dataset at `path`, None if there is none or it is no dataset."""
    node = find(parent, path)
    return node if isinstance(node, h5py.Dataset) else None


def members(group: h5py.Group) -> list[str]:
    """The names in a group, in the file's order."""
    where = partial(path_of, group)
    count_members(group.id, where)
    with damaged(where):
        names = list(group)
    return [_text(name, where) for name in names]


def children(group: h5py.Group) -> Iterator[tuple[str, Node]]:
    """The members of a group, name and node, in the file's order; only one is open at a time.

    Raises HostileFile for a link or dataset whose content lies elsewhere.
    """
    path = path_of(group)
    count_members(group.id, path)
    for encoded, kind, _ in links_of(group.id, path):
        name = refuse_member_name(encoded, path)
        where = f"{path}/{name}".lstrip("/")
        refuse_link(kind, where)
        yield name, _open(group, encoded, where)


def links_of(group: h5g.GroupID, path: str) -> list[tuple[bytes, int, int]]:
    """Name, kind and, of hard links, the object's address; nothing is opened."""
    links: list[tuple[bytes, int, int]] = []

    def note(name: bytes, info: h5l.LinkInfo) -> None:
        links.append((name, info.type, info.u))

    with damaged(path):
        group.links.iterate(note, info=True)
    return links


def count_members(group: h5g.GroupID, where: Place) -> int:
    """How many members a group has. Refuses more than any lawful file has, before they are listed."""
    with damaged(where):
        count = group.get_num_objs()
    if count > MAX_MEMBERS:
        hostile(
            "file.too_many_members",
            where,
            f"has {count:,} members, more than celldock reads ({MAX_MEMBERS:,})",
            "Keep tables as columns of obs or var, not as one element for each value.",
        )
    return count


def attribute(node: Node, name: str) -> Any:
    """The value of an attribute, None if it is absent or empty."""
    where = partial(_attribute_place, node, name)
    encoded = name.encode()
    with damaged(where):
        if not h5a.exists(node.id, encoded):
            return None
        identifier = h5a.open(node.id, encoded)
    shape = admit_attribute(identifier, where, name)
    if shape is None:
        return None
    with damaged(where):
        if shape == () and _is_long_text(identifier.get_type()):
            # As `node.attrs` gives it, which takes twice as long; most of all attributes are these.
            value = np.zeros((), _TEXT)
            identifier.read(value, mtype=_TEXT_IN_MEMORY)
            stored: bytes = value.item()
            return stored.decode("utf-8", "surrogateescape")
        return node.attrs[name]


def _attribute_place(node: Node, name: str) -> str:
    return place(path_of(node), name)


def _is_long_text(type_id: h5t.TypeID) -> bool:
    """Whether values are strings of any length, as h5py writes them."""
    return isinstance(type_id, h5t.TypeStringID) and type_id.is_variable_str()


def text_attribute(node: Node, name: str) -> str:
    """An attribute that holds one string, "" if it is absent or something else."""
    value = attribute(node, name)
    return _text(value, partial(path_of, node)) if isinstance(value, str | bytes) else ""


def text_list_attribute(node: Node, name: str) -> list[str] | None:
    """An attribute that holds a list of strings, None if it is absent."""
    value = attribute(node, name)
    if value is None:
        return None
    where = partial(path_of, node)
    return [_text(item, where) for item in np.atleast_1d(value).ravel().tolist()]


def flag_attribute(node: Node, name: str) -> bool:
    """An attribute that holds one truth value, False if it is absent or something else."""
    value = np.asarray(attribute(node, name))
    return value.shape == () and value.dtype.kind in "biu" and bool(value)


def is_text(dataset: h5py.Dataset) -> bool:
    """Whether a dataset holds strings."""
    return h5py.check_string_dtype(dataset.dtype) is not None


def read_scalar(dataset: h5py.Dataset) -> str | bool | int | float:
    """The one value of a dataset without axes. Raises InvalidSubmission if its bytes are damaged."""
    text = h5py.check_string_dtype(dataset.dtype)
    with damaged(partial(path_of, dataset)):
        # Not dataset[()], which prepares a selection: in uns there may be thousands of them.
        value = np.zeros((), dataset.dtype)
        dataset.id.read(h5s.ALL, h5s.ALL, value)
        stored = value.item()
        return stored.decode(text.encoding) if text is not None else stored


def read_rows(dataset: h5py.Dataset, start: int, stop: int) -> np.ndarray:
    """Rows [start, stop) of a dataset; strings come as an array of `str` objects.

    Raises InvalidSubmission if there are fewer rows, if the bytes are damaged, or if the rows take more memory than
    one read may.
    """
    where = partial(path_of, dataset)
    shape = dataset.shape or ()
    if not shape or stop > shape[0]:
        unread("file.too_short", where, f"has {shape[0] if shape else 1:,} values where {stop:,} are needed")
    row_bytes = dataset.dtype.itemsize * math.prod(shape[1:])
    chunk_bytes = dataset.dtype.itemsize * math.prod(dataset.chunks or (0,))
    if (stop - start) * row_bytes + chunk_bytes > MAX_READ_BYTES:
        _refuse_size(where)
    if is_text(dataset):
        return _read_text(dataset, start, stop, where)
    with damaged(where):
        return np.asarray(dataset[start:stop])


def _read_text(dataset: h5py.Dataset, start: int, stop: int, where: Place) -> np.ndarray:
    """Strings, a bounded number at a time: in a hostile file many rows share one long string.

    Every program stores each string of a column once, so that all of them together are no longer than the file.
    """
    values = np.empty((stop - start, *(dataset.shape or ())[1:]), dtype=object)
    text = h5py.check_string_dtype(dataset.dtype)
    with damaged(where):
        size = dataset.file.id.get_filesize()
    limit = min(MAX_READ_BYTES, size) if text is not None and text.length is None else MAX_READ_BYTES
    total, begin, at_once = 0, start, _STRINGS_AT_FIRST
    while begin < stop:
        end = min(begin + at_once, stop)
        with damaged(where):
            part: np.ndarray = dataset.asstr()[begin:end]
        taken = sum(map(len, part.ravel().tolist()))
        total += taken
        if total > limit:
            refuse = _refuse_size if limit == MAX_READ_BYTES else _refuse_repeats
            refuse(where)
        values[begin - start : end - start] = part
        begin, at_once = end, max(1, min(_STRINGS_AT_ONCE, 2 * at_once, _TEXT_AT_ONCE * at_once // max(1, taken)))
    return values


def _member(group: h5py.Group, name: str) -> Node | None:
    where = partial(_member_place, group, name)
    encoded = name.encode()
    with damaged(where):
        # Not `name in group` nor `group.get`: both follow the link, into another file too.
        links = group.id.links
        if not links.exists(encoded):
            return None
        kind = links.get_info(encoded).type
    refuse_link(kind, where)
    return _open(group, encoded, where)


def _member_place(group: h5py.Group, name: str) -> str:
    return f"{path_of(group)}/{name}".lstrip("/")


def _open(group: h5py.Group, encoded: bytes, where: Place) -> Node:
    """The object that a hard link leads to."""
    with damaged(where):
        node = h5o.open(group.id, encoded)
    if isinstance(node, h5g.GroupID):
        return h5py.Group(node)
    if not isinstance(node, h5d.DatasetID):
        refuse_stored_type(where)
    datasets.admit(node, where)
    return h5py.Dataset(node, readonly=True)


def refuse_link(kind: int, where: Place) -> None:
    """Refuses every link but a hard one: what celldock reads lies in the file, in one place."""
    if kind == h5py.h5l.TYPE_EXTERNAL:
        hostile("file.external_link", where, "is a link into another file", _LINK_HINT)
    if kind == h5py.h5l.TYPE_SOFT:
        hostile("file.soft_link", where, "is a symbolic link, not the data", _LINK_HINT)
    if kind != h5py.h5l.TYPE_HARD:
        hostile("file.unknown_link", where, "is a link of a kind that AnnData does not use", _LINK_HINT)


def refuse_stored_type(where: Place) -> NoReturn:
    """Refuses a data type that stands where data should."""
    unread("file.named_type", where, "is a data type, where AnnData expects data")


def _refuse_size(where: Place) -> NoReturn:
    hostile(
        "file.too_large_to_read",
        where,
        f"takes more than {MAX_READ_BYTES // 1024**2} MiB for one block of rows",
        "Write the file with smaller chunks and shorter texts.",
    )


def _refuse_repeats(where: Place) -> NoReturn:
    hostile("file.declares_more", where, "holds texts that are longer than the whole file: many rows share them")


def _text(value: object, where: Place) -> str:
    if isinstance(value, bytes):
        with damaged(where):
            return value.decode()
    text = str(value)
    # h5py hands bytes that are not UTF-8 on as lone surrogates, which no later step could write.
    with damaged(where):
        text.encode()
    return text

"""The one way to an element of an h5ad file.

A submitted file may point at other files, ask for filters that would load plugins, or declare sizes that it does not
hold. Whatever celldock reads, it opens through `find` and reads through `read_rows`, which refuse all of these.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from celldock.errors import HostileFile, InvalidSubmission

Node = h5py.Group | h5py.Dataset

MAX_MEMBERS = 100_000
"""Members of one group, values of one attribute."""
MAX_READ_BYTES = 512 * 1024 * 1024
"""Bytes that one read may take, the chunk that holds them included."""
MAX_RATIO = 1100
"""Declared over stored bytes; deflate, the best of the filters, cannot do better than 1,032."""

_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
_STRINGS_AT_ONCE = 8192


@contextmanager
def damaged(where: str) -> Generator[None]:
    """Turns what h5py raises on broken bytes into InvalidSubmission. Wrap single calls into h5py, nothing of ours."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise InvalidSubmission(
            f"The text in {where} is not valid UTF-8.",
            code="file.not_utf8",
            where=where,
            hint="Convert the names and labels to Unicode strings before you write the file.",
        ) from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise InvalidSubmission(
            f"The bytes of {where} are damaged and cannot be read.",
            code="file.damaged",
            where=where,
            hint="Check that the file opens on your machine (anndata.read_h5ad), then upload it again.",
        ) from error


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
    where = path_of(group) or "the file"
    with damaged(where):
        count = len(group)
    if count > MAX_MEMBERS:
        raise HostileFile(
            f"{where} has {count:,} members, more than celldock reads ({MAX_MEMBERS:,}).",
            code="file.too_many_members",
            where=where,
            hint="Keep tables as columns of obs or var, not as one element for each value.",
        )
    with damaged(where):
        names = list(group)
    return [_text(name, where) for name in names]


def attribute(node: Node, name: str) -> Any:
    """The value of an attribute, None if it is absent or empty."""
    where = f"{path_of(node) or 'the file'}, attribute {name}"
    with damaged(where):
        if name not in node.attrs:
            return None
        shape = node.attrs.get_id(name).shape
    if shape is None:
        return None
    if math.prod(shape) > MAX_MEMBERS:
        raise HostileFile(
            f"{where} has {math.prod(shape):,} values, more than celldock reads ({MAX_MEMBERS:,}).",
            code="file.attribute_too_large",
            where=where,
            hint="Write the file anew with anndata's write_h5ad.",
        )
    with damaged(where):
        return node.attrs[name]


def text_attribute(node: Node, name: str) -> str:
    """An attribute that holds one string, "" if it is absent or something else."""
    value = attribute(node, name)
    return _text(value, path_of(node)) if isinstance(value, str | bytes) else ""


def text_list_attribute(node: Node, name: str) -> list[str] | None:
    """An attribute that holds a list of strings, None if it is absent."""
    value = attribute(node, name)
    if value is None:
        return None
    return [_text(item, path_of(node)) for item in np.atleast_1d(value).ravel().tolist()]


def is_text(dataset: h5py.Dataset) -> bool:
    """Whether a dataset holds strings."""
    return h5py.check_string_dtype(dataset.dtype) is not None


def stored_bytes(dataset: h5py.Dataset) -> int:
    """Bytes that a dataset takes in the file, after compression; walks the chunk index."""
    with damaged(path_of(dataset)):
        return dataset.id.get_storage_size()


def refuse_inflated(dataset: h5py.Dataset) -> None:
    """Refuses a dataset that declares more than its stored bytes can hold, before anything is sized by it."""
    declared = (dataset.size or 0) * dataset.dtype.itemsize
    if declared > MAX_RATIO * stored_bytes(dataset):
        where = path_of(dataset)
        raise HostileFile(
            f"{where} declares {dataset.size:,} values but does not hold them.",
            code="file.declares_more",
            where=where,
            hint="Write the file anew with anndata's write_h5ad.",
        )


def read_rows(dataset: h5py.Dataset, start: int, stop: int) -> np.ndarray:
    """Rows [start, stop) of a dataset; strings come as an array of `str` objects.

    Raises InvalidSubmission if there are fewer rows, if the bytes are damaged, or if the rows take more memory than
    one read may.
    """
    where = path_of(dataset)
    shape = dataset.shape or ()
    if not shape or stop > shape[0]:
        raise InvalidSubmission(
            f"{where} has {shape[0] if shape else 1:,} values where {stop:,} are needed.",
            code="file.too_short",
            where=where,
            hint="Write the file anew with anndata's write_h5ad.",
        )
    row_bytes = dataset.dtype.itemsize * math.prod(shape[1:])
    chunk_bytes = dataset.dtype.itemsize * math.prod(dataset.chunks or (0,))
    if (stop - start) * row_bytes + chunk_bytes > MAX_READ_BYTES:
        _refuse_size(where)
    if is_text(dataset):
        return _read_text(dataset, start, stop, where)
    with damaged(where):
        return np.asarray(dataset[start:stop])


def _read_text(dataset: h5py.Dataset, start: int, stop: int, where: str) -> np.ndarray:
    """Strings of any length, a bounded number at a time: many rows may share one long string in the file."""
    values = np.empty((stop - start, *(dataset.shape or ())[1:]), dtype=object)
    total = 0
    for begin in range(start, stop, _STRINGS_AT_ONCE):
        end = min(begin + _STRINGS_AT_ONCE, stop)
        with damaged(where):
            part: np.ndarray = dataset.asstr()[begin:end]
        total += sum(map(len, part.ravel().tolist()))
        if total > MAX_READ_BYTES:
            _refuse_size(where)
        values[begin - start : end - start] = part
    return values


def _member(group: h5py.Group, name: str) -> Node | None:
    where = f"{path_of(group)}/{name}".lstrip("/")
    with damaged(where):
        # Not `name in group` nor `group.get`: both follow the link, into another file too.
        links = group.id.links
        encoded = name.encode()
        if not links.exists(encoded):
            return None
        kind = links.get_info(encoded).type
    if kind == h5py.h5l.TYPE_EXTERNAL:
        _refuse_elsewhere(where, "file.external_link", "is a link into another file")
    if kind != h5py.h5l.TYPE_HARD:
        _refuse_elsewhere(where, "file.soft_link", "is a symbolic link, not the data")
    with damaged(where):
        node = group[name]
        if isinstance(node, h5py.Group):
            return node
    if not isinstance(node, h5py.Dataset):
        raise InvalidSubmission(
            f"{where} is a data type, where AnnData expects data.",
            code="file.not_anndata",
            where=where,
            hint="Write the file anew with anndata's write_h5ad.",
        )
    _admit(node, where)
    return node


def _admit(dataset: h5py.Dataset, where: str) -> None:
    """Refuses a dataset whose bytes lie outside the file or behind a filter that celldock does not have."""
    with damaged(where):
        properties = dataset.id.get_create_plist()
        external = properties.get_external_count()
        virtual = properties.get_layout() == h5py.h5d.VIRTUAL
        filters = [properties.get_filter(index) for index in range(properties.get_nfilters())]
        _ = dataset.dtype, dataset.shape
    if external:
        _refuse_elsewhere(where, "file.external_storage", "keeps its data in another file")
    if virtual:
        _refuse_elsewhere(where, "file.virtual_dataset", "is a view of other datasets, not the data")
    for identifier, _flags, _values, name in filters:
        if identifier not in _FILTERS:
            label = name.decode("utf-8", "replace") or f"number {identifier}"
            raise InvalidSubmission(
                f"{where} is compressed with a filter that celldock does not read: {label}.",
                code="file.filter_unknown",
                where=where,
                hint='Write the file again with write_h5ad(…, compression="gzip").',
            )


def _refuse_elsewhere(where: str, code: str, what: str) -> None:
    raise HostileFile(
        f"{where} {what}.",
        code=code,
        where=where,
        hint="A submission must hold all of its data itself: load it and write it anew with anndata's write_h5ad.",
    )


def _refuse_size(where: str) -> None:
    raise HostileFile(
        f"{where} takes more than {MAX_READ_BYTES // 1024**2} MiB for one block of rows.",
        code="file.too_large_to_read",
        where=where,
        hint="Write the file with smaller chunks and shorter texts.",
    )


def _text(value: object, where: str) -> str:
    if isinstance(value, bytes):
        with damaged(where):
            return value.decode()
    text = str(value)
    # h5py hands bytes that are not UTF-8 on as lone surrogates, which no later step could write.
    with damaged(where):
        text.encode()
    return text

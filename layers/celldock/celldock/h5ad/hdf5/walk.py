"""The guard: every link, object and attribute of a file is looked at, before anything of it is read as data.

No link but a hard one is followed, every object is met once, and only metadata are read: object headers, names,
attributes, chunk indexes. The limits bound the work by counts, whatever the file's size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import h5py
from h5py import h5a, h5d, h5g, h5o

from celldock.h5ad.guard import Inventory
from celldock.h5ad.hdf5 import datasets, nodes
from celldock.h5ad.hdf5.attributes import CATEGORIES, admit_attribute, is_object_reference, place
from celldock.h5ad.hdf5.faults import damaged, hostile, unread
from celldock.h5ad.hdf5.names import refuse_member_name, refuse_name
from celldock.h5ad.hdf5.references import old_categories
from celldock.h5ad.hdf5.series import encoding_of
from celldock.h5ad.hdf5.sparse import sparse_parts

MAX_DEPTH = 64
"""Groups within groups."""
MAX_OBJECT_ATTRIBUTES = 128
"""Attributes of one group or dataset; AnnData writes up to six."""
MAX_ATTRIBUTES = 60_000
"""Attributes of a whole file."""
MAX_MEASURED_CHUNKS = 16_384
"""Chunks of a matrix up to which its chunk index is read here; beyond, whoever makes its chunk table measures it."""
MAX_SMALL_CHUNKS = 1_000_000
"""Chunks of all datasets that are no matrices."""
MAX_MATRIX_CHUNKS = 8_000_000
"""Chunks of all matrices: their chunk tables take 20 bytes each."""

_CROWD_HINT = "Keep tables as columns of obs or var, not as one element for each value."
_CHUNK_HINT = "Write the file anew with anndata's write_h5ad, which chooses larger chunks."


def guard_file(file: h5py.File, size: int) -> Inventory:
    """Walks a file of `size` bytes and says what there is.

    Raises HostileFile for what no program that writes AnnData files makes, InvalidSubmission for what celldock does not
    read (a filter, a type, a symbolic link) and for damaged bytes; each with a code, the path and a hint.
    """
    walk = _Walk(size)
    with damaged(""):
        root = h5g.open(file.id, b"/")
        address = h5o.get_info(root).addr
    walk.seen[address] = ""
    walk.groups = 1
    walk.group(root, "", 0)
    walk.refuse_sums()
    return Inventory(
        groups=walk.groups,
        datasets=walk.datasets,
        attributes=walk.attributes,
        links=walk.links,
        depth=walk.depth,
        chunks=walk.small_chunks + walk.matrix_chunks,
        declared_bytes=walk.declared,
        stored_bytes=walk.stored,
        unmeasured=walk.unmeasured,
    )


@dataclass
class _Walk:
    """One walk: what was met so far. `seen` maps the address of each object's header to the path that led there."""

    size: int
    seen: dict[int, str] = field(default_factory=dict[int, str])
    groups: int = 0
    datasets: int = 0
    attributes: int = 0
    links: int = 0
    depth: int = 0
    small_chunks: int = 0
    matrix_chunks: int = 0
    declared: int = 0
    decoded: int = 0
    stored: int = 0
    unmeasured: int = 0

    def group(self, group: h5g.GroupID, path: str, depth: int) -> None:
        """A group, its attributes, and all that is in it."""
        if depth > MAX_DEPTH:
            hostile("file.too_deep", path, f"lies more than {MAX_DEPTH} groups deep")
        self.depth = max(self.depth, depth)
        self.links += nodes.count_members(group, path)
        if self.links > nodes.MAX_MEMBERS:
            problem = f"has more than {nodes.MAX_MEMBERS:,} groups and datasets, more than celldock reads"
            hostile("file.too_many_members", "", problem, _CROWD_HINT)
        self._attributes(group, path)
        names = [self._member(group, path, depth, *link) for link in nodes.links_of(group, path)]
        if "indptr" in names:
            matrix = h5py.Group(group)
            sparse_parts(matrix, encoding_of(matrix))

    def refuse_sums(self) -> None:
        """Refuses a file whose datasets together declare, or claim to store, more than the file can hold."""
        if self.stored > self.size:
            problem = f"stores {self.stored:,} bytes of data in {self.size:,}: its datasets overlap"
            hostile("file.declares_more", "", problem)
        limit = max(datasets.MAX_RATIO * self.size, datasets.SMALL_BYTES)
        if self.decoded > limit:
            hostile(
                "file.declares_more", "", f"declares {self.decoded:,} bytes of data, which {self.size:,} cannot hold"
            )

    def _member(self, parent: h5g.GroupID, path: str, depth: int, encoded: bytes, kind: int, address: int) -> str:
        name = refuse_member_name(encoded, path)
        where = f"{path}/{name}" if path else name
        nodes.refuse_link(kind, where)
        if address in self.seen:
            unread("file.hard_link", where, f"is a second name of {self.seen[address] or 'the file itself'}")
        self.seen[address] = where
        with damaged(where):
            node = h5o.open(parent, encoded)
        if isinstance(node, h5g.GroupID):
            self.groups += 1
            self.group(node, where, depth + 1)
        elif isinstance(node, h5d.DatasetID):
            self.datasets += 1
            self.depth = max(self.depth, depth + 1)
            self._dataset(node, where)
            self._attributes(node, where, frame=parent)
        else:
            nodes.refuse_stored_type(where)
        return name

    def _dataset(self, dataset: h5d.DatasetID, where: str) -> None:
        extent = datasets.admit(dataset, where)
        self.declared += extent.declared_bytes
        self.decoded += extent.decoded_bytes
        if datasets.is_of_matrix(where):
            self.matrix_chunks += extent.chunks
            _refuse_chunks(self.matrix_chunks, MAX_MATRIX_CHUNKS, where)
            if extent.chunks > MAX_MEASURED_CHUNKS:
                self.unmeasured += 1
                datasets.refuse_inflated(extent, self.size, where)
                return
        else:
            self.small_chunks += extent.chunks
            _refuse_chunks(self.small_chunks, MAX_SMALL_CHUNKS, where)
        stored = datasets.stored_bytes(dataset, where)
        self.stored += stored
        datasets.refuse_inflated(extent, stored, where)

    def _attributes(self, node: h5g.GroupID | h5d.DatasetID, where: str, frame: h5g.GroupID | None = None) -> None:
        """The attributes of a group, or of a dataset of the group `frame`. Counted first: listing them takes memory."""
        with damaged(where):
            count = h5a.get_num_attrs(node)
        self.attributes += count
        if count > MAX_OBJECT_ATTRIBUTES:
            problem = f"has {count:,} attributes, more than celldock reads ({MAX_OBJECT_ATTRIBUTES})"
            hostile("file.too_many_attributes", where, problem, _CROWD_HINT)
        if self.attributes > MAX_ATTRIBUTES:
            problem = f"has more than {MAX_ATTRIBUTES:,} attributes, more than celldock reads"
            hostile("file.too_many_attributes", "", problem, _CROWD_HINT)
        if not count:
            return
        names: list[bytes] = []
        with damaged(where):
            h5a.iterate(node, names.append)
        for encoded in names:
            name = refuse_name(encoded, where)
            with damaged(partial(place, where, name)):
                attribute = h5a.open(node, encoded)
            admit_attribute(attribute, partial(place, where, name), name)
            if name == CATEGORIES and is_object_reference(attribute.get_type()):
                _refuse_reference(node, where, frame)


def _refuse_reference(node: h5g.GroupID | h5d.DatasetID, where: str, frame: h5g.GroupID | None) -> None:
    """Refuses a reference but the one from codes to categories within one frame."""
    name = where.rpartition("/")[2]
    if frame is not None and isinstance(node, h5d.DatasetID):
        dataset = h5py.Dataset(node)
        reference = nodes.attribute(dataset, CATEGORIES)
        if old_categories(h5py.Group(frame), name, dataset, reference) is not None:
            return
    hostile("file.reference", place(where, CATEGORIES), "refers to another place of the file")


def _refuse_chunks(count: int, limit: int, where: str) -> None:
    if count > limit:
        problem = f"brings the number of the file's chunks to {count:,}, more than celldock reads ({limit:,})"
        unread("file.too_many_chunks", where, problem, _CHUNK_HINT)

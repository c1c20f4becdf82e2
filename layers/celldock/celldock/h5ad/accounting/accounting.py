"""Every byte of an HDF5 file accounted for: what its objects reach, and what is left of others.

To delete a column with h5py leaves its values in the file, and text of any length stays in the global heap even longer.
What is published must hold nothing of the kind. So the whole file is followed here, by the HDF5 File Format
Specification (version 3.0) and without libhdf5, and all bytes that no object reaches must be zero.

What counts as reached: the fields of a structure, names, values, chunks as they are stored. Everything else is looked
at: space between structures, removed messages in object headers, free space in heaps and what lies in it, unused
entries of indexes, padding. Not looked into are the stored bytes of chunks: what lies in one beyond the dataset's edge,
or behind its compressed stream, belongs to the dataset.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from celldock.h5ad.accounting.chunks import chunks_of
from celldock.h5ad.accounting.cursor import UNDEFINED, Cursor, Window, batches
from celldock.h5ad.accounting.datatypes import Datatype
from celldock.h5ad.accounting.fractal import dense_objects, read_free_space
from celldock.h5ad.accounting.headers import read_header
from celldock.h5ad.accounting.heaps import check_heaps
from celldock.h5ad.accounting.ledger import Ledger, NotUnderstoodError, Residue
from celldock.h5ad.accounting.messages import Contents, Layout, read_attribute, read_link
from celldock.h5ad.accounting.pointers import ChunkPointers, Pointers, add_contiguous
from celldock.h5ad.accounting.symbols import TreeSizes, read_entry, read_symbol_table
from celldock.h5ad.container import HDF5_SIGNATURE
from celldock.h5ad.damage import damaged
from celldock.h5ad.fetching import Ranges
from celldock.h5ad.layout import Array

MAX_UNCLAIMED = 256 * 1024 * 1024
"""Bytes outside of all objects that are read to see whether they are zero."""

_MAX_SUPERBLOCK = 128
_MAX_RECORD = 16 * 1024 * 1024
BETWEEN = "between the objects"
_PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Accounting:
    """What the bytes of a file belong to.

    `verdict` is "clean" where every byte that belongs to no object is zero, "residue" where one is not, and "unknown"
    where a structure was not understood; only a clean file may be published as it is. `reason` is a sentence, "" of a
    clean file. `starts` and `stops` (int64, ascending, disjoint) are the extents of all that objects reach, empty if
    the verdict is "unknown". `residues` are the first places that are not zero, `residue_count` and `residue_bytes`
    are those of all.
    """

    verdict: Literal["clean", "residue", "unknown"]
    reason: str
    starts: Array
    stops: Array
    residues: tuple[Residue, ...]
    residue_count: int
    residue_bytes: int

    @property
    def clean(self) -> bool:
        """Whether the file holds nothing that no object reaches."""
        return self.verdict == "clean"


def account(source: Ranges) -> Accounting:
    """Follows the whole file and says what its bytes belong to.

    Memory: 16 bytes for each piece that the file is in (chunks that lie side by side are one) and for each collection
    of texts, and some 40 MiB; chunks are read only where they hold text of any length, by blocks. Raises
    InvalidSubmission (`file.damaged`) for structures that contradict each other, and what the source raises.
    """
    ledger = Ledger(source.size, source.name)
    try:
        _Walk(source, ledger).follow()
        starts, stops = ledger.extents()
        _look_between(source, ledger, starts, stops)
        ledger.decide()
    except NotUnderstoodError as error:
        reason = f"{error.reason} (at byte {error.offset:,})."
        return _result(ledger, "unknown", reason, np.empty(0, np.int64), np.empty(0, np.int64))
    if not ledger.residues:
        return _result(ledger, "clean", "", starts, stops)
    first = ledger.residues[0]
    reason = (
        f"The file holds {ledger.residue_bytes:,} bytes that belong to nothing in it, in {ledger.residue_count:,} "
        f"places; {first.length:,} of them lie {first.kind} (at byte {first.offset:,})."
    )
    return _result(ledger, "residue", reason, starts, stops)


def _result(
    ledger: Ledger, verdict: Literal["clean", "residue", "unknown"], reason: str, starts: Array, stops: Array
) -> Accounting:
    residues = tuple(ledger.residues)
    return Accounting(verdict, reason, starts, stops, residues, ledger.residue_count, ledger.residue_bytes)


class _Walk:
    """One way through a file: superblock, groups, datasets, and in the end the global heaps."""

    def __init__(self, source: Ranges, ledger: Ledger) -> None:
        self._source = source
        self._ledger = ledger
        self._window = Window(source)
        self._pointers = Pointers()
        self._sizes = TreeSizes()
        self._seen: set[int] = set()

    def follow(self) -> None:
        pending = [("/", self._superblock())]
        while pending:
            where, address = pending.pop()
            if address not in self._seen:
                self._seen.add(address)
                pending += self._object(where, address)
        check_heaps(self._window, self._ledger, self._pointers)

    def _superblock(self) -> int:
        """The address of the root group's header."""
        name = self._ledger.name
        head = self._window.cursor(name, 0, min(_MAX_SUPERBLOCK, self._source.size))
        head.expect(HDF5_SIGNATURE)
        version = head.number(1)
        if version > 3:
            raise NotUnderstoodError("The file is written in a newer version of HDF5's format")
        root = self._old_superblock(head, version) if version < 2 else self._new_superblock(head)
        self._ledger.claim(0, head.at)
        return root

    def _old_superblock(self, head: Cursor, version: int) -> int:
        head.take(4)
        self._expect_widths(head)
        head.take(1)
        leaf, internal = head.number(2), head.number(2)
        head.take(4)
        chunk = self._sizes.chunk
        if version == 1:
            chunk = head.number(2)
            head.take(2)
        self._take_sizes(leaf, internal, chunk)
        base, extension, end, driver = (head.number(8) for _ in range(4))
        self._refuse_places(base, end)
        if extension != UNDEFINED or driver != UNDEFINED:
            raise NotUnderstoodError("The file is managed in a way that AnnData does not use")
        return read_entry(head)

    def _new_superblock(self, head: Cursor) -> int:
        self._expect_widths(head)
        head.take(1)
        base, extension, end, root = (head.number(8) for _ in range(4))
        head.take(4)
        self._refuse_places(base, end)
        if extension != UNDEFINED:
            contents = read_header(self._window, self._ledger, extension, self._ledger.name)
            if contents.tree_k is not None:
                chunk, internal, leaf = contents.tree_k
                self._take_sizes(leaf, internal, chunk)
            for manager in contents.free_space:
                read_free_space(self._window, self._ledger, manager, self._ledger.name)
        return root

    def _take_sizes(self, leaf: int, internal: int, chunk: int) -> None:
        if min(leaf, internal, chunk) < 1:
            raise damaged(self._ledger.name, "the sizes of its indexes are impossible")
        self._sizes = TreeSizes(leaf, internal, chunk)

    def _expect_widths(self, head: Cursor) -> None:
        if (head.number(1), head.number(1)) != (8, 8):
            raise NotUnderstoodError("The file's addresses are not of 8 bytes")

    def _refuse_places(self, base: int, end: int) -> None:
        if base:
            raise NotUnderstoodError("The file does not begin where HDF5 begins")
        if end > self._source.size:
            raise damaged(self._ledger.name, f"it should be {end:,} bytes long and has {self._source.size:,}")

    def _object(self, where: str, address: int) -> list[tuple[str, int]]:
        """Takes down all of an object; returns the members of a group."""
        contents = read_header(self._window, self._ledger, address, where)
        for heap, trees in contents.dense_links:
            for message in dense_objects(self._window, self._ledger, heap, trees, where):
                read_link(message, contents)
        for heap, trees in contents.dense_attributes:
            for message in dense_objects(self._window, self._ledger, heap, trees, where):
                read_attribute(message, contents)
        for tree, heap in contents.symbol_tables:
            contents.links += read_symbol_table(self._window, self._ledger, self._sizes, tree, heap, where)
        for value, datatype in contents.values:
            self._pointers.add(value, datatype, where)
        if contents.layout is not None:
            self._dataset(contents, contents.layout, where)
        parent = where.rpartition("/")[2]
        for name, _ in contents.links:
            # A name with a slash in it is stored as a group with a member.
            self._ledger.names.update((name.encode(), f"{parent}/{name}".encode()))
        return [(f"{where.rstrip('/')}/{name}", header) for name, header in contents.links]

    def _dataset(self, contents: Contents, layout: Layout, where: str) -> None:
        datatype, shape = contents.datatype, contents.dimensions
        if datatype is None or shape is None:
            raise damaged(where, "it does not say what it holds")
        if datatype.pointers and datatype.size > _MAX_RECORD:
            raise NotUnderstoodError(f"{where} holds larger records than any that AnnData writes")
        if datatype.pointers and len(contents.fill) == datatype.size:
            self._pointers.add(contents.fill, datatype, where)
        if layout.chunk is not None:
            self._chunks(contents, layout, datatype, shape, where)
            return
        length = math.prod(shape) * datatype.size
        if layout.compact is not None:
            if datatype.pointers:
                self._pointers.add(layout.compact[:length], datatype, where)
        elif layout.address != UNDEFINED and layout.size:
            # What lies behind the last value is nobody's.
            length = min(length, layout.size)
            self._ledger.claim(layout.address, length)
            if datatype.pointers:
                add_contiguous(self._pointers, self._window, layout.address, length, datatype, where)

    def _chunks(
        self, contents: Contents, layout: Layout, datatype: Datatype, shape: tuple[int, ...], where: str
    ) -> None:
        assert layout.chunk is not None
        if layout.address == UNDEFINED:
            return
        if layout.element != datatype.size:
            raise damaged(where, "its chunks are not of its values")
        texts = None
        if datatype.pointers:
            if layout.edges_unfiltered and contents.filters:
                raise NotUnderstoodError("Some chunks of a dataset are filtered and others not", layout.address)
            texts = ChunkPointers(self._pointers, self._window, layout.chunk, contents.filters, datatype, where)
        found = chunks_of(
            self._window, self._ledger, self._sizes.chunk, layout, shape, filtered=bool(contents.filters), where=where
        )
        for chunks in found:
            self._ledger.claim_all(chunks.offsets, chunks.sizes)
            if texts is not None:
                texts.add(chunks)


def _look_between(source: Ranges, ledger: Ledger, starts: Array, stops: Array) -> None:
    """Looks at all that nothing claims."""
    begins, ends = np.append(0, stops), np.append(starts, source.size)
    wide = ends > begins
    begins, ends = begins[wide], ends[wide]
    total = int((ends - begins).sum())
    if total > MAX_UNCLAIMED:
        raise NotUnderstoodError(f"{total:,} bytes of the file belong to nothing in it", int(begins[0]))
    offsets, sizes = _in_pieces(begins, ends)
    for part, pieces in batches(Window(source), offsets, sizes):
        for offset, piece in zip(offsets[part].tolist(), pieces, strict=True):
            ledger.doubt(BETWEEN, offset, piece)


def _in_pieces(begins: Array, ends: Array) -> tuple[Array, Array]:
    """Offsets and sizes of the same ranges, none longer than 1 MiB."""
    counts = -(-(ends - begins) // _PIECE)
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    offsets = np.repeat(begins, counts) + within * _PIECE
    return offsets, np.minimum(np.repeat(ends, counts) - offsets, _PIECE)

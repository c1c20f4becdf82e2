"""Where the arrays of a store get their rows from: frames and arrays through the open file, matrices by byte ranges.

The three arrays of a sparse matrix are copied as they are stored, csr and csc alike, and checked on the way; rows of a
dense matrix are filled up with the zeros that readers of matrices leave out.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from celldock.formats.protocol import Subject
from celldock.formats.zarr_elements import DICT, INDEX, RAW, ROOT, Tree
from celldock.formats.zarr_layout import ZarrLayout, path_obstacle
from celldock.formats.zarr_store import CHUNK_ELEMENTS, TEXT, Array, Blocks
from celldock.h5ad.block import as_indices, check_indices
from celldock.h5ad.file import H5adFile
from celldock.h5ad.frames import Column, iter_blocks
from celldock.h5ad.headers import ArrayHeader, ColumnHeader, FrameHeader
from celldock.h5ad.layout import MatrixLayout
from celldock.h5ad.matrix import MatrixReader
from celldock.h5ad.pointers import check_indptr
from celldock.h5ad.reader import ArrayReader, chunk_limit
from celldock.h5ad.source import ByteSource
from celldock.h5ad.unpacking import Wanted, unpacked

MAPPINGS = ("layers", "obsm", "obsp", "uns", "varm", "varp")
"""The dictionaries that every AnnData has."""
BUDGET = 48 * 1024 * 1024
"""Bytes that reading a matrix may hold."""

_BLOCK_BYTES = 8 * 1024 * 1024
# Some chunks of the store at once: each block is a request to S3.
_BLOCK_ELEMENTS = 16 * CHUNK_ELEMENTS


def streamed(layout: ZarrLayout, subject: Subject, file: H5adFile, scratch: Path) -> Tree:
    """The groups of the store, and all of its arrays that are read by rows. Nothing is read yet but layouts.

    Left out are the elements that are read whole, and categories. Raises InvalidSubmission for layouts that contradict
    themselves.
    """
    tree = Tree()
    tree.group("", ROOT)
    for name in (*MAPPINGS, *layout.dicts):
        tree.group(name, DICT)
    if "raw/var" in layout.frames or "raw/X" in layout.matrices:
        tree.group("raw", RAW)
        tree.group("raw/varm", DICT)
    for path, frame in layout.frames.items():
        _add_frame(tree, path, frame, file)
    for path, matrix in layout.matrices.items():
        _add_matrix(tree, path, subject.source, subject.layout.matrices[matrix.path], scratch)
    for array in layout.arrays:
        tree.array(array.path, array.shape, np.dtype(array.dtype), _array_rows(file, array))
    for path, graph in _graphs(layout, subject, file).items():
        _add_matrix(tree, path, subject.source, graph, scratch)
    return tree


def _graphs(layout: ZarrLayout, subject: Subject, file: H5adFile) -> Mapping[str, MatrixLayout]:
    """The layouts of sparse elements, which the header has not as it has those of X and layers."""
    if not layout.graphs:
        return {}
    found = [file.matrix(path) for path in layout.graphs]
    headers = tuple(header for header in found if header is not None)
    return file.layout(replace(subject.header, x=None, raw_x=None, layers=headers), []).matrices


def _add_frame(tree: Tree, path: str, frame: FrameHeader, file: H5adFile) -> None:
    name = frame.index_name or INDEX
    index = INDEX if path_obstacle(f"{path}/{name}") else name
    tree.frame(path, index, [column.name for column in frame.columns])
    for column in frame.columns:
        place = f"{path}/{column.name}"
        dtype = TEXT if column.dtype == "str" else np.dtype(column.dtype)
        tree.array(tree.column(place, column), (frame.length,), dtype, _column_rows(file, column))
        if column.kind.startswith("nullable"):
            tree.array(f"{place}/mask", (frame.length,), np.dtype(bool), _mask_rows(file, column))
    # A frame may say that one of its columns names the rows.
    if index not in (column.name for column in frame.columns):
        tree.array(f"{path}/{index}", (frame.length,), TEXT, _index_rows(file, frame))


def _add_matrix(tree: Tree, path: str, source: ByteSource, layout: MatrixLayout, scratch: Path) -> None:
    header = layout.header
    # Made for its checks: whether the shapes of the arrays fit together, and the chunks the source.
    reader = MatrixReader(source, layout, budget=BUDGET, scratch=scratch)
    if header.encoding == "dense":
        tree.array(path, header.shape, reader.dtype, _dense_rows(reader))
        return
    tree.group(path, (f"{header.encoding}_matrix", "0.1.0"), shape=list(header.shape))
    for name, array in layout.arrays.items():
        elements = _elements(source, layout, name, scratch)
        tree.part(f"{path}/{name}", array.shape[0], np.dtype(array.dtype).newbyteorder("="), elements)


def _column_rows(file: H5adFile, column: ColumnHeader) -> Blocks:
    def blocks(start: int, stop: int) -> Generator[Array]:
        for block in _column_blocks(file, column, start, stop):
            yield block.values

    return blocks


def _mask_rows(file: H5adFile, column: ColumnHeader) -> Blocks:
    def blocks(start: int, stop: int) -> Generator[Array]:
        for block in _column_blocks(file, column, start, stop):
            yield np.zeros(len(block.values), bool) if block.mask is None else block.mask

    return blocks


def _column_blocks(file: H5adFile, column: ColumnHeader, start: int, stop: int) -> Generator[Column]:
    for begin, end in iter_blocks(stop - start, CHUNK_ELEMENTS):
        yield file.column(column, start + begin, start + end)


def _index_rows(file: H5adFile, frame: FrameHeader) -> Blocks:
    def blocks(start: int, stop: int) -> Generator[Array]:
        for begin, end in iter_blocks(stop - start, CHUNK_ELEMENTS):
            yield file.index(frame, start + begin, start + end)

    return blocks


def _array_rows(file: H5adFile, array: ArrayHeader) -> Blocks:
    row_bytes = np.dtype(array.dtype).itemsize * int(np.prod(array.shape[1:], dtype=object))
    rows = max(1, _BLOCK_BYTES // max(1, row_bytes))

    def blocks(start: int, stop: int) -> Generator[Array]:
        for begin, end in iter_blocks(stop - start, rows):
            yield file.array(array, start + begin, start + end)

    return blocks


def _dense_rows(reader: MatrixReader) -> Blocks:
    rows = max(1, _BLOCK_BYTES // max(1, reader.n_vars * reader.dtype.itemsize))

    def blocks(start: int, stop: int) -> Generator[Array]:
        with closing(reader.row_blocks(start, stop)) as found:
            for block in found:
                for begin, end in iter_blocks(block.n_rows, rows):
                    first, last = int(block.indptr[begin]), int(block.indptr[end])
                    values = np.zeros((end - begin, reader.n_vars), block.data.dtype)
                    numbers = np.repeat(np.arange(end - begin), np.diff(block.indptr[begin : end + 1]))
                    values[numbers, block.indices[first:last]] = block.data[first:last]
                    yield values

    return blocks


def _elements(source: ByteSource, layout: MatrixLayout, name: str, scratch: Path) -> Blocks:
    """Elements of an array of a sparse matrix, as they are stored."""
    array = layout.arrays[name]

    def blocks(start: int, stop: int) -> Generator[Array]:
        # Pointers are compared with the one before.
        begin = max(0, start - 1) if name == "indptr" else start
        wanted = {name: Wanted(array, chunk_limit(BUDGET), begin, stop)}
        with unpacked(source, wanted, budget=BUDGET, scratch=scratch) as (places, arrays):
            reader = ArrayReader(places, arrays[name], budget=BUDGET)
            check = _Check(layout, name, reader.read(begin, start) if begin < start else None)
            at = start
            with closing(reader.blocks(start, stop, _BLOCK_ELEMENTS)) as found:
                for block in found:
                    check.next(at, block)
                    at += len(block)
                    yield block

    return blocks


class _Check:
    """Whether adjoining blocks of an array of a sparse matrix are sound; `before` is what stands before the first."""

    def __init__(self, layout: MatrixLayout, name: str, before: Array | None) -> None:
        header = layout.header
        self._path = header.path
        self._name = name
        self._minor = header.shape[1 if header.encoding == "csr" else 0]
        self._length = layout.arrays[name].shape[0]
        self._nnz = layout.arrays["data"].shape[0]
        self._before: np.ndarray[Any, Any] = np.empty(0, np.int64) if before is None else before.astype(np.int64)

    def next(self, at: int, block: Array) -> None:
        """Raises InvalidSubmission if the block, which begins at element `at`, holds anything wrong."""
        if self._name == "indices":
            check_indices(self._path, as_indices(block), at, self._minor)
        elif self._name == "indptr":
            pointers = np.concatenate((self._before, block.astype(np.int64)))
            check_indptr(self._path, pointers, at - len(self._before), self._length, self._nnz)
            self._before = pointers[-1:]

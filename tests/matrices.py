"""Matrices written to HDF5 in every way that the format allows, and sources that watch or fail."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import h5py
import numpy as np
from scipy import sparse

from celldock.errors import TransientError
from celldock.h5ad.hdf5.layouts import file_layout
from celldock.h5ad.headers import FrameHeader, Header, MatrixHeader
from celldock.h5ad.layout import ArrayLayout, MatrixLayout

FILTERS: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "gzip, shuffle": {"compression": "gzip", "shuffle": True},
    "gzip, shuffle, fletcher32": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"compression": "lzf"},
    "lzf, shuffle": {"compression": "lzf", "shuffle": True},
    "fletcher32": {"fletcher32": True},
}
"""Creation options of a chunked dataset, for h5py."""


class WatchedSource:
    """Bytes in memory. Counts reads; the reads from number `fail_from` on fail, or come `short` of a byte."""

    def __init__(
        self, content: bytes, *, fail_from: int | None = None, short: bool = False, delay: float = 0.0
    ) -> None:
        self.content = content
        self.ranges: list[tuple[int, int]] = []
        self._fail_from = fail_from
        self._short = short
        self._delay = delay
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        return len(self.content)

    @property
    def name(self) -> str:
        return "cells.h5ad"

    @property
    def bytes_read(self) -> int:
        return sum(length for _, length in self.ranges)

    def read(self, offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= self.size, "a read beyond the source"
        with self._lock:
            self.ranges.append((offset, length))
            number = len(self.ranges)
        time.sleep(self._delay)
        if self._fail_from is not None and number >= self._fail_from:
            if not self._short:
                raise TransientError("S3 did not answer.", code="s3.unavailable")
            length -= 1
        return self.content[offset : offset + length]


@dataclass(frozen=True, slots=True)
class Stored:
    """How a matrix is written: types, chunks of its datasets (None: in one piece), filters."""

    encoding: Literal["csr", "csc", "dense"] = "csr"
    data: str = "<f4"
    indices: str = "<i4"
    indptr: str = "<i4"
    chunks: tuple[int, ...] | None = (64,)
    filters: str = "gzip"


def write_matrix(file: h5py.File, path: str, matrix: Any, stored: Stored) -> MatrixHeader:
    """Writes a NumPy array or a SciPy matrix of the encoding that is asked for, its order untouched."""
    options = {} if stored.chunks is None else FILTERS[stored.filters]
    if stored.encoding == "dense":
        dense = np.asarray(matrix).astype(stored.data)
        chunks = None if stored.chunks is None else _within(stored.chunks, dense.shape)
        file.create_dataset(path, data=dense, chunks=chunks, **(options if chunks else {}))
    else:
        for name, values in (("data", matrix.data), ("indices", matrix.indices), ("indptr", matrix.indptr)):
            typed = np.asarray(values).astype(getattr(stored, name))
            chunks = None if stored.chunks is None else _within(stored.chunks[:1], typed.shape)
            file.create_dataset(f"{path}/{name}", data=typed, chunks=chunks, **(options if chunks else {}))
    return matrix_header(path, matrix, stored)


def matrix_header(path: str, matrix: Any, stored: Stored) -> MatrixHeader:
    rows, columns = matrix.shape
    dense = stored.encoding == "dense"
    return MatrixHeader(
        path=path,
        encoding=stored.encoding,
        shape=(rows, columns),
        dtype=np.dtype(stored.data).name,
        nnz=None if dense else len(matrix.data),
        index_dtype=None if dense else np.dtype(stored.indices).name,
        compression=None,
    )


def saved(matrix: Any, stored: Stored) -> tuple[bytes, MatrixLayout]:
    """The bytes of a file that holds the matrix as X, and its layout."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        header = write_matrix(file, "X", matrix, stored)
    return buffer.getvalue(), layout_of(buffer.getvalue(), header)


def layout_of(content: bytes, header: MatrixHeader) -> MatrixLayout:
    with h5py.File(io.BytesIO(content), "r") as file:
        return file_layout(file, header_with(header), ()).matrices[header.path]


def saved_array(values: np.ndarray, **options: Any) -> tuple[bytes, ArrayLayout]:
    """The bytes of a file that holds one dataset, `values`, written with h5py's options; and its layout."""
    return written(lambda file: file.create_dataset("values", data=values, **options))


def written(write: Any) -> tuple[bytes, ArrayLayout]:
    """The bytes of a file in which `write(file)` made the dataset "values", and its layout."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write(file)
    return buffer.getvalue(), layout_in(buffer.getvalue())


def layout_in(content: bytes) -> ArrayLayout:
    """The layout of the dataset "values"."""
    with h5py.File(io.BytesIO(content), "r") as file:
        return file_layout(file, header_with(None), ["values"]).columns["values"]


def header_with(matrix: MatrixHeader | None) -> Header:
    """A header of which only X matters."""
    frame = FrameHeader("obs", 0, "obs/_index", ())
    return Header("anndata", "0.1.0", 0, 0, matrix, None, (), frame, frame, None, ())


def random_counts(
    rng: np.random.Generator, shape: tuple[int, int], density: float, encoding: Literal["csr", "csc"]
) -> Any:
    """A sparse matrix of small counts with explicit zeros, and rows (columns of a csc) whose indices are unsorted."""
    matrix: Any = sparse.random_array(shape, density=density, rng=rng, format=encoding)
    matrix.data = rng.integers(0, 4, matrix.nnz).astype(np.float64)
    for begin, end in zip(matrix.indptr[:-1:3], matrix.indptr[1::3], strict=True):
        matrix.indices[begin:end] = matrix.indices[begin:end][::-1].copy()
    return matrix


def _within(chunks: Sequence[int], shape: Sequence[int]) -> tuple[int, ...] | None:
    """Chunks that h5py accepts for the shape: not larger than it; None for what has no elements."""
    if 0 in shape:
        return None
    return tuple(min(chunk, length) for chunk, length in zip(chunks, shape, strict=True))

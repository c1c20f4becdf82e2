"""Writes a new file by a `Rewrite`: the parent's side, which packs what is new and hands it to the child by chunks.

The bytes of the new file do not depend on the blocks in which values come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import deflate
import numpy as np

from celldock.errors import HostileFile, ServiceFault
from celldock.h5ad.additions import NewColumn
from celldock.h5ad.appending import send_column
from celldock.h5ad.block import Block
from celldock.h5ad.chunking import CHUNK_VALUES, LEVEL, dense_chunks, is_shuffled
from celldock.h5ad.placing import Placing
from celldock.h5ad.rewrites import Array, NewArray, NewFrame, NewMatrix, Rewrite
from celldock.h5ad.sandbox.limits import MAX_APPENDED_BYTES, Limits
from celldock.h5ad.sandbox.parent import Session
from celldock.h5ad.source import ByteSource
from celldock.h5ad.spool import Spool, SpooledFile, spooled

_SENT_BYTES = 4 * 1024 * 1024
_INT32_MAX = np.iinfo(np.int32).max
_BYTES_PER_CPU_SECOND = 20_000_000
# A call of the child copies 128 MiB or more, but for the last one.
_MIN_STEP = 64 * 1024 * 1024
_SPARE_STEPS = 64


def limits_of(source: ByteSource) -> Limits:
    """Of a file that is written anew: its bytes go through the child once, and so does what is new."""
    return Limits(cpu_seconds=600 + source.size // _BYTES_PER_CPU_SECOND, call_seconds=300)


def room_for(source: ByteSource) -> int:
    """Bytes that the spool of the new file has to have room for; it hardly ever takes more than the original."""
    return 4 * source.size + MAX_APPENDED_BYTES


def write_anew(session: Session, source: ByteSource, rewrite: Rewrite, spool: Spool) -> SpooledFile:
    """Writes the new file in the child that has the original open; see `H5adFile.rewrite`."""
    with session.keeping(spool):
        session.call("rewrite_start", placing=Placing.of(rewrite).to_plain())
        _copy(session, source)
        chunks = _Chunks(session)
        for matrix in rewrite.matrices:
            write = _write_sparse if matrix.encoding == "csr" else _write_dense
            write(session, matrix, chunks)
        for array in rewrite.arrays:
            _write_array(session, array, chunks)
        chunks.send()
        for frame in rewrite.frames:
            _write_frame(session, frame)
        size = session.call("rewrite_finish")
    return spooled(source.name, size, spool)


def _copy(session: Session, source: ByteSource) -> None:
    for _ in range(room_for(source) // _MIN_STEP + _SPARE_STEPS):
        if session.call("rewrite_copy") is True:
            return
    raise HostileFile(
        "The file makes the program that copies it go on without end.", code="file.hangs_reader", where=source.name
    )


class _Chunks:
    """Compressed chunks on their way to the child, some MiB at a time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: list[dict[str, Any]] = []
        self._held = 0

    def add(self, path: str, corner: Sequence[int], length: int, values: Array) -> None:
        """A whole chunk of an array, which has `length` rows from now on."""
        plain = np.ascontiguousarray(values).view(np.uint8)
        if is_shuffled(values.dtype):
            plain = np.ascontiguousarray(plain.reshape(-1, values.dtype.itemsize).T)
        stored = np.frombuffer(deflate.zlib_compress(memoryview(plain).cast("B"), LEVEL), np.uint8)
        self._waiting.append({"path": path, "corner": list(corner), "length": length, "stored": stored})
        self._held += len(stored)
        if self._held >= _SENT_BYTES:
            self.send()

    def send(self) -> None:
        """Sends what has not been sent yet."""
        if self._waiting:
            self._session.call("rewrite_chunks", chunks=self._waiting)
        self._waiting, self._held = [], 0


class _Series:
    """One-dimensional arrays of equal length that are not known to end, filled together: a chunk of each in turn."""

    def __init__(self, session: Session, chunks: _Chunks, arrays: dict[str, np.dtype[Any]]) -> None:
        self._session = session
        self._chunks = chunks
        self._buffers = {path: np.zeros(CHUNK_VALUES, dtype) for path, dtype in arrays.items()}
        self._held = self._written = 0
        self._chunk = 0

    def add(self, *values: Array) -> None:
        """The next values of each."""
        start, length = 0, len(values[0])
        while start < length:
            stop = min(length, start + CHUNK_VALUES - self._held)
            for buffer, array in zip(self._buffers.values(), values, strict=True):
                buffer[self._held : self._held + stop - start] = array[start:stop]
            self._held += stop - start
            start = stop
            if self._held == CHUNK_VALUES:
                self._flush()

    def finish(self) -> None:
        """Writes what is left, and makes the arrays even if they are empty."""
        if self._held or not self._chunk:
            self._flush()

    def _flush(self) -> None:
        if not self._chunk:
            # Arrays that are shorter than a chunk are one of their own length.
            self._chunk = max(1, self._held)
            for path, buffer in self._buffers.items():
                self._session.call("rewrite_growing", path=path, dtype=buffer.dtype.str, chunk=self._chunk)
        if self._held:
            for path, buffer in self._buffers.items():
                buffer[self._held :] = 0
                self._chunks.add(path, (self._written,), self._written + self._held, buffer[: self._chunk])
        self._written, self._held = self._written + self._held, 0


class _Rows:
    """A dense array, filled row by row."""

    def __init__(self, session: Session, chunks: _Chunks, path: str, shape: tuple[int, ...], dtype: str) -> None:
        self._path, self._shape, self._dtype = path, shape, np.dtype(dtype)
        self._chunks = chunks
        self._size = dense_chunks(shape, self._dtype) or (1, *shape[1:])
        self._buffer = np.zeros((self._size[0], *shape[1:]), dtype)
        self._held = self._written = 0
        session.call("rewrite_array", path=path, shape=list(shape), dtype=self._dtype.str)

    @property
    def next(self) -> Array:
        """Where the next rows go; at least one. They are full of zeros."""
        return self._buffer[self._held :]

    def advance(self, rows: int) -> None:
        """As many of the next rows are filled."""
        self._held += rows
        if self._held == len(self._buffer):
            self._flush()

    def finish(self) -> None:
        """Writes what is left. Raises ServiceFault if there were fewer or more rows than announced."""
        self._flush()
        if self._written != self._shape[0]:
            raise _wrong(self._path, f"{self._written:,} rows instead of {self._shape[0]:,}")

    def _flush(self) -> None:
        if self._held and self._buffer.size:
            widths = self._size[1:2]
            for at in range(0, self._shape[1], *widths) if widths else (0,):
                part = self._buffer[:, at : at + widths[0]] if widths else self._buffer
                chunk = np.zeros(self._size, self._dtype)
                chunk[tuple(slice(0, length) for length in part.shape)] = part
                corner = (self._written, *([at] if widths else []), *(0 for _ in self._size[2:]))
                self._chunks.add(self._path, corner, self._shape[0], chunk)
        self._buffer[:] = 0
        self._written, self._held = self._written + self._held, 0


def _write_sparse(session: Session, matrix: NewMatrix, chunks: _Chunks) -> None:
    session.call("rewrite_sparse", path=matrix.path, shape=list(matrix.shape))
    # Rows refer to places among the values only, so that these may be many without the column numbers being wider.
    index_dtype = np.dtype(np.int32 if matrix.shape[1] <= _INT32_MAX else np.int64)
    dtypes = {f"{matrix.path}/data": np.dtype(matrix.dtype), f"{matrix.path}/indices": index_dtype}
    values = _Series(session, chunks, dtypes)
    lengths: list[Array] = []
    nnz = 0
    for block in _checked_blocks(matrix):
        values.add(block.data, block.indices)
        lengths.append(np.diff(block.indptr).astype(np.int32))
        nnz += len(block.data)
    values.finish()
    pointers = _Series(
        session, chunks, {f"{matrix.path}/indptr": np.dtype(np.int32 if nnz <= _INT32_MAX else np.int64)}
    )
    pointers.add(np.zeros(1, np.int64))
    end = 0
    for part in lengths:
        ends = end + np.cumsum(part, dtype=np.int64)
        pointers.add(ends)
        end = int(ends[-1])
    pointers.finish()


def _write_dense(session: Session, matrix: NewMatrix, chunks: _Chunks) -> None:
    rows = _Rows(session, chunks, matrix.path, matrix.shape, matrix.dtype)
    for block in _checked_blocks(matrix):
        start = 0
        while start < block.n_rows:
            target = rows.next
            stop = min(block.n_rows, start + len(target))
            pointers = block.indptr[start : stop + 1]
            inside = slice(int(pointers[0]), int(pointers[-1]))
            target[np.repeat(np.arange(stop - start), np.diff(pointers)), block.indices[inside]] = block.data[inside]
            rows.advance(stop - start)
            start = stop
    rows.finish()


def _write_array(session: Session, array: NewArray, chunks: _Chunks) -> None:
    rows = _Rows(session, chunks, array.path, array.shape, array.dtype)
    for block in array.blocks():
        if block.dtype != np.dtype(array.dtype) or block.shape[1:] != array.shape[1:]:
            raise _wrong(array.path, f"values of {block.dtype.name} in the shape {block.shape}")
        start = 0
        while start < len(block):
            target = rows.next
            stop = min(len(block), start + len(target))
            target[: stop - start] = block[start:stop]
            rows.advance(stop - start)
            start = stop
    rows.finish()


def _write_frame(session: Session, frame: NewFrame) -> None:
    index = frame.index_name or "_index"
    names = [column.name for column in frame.columns]
    if len({index, *names}) != len(names) + 1 or any(column.frame != frame.path for column in frame.columns):
        raise _wrong(frame.path, "columns of the same name, or of another frame")
    session.call("rewrite_frame", path=frame.path, index=index, columns=names)
    for column in (NewColumn(frame.path, index, "string", frame.rows, frame.names), *frame.columns):
        if column.rows != frame.rows:
            raise _wrong(frame.path, f"a column of {column.rows:,} rows instead of {frame.rows:,}")
        send_column(session, column, "rewrite")


def _checked_blocks(matrix: NewMatrix) -> Iterator[Block]:
    """The blocks of a matrix that are not empty. Raises ServiceFault if they are not what the matrix says of them."""
    rows = 0
    for block in matrix.blocks():
        if block.start != rows or block.data.dtype != np.dtype(matrix.dtype):
            raise _wrong(matrix.path, f"values of {block.data.dtype.name} from row {block.start:,} on")
        if len(block.data) != len(block.indices) or not _is_canonical(block, matrix.shape[1]):
            raise _wrong(matrix.path, f"rows from {block.start:,} on whose column numbers are not in order")
        rows += block.n_rows
        if block.n_rows:
            yield block
    if rows != matrix.shape[0]:
        raise _wrong(matrix.path, f"{rows:,} rows instead of {matrix.shape[0]:,}")


def _is_canonical(block: Block, columns: int) -> bool:
    """Whether pointers and column numbers are those of rows in which each column comes once, in ascending order."""
    pointers, indices = block.indptr, block.indices
    if pointers[0] != 0 or pointers[-1] != len(indices) or (np.diff(pointers) < 0).any():
        return False
    if not len(indices):
        return True
    descends = indices[1:] <= indices[:-1]
    # Where a row begins, its first number may be smaller than the last one of the row before.
    starts = pointers[1:-1]
    descends[starts[(starts > 0) & (starts < len(indices))] - 1] = False
    return int(indices.min()) >= 0 and int(indices.max()) < columns and not descends.any()


def _wrong(path: str, what: str) -> ServiceFault:
    return ServiceFault(f"{path} came with {what}.", code="rewrite.wrong_values", where=path)

"""An h5ad file as every step sees it: the one way from a byte source to headers, columns and layouts.

The file is open in a process of its own (`celldock.h5ad.sandbox`); what comes from there is checked here before anyone
works with it, because a crafted file may have taken that process over.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, cast

import numpy as np
from pydantic import TypeAdapter, ValidationError

from celldock.errors import HostileFile
from celldock.h5ad.additions import Additions
from celldock.h5ad.appended import AppendedFile
from celldock.h5ad.appending import append
from celldock.h5ad.elements import Element, from_plain
from celldock.h5ad.frames import Column
from celldock.h5ad.guard import Inventory
from celldock.h5ad.headers import ArrayHeader, ColumnHeader, FrameHeader, Header, MatrixHeader
from celldock.h5ad.layout import ChunkTables, FileLayout
from celldock.h5ad.layout_document import check_document
from celldock.h5ad.rewrites import Rewrite
from celldock.h5ad.rewriting import write_anew
from celldock.h5ad.sandbox.limits import Limits
from celldock.h5ad.sandbox.parent import SANDBOX, Sandbox, Session
from celldock.h5ad.source import ByteSource
from celldock.h5ad.spool import Spool, SpooledFile
from celldock.h5ad.storage import Storage, StoredHead

type Array = np.ndarray[Any, Any]


class H5adFile:
    """An open file. Every call may raise InvalidSubmission for what is wrong with it, and what the source raises."""

    def __init__(self, session: Session, source: ByteSource) -> None:
        self._session = session
        self._source = source

    def guard(self) -> Inventory:
        """Walks the whole file and refuses what no lawful h5ad file has; to be called before anything else."""
        return typed(Inventory, self._session.call("guard", size=self._source.size))

    def header(self) -> Header:
        """What the file declares; see `Header`."""
        return typed(Header, self._session.call("header"))

    def matrix(self, path: str) -> MatrixHeader | None:
        """The header of a matrix that is not in that of the file, as a graph of obsp; None if there is none."""
        answer = self._session.call("matrix", path=path)
        matrix = None if answer is None else typed(MatrixHeader, answer)
        if matrix is not None and matrix.path != path:
            raise _nonsense(path)
        return matrix

    def layout(self, header: Header, columns: Sequence[str]) -> FileLayout:
        """Where the chunks of all matrices lie, and those of the plain datasets at `columns`.

        `header` is that of this file. Memory: the chunk tables, 20 bytes a chunk.
        """
        answer = self._session.call("layout", header=header.to_json(), columns=list(columns))
        tables = [_array(answer, name) for name in ("offsets", "sizes", "masks")]
        if [table.dtype.str for table in tables if table is not None and table.ndim == 1] != ["<i8", "<i8", "<u4"]:
            raise _nonsense("")
        try:
            document = check_document(answer.get("document"))
            layout = FileLayout.from_parts(document, ChunkTables(*cast("list[Array]", tables)))
        except ValueError as error:
            raise _nonsense("") from error
        if [matrix.header for matrix in layout.matrices.values()] != _matrices(header) or [*layout.columns] != [
            *columns
        ]:
            raise _nonsense("")
        return layout

    def column(self, column: ColumnHeader, start: int, stop: int) -> Column:
        """Rows [start, stop) of a column; of a categorical the codes alone. Memory: these rows."""
        answer = self._session.call("column", column=asdict(column), start=start, stop=stop)
        values, mask = _array(answer, "values"), _array(answer, "mask")
        if values is None or not _fits(values, mask, column, stop - start):
            raise _nonsense(column.path)
        return Column(column.name, column.kind, values, None, mask)

    def column_length(self, column: ColumnHeader) -> int:
        """Values that a column holds."""
        return typed(int, self._session.call("column_length", column=asdict(column)))

    def categories(self, column: ColumnHeader) -> Array:
        """All categories of a categorical column, in the order of their codes; empty for any other column."""
        categories = _array(self._session.call("categories", column=asdict(column)))
        if categories is None or categories.shape != (column.categories or 0,):
            raise _nonsense(column.path)
        return categories

    def index(self, frame: FrameHeader, start: int, stop: int) -> Array:
        """The names of rows [start, stop), as `str` objects; "" where a name is missing."""
        answer = self._session.call("index", frame=asdict(replace(frame, columns=())), start=start, stop=stop)
        names = _array(answer)
        if names is None or names.dtype != object or names.shape != (stop - start,):
            raise _nonsense(frame.index)
        return names

    def array(self, array: ArrayHeader, start: int, stop: int) -> Array:
        """Rows [start, stop) of a dense array (of obsm, varm, obsp, varp), with all of its columns.

        Other kinds raise ValueError; `element` reads them whole.
        """
        if array.kind != "dense":
            raise ValueError(f"{array.path} is no dense array")
        rows = _array(self._session.call("array", array=asdict(array), start=start, stop=stop))
        if rows is None or rows.dtype.name != array.dtype or rows.shape != (stop - start, *array.shape[1:]):
            raise _nonsense(array.path)
        return rows

    def element(self, path: str) -> Element:
        """The value of the element at `path` and of all that lies below it: a part of uns, or uns itself.

        Meant for what is small: raises InvalidSubmission beyond `celldock.h5ad.elements.MAX_ELEMENT_BYTES`, as for what
        is missing, damaged or in no encoding of AnnData. `Header.uns` tells what there is.
        """
        answer = self._session.call("element", path=path)
        try:
            return from_plain(answer)
        except ValueError as error:
            raise _nonsense(path) from error

    def append(self, additions: Additions, spool: Spool) -> AppendedFile:
        """A new file with the additions; not a byte of the original's data is rewritten. This one stays as it is.

        The guard must have passed the file. `spool` takes what is new and must outlive the result. Equal files and
        additions give equal bytes. Memory: some MiB, and 32 MiB in the child.

        Raises:
            CannotAppend: the file has to be written anew; it says why.
            InvalidSubmission: a name is taken (`file.name_taken`).
            ServiceFault: values that are not what their column says, or a mistake of ours.
        """
        return append(self._session, self._source, additions, spool)

    def repack(self, spool: Spool) -> int:
        """Writes the file anew into an empty spool; see `celldock.h5ad.repacking`. Returns the new file's bytes."""
        with self._session.keeping(spool):
            return typed(int, self._session.call("repack"))

    def rewrite(self, rewrite: Rewrite, spool: Spool) -> SpooledFile:
        """A new file in an empty spool, of what this one has and of what is new; this one stays as it is.

        The guard must have passed the file; it is open with `celldock.h5ad.rewriting.limits_of` its source, and the
        spool has the `room_for` it. The result rests on the spool alone. Equal files and rewrites give equal bytes.
        Memory: a block of a matrix and some MiB, and 64 MiB or a stored chunk in the child.

        Raises:
            CannotAppend: the file is in an encoding into which nothing new fits; it says why.
            ServiceFault: values that are not what the rewrite says of them, or a mistake of ours.
        """
        return write_anew(self._session, self._source, rewrite, spool)

    def datasets(self) -> list[str]:
        """The paths of all datasets."""
        return typed(list[str], self._session.call("datasets"))

    def storage(self, paths: Sequence[str]) -> Storage:
        """Where the first of the datasets at `paths` are stored: as many as make some million pieces, at least one."""
        answer = self._session.call("storage", paths=list(paths))
        offsets, sizes = _array(answer, "offsets"), _array(answer, "sizes")
        heads = typed(
            list[StoredHead], cast("dict[str, Any]", answer).get("heads") if isinstance(answer, dict) else None
        )
        if offsets is None or sizes is None or [offsets.dtype.str, sizes.dtype.str] != ["<i8", "<i8"]:
            raise _nonsense("")
        pieces = (sum(head.pieces for head in heads),)
        if not 0 < len(heads) <= len(paths) or not offsets.shape == sizes.shape == pieces:
            raise _nonsense("")
        return Storage(tuple(heads), offsets, sizes)


@contextmanager
def open_h5ad(source: ByteSource, *, limits: Limits | None = None, sandbox: Sandbox = SANDBOX) -> Generator[H5adFile]:
    """The source as an h5ad file, read-only. Raises InvalidSubmission for what is no HDF5 file or a broken one."""
    with sandbox.open(source, limits) as session:
        yield H5adFile(session, source)


def read_header(source: ByteSource) -> Header:
    """Reads the header by ranged reads. Raises InvalidSubmission for what AnnData could not understand."""
    with open_h5ad(source) as file:
        return file.header()


def typed[T](kind: type[T], answer: Any) -> T:
    """An answer of JSON-able values as the dataclass that it should be. Raises HostileFile if it is something else."""
    try:
        return _adapter(kind).validate_python(answer)
    except ValidationError as error:
        raise _nonsense("") from error


@functools.cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


# Made while a function starts, rather than with its first file: that takes longer than to check most answers.
for _kind in (Inventory, Header):
    _adapter(_kind)


def _array(answer: Any, name: str = "") -> Array | None:
    """The array that an answer is, or holds under a name."""
    if name:
        answer = cast("dict[str, Any]", answer).get(name) if isinstance(answer, dict) else None
    return cast("Array", answer) if isinstance(answer, np.ndarray) else None


def _matrices(header: Header) -> list[MatrixHeader]:
    return [matrix for matrix in (header.x, header.raw_x, *header.layers) if matrix is not None]


def _fits(values: Array, mask: Array | None, header: ColumnHeader, rows: int) -> bool:
    """Whether these are rows of such a column; who looks up codes among the categories may rely on it."""
    if values.shape != (rows,) or values.dtype.name != ("object" if header.dtype == "str" else header.dtype):
        return False
    if header.categories is not None and rows and not -1 <= values.min() <= values.max() < header.categories:
        return False
    return mask is None or (mask.shape == (rows,) and mask.dtype == bool)


def _nonsense(where: str) -> HostileFile:
    return HostileFile(
        "The file makes the program that reads it answer nonsense.",
        code="file.crashes_reader",
        where=where,
        hint="Load it with anndata.read_h5ad, if that works, and write it anew with write_h5ad.",
    )

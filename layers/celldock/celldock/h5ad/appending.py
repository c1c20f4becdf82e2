"""Appends columns and elements to an h5ad file: the parent's side, which hands them to the child block by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, cast

import numpy as np

from celldock.errors import ServiceFault
from celldock.h5ad.additions import Additions, Array, NewColumn, NewValue
from celldock.h5ad.appended import AppendedFile, assemble
from celldock.h5ad.sandbox.parent import Session
from celldock.h5ad.source import ByteSource
from celldock.h5ad.spool import Spool

_BLOCK_ROWS = 65_536
_KINDS = {
    "categorical": "iu",
    "string": "O",
    "boolean": "b",
    "integer": "iu",
    "float": "f",
    "nullable-integer": "iu",
    "nullable-boolean": "b",
}


def append(session: Session, source: ByteSource, additions: Additions, spool: Spool) -> AppendedFile:
    """Makes the additions in the child that has the file open; see `H5adFile.append`."""
    with session.keeping(spool):
        session.call(
            "append_start",
            columns=[[column.frame, column.name, column.to] for column in additions.renamed_columns],
            elements=[[element.path, element.to] for element in additions.renamed_elements],
        )
        for index in additions.indexes:
            session.call("append_index", frame=index.frame, rows=index.rows, former=index.former)
            _send_rows(session, NewColumn(index.frame, "index", "string", index.rows, index.blocks), "append")
        for column in additions.columns:
            send_column(session, column, "append")
        for element in additions.elements:
            value = _plain(element.value)
            session.call("append_element", path=element.path, value=value, replaces=element.replaces)
        removed: dict[str, list[str]] = {}
        for column in additions.removed_columns:
            removed.setdefault(column.frame, []).append(column.name)
        elements = list(additions.removed_elements)
        size = session.call("append_finish", removed_columns=removed, removed_elements=elements)
    return assemble(source, spool, size if type(size) is int else 0)


def send_column(session: Session, column: NewColumn, operation: str) -> None:
    """Hands a column to the child block by block, to its operations `<operation>_column` and `<operation>_rows`.

    Raises ServiceFault for values that are not what the column says.
    """
    plan: dict[str, Any] = {item.name: getattr(column, item.name) for item in fields(column) if item.name != "blocks"}
    session.call(f"{operation}_column", column=plan)
    _send_rows(session, column, operation)


def _send_rows(session: Session, column: NewColumn, operation: str) -> None:
    rows = 0
    for block in _even_blocks(column):
        _check(column, block)
        rows += len(block)
        mask = np.ma.getmaskarray(block) if column.kind.startswith("nullable") else None
        # What is masked may be anything: the same column is to give the same bytes.
        values = block if mask is None else np.where(mask, 0, np.ma.getdata(block)).astype(block.dtype)
        session.call(f"{operation}_rows", values=values, mask=mask)
    if rows != column.rows:
        raise ServiceFault(
            f"{column.frame}/{column.name} came with {rows:,} values instead of {column.rows:,}.",
            code="additions.wrong_length",
        )


def _even_blocks(column: NewColumn) -> Iterator[Array]:
    """The column in blocks of one length, whatever lengths it comes in: the file's bytes must not depend on them."""
    waiting: list[Array] = []
    held = 0
    for block in column.blocks():
        start = 0
        while start < len(block):
            piece = block[start : start + _BLOCK_ROWS - held]
            start, held = start + len(piece), held + len(piece)
            waiting.append(piece)
            if held == _BLOCK_ROWS:
                yield _joined(waiting)
                waiting, held = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(blocks: list[Array]) -> Array:
    if len(blocks) == 1:
        return blocks[0]
    masked = any(isinstance(block, np.ma.MaskedArray) for block in blocks)
    return cast("Array", np.ma.concatenate(blocks)) if masked else np.concatenate(blocks)


def _check(column: NewColumn, block: Array) -> None:
    """Raises ServiceFault for values that are not what the column says of itself."""
    fits = block.ndim == 1 and block.dtype.kind in _KINDS[column.kind]
    if fits and column.kind == "categorical":
        fits = -1 <= int(block.min()) <= int(block.max()) < len(column.categories)
    elif fits and column.dtype:
        fits = block.dtype.name == column.dtype
    if not fits:
        where = f"{column.frame}/{column.name}"
        raise ServiceFault(f"{where} came with values that are no {column.kind}.", code="additions.wrong_values")


def _plain(value: NewValue) -> Any:
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value

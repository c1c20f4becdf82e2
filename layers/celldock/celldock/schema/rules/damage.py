"""Rules that read everything which later steps read: damaged bytes are the submitter's to mend, not a failed run."""

from __future__ import annotations

from collections.abc import Iterator

from celldock.errors import InvalidSubmission
from celldock.h5ad.frames import iter_blocks
from celldock.report import Finding
from celldock.schema.registry import Context, rule

_ROWS = 65_536


@rule("{frame}.columns.damaged")
def columns_damaged(context: Context, *, frame: str) -> Iterator[Finding]:
    """The values of every column can be read. Memory: one block of rows, or the categories, of one column."""
    header = context.frame(frame)
    for column in header.columns:
        if column.kind == "unsupported":
            continue
        try:
            for start, stop in iter_blocks(context.file.column_length(column), _ROWS):
                context.file.column(column, start, stop)
            context.file.categories(column)
        except InvalidSubmission as error:
            yield context.finding(column.path, error.message, suggestion=error.hint)


@rule("obsm.damaged")
def obsm_damaged(context: Context) -> Iterator[Finding]:
    """The values of every array of obsm can be read. Memory: one block of rows of one array."""
    for array in context.header.obsm:
        if array.kind != "dense" or not array.shape:
            continue
        try:
            context.array(array)
        except InvalidSubmission as error:
            yield context.finding(array.path, error.message, suggestion=error.hint)

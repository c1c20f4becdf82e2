"""Rules about the file as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from celldock.report import Finding
from celldock.schema.registry import Context, rule
from celldock.schema.words import ROWS


@rule("file.encoding")
def root_encoding(
    context: Context, *, encoding_type: str, encoding_version: str, older: bool = False
) -> Iterator[Finding]:
    """The file says which encoding of AnnData it is in, and it is the one that the schema asks for.

    `older` says whether the encoding of AnnData before 0.8, which has no name, is accepted too.
    """
    header = context.header
    accepted = [(encoding_type, encoding_version), *([("", "")] if older else [])]
    if (header.encoding_type, header.encoding_version) in accepted:
        return
    found = f"{header.encoding_type} {header.encoding_version}".strip()
    message = (
        f"The file is in the encoding {found}, where {encoding_type} {encoding_version} is required."
        if found
        else "The file was written by AnnData before version 0.8, whose encoding is no longer accepted."
    )
    yield context.finding(
        "", message, suggestion="Load it with anndata.read_h5ad in anndata 0.8 or later and write it with write_h5ad."
    )


@rule("{frame}.empty")
def no_rows(context: Context, *, frame: str) -> Iterator[Finding]:
    """There is at least one cell, and at least one gene."""
    if context.frame(frame).length == 0:
        yield context.finding(
            frame,
            f"The file has no {ROWS[frame].many}: {frame} has zero rows.",
            suggestion="A filter may have removed everything: check the shape of the AnnData before you write it.",
        )

"""Files as formats get them."""

from __future__ import annotations

from pathlib import Path

from celldock.formats.protocol import Subject
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.source import ByteSource, LocalSource


def subject_of(file: Path | ByteSource) -> Subject:
    """A file with its header and layout."""
    source = LocalSource(file) if isinstance(file, Path) else file
    with open_h5ad(source) as opened:
        header = opened.header()
        return Subject(source, header, opened.layout(header, []))

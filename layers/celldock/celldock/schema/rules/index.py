"""Unique names of cells and genes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from celldock.h5ad.frames import iter_blocks
from celldock.h5ad.headers import FrameHeader
from celldock.report import Finding
from celldock.report.model import MAX_EXAMPLES
from celldock.schema.registry import Context, rule
from celldock.schema.words import ROWS

_TEXT = ("string", "nullable-string")
_BLOCK = 65_536
_MAX_CONFIRMED = 1_000


@rule("{frame}.index.type")
def index_type(context: Context, *, frame: str) -> Iterator[Finding]:
    """Cells and genes are named by text."""
    header = context.frame(frame)
    if header.length and (header.index_kind not in _TEXT or not header.index):
        noun = ROWS[frame]
        numbered = header.index_kind in ("integer", "float") or not header.index
        yield context.finding(
            header.index or header.path,
            f"{noun.many.capitalize()} in {frame} are numbered, where each must have a name."
            if numbered
            else f"The names of {noun.many} in {frame} are stored as {header.index_kind}, where text is required.",
            count=header.length,
            suggestion=f"Set adata.{frame}_names to their {'barcodes' if frame == 'obs' else 'Ensembl ids'}, as text.",
        )


@rule("{frame}.index.duplicates")
def index_duplicates(context: Context, *, frame: str) -> Iterator[Finding]:
    """No two cells, and no two genes, share a name.

    Memory: 8 bytes a row for hashes, and one block of names. Equal hashes are confirmed by the names themselves, so
    that a chance collision is never reported.
    """
    header = context.frame(frame)
    suspects, rows = _repeated_hashes(context, header)
    if not len(suspects):
        return
    counts = _count_names(context, header, suspects[:_MAX_CONFIRMED])
    repeated = {name: count for name, count in counts.items() if count > 1}
    if not repeated:
        return
    noun = ROWS[frame]
    if len(suspects) <= _MAX_CONFIRMED:
        rows = sum(repeated.values())
    examples = sorted(repeated.items(), key=lambda item: -item[1])[:MAX_EXAMPLES]
    yield context.finding(
        header.index,
        f"{noun.of(rows)} share their name with another, but each name in {frame} must be unique.",
        count=rows,
        examples=[f"{name} ({noun.of(count)})" for name, count in examples],
        suggestion=_suggestion(frame),
    )


def _repeated_hashes(context: Context, header: FrameHeader) -> tuple[np.ndarray, int]:
    """The hashes that occur more than once, and how many rows have them.

    Python's own hash of a string is 64 bits wide and keyed anew in each process: nobody can craft collisions.
    """
    hashes = np.empty(header.length, dtype=np.int64)
    for start, stop in iter_blocks(header.length, _BLOCK):
        names = context.file.index(header, start, stop)
        hashes[start:stop] = np.fromiter(map(hash, names), dtype=np.int64, count=stop - start)
    hashes.sort()
    same = hashes[1:] == hashes[:-1]
    suspects = np.unique(hashes[1:][same])
    return suspects, int(np.count_nonzero(same)) + len(suspects)


def _count_names(context: Context, header: FrameHeader, suspects: np.ndarray) -> Counter[str]:
    wanted = set(suspects.tolist())
    counts: Counter[str] = Counter()
    for start, stop in iter_blocks(header.length, _BLOCK):
        counts.update(name for name in context.file.index(header, start, stop) if hash(name) in wanted)
    return counts


def _suggestion(frame: str) -> str:
    if frame == "obs":
        return (
            "Barcodes of several samples may have been joined: put the sample's name before each, "
            "or call adata.obs_names_make_unique()."
        )
    return "Genes are identified by Ensembl id, not by symbol: use the ids, and sum or drop genes that occur twice."

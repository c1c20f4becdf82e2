"""The one way to say that the bytes of a submission are not what its structure promises."""

from __future__ import annotations

from celldock.errors import InvalidSubmission


def damaged(where: str, problem: str) -> InvalidSubmission:
    """The refusal of damaged bytes. `where` is a path inside the file, `problem` ends the sentence that it begins."""
    return InvalidSubmission(
        f"{where} is damaged: {problem}.",
        code="file.damaged",
        where=where,
        hint="Check that the file opens on your machine (anndata.read_h5ad), then upload it again.",
    )

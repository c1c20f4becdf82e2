"""Rules about obsm: arrays with a row for each cell, and among them at least one embedding."""

from __future__ import annotations

from collections.abc import Iterator

from celldock.h5ad.headers import ArrayHeader
from celldock.report import Finding
from celldock.schema.registry import Context, rule
from celldock.schema.words import ROWS

_PREFIX = "X_"
_INTEGER_OR_FLOAT = ("int", "uint", "float")


@rule("obsm.not_array")
def obsm_not_array(context: Context) -> Iterator[Finding]:
    """Every element of obsm is a plain array."""
    names = {"sparse": "a sparse matrix", "frame": "a data frame", "other": "not an array of numbers"}
    for array in context.header.obsm:
        if array.kind != "dense":
            yield context.finding(
                array.path,
                f"{array.path} is {names[array.kind]}, where a plain array is required.",
                suggestion=f"Set adata.obsm[{array.key!r}] to a NumPy array of numbers, or leave it out.",
            )


@rule("obsm.rows")
def obsm_rows(context: Context) -> Iterator[Finding]:
    """Every element of obsm has a row for each cell."""
    for array in context.header.obsm:
        if array.shape and array.shape[0] != context.header.n_obs:
            yield context.finding(
                array.path,
                f"{array.path} has {array.shape[0]:,} rows, but the file has {ROWS['obs'].of(context.header.n_obs)}.",
                suggestion="Subset the AnnData as a whole (adata[cells]), so that its embeddings stay with its cells.",
            )


@rule("obsm.embedding_missing")
def embedding_missing(context: Context) -> Iterator[Finding]:
    """There is at least one embedding, named X_ and something."""
    if _embeddings(context):
        return
    candidates = [array.key for array in context.header.obsm if array.kind == "dense" and _columns(array) > 1]
    yield context.finding(
        "obsm",
        "The file has no embedding: obsm has no element whose name begins with X_.",
        suggestion=f"If obsm[{candidates[0]!r}] is an embedding, rename it to {_PREFIX + candidates[0]!r}."
        if candidates
        else "Add one, a UMAP for example: scanpy.tl.umap stores it as adata.obsm['X_umap'].",
    )


@rule("obsm.embedding_dimensions")
def embedding_dimensions(context: Context) -> Iterator[Finding]:
    """Every embedding is two-dimensional with at least two columns."""
    for array in _embeddings(context):
        if array.kind == "dense" and (len(array.shape) != 2 or _columns(array) < 2):
            yield context.finding(
                array.path,
                f"{array.path} has the shape {' × '.join(map(str, array.shape))}, but an embedding needs two or more "
                "coordinates for each cell.",
                suggestion=f"Set adata.obsm[{array.key!r}] to an array of one row a cell and at least two columns.",
            )


@rule("obsm.embedding_dtype")
def embedding_dtype(context: Context) -> Iterator[Finding]:
    """The coordinates of every embedding are integers or floating-point numbers."""
    for array in _embeddings(context):
        if array.kind == "dense" and not array.dtype.startswith(_INTEGER_OR_FLOAT):
            yield context.finding(
                array.path,
                f"{array.path} holds values of type {array.dtype}, but coordinates are numbers.",
                suggestion=f"Convert it: adata.obsm[{array.key!r}].astype('float32').",
            )


def _embeddings(context: Context) -> list[ArrayHeader]:
    return [array for array in context.header.obsm if array.key.startswith(_PREFIX)]


def _columns(array: ArrayHeader) -> int:
    return array.shape[1] if len(array.shape) > 1 else 0

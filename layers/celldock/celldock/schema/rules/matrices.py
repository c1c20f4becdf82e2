"""Rules about the shapes of X, raw.X and the layers, decided from their headers."""

from __future__ import annotations

from collections.abc import Iterator

from celldock.h5ad.headers import MatrixHeader
from celldock.report import Finding
from celldock.schema.registry import Context, Skip, rule
from celldock.schema.words import shape


@rule("x.missing")
def x_missing(context: Context) -> Iterator[Finding]:
    """There is a matrix X."""
    if context.header.x is not None:
        return
    where_else = [matrix.path for matrix in (context.header.raw_x, *context.header.layers) if matrix is not None]
    yield context.finding(
        "X",
        "The file has no X, the matrix of cells by genes that is shown and shared.",
        suggestion=f"There is a matrix in {where_else[0]}: put it, or its normalised form, in X."
        if where_else
        else "Set adata.X before you write the file.",
    )


@rule("x.shape")
def x_shape(context: Context) -> Iterator[Finding]:
    """X has a row for each row of obs and a column for each row of var."""
    if context.header.x is None:
        raise Skip
    yield from _compare(context, context.header.x)


@rule("raw.incomplete")
def raw_incomplete(context: Context) -> Iterator[Finding]:
    """A raw matrix comes with its genes, and the other way round."""
    has_x, has_var = context.header.raw_x is not None, context.header.raw_var is not None
    if has_x != has_var:
        missing, present = ("raw/var", "raw/X") if has_x else ("raw/X", "raw/var")
        yield context.finding(
            missing,
            f"The file has {present} but not {missing}; both belong together.",
            suggestion="Set adata.raw from an AnnData that has the raw counts in X, then write the file again.",
        )


@rule("raw.shape")
def raw_shape(context: Context) -> Iterator[Finding]:
    """raw.X has the same cells and genes as X, and as many genes as raw.var names."""
    raw, genes = context.header.raw_x, context.header.raw_var
    if raw is None:
        raise Skip
    if genes is not None and raw.shape[1] != genes.length:
        yield context.finding(
            raw.path,
            f"{raw.path} has {raw.shape[1]:,} genes, but raw/var names {genes.length:,}.",
            suggestion="Set adata.raw anew from an AnnData that holds the raw counts, then write the file again.",
        )
    yield from _compare(context, raw)


@rule("layers.shape")
def layers_shape(context: Context) -> Iterator[Finding]:
    """Every layer has the same cells and genes as X."""
    for layer in context.header.layers:
        yield from _compare(context, layer)


def _compare(context: Context, matrix: MatrixHeader) -> Iterator[Finding]:
    expected = (context.header.n_obs, context.header.n_vars)
    if matrix.shape == expected:
        return
    transposed = matrix.shape == expected[::-1]
    yield context.finding(
        matrix.path,
        f"{matrix.path} has {shape(*matrix.shape)}, but obs and var have {shape(*expected)}.",
        suggestion=f"{matrix.path} looks transposed: cells must be its rows and genes its columns."
        if transposed
        else _suggestion(matrix.shape, expected),
    )


def _suggestion(found: tuple[int, int], expected: tuple[int, int]) -> str:
    if found[0] == expected[0]:
        return "Keep the genes that were filtered out in X too, as zeros flagged in var's feature_is_filtered."
    return "Subset the AnnData as a whole (adata[cells, genes]), so that its matrices and tables stay together."

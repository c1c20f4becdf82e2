"""Rules about obsm and its like: arrays with a row for each cell, and among them at least one embedding.

An embedding is an array whose name begins with X_, or that has one of the names that a rule is given as `also`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from celldock.errors import InvalidSubmission
from celldock.h5ad.headers import ArrayHeader
from celldock.report import Finding
from celldock.schema.arrays import ArrayFacts
from celldock.schema.registry import Context, Skip, rule
from celldock.schema.spatial import SPATIAL, is_single, is_spatial
from celldock.schema.words import ROWS

_PREFIX = "X_"
_INTEGER_OR_FLOAT = ("int", "uint", "float")
_KINDS = {"sparse": "a sparse matrix", "frame": "a data frame", "other": "not an array of numbers"}


@rule("obsm.not_array")
def obsm_not_array(context: Context) -> Iterator[Finding]:
    """Every element of obsm is a plain array."""
    for array in context.header.obsm:
        if not _is_array(array):
            yield context.finding(
                array.path,
                f"{array.path} is {_KINDS[array.kind]}, where a plain array is required.",
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


@rule("obsm.pre_analysis")
def obsm_pre_analysis(context: Context) -> Iterator[Finding]:
    """A file of a pre-analysis collection has no obsm."""
    keys = [array.key for array in context.header.obsm]
    if keys and context.setting.pre_analysis:
        yield context.finding(
            "obsm",
            "The file has obsm, which a file of a pre-analysis collection must not have.",
            count=len(keys),
            examples=keys,
            suggestion="Remove it: del adata.obsm.",
        )


@rule("obsm.embedding_missing")
def embedding_missing(
    context: Context, *, visium: str = "", beads: str = "", before_analysis: bool = False
) -> Iterator[Finding]:
    """There is at least one embedding, named X_ and something; for a spatial assay any array of two columns will do.

    `before_analysis` says whether pre-analysis files need one too.
    """
    arrays = context.header.obsm
    if any(array.key.startswith(_PREFIX) for array in arrays) or (not before_analysis and context.setting.pre_analysis):
        return
    candidates = [array.key for array in arrays if array.kind == "dense" and _columns(array) > 1]
    if candidates and visium and _is_known_spatial(context, visium, beads):
        return
    others = [key for key in candidates if not _is_spatial_key(key)]
    yield context.finding(
        "obsm",
        "The file has no embedding: obsm has no element whose name begins with X_.",
        suggestion=f"If obsm[{others[0]!r}] is an embedding, rename it to {_PREFIX + others[0]!r}."
        if others
        else "Add one, a UMAP for example: scanpy.tl.umap stores it as adata.obsm['X_umap'].",
    )


@rule("obsm.embedding_dimensions")
def embedding_dimensions(context: Context, *, also: Sequence[str] = ()) -> Iterator[Finding]:
    """Every element has two dimensions, and every embedding two columns or more."""
    embeddings = _embeddings(context, also)
    for array in context.header.obsm:
        if not _is_array(array):
            continue
        shape = " × ".join(map(str, array.shape))
        if array in embeddings and (len(array.shape) != 2 or _columns(array) < 2):
            yield context.finding(
                array.path,
                f"{array.path} has the shape {shape}, but an embedding needs two or more coordinates for each cell.",
                suggestion=f"Set adata.obsm[{array.key!r}] to an array of one row a cell and at least two columns.",
            )
        elif array not in embeddings and len(array.shape) != 2:
            yield context.finding(
                array.path,
                f"{array.path} has the shape {shape}, but each element of obsm is a table of one row a cell.",
                suggestion=f"Set adata.obsm[{array.key!r}] to an array of two dimensions, or put it in uns.",
            )


@rule("obsm.key")
def obsm_key(context: Context, *, pattern: str) -> Iterator[Finding]:
    """The names of embeddings after X_, and those of other elements, match a pattern."""
    keys = {array.key for array in context.header.obsm}
    for array in context.header.obsm:
        prefix = _PREFIX if array.key.startswith(_PREFIX) else ""
        name = array.key.removeprefix(prefix)
        if not re.fullmatch(pattern, name):
            plain = re.sub(r"[^a-zA-Z0-9_.-]+", "_", name).lstrip("0123456789_.-").rstrip("_")
            better = prefix + plain
            free = re.fullmatch(pattern, plain) and better not in keys
            yield context.finding(
                array.path,
                f"The name {array.key!r} in obsm needs a letter {f'after {_PREFIX}' if prefix else 'at its start'}, "
                "and then letters, digits, underscores, dots and hyphens alone.",
                suggestion=f"Rename it to {better!r}." if free else "Name it after the method that made it.",
            )


@rule("obsm.x_spatial")
def obsm_x_spatial(context: Context) -> Iterator[Finding]:
    """No embedding is called X_spatial: coordinates in the tissue have a name of their own."""
    for array in context.header.obsm:
        if array.key.startswith(_PREFIX) and _is_spatial_key(array.key.removeprefix(_PREFIX)):
            yield context.finding(
                array.path,
                f"{array.key!r} is no name for an embedding: coordinates in the tissue are called {SPATIAL!r}.",
                suggestion=f"If it holds the coordinates in the tissue, rename it to {SPATIAL!r}; else to what it is.",
            )


@rule("obsm.embedding_dtype")
def embedding_dtype(context: Context, *, also: Sequence[str] = ()) -> Iterator[Finding]:
    """The coordinates of every embedding are integers or floating-point numbers."""
    for array in _embeddings(context, also):
        if not array.dtype.startswith(_INTEGER_OR_FLOAT):
            yield context.finding(
                array.path,
                f"{array.path} holds values of type {array.dtype}, but coordinates are numbers.",
                suggestion=f"Convert it: adata.obsm[{array.key!r}].astype('float32').",
            )


@rule("obsm.infinite")
def obsm_infinite(context: Context, *, also: Sequence[str] = ()) -> Iterator[Finding]:
    """No coordinate of an embedding is infinite."""
    for array, facts in _facts(context, also):
        found = facts.infinite
        if found.values:
            yield context.finding(
                array.path,
                f"{array.path} has {found.values:,} infinite values in {ROWS['obs'].of(found.rows)}.",
                count=found.values,
                examples=context.names("obs", found.first),
                suggestion="Compute the embedding anew, or leave these cells out: an infinite value comes from a "
                "division by zero or an overflow.",
            )


@rule("obsm.all_nan")
def obsm_all_nan(context: Context) -> Iterator[Finding]:
    """No embedding holds nothing but NaN."""
    for array, facts in _facts(context, ()):
        if facts.all_nan:
            yield context.finding(
                array.path,
                f"{array.path} holds nothing but NaN: it places no cell anywhere.",
                count=facts.nan.rows,
                suggestion=f"Compute it anew, or leave it out: del adata.obsm[{array.key!r}].",
            )


@rule("obsm.spatial.nan")
def obsm_spatial_nan(context: Context) -> Iterator[Finding]:
    """Coordinates in the tissue are there for every cell."""
    for array, facts in _facts(context, (SPATIAL,)):
        if _is_spatial_key(array.key) and facts.nan.values:
            yield context.finding(
                array.path,
                f"{array.path} has no coordinates (NaN) for {ROWS['obs'].of(facts.nan.rows)}.",
                count=facts.nan.rows,
                examples=context.names("obs", facts.nan.first),
                suggestion="Fill them in from the positions that the instrument's software wrote, matched by barcode, "
                "or leave these cells out.",
            )


@rule("obsm.spatial.missing")
def obsm_spatial_missing(context: Context, *, visium: str, beads: str) -> Iterator[Finding]:
    """A single section or array has the coordinates of its spots or beads, unless it may not have obsm at all."""
    keys = [array.key for array in context.header.obsm]
    single = is_spatial(context, visium=visium, beads=beads) and is_single(context)
    if SPATIAL in keys or not single or context.setting.pre_analysis:
        return
    near = [key for key in keys if _is_spatial_key(key.removeprefix(_PREFIX))]
    yield context.finding(
        f"obsm/{SPATIAL}",
        f"The file is one section or array (uns['spatial']['is_single'] is True), but obsm has no {SPATIAL!r}.",
        suggestion=f"If obsm[{near[0]!r}] holds the coordinates in the tissue, rename it to {SPATIAL!r}."
        if near
        else "Add the positions of its spots or beads: for Visium the pixel columns of tissue_positions.csv.",
    )


@rule("obsm.spatial.not_expected")
def obsm_spatial_not_expected(context: Context, *, visium: str, beads: str) -> Iterator[Finding]:
    """Only files of spatial assays have coordinates in the tissue."""
    found = [array for array in context.header.obsm if array.key == SPATIAL]
    if found and not is_spatial(context, visium=visium, beads=beads):
        yield context.finding(
            found[0].path,
            f"obsm has {SPATIAL!r}, but none of the assays is one that is allowed it: kinds of Visium, and bead-based "
            "ones as Slide-seqV2.",
            suggestion=f"Correct assay_ontology_term_id if it is one of these; else del adata.obsm[{SPATIAL!r}].",
        )


@rule("obsm.not_shown")
def obsm_not_shown(context: Context, *, also: Sequence[str] = ()) -> Iterator[Finding]:
    """Arrays that are no embedding by their name are kept, but nobody will see them."""
    others = [array.key for array in context.header.obsm if not array.key.startswith(_PREFIX) and array.key not in also]
    if others:
        yield context.finding(
            "obsm",
            f"obsm has {len(others):,} element{'s' if len(others) > 1 else ''} that will not be shown as an embedding.",
            count=len(others),
            examples=others,
            suggestion=f"Put {_PREFIX} before the name of each that is an embedding; leave out what nobody needs.",
        )


@rule("{slot}.empty")
def arrays_empty(context: Context, *, slot: str) -> Iterator[Finding]:
    """No array of obsm, obsp, varm or varp is without values, in a file that has cells and genes."""
    header = context.header
    if 0 in (header.n_obs, header.n_vars):
        raise Skip
    slots = {"obsm": header.obsm, "obsp": header.obsp, "varm": header.varm, "varp": header.varp}
    for array in slots[slot]:
        if _is_array(array) and 0 in array.shape:
            yield context.finding(
                array.path,
                f"{array.path} has the shape {' × '.join(map(str, array.shape))}: it holds no values.",
                suggestion=f"Leave it out: del adata.{slot}[{array.key!r}].",
            )


def _is_array(array: ArrayHeader) -> bool:
    """Whether AnnData reads it as a NumPy array: of numbers, or in two dimensions of text or complex numbers too."""
    texts = array.dtype == "str" or array.dtype.startswith("complex")
    return array.kind == "dense" or (array.kind == "other" and texts and len(array.shape) > 1)


def _embeddings(context: Context, also: Sequence[str]) -> list[ArrayHeader]:
    """The arrays that are embeddings: by their name's beginning, or by a name in `also`, in whatever case."""
    return [
        array
        for array in context.header.obsm
        if _is_array(array) and (array.key.startswith(_PREFIX) or array.key.casefold() in also)
    ]


def _facts(context: Context, also: Sequence[str]) -> Iterator[tuple[ArrayHeader, ArrayFacts]]:
    """The embeddings of numbers whose values can be read; the rule `obsm_damaged` tells of the others."""
    for array in _embeddings(context, also):
        if array.kind != "dense" or not array.shape:
            continue
        try:
            facts = context.array(array)
        except InvalidSubmission:
            continue
        yield array, facts


def _is_known_spatial(context: Context, visium: str, beads: str) -> bool:
    try:
        return is_spatial(context, visium=visium, beads=beads)
    except Skip:
        return False


def _is_spatial_key(key: str) -> bool:
    return key.casefold() == SPATIAL


def _columns(array: ArrayHeader) -> int:
    return array.shape[1] if len(array.shape) > 1 else 0

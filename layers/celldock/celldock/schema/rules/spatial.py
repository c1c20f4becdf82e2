"""Rules about spatial files: whether uns['spatial'] is there, what it says of the file, and the raw counts of spots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from celldock.h5ad.headers import ElementHeader, MatrixHeader
from celldock.report import Finding
from celldock.schema.facts import Array
from celldock.schema.registry import Context, Skip, rule
from celldock.schema.spatial import (
    IS_SINGLE,
    SPATIAL,
    by_assay,
    is_single,
    is_single_visium,
    is_spatial,
    is_visium,
    libraries,
    spatial_below,
)
from celldock.schema.words import ROWS, Noun

_PATH = f"uns/{SPATIAL}"
_SINGLE_PATH = f"{_PATH}/{IS_SINGLE}"
_WHEN_SINGLE = "if the file is one Visium section or one array of beads; False if it joins several or is a part of one."
_SET_SPATIAL = f"Set adata.uns['spatial'] = {{'is_single': True}} {_WHEN_SINGLE}"
_SET_SINGLE = f"Set adata.uns['spatial']['is_single'] = True {_WHEN_SINGLE}"
_TRUTH = {"true": True, "1": True, "1.0": True, "yes": True, "false": False, "0": False, "0.0": False, "no": False}
_IN_TISSUE = "in_tissue"
_SPOT = Noun("spot", "spots")


@rule("uns.spatial.missing")
def spatial_missing(context: Context, *, visium: str, beads: str) -> Iterator[Finding]:
    """A file of a spatial assay has uns['spatial']."""
    if is_spatial(context, visium=visium, beads=beads) and context.uns_header(SPATIAL) is None:
        yield context.finding(
            _PATH,
            "The assay is spatial, but no uns['spatial'] says whether the file is a single section or array.",
            suggestion=_SET_SPATIAL,
        )


@rule("uns.spatial.type")
def spatial_type(context: Context, *, visium: str, beads: str) -> Iterator[Finding]:
    """uns['spatial'] is a dictionary."""
    found = context.uns_header(SPATIAL)
    if found is None:
        raise Skip
    if is_spatial(context, visium=visium, beads=beads) and found.kind != "dict":
        yield context.finding(
            _PATH,
            "uns['spatial'] is not a dictionary.",
            suggestion=_SET_SPATIAL,
        )


@rule("uns.spatial.not_expected")
def spatial_not_expected(context: Context, *, visium: str, beads: str) -> Iterator[Finding]:
    """Only files of spatial assays have uns['spatial']."""
    if context.uns_header(SPATIAL) is not None and not is_spatial(context, visium=visium, beads=beads):
        yield context.finding(
            _PATH,
            "The file has uns['spatial'], but none of the assays is one that is allowed it: kinds of Visium, and "
            "bead-based ones as Slide-seqV2.",
            suggestion="Correct assay_ontology_term_id if the assay is one of these, else del adata.uns['spatial'].",
        )


@rule("uns.spatial.is_single.missing")
def is_single_missing(context: Context, *, visium: str, beads: str) -> Iterator[Finding]:
    """uns['spatial'] says whether the file is a single section or array."""
    below = spatial_below(context)
    if is_spatial(context, visium=visium, beads=beads) and IS_SINGLE not in below:
        yield context.finding(
            _SINGLE_PATH,
            "uns['spatial'] does not say whether the file is a single section or array: it has no 'is_single'.",
            suggestion=_SET_SINGLE,
        )


@rule("uns.spatial.is_single.type")
def is_single_type(context: Context, *, visium: str, beads: str) -> Iterator[Finding]:
    """is_single is True or False."""
    found = spatial_below(context).get(IS_SINGLE)
    if found is None:
        raise Skip
    if is_spatial(context, visium=visium, beads=beads) and is_single(context) is None:
        meant = _meant(context, found)
        yield context.finding(
            _SINGLE_PATH,
            "uns['spatial']['is_single'] is neither True nor False.",
            suggestion=_SET_SINGLE if meant is None else f"Set adata.uns['spatial']['is_single'] = {meant}.",
        )


@rule("uns.spatial.libraries")
def spatial_libraries(context: Context, *, visium: str) -> Iterator[Finding]:
    """A Visium section has one library."""
    found = libraries(context, visium)
    if len(found) > 1:
        yield context.finding(
            _PATH,
            f"uns['spatial'] has {len(found):,} keys besides 'is_single', but a section has one library.",
            count=len(found),
            examples=found,
            suggestion="Submit each section as a file of its own; or, where the file joins several, set is_single to "
            "False and leave the libraries out.",
        )


@rule("uns.spatial.library.missing")
def library_missing(context: Context, *, visium: str) -> Iterator[Finding]:
    """A single Visium section has its library: the images and the scale factors."""
    if is_single_visium(context, visium) and not libraries(context, visium):
        yield context.finding(
            _PATH,
            "The file is one Visium section, but uns['spatial'] has no library with its images and scale factors.",
            suggestion="Add uns['spatial'][<library>] with 'images' and 'scalefactors': scanpy.read_visium reads them "
            "from the folder that Space Ranger wrote.",
        )


@rule("uns.spatial.library.not_expected")
def library_not_expected(context: Context, *, visium: str, beads: str) -> Iterator[Finding]:
    """Only a single Visium section has a library."""
    found = [name for name in spatial_below(context) if name != IS_SINGLE]
    if not found or not is_spatial(context, visium=visium, beads=beads) or is_single_visium(context, visium):
        return
    why = "is_single is False" if is_visium(context, visium) else "the assay is not Visium"
    yield context.finding(
        _PATH,
        f"uns['spatial'] has keys besides 'is_single', which only a single Visium section has, but {why}.",
        count=len(found),
        examples=found,
        suggestion=f"Leave them out: del adata.uns['spatial'][{found[0]!r}].",
    )


@rule("obs.is_primary_data.not_single")
def not_single_is_not_primary(context: Context) -> Iterator[Finding]:
    """A file that joins sections or arrays, or is a part of one, is no primary data."""
    if is_single(context) is not False:
        return
    primary = context.column("obs", "is_primary_data").used.get(True, 0)
    if primary:
        yield context.finding(
            "obs/is_primary_data",
            f"is_primary_data is True for {ROWS['obs'].of(primary)}, but the file is not a single section or array "
            "(uns['spatial']['is_single'] is False).",
            count=primary,
            suggestion="Set adata.obs['is_primary_data'] = False: each section or array on its own is primary data.",
        )


@rule("raw.visium_rows")
def visium_rows(context: Context, *, visium: str, rows: int, rows_by_assay: Mapping[str, int]) -> Iterator[Finding]:
    """The raw matrix of a single Visium section has all spots of its slide, those outside the tissue too."""
    if not is_single_visium(context, visium):
        return
    raw, expected = _raw(context), by_assay(context, rows_by_assay, rows)
    found = raw.shape[0]
    if found != expected:
        yield context.finding(
            raw.path,
            f"{raw.path} has {found:,} rows, but a single section of this Visium assay has {expected:,} spots.",
            suggestion="Use Space Ranger's raw_feature_bc_matrix, which has the spots outside the tissue too, and not "
            "filtered_feature_bc_matrix; for a part of a section set is_single to False."
            if found < expected
            else "Submit each section as a file of its own, or set is_single to False for a file that joins several.",
        )


@rule("raw.in_tissue_empty")
def in_tissue_empty(context: Context, *, visium: str) -> Iterator[Finding]:
    """Every spot inside the tissue of a single Visium section has a count."""
    if not is_single_visium(context, visium):
        return
    raw = _raw(context)
    counts = _nonzeros(context, raw)
    empty = np.flatnonzero(counts == 0)
    empty = empty[_in_tissue(context)[empty] == 1]
    if len(empty):
        yield context.finding(
            raw.path,
            f"{raw.path} has no counts at all for {_SPOT.of(len(empty))} inside the tissue.",
            count=len(empty),
            examples=context.names("obs", empty[:10].tolist()),
            suggestion="Check that positions and rows of the matrix were matched by barcode, and that the counts "
            "are those of Space Ranger's raw_feature_bc_matrix.",
        )


@rule("raw.off_tissue_empty")
def off_tissue_empty(context: Context, *, visium: str) -> Iterator[Finding]:
    """Of the spots outside the tissue of a single Visium section, at least one has a count."""
    if not is_single_visium(context, visium):
        return
    raw = _raw(context)
    counts = _nonzeros(context, raw)
    outside = _in_tissue(context) == 0
    if outside.any() and not counts[outside].any():
        yield context.finding(
            raw.path,
            f"{raw.path} has no counts for any of {_SPOT.of(int(np.count_nonzero(outside)))} outside the tissue.",
            count=int(np.count_nonzero(outside)),
            suggestion="They were emptied or added later: use Space Ranger's raw_feature_bc_matrix as it is.",
        )


def _meant(context: Context, header: ElementHeader) -> bool | None:
    """The truth value that was meant by a number or a word; None where that cannot be told."""
    if header.kind != "scalar":
        return None
    value = str(context.uns(f"{SPATIAL}/{IS_SINGLE}")).strip().casefold()
    return _TRUTH.get(value)


def _raw(context: Context) -> MatrixHeader:
    """The matrix of raw counts: raw.X, or X without it."""
    raw = context.header.raw_x or context.header.x
    if raw is None:
        raise Skip
    return raw


def _nonzeros(context: Context, raw: MatrixHeader) -> Array:
    """Non-zeros of each row of the raw counts, shape (n_obs,)."""
    scan = context.scanned().matrix(raw.path)
    if scan is None or scan.rows is None or raw.shape[0] != context.header.n_obs:
        raise Skip
    return scan.rows.nnz


def _in_tissue(context: Context) -> Array:
    """The column in_tissue; raises Skip unless it holds integers. Memory: one integer a row."""
    column = context.column_header("obs", _IN_TISSUE)
    if column.kind != "integer":
        raise Skip
    rows = context.header.n_obs
    return np.concatenate([blocks[0].values for _, blocks in context.tables.blocks([column], rows)])

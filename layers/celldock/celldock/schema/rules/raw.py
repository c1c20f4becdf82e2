"""Rules about raw counts, which most assays require: in raw.X, or in X where no normalised matrix is provided.

`without_raw` are the assays that need none: these terms and what is below them in the ontology. `paired` are terms that
an assay is below all of if it measures RNA too, and so needs raw counts after all. `none` is what a file says in
uns['X_normalization'] of an X that holds the raw counts, in versions of the schema that have it; it is believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from celldock.h5ad.headers import MatrixHeader
from celldock.h5ad.layout import Array
from celldock.report import Finding
from celldock.report.model import MAX_EXAMPLES
from celldock.scan import DefectKind, MatrixScan
from celldock.schema.registry import Context, Skip, rule
from celldock.schema.rules.conditions import uns_text
from celldock.schema.rules.values import in_memory, not_finite_in
from celldock.schema.spatial import is_single_visium
from celldock.schema.words import ROWS, Noun

_ASSAY = "assay_ontology_term_id"
_IN_TISSUE = "in_tissue"
_NORMALIZATION = "uns/X_normalization"
_VALUES = Noun("value", "values")


@rule("raw.missing")
def raw_missing(
    context: Context, *, without_raw: Sequence[str], paired: Sequence[str] = (), none: str = ""
) -> Iterator[Finding]:
    """A file without raw.X has counts in X, if an assay requires them."""
    header, scan = _required(context, without_raw, paired)
    if context.header.has_raw or _holds_counts(scan) or _said_to_be_raw(context, none):
        return
    fractions = scan.defects[DefectKind.NON_INTEGER]
    yield context.finding(
        "raw/X",
        f"The raw counts are missing: there is no raw.X, and {header.path} has {_VALUES.of(fractions.values)} in "
        f"{ROWS['obs'].of(fractions.rows)} other than whole numbers.",
        examples=context.names("obs", fractions.first),
        suggestion=_where_counts_are(context)
        or "Set adata.raw to an AnnData of the same cells and genes that has in X the counts from before they were "
        "normalised.",
    )


@rule("raw.dtype")
def raw_dtype(
    context: Context, *, dtype: str, without_raw: Sequence[str], paired: Sequence[str] = ()
) -> Iterator[Finding]:
    """Raw counts are stored in that type."""
    header, _ = _counts(context, without_raw, paired)
    if header.dtype != dtype:
        yield context.finding(
            header.path,
            f"The raw counts in {header.path} are stored as {header.dtype}, where {dtype} is required.",
            suggestion=f"Set adata.raw anew from an AnnData whose X is counts.astype({dtype!r})."
            if header.path.startswith("raw")
            else f"Set adata.X = adata.X.astype({dtype!r}).",
        )


@rule("raw.not_integer")
def raw_not_integer(
    context: Context, *, without_raw: Sequence[str], paired: Sequence[str] = (), none: str = "", estimates: bool = False
) -> Iterator[Finding]:
    """Raw counts are whole numbers; `estimates` says whether estimated fragments, which are not, may be raw counts."""
    header, scan = _counts(context, without_raw, paired, none)
    found = scan.defects[DefectKind.NON_INTEGER]
    if found.values:
        yield context.finding(
            header.path,
            f"{header.path} has {_VALUES.of(found.values)} in {ROWS['obs'].of(found.rows)} other than whole numbers, "
            f"but raw counts are whole{', unless they are estimates' if estimates else ''}.",
            count=found.values,
            examples=context.names("obs", found.first),
            suggestion=_where_counts_are(context)
            or "Put the counts there as they were before they were normalised, scaled or corrected; estimated counts "
            f"(of RSEM, salmon, kallisto) {'may stay as they are' if estimates else 'are rounded'}.",
        )


@rule("raw.negative")
def raw_negative(
    context: Context, *, without_raw: Sequence[str], paired: Sequence[str] = (), none: str = ""
) -> Iterator[Finding]:
    """Raw counts are positive."""
    header, scan = _counts(context, without_raw, paired, none)
    found = scan.defects[DefectKind.NEGATIVE]
    if found.values:
        yield context.finding(
            header.path,
            f"{header.path} has {_VALUES.of(found.values)} below zero in {ROWS['obs'].of(found.rows)}, but raw counts "
            "are positive.",
            count=found.values,
            examples=context.names("obs", found.first),
            suggestion=_where_counts_are(context)
            or "Negative values come from scaling or batch correction: put the counts from before it there.",
        )


@rule("raw.not_finite")
def raw_not_finite(
    context: Context, *, without_raw: Sequence[str], paired: Sequence[str] = (), none: str = ""
) -> Iterator[Finding]:
    """Raw counts are finite numbers, in raw.X or in X."""
    _, scan = _counts(context, without_raw, paired, none)
    yield from not_finite_in(context, scan)


@rule("raw.empty_cells")
def raw_empty_cells(
    context: Context, *, without_raw: Sequence[str], paired: Sequence[str] = (), visium: str = ""
) -> Iterator[Finding]:
    """Each cell has a raw count that is not zero.

    A single section of an assay below `visium` has spots outside the tissue, and a rule of its own.
    """
    header, scan = _counts(context, without_raw, paired)
    found = scan.defects[DefectKind.EMPTY_ROW]
    if found.rows and not (visium and _has_spots(context, visium)):
        yield context.finding(
            header.path,
            f"{header.path} has no count at all for {ROWS['obs'].of(found.rows)}.",
            count=found.rows,
            examples=context.names("obs", found.first),
            suggestion="Leave these cells out of the whole AnnData, as scanpy.pp.filter_cells does by the counts in X.",
        )


@rule("raw.identical_cells")
def raw_identical_cells(
    context: Context, *, without_raw: Sequence[str], paired: Sequence[str] = ()
) -> Iterator[Finding]:
    """No two cells have the same raw counts for all genes; spots outside the tissue and cells without counts may.

    Memory: about 80 bytes a cell.
    """
    header, scan = _counts(context, without_raw, paired)
    if scan.rows is None:
        raise Skip
    considered = scan.rows.nnz > 0
    outside = _outside_tissue(context, len(considered))
    if outside is not None:
        considered &= ~outside
    groups = scan.rows.duplicates(considered)
    if not len(groups):
        return
    first = [group[:2].tolist() for group, _ in zip(groups, range(MAX_EXAMPLES), strict=False)]
    yield context.finding(
        header.path,
        f"{ROWS['obs'].of(len(groups.rows))} have the same counts as another cell for all genes, in "
        f"{len(groups):,} {'group' if len(groups) == 1 else 'groups'}.",
        count=len(groups.rows),
        examples=[" = ".join(context.names("obs", pair)) for pair in first],
        suggestion="A sample may have been added twice, or a filter of genes has left nothing by which cells differ: "
        "keep one cell of each group, or all genes.",
    )


@rule("x.not_normalised")
def not_normalised(context: Context, *, without_raw: Sequence[str], paired: Sequence[str] = ()) -> Iterator[Finding]:
    """A normalised matrix comes with the raw counts, if an assay requires these."""
    header, scan = _required(context, without_raw, paired)
    if not context.header.has_raw and _holds_counts(scan):
        yield context.finding(
            header.path,
            "The file has raw counts alone, in X: a normalised matrix beside them is strongly recommended.",
            suggestion="Keep the counts as adata.raw = adata.copy(), then normalise X: scanpy.pp.normalize_total "
            "and scanpy.pp.log1p.",
        )


@rule("uns.X_normalization.contradicts_raw")
def normalization_contradicts(
    context: Context, *, none: str, without_raw: Sequence[str], paired: Sequence[str] = ()
) -> Iterator[Finding]:
    """uns['X_normalization'] is `none` where X holds the raw counts for want of a raw.X, and only there."""
    stated = uns_text(context, _NORMALIZATION)
    if stated is None:
        raise Skip
    if stated == none and context.header.has_raw:
        yield context.finding(
            _NORMALIZATION,
            f"uns['X_normalization'] is {none!r}, but the file has raw, which goes with an X that is normalised.",
            suggestion="Set it to the name of the method that made X; if X holds the raw counts, del adata.raw.",
        )
    if stated == none or context.header.has_raw:
        return
    header, scan = _required(context, without_raw, paired)
    if _holds_counts(scan):
        yield context.finding(
            _NORMALIZATION,
            f"uns['X_normalization'] is {stated!r}, but {header.path} has whole numbers alone, as raw counts are, and "
            "there is no raw.X.",
            suggestion=f"Set it to {none!r} if X holds the raw counts; else add these as adata.raw.",
        )


def _required(context: Context, without_raw: Sequence[str], paired: Sequence[str]) -> tuple[MatrixHeader, MatrixScan]:
    """What should hold the raw counts: raw.X, or else X.

    Raises Skip if no assay requires them, as far as assays are known, and if the values were not scanned.
    """
    assays = [value.partition(" ")[0] for value in context.column("obs", _ASSAY).used if isinstance(value, str)]
    terms = context.reference.terms(assays)
    # An assay that nobody knows is told by another rule, and most likely one that measures RNA.
    above = [{assay, *terms[assay].ancestors} if assay in terms else {assay} for assay in assays]
    if all(each.intersection(without_raw) and not (paired and each.issuperset(paired)) for each in above):
        raise Skip
    header = context.header.raw_x or context.header.x
    scan = context.scanned().matrix(header.path) if header else None
    if header is None or scan is None:
        raise Skip
    return header, scan


def _counts(
    context: Context, without_raw: Sequence[str], paired: Sequence[str], none: str = ""
) -> tuple[MatrixHeader, MatrixScan]:
    """The same; raises Skip also where X is no matrix of counts, so that the counts are missing altogether."""
    header, scan = _required(context, without_raw, paired)
    if header is not context.header.raw_x and not (_holds_counts(scan) or _said_to_be_raw(context, none)):
        raise Skip
    return header, scan


def _said_to_be_raw(context: Context, none: str) -> bool:
    """Whether the file says that X holds its raw counts."""
    return bool(none) and uns_text(context, _NORMALIZATION) == none


def _holds_counts(scan: MatrixScan) -> bool:
    return not scan.defects[DefectKind.NON_INTEGER].values


def _where_counts_are(context: Context) -> str:
    """Which other matrix could be the raw counts."""
    for header in (*context.header.layers, context.header.x):
        scan = context.scanned().matrix(header.path) if header else None
        if header and scan and scan.nonzeros and _holds_counts(scan) and not scan.defects[DefectKind.NEGATIVE].values:
            return (
                f"{header.path} holds counts: set adata.raw = anndata.AnnData({in_memory(header.path)}, adata.obs, "
                "adata.var)."
            )
    return ""


def _has_spots(context: Context, visium: str) -> bool:
    """Whether the file is a single section of Visium that says which spots lie in the tissue."""
    try:
        return is_single_visium(context, visium) and bool(context.column("obs", _IN_TISSUE).values)
    except Skip:
        return False


def _outside_tissue(context: Context, rows: int) -> Array | None:
    """For each cell whether obs places it outside the tissue; None where it does not say."""
    try:
        column = context.column_header("obs", _IN_TISSUE)
    except Skip:
        return None
    if column.kind != "integer" or context.frame("obs").length != rows:
        return None
    outside = np.zeros(rows, np.bool)
    for start, (block,) in context.tables.blocks([column], rows):
        outside[start : start + len(block.values)] = block.values == 0
    return outside

"""A SingleCellExperiment of Bioconductor 3.16, with the assays `counts`, and `logcounts` where X is not the counts.

Its row ranges are empty: a file names its genes and says nothing of where they lie.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from celldock.formats.rds_contents import Contents, package_version
from celldock.formats.rds_xdr import S4, Kind, RList, Value, Vector, integers, logicals, named_list, texts
from celldock.h5ad.frames import iter_blocks

_VERSION = (1, 20, 0)
_ROWS = 1 << 20


def single_cell_experiment(contents: Contents) -> S4:
    """The object, ready to be written."""
    cells, genes = contents.n_cells, contents.n_genes
    reductions = {reduction.name: values for reduction, values in contents.reductions.items()}
    internal = {"reducedDims": _frame(reductions, cells, contents.cells), "altExps": _frame({}, cells)}
    internal["colPairs"] = _frame({}, cells)
    metadata: dict[str, Value] = {"uns": contents.uns, "celldock": contents.source}
    return S4(
        "SingleCellExperiment",
        "SingleCellExperiment",
        {
            "int_elementMetadata": _frame({"rowPairs": _frame({}, genes)}, genes),
            "int_colData": _frame(internal, cells),
            "int_metadata": named_list({"version": package_version(*_VERSION), "mainExpName": None}),
            "rowRanges": _row_ranges(contents),
            "colData": _frame(contents.obs, cells, contents.cells),
            "assays": _assays(contents),
            "NAMES": None,
            "elementMetadata": _frame({}, genes),
            "metadata": named_list(metadata),
        },
    )


def _frame(columns: Mapping[str, Value], rows: int, names: Value = None) -> S4:
    """A `DataFrame`, which unlike R's data frames has columns of any kind."""
    return S4(
        "DFrame",
        "S4Vectors",
        {
            "rownames": names,
            "nrows": integers([rows]),
            "elementType": texts(["ANY"]),
            "elementMetadata": None,
            "metadata": RList([]),
            "listData": RList([*columns.values()], {"names": texts(columns)}),
        },
    )


def _assays(contents: Contents) -> S4:
    assays: dict[str, Value] = {}
    if contents.counts is not None:
        assays["counts"] = contents.sparse_matrix(contents.counts)
    if contents.data is not contents.counts:
        assays["logcounts"] = contents.sparse_matrix(contents.data)
    data = {"listData": named_list(assays), **_annotated("ANY")}
    return S4("SimpleAssays", "SummarizedExperiment", {"data": S4("SimpleList", "S4Vectors", data)})


def _row_ranges(contents: Contents) -> S4:
    """No range for each gene; the columns of var are their metadata."""
    ends = (np.zeros(stop - start, np.int32) for start, stop in iter_blocks(contents.n_genes, _ROWS))
    partitioning: dict[str, Value] = {
        "end": Vector(Kind.INTEGER, contents.n_genes, ends),
        "NAMES": contents.genes,
        **_annotated("ANY"),
    }
    return S4(
        "CompressedGRangesList",
        "GenomicRanges",
        {
            "unlistData": _no_ranges(),
            "elementMetadata": _frame(contents.var, contents.n_genes),
            "elementType": texts(["GRanges"]),
            "metadata": RList([]),
            "partitioning": S4("PartitioningByEnd", "IRanges", partitioning),
        },
    )


def _no_ranges() -> S4:
    ranges: dict[str, Value] = {"start": integers([]), "width": integers([]), "NAMES": None, **_annotated("ANY")}
    seqinfo: dict[str, Value] = {
        "seqnames": texts([]),
        "seqlengths": integers([]),
        "is_circular": logicals([]),
        "genome": texts([]),
    }
    return S4(
        "GRanges",
        "GenomicRanges",
        {
            "seqnames": _runs(),
            "ranges": S4("IRanges", "IRanges", ranges),
            "strand": _runs("+", "-", "*"),
            "seqinfo": S4("Seqinfo", "GenomeInfoDb", seqinfo),
            "elementMetadata": _frame({}, 0),
            "elementType": texts(["ANY"]),
            "metadata": RList([]),
        },
    )


def _runs(*levels: str) -> S4:
    """A run-length encoded factor of no values."""
    values = integers([], levels=texts(levels), **{"class": texts(["factor"])})
    slots: dict[str, Value] = {"values": values, "lengths": integers([]), "elementMetadata": None}
    return S4("Rle", "S4Vectors", {**slots, "metadata": RList([])})


def _annotated(elements: str) -> dict[str, Value]:
    return {"elementType": texts([elements]), "elementMetadata": None, "metadata": RList([])}

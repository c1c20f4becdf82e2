"""A Seurat object of version 4: an assay with counts and data, tables of cells and genes, reductions, misc.

Its version, and the classes of its parts, are those of SeuratObject 4.1.3. SeuratObject 5.0.2, with Seurat 5.2.1, takes
it for valid as it is, works on it, and finds the same values in it after `UpdateSeuratObject`.

Genes have a dash in their names for each `_` and `|`, as in all objects that Seurat makes itself.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from celldock.formats.rds_contents import Contents, package_version
from celldock.formats.rds_layout import ASSAY, Reduction
from celldock.formats.rds_values import data_frame, empty_matrix
from celldock.formats.rds_xdr import (
    S4,
    Kind,
    RList,
    Value,
    Vector,
    logicals,
    named_list,
    reals,
    texts,
)
from celldock.h5ad.frames import iter_blocks

_PACKAGE = "SeuratObject"
_VERSION = (4, 1, 3)
_PROJECT = "SeuratProject"
_ROWS = 1 << 20


def seurat(contents: Contents) -> S4:
    """The object, ready to be written."""
    contents = replace(contents, genes=contents.features)
    reductions = {reduction.name: _reduction(reduction, values) for reduction, values in contents.reductions.items()}
    return S4(
        "Seurat",
        _PACKAGE,
        {
            "assays": named_list({ASSAY: _assay(contents)}),
            "meta.data": data_frame(contents.obs, contents.cells),
            "active.assay": texts([ASSAY]),
            "active.ident": _identities(contents),
            "graphs": RList([]),
            "neighbors": RList([]),
            "reductions": named_list(reductions),
            "images": RList([]),
            "project.name": texts([_PROJECT]),
            "misc": contents.uns,
            "version": package_version(*_VERSION),
            "commands": RList([]),
            "tools": named_list({"celldock": contents.source}),
        },
    )


def _assay(contents: Contents) -> S4:
    return S4(
        "Assay",
        _PACKAGE,
        {
            "counts": contents.sparse_matrix(contents.counts) if contents.counts is not None else empty_matrix(),
            "data": contents.sparse_matrix(contents.data),
            "scale.data": empty_matrix(),
            "key": texts([f"{ASSAY.lower()}_"]),
            "assay.orig": None,
            "var.features": logicals([]),
            "meta.features": data_frame(contents.var, contents.genes),
            "misc": RList([]),
        },
    )


def _reduction(reduction: Reduction, values: Value) -> S4:
    slots = ("empirical.p.values", "fake.reduction.scores", "empirical.p.values.full", "overall.p.values")
    return S4(
        "DimReduc",
        _PACKAGE,
        {
            "cell.embeddings": values,
            "feature.loadings": empty_matrix(),
            "feature.loadings.projected": empty_matrix(),
            "assay.used": texts([ASSAY]),
            "global": logicals([False]),
            "stdev": reals([]),
            "key": texts([reduction.key]),
            "jackstraw": S4("JackStrawData", _PACKAGE, {slot: empty_matrix() for slot in slots}),
            "misc": RList([]),
        },
    )


def _identities(contents: Contents) -> Vector:
    """One identity for all cells, as a new object has it."""
    ones = (np.ones(stop - start, np.int32) for start, stop in iter_blocks(contents.n_cells, _ROWS))
    attributes: dict[str, Value] = {
        "levels": texts([_PROJECT]),
        "names": contents.cells,
        "class": texts(["factor"]),
    }
    return Vector(Kind.INTEGER, contents.n_cells, ones, attributes)

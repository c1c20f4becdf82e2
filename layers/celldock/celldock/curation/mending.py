"""What a schema version does not allow in a matrix, as far as it can be mended: by its header and the scan's facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from celldock.curation.targets import Target, Targets
from celldock.h5ad.headers import MatrixEncoding
from celldock.h5ad.layout import Array
from celldock.h5ad.rewrites import NewEncoding
from celldock.scan import DefectKind, MatrixScan
from celldock.schema import Schema
from celldock.schema.words import Noun

_ELEMENTS = Noun("element", "elements")
_IN_ROWS = Noun("cell", "cells")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a matrix is written anew; `text` goes on after its name."""

    code: str
    text: str
    count: int = 0


@dataclass(frozen=True, slots=True)
class Demands:
    """What a schema version asks of matrices: for each kind (`x`, `raw`, `layers`) the parameters of its rules.

    `raw_dtype` is the type of raw counts; "" where any will do.
    """

    not_csr: Mapping[str, Mapping[str, Any]]
    explicit_zeros: Mapping[str, float]
    raw_dtype: str

    @classmethod
    def of(cls, schema: Schema) -> Demands:
        """Those that the schema's rules check."""
        parameters: dict[str, list[Mapping[str, Any]]] = {}
        for applied in schema.rules:
            parameters.setdefault(applied.rule.name, []).append(applied.parameters)
        return cls(
            {each["matrix"]: each for each in parameters.get("not_csr", [])},
            {each["matrix"]: each["zeros"] for each in parameters.get("explicit_zeros", [])},
            next((each["dtype"] for each in parameters.get("raw_dtype", [])), ""),
        )


def new_encoding(encoding: MatrixEncoding, share: float | None, kind: str, demands: Demands) -> NewEncoding:
    """How a matrix that is written anew is stored: by rows, but for one that is dense and has few zeros.

    `share` is that of zeros among its values; None where that is not known.
    """
    if encoding != "dense":
        return "csr"
    zeros = demands.not_csr.get(kind, {}).get("zeros", 1.0)
    return "csr" if share is not None and share >= zeros else "dense"


def zero_share(scan: MatrixScan | None, places: Array | None, rows: int, columns: int) -> float | None:
    """The share of zeros among the values of the columns that stay, in the end `columns`; None where it is unknown."""
    if scan is None or not rows * columns:
        return None
    counts = scan.genes.counts if places is None else scan.genes.counts[places >= 0]
    return 1 - int(counts.sum()) / (rows * columns)


def mends(target: Target, scan: MatrixScan, share: float | None, demands: Demands) -> Iterator[Reason]:
    """What is to be mended in a matrix that has been scanned; its values' type is no matter of this."""
    source = target.source
    rule = demands.not_csr.get(target.kind, {})
    mostly_zeros = share is not None and share >= rule.get("zeros", 1.1)
    percent = "" if share is None else f", and {int(share * 1000) / 10:g} % of its values are zeros"
    if source.encoding == "dense" and mostly_zeros:
        yield Reason("matrices.csr", f"is stored by rows (CSR) now: it was dense{percent}")
    if source.encoding == "csc" and (mostly_zeros or "csc" in rule.get("refused", ())):
        yield Reason("matrices.csr", "is stored by rows (CSR) now: it was stored by columns (CSC)")
    if source.encoding == "dense":
        return
    if scan.explicit_zeros and share is not None and share >= demands.explicit_zeros.get(target.kind, 1.1):
        text = f"stores no zeros any more: {scan.explicit_zeros:,} of {_ELEMENTS.of(scan.stored)} were"
        yield Reason("matrices.explicit_zeros", text, scan.explicit_zeros)
    repeated = scan.defects[DefectKind.REPEATED_INDEX]
    if repeated.values:
        text = f"has one value for a gene and a cell: {repeated.values:,} were added to others, in"
        yield Reason("matrices.summed", f"{text} {_IN_ROWS.of(repeated.rows)}", repeated.values)
    unsorted = scan.defects[DefectKind.UNSORTED_ROW]
    if unsorted.rows and source.encoding == "csr":
        text = f"has the genes of each cell in order: they were not in {_IN_ROWS.of(unsorted.rows)}"
        yield Reason("matrices.sorted", text, unsorted.rows)


def counts_type(target: Target, targets: Targets, scan: MatrixScan | None, demands: Demands) -> np.dtype[Any] | None:
    """The type that the raw counts have to have, for the matrix that holds them: raw.X, or X without one."""
    if not demands.raw_dtype:
        return None
    if targets.raw is None and scan is not None and not scan.defects[DefectKind.NON_INTEGER].values:
        return np.dtype(demands.raw_dtype) if target is targets.x else None
    return np.dtype(demands.raw_dtype) if target is targets.raw else None

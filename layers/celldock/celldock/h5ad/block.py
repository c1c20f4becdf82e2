"""A block of a matrix's rows, whatever way the matrix is stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celldock.errors import InvalidSubmission
from celldock.h5ad.layout import Array

REWRITE = "Write the matrix anew: anndata.read_h5ad, then write_h5ad; if it does not load, ask for the original."


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Rows of a matrix in compressed sparse row form, as they are stored: unsorted or duplicate columns stay so.

    `start` is the first row's number in the matrix; row i of the block holds `indices` and `data` of
    [indptr[i], indptr[i + 1]); `indptr` is int64 and begins with 0. `indices` are column numbers, int32 or int64,
    checked to lie within the matrix. `data` has the type of the stored values. Rows of a dense matrix come without
    their zeros.
    """

    start: int
    indptr: Array
    indices: Array
    data: Array

    @property
    def n_rows(self) -> int:
        """Rows in the block."""
        return len(self.indptr) - 1


def check_indices(path: str, indices: Array, first: int, limit: int) -> None:
    """Checks that indices lie in [0, limit); `first` is the position of the first of them in the dataset.

    Raises InvalidSubmission (`matrix.index_out_of_range`) with the first one that does not.
    """
    # As unsigned numbers, so that one comparison finds negative ones too.
    unsigned = indices.view(np.dtype(f"u{indices.dtype.itemsize}"))
    if len(indices) and int(unsigned.max()) >= limit:
        at = int((unsigned >= limit).argmax())
        raise InvalidSubmission(
            f"{path}/indices has {int(indices[at]):,} at position {first + at:,}, outside of the matrix "
            f"(0 to {limit - 1:,}); {int(np.count_nonzero(unsigned >= limit)):,} such values in this part.",
            code="matrix.index_out_of_range",
            where=f"{path}/indices",
            hint=REWRITE,
        )


def as_indices(values: Array) -> Array:
    """Stored indices as int32, or as int64 if their type can hold more; values are checked later."""
    if values.dtype in (np.int32, np.int64):
        return values
    return values.astype(np.int32 if np.can_cast(values.dtype, np.int32) else np.int64)


def row_too_large(path: str, row: int, size: int) -> InvalidSubmission:
    """The refusal of a row (or column) that alone takes more memory than there is for a block."""
    return InvalidSubmission(
        f"Row {row:,} of {path} alone takes {size:,} bytes, more than celldock reads at once.",
        code="matrix.row_too_large",
        where=path,
        hint="Check the matrix: a row should hold no gene more than once.",
    )

"""New matrices, made of those of the original while they are written: each call reads them anew, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from celldock.curation.counts import undo_log1p
from celldock.curation.ledger import CurationRefused
from celldock.curation.targets import Target, matrix_name
from celldock.curation.tidying import Tidying, UnfitError
from celldock.errors import InvalidSubmission
from celldock.h5ad.block import Block
from celldock.h5ad.file import H5adFile
from celldock.h5ad.headers import ColumnHeader, Header
from celldock.h5ad.layout import FileLayout
from celldock.h5ad.matrix import MatrixReader
from celldock.h5ad.source import ByteSource
from celldock.report import Finding
from celldock.scan import ScanResult
from celldock.scan.rows import Tile

_BUDGET = 96 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """A file that is to be curated, open as long as anything of it is written.

    `scan` is None where its values were not looked at; `scratch` is a folder for matrices that are stored by columns or
    in large chunks.
    """

    source: ByteSource
    file: H5adFile
    header: Header
    layout: FileLayout
    scan: ScanResult | None
    scratch: Path


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """The rows of a matrix that is made of another.

    `genes` are the ids of the new columns, `totals` the column of obs that undoing a normalisation takes.
    Memory: 96 MiB.
    """

    original: Original
    target: Target
    tidying: Tidying
    genes: Sequence[str]
    totals: ColumnHeader | None = None

    def blocks(self) -> Iterator[Block]:
        """All rows, in canonical form.

        Raises CurationRefused for values that cannot become what they are to be, InvalidSubmission for what is damaged,
        and what the source raises.
        """
        original = self.original
        layout = original.layout.matrices[self.target.source.path]
        reader = MatrixReader(original.source, layout, budget=_BUDGET, scratch=original.scratch)
        with closing(reader.row_blocks()) as blocks:
            for block in blocks:
                try:
                    yield from self._of(block).blocks(block)
                except UnfitError as error:
                    raise self._refusal(error) from error

    def _of(self, block: Block) -> Tidying:
        """The tidying of one block, with what it takes of obs."""
        rule = self.target.rule
        if self.totals is None or rule is None or rule.target_sum is None:
            return self.tidying
        target_sum = rule.target_sum
        totals = self.original.file.column(self.totals, block.start, block.start + block.n_rows).values
        counts = totals.astype(np.float64)
        epsilon = float(np.finfo(block.data.dtype).eps)

        def change(tile: Tile) -> np.ndarray:
            first = tile.row - block.start
            return undo_log1p(tile, counts[first : first + tile.n_rows], target_sum, epsilon)

        return replace(self.tidying, change=change)

    def _refusal(self, error: UnfitError) -> CurationRefused:
        name, source = self.target.name, matrix_name(self.target.source.path)
        cell, gene = self._cell(error.row), self.genes[error.column]
        more = f"; {error.count - 1:,} more are like it at least" if error.count > 1 else ""
        if self.totals is not None:
            suggestion = (
                f"The values may have been normalised otherwise, or {self.totals.name} may hold other totals than "
                "those that they were normalised by: look for the counts themselves."
            )
        else:
            suggestion = f"If it may be rounded: matrices: {{{name}: {{from: {source}, rounding: allow}}}}."
        finding = Finding(
            code="matrices.unfit",
            severity="error",
            where=self.target.source.path,
            message=f"{name} cannot be made of {source}: the value {error.value:.9g} of {cell} for {gene} "
            f"{error.reason}{more}.",
            count=error.count,
            examples=(f"{cell}, {gene}: {error.value:.9g}",),
            suggestion=suggestion,
        )
        return CurationRefused([finding])

    def _cell(self, row: int) -> str:
        try:
            return str(self.original.file.index(self.original.header.obs, row, row + 1)[0])
        except InvalidSubmission:
            return f"row {row:,}"

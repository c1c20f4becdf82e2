"""New matrices for those that cannot stay as they are, and the places of those that can."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from celldock.curation.alignment import Alignment
from celldock.curation.config import Curation
from celldock.curation.ledger import Ledger
from celldock.curation.mending import Demands, Reason, counts_type, mends, new_encoding, zero_share
from celldock.curation.streaming import Original, Stream
from celldock.curation.targets import Target, matrix_name
from celldock.curation.tidying import Tidying
from celldock.h5ad.headers import ColumnHeader
from celldock.h5ad.layout import Array
from celldock.h5ad.rewrites import NewMatrix
from celldock.schema.words import ROWS


class MatrixMaker:
    """Decides for each matrix of a file whether it is written anew, and tells why."""

    def __init__(
        self, original: Original, curation: Curation, demands: Demands, alignment: Alignment, ledger: Ledger
    ) -> None:
        self._original = original
        self._curation = curation
        self._demands = demands
        self._alignment = alignment
        self._ledger = ledger

    def make(self) -> tuple[tuple[NewMatrix, ...], dict[str, str], dict[str, str]]:
        """The new matrices, and which of the original's are moved and copied as they are stored."""
        matrices = self._alignment.targets.matrices
        made = {path: self._new(target) for path, target in matrices.items()}
        stay = {path for path, target in matrices.items() if made[path] is None and not target.is_moved}
        moved: dict[str, str] = {}
        copied: dict[str, str] = {}
        for path, target in matrices.items():
            if made[path] is not None or path in stay:
                continue
            source = target.source.path
            if source not in stay and source not in moved:
                moved[source] = path
            elif source not in copied:
                copied[source] = path
            else:
                # A place in the original can be copied to one place only.
                made[path] = self._new(target, again=True)
                continue
            message = f"{target.name} is {matrix_name(source)} of the original, as it is stored."
            self._ledger.change("matrices.moved", path, message)
        return tuple(matrix for matrix in made.values() if matrix is not None), moved, copied

    def _new(self, target: Target, *, again: bool = False) -> NewMatrix | None:
        """The matrix written anew; None if that is not needed."""
        source, rule, scan = target.source, target.rule, self._alignment.scan_of(target)
        places = self._alignment.of(target)
        share = zero_share(scan, places, source.shape[0], len(self._alignment.genes))
        dtype = self._dtype(target)
        reasons = [*self._asked(target, dtype), *self._gene_changes(places)]
        if self._curation.config.tidy and scan is not None:
            reasons += mends(target, scan, share, self._demands)
        if again or (reasons and target.is_moved):
            reasons.insert(0, Reason("matrices.made", f"is made of {matrix_name(source.path)}"))
        for reason in reasons:
            message = f"{target.name} {reason.text}."
            self._ledger.change(reason.code, target.path, message, reason.count)
        if not reasons:
            return None
        undone = rule is not None and rule.undo is not None
        encoding = "csr" if undone else new_encoding(source.encoding, share, target.kind, self._demands)
        rounding = rule is not None and rule.rounding == "allow"
        tidying = Tidying(source.path, dtype, places, rounding)
        totals = self._totals(target) if undone else None
        stream = Stream(self._original, target, tidying, self._alignment.genes, totals)
        shape = (source.shape[0], len(self._alignment.genes))
        return NewMatrix(target.path, shape, dtype.name, encoding, stream.blocks)

    def _dtype(self, target: Target) -> np.dtype[Any]:
        """The type that the values are to have."""
        rule = target.rule
        if rule is not None and (rule.dtype or rule.undo):
            return np.dtype(rule.dtype or np.float32)
        tidy = self._curation.config.tidy
        wanted = (
            counts_type(target, self._alignment.targets, self._alignment.scan_of(target), self._demands)
            if tidy
            else None
        )
        return wanted or np.dtype(target.source.dtype)

    def _asked(self, target: Target, dtype: np.dtype[Any]) -> Iterator[Reason]:
        """What the config says, and the type."""
        source, rule = target.source, target.rule
        if rule is not None and rule.undo:
            text = (
                f"holds counts: log1p of {matrix_name(source.path)} and its normalisation to {rule.target_sum or 0:g}"
            )
            yield Reason("matrices.counts", f"{text} were undone with {rule.totals} of obs")
        if dtype != np.dtype(source.dtype):
            yield Reason("matrices.cast", f"is stored as {dtype.name}: {matrix_name(source.path)} was {source.dtype}")

    def _gene_changes(self, places: Array | None) -> Iterator[Reason]:
        if places is None:
            return
        kept = int(np.count_nonzero(places >= 0))
        gone, new = len(places) - kept, len(self._alignment.genes) - kept
        if gone:
            yield Reason("matrices.genes_dropped", f"is without {ROWS['var'].of(gone)} of {len(places):,}", gone)
        if new:
            yield Reason("matrices.widened", f"has zeros for {ROWS['var'].of(new)} that only raw.X had", new)
        if not (gone or new) or bool((np.diff(places[places >= 0]) < 0).any()):
            yield Reason("matrices.genes_ordered", "has its genes in the order of raw.X", kept)

    def _totals(self, target: Target) -> ColumnHeader | None:
        """The column of obs with the counts of each cell; what is missing to undo a normalisation is told."""
        rule, where = target.rule, self._curation.where("matrices", target.name)
        columns = {
            column.name: column for column in self._original.header.obs.columns if column.kind in ("integer", "float")
        }
        if rule is None or rule.target_sum is None:
            self._ledger.problem(
                "matrices.no_target_sum",
                where,
                "To undo log1p it takes target_sum: what the values of each cell summed up to after normalising.",
                suggestion="Often it is 10000: target_sum: 10000.",
            )
        elif rule.totals not in columns:
            self._ledger.problem(
                "matrices.no_totals",
                where,
                f"obs has no column of numbers {rule.totals!r} with the counts of each cell from before they were "
                "normalised, without which they cannot be told.",
                examples=columns,
                suggestion="Name it: totals: n_counts, total_counts or nCount_RNA, as programs call it.",
            )
        elif np.dtype(target.source.dtype).kind != "f":
            message = f"{matrix_name(target.source.path)} holds whole numbers: no logarithm was taken of them."
            self._ledger.problem("matrices.not_log1p", where, message, suggestion="Take undo out of the config.")
        else:
            return columns[rule.totals]
        return None

"""The frames of a file's genes as they will be: rows for the genes that its matrices have, named by their ids."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import numpy as np

from celldock.curation.alignment import RAW_VAR, VAR, Alignment
from celldock.curation.config import Constant, Curation, Taken
from celldock.curation.filtered import filtered_column, filtered_genes
from celldock.curation.gene_frames import ChosenRows, chosen_array, chosen_frame
from celldock.curation.genes import GeneMapping
from celldock.curation.ledger import Ledger
from celldock.curation.streaming import Original
from celldock.curation.targets import Target
from celldock.h5ad.additions import NewColumn, NewIndex
from celldock.h5ad.headers import ArrayHeader
from celldock.h5ad.layout import Array
from celldock.h5ad.rewrites import NewArray, NewFrame
from celldock.schema.rules.filtered import FILTERED
from celldock.schema.words import ROWS

_RAW = "raw"
_RAW_VARM = "raw/varm"
_MOST_BYTES = 256 << 20
"""An array of varm is held whole: one of 100,000 genes and 300 components."""


class FrameMaker:
    """Makes what goes with the genes of one file: var, raw.var, varm, their ids, and feature_is_filtered."""

    def __init__(self, original: Original, curation: Curation, alignment: Alignment, ledger: Ledger) -> None:
        self._original = original
        self._curation = curation
        self._alignment = alignment
        self._ledger = ledger
        self._drops = alignment.targets.drops

    def frames(self) -> tuple[NewFrame, ...]:
        """The frames that are written anew, because matrices have other genes than they had."""
        made: list[NewFrame] = []
        if self._alignment.places[VAR] is not None:
            made.append(self._frame(VAR, self._alignment.mappings[VAR], self._fill()))
        if (raw := self._raw_base) is not None and not self._raw_stays:
            made.append(self._frame(RAW_VAR, raw, {}))
        return tuple(made)

    def arrays(self) -> tuple[NewArray, ...]:
        """The arrays of varm that are written anew. What cannot go to other genes is told."""
        if self._alignment.places[VAR] is None:
            return ()
        header, chosen = self._original.header, self._chosen(self._alignment.mappings[VAR], VAR, {})
        others = [array for array in header.varp if not self._is_dropped(array.path)]
        arrays: list[NewArray] = []
        for array in header.varm:
            if _is_plain(array):
                arrays += [] if self._is_dropped(array.path) else [chosen_array(self._original.file, array, chosen)]
            elif not self._is_dropped(array.path):
                others.append(array)
        for array in others:
            name = array.path.replace("/", ".", 1)
            self._cannot_follow(array.path, name)
        if arrays and chosen.new.any():
            message = f"varm has NaN for {ROWS['var'].of(int(np.count_nonzero(chosen.new)))} that it did not have."
            names = tuple(array.path for array in arrays)
            self._ledger.change("varm.widened", "varm", message, len(arrays), names)
        return tuple(arrays)

    def dropped(self) -> tuple[str, ...]:
        """What goes with the frames that are replaced."""
        if self._raw_base is None or self._raw_stays or self._is_dropped(_RAW_VARM):
            return ()
        paths = self._original.file.datasets()
        if self._original.header.raw_var is not None and any(path.startswith(f"{_RAW_VARM}/") for path in paths):
            self._cannot_follow(_RAW_VARM, _RAW)
        return (_RAW_VARM,) if self._original.header.raw_var is not None else ()

    def indexes(self) -> tuple[NewIndex, ...]:
        """The ids, for frames that are named otherwise."""
        bases = {VAR: self._alignment.mappings[VAR]}
        if (raw := self._raw_base) is not None:
            bases[RAW_VAR] = raw
        ids = np.array([*self._alignment.genes], object)
        return tuple(
            NewIndex(path, len(ids), lambda: [ids], base.former if base.frame.index else "")
            for path, base in bases.items()
            if self._chosen(base, path, {}).names != self._alignment.genes
        )

    def columns(self) -> tuple[NewColumn, ...]:
        """feature_is_filtered, where nobody says it."""
        rule = self._curation.config.var.get(FILTERED)
        if isinstance(rule, Constant) and self._only_raw.any():
            self._ledger.problem(
                "var.filtered_contradicts",
                self._curation.where("var", FILTERED),
                f"{FILTERED} is to be {rule.value} for all genes, but {ROWS['var'].of(int(self._only_raw.sum()))} are "
                "in raw.X alone: that is, filtered out of X.",
                suggestion="Take it out of the config: it is then derived from X and raw.X.",
            )
        if rule is not None or any(column.name == FILTERED for column in self._original.header.var.columns):
            return ()
        if self._flags is None:
            self._ledger.problem(
                "var.filtered_unknown",
                VAR,
                f"Which genes are filtered out of X is not said, and was not looked up: var has no {FILTERED}.",
                suggestion="Let the matrices be looked through (tidy: true), or say it: var: {feature_is_filtered: …}.",
            )
            return ()
        return (filtered_column(self._flags, self._ledger),)

    @cached_property
    def _raw_base(self) -> GeneMapping | None:
        """The frame of the original of which raw.var is made; None where there will be no raw."""
        raw = self._alignment.targets.raw
        if raw is None:
            return None
        axis = self._alignment.axis(raw.source)
        old = self._alignment.mappings.get(RAW_VAR)
        if axis != VAR or old is None or self._is_dropped(RAW_VAR):
            return self._alignment.mappings[axis]
        if self._alignment.places[RAW_VAR] is None:
            return old
        if old.frame.columns:
            self._ledger.problem(
                "raw.var_lost",
                RAW_VAR,
                f"The columns of raw.var would be lost: raw.X is made of {raw.source.path}, which has other genes.",
                count=len(old.frame.columns),
                examples=[column.name for column in old.frame.columns],
                suggestion="Say that they may go: drop: [raw].",
            )
        return self._alignment.mappings[VAR]

    @property
    def _raw_stays(self) -> bool:
        """Whether raw.var stays as it is stored."""
        base = self._raw_base
        if base is None or base.frame.path != RAW_VAR:
            return base is None
        return self._alignment.places[RAW_VAR] is None and not self._is_dropped(RAW_VAR)

    def _frame(self, path: str, base: GeneMapping, fill: Mapping[str, Array]) -> NewFrame:
        chosen = self._chosen(base, path, fill)
        return chosen_frame(self._original.file, base.frame, path, chosen, self._ledger)

    def _chosen(self, base: GeneMapping, path: str, fill: Mapping[str, Array]) -> ChosenRows:
        """The rows of a frame of the original for the genes that there will be."""
        genes, leading = self._alignment.genes, self._alignment.leading
        places = self._alignment.places[base.frame.path]
        rows = np.full(len(genes), -1, np.int64)
        olds = np.arange(len(base.ids)) if places is None else np.flatnonzero(places >= 0)
        rows[olds if places is None else places[olds]] = olds
        others: list[int] = leading.kept_rows.tolist()
        mine: list[int] = rows.tolist()
        names = tuple(
            base.index[row] if row >= 0 else leading.index[other] for row, other in zip(mine, others, strict=True)
        )
        place = base.frame.path.replace("/", ".")
        left_out = {name for frame, name in self._drops.columns if frame == place}
        if path != base.frame.path:
            left_out.add(FILTERED)
        nullable = bool(self._original.header.encoding_type)
        return ChosenRows(rows, names, frozenset(left_out), fill, nullable)

    def _fill(self) -> dict[str, Array]:
        """What genes that var did not have are in the columns that say which are filtered."""
        rule = self._curation.config.var.get(FILTERED)
        names = {FILTERED} | ({rule.column} if isinstance(rule, Taken) else set[str]())
        flags = self._only_raw if self._flags is None else self._flags
        return dict.fromkeys(names, flags)

    @cached_property
    def _only_raw(self) -> Array:
        """For each gene whether X does not have it at all."""
        x = self._alignment.targets.x
        found = np.ones(len(self._alignment.genes), np.bool)
        if x is None:
            return ~found
        places = self._alignment.of(x)
        found[slice(None) if places is None else places[places >= 0]] = False
        return found

    @cached_property
    def _flags(self) -> Array | None:
        """For each gene whether it is filtered; None where that takes a scan, and there was none."""
        targets = self._alignment.targets
        if targets.raw is None or targets.x is None:
            return np.zeros(len(self._alignment.genes), np.bool)
        in_x, in_raw = self._nonzeros(targets.x), self._nonzeros(targets.raw)
        return None if in_x is None or in_raw is None else filtered_genes(in_x, in_raw, self._only_raw)

    def _nonzeros(self, target: Target) -> Array | None:
        """The cells in which each gene is not zero."""
        scan, places = self._alignment.scan_of(target), self._alignment.of(target)
        if scan is None or places is None:
            return None if scan is None else scan.genes.counts
        counts = np.zeros(len(self._alignment.genes), np.int64)
        counts[places[places >= 0]] = scan.genes.counts[places >= 0]
        return counts

    def _is_dropped(self, path: str) -> bool:
        return any(path == each or path.startswith(f"{each}/") for each in self._drops.paths)

    def _cannot_follow(self, path: str, name: str) -> None:
        self._ledger.problem(
            "genes.cannot_follow",
            path,
            f"{path} belongs to the genes as they were, and cannot be taken over: some are dropped, new or in another "
            "order.",
            suggestion=f"Leave it out, and compute it anew: drop: [{name}].",
        )


def _is_plain(array: ArrayHeader) -> bool:
    """Whether it is an array of numbers, of a size that can be held."""
    if array.kind != "dense" or not array.shape:
        return False
    dtype = np.dtype(array.dtype)
    return dtype.kind in "biufc" and math.prod(array.shape) * dtype.itemsize <= _MOST_BYTES

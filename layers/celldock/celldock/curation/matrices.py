"""What must change in the matrices of a file and in the frames of its genes: decided here, done while it is written.

All matrices of a file have the same genes in the end: those of raw.X in its order, or of X where there is no raw.X. X
and the layers of fewer genes get zeros for the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from celldock.curation.alignment import RAW_VAR, VAR, Alignment
from celldock.curation.config import Curation
from celldock.curation.genes import GeneFacts, map_genes
from celldock.curation.ledger import Ledger
from celldock.curation.mending import Demands
from celldock.curation.new_frames import FrameMaker
from celldock.curation.new_matrices import MatrixMaker
from celldock.curation.streaming import Original
from celldock.curation.targets import plan_targets
from celldock.h5ad.additions import NewColumn, NewIndex
from celldock.h5ad.rewrites import Rewrite
from celldock.schema import Schema
from celldock.schema.reference import Reference

__all__ = ["MatrixPlan", "Original", "plan_matrices"]


@dataclass(frozen=True, slots=True, eq=False)
class MatrixPlan:
    """What becomes of the matrices and genes of a file.

    Attributes:
        rewrite: what is written anew; None where all may stay as it is stored.
        indexes: the ids that genes are named by from now on, for the file as it is after that.
        columns: new ones of var, for the same file.
        genes: what the ids say of the file.
        ids: of var and raw/var, as they will be.
    """

    rewrite: Rewrite | None = None
    indexes: tuple[NewIndex, ...] = ()
    columns: tuple[NewColumn, ...] = ()
    genes: GeneFacts = field(default_factory=GeneFacts)
    ids: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


def plan_matrices(
    original: Original,
    curation: Curation,
    schema: Schema,
    reference: Reference,
    ledger: Ledger,
    *,
    organism: str = "",
) -> MatrixPlan:
    """Decides what must change, and tells it. Nothing is read of the matrices until what is new is written.

    `organism` is the term of the file's organism as far as it is known. All problems go to the ledger: after one, the
    plan is of no use. Values that only turn out not to fit while they are written raise CurationRefused then.
    Memory: names and ids of all genes, and later 96 MiB. Raises InvalidSubmission for what is damaged.
    """
    targets = plan_targets(original.header, curation, ledger)
    genes = map_genes(original.file, original.header, curation, reference, ledger, organism=organism)
    alignment = Alignment(original, genes, targets, ledger)
    if not alignment.is_sound():
        return MatrixPlan(genes=genes.facts)
    frames = FrameMaker(original, curation, alignment, ledger)
    matrices, moved, copied = MatrixMaker(original, curation, Demands.of(schema), alignment, ledger).make()
    dropped = (*targets.drops.paths, *frames.dropped())
    rewrite = Rewrite(matrices, frames.frames(), frames.arrays(), moved, copied, dropped)
    ids = {VAR: alignment.genes} | ({RAW_VAR: alignment.genes} if targets.raw else {})
    return MatrixPlan(
        rewrite if rewrite.made or moved or copied or dropped else None,
        frames.indexes(),
        frames.columns(),
        genes.facts,
        ids,
    )

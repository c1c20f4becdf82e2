"""The genes that all matrices of a file have in the end, and where each matrix has them now."""

from __future__ import annotations

from collections.abc import Mapping

from celldock.curation.genes import GeneMapping, Genes
from celldock.curation.ledger import Ledger
from celldock.curation.streaming import Original
from celldock.curation.targets import Target, Targets, matrix_name
from celldock.curation.tidying import places_among
from celldock.h5ad.headers import MatrixHeader
from celldock.h5ad.layout import Array
from celldock.report.model import MAX_EXAMPLES
from celldock.scan import MatrixScan
from celldock.schema.words import ROWS

VAR = "var"
RAW_VAR = "raw/var"


class Alignment:
    """The genes of one file: those of raw.X in its order, or of X where there is no raw.X.

    Attributes:
        targets: the matrices that there will be.
        leading: the mapping of the frame whose order counts.
        genes: the ids of all genes that there will be.
        mappings: of each frame of the original, by its path.
        places: for each frame's rows their places among `genes`, -1 for those left out; None where all stay in place.
    """

    def __init__(self, original: Original, genes: Genes, targets: Targets, ledger: Ledger) -> None:
        self._original = original
        self._ledger = ledger
        self.targets = targets
        self.mappings: Mapping[str, GeneMapping] = genes.mappings
        leading = targets.raw or targets.x
        self.leading = self.mappings[self.axis(leading.source) if leading else VAR]
        self.genes = self.leading.kept
        self.places: Mapping[str, Array | None] = {
            path: places_among(mapping.ids, self.genes) for path, mapping in self.mappings.items()
        }

    def axis(self, source: MatrixHeader) -> str:
        """The path of the frame that names the columns of a matrix of the original."""
        header = self._original.header
        return header.raw_var.path if header.raw_var is not None and source is header.raw_x else VAR

    def of(self, target: Target) -> Array | None:
        """The places of the columns of what a matrix is made of."""
        return self.places[self.axis(target.source)]

    def scan_of(self, target: Target | None) -> MatrixScan | None:
        """What the scan found in what a matrix is made of; None where there is no matrix, or it was not scanned."""
        scan = self._original.scan
        return scan.matrix(target.source.path) if scan is not None and target is not None else None

    def is_sound(self) -> bool:
        """Whether the matrices have the shapes that obs and var say, can be read, and can have the same genes."""
        sources = {target.source.path: target.source for target in self.targets.matrices.values()}
        shapes = [self._has_shape(source) for source in sources.values()]
        scan = self._original.scan
        refusals = scan.refusals if scan is not None else ()
        for refusal in {refusal.path: refusal for refusal in refusals if refusal.path in sources}.values():
            self._ledger.problem(refusal.code, refusal.where, refusal.message, suggestion=refusal.hint)
        if not all(shapes):
            return False
        subsets = [self._is_subset(axis) for axis in sorted({*map(self.axis, sources.values()), VAR})]
        return all(subsets)

    def _has_shape(self, source: MatrixHeader) -> bool:
        header = self._original.header
        frame = self.mappings[self.axis(source)].frame
        expected = (header.obs.length, frame.length)
        named = source is not header.raw_x or header.raw_var is not None
        if source.shape == expected and named:
            return True
        self._ledger.problem(
            "matrices.shape",
            source.path,
            f"{matrix_name(source.path)} has {source.shape[0]:,} × {source.shape[1]:,} values, but obs and "
            f"{frame.path} name {expected[0]:,} cells and {expected[1]:,} genes."
            if named
            else f"{matrix_name(source.path)} has no raw/var that names its genes.",
            suggestion="Give the matrix as it was made: a row for each cell of obs, a column for each gene.",
        )
        return False

    def _is_subset(self, axis: str) -> bool:
        """Whether all genes of a frame are among those that the file will have."""
        if self.genes and not self.mappings[axis].ids:
            message = f"{axis} has no genes, while other matrices have some."
            self._ledger.problem("matrices.no_genes", axis, message, suggestion="Give X, and var, the genes of raw.X.")
            return False
        known = {*self.genes}
        others = [id_ for id_ in self.mappings[axis].kept if id_ not in known]
        if others:
            whose, leading = ("raw.X", "X") if axis == RAW_VAR else ("X", "raw.X")
            self._ledger.problem(
                "matrices.genes_differ",
                axis,
                f"{whose} has {ROWS['var'].of(len(others))} that {leading} does not have.",
                count=len(others),
                examples=others[:MAX_EXAMPLES],
                suggestion="Take the counts from before genes were left out, so that they have all genes of X.",
            )
        return not others

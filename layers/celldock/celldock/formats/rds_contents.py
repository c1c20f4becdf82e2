"""What R objects of one file have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from celldock.formats.rds_layout import Reduction
from celldock.formats.rds_xdr import S4, RList, Splice, Value, integers, texts


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """What an object is made of; each value but a splice can be written once.

    `cells` and `genes` are the names of each, `features` those that Seurat has for the genes; `counts` and `data` are
    the slots of the matrices, `source` what wrote the object and what of the file it does not hold, to be written last.
    """

    n_cells: int
    n_genes: int
    cells: Splice
    genes: Splice
    features: Splice
    counts: Mapping[str, Splice] | None
    data: Mapping[str, Splice]
    obs: Mapping[str, Value]
    var: Mapping[str, Value]
    reductions: Mapping[Reduction, Value]
    uns: Value
    source: Value

    def sparse_matrix(self, slots: Mapping[str, Splice]) -> S4:
        """A `dgCMatrix` of genes by cells."""
        return S4(
            "dgCMatrix",
            "Matrix",
            {
                "i": slots["i"],
                "p": slots["p"],
                "Dim": integers([self.n_genes, self.n_cells]),
                "Dimnames": RList([self.genes, self.cells]),
                "x": slots["x"],
                "factors": RList([]),
            },
        )


def package_version(*numbers: int) -> RList:
    """What R's `package_version` gives."""
    return RList([integers(numbers)], {"class": texts(["package_version", "numeric_version"])})

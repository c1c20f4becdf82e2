"""The fragment file of an ATAC dataset: a gzipped table of where each cell's DNA was open, of 10^8 lines or more.

It is checked as a stream, against the schema and against the cells of the h5ad file that it comes with.
"""

from celldock.schema.fragments.checking import Cells, Limits, check_fragments
from celldock.schema.fragments.dataset import FragmentsVerdict, validate_fragments
from celldock.schema.fragments.rules import FragmentRules, Genome, load_fragment_rules

__all__ = [
    "Cells",
    "FragmentRules",
    "FragmentsVerdict",
    "Genome",
    "Limits",
    "check_fragments",
    "load_fragment_rules",
    "validate_fragments",
]

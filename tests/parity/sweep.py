"""Terms drawn from the ontologies at random, each put into a column of a valid file."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.parity.bases import BASES, put
from tests.parity.mutations.perturbations import CONDITION
from tests.parity.mutations.terms import ASSAY, CELL_TYPE, DISEASE, ETHNICITY, SEX, STAGE, TISSUE
from tests.parity.peer import Peer

# The ontologies that a column of some file takes, by their names in cellxgene-ontology-guide.
_ONTOLOGIES: Mapping[str, Sequence[str]] = {
    ASSAY: ("EFO",),
    CELL_TYPE: ("CL", "ZFA", "FBbt", "WBbt"),
    STAGE: ("HsapDv", "MmusDv", "ZFA", "FBdv", "WBls", "UBERON"),
    DISEASE: ("MONDO", "PATO"),
    ETHNICITY: ("HANCESTRO",),
    SEX: ("PATO",),
    TISSUE: ("UBERON", "CL", "ZFA", "FBbt", "WBbt", "CVCL"),
    CONDITION: ("CHEBI", "EFO", "UniProt"),
}
_BASES = (
    *("human", "mouse", "zebrafish", "fruit_fly", "roundworm", "macaque", "cell_line", "culture", "organoid"),
    "perturbed",
)
_POOL = 400


@dataclass(frozen=True, slots=True)
class TermCase:
    """A valid file with one term in some of its cells, or in all of them where the column is the assay."""

    base: str
    column: str
    term: str

    @property
    def id(self) -> str:
        """As `term-human-CL:0000084-cell_type`."""
        return f"term-{self.base}-{self.term}-{self.column.removesuffix('_ontology_term_id')}"

    def write(self, path: Path) -> Path:
        """Makes the file, and returns its path."""
        data = BASES[self.base]()
        put(data, self.column, self.term, slice(None) if self.column == ASSAY else [0, 1])
        data.write_h5ad(path)
        return path


def draw(peer: Peer, count: int, seed: int) -> list[TermCase]:
    """Cases of which most take a term of an ontology that the column knows: the same for the same seed."""
    rng = random.Random(seed)
    pools = {
        ontology: peer.terms(ontology, _POOL, seed)
        for ontology in sorted({each for of in _ONTOLOGIES.values() for each in of})
    }
    found: dict[str, TermCase] = {}
    while len(found) < count:
        column = rng.choice(list(_ONTOLOGIES))
        base = "perturbed" if column == CONDITION else rng.choice(_BASES)
        known = rng.random() < 0.8
        ontology = rng.choice(list(_ONTOLOGIES[column]) if known else list(pools))
        case = TermCase(base, column, rng.choice(pools[ontology]))
        found[case.id] = case
    return list(found.values())

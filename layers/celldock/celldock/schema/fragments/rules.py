"""What a schema version says of fragment files, from its data file: sections, and the chromosomes of each organism."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from importlib import resources

from pydantic import BaseModel, ConfigDict


class Genome(BaseModel):
    """An organism's reference assembly: its chromosomes and scaffolds with their lengths in bases."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    chromosomes: Mapping[str, int]


class FragmentRules(BaseModel):
    """What a schema version says. `sections` are anchors in its text at `url`, by finding code.

    `organism` is the path of the dataset's organism in the h5ad file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    organism: str
    sections: Mapping[str, str]
    genomes: Mapping[str, Genome]

    def genome(self, organism: str, ancestors: Collection[str] = ()) -> Genome | None:
        """The assembly for an organism's term, or for one of the terms above it; None where there is none."""
        return next((genome for term, genome in self.genomes.items() if term == organism or term in ancestors), None)


@cache
def load_fragment_rules(version: str) -> FragmentRules | None:
    """The rules of that schema version; None for one that takes no fragment files."""
    files = {file.name: file for file in resources.files(__package__ or "").iterdir()}
    file = files.get(f"{version}.json")
    return FragmentRules.model_validate_json(file.read_bytes()) if file else None

"""What the guard found when it walked a whole file, before anything of it was read as data.

The walk itself runs where libhdf5 does: see `celldock.h5ad.hdf5.walk`. docs/hostile-files.md lists what it refuses.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Inventory:
    """How much there is in a file that passed.

    `links` counts every name in every group; `depth` is that of the deepest element (1 for a member of the root).
    `declared_bytes` is what all values of all datasets take once decoded, as their shapes say. `stored_bytes` is what
    the datasets take in the file, those of `unmeasured` datasets apart: matrices of so many chunks that only their
    chunk tables will tell. `chunks` counts the places in all chunk grids.
    """

    groups: int
    datasets: int
    attributes: int
    links: int
    depth: int
    chunks: int
    declared_bytes: int
    stored_bytes: int
    unmeasured: int

    def to_json(self) -> dict[str, Any]:
        """A document for `json.dumps`; `from_json` gives an equal inventory back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inventory that `to_json` wrote."""
        return cls(**data)

"""The proof that a file written by a `Rewrite` has what it was to take over from the original, byte by byte."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from celldock.h5ad.file import H5adFile
from celldock.h5ad.placing import Placing
from celldock.h5ad.repacking import broken, compare_stored
from celldock.h5ad.rewrites import Rewrite
from celldock.h5ad.source import ByteSource
from celldock.h5ad.spool import SpooledFile


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What was proven of a new file.

    `kept_datasets` of it have the same `kept_bytes` stored as those of the original that they were copied from, in the
    same chunks. The `text_datasets`, of strings or records, were read and written: what they store is where each string
    lies, which has changed. `moved` and `copied` are places in the original, and where what was there is now. `made`
    are the paths of what is new, `left_out` those of the original's datasets that are not in the new file.
    """

    kept_datasets: int
    kept_bytes: int
    text_datasets: int
    moved: Mapping[str, str]
    copied: Mapping[str, str]
    made: tuple[str, ...]
    left_out: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A document for `json.dumps`."""
        return asdict(self)


def prove_rewritten(
    original: H5adFile, source: ByteSource, new: H5adFile, rewritten: SpooledFile, rewrite: Rewrite
) -> Rewriting:
    """Compares all stored bytes that were copied, but those of strings; both files are open, each over its source.

    Memory: a chunk or 8 MiB of each. Raises ServiceFault (`repacking.broken`) for any difference.
    """
    placing = Placing.of(rewrite)
    before = original.datasets()
    pairs = [(path, place) for path in before for place in placing.places(path)]
    kept = {place for _, place in pairs}
    now = set(new.datasets())
    if missing := sorted(kept - now):
        raise broken(missing[0], "is missing")
    made = placing.made
    if strange := sorted(path for path in now - kept if not any(f"{path}/".startswith(f"{root}/") for root in made)):
        raise broken(strange[0], "is there, though nobody wanted it")
    compared = compare_stored(original, source, new, rewritten, pairs)
    return Rewriting(
        kept_datasets=compared.datasets,
        kept_bytes=compared.bytes,
        text_datasets=compared.texts,
        moved=dict(rewrite.moved),
        copied=dict(rewrite.copied),
        made=rewrite.made,
        left_out=tuple(sorted(set(before) - {path for path, _ in pairs})),
    )

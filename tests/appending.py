"""Appends to a file on disk, writes the new one beside it, and proves that it was only added to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from celldock.h5ad.additions import Additions
from celldock.h5ad.additivity import Additivity, prove_additivity
from celldock.h5ad.appended import Segment
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.source import LocalSource
from celldock.h5ad.spool import Spool


@dataclass(frozen=True)
class Appended:
    """The new file, the pieces that it was made of, what of the original changed, and the proof."""

    path: Path
    segments: tuple[Segment, ...]
    changed: tuple[tuple[int, int], ...]
    proof: Additivity


def append(path: Path, additions: Additions) -> Appended:
    """The file with the additions, guarded as any submission is, before and after."""
    source = LocalSource(path)
    target = path.with_name(f"{path.stem}-appended.h5ad")
    with open_h5ad(source) as original, Spool.opened(source.size) as spool:
        original.guard()
        appended = original.append(additions, spool)
        with open_h5ad(appended) as new:
            new.guard()
            proof = prove_additivity(original, new, appended, additions)
        with target.open("wb") as stream:
            appended.write_to(stream)
        assert target.stat().st_size == appended.size
        return Appended(target, appended.segments, appended.changed, proof)

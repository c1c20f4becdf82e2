"""The fragment file that belongs to an .h5ad file on this machine, found as the service finds it in its inbox."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from celldock.catalog.keys import COMPANION_SUFFIXES, FRAGMENTS, SUFFIX
from celldock_cli.outcome import CommandFailed, Exit


@dataclass(frozen=True)
class Fragments:
    """A fragment file; `passed_over` is the name of an older one that lies beside it, "" for none."""

    file: Path
    passed_over: str = ""

    @property
    def suffix(self) -> str:
        """How its key ends in the inbox: packed as its name says."""
        return next(suffix for suffix in COMPANION_SUFFIXES[FRAGMENTS] if self.file.name.endswith(_packing(suffix)))


def find_fragments(file: Path, given: Path | None) -> Fragments | None:
    """The fragment file that was given or, where none was, the newest that has the name of `file`; None for none.

    Raises CommandFailed for a given one that does not exist, or whose name does not say how it is packed.
    """
    if given is not None:
        return _given(given)
    stem = file.name.removesuffix(SUFFIX)
    there = [path for suffix in COMPANION_SUFFIXES[FRAGMENTS] if (path := file.with_name(stem + suffix)).is_file()]
    # Newest first; of two that are equally old, the one whose name comes first in the table, as in the service.
    there.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return Fragments(there[0], there[1].name if there[1:] else "") if there else None


def _given(file: Path) -> Fragments:
    if not file.is_file():
        raise CommandFailed(f"no such file: {file}", Exit.USAGE)
    endings = [_packing(suffix) for suffix in COMPANION_SUFFIXES[FRAGMENTS]]
    if not file.name.endswith(tuple(endings)):
        raise CommandFailed(
            f"{file} does not end in {' or '.join(reversed(endings))}", Exit.USAGE, "compress it: bgzip or gzip"
        )
    return Fragments(file)


def _packing(suffix: str) -> str:
    return suffix[suffix.rindex(".") :]

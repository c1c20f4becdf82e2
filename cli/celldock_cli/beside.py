"""The files that belong to an .h5ad file on this machine, found beside it as the service finds them in its inbox."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from celldock.catalog.keys import COMPANION_SUFFIXES, CURATION, FRAGMENTS, SUFFIX
from celldock_cli.outcome import CommandFailed, Exit

_HINTS = {FRAGMENTS: "compress it: bgzip or gzip", CURATION: "it is written in YAML"}


@dataclass(frozen=True)
class Beside:
    """A file of a `kind` that the catalog knows; `passed_over` is the name of an older one of its kind, "" for none."""

    kind: str
    file: Path
    passed_over: str = ""

    @property
    def suffix(self) -> str:
        """How its key ends in the inbox: packed as its name says."""
        return next(suffix for suffix in COMPANION_SUFFIXES[self.kind] if self.file.name.endswith(_ending(suffix)))


def find_beside(kind: str, file: Path, given: Path | None = None) -> Beside | None:
    """The file that was given or, where none was, the newest that has the name of `file`; None for none.

    Raises CommandFailed for a given one that does not exist, or whose name does not say what it is.
    """
    if given is not None:
        return _given(kind, given)
    stem = file.name.removesuffix(SUFFIX)
    there = [path for suffix in COMPANION_SUFFIXES[kind] if (path := file.with_name(stem + suffix)).is_file()]
    # Newest first; of two that are equally old, the one whose name comes first in the table, as in the service.
    there.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return Beside(kind, there[0], there[1].name if there[1:] else "") if there else None


def _given(kind: str, file: Path) -> Beside:
    if not file.is_file():
        raise CommandFailed(f"no such file: {file}", Exit.USAGE)
    endings = [_ending(suffix) for suffix in COMPANION_SUFFIXES[kind]]
    if not file.name.endswith(tuple(endings)):
        raise CommandFailed(f"{file} does not end in {' or '.join(reversed(endings))}", Exit.USAGE, _HINTS[kind])
    return Beside(kind, file)


def _ending(suffix: str) -> str:
    return suffix[suffix.rindex(".") :]

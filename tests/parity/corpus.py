"""Files with the verdicts that cellxgene-schema gave on them; not kept in the repository."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from tests.parity.peer import PeerVerdict

CORPORA: Mapping[str, str] = {"7.1.0": "schema_corpus.tar.xz", "2.0.0": "schema_corpus_2.0.0.tar.xz"}
"""The archive of each version of the schema."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the corpus, and the verdict on it by the flags that cellxgene-schema was called with."""

    name: str
    peer: PeerVerdict
    pre_analysis: bool
    ignore_labels: bool


def archive(version: str) -> Path | None:
    """The archive in $CELLDOCK_SHARED/data or ../shared/data; None where there is none."""
    folder = Path(os.environ.get("CELLDOCK_SHARED") or Path(__file__).parents[3] / "shared")
    path = folder / "data" / CORPORA[version]
    return path if path.is_file() else None


@cache
def entries(version: str) -> tuple[Entry, ...]:
    """What `verdicts.json` of the archive says; nothing where there is no archive."""
    path = archive(version)
    if path is None:
        return ()
    with tarfile.open(path) as files:
        (member,) = (each for each in files if PurePosixPath(each.name).name == "verdicts.json")
        stream = files.extractfile(member)
        verdicts = json.load(stream) if stream else []
    return tuple(
        Entry(
            verdict["file"],
            PeerVerdict(verdict["valid"], tuple(verdict["errors"]), tuple(verdict["warnings"])),
            verdict.get("pre_analysis", False),
            verdict.get("ignore_labels", False),
        )
        for verdict in verdicts
    )


def unpack(version: str, folder: Path) -> Path:
    """Unpacks the archive below `folder`; returns the folder that holds its files. Raises FileNotFoundError."""
    path = archive(version)
    if path is None:
        raise FileNotFoundError(CORPORA[version])
    with tarfile.open(path) as files:
        files.extractall(folder, filter="data")
    return next(folder.rglob("verdicts.json")).parent

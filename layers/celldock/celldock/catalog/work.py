"""The work area: what a step leaves behind, and when a later run may take it over.

A step writes its files first and its manifest last, so a manifest that exists speaks of files that exist. Its
fingerprint is that of all code, of the step's parameters and of the version: a later run with an equal one would
make the same bytes, and takes the earlier ones instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from celldock.canonical import canonical_json
from celldock.errors import ServiceFault

MANIFEST_VERSION: Literal[1] = 1


class StoredFile(BaseModel):
    """One file of a step and the very object version that holds it.

    `path` is relative to the step's root; `key` is absolute, since the file may lie in an earlier run's folder.
    `object_version` pins it against a late writer, and is "" where the bucket keeps no versions.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    path: str
    bytes: int
    sha256: str
    key: str
    object_version: str = ""


class StepManifest(BaseModel):
    """What a step of a run came to. `made_by_run` is the run whose work it is, this one or an earlier."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    manifest_version: Literal[1] = MANIFEST_VERSION
    step: str
    version_id: str
    run: int
    made_by_run: int
    fingerprint: str
    result: dict[str, Any]
    files: tuple[StoredFile, ...]

    def taken_over_by(self, run: int) -> StepManifest:
        """The same work as the manifest of a later run, which points to the files where they are."""
        return self.model_copy(update={"run": run})

    def file(self, path: str) -> StoredFile:
        """The file at `path`.

        Raises:
            ServiceFault: the step has left no such file.
        """
        for stored in self.files:
            if stored.path == path:
                return stored
        raise ServiceFault(f"The step {self.step} has left no {path}.", code="work.file_missing", where=self.step)


def fingerprint(step: str, version_id: str, parameters: Mapping[str, Any]) -> str:
    """The SHA-256 (hex) of everything that a step's outcome depends on: code, step, parameters, version."""
    document = {"code": code_digest(), "step": step, "parameters": parameters, "version_id": version_id}
    return hashlib.sha256(canonical_json(document)).hexdigest()


@cache
def code_digest() -> str:
    """The SHA-256 (hex) of the package's source and data files.

    Raises:
        ServiceFault: the package was shipped without its sources, so that nothing tells two releases apart.
    """
    digest = hashlib.sha256()
    sources = sorted(_sources(files("celldock"), ""), key=lambda found: found[0])
    if not sources:
        raise ServiceFault("The celldock package has no source files.", code="work.no_sources")
    for path, content in sources:
        digest.update(f"{path}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _sources(folder: Traversable, path: str) -> Sequence[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        name = f"{path}/{entry.name}"
        if entry.is_dir():
            if entry.name != "__pycache__":
                found.extend(_sources(entry, name))
        elif not entry.name.endswith(".pyc"):
            found.append((name, entry.read_bytes()))
    return found

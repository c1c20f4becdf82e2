"""The manifest of an artifact: every file with its bytes and SHA-256, one document whose own SHA-256 stands for all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self

from celldock import __version__
from celldock.canonical import canonical_json
from celldock.errors import ServiceFault
from celldock.formats.protocol import FileRecord, FormatPlan, Omission

MANIFEST_VERSION = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an artifact consists of. `files` are sorted by path, `celldock` is the version that made them."""

    format: str
    version: str
    celldock: str
    files: tuple[FileRecord, ...]
    omitted: tuple[Omission, ...]

    @property
    def bytes(self) -> int:
        """Total bytes of the files."""
        return sum(file.bytes for file in self.files)

    @property
    def sha256(self) -> str:
        """The artifact's checksum (hex): that of `to_bytes`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The document as it is stored; equal manifests give equal bytes."""
        return canonical_json({"manifest_version": MANIFEST_VERSION, **asdict(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The manifest that `to_bytes` wrote. Raises ServiceFault for another version of the document."""
        document = json.loads(data)
        version = document.pop("manifest_version", None)
        if version != MANIFEST_VERSION:
            raise ServiceFault(f"a manifest of version {version}, not {MANIFEST_VERSION}", code="manifest.version")
        files = tuple(FileRecord(**file) for file in document.pop("files"))
        omitted = tuple(Omission(**omission) for omission in document.pop("omitted"))
        return cls(**document, files=files, omitted=omitted)


def make_manifest(plan: FormatPlan, files: Sequence[FileRecord], omitted: Sequence[Omission] = ()) -> Manifest:
    """The manifest of the artifact that `files` make up; `omitted` is what the plan may not have known of.

    Raises ServiceFault if a path comes twice.
    """
    ordered = tuple(sorted(files, key=lambda file: file.path))
    if len({file.path for file in ordered}) != len(ordered):
        raise ServiceFault(f"two files of one path in {plan.format}", code="manifest.path")
    return Manifest(plan.format, plan.version, __version__, ordered, tuple(dict.fromkeys((*plan.omitted, *omitted))))

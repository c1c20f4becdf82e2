"""A folder on S3 as the formats see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from celldock.catalog.work import StoredFile
from celldock.cloud.joining import concatenate
from celldock.cloud.objects import ObjectStore
from celldock.formats.protocol import FileRecord
from celldock.formats.sink import check_path


class S3Sink:
    """A folder of a bucket as formats see it (`celldock.formats.protocol.Sink`).

    `stored` says where each file went, by its path; `known` where those of other workers are.
    """

    def __init__(
        self, store: ObjectStore, prefix: str, scratch: Path, known: Mapping[str, StoredFile] | None = None
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._scratch = scratch
        self._known = dict(known or {})
        self.stored: dict[str, StoredFile] = {}

    @property
    def scratch(self) -> Path:
        """A local folder for files in the making."""
        return self._scratch

    def put(self, path: str, local: Path) -> FileRecord:
        """Stores a finished local file under `path`; the same path twice overwrites."""
        stored = self._store.put_file(self._prefix + check_path(path), local).model_copy(update={"path": path})
        self.stored[path] = stored
        return FileRecord(path=path, bytes=stored.bytes, sha256=stored.sha256)

    def join(self, path: str, pieces: Sequence[str]) -> FileRecord:
        """One object of several; S3 puts it together by itself, but for pieces that are too small for that."""
        known = self._known | self.stored
        key = self._prefix + check_path(path)
        stored = concatenate(self._store, key, [known[piece] for piece in pieces]).model_copy(update={"path": path})
        self.stored[path] = stored
        return FileRecord(path=path, bytes=stored.bytes, sha256=stored.sha256)

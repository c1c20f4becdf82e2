"""A folder on S3 as the formats see it."""

from __future__ import annotations

from pathlib import Path

from celldock.catalog.work import StoredFile
from celldock.cloud.objects import ObjectStore
from celldock.formats.protocol import FileRecord
from celldock.formats.sink import check_path


class S3Sink:
    """A folder of a bucket as formats see it (`celldock.formats.protocol.Sink`).

    `stored` says where each file went, by its path.
    """

    def __init__(self, store: ObjectStore, prefix: str, scratch: Path) -> None:
        self._store = store
        self._prefix = prefix
        self._scratch = scratch
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

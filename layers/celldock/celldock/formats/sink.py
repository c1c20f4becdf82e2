"""Where an artifact's files go on a local disk, and which paths any sink may take."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from uuid import uuid4

from celldock.errors import ServiceFault
from celldock.formats.protocol import FileRecord

_BLOCK = 1 << 20


def check_path(path: str) -> str:
    """`path` itself if it is a plain relative path, `/`-separated, that stays inside its root.

    Raises ServiceFault otherwise: paths are made by formats, never taken from a file.
    """
    pure = PurePosixPath(path)
    plain = path == str(pure) and path != "." and not pure.is_absolute() and ".." not in pure.parts
    if not plain or "\\" in path or not path.isprintable():
        raise ServiceFault(f"not a path inside an artifact: {path!r}", code="sink.path", where=path)
    return path


class LocalSink:
    """Puts files under a local folder; each appears whole or not at all.

    Example: `LocalSink(Path("out"), scratch).put("part-00000.parquet", scratch / "part.parquet")`.
    """

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._folder = folder
        self._scratch = scratch

    @property
    def scratch(self) -> Path:
        """A local folder for files in the making; emptied by the owner."""
        return self._scratch

    def put(self, path: str, local: Path) -> FileRecord:
        """Copies `local` to `path` below the folder. Raises ServiceFault for a path that leaves the folder."""
        return self._write(path, [local])

    def join(self, path: str, pieces: Sequence[str]) -> FileRecord:
        """Writes the files at `pieces` one after the other to `path`. Raises as `put` does."""
        return self._write(path, [self._folder / check_path(piece) for piece in pieces])

    def _write(self, path: str, originals: Iterable[Path]) -> FileRecord:
        target = self._folder / check_path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.parent.resolve().is_relative_to(self._folder.resolve()):
            raise ServiceFault(f"a link leads {path!r} out of the folder", code="sink.path", where=path)
        unfinished = target.with_name(f".{uuid4().hex}.part")
        digest, size = hashlib.sha256(), 0
        try:
            with unfinished.open("xb") as copy:
                for original in originals:
                    with original.open("rb") as file:
                        while block := file.read(_BLOCK):
                            digest.update(block)
                            size += copy.write(block)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
        return FileRecord(path, size, digest.hexdigest())

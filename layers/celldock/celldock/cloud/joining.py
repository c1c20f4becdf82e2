"""One object of several others, in their order: S3 copies what is large enough, only the rest passes through here."""

from __future__ import annotations

from collections.abc import Sequence

from celldock.catalog.work import StoredFile
from celldock.cloud.composing import MIN_PART_BYTES
from celldock.cloud.objects import MAX_COPY_BYTES, ObjectStore, PartUpload, Place
from celldock.errors import NotFeasible

_CONTENT_TYPE = "application/octet-stream"


def concatenate(store: ObjectStore, key: str, pieces: Sequence[StoredFile]) -> StoredFile:
    """The object at `key`, with the SHA-256 of all of it. Memory: twice what S3 asks of a part (10 MiB).

    Raises NotFeasible for more bytes than can be published, ObjectGone where a piece has been deleted.
    """
    size = sum(piece.bytes for piece in pieces)
    if size > MAX_COPY_BYTES:
        raise NotFeasible(
            f"The file would take {size:,} bytes, more than the {MAX_COPY_BYTES:,} of one that can be published.",
            code="format.too_large",
            where=key.rpartition("/")[2],
        )
    if size < MIN_PART_BYTES:
        content = b"".join(store.get_bytes(piece.key, piece.object_version) for piece in pieces)
        return store.put_bytes(key, content, _CONTENT_TYPE)
    with store.parts(key) as upload:
        joining = _Joining(store, upload)
        for piece in pieces:
            joining.add(piece)
        joining.finish()
    return store.seal(key, upload.object_version, _CONTENT_TYPE)


class _Joining:
    """An upload that grows piece by piece; S3 wants 5 MiB or more of every part but the last."""

    def __init__(self, store: ObjectStore, upload: PartUpload) -> None:
        self._store = store
        self._upload = upload
        self._number = 0
        self._held = b""

    def add(self, piece: StoredFile) -> None:
        """The next bytes. What is held back is filled up from the piece first."""
        start = 0
        if self._held:
            start = min(piece.bytes, MIN_PART_BYTES - len(self._held))
            self._held += self._read(piece, 0, start)
            if len(self._held) < MIN_PART_BYTES:
                return
            self._put()
        if piece.bytes - start < MIN_PART_BYTES:
            self._held = self._read(piece, start, piece.bytes)
            return
        self._number += 1
        place = Place(self._store.bucket, piece.key, piece.object_version)
        self._upload.copy(self._number, place, start, piece.bytes)

    def finish(self) -> None:
        """The last part."""
        if self._held:
            self._put()

    def _put(self) -> None:
        self._number += 1
        self._upload.put(self._number, self._held)
        self._held = b""

    def _read(self, piece: StoredFile, start: int, stop: int) -> bytes:
        return self._store.source(piece.key, piece.object_version, piece.bytes).read(start, stop - start)

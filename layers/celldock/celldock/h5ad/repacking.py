"""A file written anew with nothing in it but what its objects reach, and the proof that it holds the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, NamedTuple

from celldock.errors import HostileFile, ServiceFault
from celldock.h5ad.file import H5adFile
from celldock.h5ad.sandbox.limits import Limits
from celldock.h5ad.source import ByteSource
from celldock.h5ad.spool import Spool
from celldock.h5ad.storage import Storage

LIMITS = Limits(cpu_seconds=800, call_seconds=800)
"""Of the file that is written anew: all of its bytes go through one call."""

_BATCH = 512
_BLOCK_BYTES = 8 * 1024 * 1024
_TEXT = ("|O", "|V")
"""How the types of strings begin, and of records, which may have some."""


@dataclass(frozen=True, slots=True)
class RepackedFile:
    """The new file of `size` bytes, as a source; it is in a spool, which must stay open."""

    name: str
    size: int
    spool: Spool

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`."""
        if not 0 <= offset <= offset + length <= self.size:
            raise ValueError("beyond the end of the file")
        return self.spool.read(offset, length)

    def write_to(self, target: BinaryIO) -> None:
        """Writes the whole file, a few MiB at a time."""
        for start in range(0, self.size, _BLOCK_BYTES):
            target.write(self.read(start, min(_BLOCK_BYTES, self.size - start)))


@dataclass(frozen=True, slots=True)
class Repacking:
    """What was proven of a file that was written anew, and why it was.

    `compared_datasets` have the same `compared_bytes` stored, in the same chunks. The `text_datasets`, of strings or
    records, were read and written: what they store is where each string lies, which has changed.
    """

    reason: str
    compared_datasets: int
    compared_bytes: int
    text_datasets: int

    def to_json(self) -> dict[str, Any]:
        """A document for `json.dumps`."""
        return asdict(self)


def repack(original: H5adFile, source: ByteSource, spool: Spool) -> RepackedFile:
    """Writes an open file anew into an empty spool. The guard must have passed it; it is open with `LIMITS`.

    Memory: one stored chunk in the child. Raises InvalidSubmission where the file is damaged.
    """
    size = original.repack(spool)
    if not 0 < size <= spool.length:
        raise HostileFile(
            "The file makes the program that writes it anew do nonsense.",
            code="file.crashes_reader",
            where=source.name,
            hint="Load it with anndata.read_h5ad, if that works, and write it anew with write_h5ad.",
        )
    return RepackedFile(source.name, size, spool)


def prove_repacked(
    original: H5adFile, source: ByteSource, new: H5adFile, repacked: RepackedFile, reason: str
) -> Repacking:
    """Compares all stored bytes but those of strings; both files are open, each over its source.

    Memory: a chunk or 8 MiB of each. Raises ServiceFault (`repacking.broken`) for any difference.
    """
    paths = original.datasets()
    if sorted(paths) != sorted(new.datasets()):
        raise _broken(source.name, "has other datasets")
    compared = total = texts = 0
    for path, then, since in _stored(original, new, paths):
        if (then.dtype, then.shape) != (since.dtype, since.shape):
            raise _broken(path, "is of another type or shape")
        if then.dtype.startswith(_TEXT):
            texts += 1
            continue
        if then.sizes != since.sizes:
            raise _broken(path, "is stored in other pieces")
        for before, after, size in zip(then.offsets, since.offsets, then.sizes, strict=True):
            _compare(source, before, repacked, after, size, path)
        compared += 1
        total += sum(then.sizes)
    return Repacking(reason, compared, total, texts)


class _Stored(NamedTuple):
    """A dataset, and where its pieces lie."""

    dtype: str
    shape: tuple[int, ...]
    offsets: list[int]
    sizes: list[int]


def _stored(original: H5adFile, new: H5adFile, paths: list[str]) -> Iterator[tuple[str, _Stored, _Stored]]:
    at = 0
    while at < len(paths):
        then, since = original.storage(paths[at : at + _BATCH]), new.storage(paths[at : at + _BATCH])
        # Either may have told of fewer datasets than it was asked for.
        told = min(len(then.heads), len(since.heads))
        batch = paths[at : at + told]
        at += told
        yield from zip(batch, _datasets(then, told), _datasets(since, told), strict=True)


def _datasets(storage: Storage, count: int) -> Iterator[_Stored]:
    at = 0
    for head in storage.heads[:count]:
        pieces = slice(at, at + head.pieces)
        at += head.pieces
        yield _Stored(head.dtype, head.shape, storage.offsets[pieces].tolist(), storage.sizes[pieces].tolist())


def _compare(source: ByteSource, before: int, repacked: RepackedFile, after: int, size: int, path: str) -> None:
    for start in range(0, size, _BLOCK_BYTES):
        length = min(_BLOCK_BYTES, size - start)
        if source.read(before + start, length) != repacked.read(after + start, length):
            raise _broken(path, "has other bytes")


def _broken(path: str, problem: str) -> ServiceFault:
    return ServiceFault(f"Written anew, {path} {problem}.", code="repacking.broken", where=path)

"""A file written anew with nothing in it but what its objects reach, and the proof that it holds the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from celldock.errors import ServiceFault
from celldock.h5ad.file import H5adFile
from celldock.h5ad.sandbox.limits import Limits
from celldock.h5ad.source import ByteSource
from celldock.h5ad.spool import Spool, SpooledFile, spooled
from celldock.h5ad.storage import Storage

LIMITS = Limits(cpu_seconds=800, call_seconds=800)
"""Of the file that is written anew: all of its bytes go through one call."""

_BATCH = 512
_BLOCK_BYTES = 8 * 1024 * 1024
_TEXT = ("|O", "|V")
"""How the types of strings begin, and of records, which may have some."""


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


def repack(original: H5adFile, source: ByteSource, spool: Spool) -> SpooledFile:
    """Writes an open file anew into an empty spool. The guard must have passed it; it is open with `LIMITS`.

    Memory: one stored chunk in the child. Raises InvalidSubmission where the file is damaged.
    """
    return spooled(source.name, original.repack(spool), spool)


def prove_repacked(
    original: H5adFile, source: ByteSource, new: H5adFile, repacked: SpooledFile, reason: str
) -> Repacking:
    """Compares all stored bytes but those of strings; both files are open, each over its source.

    Memory: a chunk or 8 MiB of each. Raises ServiceFault (`repacking.broken`) for any difference.
    """
    paths = original.datasets()
    if sorted(paths) != sorted(new.datasets()):
        raise broken(source.name, "has other datasets")
    compared = compare_stored(original, source, new, repacked, [(path, path) for path in paths])
    return Repacking(reason, compared.datasets, compared.bytes, compared.texts)


class Compared(NamedTuple):
    """How many datasets have the same stored bytes, how many those are, and how many datasets are of text."""

    datasets: int
    bytes: int
    texts: int


def compare_stored(
    original: H5adFile, source: ByteSource, new: H5adFile, target: SpooledFile, pairs: Sequence[tuple[str, str]]
) -> Compared:
    """Compares datasets of the original, each with what is to be the same in the new file; as `prove_repacked`."""
    compared = total = texts = 0
    for path, then, since in _stored(original, new, pairs):
        if (then.dtype, then.shape) != (since.dtype, since.shape):
            raise broken(path, "is of another type or shape")
        if then.dtype.startswith(_TEXT):
            texts += 1
            continue
        if then.sizes != since.sizes:
            raise broken(path, "is stored in other pieces")
        for before, after, size in zip(then.offsets, since.offsets, then.sizes, strict=True):
            _compare(source, before, target, after, size, path)
        compared += 1
        total += sum(then.sizes)
    return Compared(compared, total, texts)


def broken(path: str, problem: str) -> ServiceFault:
    """What is raised where a file that was written anew holds something else."""
    return ServiceFault(f"Written anew, {path} {problem}.", code="repacking.broken", where=path)


class _Stored(NamedTuple):
    """A dataset, and where its pieces lie."""

    dtype: str
    shape: tuple[int, ...]
    offsets: list[int]
    sizes: list[int]


def _stored(
    original: H5adFile, new: H5adFile, pairs: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, _Stored, _Stored]]:
    at = 0
    while at < len(pairs):
        batch = pairs[at : at + _BATCH]
        then, since = original.storage([path for path, _ in batch]), new.storage([place for _, place in batch])
        # Either may have told of fewer datasets than it was asked for.
        told = min(len(then.heads), len(since.heads))
        at += told
        places = [place for _, place in batch[:told]]
        yield from zip(places, _datasets(then, told), _datasets(since, told), strict=True)


def _datasets(storage: Storage, count: int) -> Iterator[_Stored]:
    at = 0
    for head in storage.heads[:count]:
        pieces = slice(at, at + head.pieces)
        at += head.pieces
        yield _Stored(head.dtype, head.shape, storage.offsets[pieces].tolist(), storage.sizes[pieces].tolist())


def _compare(source: ByteSource, before: int, target: SpooledFile, after: int, size: int, path: str) -> None:
    for start in range(0, size, _BLOCK_BYTES):
        length = min(_BLOCK_BYTES, size - start)
        if source.read(before + start, length) != target.read(after + start, length):
            raise broken(path, "has other bytes")

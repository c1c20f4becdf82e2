"""The proof that a file was only added to: each dataset of the original has the same bytes in the same places.

No chunk is read for it. A stored chunk that lies at the same offset of the new file, in a range that the new file takes
from the original by reference, is the same chunk; so the chunk tables of both files are compared, and held against the
ranges that changed.

The values of strings of any length lie in heaps outside of the datasets, which nobody can list from a dataset. For
them, the record says how many bytes of the original changed at all: those of the superblock, of the headers of frames,
and of the indexes of groups.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from celldock.canonical import canonical_json
from celldock.errors import ServiceFault
from celldock.h5ad.additions import Additions, taken_away
from celldock.h5ad.appended import AppendedFile
from celldock.h5ad.file import H5adFile
from celldock.h5ad.storage import Storage

_BATCH = 512


@dataclass(frozen=True, slots=True)
class Additivity:
    """What was proven of a new file.

    `kept_datasets` of the original have their `kept_pieces` (chunks, or the one piece of a dataset that has none) of
    `kept_bytes` at the same places, by reference; `table_sha256` is the digest of paths, types, shapes, offsets and
    sizes. `added` and `removed` are paths of datasets, also of those that were replaced. `changed_bytes` in
    `changed_ranges` are what the new file has otherwise than the original before the original's end; `appended_bytes`
    follow it.
    """

    kept_datasets: int
    kept_pieces: int
    kept_bytes: int
    table_sha256: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed_bytes: int
    changed_ranges: int
    appended_bytes: int

    def to_json(self) -> dict[str, Any]:
        """A document for `json.dumps`."""
        return asdict(self)


def prove_additivity(original: H5adFile, new: H5adFile, appended: AppendedFile, additions: Additions) -> Additivity:
    """Compares a file with what `appended` made of it; both are open, `new` over `appended`.

    Memory: the chunk tables of some datasets at a time. Raises ServiceFault (`additivity.broken`) if a dataset of the
    original is missing, or other than it was, though the additions do not say so.
    """
    gone = taken_away(additions)
    before = original.datasets()
    kept = [path for path in before if not any(path == away or path.startswith(f"{away}/") for away in gone)]
    now = set(new.datasets())
    if missing := [path for path in kept if path not in now]:
        raise _broken(missing[0], "is not in the new file")
    digest = hashlib.sha256()
    pieces = total = 0
    for paths, (then, since) in _batches(kept, original, new):
        for path, old, fresh in zip(paths, then.heads, since.heads, strict=True):
            if old != fresh:
                raise _broken(path, "is of another type or shape")
        _compare(paths, then, since, appended)
        digest.update(canonical_json([[path, asdict(head)] for path, head in zip(paths, then.heads, strict=True)]))
        digest.update(then.offsets.astype("<i8").tobytes() + then.sizes.astype("<i8").tobytes())
        pieces += len(then.offsets)
        total += int(then.sizes.sum())
    return Additivity(
        kept_datasets=len(kept),
        kept_pieces=pieces,
        kept_bytes=total,
        table_sha256=digest.hexdigest(),
        added=tuple(sorted(now.difference(kept))),
        removed=tuple(sorted(set(before).difference(kept))),
        changed_bytes=appended.changed_bytes,
        changed_ranges=len(appended.changed),
        appended_bytes=appended.appended_bytes,
    )


def _batches(
    paths: Sequence[str], original: H5adFile, new: H5adFile
) -> Iterator[tuple[Sequence[str], tuple[Storage, Storage]]]:
    at = 0
    while at < len(paths):
        then = original.storage(paths[at : at + _BATCH])
        batch = paths[at : at + len(then.heads)]
        since = new.storage(batch)
        if len(since.heads) != len(batch):
            raise _broken(batch[-1], "is stored in more pieces")
        yield batch, (then, since)
        at += len(batch)


def _compare(paths: Sequence[str], then: Storage, since: Storage, appended: AppendedFile) -> None:
    ends = then.offsets + then.sizes
    # Whether the first change that ends behind the beginning of a piece begins before its end.
    starts, stops = np.array(appended.changed, np.int64).reshape(-1, 2).T
    next_change = np.searchsorted(stops, then.offsets, side="right")
    reached = np.append(starts, np.iinfo(np.int64).max)[next_change] < ends
    other = (then.offsets != since.offsets) | (then.sizes != since.sizes)
    beyond = ends > min(appended.size, appended.source.size)
    wrong: list[int] = np.flatnonzero(reached | other | beyond).tolist()
    if wrong:
        last = list(accumulate(head.pieces for head in then.heads))
        path = paths[bisect_right(last, wrong[0])]
        raise _broken(path, "is stored in another place" if other[wrong[0]] else "has bytes that were overwritten")


def _broken(path: str, problem: str) -> ServiceFault:
    return ServiceFault(f"{path} {problem}, though nothing was to be changed.", code="additivity.broken", where=path)

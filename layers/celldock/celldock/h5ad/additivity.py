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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from celldock.canonical import canonical_json
from celldock.errors import ServiceFault
from celldock.h5ad.additions import Additions, renamed, taken_away
from celldock.h5ad.appended import AppendedFile
from celldock.h5ad.file import H5adFile
from celldock.h5ad.storage import Storage

_BATCH = 512


@dataclass(frozen=True, slots=True)
class Additivity:
    """What was proven of a new file.

    `kept_datasets` of the original have their `kept_pieces` (chunks, or the one piece of a dataset that has none) of
    `kept_bytes` at the same places, by reference; `table_sha256` is the digest of paths, types, shapes, offsets and
    sizes. `renamed` are those of them that have other paths now. `added` and `removed` are paths of datasets, also of
    those that were replaced. `changed_bytes` in `changed_ranges` are what the new file has otherwise than the original
    before the original's end; `appended_bytes` follow it.
    """

    kept_datasets: int
    kept_pieces: int
    kept_bytes: int
    table_sha256: str
    renamed: Mapping[str, str]
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
    indexes = _indexes(original) if additions.indexes else {}
    gone, others = taken_away(additions, indexes), renamed(additions, indexes)
    before = original.datasets()
    pairs = [(path, _renamed(path, others)) for path in before if not any(_lies_at(path, away) for away in gone)]
    now = set(new.datasets())
    if missing := [place for _, place in pairs if place not in now]:
        raise _broken(missing[0], "is not in the new file")
    digest = hashlib.sha256()
    pieces = total = 0
    for batch, (then, since) in _batches(pairs, original, new):
        paths = [path for path, _ in batch]
        for path, old, fresh in zip(paths, then.heads, since.heads, strict=True):
            if old != fresh:
                raise _broken(path, "is of another type or shape")
        _compare(paths, then, since, appended)
        digest.update(canonical_json([[path, asdict(head)] for path, head in zip(paths, then.heads, strict=True)]))
        digest.update(then.offsets.astype("<i8").tobytes() + then.sizes.astype("<i8").tobytes())
        pieces += len(then.offsets)
        total += int(then.sizes.sum())
    kept = [path for path, _ in pairs]
    return Additivity(
        kept_datasets=len(kept),
        kept_pieces=pieces,
        kept_bytes=total,
        table_sha256=digest.hexdigest(),
        renamed={path: place for path, place in pairs if path != place},
        added=tuple(sorted(now.difference(place for _, place in pairs))),
        removed=tuple(sorted(set(before).difference(kept))),
        changed_bytes=appended.changed_bytes,
        changed_ranges=len(appended.changed),
        appended_bytes=appended.appended_bytes,
    )


def _indexes(file: H5adFile) -> dict[str, str]:
    """The paths of what names the rows of each frame and is no column as well."""
    header = file.header()
    frames = (header.obs, header.var, *([header.raw_var] if header.raw_var else []))
    return {frame.path: frame.index for frame in frames if frame.index not in [column.path for column in frame.columns]}


def _lies_at(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")


def _renamed(path: str, others: Mapping[str, str]) -> str:
    return next((to + path.removeprefix(old) for old, to in others.items() if _lies_at(path, old)), path)


def _batches(
    pairs: Sequence[tuple[str, str]], original: H5adFile, new: H5adFile
) -> Iterator[tuple[Sequence[tuple[str, str]], tuple[Storage, Storage]]]:
    at = 0
    while at < len(pairs):
        then = original.storage([path for path, _ in pairs[at : at + _BATCH]])
        batch = pairs[at : at + len(then.heads)]
        since = new.storage([place for _, place in batch])
        if len(since.heads) != len(batch):
            raise _broken(batch[-1][1], "is stored in more pieces")
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

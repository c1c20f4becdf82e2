"""Overwrites with zeros what no object of a file reaches any more, after columns were renamed or taken away.

libhdf5 leaves the old names in the lists where it kept them, and the values of what was taken away where they lay. What
is published must hold nothing of the kind; to write a large file anew for some hundred bytes would cost all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from celldock.h5ad.accounting.accounting import BETWEEN, account
from celldock.h5ad.accounting.heaps import TEXTS
from celldock.h5ad.accounting.symbols import NAMES
from celldock.h5ad.appended import AppendedFile, Segment
from celldock.h5ad.spool import changed_runs

_KINDS = (BETWEEN, NAMES, TEXTS)
"""What no checksum is over: blocks of newer kinds have one."""
_MAX_BYTES = 64 * 1024 * 1024
_MAX_PASSES = 8
"""Each names a hundred places."""


def scrubbed(file: AppendedFile) -> AppendedFile:
    """The same file with zeros where no object's bytes are. It rests on the same spool, `file` is not to be used then.

    A file that holds more of this than 64 MiB or some hundred places, or whose structures are not understood, comes
    back with it, as does what lies in blocks with a checksum. Cost: that of `account`, twice. Raises InvalidSubmission
    for structures that contradict each other.
    """
    for _ in range(_MAX_PASSES):
        accounting = account(file)
        found = [residue for residue in accounting.residues if residue.kind in _KINDS]
        if not found or accounting.residue_bytes > _MAX_BYTES:
            break
        file = _without(file, sorted((residue.offset, residue.offset + residue.length) for residue in found))
    return file


def _without(file: AppendedFile, ranges: Sequence[tuple[int, int]]) -> AppendedFile:
    """The file with zeros in these ranges, which are disjoint and in ascending order."""
    changed = list(file.changed)
    for start, stop in ranges:
        # Only what lies in the original's place, and was as in the original, is another change.
        end = min(stop, file.source.size)
        if start < end:
            before = file.source.read(start, end - start)
            inside = [run for run in changed if run[0] < end and start < run[1]]
            changed = [run for run in changed if run not in inside]
            changed += [(first, min(last, start)) for first, last in inside if first < start]
            changed += [(max(first, end), last) for first, last in inside if last > end]
            changed += [(start + first, start + last) for first, last in changed_runs(before, bytes(end - start))]
    return replace(file, segments=tuple(_zeroed(file, ranges)), changed=tuple(sorted(changed)))


def _zeroed(file: AppendedFile, ranges: Sequence[tuple[int, int]]) -> Iterator[Segment]:
    at = 0
    aside = max([file.spool.length, *(piece.offset + piece.length for piece in file.segments if piece.is_new)])
    for segment in file.segments:
        start, stop = at, at + segment.length
        for first, last in ((max(first, start), min(last, stop)) for first, last in ranges):
            if first >= last:
                continue
            if segment.is_new:
                file.spool.write(segment.offset + first - start, bytes(last - first))
                continue
            if at < first:
                yield Segment(False, segment.offset + at - start, first - at)
            file.spool.write(aside, bytes(last - first))
            yield Segment(True, aside, last - first)
            at, aside = last, aside + last - first
        if at < stop:
            yield Segment(segment.is_new, segment.offset + at - start, stop - at)
        at = stop

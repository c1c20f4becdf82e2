"""A source that keeps what was read of it, and hands it on as bytes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celldock.errors import ServiceFault
from celldock.h5ad.remembered import RememberedSource
from tests.matrices import WatchedSource

CONTENT = random.Random(1).randbytes(600)
READS = st.lists(st.tuples(st.integers(0, 599), st.integers(0, 200)).map(lambda r: (r[0], min(r[1], 600 - r[0]))))


@given(READS, READS)
def test_whatever_was_read_before_the_bytes_are_those_of_the_source(
    before: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    first = RememberedSource(WatchedSource(CONTENT))
    for offset, length in before:
        assert first.read(offset, length) == CONTENT[offset : offset + length]
    source = WatchedSource(CONTENT)
    second = RememberedSource(source, first.to_bytes())
    for offset, length in before:
        assert second.read(offset, length) == CONTENT[offset : offset + length]
    assert not [read for read in source.ranges if read[1]]
    for offset, length in after:
        assert second.read(offset, length) == CONTENT[offset : offset + length]
    assert RememberedSource(source, second.to_bytes()).to_bytes() == second.to_bytes()


def test_the_order_of_reads_does_not_show() -> None:
    reads = [(0, 10), (40, 20), (5, 50), (300, 100), (399, 2)]
    made: set[bytes] = set()
    for order in (reads, reads[::-1]):
        source = RememberedSource(WatchedSource(CONTENT))
        for read in order:
            source.read(*read)
        made.add(source.to_bytes())
    assert len(made) == 1


def test_no_more_is_kept_than_allowed() -> None:
    source = WatchedSource(CONTENT)
    kept = RememberedSource(source, limit=100)
    for _ in range(2):
        assert kept.read(0, 90) == CONTENT[:90]
        assert kept.read(200, 90) == CONTENT[200:290]
    assert source.ranges == [(0, 90), (200, 90), (200, 90)]


@pytest.mark.parametrize("damage", ["other", "short", "beyond", "cut"])
def test_bytes_that_are_no_kept_reads_of_the_file_are_refused(damage: str) -> None:
    source = RememberedSource(WatchedSource(CONTENT))
    source.read(100, 400)
    pages = source.to_bytes()
    broken = {"other": b"x" + pages, "short": pages[:20], "beyond": pages, "cut": pages[:-1]}[damage]
    with pytest.raises(ServiceFault, match="kept reads"):
        RememberedSource(WatchedSource(CONTENT[:450] if damage == "beyond" else CONTENT), broken)

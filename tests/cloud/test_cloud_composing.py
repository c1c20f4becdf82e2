"""Objects that S3 puts together of copied and uploaded parts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celldock.cloud import composing
from celldock.cloud.composing import COPIED_BYTES, MIN_PART_BYTES, UPLOADED_BYTES, Part, compose, plan_parts
from celldock.cloud.objects import Place
from celldock.errors import ObjectGone, TransientError
from tests.cloud.conftest import ARTIFACTS, INBOX, Cloud

MIB = 1024 * 1024
KEY, RESULT = "atlas/Züri +1 100%25.h5ad", "work/v/1/labelled.h5ad"


@dataclass(frozen=True)
class Changed:
    """A file with some ranges that are not its original's."""

    content: bytes
    new_ranges: Sequence[tuple[int, int]]

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, offset: int, length: int) -> bytes:
        return self.content[offset : offset + length]


@st.composite
def changes(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """A size up to that of a large atlas, and ranges of it; the last may reach its end."""
    size = draw(st.integers(1, 300_000 * MIB))
    edges = sorted(draw(st.sets(st.integers(0, size), min_size=2, max_size=12)))
    return size, list(zip(edges[::2], edges[1::2], strict=False))


@given(changes())
def test_the_parts_are_what_s3_takes_and_make_up_the_object(change: tuple[int, list[tuple[int, int]]]) -> None:
    size, new = change
    parts = plan_parts(size, new)

    assert [parts[0].start, *(part.stop for part in parts)] == [0, *(part.start for part in parts[1:]), size]
    assert all(part.stop - part.start >= MIN_PART_BYTES for part in parts[:-1])
    assert all(part.stop - part.start <= (COPIED_BYTES if part.copied else UPLOADED_BYTES) for part in parts)
    assert len(parts) <= 10_000 + sum(stop - start for start, stop in new) // MIN_PART_BYTES
    copied = [(part.start, part.stop) for part in parts if part.copied]
    assert not any(start < end and begin < stop for start, stop in copied for begin, end in new)


@given(changes())
def test_little_more_is_uploaded_than_what_is_new(change: tuple[int, list[tuple[int, int]]]) -> None:
    size, new = change
    uploaded = sum(part.stop - part.start for part in plan_parts(size, new) if not part.copied)
    gaps = sum(min(start - stop, MIN_PART_BYTES) for (_, stop), (start, _) in pairwise([(0, 0), *new]))
    assert uploaded <= sum(stop - start for start, stop in new) + gaps + len(new) * MIN_PART_BYTES


def test_a_head_and_an_appended_end_are_all_that_is_uploaded() -> None:
    size = 715 * MIB
    parts = plan_parts(size, [(0, 96), (700, 1000), (709 * MIB, size)])
    assert [part for part in parts if not part.copied] == [Part(0, 5 * MIB, False), Part(709 * MIB, size, False)]
    assert [(part.start, part.stop) for part in parts if part.copied][-1][1] == 709 * MIB


@pytest.fixture
def original(cloud: Cloud) -> tuple[bytes, Place]:
    """Twenty MiB, and where they lie; a later version of the key has other bytes."""
    content = np.random.default_rng(1).bytes(20 * MIB)
    version = cloud.inbox.put_bytes(KEY, content, "application/octet-stream").object_version
    cloud.inbox.put_bytes(KEY, b"overwritten midway", "application/octet-stream")
    return content, Place(INBOX, KEY, version)


@pytest.mark.parametrize(
    "new", [[(0, 100), (20 * MIB, 21 * MIB)], [(8 * MIB, 8 * MIB + 1)], [(0, 21 * MIB)], [(0, 1), (6 * MIB, 7 * MIB)]]
)
def test_a_composed_object_has_the_bytes_of_both(
    cloud: Cloud, original: tuple[bytes, Place], new: list[tuple[int, int]]
) -> None:
    content, place = original
    changed = bytearray(content.ljust(new[-1][1], b"?"))
    for start, stop in new:
        changed[start:stop] = b"!" * (stop - start)

    made = compose(cloud.artifacts, RESULT, Changed(bytes(changed), new), place)

    assert cloud.artifacts.get_bytes(RESULT, made.object_version) == bytes(changed)
    assert made.uploaded_bytes == sum(
        part.stop - part.start for part in plan_parts(len(changed), new) if not part.copied
    )


def test_a_sealed_object_has_the_checksum_of_all_its_bytes(cloud: Cloud, original: tuple[bytes, Place]) -> None:
    content, place = original
    made = compose(cloud.artifacts, RESULT, Changed(content, [(0, 100)]), place)
    cloud.artifacts.put_bytes(RESULT, b"a late writer", "text/plain")

    stored = cloud.artifacts.seal(RESULT, made.object_version, "application/x-hdf5")

    assert (stored.sha256, stored.bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert cloud.artifacts.get_bytes(RESULT, stored.object_version) == content


def test_without_an_original_everything_is_uploaded(cloud: Cloud) -> None:
    content = np.random.default_rng(2).bytes(18 * MIB)
    made = compose(cloud.artifacts, RESULT, Changed(content, [(0, 1)]), None)
    assert (cloud.artifacts.get_bytes(RESULT), made.uploaded_bytes) == (content, len(content))


def uploads(cloud: Cloud) -> Any:
    return cloud.artifacts._client.list_multipart_uploads(Bucket=ARTIFACTS).get("Uploads", [])


def test_nothing_is_left_of_an_upload_that_fails(
    cloud: Cloud, original: tuple[bytes, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    content, place = original

    def broken(_: Changed, offset: int, length: int) -> bytes:
        raise TransientError(f"no bytes {offset} to {offset + length}", code="source.short_read")

    monkeypatch.setattr(Changed, "read", broken)
    with pytest.raises(TransientError):
        compose(cloud.artifacts, RESULT, Changed(content, [(0, 1)]), place)
    assert not uploads(cloud)
    assert cloud.artifacts.find(RESULT) is None


def test_an_original_that_was_deleted_is_gone(cloud: Cloud, original: tuple[bytes, Place]) -> None:
    content, place = original
    cloud.inbox._client.delete_object(Bucket=INBOX, Key=KEY, VersionId=place.version_id)
    with pytest.raises(ObjectGone):
        compose(cloud.artifacts, RESULT, Changed(content, [(0, 1)]), place)
    assert not uploads(cloud)


def test_no_more_parts_are_in_memory_than_threads(cloud: Cloud, original: tuple[bytes, Place]) -> None:
    content, place = original
    sizes: list[int] = []

    class Watched(Changed):
        def read(self, offset: int, length: int) -> bytes:
            sizes.append(length)
            return super().read(offset, length)

    compose(cloud.artifacts, RESULT, Watched(content, [(0, len(content))]), place)
    assert max(sizes) <= composing.UPLOADED_BYTES

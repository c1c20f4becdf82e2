"""One object of several, which S3 puts together by itself as far as it can."""

from __future__ import annotations

import hashlib
import random

import pytest

from celldock.cloud import joining
from celldock.cloud.composing import MIN_PART_BYTES
from celldock.cloud.joining import concatenate
from celldock.errors import NotFeasible
from tests.cloud.conftest import Cloud

MIB = 1 << 20


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [0],
        [3, 0, 5],
        [6 * MIB],
        [6 * MIB, 7 * MIB, 3],
        [10, 6 * MIB, 10, 10, 9 * MIB],
        [4 * MIB, 2 * MIB, MIB, 11 * MIB, 0],
        [MIN_PART_BYTES - 1, 1, MIN_PART_BYTES],
    ],
)
def test_the_object_is_all_of_them_in_their_order(cloud: Cloud, sizes: list[int]) -> None:
    contents = [random.Random(size).randbytes(size) for size in sizes]
    pieces = [cloud.artifacts.put_bytes(f"work/piece-{at}", content, "x/y") for at, content in enumerate(contents)]

    made = concatenate(cloud.artifacts, "work/whole", pieces)

    whole = b"".join(contents)
    assert cloud.artifacts.get_bytes("work/whole", made.object_version) == whole
    assert (made.bytes, made.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())


def test_more_than_can_be_published_is_not_made(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "MAX_COPY_BYTES", 7)
    pieces = [cloud.artifacts.put_bytes(f"work/piece-{at}", b"1234", "x/y") for at in range(2)]
    with pytest.raises(NotFeasible, match="8 bytes"):
        concatenate(cloud.artifacts, "work/whole", pieces)

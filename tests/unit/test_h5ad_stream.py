"""The file object that h5py reads from: every byte right, in few requests and bounded memory."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from celldock.h5ad.hdf5.stream import SourceFile

KIB, MIB = 1024, 1024**2


class MemoryRanges:
    """Bytes in memory that note the requests: one entry for each, the lengths that were asked for together."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.requests: list[list[int]] = []

    @property
    def size(self) -> int:
        return len(self.content)

    @property
    def bytes_read(self) -> int:
        return sum(map(sum, self.requests))

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        assert all(0 <= offset <= offset + length <= self.size for offset, length in ranges)
        self.requests.append([length for _, length in ranges])
        return [self.content[offset : offset + length] for offset, length in ranges]


def test_random_reads_give_the_files_bytes_in_bounded_memory() -> None:
    content = random.Random(1).randbytes(100_000)
    stream = SourceFile(MemoryRanges(content), block_size=1024, max_blocks=4)
    rng = random.Random(2)
    for _ in range(500):
        offset, length = rng.randrange(0, 101_000), rng.randrange(0, 5000)
        stream.seek(offset)
        assert stream.read(length) == content[offset : offset + length]
        assert stream.tell() == min(offset, len(content)) + len(content[offset : offset + length])
    assert len(stream._blocks) <= 4


def test_seeking_works_from_the_start_the_position_and_the_end() -> None:
    stream = SourceFile(MemoryRanges(bytes(range(100))))
    assert stream.seek(-10, os.SEEK_END) == 90
    assert stream.seek(5, os.SEEK_CUR) == 95
    assert stream.read() == bytes(range(95, 100))
    with pytest.raises(ValueError, match="before the start"):
        stream.seek(-1)


def test_small_reads_share_requests_and_a_large_one_is_asked_for_at_once() -> None:
    ranges = MemoryRanges(bytes(10_000_000))
    stream = SourceFile(ranges)
    for offset in range(0, 400_000, 4096):
        stream.seek(offset)
        stream.read(100)
    assert ranges.requests == [[512 * KIB]]

    stream.seek(1_000_001)
    stream.read(8_999_999)
    assert ranges.requests[1:] == [[4 * MIB, 4 * MIB, 8_999_999 - 8 * MIB]]


@pytest.mark.parametrize(
    ("offset", "length", "whole"),
    [
        (0, 1024, [0]),
        (0, 2047, [0]),
        (1000, 3000, [1, 2]),
        (9216, 784, [9]),
        (1, 1023, []),
        (0, 0, []),
        (0, 10_000, range(10)),
    ],
)
def test_what_is_at_hand_is_not_asked_for(offset: int, length: int, whole: Sequence[int]) -> None:
    content = random.Random(3).randbytes(10_000)
    ranges = MemoryRanges(content)
    stream = SourceFile(ranges, block_size=1024, max_blocks=16)
    stream.keep(offset, content[offset : offset + length])
    for block in whole:
        stream.seek(block * 1024)
        assert stream.read(700) == content[block * 1024 :][:700]
    assert ranges.requests == []
    stream.seek(0)
    assert stream.read() == content


def many_chunks(path: Path, *, libver: str) -> bytes:
    with h5py.File(path, "w", libver=libver) as file:
        for name in ("data", "indices"):
            data = file.create_dataset(name, (4096 * 256,), "f4", chunks=(256,))
            for chunk in range(4096):
                data.id.write_direct_chunk((chunk * 256,), bytes(1024))
    return path.read_bytes()


def test_a_chunk_index_is_read_a_level_at_a_time_without_the_chunks(tmp_path: Path) -> None:
    ranges = MemoryRanges(many_chunks(tmp_path / "chunks.h5", libver="earliest"))
    stream = SourceFile(ranges, block_size=8192, max_blocks=4)
    with h5py.File(stream, "r") as file:
        before = len(ranges.requests)
        for name in ("data", "indices"):
            seen: list[object] = []
            file[name].id.chunk_iter(seen.append)
            assert len(seen) == 4096
            # The header of the dataset, the root of its index, then the levels below.
            assert len(ranges.requests) - before <= 5
            before = len(ranges.requests)
        # What libhdf5 has forgotten meanwhile is still here.
        assert file["data"].id.get_storage_size() == 4096 * 1024
        assert len(ranges.requests) == before
    assert ranges.bytes_read < ranges.size / 8


def test_a_chunk_index_of_hostile_addresses_ends(tmp_path: Path) -> None:
    content = bytearray(many_chunks(tmp_path / "chunks.h5", libver="earliest"))
    # All children of every inner node are the root of the first index: a tree without end.
    nodes = [at for at in range(0, len(content) - 8, 8) if content[at : at + 5] == b"TREE\1"]
    root = next(at for at in nodes if content[at + 5] == max(content[node + 5] for node in nodes))
    for at in nodes:
        if content[at + 5]:
            for child in range(64):
                address = at + 24 + 24 + child * 32
                content[address : address + 8] = root.to_bytes(8, "little")
    ranges = MemoryRanges(bytes(content))
    with h5py.File(SourceFile(ranges, block_size=8192), "r") as file, pytest.raises((OSError, RuntimeError)):
        np.asarray(file["data"][:])
    assert len(ranges.requests) < 100


def test_the_headers_in_groups_are_read_a_level_at_a_time_without_what_lies_between(tmp_path: Path) -> None:
    path = tmp_path / "groups.h5"
    with h5py.File(path, "w") as file:
        for group in ("obs", "var", "uns/deeper"):
            for column in range(30):
                file[f"{group}/column {column}"] = np.zeros(40_000)
    ranges = MemoryRanges(path.read_bytes())
    with h5py.File(SourceFile(ranges), "r") as file:
        names: list[str] = []
        file.visit(names.append)
        assert len(names) == 3 * 30 + 4
    assert len(ranges.requests) <= 10
    assert ranges.bytes_read < ranges.size / 4


def test_groups_that_lead_in_circles_are_followed_once(tmp_path: Path) -> None:
    path = tmp_path / "groups.h5"
    with h5py.File(path, "w") as file:
        for column in range(200):
            file[f"obs/column {column}"] = np.zeros(40_000)
    content = bytearray(path.read_bytes())
    # Every node of a group's tree has the root of the first one as all of its children.
    nodes = [at for at in range(0, len(content) - 8, 8) if content[at : at + 5] == b"TREE\0"]
    for at in nodes:
        for child in range(32):
            address = at + 24 + 8 + child * 16
            content[address : address + 8] = nodes[0].to_bytes(8, "little")
    ranges = MemoryRanges(bytes(content))
    with h5py.File(SourceFile(ranges), "r") as file, pytest.raises((OSError, RuntimeError, KeyError)):
        len(list(file["obs"]))
    assert len(ranges.requests) < 100

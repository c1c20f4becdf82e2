"""Bytes into HDF5: what is refused before libhdf5 sees it, and how few requests a file costs."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from celldock.errors import HostileFile, InvalidSubmission, ObjectGone, TransientError
from celldock.h5ad.headers import read_header
from celldock.h5ad.nodes import read_rows
from celldock.h5ad.source import LocalSource, SourceFile, open_h5ad
from tests import builders


class MemorySource:
    """Bytes in memory that note what was asked of them and may fail from the nth read on."""

    def __init__(self, content: bytes, *, fail_at: int | None = None) -> None:
        self.content = content
        self.reads: list[int] = []
        self.fail_at = fail_at

    @property
    def size(self) -> int:
        return len(self.content)

    @property
    def name(self) -> str:
        return "cells.h5ad"

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append(length)
        if self.fail_at is not None and len(self.reads) >= self.fail_at:
            raise TransientError("S3 did not answer.", code="s3.unavailable")
        return self.content[offset : offset + length]


def refusal(content: bytes) -> InvalidSubmission:
    with pytest.raises(InvalidSubmission) as refused, open_h5ad(MemorySource(content)):
        pass
    return refused.value


@pytest.mark.parametrize(
    ("make", "code", "hint"),
    [
        (builders.make_empty, "file.empty", "Upload it again"),
        (builders.make_html, "file.html", "sign-in or error page"),
        (builders.make_gzipped, "file.gzip", "gunzip"),
        (builders.make_zipped, "file.zip", "Unzip"),
        (builders.make_truncated, "file.truncated", "upload it again"),
        (builders.make_unclosed, "file.not_closed", "Write the file again"),
        (builders.make_with_user_block, "file.user_block", "write_h5ad"),
    ],
)
def test_what_is_no_whole_hdf5_file_is_refused_with_a_hint(
    tmp_path: Path, make: Callable[[Path], Path], code: str, hint: str
) -> None:
    error = refusal(make(tmp_path / "cells.h5ad").read_bytes())
    assert (error.code, error.where) == (code, "cells.h5ad")
    assert hint in error.hint


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "file.html"),
        (b"BZh91AY&SY", "file.bzip2"),
        (b"\xfd7zXZ\x00\x00", "file.xz"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "file.zstd"),
        (bytes(257) + b"ustar\x0000", "file.tar"),
        (b"\x89HDF", "file.truncated"),
        (b"\x89HDF\r\n\x1a\n", "file.truncated"),
        (b"cell,gene\n1,2\n", "file.not_hdf5"),
    ],
)
def test_well_known_kinds_of_files_are_named(content: bytes, code: str) -> None:
    assert refusal(content).code == code


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("missing", [1, 100, 900])
def test_a_file_cut_anywhere_is_truncated_and_says_by_how_much(tmp_path: Path, libver: str, missing: int) -> None:
    path = tmp_path / "cells.h5ad"
    with h5py.File(path, "w", libver=libver) as file:
        file["x"] = np.arange(1000)
    content = path.read_bytes()
    error = refusal(content[:-missing])
    assert error.code == "file.truncated"
    assert f"{len(content) - missing:,}" in error.message


def test_a_user_block_is_hostile_wherever_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "cells.h5ad"
    with h5py.File(path, "w", userblock_size=4096) as file:
        file["x"] = np.arange(10)
    assert isinstance(refusal(path.read_bytes()), HostileFile)


def test_damaged_structure_is_the_submitters_not_a_crash(tmp_path: Path) -> None:
    content = bytearray(builders.make_h5ad(tmp_path / "cells.h5ad").read_bytes())
    content[96:1024] = bytes(1024 - 96)
    with pytest.raises(InvalidSubmission) as damaged:
        read_header(MemorySource(bytes(content)))
    assert damaged.value.code.startswith("file.")


@pytest.mark.parametrize("fail_at", [1, 2])
def test_a_fault_of_the_source_comes_through_as_it_is(tmp_path: Path, fail_at: int) -> None:
    content = builders.make_h5ad(tmp_path / "cells.h5ad", n_obs=3000, n_vars=500).read_bytes()
    assert len(content) > 512 * 1024, "one block would hold it"
    with pytest.raises(TransientError, match="S3 did not answer"):
        read_header(MemorySource(content, fail_at=fail_at))


def test_a_fault_of_the_source_is_raised_even_if_it_was_taken_for_damage(tmp_path: Path) -> None:
    cells = {"n_obs": 20_000, "obsm": {"X_pca": np.zeros((20_000, 10))}}
    source = MemorySource(builders.make_h5ad(tmp_path / "cells.h5ad", compression=None, **cells).read_bytes())

    def read_in_spite_of_faults() -> None:
        with open_h5ad(source) as file:
            source.fail_at = 0
            with contextlib.suppress(TransientError):
                read_rows(file["obsm/X_pca"], 0, 20_000)

    with pytest.raises(TransientError):
        read_in_spite_of_faults()


def test_random_reads_give_the_files_bytes_in_bounded_memory() -> None:
    content = random.Random(1).randbytes(100_000)
    stream = SourceFile(MemorySource(content), block_size=1024, max_blocks=4)
    rng = random.Random(2)
    for _ in range(500):
        offset, length = rng.randrange(0, 101_000), rng.randrange(0, 5000)
        stream.seek(offset)
        assert stream.read(length) == content[offset : offset + length]
        assert stream.tell() == min(offset, len(content)) + len(content[offset : offset + length])
    assert len(stream._blocks) <= 4


def test_seeking_works_from_the_start_the_position_and_the_end() -> None:
    stream = SourceFile(MemorySource(bytes(range(100))))
    assert stream.seek(-10, os.SEEK_END) == 90
    assert stream.seek(5, os.SEEK_CUR) == 95
    assert stream.read() == bytes(range(95, 100))
    with pytest.raises(ValueError, match="before the start"):
        stream.seek(-1)


def test_small_reads_share_requests_and_a_large_one_is_one_request() -> None:
    source = MemorySource(bytes(10_000_000))
    stream = SourceFile(source)
    for offset in range(0, 400_000, 4096):
        stream.seek(offset)
        stream.read(100)
    assert source.reads == [512 * 1024]

    stream.seek(1_000_001)
    stream.read(8_000_000)
    assert source.reads[1:] == [8_000_000]
    assert (stream.requests, stream.bytes_read) == (2, sum(source.reads))


def test_a_header_costs_few_requests(tmp_path: Path) -> None:
    source = MemorySource(builders.make_h5ad(tmp_path / "cells.h5ad").read_bytes())
    assert read_header(source).n_obs == 20
    assert len(source.reads) == 1


def test_a_chunk_index_that_is_strewn_over_the_file_is_read_without_the_chunks(tmp_path: Path) -> None:
    path = tmp_path / "chunks.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", (4096 * 256,), "f4", chunks=(256,))
        for chunk in range(4096):
            data.id.write_direct_chunk((chunk * 256,), bytes(1024))
    source = MemorySource(path.read_bytes())
    stream = SourceFile(source, block_size=8192, max_blocks=4)
    with h5py.File(stream, "r") as file:
        assert file["data"].id.get_storage_size() == 4096 * 1024
    assert stream.bytes_read == sum(source.reads)
    assert stream.bytes_read < source.size / 8


def test_a_local_file_that_shrinks_while_it_is_read_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "cells.h5ad"
    path.write_bytes(bytes(100))
    source = LocalSource(path)
    assert (source.name, source.size) == ("cells.h5ad", 100)
    os.truncate(path, 50)
    assert source.read(0, 50) == bytes(50)
    with pytest.raises(ObjectGone):
        source.read(40, 20)


def test_a_local_file_that_is_replaced_keeps_its_content(tmp_path: Path) -> None:
    path, other = tmp_path / "cells.h5ad", tmp_path / "other"
    path.write_bytes(b"first")
    source = LocalSource(path)
    other.write_bytes(b"other")
    other.replace(path)
    assert source.read(0, 5) == b"first"

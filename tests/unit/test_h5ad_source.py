"""Sources of bytes: what is refused before libhdf5 sees it, whose fault is whose, and how few requests a file costs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import h5py
import numpy as np
import pytest

from celldock.errors import HostileFile, InvalidSubmission, ObjectGone, TransientError
from celldock.h5ad.file import open_h5ad, read_header
from celldock.h5ad.source import LocalSource
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


class SlowSource:
    """A file that answers each read late, any number of them at a time."""

    def __init__(self, path: Path, *, seconds: float) -> None:
        self._source = LocalSource(path)
        self._counting = Lock()
        self.seconds = seconds
        self.reads = 0
        self.size, self.name = self._source.size, self._source.name

    def read(self, offset: int, length: int) -> bytes:
        with self._counting:
            self.reads += 1
        time.sleep(self.seconds)
        return self._source.read(offset, length)


def write_many_chunks(file: h5py.File, path: str, n_chunks: int) -> None:
    """A csr matrix of zeros whose chunks of 1 KiB are in the file one by one, so that their index is strewn over it."""
    group = file.create_group(path)
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array([20, 10])})
    for name, dtype in (("data", "f4"), ("indices", "i4")):
        array = group.create_dataset(name, (n_chunks * 256,), dtype, chunks=(256,))
        for chunk in range(n_chunks):
            array.id.write_direct_chunk((chunk * 256,), bytes(1024))
    group["indptr"] = np.zeros(21, np.int64)


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


@pytest.mark.parametrize("fail_at", [1, 2, 3])
def test_a_fault_of_the_source_comes_through_as_it_is(tmp_path: Path, fail_at: int) -> None:
    content = builders.make_h5ad(tmp_path / "cells.h5ad", n_obs=3000, n_vars=2000, compression=None).read_bytes()
    assert len(content) > 8 * 1024 * 1024, "what is read first would hold it"
    with pytest.raises(TransientError, match="S3 did not answer"):
        read_header(MemorySource(content, fail_at=fail_at))


def test_a_fault_of_the_source_is_raised_until_the_file_is_closed(tmp_path: Path) -> None:
    cells = {"n_obs": 20_000, "obsm": {"X_pca": np.zeros((20_000, 50))}}
    source = MemorySource(builders.make_h5ad(tmp_path / "cells.h5ad", compression=None, **cells).read_bytes())
    with open_h5ad(source) as file:
        (pca,) = file.header().obsm
        source.fail_at = 0
        for _ in range(2):
            with pytest.raises(TransientError, match="S3 did not answer"):
                file.array(pca, 0, 20_000)


def test_a_header_costs_few_requests(tmp_path: Path) -> None:
    source = MemorySource(builders.make_h5ad(tmp_path / "cells.h5ad").read_bytes())
    assert read_header(source).n_obs == 20
    assert len(source.reads) == 1


def test_ranges_are_fetched_at_the_same_time(tmp_path: Path, figures: list[str]) -> None:
    path = tmp_path / "chunks.h5ad"
    builders.make_h5ad(path)
    with h5py.File(path, "r+") as file:
        for number in range(2):
            write_many_chunks(file, f"layers/{number}", n_chunks=8192)
    source = SlowSource(path, seconds=0.02)
    began = time.monotonic()
    with open_h5ad(source) as file:
        header = file.header()
        file.layout(header, [])
    elapsed = time.monotonic() - began
    figures.append(f"chunk tables of 4 datasets of 8,192 chunks: {source.reads} reads of 20 ms in {elapsed:.2f} s")
    assert source.reads > 400, "one after the other would not be slow"
    assert elapsed < source.reads * source.seconds / 4


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


@pytest.mark.parametrize("by_the_system", [True, False])
def test_a_piece_is_sent_to_another_file_where_that_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_the_system: bool
) -> None:
    if not by_the_system:
        monkeypatch.delattr("os.copy_file_range", raising=False)
    (tmp_path / "from").write_bytes(bytes(range(256)) * 40_000)
    source = LocalSource(tmp_path / "from")
    with (tmp_path / "to").open("wb") as target:
        target.write(b"head")
        source.send_to(target, 3, 10_000_000)
        target.write(b"tail")
    assert (tmp_path / "to").read_bytes() == b"head" + source.read(3, 10_000_000) + b"tail"


def test_a_piece_of_a_file_that_has_shrunk_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "from").write_bytes(b"0123456789")
    source = LocalSource(tmp_path / "from")
    (tmp_path / "from").write_bytes(b"0123")
    with (tmp_path / "to").open("wb") as target, pytest.raises(ObjectGone):
        source.send_to(target, 2, 8)

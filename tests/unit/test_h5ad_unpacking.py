"""Chunks that are too large to be held: read all the same, from a scratch file that is gone afterwards."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from celldock.errors import InvalidSubmission, NotFeasible, ServiceFault, TransientError
from celldock.h5ad import unpacking
from celldock.h5ad.filters import DEFLATE, FLETCHER32, SHUFFLE
from celldock.h5ad.layout import ArrayLayout, Filter, MatrixLayout
from celldock.h5ad.matrix import Block, MatrixReader, scratch_bytes
from celldock.h5ad.reader import ArrayReader
from celldock.h5ad.unpacking import Wanted, spooled_bytes, unpacked
from tests.matrices import FILTERS, Stored, WatchedSource, random_counts, saved, saved_array, written

LIMIT = 256
BUDGET = 32 * 1024
STREAMED = [name for name in FILTERS if "lzf" not in name]


def rows_of(
    content: bytes, layout: ArrayLayout, start: int, stop: int, scratch: Path | None, *, limit: int = LIMIT
) -> np.ndarray:
    wanted = {"values": Wanted(layout, limit, start, stop)}
    with unpacked(WatchedSource(content), wanted, budget=BUDGET, scratch=scratch) as (source, layouts):
        assert layouts["values"].chunks is None
        return ArrayReader(source, layouts["values"]).read(start, stop)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    chunks=st.lists(st.integers(1, 20), min_size=3, max_size=3),
    dtype=st.sampled_from(["<f4", ">f4", "<f8", "|i1", ">i2", "<i8", "|b1"]),
    filters=st.sampled_from(STREAMED),
    bounds=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_rows_are_those_that_h5py_was_given(
    tmp_path: Path, shape: list[int], chunks: list[int], dtype: str, filters: str, bounds: tuple[float, float]
) -> None:
    values = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
    options: dict[str, Any] = {"chunks": tuple(chunks[: len(shape)]), "maxshape": (None,) * len(shape)}
    content, layout = saved_array(values, **options, **FILTERS[filters])
    start, stop = sorted(int(bound * shape[0]) for bound in bounds)
    np.testing.assert_array_equal(rows_of(content, layout, start, stop, tmp_path, limit=0), values[start:stop])
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stored=st.builds(
        Stored,
        encoding=st.sampled_from(["csr", "csc", "dense"]),
        data=st.sampled_from(["<f4", ">f8", "|u1", "<i8"]),
        indices=st.sampled_from(["<i4", "<i8", "<u2"]),
        indptr=st.sampled_from(["<i4", ">i8"]),
        chunks=st.tuples(st.sampled_from([700, 2000, 10**6]), st.sampled_from([7, 60])),
        filters=st.sampled_from(STREAMED),
    ),
    bounds=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_blocks_are_the_rows_that_scipy_holds(tmp_path: Path, stored: Stored, bounds: tuple[float, float]) -> None:
    matrix = random_counts(np.random.default_rng(5), (900, 60), 0.3, "csc" if stored.encoding == "csc" else "csr")
    expected = matrix.toarray().astype(stored.data)
    content, layout = saved(expected if stored.encoding == "dense" else matrix, stored)
    start, stop = sorted(int(bound * 900) for bound in bounds)
    reader = MatrixReader(WatchedSource(content), layout, budget=BUDGET, scratch=tmp_path)
    np.testing.assert_array_equal(dense(reader.row_blocks(start, stop), 60), expected[start:stop])
    assert list(tmp_path.iterdir()) == []


def dense(blocks: Iterator[Block], n_vars: int) -> np.ndarray:
    parts = [
        sparse.csr_matrix((block.data, block.indices, block.indptr), (block.n_rows, n_vars)).toarray()
        for block in blocks
    ]
    return np.concatenate([np.empty((0, n_vars)), *parts])


@pytest.mark.parametrize("encoding", ["csr", "csc", "dense"])
def test_all_rows_in_one_chunk_are_unpacked_once(tmp_path: Path, encoding: Any) -> None:
    content, layout = in_one_chunk(encoding)
    source = WatchedSource(content)
    blocks = list(MatrixReader(source, layout, budget=BUDGET, scratch=tmp_path).row_blocks())
    assert len(blocks) > 5
    assert source.bytes_read == sum(array.stored_bytes for array in layout.arrays.values())


def in_one_chunk(encoding: Any = "csr", filters: str = "gzip") -> tuple[bytes, MatrixLayout]:
    matrix = random_counts(np.random.default_rng(5), (900, 60), 0.3, "csc" if encoding == "csc" else "csr")
    stored = Stored(encoding, chunks=(10**6, 60), filters=filters)
    return saved(matrix.toarray() if encoding == "dense" else matrix, stored)


def test_chunks_without_wanted_rows_are_left_alone(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 100, 10_000)
    content, layout = saved_array(values, chunks=(1000,), compression="gzip")
    source = WatchedSource(content)
    with unpacked(source, {"": Wanted(layout, LIMIT, 2500, 4500)}, budget=BUDGET, scratch=tmp_path) as (places, found):
        np.testing.assert_array_equal(ArrayReader(places, found[""]).read(2500, 4500), values[2500:4500])
    assert source.bytes_read == layout.sizes[2:5].sum()


def test_chunks_without_filters_are_read_where_they_lie() -> None:
    values = np.arange(100_000)
    content, layout = saved_array(values, chunks=(30_000,))
    source = WatchedSource(content)
    wanted = {"": Wanted(layout, LIMIT, 0, 100_000)}
    with unpacked(source, wanted, budget=BUDGET, scratch=None) as (places, found):
        np.testing.assert_array_equal(ArrayReader(places, found[""]).read(29_999, 60_001), values[29_999:60_001])
    assert spooled_bytes(layout, LIMIT) == 0
    assert source.bytes_read < 8 * 30_002 + (1 << 19)


def test_what_was_never_written_is_the_fill_value(tmp_path: Path) -> None:
    def write(file: h5py.File) -> None:
        dataset = file.create_dataset("values", (300,), ">i4", fillvalue=7, chunks=(100,), compression="gzip")
        dataset[100:200] = np.arange(100)

    content, layout = written(write)
    expected = [7] * 100 + list(range(100)) + [7] * 100
    assert spooled_bytes(layout, LIMIT) == 400
    np.testing.assert_array_equal(rows_of(content, layout, 0, 300, tmp_path), expected)


def test_a_chunk_that_a_filter_was_not_applied_to_is_read_as_it_is(tmp_path: Path) -> None:
    plain = np.arange(100, dtype="<i4")

    def write(file: h5py.File) -> None:
        dataset = file.create_dataset("values", (200,), "<i4", chunks=(100,), compression="gzip", shuffle=True)
        dataset.id.write_direct_chunk((0,), plain.tobytes(), 0b11)
        dataset[100:] = plain

    content, layout = written(write)
    assert spooled_bytes(layout, LIMIT) == 400, "the second chunk alone"
    np.testing.assert_array_equal(rows_of(content, layout, 0, 200, tmp_path), [*plain, *plain])


@pytest.mark.parametrize("wide", [False, True])
def test_narrow_chunks_are_copied_even_without_filters_lest_a_row_takes_a_read_for_each(
    tmp_path: Path, wide: bool
) -> None:
    values = np.arange(2000, dtype="<i4").reshape(100, 20)
    content, layout = saved_array(values, chunks=(100, 20 if wide else 5))
    assert spooled_bytes(layout, LIMIT) == (0 if wide else 8000)
    np.testing.assert_array_equal(rows_of(content, layout, 10, 90, tmp_path), values[10:90])


# --- what is wrong with a chunk


def with_chunk(stored: bytes, filters: tuple[Filter, ...], count: int = 1000) -> tuple[bytes, ArrayLayout]:
    """A source that is one chunk of `count` float32."""
    offsets, sizes = np.zeros(1, np.int64), np.array([len(stored)], np.int64)
    masks = np.zeros(1, np.uint32)
    return stored, ArrayLayout("X/data", "<f4", (count,), (count,), filters, bytes(4), offsets, sizes, masks)


GZIP = (Filter(DEFLATE, (4,)),)
PLAIN = np.random.default_rng(1).normal(size=1000).astype("<f4").tobytes()
PACKED = zlib.compress(PLAIN)


@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        (PACKED[:-1], "end too early"),
        (PACKED[:2000], "end too early"),
        (PACKED + b"\0", "bytes follow"),
        (b"\xff" * 100, "cannot be unpacked"),
        (PACKED[:-1] + bytes([PACKED[-1] ^ 1]), "cannot be unpacked"),
        (PACKED[:1000] + bytes([PACKED[1000] ^ 255]) + PACKED[1001:], "cannot be unpacked|more than|bytes where"),
        (zlib.compress(PLAIN[:-1]), "3,999 bytes where 4,000"),
        (zlib.compress(PLAIN + b"\0"), "more than the 4,000"),
        (b"", "end too early"),
    ],
)
def test_a_damaged_chunk_is_refused_and_says_where(tmp_path: Path, stored: bytes, problem: str) -> None:
    content, layout = with_chunk(stored, GZIP)
    with pytest.raises(InvalidSubmission, match=problem) as refused:
        rows_of(content, layout, 0, 1000, tmp_path)
    assert (refused.value.code, refused.value.where) == ("file.damaged", "X/data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("filters", ["fletcher32", "gzip, shuffle, fletcher32"])
def test_a_checksum_is_verified(tmp_path: Path, filters: str) -> None:
    content, layout = saved_array(np.arange(20_000), chunks=(20_000,), **FILTERS[filters])
    place = int(layout.offsets[0] + layout.sizes[0]) - 1
    broken = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    with pytest.raises(InvalidSubmission, match="does not match its checksum"):
        rows_of(broken, layout, 0, 10, tmp_path)


def test_a_checksum_within_the_compressed_bytes_is_verified_too(tmp_path: Path) -> None:
    content, layout = saved_array(np.frombuffer(PLAIN, "<f4"), chunks=(1000,), fletcher32=True)
    stored = content[int(layout.offsets[0]) :][: int(layout.sizes[0])]
    filters = (Filter(FLETCHER32), *GZIP)
    right, wrong = zlib.compress(stored), zlib.compress(stored[:-1] + bytes([stored[-1] ^ 1]))
    assert rows_of(*with_chunk(right, filters), 0, 1000, tmp_path).tobytes() == PLAIN
    with pytest.raises(InvalidSubmission, match="checksum"):
        rows_of(*with_chunk(wrong, filters), 0, 1000, tmp_path)


def test_a_bomb_is_refused_before_more_is_written_than_it_declares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    class Watched(unpacking._Scratch):
        def append(self, parts: Any) -> int:
            try:
                return super().append(parts)
            finally:
                sizes.append(os.fstat(self._file.fileno()).st_size)

    monkeypatch.setattr(unpacking, "_Scratch", Watched)
    content, layout = with_chunk(zlib.compress(bytes(100_000_000)), GZIP, count=30_000)
    with pytest.raises(InvalidSubmission, match="more than the 120,000 bytes"):
        rows_of(content, layout, 0, 1000, tmp_path)
    assert len(sizes) == 1
    assert sizes[0] <= 120_000


@pytest.mark.parametrize(
    "filters",
    [
        (Filter(32000),),
        (Filter(SHUFFLE, (3,)), *GZIP),
        (*GZIP, Filter(SHUFFLE, (4,))),
        (Filter(FLETCHER32), Filter(SHUFFLE, (4,)), *GZIP),
    ],
)
def test_filters_that_cannot_be_undone_bit_by_bit_are_refused_kindly(filters: tuple[Filter, ...]) -> None:
    _, layout = with_chunk(b"1234", filters)
    with pytest.raises(InvalidSubmission) as refused:
        spooled_bytes(layout, LIMIT)
    assert (refused.value.code, refused.value.where) == ("file.chunk_too_large", "X/data")
    assert "write_h5ad" in refused.value.hint


def test_chunks_beyond_what_hdf5_allows_are_refused(tmp_path: Path) -> None:
    content, layout = with_chunk(PACKED, GZIP)
    lie = replace(layout, shape=(1 << 31,), chunks=(1 << 31,))
    with pytest.raises(InvalidSubmission) as refused:
        rows_of(content, lie, 0, 1, tmp_path)
    assert refused.value.code == "file.chunk_too_large"


@pytest.mark.parametrize("encoding", ["csr", "csc", "dense"])
def test_a_damaged_matrix_is_refused(tmp_path: Path, encoding: Any) -> None:
    content, layout = in_one_chunk(encoding)
    place = int(layout.arrays["data"].offsets[0] + layout.arrays["data"].sizes[0] // 2)
    broken = content[:place] + b"\xff" * 20 + content[place + 20 :]
    with pytest.raises(InvalidSubmission) as refused:
        list(MatrixReader(WatchedSource(broken), layout, budget=BUDGET, scratch=tmp_path).row_blocks())
    assert refused.value.code == "file.damaged"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("short", [False, True])
def test_a_fault_of_the_source_is_raised_as_it_was(tmp_path: Path, short: bool) -> None:
    content, layout = in_one_chunk()
    source = WatchedSource(content, fail_from=3, short=short)
    with pytest.raises(TransientError):
        list(MatrixReader(source, layout, budget=BUDGET, scratch=tmp_path).row_blocks())


# --- disk


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("encoding", ["csr", "csc", "dense"])
def test_an_iterator_that_is_closed_early_frees_its_disk(tmp_path: Path, encoding: Any) -> None:
    content, layout = in_one_chunk(encoding)
    before = open_files()
    blocks = MatrixReader(WatchedSource(content), layout, budget=BUDGET, scratch=tmp_path).row_blocks()
    next(blocks)
    assert open_files() > before
    blocks.close()
    assert open_files() == before
    assert list(tmp_path.iterdir()) == []


def test_the_disk_that_is_needed_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, layout = in_one_chunk()
    # The pointers are small enough to be held where the budget is larger.
    assert scratch_bytes(layout, budget=BUDGET) == sum(array.nbytes for array in layout.arrays.values())
    assert scratch_bytes(layout) == 0
    with pytest.raises(ServiceFault):
        MatrixReader(WatchedSource(content), layout, budget=BUDGET).row_blocks()
    usage = unpacking.shutil.disk_usage(tmp_path)
    needed = layout.arrays["data"].nbytes + layout.arrays["indices"].nbytes
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
    with pytest.raises(NotFeasible, match=f"{needed:,} bytes of disk") as refused:
        list(MatrixReader(WatchedSource(content), layout, budget=BUDGET, scratch=tmp_path).row_blocks())
    assert refused.value.code == "matrix.scratch_too_small"


def test_without_a_folder_such_an_array_is_refused_kindly() -> None:
    content, layout = saved_array(np.zeros(1000), chunks=(1000,), compression="gzip")
    with pytest.raises(InvalidSubmission) as refused:
        rows_of(content, layout, 0, 1000, None)
    assert refused.value.code == "file.chunk_too_large"

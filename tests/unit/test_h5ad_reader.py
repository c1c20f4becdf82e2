"""Rows of datasets by ranges: every way to store them, few requests, and no read that the file does not hold."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celldock.errors import HostileFile, InvalidSubmission, TransientError
from celldock.h5ad.fetching import Job, fetch_ahead, join_pieces
from celldock.h5ad.layout import ArrayLayout
from celldock.h5ad.reader import ArrayReader
from tests.matrices import FILTERS, WatchedSource, layout_in, saved_array, written

DTYPES = ["<f4", ">f4", "<f8", "<f2", "|i1", "<u8", ">i2", "<i4", "|b1"]


def read(content: bytes, layout: ArrayLayout, start: int, stop: int, **options: Any) -> np.ndarray:
    return ArrayReader(WatchedSource(content), layout, **options).read(start, stop)


def refusal(content: bytes, layout: ArrayLayout, **options: Any) -> InvalidSubmission:
    with pytest.raises(InvalidSubmission) as refused:
        read(content, layout, 0, layout.shape[0], **options)
    return refused.value


@settings(max_examples=100, deadline=None)
@given(
    shape=st.lists(st.integers(0, 30), min_size=1, max_size=3),
    chunks=st.one_of(st.none(), st.lists(st.integers(1, 12), min_size=3, max_size=3)),
    dtype=st.sampled_from(DTYPES),
    filters=st.sampled_from(list(FILTERS)),
    bounds=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    rows=st.integers(1, 20),
)
def test_rows_are_those_that_h5py_was_given(
    shape: list[int], chunks: list[int] | None, dtype: str, filters: str, bounds: tuple[float, float], rows: int
) -> None:
    values = np.random.default_rng(1).integers(0, 3, shape).astype(dtype)
    options: dict[str, Any] = {}
    if chunks is not None and values.size:
        within = tuple(min(chunk, length) for chunk, length in zip(chunks, shape, strict=False))
        options = {"chunks": within, **FILTERS[filters]}
    content, layout = saved_array(values, **options)
    start, stop = sorted(int(bound * shape[0]) for bound in bounds)
    reader = ArrayReader(WatchedSource(content), layout)
    whole = reader.read(start, stop)
    assert whole.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(whole, values[start:stop])
    blocks = list(reader.blocks(start, stop, rows))
    assert [len(block) for block in blocks] == [min(rows, stop - at) for at in range(start, stop, rows)]
    np.testing.assert_array_equal(np.concatenate([values[:0], *blocks]), values[start:stop])


def test_a_dataset_in_its_object_header_is_read_from_the_layout() -> None:
    def write(file: h5py.File) -> None:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((4, 2))
        dataset = h5py.h5d.create(file.id, b"values", h5py.h5t.STD_I16BE, space, properties)
        h5py.Dataset(dataset)[...] = np.arange(8).reshape(4, 2)

    content, layout = written(write)
    source = WatchedSource(content)
    np.testing.assert_array_equal(ArrayReader(source, layout).read(1, 3), [[2, 3], [4, 5]])
    assert source.ranges == []


@pytest.mark.parametrize("chunks", [None, (4,)])
def test_what_was_never_written_is_the_fill_value(chunks: Any) -> None:
    content, layout = written(lambda file: file.create_dataset("values", (10,), ">i4", fillvalue=7, chunks=chunks))
    np.testing.assert_array_equal(read(content, layout, 3, 9), [7] * 6)


def test_a_dataset_may_be_written_in_part() -> None:
    def write(file: h5py.File) -> None:
        dataset = file.create_dataset("values", (10, 6), "<f4", chunks=(4, 2), fillvalue=-1, compression="gzip")
        dataset[5, 3] = 9

    content, layout = written(write)
    assert (layout.offsets >= 0).sum() == 1
    expected = np.full((10, 6), -1.0)
    expected[5, 3] = 9
    np.testing.assert_array_equal(read(content, layout, 0, 10), expected)


def test_bytes_that_are_neither_true_nor_false_become_true() -> None:
    content, layout = saved_array(np.array([True, False, True, True]))
    at = int(layout.offsets[0])
    values = read(content[:at] + b"\x02\x00\x01\xff" + content[at + 4 :], layout, 0, 4)
    assert values.dtype == bool
    assert values.view(np.uint8).tolist() == [1, 0, 1, 1]


def test_rows_beyond_the_dataset_are_a_mistake() -> None:
    content, layout = saved_array(np.arange(10))
    with pytest.raises(ValueError, match="do not lie within 10"):
        read(content, layout, 5, 11)


# --- layouts that lie


LAYOUT = saved_array(np.arange(1000), chunks=(100,), compression="gzip")
IN_ONE_PIECE = saved_array(np.arange(1000))


@pytest.mark.parametrize(
    "lie",
    [
        {"offsets": np.full(10, 10**9)},
        {"offsets": np.full(10, 2**62)},
        {"sizes": np.full(10, 10**6)},
        {"sizes": np.full(10, -1)},
        {"sizes": np.full(10, 2**62)},
        {"shape": (2000,)},
        {"shape": (-1,)},
        {"shape": ()},
        {"chunks": (0,)},
        {"chunks": (100, 1)},
        {"dtype": "|O"},
        {"dtype": "|S8"},
        {"fill": b""},
    ],
    ids=str,
)
def test_a_layout_that_lies_is_refused_before_anything_is_read(lie: dict[str, Any]) -> None:
    content, layout = LAYOUT
    source = WatchedSource(content)
    with pytest.raises(InvalidSubmission) as refused:
        ArrayReader(source, replace(layout, **lie))
    assert (refused.value.code, refused.value.where) == ("file.damaged", "values")
    assert source.ranges == []


@pytest.mark.parametrize(
    "lie",
    [{"offsets": np.array([10**6])}, {"sizes": np.array([7999])}, {"shape": (1001,)}, {"inline": b"12345678"}],
    ids=str,
)
def test_a_dataset_in_one_piece_must_lie_within_the_file(lie: dict[str, Any]) -> None:
    content, layout = IN_ONE_PIECE
    assert refusal(content, replace(layout, **lie)).code == "file.damaged"


def test_chunks_that_point_at_each_others_bytes_are_damaged_not_wrong() -> None:
    content, layout = LAYOUT
    assert refusal(content, replace(layout, sizes=layout.sizes - 1)).code == "file.damaged"


def test_a_chunk_that_is_too_large_to_unpack_is_refused() -> None:
    content, layout = saved_array(np.zeros(100_000), chunks=(100_000,), compression="gzip")
    assert refusal(content, layout, budget=1 << 20).code == "file.chunk_too_large"


def test_a_file_that_was_cut_short_is_damaged() -> None:
    content, layout = LAYOUT
    assert refusal(content[: int(layout.offsets[-1]) + 5], layout).code == "file.damaged"


def test_chunks_that_share_their_bytes_are_refused() -> None:
    """A few bytes that would stand for a file of any size."""

    def write(file: h5py.File) -> None:
        file.create_dataset("values", data=np.zeros(4000), chunks=(1000,), compression="gzip")

    content, layout = written(write)
    places = [int(offset).to_bytes(8, "little") for offset in layout.offsets]
    assert all(content.count(place) == 1 for place in places)
    for place in places[1:]:
        content = content.replace(place, places[0])
    with pytest.raises(InvalidSubmission, match="lie in the same place"):
        layout_in(content)


def test_a_dataset_that_declares_more_than_its_chunks_can_hold_is_refused() -> None:
    def write(file: h5py.File) -> None:
        file.create_dataset("values", (10_000_000,), "<f8", chunks=(100_000,), compression="gzip")[0] = 1

    with pytest.raises(HostileFile) as refused:
        written(write)
    assert (refused.value.code, refused.value.where) == ("file.declares_more", "values")


# --- ranges and read-ahead


def test_neighbours_are_fetched_together_and_a_gap_costs_little() -> None:
    offsets, sizes = np.array([5_000_000, 0, 1_000_000]), np.array([1_000_000, 1_000_000, 1_000_000])
    ranges, places = join_pieces(offsets, sizes)
    assert ranges == [(0, 2_000_000), (5_000_000, 6_000_000)]
    assert places == [(1, 0, 1_000_000), (0, 0, 1_000_000), (0, 1_000_000, 2_000_000)]


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 5000)), max_size=60),
)
def test_every_piece_lies_where_it_is_said_to_and_little_is_fetched_in_vain(pieces: list[tuple[int, int]]) -> None:
    offsets = np.array([offset for offset, _ in pieces], np.int64)
    sizes = np.array([size for _, size in pieces], np.int64)
    ranges, places = join_pieces(offsets, sizes)
    for (number, begin, end), offset, size in zip(places, offsets, sizes, strict=True):
        start, stop = ranges[number]
        assert start + begin == offset
        assert end - begin == size
        assert begin + start + size <= stop
    assert sum(stop - start for start, stop in ranges) <= 1.05 * sizes.sum() + 1


def test_no_range_is_longer_than_eight_mebibytes() -> None:
    sizes = np.full(40, 1 << 20)
    ranges, _ = join_pieces(np.arange(40) << 20, sizes)
    assert [(stop - start) >> 20 for start, stop in ranges] == [8] * 5


def jobs(count: int, size: int) -> Any:
    for number in range(count):
        yield Job(number, np.array([number * size]), np.array([size]))


def test_later_bytes_are_fetched_while_earlier_ones_are_used_but_not_more_than_agreed() -> None:
    source = WatchedSource(bytes(100_000))
    fetched = fetch_ahead(source, jobs(100, 1000), ahead=5000)
    next(fetched)
    for _ in range(500):
        if len(source.ranges) == 5:
            break
        time.sleep(0.01)
    assert len(source.ranges) == 5
    assert [number for number, _ in fetched] == list(range(1, 100))


def test_pieces_come_in_order_although_later_ones_arrive_first() -> None:
    class Slow(WatchedSource):
        def read(self, offset: int, length: int) -> bytes:
            time.sleep(0.05 if offset == 0 else 0)
            return super().read(offset, length)

    source = Slow(bytes(range(100)))
    got = [(number, piece.tobytes()) for number, (piece,) in fetch_ahead(source, jobs(10, 10), ahead=100)]
    assert got == [(number, bytes(range(number * 10, number * 10 + 10))) for number in range(10)]


@pytest.mark.parametrize("short", [False, True])
def test_a_failing_source_ends_the_reading_with_its_own_error_and_no_threads(short: bool) -> None:
    source = WatchedSource(bytes(100_000), fail_from=7, short=short)
    with pytest.raises(TransientError):
        list(fetch_ahead(source, jobs(100, 1000), ahead=5000))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch")]

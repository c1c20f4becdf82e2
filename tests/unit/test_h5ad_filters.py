"""HDF5's filters undone: as libhdf5 wrote them, and refused where the bytes are not what they promise."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celldock.errors import InvalidSubmission
from celldock.h5ad.filters import DEFLATE, FLETCHER32, LZF, SHUFFLE, ChunkDecoder, Fletcher32
from celldock.h5ad.layout import ArrayLayout, Filter
from tests.matrices import FILTERS, saved_array

VALUES = np.random.default_rng(3).poisson(1.0, 5000).astype("<f4")


def only_chunk(content: bytes, layout: ArrayLayout) -> bytes:
    return content[layout.offsets[0] : layout.offsets[0] + layout.sizes[0]]


def refusal(layout: ArrayLayout, stored: bytes) -> InvalidSubmission:
    with pytest.raises(InvalidSubmission) as refused:
        ChunkDecoder(layout).decode(stored, 0)
    return refused.value


compressed = [name for name in FILTERS if name != "none"]


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(compressed),
    dtype=st.sampled_from(["|u1", "<u2", "<f4", "<f8"]),
    length=st.integers(1, 3000),
    spread=st.sampled_from([0.0, 0.1, 1.0, 1000.0]),
    seed=st.integers(0, 99),
)
def test_a_chunk_decodes_to_what_libhdf5_was_given(
    name: str, dtype: str, length: int, spread: float, seed: int
) -> None:
    values = (np.random.default_rng(seed).random(length) * spread).astype(dtype)
    content, layout = saved_array(values, chunks=(length,), **FILTERS[name])
    decoded = ChunkDecoder(layout).decode(only_chunk(content, layout), int(layout.masks[0]))
    assert bytes(decoded) == values.tobytes()


@pytest.mark.parametrize("name", compressed)
def test_a_filter_that_was_left_out_of_a_chunk_is_not_undone(name: str) -> None:
    _, layout = saved_array(VALUES, chunks=(5000,), **FILTERS[name])
    all_left_out = (1 << len(layout.filters)) - 1
    assert bytes(ChunkDecoder(layout).decode(VALUES.tobytes(), all_left_out)) == VALUES.tobytes()
    assert bytes(ChunkDecoder(layout).decode(VALUES.tobytes(), 0xFFFFFFFF)) == VALUES.tobytes(), "bits of no filter"


@pytest.mark.parametrize("name", compressed)
def test_a_chunk_that_is_cut_short_is_damaged(name: str) -> None:
    content, layout = saved_array(VALUES, chunks=(5000,), **FILTERS[name])
    stored = only_chunk(content, layout)
    for length in (0, 1, 3, len(stored) // 2, len(stored) - 5):
        error = refusal(layout, stored[:length])
        assert (error.code, error.where) == ("file.damaged", "values")
        assert error.hint


@pytest.mark.parametrize("name", compressed)
@pytest.mark.parametrize("shape", [(4999,), (5001,)])
def test_a_chunk_that_decodes_to_another_size_is_damaged(name: str, shape: tuple[int]) -> None:
    content, layout = saved_array(VALUES, chunks=(5000,), **FILTERS[name])
    assert refusal(replace(layout, chunks=shape), only_chunk(content, layout)).code == "file.damaged"


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(compressed), data=st.data())
def test_damaged_bytes_never_crash(name: str, data: st.DataObject) -> None:
    values = VALUES[:200]
    content, layout = saved_array(values, chunks=(200,), **FILTERS[name])
    stored = bytearray(only_chunk(content, layout))
    for _ in range(data.draw(st.integers(1, 8))):
        stored[data.draw(st.integers(0, len(stored) - 1))] = data.draw(st.integers(0, 255))
    decoded = b""
    with contextlib.suppress(InvalidSubmission):
        decoded = ChunkDecoder(layout).decode(bytes(stored), 0)
    assert len(decoded) in (0, values.nbytes)


@pytest.mark.parametrize("name", ["fletcher32", "gzip, shuffle, fletcher32"])
def test_a_checksum_finds_a_changed_byte(name: str) -> None:
    content, layout = saved_array(VALUES, chunks=(5000,), **FILTERS[name])
    stored = bytearray(only_chunk(content, layout))
    stored[len(stored) // 2] ^= 1
    assert "checksum" in refusal(layout, bytes(stored)).message


def test_checksums_of_libhdf5_before_1_6_3_have_their_bytes_swapped() -> None:
    content, layout = saved_array(VALUES, chunks=(5000,), fletcher32=True)
    stored = only_chunk(content, layout)
    a, b, c, d = stored[-4:]
    assert bytes(ChunkDecoder(layout).decode(stored[:-4] + bytes([b, a, d, c]), 0)) == VALUES.tobytes()


@pytest.mark.parametrize("content", [b"", b"\0", b"\0" * 999, b"\xff" * 400_001, bytes(range(256)) * 700])
@pytest.mark.parametrize("step", [1 << 30, 30_001])
def test_the_checksum_is_that_of_the_definition_in_whatever_parts_the_bytes_come(content: bytes, step: int) -> None:
    first = second = 0
    for at in range(0, len(content), 2):
        first += int.from_bytes(content[at : at + 2].ljust(2, b"\0"), "big")
        first = (first & 0xFFFF) + (first >> 16)
        second += first
        second = (second & 0xFFFF) + (second >> 16)
    checksum = Fletcher32()
    for at in range(0, len(content), step):
        checksum.update(content[at : at + step])
    assert checksum.value() == second << 16 | first


def lzf_layout(size: int) -> ArrayLayout:
    none: Any = np.empty(0, np.int64)
    return ArrayLayout("values", "|u1", (size,), (size,), (Filter(LZF),), b"\0", none, none, none)


@pytest.mark.parametrize(
    ("stored", "plain"),
    [
        (b"\x02abc", b"abc"),
        (b"\x00a\x20\x00", b"aaaa"),
        (b"\x01ab\x40\x01", b"abababab"[:6]),
        (b"\x00a\xe0\xff\x00", b"a" * (1 + 7 + 255 + 2)),
    ],
    ids=["literal", "a reference into what it writes", "a pattern", "a long reference"],
)
def test_lzf_by_hand(stored: bytes, plain: bytes) -> None:
    assert bytes(ChunkDecoder(lzf_layout(len(plain))).decode(stored, 0)) == plain


@pytest.mark.parametrize("stored", [b"\x20\x00", b"\x00a\x20\x01", b"\x1fa", b"\x00a\xe0", b"\x00a\x20"])
def test_lzf_that_refers_to_nothing_is_damaged(stored: bytes) -> None:
    assert refusal(lzf_layout(4), stored).code == "file.damaged"


def test_lzf_that_unpacks_to_much_more_stops_early() -> None:
    bomb = b"\x00a" + b"\xe0\xff\x00" * 1_000_000
    assert refusal(lzf_layout(1000), bomb).code == "file.damaged"


@pytest.mark.parametrize("filters", [(4,), (32015,), (DEFLATE, LZF), (LZF, DEFLATE), (DEFLATE, DEFLATE)])
def test_filters_that_celldock_does_not_undo_are_refused(filters: tuple[int, ...]) -> None:
    layout = replace(lzf_layout(10), filters=tuple(Filter(identifier) for identifier in filters))
    with pytest.raises(InvalidSubmission) as refused:
        ChunkDecoder(layout)
    assert (refused.value.code, refused.value.where) == ("file.filter_unknown", "values")


def test_filters_are_undone_in_the_order_in_which_the_file_has_them() -> None:
    """A checksum below the compression, which no h5py function writes but libhdf5 reads."""
    with h5py.File(io.BytesIO(), "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((5000,))
        properties.set_fletcher32()
        properties.set_shuffle()
        properties.set_deflate(4)
        space = h5py.h5s.create_simple((5000,))
        dataset = h5py.h5d.create(file.id, b"values", h5py.h5t.IEEE_F32LE, space, properties)
        h5py.Dataset(dataset)[...] = VALUES
        file.flush()
        mask, stored = dataset.read_direct_chunk((0,))
        filters = [dataset.get_create_plist().get_filter(index) for index in range(3)]
    known = tuple(Filter(identifier, tuple(values)) for identifier, _, values, _ in filters)
    assert [item.identifier for item in known] == [FLETCHER32, SHUFFLE, DEFLATE]
    layout = replace(lzf_layout(5000), dtype="<f4", fill=bytes(4), filters=known)
    assert bytes(ChunkDecoder(layout).decode(stored, mask)) == VALUES.tobytes()

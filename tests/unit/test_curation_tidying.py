"""Rows in canonical form, casts that lose nothing, and counts proven from what they were normalised to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from celldock.curation.counts import tolerance, undo_log1p
from celldock.curation.tidying import Tidying, UnfitError, places_among
from celldock.errors import InvalidSubmission
from celldock.h5ad.block import Block
from celldock.scan import rows
from celldock.scan.rows import Tile

FLOAT32 = np.dtype(np.float32)
EPSILON = float(np.finfo(np.float32).eps)


def block_of(matrix: Any) -> Block:
    return Block(0, matrix.indptr.astype(np.int64), matrix.indices, matrix.data)


def tidied(matrix: Any, tidying: Tidying, columns: int) -> Any:
    """The new rows as a matrix; every row has come once, in order."""
    blocks = list(tidying.blocks(block_of(matrix)))
    assert [block.start for block in blocks] == np.cumsum([0, *(block.n_rows for block in blocks[:-1])]).tolist()
    parts = [sparse.csr_matrix((block.data, block.indices, block.indptr), (block.n_rows, columns)) for block in blocks]
    return sparse.vstack(parts, format="csr")


@st.composite
def stored(draw: st.DrawFn) -> Any:
    """A csr matrix of 5 columns in any order, with repeated indices and zeros that are stored."""
    lengths = draw(st.lists(st.integers(0, 8), min_size=1, max_size=12))
    nnz = sum(lengths)
    indices = draw(arrays.arrays(np.int32, nnz, elements=st.integers(0, 4)))
    data = draw(arrays.arrays(np.float32, nnz, elements=st.integers(-2, 9).map(float)))
    return sparse.csr_matrix((data, indices, np.cumsum([0, *lengths])), (len(lengths), 5))


@settings(max_examples=60, deadline=None)
@given(matrix=stored(), places=st.permutations([3, -1, 0, 2, 1]))
def test_any_rows_become_canonical(matrix: Any, places: list[int]) -> None:
    expected = np.zeros((matrix.shape[0], 4), np.float32)
    whole = matrix.toarray()
    for column, place in enumerate(places):
        if place >= 0:
            expected[:, place] = whole[:, column]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "TILE", 10)
        made = tidied(matrix, Tidying("X", FLOAT32, np.array(places, np.int32)), 4)

    np.testing.assert_array_equal(made.toarray(), expected)
    assert made.nnz == np.count_nonzero(expected)
    assert all((np.diff(part) > 0).all() for part in np.split(made.indices, made.indptr[1:-1]))


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int32", "int64", "uint64", "float64"])
def test_small_counts_of_any_type_become_float32(dtype: str) -> None:
    counts = np.array([[0, 1, 0], [1, 0, 1]]).astype(dtype)
    made = tidied(sparse.csr_matrix(counts), Tidying("X", FLOAT32), 3)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made.toarray(), counts.astype(np.float32))


@pytest.mark.parametrize(
    ("values", "dtype", "unfit"),
    [
        ([[1, 2**24 + 1]], FLOAT32, (0, 1, 2**24 + 1)),
        ([[1, 0], [0, -(2**53) - 2]], np.dtype(np.int64), (1, 1, -(2**53) - 2)),
        ([[0.5, 0.1]], FLOAT32, (0, 1, 0.1)),
    ],
)
def test_what_would_be_lost_is_refused(values: Any, dtype: np.dtype[Any], unfit: tuple[int, int, float]) -> None:
    with pytest.raises(UnfitError) as caught:
        tidied(sparse.csr_matrix(np.array(values)), Tidying("X", dtype), 2)
    assert (caught.value.row, caught.value.column, caught.value.value) == unfit
    assert caught.value.count == 1


def test_rounding_may_be_allowed_but_not_to_infinity() -> None:
    made = tidied(sparse.csr_matrix([[0.5, 0.1]]), Tidying("X", FLOAT32, rounding=True), 2)
    assert made.toarray().tolist() == [[0.5, np.float32(0.1)]]
    with pytest.raises(UnfitError):
        tidied(sparse.csr_matrix([[0.5, 1e300]]), Tidying("X", FLOAT32, rounding=True), 2)


def test_sums_that_their_type_does_not_hold_are_refused() -> None:
    twice = sparse.csr_matrix((np.array([100, 100], np.int8), [1, 1], [0, 2]), (1, 2))
    with pytest.raises(UnfitError, match="int8"):
        tidied(twice, Tidying("X", np.dtype(np.int8)), 2)


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidSubmission) as caught:
        tidied(sparse.csr_matrix(np.array([[1j]])), Tidying("X", FLOAT32), 1)
    assert caught.value.code == "matrix.not_numeric"


def test_places_tell_where_each_gene_goes() -> None:
    found = places_among(("a", "", "c"), ("c", "a"))
    assert found is not None
    assert found.tolist() == [1, -1, 0]
    assert places_among(("a", "b"), ("a", "b")) is None


def tiles_of(matrix: Any) -> Iterator[Tile]:
    return rows.tiles(block_of(matrix), "X")


@pytest.fixture
def counts() -> np.ndarray:
    found = np.random.default_rng(1).poisson(0.7, (200, 300))
    found[:, 0] += 1
    return found


@pytest.mark.parametrize("decimals", [None, 3, 4])
def test_counts_come_back_from_their_logarithms(counts: np.ndarray, decimals: int | None) -> None:
    totals = counts.sum(axis=1)
    values = np.log1p((counts / totals[:, None] * 1e4).astype(np.float32))
    matrix = sparse.csr_matrix((values if decimals is None else values.round(decimals)).astype(np.float32))
    for tile in tiles_of(matrix):
        found = undo_log1p(tile, totals.astype(np.float64), 1e4, EPSILON)
        np.testing.assert_array_equal(found, counts[counts > 0])


@pytest.mark.parametrize("wrong", ["target", "totals", "scaled", "counts", "no total"])
def test_what_was_not_normalised_so_is_refused(counts: np.ndarray, wrong: str) -> None:
    totals = counts.sum(axis=1).astype(np.float64)
    values = np.log1p(counts / totals[:, None] * (1e6 if wrong == "target" else 1e4))
    stated = {"totals": totals * 1.3, "no total": np.zeros_like(totals)}.get(wrong, totals)
    shown = {"scaled": values * 1.07, "counts": counts}.get(wrong, values)
    (tile,) = tiles_of(sparse.csr_matrix(shown.astype(np.float32)))
    target = 1.1e6 if wrong == "target" else 1e4
    with pytest.raises(UnfitError, match="count") as caught:
        undo_log1p(tile, stated, target, EPSILON)
    assert caught.value.value in shown.astype(np.float32)[caught.value.row]


def test_a_value_that_is_off_by_more_than_rounding_is_found(counts: np.ndarray) -> None:
    totals = counts.sum(axis=1).astype(np.float64)
    values = np.log1p(counts / totals[:, None] * 1e4).astype(np.float32)
    values[7, 0] *= np.float32(1.0001)
    (tile,) = tiles_of(sparse.csr_matrix(values))
    with pytest.raises(UnfitError, match="normalised to") as caught:
        undo_log1p(tile, totals, 1e4, EPSILON)
    assert (caught.value.row, caught.value.column, caught.value.count) == (7, 0, 1)


def test_the_last_decimal_bounds_what_rounding_explains() -> None:
    assert tolerance(np.array([0.125, 1.5]), EPSILON) == pytest.approx([0.0005] * 2, rel=0.01)
    assert (tolerance(np.array([0.1234567, 1.5]), EPSILON) < 1e-5).all()

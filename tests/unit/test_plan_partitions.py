"""Row blocks cover a matrix once and cost about the same, whatever the rows hold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celldock.plan.partitions import (
    PARTITION_ELEMENTS,
    ROW_STEP,
    cost_of,
    cut_rows,
    elements_of_dense,
    elements_of_sparse,
)


def blocks_of(indptr: np.ndarray, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """indptr as it is streamed: parts of `size` rows with their first row, each with one pointer more than rows."""
    for first in range(0, len(indptr) - 1, size):
        yield first, indptr[first : first + size + 1]


def indptr_of(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(lengths)))


@given(rows=st.integers(1, 3000), size=st.integers(1, 700), seed=st.integers(0, 99))
def test_elements_are_sampled_on_every_256th_row_and_at_the_end_however_indptr_comes(
    rows: int, size: int, seed: int
) -> None:
    indptr = indptr_of(np.random.default_rng(seed).integers(0, 50, rows))

    sampled = elements_of_sparse(blocks_of(indptr, size))

    assert sampled.tolist() == indptr[[*range(0, rows, ROW_STEP), rows]].tolist()


@given(
    rows=st.integers(1, 200_000),
    mean=st.sampled_from([0, 1, 2_000, 30_000]),
    skew=st.sampled_from([0.0, 1.0, 3.0]),
    seed=st.integers(0, 99),
)
def test_blocks_cover_every_row_once_and_none_is_much_dearer_than_another(
    rows: int, mean: int, skew: float, seed: int
) -> None:
    steps = -(-rows // ROW_STEP)
    lengths = (np.random.default_rng(seed).lognormal(0, skew, steps) * mean * ROW_STEP).astype(np.int64)
    elements = indptr_of(lengths)

    blocks = cut_rows(rows, elements)

    assert [0, *(stop for _, stop in blocks)] == [*(start for start, _ in blocks), rows]
    assert all(start % ROW_STEP == 0 and start < stop for start, stop in blocks)
    costs = [
        cost_of(stop - start, int(elements[-(-stop // ROW_STEP)] - elements[start // ROW_STEP]))
        for start, stop in blocks
    ]
    dearest_step = cost_of(ROW_STEP, int(lengths.max()))
    assert max(costs) <= PARTITION_ELEMENTS + dearest_step


def test_a_matrix_without_rows_has_no_block() -> None:
    assert cut_rows(0, elements_of_dense(0, 10)) == []


def test_rows_cost_something_even_if_they_are_empty() -> None:
    rows = 4_000_000
    assert len(cut_rows(rows, elements_of_sparse([(0, np.zeros(rows + 1, np.int64))]))) > 1


@pytest.mark.parametrize(("rows", "columns", "count"), [(256, 60_000, 1), (1000, 30_000, 2), (100_000, 30_000, 151)])
def test_a_dense_matrix_is_cut_by_elements(rows: int, columns: int, count: int) -> None:
    blocks = cut_rows(rows, elements_of_dense(rows, columns))

    assert len(blocks) == count
    assert max(stop - start for start, stop in blocks) * columns <= PARTITION_ELEMENTS + ROW_STEP * columns


def test_blocks_of_a_usual_matrix_hold_about_twenty_million_elements() -> None:
    rows, per_row = 100_000, 2_000
    indptr = np.arange(rows + 1, dtype=np.int64) * per_row

    blocks = cut_rows(rows, elements_of_sparse([(0, indptr)]))

    sizes = [(stop - start) * per_row for start, stop in blocks]
    assert len(blocks) == 11
    assert 15_000_000 < min(sizes) <= max(sizes) < 20_000_000

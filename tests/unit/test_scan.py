"""One pass over a matrix: what it finds, what it keeps of each row, and how partial results become one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse

from celldock.errors import InvalidSubmission, ServiceFault
from celldock.h5ad.block import Block
from celldock.h5ad.layout import Array
from celldock.scan import MAX_PAIRS, Defect, DefectKind, MatrixScan, Refusal, ScanResult, read_partial, scan_rows

COUNTS = np.array(
    [
        [1, 0, 2, 0],
        [0, 0, 0, 0],
        [0, 5, 0, 0],
        [1, 0, 2, 0],
        [0, 5, 0, 0],
        [0, 5, 0, 0],
    ],
    np.float32,
)


def block_of(matrix: Array, start: int = 0) -> Block:
    """Rows of a dense matrix, the first of which has the number `start`."""
    stored = sparse.csr_matrix(matrix)
    return Block(start, stored.indptr.astype(np.int64), stored.indices, stored.data)


def block(*rows: list[tuple[int, float]], start: int = 0) -> Block:
    """Rows as lists of (column, value), stored as they are."""
    indptr = np.cumsum([0, *map(len, rows)])
    elements = [element for row in rows for element in row]
    return Block(
        start,
        indptr,
        np.array([column for column, _ in elements], np.int32),
        np.array([value for _, value in elements], np.float32),
    )


def scan(*blocks: Block, n_vars: int = 4, path: str = "X", groups: list[int] | None = None) -> MatrixScan:
    stop = blocks[-1].start + blocks[-1].n_rows
    return scan_rows(
        blocks,
        path=path,
        start=blocks[0].start,
        stop=stop,
        n_vars=n_vars,
        groups=None if groups is None else np.array(groups),
        n_groups=max(groups or [-1]) + 1,
        keep_rows=True,
    )


def test_genes_have_counts_of_nonzeros_and_sums() -> None:
    genes = scan(block_of(COUNTS)).genes

    assert genes.counts.tolist() == [2, 3, 2, 0]
    assert genes.sums().tolist() == [2, 15, 4, 0]


def test_groups_have_them_too_and_cells_of_no_group_count_for_their_genes_alone() -> None:
    found = scan(block_of(COUNTS), groups=[0, 0, 1, 1, 1, -1])

    assert found.groups is not None
    assert found.groups.counts.tolist() == [[1, 0, 1, 0], [1, 2, 1, 0]]
    assert found.groups.sums().tolist() == [[1, 0, 2, 0], [1, 10, 2, 0]]
    assert found.genes.counts.tolist() == [2, 3, 2, 0]


def test_codes_outside_of_the_groups_are_of_no_group() -> None:
    found = scan_rows(
        [block_of(COUNTS)], path="X", start=0, stop=6, n_vars=4, groups=np.array([0, 1, 99, -7, 1, 1]), n_groups=2
    )

    assert found.groups is not None
    assert found.groups.counts.sum() == 4
    assert found.genes.counts.sum() == 7


def test_groups_that_would_take_too_much_memory_are_left_out_with_the_reason() -> None:
    n_groups = MAX_PAIRS // 4
    found = scan_rows(
        [block_of(COUNTS)], path="X", start=0, stop=6, n_vars=4, groups=np.zeros(6, np.int32), n_groups=n_groups
    )

    assert found.groups is None
    assert f"{n_groups:,} groups x 4 genes" in found.groups_left_out
    assert found.genes.counts.tolist() == [2, 3, 2, 0]


def test_sums_do_not_depend_on_the_order_where_floating_point_does() -> None:
    values = [2.0**30, 0.1, -(2.0**30), 0.3, 1e-9]
    forwards = scan(block(*[[(0, value)] for value in values]), n_vars=1).genes
    backwards = scan(block(*[[(0, value)] for value in values[::-1]]), n_vars=1).genes

    assert forwards.sums() == backwards.sums() == pytest.approx(0.4 + 2**-30, abs=2**-26)
    assert sum(map(np.float32, values)) != sum(map(np.float32, values[::-1]))


def test_defects_tell_values_rows_and_the_first_five_of_these() -> None:
    rows = [[(0, -1.5), (1, -2.0)]] * 3 + [[(0, 1.0)]] + [[(0, np.nan), (1, np.inf), (2, -np.inf)]] * 4
    defects = scan(block(*rows, start=10)).defects

    assert defects[DefectKind.NEGATIVE] == Defect(6, 3, (10, 11, 12))
    assert defects[DefectKind.NON_INTEGER] == Defect(3, 3, (10, 11, 12))
    assert defects[DefectKind.NAN] == Defect(4, 4, (14, 15, 16, 17))
    assert defects[DefectKind.POSITIVE_INFINITY].values == 4
    assert defects[DefectKind.NEGATIVE_INFINITY].values == 4
    assert defects[DefectKind.EMPTY_ROW] == Defect()


def test_the_first_rows_with_a_defect_are_the_lowest_whichever_part_comes_first() -> None:
    empty: list[tuple[int, float]] = []
    late = scan(block(*[empty] * 4, start=100))
    late.merge(scan(block(*[empty] * 4, start=20)))

    assert late.defects[DefectKind.EMPTY_ROW] == Defect(8, 8, (20, 21, 22, 23, 100))


def test_extremes_are_those_of_finite_nonzeros() -> None:
    found = scan(block([(0, 0.0), (1, 3.0), (2, np.inf)], [(0, 2.0), (3, np.nan)]))

    assert (found.low, found.high) == (2.0, 3.0)
    assert scan(block([(0, np.nan)])).low is None


def test_storage_is_told_apart_from_content() -> None:
    found = scan(block([(2, 1.0), (0, 2.0)], [(1, 3.0), (1, -3.0), (3, 0.0)]))

    assert (found.stored, found.explicit_zeros, found.nonzeros) == (5, 1, 2)
    assert found.defects[DefectKind.UNSORTED_ROW] == Defect(1, 1, (0,))
    assert found.defects[DefectKind.REPEATED_INDEX] == Defect(1, 1, (1,))
    assert found.defects[DefectKind.EMPTY_ROW] == Defect(1, 1, (1,))


@pytest.mark.parametrize(
    ("values", "total"),
    [
        pytest.param([1.0, 2.0], 3.0, id="integers"),
        pytest.param([0.1, 0.2, 0.3], 0.6, id="rounded once"),
        pytest.param([1e308, 1e308, -1e308], 1e308, id="too large in between"),
        pytest.param([1e308, 1e308], np.inf, id="too large"),
        pytest.param([-1e308, -1e308], -np.inf, id="too large below zero"),
        pytest.param([1e308, 1e308, -np.inf], -np.inf, id="one infinity"),
        pytest.param([np.inf, -np.inf], np.nan, id="both infinities"),
    ],
)
def test_values_that_share_an_index_are_their_exact_sum(values: list[float], total: float) -> None:
    apart = Block(0, np.array([0, len(values)]), np.zeros(len(values), np.int32), np.array(values))
    together = Block(0, np.array([0, 1]), np.zeros(1, np.int32), np.array([total]))
    found, expected = scan(apart), scan(together)

    assert found.rows is not None
    assert expected.rows is not None
    assert found.rows.hashes.tolist() == expected.rows.hashes.tolist()
    assert (found.low, found.high) == (expected.low, expected.high)
    for kind in (DefectKind.NAN, DefectKind.POSITIVE_INFINITY, DefectKind.NEGATIVE_INFINITY):
        assert found.defects[kind] == expected.defects[kind]


def test_values_too_large_for_sums_are_counted_apart() -> None:
    found = scan(block([(0, 2.0**36), (1, 1e30)], [(0, 7.0)]))

    assert found.defects[DefectKind.LARGE] == Defect(2, 1, (0,))
    assert found.genes.counts.tolist() == [2, 1, 0, 0]
    assert found.genes.sums().tolist() == [7, 0, 0, 0]


@pytest.mark.parametrize(
    "pick",
    [
        pytest.param(lambda rng, size: rng.integers(1, 1000, size), id="counts"),
        pytest.param(lambda rng, size: np.log1p(rng.integers(1, 1000, size)), id="logarithms"),
        pytest.param(lambda rng, size: rng.normal(0, 1, size), id="scaled"),
        pytest.param(lambda rng, size: rng.random(size) * 2.0**24, id="large fractions"),
        pytest.param(lambda rng, size: rng.integers(1, 2**35, size), id="large counts"),
        pytest.param(lambda rng, size: rng.random(size) * 2.0 ** rng.integers(-40, 35, size), id="of all sizes"),
        pytest.param(lambda rng, size: np.where(np.arange(size) // 200_000 % 2, rng.random(size), 3), id="in turns"),
    ],
)
def test_sums_of_many_rows_are_exact(pick: Callable[[np.random.Generator, int], Array]) -> None:
    rng = np.random.default_rng(1)
    n_rows, n_vars = 60_000, 20
    present = rng.random((n_rows, n_vars)) < 0.7
    rows, indices = np.nonzero(present)
    values = pick(rng, len(indices)).astype(np.float32)
    groups = rng.integers(0, 2, n_rows)
    slots = groups[rows] * n_vars + indices
    wholes, fractions = np.divmod(np.rint(np.ldexp(values.astype(np.float64), 30)), 2.0**30)
    exact = np.zeros(2 * n_vars, object)
    np.add.at(exact, slots, wholes.astype(np.int64).astype(object) * 2**30 + fractions.astype(np.int64).astype(object))

    indptr = np.concatenate(([0], np.cumsum(present.sum(axis=1))))
    found = scan_rows(
        [Block(0, indptr, indices, values)],
        path="X",
        start=0,
        stop=n_rows,
        n_vars=n_vars,
        groups=groups,
        n_groups=2,
    ).groups

    assert found is not None
    assert (found.whole.astype(object) * 2**30 + found.part).ravel().tolist() == exact.tolist()
    assert found.counts.ravel().tolist() == np.bincount(slots[values != 0], minlength=2 * n_vars).tolist()


def test_rows_keep_their_nonzeros_and_equal_rows_are_found() -> None:
    rows = scan(block_of(COUNTS)).rows

    assert rows is not None
    assert rows.nnz.tolist() == [2, 0, 1, 2, 1, 1]
    assert [group.tolist() for group in rows.duplicates()] == [[0, 3], [2, 4, 5]]


def test_equal_rows_are_looked_for_among_some_rows_only() -> None:
    rows = scan(block_of(COUNTS)).rows

    assert rows is not None
    in_tissue = np.array([True, True, True, False, False, True])
    assert [group.tolist() for group in rows.duplicates(in_tissue)] == [[2, 5]]
    assert len(rows.duplicates(np.zeros(6, np.bool))) == 0


def test_rows_that_differ_are_no_duplicates_though_one_half_of_the_hash_is_equal() -> None:
    rows = scan(block_of(COUNTS)).rows

    assert rows is not None
    rows.hashes[:, 0] = 1
    assert [group.tolist() for group in rows.duplicates()] == [[0, 3], [2, 4, 5]]


def test_values_that_are_no_numbers_are_refused() -> None:
    words = Block(0, np.array([0, 1]), np.array([0], np.int32), np.array(["x"]))

    with pytest.raises(InvalidSubmission) as refused:
        scan(words)
    assert (refused.value.code, refused.value.where) == ("matrix.not_numeric", "X")


@pytest.mark.parametrize(
    ("blocks", "stop"),
    [
        pytest.param([block_of(COUNTS[:2])], 6, id="rows are missing at the end"),
        pytest.param([block_of(COUNTS[:2]), block_of(COUNTS[3:], 3)], 6, id="a row is missing between"),
        pytest.param([block_of(COUNTS)], 5, id="a row too many"),
    ],
)
def test_blocks_must_hold_the_rows_that_were_asked_for(blocks: list[Block], stop: int) -> None:
    with pytest.raises(ServiceFault):
        scan_rows(blocks, path="X", start=0, stop=stop, n_vars=4)


def partials(path: str = "X", *edges: int) -> list[MatrixScan]:
    """The scans of COUNTS, cut at the edges."""
    cuts = [0, *edges, len(COUNTS)]
    return [scan(block_of(COUNTS[start:stop], start), path=path) for start, stop in pairwise(cuts)]


def test_partial_results_become_one_in_any_order() -> None:
    result = ScanResult({"X": 6, "raw/X": 6})
    parts = [*partials("X", 2, 3), *partials("raw/X", 5)]
    for partial in reversed(parts):
        result.add(read_partial(partial.to_bytes()))
    result.check_complete()

    raw = result.matrix("raw/X")
    assert raw is not None
    assert raw.to_bytes() == scan(block_of(COUNTS), path="raw/X").to_bytes()
    assert raw.rows is not None
    assert [group.tolist() for group in raw.rows.duplicates()] == [[0, 3], [2, 4, 5]]
    assert result.refusals == ()


def test_a_matrix_of_which_rows_were_refused_has_no_facts_but_the_refusal() -> None:
    error = InvalidSubmission("broken", code="file.damaged", where="X/data", hint="upload it again")
    result = ScanResult({"X": 6, "raw/X": 6})
    first, second = partials("X", 2)
    for partial in (first, Refusal.of(error, path="X", start=2, stop=6), *partials("raw/X")):
        result.add(read_partial(partial.to_bytes()))
    result.check_complete()

    assert result.matrix("X") is None
    assert result.matrix("raw/X") is not None
    [refusal] = result.refusals
    assert (refusal.start, refusal.stop) == (2, 6)
    assert (refusal.error.code, refusal.error.message, refusal.error.where) == ("file.damaged", "broken", "X/data")
    with pytest.raises(ServiceFault):
        result.add(second)


def test_a_result_that_lacks_rows_is_our_fault() -> None:
    result = ScanResult({"X": 6})
    first, _, last = partials("X", 2, 3)
    result.add(first)
    result.add(last)

    with pytest.raises(ServiceFault) as fault:
        result.check_complete()
    assert fault.value.code == "scan.gap"


def test_rows_that_come_twice_are_our_fault() -> None:
    result = ScanResult({"X": 6})
    for partial in partials("X", 2):
        result.add(partial)

    with pytest.raises(ServiceFault) as fault:
        result.add(scan(block_of(COUNTS[1:3], 1)))
    assert fault.value.code == "scan.overlap"


@pytest.mark.parametrize(
    "stranger",
    [
        pytest.param(scan(block_of(COUNTS), path="layers/a"), id="another matrix"),
        pytest.param(scan(block_of(COUNTS, 6)), id="rows beyond the last"),
    ],
)
def test_rows_that_the_file_does_not_have_are_our_fault(stranger: MatrixScan) -> None:
    with pytest.raises(ServiceFault):
        ScanResult({"X": 6}).add(stranger)


def test_scans_with_different_genes_or_groups_do_not_merge() -> None:
    with pytest.raises(ServiceFault):
        scan(block_of(COUNTS)).merge(scan(block_of(COUNTS, 6), n_vars=5))
    with pytest.raises(ServiceFault):
        scan(block_of(COUNTS)).merge(scan(block_of(COUNTS, 6), groups=[0] * 6))


def test_partial_results_of_another_version_are_our_fault() -> None:
    data = scan(block_of(COUNTS)).to_bytes()

    for other in (data.replace(b'"scan_version":1', b'"scan_version":2'), b"something else"):
        with pytest.raises(ServiceFault) as fault:
            read_partial(other)
        assert fault.value.code == "scan.version"

"""What a scan finds does not depend on how a matrix is stored, cut or put together, and is what plain Python finds."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from celldock.h5ad.block import Block
from celldock.scan import Defect, DefectKind, MatrixScan, scan_rows

type Number = int | float
type Row = list[tuple[int, Number]]

N_GROUPS = 3
examples = settings(max_examples=60, deadline=None)
EXTREMES = [
    *(math.nan, math.inf, -math.inf, 0.0, -0.0, 0.5, -1.0, 1e-45, 2.0**-31, -3 * 2.0**-31, 2.0**20, 2.0**21 + 0.5),
    *(
        2.0**36,
        2.0**36 - 4096,
        -(2.0**36),
        float(np.finfo(np.float32).max),
        float(np.finfo(np.float32).smallest_normal),
    ),
]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "float16": st.floats(width=16),
    "float32": st.floats(width=32) | st.sampled_from(EXTREMES).map(lambda value: float(np.float32(value))),
    "float64": st.floats() | st.sampled_from([*EXTREMES, 1e-320, 1e39, 1e308, -1e308, 0.1, 2.0**36 - 2.0**-17]),
    "bool": st.booleans(),
    **{
        name: st.integers(np.iinfo(name).min, np.iinfo(name).max) | st.sampled_from([0, 1, 2, np.iinfo(name).max])
        for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
    },
}


@dataclass(frozen=True)
class Matrix:
    """Rows as they are stored, and the group of each."""

    n_vars: int
    rows: list[Row]
    groups: list[int]
    dtype: str = "float64"
    index_dtype: str = "int32"

    def block(self, start: int, stop: int) -> Block:
        elements = [element for row in self.rows[start:stop] for element in row]
        return Block(
            start,
            np.cumsum([0, *(len(row) for row in self.rows[start:stop])]),
            np.array([index for index, _ in elements], self.index_dtype),
            np.array([value for _, value in elements], self.dtype),
        )

    def scan(self, start: int = 0, stop: int | None = None, *cuts: int) -> MatrixScan:
        """Of the rows [start, stop), in blocks that are cut at `cuts`."""
        stop = len(self.rows) if stop is None else stop
        edges = [start, *sorted(cut for cut in cuts if start < cut < stop), stop]
        blocks = [self.block(*edge) for edge in pairwise(edges)]
        return scan_blocks(blocks, self, start, stop)


def scan_blocks(blocks: Sequence[Block], matrix: Matrix, start: int = 0, stop: int | None = None) -> MatrixScan:
    stop = len(matrix.rows) if stop is None else stop
    return scan_rows(
        blocks,
        path="X",
        start=start,
        stop=stop,
        n_vars=matrix.n_vars,
        groups=np.array(matrix.groups[start:stop], np.int8),
        n_groups=N_GROUPS,
        keep_rows=True,
    )


@st.composite
def matrices(draw: st.DrawFn, *, repeats: bool = True, dtypes: Sequence[str] = tuple(VALUES)) -> Matrix:
    """Any matrix; without `repeats` no index comes twice in a row."""
    dtype = draw(st.sampled_from(dtypes))
    n_vars = draw(st.integers(1, 5))
    element = st.tuples(st.integers(0, n_vars - 1), VALUES[dtype])
    unique = None if repeats else (lambda pair: pair[0])
    rows = draw(st.lists(st.lists(element, max_size=8, unique_by=unique), max_size=10))
    groups = draw(st.lists(st.integers(-1, N_GROUPS - 1), min_size=len(rows), max_size=len(rows)))
    return Matrix(n_vars, rows, groups, dtype, draw(st.sampled_from(["int32", "int64"])))


def canonical_row(row: Row) -> dict[int, float]:
    """The row's non-zeros by index, in order."""
    together: dict[int, list[float]] = {}
    for index, value in row:
        together.setdefault(index, []).append(float(value))
    sums = {index: exact_sum(values) for index, values in sorted(together.items())}
    return {index: value for index, value in sums.items() if value != 0}


def exact_sum(values: list[float]) -> float:
    special = [value for value in values if not math.isfinite(value)]
    if special:
        return sum(special)
    total = sum(map(Fraction, values), Fraction())
    try:
        return float(total)
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def units(value: float) -> int:
    """The value in units of 2**-30; none of what is left out of sums."""
    return round(Fraction(value) * 2**30) if math.isfinite(value) and abs(value) < 2.0**36 else 0


def row_bytes(row: dict[int, float]) -> bytes:
    """What is hashed of a row."""
    with np.errstate(over="ignore"):
        singles = {index: np.float32(math.nan if math.isnan(value) else value) for index, value in row.items()}
    return b"".join(struct.pack("<I", index) + value.tobytes() for index, value in singles.items() if value != 0)


def fractional(value: float) -> bool:
    return math.isfinite(value) and not value.is_integer()


MARKS = {
    DefectKind.NAN: math.isnan,
    DefectKind.POSITIVE_INFINITY: lambda value: value == math.inf,
    DefectKind.NEGATIVE_INFINITY: lambda value: value == -math.inf,
    DefectKind.NEGATIVE: lambda value: math.isfinite(value) and value < 0,
    DefectKind.NON_INTEGER: fractional,
    DefectKind.LARGE: lambda value: math.isfinite(value) and abs(value) >= 2.0**36,
}


def defect(counts: list[int]) -> Defect:
    """From how often it is in each row."""
    rows = [row for row, count in enumerate(counts) if count]
    return Defect(sum(counts), len(rows), tuple(rows[:5]))


def facts(scan: MatrixScan) -> dict[str, Any]:
    """All that must not depend on how the matrix is stored or cut."""
    assert scan.rows is not None
    return {
        "spans": scan.spans,
        "nonzeros": scan.nonzeros,
        "extremes": (scan.low, scan.high),
        "defects": {kind: scan.defects[kind] for kind in (*MARKS, DefectKind.EMPTY_ROW)},
        "counts": scan.totals.counts.tolist(),
        "sums": (scan.totals.whole.astype(object) * 2**30 + scan.totals.part).tolist(),
        "nnz": scan.rows.nnz.tolist(),
        "hashes": [row.tobytes() for row in scan.rows.hashes],
    }


@examples
@given(matrices())
def test_scan_finds_what_plain_python_finds(matrix: Matrix) -> None:
    rows = [canonical_row(row) for row in matrix.rows]
    values = [value for row in rows for value in row.values() if math.isfinite(value)]
    counts = np.zeros((N_GROUPS + 1, matrix.n_vars), np.int64)
    sums = np.zeros((N_GROUPS + 1, matrix.n_vars), object)
    for group, row in zip(matrix.groups, rows, strict=True):
        for index, value in row.items():
            counts[group, index] += 1  # Group -1 is the last one, that of no group.
            sums[group, index] += units(value)
    marks = {kind: defect([sum(map(mark, row.values())) for row in rows]) for kind, mark in MARKS.items()}

    scan = matrix.scan()

    assert facts(scan) == {
        "spans": [(0, len(rows))] if rows else [],
        "nonzeros": sum(map(len, rows)),
        "extremes": (min(values, default=None), max(values, default=None)),
        "defects": {**marks, DefectKind.EMPTY_ROW: defect([not row for row in rows])},
        "counts": counts.tolist(),
        "sums": sums.tolist(),
        "nnz": [len(row) for row in rows],
        "hashes": [xxhash.xxh3_128_digest(row_bytes(row)) for row in rows],
    }
    indices = [[index for index, _ in row] for row in matrix.rows]
    assert scan.stored == sum(map(len, indices))
    assert scan.explicit_zeros == sum(value == 0 for row in matrix.rows for _, value in row)
    assert scan.defects[DefectKind.REPEATED_INDEX] == defect([len(row) - len(set(row)) for row in indices])
    falls = [sum(b < a for a, b in pairwise(row)) for row in indices]
    assert scan.defects[DefectKind.UNSORTED_ROW] == defect(falls)


@examples
@given(matrices(), st.data())
def test_partitions_and_the_order_of_merging_make_no_difference(matrix: Matrix, data: st.DataObject) -> None:
    n_rows = len(matrix.rows)
    cuts = st.lists(st.integers(0, n_rows), max_size=4)
    edges = [0, *sorted(data.draw(cuts)), n_rows]
    parts = [
        MatrixScan.from_bytes(matrix.scan(start, stop, *data.draw(cuts)).to_bytes()) for start, stop in pairwise(edges)
    ]
    while len(parts) > 1:
        taken = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        parts[data.draw(st.integers(0, len(parts) - 1))].merge(taken)

    assert parts[0].to_bytes() == matrix.scan().to_bytes()


@examples
@given(matrices(repeats=False), st.data())
def test_how_rows_are_stored_makes_no_difference(matrix: Matrix, data: st.DataObject) -> None:
    def stored_anew(row: Row) -> Row:
        zeros = data.draw(st.lists(st.tuples(st.integers(0, matrix.n_vars - 1), st.just(0)), max_size=3))
        return data.draw(st.permutations([*row, *zeros]))

    anew = replace(matrix, rows=[stored_anew(row) for row in matrix.rows], index_dtype="int64")

    assert facts(anew.scan()) == facts(matrix.scan())


@examples
@given(matrices(repeats=False, dtypes=("float16", "float32", "bool", "int8", "uint16", "int32", "int64", "uint64")))
def test_type_of_the_values_makes_no_difference(matrix: Matrix) -> None:
    assert facts(replace(matrix, dtype="float64").scan()) == facts(matrix.scan())


@examples
@given(matrices(repeats=False, dtypes=("float32", "int16")))
def test_dense_csr_and_csc_make_no_difference(matrix: Matrix) -> None:
    dense = np.zeros((len(matrix.rows), matrix.n_vars), matrix.dtype)
    for number, row in enumerate(matrix.rows):
        for index, value in row:
            dense[number, index] = value
    indptr = np.concatenate(([0], np.cumsum((dense != 0).sum(axis=1))))
    from_dense = Block(0, indptr, np.nonzero(dense)[1], dense[dense != 0])
    turned = sparse.csc_matrix(dense).tocsr()
    from_csc = Block(0, turned.indptr.astype(np.int64), turned.indices, turned.data)

    expected = facts(matrix.scan())

    assert facts(scan_blocks([from_dense], matrix)) == expected
    assert facts(scan_blocks([from_csc], matrix)) == expected


@examples
@given(matrices(dtypes=("int16",)), st.data())
def test_values_that_share_an_index_count_as_their_sum(matrix: Matrix, data: st.DataObject) -> None:
    def split(index: int, value: Number) -> Row:
        part = data.draw(st.integers(-100, 100))
        return [(index, value - part), (index, part)]

    apart = [data.draw(st.permutations([part for element in row for part in split(*element)])) for row in matrix.rows]

    assert facts(replace(matrix, dtype="float32", rows=apart).scan()) == facts(matrix.scan())


@examples
@given(matrices())
def test_rows_are_equal_as_float32_exactly_if_their_hashes_are(matrix: Matrix) -> None:
    rows = matrix.scan().rows
    assert rows is not None
    contents = [row_bytes(canonical_row(row)) for row in matrix.rows]
    found = {tuple(group.tolist()) for group in rows.duplicates()}

    equal = {tuple(row for row, other in enumerate(contents) if other == content) for content in contents}
    assert found == {group for group in equal if len(group) > 1}

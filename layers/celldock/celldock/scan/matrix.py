"""What a pass over rows of a matrix leaves: facts that add up exactly, in any order and for any way to store it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from celldock.errors import ServiceFault
from celldock.h5ad.layout import Array
from celldock.scan.codec import pack, unpack
from celldock.scan.defects import Defects
from celldock.scan.kept import KeptRows
from celldock.scan.sums import Totals

type Span = tuple[int, int]

_FACTS = ("path", "n_vars", "n_groups", "groups_left_out", "stored", "explicit_zeros", "nonzeros", "low", "high")


@dataclass(slots=True, eq=False)
class MatrixScan:
    """The facts of some rows of one matrix.

    Attributes:
        path: the matrix, as `X`, `raw/X` or `layers/NAME`.
        n_vars: genes.
        n_groups: groups of cells (cell types) that are told apart in `totals`; 0 if none are.
        groups_left_out: why groups are not told apart although there are some; else "".
        spans: the rows [start, stop) that were scanned, ascending, apart from each other.
        stored: elements as stored, explicit zeros and repeated indices included; without zeros for a dense matrix.
        explicit_zeros: how many of them are zero.
        nonzeros: elements of the canonical rows, NaN and infinities included.
        low: the least finite one of them; None without any.
        high: the greatest finite one.
        defects: what is wrong with values and rows.
        totals: non-zeros and sums of finite values below 2**36 for each group and gene: shape (n_groups + 1, n_vars).
            The last row is that of cells without a group, of all cells if there are no groups.
        rows: non-zeros and hash of each row, if they were asked for.
    """

    path: str
    n_vars: int
    n_groups: int
    groups_left_out: str
    spans: list[Span]
    stored: int
    explicit_zeros: int
    nonzeros: int
    low: float | None
    high: float | None
    defects: Defects
    totals: Totals
    rows: KeptRows | None = None

    @property
    def n_rows(self) -> int:
        """Rows that were scanned."""
        return sum(stop - start for start, stop in self.spans)

    @property
    def genes(self) -> Totals:
        """Non-zeros and sums of each gene: shape (n_vars,)."""
        return self.totals.over_rows()

    @property
    def groups(self) -> Totals | None:
        """Non-zeros and sums of each group and gene: shape (n_groups, n_vars); None if groups are not told apart."""
        return self.totals[: self.n_groups] if self.n_groups else None

    def merge(self, other: MatrixScan) -> None:
        """Adds the facts of other rows of the same matrix, which is left as it is.

        Which of the two takes in the other, and in which order many do, makes no difference. Raises ServiceFault for
        rows that were scanned twice and for another matrix.
        """
        if self._kind() != other._kind():
            raise ServiceFault(f"scans of {self.path} and {other.path} that do not match", code="scan.mismatch")
        self.spans = join_spans(self.path, [*self.spans, *other.spans])
        self.stored += other.stored
        self.explicit_zeros += other.explicit_zeros
        self.nonzeros += other.nonzeros
        self.low = min((low for low in (self.low, other.low) if low is not None), default=None)
        self.high = max((high for high in (self.high, other.high) if high is not None), default=None)
        self.defects.merge(other.defects)
        self.totals.merge(other.totals)
        if self.rows and other.rows:
            self.rows.merge(other.rows)

    def to_bytes(self) -> bytes:
        """The facts as bytes; equal facts give equal bytes."""
        header = {name: getattr(self, name) for name in _FACTS}
        header |= {"spans": self.spans, "defects": self.defects.to_json()}
        arrays = {"counts": self.totals.counts, "whole": self.totals.whole, "part": self.totals.part}
        if self.rows:
            header["first_row"] = self.rows.start
            arrays |= {"nnz": self.rows.nnz, "hashes": self.rows.hashes}
        return pack(header, arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` wrote. Raises ServiceFault for other bytes and other versions."""
        return cls.from_packed(*unpack(data))

    @classmethod
    def from_packed(cls, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Self:
        """What `to_bytes` packed."""
        facts = {name: header[name] for name in _FACTS}
        rows = KeptRows(header["first_row"], arrays["nnz"], arrays["hashes"]) if "nnz" in arrays else None
        return cls(
            **facts,
            spans=[(start, stop) for start, stop in header["spans"]],
            defects=Defects.from_json(header["defects"]),
            totals=Totals(arrays["counts"], arrays["whole"], arrays["part"]),
            rows=rows,
        )

    def _kind(self) -> tuple[object, ...]:
        return self.path, self.n_vars, self.n_groups, self.groups_left_out, self.rows is None


def join_spans(path: str, spans: list[Span]) -> list[Span]:
    """Spans of rows in order, adjacent ones as one, empty ones left out. Raises ServiceFault where two overlap."""
    joined: list[Span] = []
    for start, stop in sorted(spans):
        if joined and start < joined[-1][1]:
            raise ServiceFault(f"row {start} of {path} was scanned twice", code="scan.overlap", where=path)
        if joined and start == joined[-1][1]:
            joined[-1] = (joined[-1][0], stop)
        elif start < stop:
            joined.append((start, stop))
    return joined

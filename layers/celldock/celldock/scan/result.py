"""What rules and summaries get to know of the values of a file: the partial results of its matrices, merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

from celldock.errors import InvalidSubmission, ServiceFault
from celldock.scan.codec import pack, unpack
from celldock.scan.matrix import MatrixScan, Span, join_spans


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the rows [start, stop) of a matrix could not be scanned; the rest is that of an InvalidSubmission."""

    path: str
    start: int
    stop: int
    code: str
    message: str
    where: str
    hint: str

    @classmethod
    def of(cls, error: InvalidSubmission, *, path: str, start: int, stop: int) -> Self:
        """The refusal of some rows of the matrix at `path`."""
        return cls(path, start, stop, error.code, error.message, error.where or path, error.hint)

    @property
    def error(self) -> InvalidSubmission:
        """What was raised."""
        return InvalidSubmission(self.message, code=self.code, where=self.where, hint=self.hint)

    def to_bytes(self) -> bytes:
        """The refusal as a partial result."""
        return pack({"refusal": asdict(self)}, {})


type Partial = MatrixScan | Refusal


def read_partial(data: bytes) -> Partial:
    """What the `to_bytes` of either wrote. Raises ServiceFault for other bytes and other versions."""
    header, arrays = unpack(data)
    if "refusal" in header:
        return Refusal(**header["refusal"])
    return MatrixScan.from_packed(header, arrays)


class ScanResult:
    """The facts of all matrices of a file, merged from partial results that come one at a time, in any order.

    Memory: the merged facts, and one partial result. `n_obs` holds the rows of each matrix that was scanned, by path.
    """

    def __init__(self, n_obs: Mapping[str, int]) -> None:
        self._n_obs = dict(n_obs)
        self._spans: dict[str, list[Span]] = {path: [] for path in n_obs}
        self._matrices: dict[str, MatrixScan] = {}
        self._refusals: list[Refusal] = []

    def add(self, partial: Partial) -> None:
        """Takes in the next partial result; the object is not to be used further.

        Raises ServiceFault for rows that came before or that the file does not have.
        """
        path = partial.path
        spans = [(partial.start, partial.stop)] if isinstance(partial, Refusal) else partial.spans
        if path not in self._spans or any(stop > self._n_obs[path] for _, stop in spans):
            raise ServiceFault(f"rows of {path} that the file does not have", code="scan.mismatch", where=path)
        self._spans[path] = join_spans(path, [*self._spans[path], *spans])
        if isinstance(partial, Refusal):
            self._refusals.append(partial)
        elif path in self._matrices:
            self._matrices[path].merge(partial)
        else:
            self._matrices[path] = partial

    def check_complete(self) -> None:
        """Raises ServiceFault unless all rows of all matrices came."""
        for path, n_obs in self._n_obs.items():
            if self._spans[path] != ([(0, n_obs)] if n_obs else []):
                raise ServiceFault(f"not all rows of {path} were scanned", code="scan.gap", where=path)

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """The rows that could not be scanned, by matrix and row."""
        return tuple(sorted(self._refusals, key=lambda refusal: (refusal.path, refusal.start)))

    def matrix(self, path: str) -> MatrixScan | None:
        """The facts of all rows of the matrix at `path`; None if it has no rows or some of them were refused."""
        if any(refusal.path == path for refusal in self._refusals):
            return None
        return self._matrices.get(path)

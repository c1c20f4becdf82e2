"""What is to be done with a file, decided from its header alone: which formats can hold it, in which partitions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from celldock import __version__
from celldock.canonical import canonical_json
from celldock.errors import ServiceFault
from celldock.formats.protocol import FormatPlan
from celldock.formats.registry import FORMATS, get_format
from celldock.h5ad.headers import Header, MatrixHeader

PLAN_VERSION = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of one file, and the header that every later step works from.

    `formats` holds every registered format, also one that cannot hold the file; `required` names those without which
    the submission fails.
    """

    header: Header
    formats: tuple[FormatPlan, ...]
    required: frozenset[str]

    @property
    def n_obs(self) -> int:
        """Cells."""
        return self.header.n_obs

    @property
    def n_vars(self) -> int:
        """Genes."""
        return self.header.n_vars

    @property
    def nnz(self) -> int:
        """Stored elements of X: the non-zeros of a sparse one, all elements of a dense one, 0 without X."""
        return _stored(self.header.x)

    @property
    def raw_nnz(self) -> int:
        """Stored elements of raw.X, counted likewise."""
        return _stored(self.header.raw_x)

    @property
    def encodings(self) -> dict[str, str]:
        """The encoding (csr, csc, dense) of each matrix of cells by genes, by its path in the file."""
        matrices = (self.header.x, self.header.raw_x, *self.header.layers)
        return {matrix.path: matrix.encoding for matrix in matrices if matrix is not None}

    def format(self, name: str) -> FormatPlan:
        """The plan of one format. Raises ServiceFault if it was not planned for."""
        for planned in self.formats:
            if planned.format == name:
                return planned
        raise ServiceFault(f"the plan has no format {name!r}", code="plan.format", where=name)

    def to_bytes(self) -> bytes:
        """The plan's document; equal plans give equal bytes.

        Counts and encodings stand beside the header for people and for other tools; `from_bytes` needs the header.
        """
        formats = [{**asdict(planned), "required": planned.format in self.required} for planned in self.formats]
        return canonical_json(
            {
                "plan_version": PLAN_VERSION,
                "celldock": __version__,
                "n_obs": self.n_obs,
                "n_vars": self.n_vars,
                "nnz": self.nnz,
                "raw_nnz": self.raw_nnz,
                "encodings": self.encodings,
                "formats": formats,
                "header": self.header.to_json(),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The plan that `to_bytes` wrote. Raises ServiceFault for another version of the document."""
        document: dict[str, Any] = json.loads(data)
        version = document.get("plan_version")
        if version != PLAN_VERSION:
            raise ServiceFault(f"a plan of version {version}, not {PLAN_VERSION}", code="plan.version")
        required = frozenset(item["format"] for item in document["formats"] if item.pop("required"))
        formats = tuple(FormatPlan.from_json(item) for item in document["formats"])
        return cls(Header.from_json(document["header"]), formats, required)


def make_plan(header: Header, required_formats: Sequence[str]) -> Plan:
    """Plans every registered format. Raises ServiceFault if a required format is not one that celldock has."""
    required = frozenset(get_format(name).name for name in required_formats)
    return Plan(header, tuple(planned.plan(header) for planned in FORMATS.values()), required)


def partitions_json(planned: FormatPlan) -> bytes:
    """The JSON array of `{"index", "start", "stop"}` that a Distributed Map reads, one element a worker."""
    return canonical_json([asdict(partition) for partition in planned.partitions])


def _stored(matrix: MatrixHeader | None) -> int:
    if matrix is None:
        return 0
    rows, columns = matrix.shape
    return rows * columns if matrix.nnz is None else matrix.nnz

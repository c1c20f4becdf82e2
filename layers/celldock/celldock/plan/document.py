"""The plan of one file as a document: what every later step works from, and the proof that the guard let it pass."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from celldock import __version__
from celldock.canonical import canonical_json
from celldock.errors import ServiceFault
from celldock.formats.protocol import FormatPlan, Partition, Prediction
from celldock.h5ad.guard import Inventory
from celldock.h5ad.headers import Header
from celldock.plan.partitions import ScanPartition
from celldock.plan.prediction import expected_seconds, shortfall
from celldock.plan.scan import ScanPlan, matrices_of, stored_elements

PLAN_VERSION = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of one file, and the header that every later step works from.

    Attributes:
        inventory: what the guard walked before anything else was read.
        header: what the file declares.
        scan: how the values of the matrices are read.
        formats: every registered format, also one that cannot hold the file.
        required: the formats without which the submission fails.
        predictions: what each step will need.
    """

    inventory: Inventory
    header: Header
    scan: ScanPlan
    formats: tuple[FormatPlan, ...]
    required: frozenset[str]
    predictions: tuple[Prediction, ...]

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
        return stored_elements(self.header.x)

    @property
    def raw_nnz(self) -> int:
        """Stored elements of raw.X, counted likewise."""
        return stored_elements(self.header.raw_x)

    @property
    def encodings(self) -> dict[str, str]:
        """The encoding (csr, csc, dense) of each matrix of cells by genes, by its path in the file."""
        return {matrix.path: matrix.encoding for matrix in matrices_of(self.header)}

    @property
    def seconds(self) -> int:
        """Seconds that the whole path is expected to take; see `expected_seconds`."""
        return expected_seconds(self.predictions, self.scan, self.formats)

    def format(self, name: str) -> FormatPlan:
        """The plan of one format. Raises ServiceFault if it was not planned for."""
        for planned in self.formats:
            if planned.format == name:
                return planned
        raise ServiceFault(f"the plan has no format {name!r}", code="plan.format", where=name)

    def to_bytes(self) -> bytes:
        """The plan's document; equal plans give equal bytes.

        Counts, encodings and what falls short stand beside the rest for people and for other tools; `from_bytes` does
        without them.
        """
        formats = [{**asdict(planned), "required": planned.format in self.required} for planned in self.formats]
        predictions = [{**asdict(each), "shortfall": shortfall(each)} for each in self.predictions]
        return canonical_json(
            {
                "plan_version": PLAN_VERSION,
                "celldock": __version__,
                "n_obs": self.n_obs,
                "n_vars": self.n_vars,
                "nnz": self.nnz,
                "raw_nnz": self.raw_nnz,
                "seconds": self.seconds,
                "encodings": self.encodings,
                "inventory": self.inventory.to_json(),
                "scan": asdict(self.scan),
                "formats": formats,
                "predictions": predictions,
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
        return cls(
            inventory=Inventory.from_json(document["inventory"]),
            header=Header.from_json(document["header"]),
            scan=ScanPlan.from_json(document["scan"]),
            formats=tuple(FormatPlan.from_json(item) for item in document["formats"]),
            required=required,
            predictions=tuple(_prediction(item) for item in document["predictions"]),
        )


def partitions_json(partitions: Sequence[Partition | ScanPartition]) -> bytes:
    """The JSON array that a Distributed Map reads, one element a worker."""
    return canonical_json([asdict(partition) for partition in partitions])


def _prediction(item: dict[str, Any]) -> Prediction:
    return Prediction(**{name: item[name] for name in Prediction.__slots__})

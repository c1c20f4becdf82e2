"""What a derivative format is. A new format is one module that implements `Format` and one line in the registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from celldock.h5ad.headers import Header
from celldock.h5ad.layout import FileLayout
from celldock.h5ad.source import ByteSource
from celldock.scan import ScanResult


@dataclass(frozen=True, slots=True)
class Partition:
    """A contiguous block of cells: rows `[start, stop)` of obs, the unit of one worker."""

    index: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Omission:
    """An element of the file (`where`: its path) that an artifact leaves out, and why."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the slowest and the largest worker of a step will need, and by which quantities that was reckoned.

    `step` is `plan`, `scan`, `validate`, `convert/<format>` or `assemble/<format>`; MB are 10⁶ bytes, seconds those of
    one invocation on one vCPU.
    """

    step: str
    seconds: float
    memory_mb: int
    scratch_mb: int
    basis: str


@dataclass(frozen=True, slots=True)
class FormatPlan:
    """Whether a format can hold the file and, if so, in which partitions and without what.

    `reason` is set where it cannot, `omitted` lists what a feasible artifact still leaves out.
    """

    format: str
    version: str
    feasible: bool
    reason: str
    partitions: tuple[Partition, ...]
    omitted: tuple[Omission, ...] = ()

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict` after a trip through JSON."""
        return cls(
            format=data["format"],
            version=data["version"],
            feasible=data["feasible"],
            reason=data["reason"],
            partitions=tuple(Partition(**partition) for partition in data["partitions"]),
            omitted=tuple(Omission(**omission) for omission in data["omitted"]),
        )


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One stored file of an artifact: `path` relative to the artifact's root, its bytes and SHA-256 (hex)."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Part:
    """What one partition left behind."""

    partition: Partition
    files: tuple[FileRecord, ...]

    def to_json(self) -> dict[str, Any]:
        """A document for `json.dumps`; `from_json` gives an equal part back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The part that `to_json` wrote, also after a trip through JSON."""
        return cls(Partition(**data["partition"]), tuple(FileRecord(**file) for file in data["files"]))


@dataclass(frozen=True, slots=True)
class Assembled:
    """An artifact: all of its files, and what it leaves out, of which the plan need not have known."""

    files: tuple[FileRecord, ...]
    omitted: tuple[Omission, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """The file that an artifact is made of, and what is known of it.

    `source` has its bytes: those of the labelled h5ad file, or of the companion that a format is made of. `header` and
    `layout` (where the chunks of its matrices lie) are always the h5ad file's. `scan` gives what a pass over the values
    of its matrices found; None where there was none.
    """

    source: ByteSource
    header: Header
    layout: FileLayout
    scan: Callable[[], ScanResult] | None = None


class Sink(Protocol):
    """Where a format puts its files: a folder of the work area on S3, or a local folder. Threads may share one."""

    def put(self, path: str, local: Path) -> FileRecord:
        """Stores a finished local file under `path` (relative, `/`-separated); the same path twice overwrites.

        The local file stays; whoever made it removes it.
        """
        ...

    def join(self, path: str, pieces: Sequence[str]) -> FileRecord:
        """One file at `path` of those that were put under `pieces`, in their order, by this worker or others.

        The pieces need not be files of the artifact. Raises NotFeasible for more bytes than can be published.
        """
        ...

    @property
    def scratch(self) -> Path:
        """A local folder for files in the making; emptied by the owner."""
        ...


class Format(Protocol):
    """A derivative format. All calls may be repeated with the same outcome.

    `companion` is the kind of companion that it is made of, and without which it is not planned; "" for a format that
    is made of the h5ad file. `size`, in bytes, is that of the file that it is made of. Plans are made of the file as it
    was submitted or curated, artifacts of the labelled one, whose `header` has more columns.
    """

    name: str
    version: str
    companion: str

    def plan(self, header: Header, size: int) -> FormatPlan:
        """Decides from headers alone."""
        ...

    def predict(self, header: Header, planned: FormatPlan, size: int) -> tuple[Prediction, ...]:
        """What converting the largest partition and assembling all of them will need (`convert/…`, `assemble/…`)."""
        ...

    def convert(self, subject: Subject, partition: Partition, sink: Sink) -> Part:
        """Converts one partition, in memory bounded by the partition.

        Raises NotFeasible for what the plan could not see: the artifact is SKIPPED then.
        """
        ...

    def assemble(self, subject: Subject, parts: Sequence[Part], sink: Sink) -> Assembled:
        """Finishes the artifact from its parts: all of them, in order.

        Raises NotFeasible for what neither the plan nor a part could see.
        """
        ...

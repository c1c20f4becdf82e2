"""What each step will need, predicted from headers and chunk tables: seconds, memory and /tmp.

The model is linear: a step has a base, and each element, row, chunk or byte that it has to take in adds its share.
The coefficients below were measured on a machine whose core inflates 600 MB of gzip data a second; `benchmarks/plan.py`
compares predictions with what a step then took. Seconds are those of a whole vCPU, which Lambda gives a function of
1,769 MB; a smaller one waits for its part of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from celldock.formats.protocol import FormatPlan, Prediction
from celldock.formats.registry import get_format
from celldock.h5ad.headers import Header
from celldock.h5ad.layout import FileLayout, MatrixLayout
from celldock.h5ad.matrix import unpacked_bytes
from celldock.h5ad.transpose import transposed_bytes
from celldock.plan.scan import BUDGET_BYTES, ScanPlan, band_elements, matrices_of, stored_elements
from celldock.scan import MAX_PAIRS

_VCPU_MB = 1769
_MB = 1 << 20

# The interpreter with NumPy and boto3, and the processes that hold libhdf5.
_BASE_BYTES = 100 * _MB
_CHILD_BYTES = 130 * _MB

_PLAN_SECONDS = 1.3
_CHUNK_SECONDS = 2e-5
_POINTER_SECONDS = 2e-8
_CHUNK_BYTES = 150

_SCAN_SECONDS = 0.5
_ELEMENT_SECONDS = 1.5e-8
_INFLATE_SECONDS = 2e-9
_TURN_SECONDS = 1.1e-7
_UNPACK_SECONDS = 8e-9
_ROW_SECONDS = 2e-6
_ROW_BYTES = 32
_SLOT_BYTES = 40
# Lambda's network, whatever the memory: 600 Mbit/s.
_NETWORK_BYTES = 75_000_000

_VALIDATE_SECONDS = 1.5
_VALUE_SECONDS = 5e-7
_PART_SECONDS = 0.02
_SLOT_SECONDS = 5e-8

_FRAGMENTS_SECONDS = 1.5
_FRAGMENT_BYTE_SECONDS = 8e-8
_FRAGMENTS_BYTES = 60 * _MB
_CELL_BYTES = 48


@dataclass(frozen=True, slots=True)
class Limits:
    """What a step's function has: seconds until Lambda ends it, MB of memory, MB of /tmp."""

    seconds: int
    memory_mb: int
    scratch_mb: int


LIMITS: Mapping[str, Limits] = MappingProxyType(
    {
        "plan": Limits(180, 1769, 512),
        "scan": Limits(900, 1769, 10240),
        "fragments": Limits(900, 1769, 10240),
        "validate": Limits(600, 2048, 512),
        "convert": Limits(900, 1769, 10240),
        "assemble": Limits(900, 3008, 10240),
    }
)
"""As template.yaml sets the functions up. Lambda's own are 900 s, 10,240 MB and 10,240 MB."""

CONCURRENCY: Mapping[str, int] = MappingProxyType({"Scan": 20, "ConvertParts": 10})
"""Workers at once, as the state machine's Distributed Maps allow."""


def shortfall(prediction: Prediction) -> str:
    """What a step would need beyond what its function has, in words; "" where it has enough."""
    limits = LIMITS[prediction.step.partition("/")[0]]
    needs = [
        f"{needed:,.0f} {unit}, {given:,} given"
        for needed, given, unit in (
            (prediction.seconds, limits.seconds, "s"),
            (prediction.memory_mb, limits.memory_mb, "MB of memory"),
            (prediction.scratch_mb, limits.scratch_mb, "MB of /tmp"),
        )
        if needed > given
    ]
    return f"{prediction.step} would need " + " and ".join(needs) if needs else ""


def check_format(header: Header, planned: FormatPlan, size: int) -> FormatPlan:
    """The plan of a format, taken back with the reason where a worker would run out of what it has.

    `size` is that of the file that the format is made of, in bytes.
    """
    if not planned.feasible:
        return planned
    predictions = get_format(planned.format).predict(header, planned, size)
    reasons = [reason for each in predictions if (reason := shortfall(each))]
    return replace(planned, feasible=False, reason="; ".join(reasons), partitions=()) if reasons else planned


def predict_formats(header: Header, formats: Iterable[FormatPlan], sizes: Mapping[str, int]) -> Iterator[Prediction]:
    """What converting to each feasible format will need; `sizes` has the bytes of the file, as "", and companions."""
    for planned in formats:
        if planned.feasible:
            found = get_format(planned.format)
            yield from found.predict(header, planned, sizes[found.companion])


def predict_fragments(size: int, cells: int) -> Prediction:
    """The check of a fragment file of `size` bytes, of which all may have to be read twice."""
    return _of(
        "fragments",
        seconds=_FRAGMENTS_SECONDS + size * _FRAGMENT_BYTE_SECONDS,
        memory=_BASE_BYTES + _CHILD_BYTES + _FRAGMENTS_BYTES + cells * _CELL_BYTES,
        scratch=size,
        basis=f"{size:,} bytes of fragments, {cells:,} cells",
    )


def predict_plan(header: Header, layout: FileLayout) -> Prediction:
    """Guard, headers, the place of every chunk, and indptr where a matrix has more than one partition."""
    chunks = sum(len(array.offsets) for matrix in layout.matrices.values() for array in matrix.arrays.values())
    rows = sum(matrix.shape[0] for matrix in matrices_of(header))
    return _of(
        "plan",
        seconds=_PLAN_SECONDS + chunks * _CHUNK_SECONDS + rows * _POINTER_SECONDS,
        memory=_BASE_BYTES + _CHILD_BYTES + chunks * _CHUNK_BYTES,
        basis=f"{chunks:,} chunks, {rows:,} rows",
    )


def predict_scan(layout: FileLayout, scan: ScanPlan) -> Prediction:
    """The partition that takes longest, and what the one that takes most memory, and most of /tmp, will need."""
    each = [
        _predict_partition(matrix, len(parts), scan)
        for path, matrix in layout.matrices.items()
        if (parts := scan.of(path))
    ]
    if not each:
        return _of("scan", seconds=0, memory=0, basis="nothing to scan")
    slowest = max(each, key=lambda prediction: prediction.seconds)
    most_memory = max(prediction.memory_mb for prediction in each)
    return replace(slowest, memory_mb=most_memory, scratch_mb=max(prediction.scratch_mb for prediction in each))


def _predict_partition(matrix: MatrixLayout, count: int, scan: ScanPlan) -> Prediction:
    """One of `count` partitions of a matrix: reading and computing overlap."""
    header = matrix.header
    rows, elements = -(-header.shape[0] // count), -(-stored_elements(header) // count)
    stored = sum(array.stored_bytes for array in matrix.arrays.values()) // count
    decoded = sum(array.nbytes for array in matrix.arrays.values()) // count
    computing = elements * _ELEMENT_SECONDS + decoded * _INFLATE_SECONDS + rows * _ROW_SECONDS
    if header.encoding == "csc":
        # The row numbers are read once more, to count them.
        computing += elements * _TURN_SECONDS
        stored += stored // 2
    reading, unpacked = stored / _NETWORK_BYTES, _unpacked_bytes(matrix, count)
    # Large chunks are unpacked before anything is computed.
    waiting = max(computing, reading) if not unpacked else computing + max(unpacked * _UNPACK_SECONDS, reading)
    slots = min(header.shape[1] * (1 + scan.n_groups), MAX_PAIRS)
    kept = rows * _ROW_BYTES if header.path == scan.kept else 0
    return _of(
        "scan",
        seconds=_SCAN_SECONDS + waiting,
        memory=_BASE_BYTES + BUDGET_BYTES + slots * _SLOT_BYTES + kept,
        scratch=transposed_bytes(matrix) + unpacked,
        basis=f"{elements:,} elements, {stored:,} bytes of {decoded:,}, {rows:,} rows, {slots:,} sums",
    )


def _unpacked_bytes(matrix: MatrixLayout, count: int) -> int:
    """What one of `count` partitions unpacks on disk: its part, and what its first and last chunks hold beyond it."""
    total = 0
    for name, size in unpacked_bytes(matrix, budget=BUDGET_BYTES).items():
        array = matrix.arrays[name]
        total += min(size, size // count + 2 * band_elements(array) * np.dtype(array.dtype).itemsize)
    return total


def predict_validate(header: Header, scan: ScanPlan) -> Prediction:
    """Every column and embedding read once, every partial result of the scan merged once."""
    frames = [frame for frame in (header.obs, header.var, header.raw_var) if frame is not None]
    values = sum(frame.length * (len(frame.columns) + 1) for frame in frames)
    values += sum(math.prod(array.shape) for array in header.obsm)
    slots = {
        matrix.path: min(matrix.shape[1] * (1 + scan.n_groups), MAX_PAIRS)
        for matrix in matrices_of(header)
        if scan.of(matrix.path)
    }
    merged = sum(slots[partition.path] for partition in scan.partitions)
    parts = len(scan.partitions)
    return _of(
        "validate",
        seconds=_VALIDATE_SECONDS + values * _VALUE_SECONDS + parts * _PART_SECONDS + merged * _SLOT_SECONDS,
        memory=_BASE_BYTES + _CHILD_BYTES + header.n_obs * _ROW_BYTES + sum(slots.values()) * _SLOT_BYTES,
        basis=f"{values:,} values, {parts:,} partial results of {merged:,} sums",
    )


def expected_seconds(predictions: Sequence[Prediction], scan: ScanPlan, formats: Iterable[FormatPlan]) -> int:
    """Seconds from Plan to the last artifact where no function waits for its turn: formats are made side by side."""
    seconds = {each.step: each.seconds for each in predictions}
    rounds = -(-len(scan.partitions) // CONCURRENCY["Scan"])
    slowest = max(
        (
            -(-len(each.partitions) // CONCURRENCY["ConvertParts"]) * seconds[f"convert/{each.format}"]
            + seconds[f"assemble/{each.format}"]
            for each in formats
            if each.feasible
        ),
        default=0.0,
    )
    checked = seconds.get("fragments", 0.0) + seconds["validate"]
    return math.ceil(seconds["plan"] + rounds * seconds["scan"] + checked + slowest)


def _of(step: str, *, seconds: float, memory: int, scratch: int = 0, basis: str) -> Prediction:
    share = min(1.0, LIMITS[step].memory_mb / _VCPU_MB)
    return Prediction(step, round(seconds / share, 1), -(-memory // _MB), -(-scratch // _MB), basis)

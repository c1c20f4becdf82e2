"""The step Scan on S3: one block of rows of one matrix becomes a partial result in the work area, without libhdf5."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from celldock.catalog.keys import scan_step
from celldock.catalog.records import Submission
from celldock.catalog.work import fingerprint
from celldock.cloud.objects import ObjectStore
from celldock.cloud.steps.planning import load_layout, load_plan
from celldock.cloud.steps.sources import source_of
from celldock.cloud.work import WorkArea
from celldock.plan import Plan, ScanPartition, scan_partition
from celldock.scan import ScanResult, read_partial

_PARALLEL = 4


def scan_part(
    inbox: ObjectStore, artifacts: ObjectStore, submission: Submission, partition: ScanPartition, scratch: Path
) -> None:
    """Scans one partition, unless this run or an earlier one has done so with the same code.

    What is wrong with its data is a result as any other, for Validate to report.
    """
    work = WorkArea(artifacts, submission.version_id, submission.run)
    step = scan_step(partition.index)
    mark = fingerprint(step.name, submission.content, asdict(partition))
    if work.find(step, mark):
        return
    source = source_of(inbox, work, submission)
    partial = scan_partition(source, load_plan(work).scan, load_layout(work), partition, scratch=scratch)
    stored = work.store.put_bytes(work.key(f"{step.name}.bin"), partial.to_bytes(), "application/octet-stream")
    work.finish(step, mark, {}, [stored])


def load_scan(work: WorkArea, plan: Plan) -> ScanResult:
    """What this run's step Scan has found, merged. Memory: the merged result and a few partial ones.

    Raises ServiceFault where a partition has left nothing.
    """
    result = ScanResult(plan.scan.rows)
    for refusal in plan.scan.refusals:
        result.add(refusal)
    for data in _partials(work, plan.scan.partitions):
        result.add(read_partial(data))
    result.check_complete()
    return result


def _partials(work: WorkArea, partitions: tuple[ScanPartition, ...]) -> Iterator[bytes]:
    """The stored partial results in order, a few of them fetched ahead."""
    underway: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(_PARALLEL) as pool:
        for partition in partitions:
            underway.append(pool.submit(_partial, work, partition))
            if len(underway) > _PARALLEL:
                yield underway.popleft().result()
        while underway:
            yield underway.popleft().result()


def _partial(work: WorkArea, partition: ScanPartition) -> bytes:
    (stored,) = work.load(scan_step(partition.index)).files
    return work.store.get_bytes(stored.key, stored.object_version)

"""A local file planned and scanned in this process, as Plan and Scan do it on S3."""

from __future__ import annotations

from pathlib import Path

from celldock.h5ad.source import LocalSource
from celldock.plan import Planned, make_plan, scan_partition
from celldock.scan import ScanResult


def planned(path: Path) -> Planned:
    """The plan of a file and the layout of its matrices."""
    return make_plan(LocalSource(path), ["cells"], formats=[])


def scanned(path: Path, scratch: Path, plan: Planned | None = None) -> ScanResult:
    """All partitions of a file, merged."""
    plan = plan or planned(path)
    scan = plan.plan.scan
    result = ScanResult(scan.rows)
    for refusal in scan.refusals:
        result.add(refusal)
    for partition in scan.partitions:
        result.add(scan_partition(LocalSource(path), scan, plan.layout, partition, scratch=scratch))
    result.check_complete()
    return result

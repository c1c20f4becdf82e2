"""What is to be done with a file, decided without its values: how they are read, and which formats can hold them."""

from celldock.plan.document import Plan, partitions_json
from celldock.plan.making import Planned, make_plan
from celldock.plan.partitions import ScanPartition
from celldock.plan.prediction import CONCURRENCY, LIMITS, shortfall
from celldock.plan.scan import ScanPlan
from celldock.plan.scanning import Progress, scan_file, scan_partition

__all__ = [
    "CONCURRENCY",
    "LIMITS",
    "Plan",
    "Planned",
    "Progress",
    "ScanPartition",
    "ScanPlan",
    "make_plan",
    "partitions_json",
    "scan_file",
    "scan_partition",
    "shortfall",
]

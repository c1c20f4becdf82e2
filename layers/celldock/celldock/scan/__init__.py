"""The one pass over the values of a file's matrices, and what it leaves for rules and summaries."""

from celldock.scan.defects import Defect, DefectKind
from celldock.scan.kept import KeptRows, RowGroups
from celldock.scan.matrix import MatrixScan
from celldock.scan.result import Refusal, ScanResult, read_partial
from celldock.scan.scanning import MAX_PAIRS, scan_rows
from celldock.scan.sums import Totals

__all__ = [
    "MAX_PAIRS",
    "Defect",
    "DefectKind",
    "KeptRows",
    "MatrixScan",
    "Refusal",
    "RowGroups",
    "ScanResult",
    "Totals",
    "read_partial",
    "scan_rows",
]

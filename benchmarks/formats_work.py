"""The calls that `benchmarks.formats` measures, each in a process of its own: celldock's, and what stands beside them.

celldock's find in a folder what was left there for them: `plan` and `layout` (`benchmarks.scan.plan_file`), and the
partial results of the scan. What a format makes goes into `folder/<format>`.
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import time
import warnings
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from celldock.formats.protocol import FileRecord, Part, Partition, Subject
from celldock.formats.registry import get_format
from celldock.formats.sink import LocalSink
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.layout import FileLayout
from celldock.h5ad.matrix import MatrixReader
from celldock.h5ad.source import LocalSource
from celldock.plan import Plan, scan_partition
from celldock.scan import ScanResult, read_partial

_BLOCK = 4 << 20
_MEMBERS = 31  # zlib's word for gzip's frame
_PORTAL = Path(__file__).with_name("portal_cxg.py")


def load(folder: Path) -> tuple[Plan, FileLayout]:
    """What planning has left."""
    return Plan.from_bytes((folder / "plan").read_bytes()), FileLayout.from_bytes((folder / "layout").read_bytes())


def start(path: Path) -> None:
    """Starts the sandbox that holds libhdf5, as in a function that is warm."""
    with open_h5ad(LocalSource(path)):
        pass


def scan(path: Path, folder: Path) -> int:
    """Scans all partitions and leaves what they found; returns the bytes of it."""
    plan, layout = load(folder)
    total = 0
    for partition in plan.scan.partitions:
        found = scan_partition(LocalSource(path), plan.scan, layout, partition, scratch=folder).to_bytes()
        total += (folder / f"scan-{partition.index}").write_bytes(found)
    return total


def convert(path: Path, folder: Path, format_name: str, partition: Partition) -> Part:
    """Converts one partition."""
    with TemporaryDirectory(dir=folder) as scratch:
        sink = LocalSink(folder / format_name, Path(scratch))
        return get_format(format_name).convert(_subject(path, folder), partition, sink)


def assemble(path: Path, folder: Path, format_name: str, parts: Sequence[Part]) -> tuple[FileRecord, ...]:
    """Finishes the artifact."""
    with TemporaryDirectory(dir=folder) as scratch:
        sink = LocalSink(folder / format_name, Path(scratch))
        return get_format(format_name).assemble(_subject(path, folder), parts, sink).files


def _subject(path: Path, folder: Path) -> Subject:
    plan, layout = load(folder)
    return Subject(LocalSource(path), plan.header, layout, partial(_load_scan, folder, plan))


def _load_scan(folder: Path, plan: Plan) -> ScanResult:
    result = ScanResult(plan.scan.rows)
    for refusal in plan.scan.refusals:
        result.add(refusal)
    for partition in plan.scan.partitions:
        result.add(read_partial((folder / f"scan-{partition.index}").read_bytes()))
    result.check_complete()
    return result


def decode(path: Path, folder: Path) -> int:
    """Reads X by blocks of rows and does nothing with them; returns the stored elements."""
    _, layout = load(folder)
    with TemporaryDirectory(dir=folder) as scratch:
        reader = MatrixReader(LocalSource(path), layout.matrices["X"], scratch=Path(scratch))
        return sum(block.data.size for block in reader.row_blocks())


def anndata_zarr(path: Path, out: Path) -> dict[str, float]:
    """Reads the file into memory with anndata and writes it as Zarr, version 3; returns the CPU seconds of each."""
    import anndata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        anndata.settings.zarr_write_format = 3
        begun = time.process_time()
        data = anndata.read_h5ad(path)
        read = time.process_time()
        data.write_zarr(out)
    return {"read": read - begun, "write": time.process_time() - read}


def gzip_again(plain: Path, out: Path) -> int:
    """Compresses a file by zlib's level 1 into a gzip file; returns its bytes."""
    squeeze = zlib.compressobj(1, zlib.DEFLATED, _MEMBERS)
    with plain.open("rb") as file, out.open("wb") as target:
        while block := file.read(_BLOCK):
            target.write(squeeze.compress(block))
        target.write(squeeze.flush())
    return out.stat().st_size


def unpack(packed: Path, out: Path) -> None:
    """What a gzip file of any number of members holds."""
    with gzip.open(packed) as file, out.open("wb") as target:
        shutil.copyfileobj(file, target, _BLOCK)


def portal_cxg(environment: Path, path: Path, out: Path) -> dict[str, Any]:
    """The portal's algorithm (`portal_cxg.py`) in its own environment; returns what it prints."""
    command = [str(environment / "bin" / "python"), str(_PORTAL), str(path), str(out)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)

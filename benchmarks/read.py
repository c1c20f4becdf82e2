"""How fast celldock reads matrices, beside h5py: from a local file, and by ranges from a server that answers late.

    python -m benchmarks.read FILE.h5ad … [--latency 20] [--repeat 3] [--json OUT.json]
    scripts/uv run --no-sync --with s3fs python -m benchmarks.read FILE.h5ad …    # with the peers fsspec and s3fs

Every reader opens the file and decodes the whole of X and raw.X (data, indices, indptr), a few million elements at a
time, and returns how many values it saw. celldock's "rows" also cuts them into checked row blocks, as its steps do;
"arrays" leaves them arrays, as h5py does, which reads each array from end to end: the order that suits its read-ahead
best. Each reading is a process of its own, the peers' too with the Scan function's settings of malloc, and the file is
in the page cache. Over-read is what the server sent over what the arrays take in the file.
"""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py

from benchmarks.common import MB, Figures, function_settings, measure, print_table, ratio, save, warm
from benchmarks.range_server import Counters, serve
from celldock.cloud.clients import client
from celldock.cloud.objects import ObjectStore
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.http import HttpSource
from celldock.h5ad.layout import FileLayout
from celldock.h5ad.matrix import MatrixReader
from celldock.h5ad.reader import ArrayReader
from celldock.h5ad.source import ByteSource, LocalSource

_ELEMENTS = 4_000_000  # read at once
_READ_AHEAD = 5 * 1024 * 1024  # bytes
_BUCKET = "bench"
_PATHS = ("X", "raw/X")


def _module(name: str) -> Any:
    """A peer's module; None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


http_files, s3_files = _module("fsspec.implementations.http"), _module("s3fs")


def h5py_local(path: Path) -> int:
    with h5py.File(path) as file:
        return _read_with_h5py(file)


def _read_with_h5py(file: h5py.File) -> int:
    values = 0
    for array in arrays(file):
        chunk, width = (array.chunks or (1,))[0], (array.shape or (0, 1))[-1] if array.ndim == 2 else 1
        step = max(1, _ELEMENTS // width // chunk) * chunk  # whole chunks, so that none is decoded twice
        for start in range(0, len(array), step):
            block = array[start : start + step]
            values += 0 if str(array.name).endswith(("/indices", "/indptr")) else block.size
    return values


def arrays(file: h5py.File) -> Iterator[h5py.Dataset]:
    """The datasets of X and raw.X."""
    for path in _PATHS:
        if path in file:
            node = file[path]
            yield from [node] if isinstance(node, h5py.Dataset) else [node[n] for n in ("data", "indices", "indptr")]


def open_once(path: Path) -> None:
    """Starts celldock's sandbox, which a function does once for all files, as importing h5py has loaded libhdf5."""
    with open_h5ad(LocalSource(path)):
        pass


def celldock_local_arrays(path: Path) -> int:
    source = LocalSource(path)
    values = 0
    layout = _layout(source)
    for matrix in (layout.matrices[path] for path in _PATHS if path in layout.matrices):
        for name, array in matrix.arrays.items():
            reader = ArrayReader(source, array)
            step = max(1, _ELEMENTS // (array.shape[1] if len(array.shape) == 2 else 1))
            for block in reader.blocks(0, array.shape[0], step):
                values += block.size if name == "data" else 0
    return values


def celldock_local(path: Path) -> int:
    return _read_rows(LocalSource(path))


def celldock_http(url: str) -> int:
    return _read_rows(HttpSource.open(url))


def celldock_boto3(endpoint: str, key: str) -> int:
    _use_endpoint(endpoint)
    store = ObjectStore(client("s3"), _BUCKET)
    return _read_rows(store.source(key, "1", store.head(key).size))


def _read_rows(source: ByteSource) -> int:
    values = 0
    layout = _layout(source)
    for matrix in (layout.matrices[path] for path in _PATHS if path in layout.matrices):
        columns = matrix.header.shape[1]
        dense = matrix.header.encoding == "dense"  # its blocks come without zeros
        with TemporaryDirectory() as scratch:
            for block in MatrixReader(source, matrix, scratch=Path(scratch)).row_blocks():
                values += block.n_rows * columns if dense else len(block.data)
    return values


def _layout(source: ByteSource) -> FileLayout:
    with open_h5ad(source) as file:
        return file.layout(file.header(), [])


def h5py_fsspec(url: str) -> int:
    files = http_files.HTTPFileSystem()
    with files.open(url, block_size=_READ_AHEAD, cache_type="readahead") as stream, h5py.File(stream) as file:
        return _read_with_h5py(file)


def h5py_s3fs(endpoint: str, key: str, block: int) -> int:
    files = s3_files.S3FileSystem(anon=True, endpoint_url=endpoint, client_kwargs={"region_name": "us-east-1"})
    with files.open(f"{_BUCKET}/{key}", block_size=block, cache_type="readahead") as stream, h5py.File(stream) as file:
        return _read_with_h5py(file)


def _use_endpoint(endpoint: str) -> None:
    os.environ |= {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@dataclass(frozen=True, slots=True)
class Reading:
    """One reader on one file. `counters` are the server's, of one run; None for a local file."""

    reader: str
    figures: Figures
    counters: Counters | None = None


def read_locally(path: Path, repeat: int) -> list[Reading]:
    """The local readers, h5py first."""
    warm(path)
    readers = {"h5py": h5py_local, "celldock, arrays": celldock_local_arrays, "celldock, rows": celldock_local}
    opened = partial(open_once, path)
    return [Reading(name, measure(work, path, repeat=repeat, prepare=opened)) for name, work in readers.items()]


def read_remotely(path: Path, latency: float, repeat: int) -> list[Reading]:
    """The readers by ranges: those of h5py whose packages are here, then celldock's."""
    warm(path)
    with serve(path.parent, latency) as server:
        url = f"{server.url}/{path.name}"
        readers: dict[str, tuple[Callable[..., int], tuple[Any, ...]]] = {}
        if s3_files:
            readers["h5py + s3fs, 5 MiB ahead"] = h5py_s3fs, (server.url, path.name, _READ_AHEAD)
            readers["h5py + s3fs, 50 MiB ahead"] = h5py_s3fs, (server.url, path.name, 10 * _READ_AHEAD)
        if http_files:
            readers["h5py + fsspec HTTP, 5 MiB ahead"] = h5py_fsspec, (url,)
        readers["celldock, HTTP"] = celldock_http, (url,)
        readers["celldock, boto3"] = celldock_boto3, (server.url, path.name)
        readings: list[Reading] = []
        for name, (work, args) in readers.items():
            server.take_counters()
            figures = measure(work, *args, repeat=repeat, prepare=partial(open_once, path))
            readings.append(Reading(name, figures, server.take_counters().each(repeat)))
    return readings


def report(path: Path, local: Sequence[Reading], remote: Sequence[Reading], latency: float) -> None:
    """Prints the tables. Raises RuntimeError where two readers saw different numbers of values."""
    seen = {reading.figures.result for reading in (*local, *remote)}
    if len(seen) != 1:
        raise RuntimeError(f"{path.name}: the readers saw different numbers of values: {sorted(seen)}")
    with h5py.File(path) as file:
        decoded = sum((array.size or 0) * array.dtype.itemsize for array in arrays(file))
        stored = sum(array.id.get_storage_size() for array in arrays(file))
    print(f"{path.name}: {stored / MB:,.0f} MB stored, {decoded / MB:,.0f} MB decoded\n")
    if local:
        base = local[0].figures
        print_table(
            ("local file", "CPU-s", "wall s", "decoded MB per CPU-s", "peak MB", "CPU, times less than h5py"),
            [
                (r.reader, f.cpu, f.wall, decoded / MB / f.cpu, f.peak // MB, ratio(base.cpu, f.cpu))
                for r in local
                for f in (r.figures,)
            ],
        )
    if remote:
        base = remote[0].figures
        print_table(
            (
                f"{latency:g} ms latency",
                "wall s",
                "CPU-s",
                "requests",
                "sent MB",
                "over-read",
                "peak MB",
                "times faster than the first",
            ),
            [
                (
                    r.reader,
                    f.wall,
                    f.cpu,
                    c.requests,
                    c.bytes / MB,
                    c.bytes / stored,
                    f.peak // MB,
                    ratio(base.wall, f.wall),
                )
                for r in remote
                for f, c in ((r.figures, r.counters or Counters(0, 0, 0)),)
            ],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--latency", type=float, default=20, help="of each request, in milliseconds")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each reader; the one of median CPU time counts")
    parser.add_argument("--only", choices=("local", "remote"), help="half of it")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    os.environ |= function_settings("ScanFunction")
    document: dict[str, Any] = {}
    for path in arguments.files:
        local = read_locally(path, arguments.repeat) if arguments.only != "remote" else []
        remote = read_remotely(path, arguments.latency, arguments.repeat) if arguments.only != "local" else []
        report(path, local, remote, arguments.latency)
        document[path.name] = {"local": local, "remote": remote}
    if arguments.json:
        save(arguments.json, "read", {"latency_ms": arguments.latency, "files": document})


if __name__ == "__main__":
    main()

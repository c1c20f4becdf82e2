"""How fast the local stack's S3 is with one large object, and how much memory its server takes; stock moto beside it.

    python benchmarks/local_s3.py [MEGABYTES]        (default 1000; stock moto gets an eighth of it)

Speeds are in MB/s (1 MB = 10^6 bytes) as a boto3 client on the same machine sees them; memory is the server process's
peak. Both run on files below the temporary folder, so the disk's speed counts.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig

MB = 1_000_000
RANGE = 65_536
RANGES = 50


@dataclass(frozen=True)
class Result:
    name: str
    size: int  # bytes
    upload: float  # seconds
    single: float
    download: float
    range_ms: float  # median
    peak: int  # bytes

    def row(self) -> str:
        mbs = (self.size / MB / seconds for seconds in (self.upload, self.single, self.download))
        speeds = "".join(f"{speed:>12.0f}" for speed in mbs)
        return f"{self.name:<12}{self.size / MB:>9.0f}{speeds}{self.range_ms:>14.1f}{self.peak / MB:>12.0f}"


def serve(folder: str, mended: bool, ready: Connection) -> None:
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    if mended:
        from celldock_local.mends import s3_disk
        from celldock_local.mends.context import MendContext

        nobody: Any = None  # S3's bytes need neither functions nor other services
        s3_disk.apply(MendContext(nobody, nobody, Path(folder), ThreadPoolExecutor(1)))
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    ready.send(server.get_host_and_port()[1])
    ready.recv()


def peak_memory(pid: int) -> int:
    """Bytes, of one process, from its start."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024


def timed(work: Any, *args: Any, **kwargs: Any) -> float:
    begun = time.perf_counter()
    work(*args, **kwargs)
    return time.perf_counter() - begun


def measure(name: str, size: int, source: Path, *, mended: bool) -> Result:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        process = spawn.Process(target=serve, args=(folder, mended, theirs), daemon=True)
        process.start()
        s3 = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{ours.recv()}", region_name="us-east-1",
                          aws_access_key_id="x", aws_secret_access_key="x")  # fmt: skip
        s3.create_bucket(Bucket="bench")

        def read_range(index: int) -> None:
            begin = index * (size - RANGE) // RANGES
            s3.get_object(Bucket="bench", Key="big", Range=f"bytes={begin}-{begin + RANGE - 1}")["Body"].read()

        upload = timed(s3.upload_file, str(source), "bench", "big")
        target = Path(folder) / "downloaded"
        download = timed(s3.download_file, "bench", "big", str(target))
        if target.stat().st_size != size:
            raise RuntimeError(f"{name}: {target.stat().st_size} of {size} bytes came back")
        ranges = [timed(read_range, index) for index in range(RANGES)]
        one_put = TransferConfig(multipart_threshold=size + 1)
        single = timed(s3.upload_file, str(source), "bench", "single", Config=one_put)
        assert process.pid is not None
        result = Result(
            name, size, upload, single, download, statistics.median(ranges) * 1000, peak_memory(process.pid)
        )
        process.kill()
        process.join()
    return result


def main(megabytes: int) -> None:
    print(
        f"{'server':<12}{'MB':>9}{'multipart':>12}{'one PUT':>12}{'download':>12}{'64 KB read ms':>14}{'peak MB':>12}"
    )
    for name, size, mended in (("celldock", megabytes * MB, True), ("stock moto", megabytes * MB // 8, False)):
        with tempfile.NamedTemporaryFile() as source:
            block = os.urandom(MB)
            for _ in range(0, size, MB):
                source.write(block)
            source.truncate(size)
            source.flush()
            print(measure(name, size, Path(source.name), mended=mended).row(), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)

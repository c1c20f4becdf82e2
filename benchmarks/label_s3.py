"""What the step Label costs from S3 to S3: requests, bytes through the function, CPU time and memory, by cells.

    python -m benchmarks.label_s3 FILE.h5ad … [--json OUT.json] [--figure OUT.svg]

The files are valid ones. Each is put into a bucket of the local stack's S3 server, planned, and labelled by the step's
own function in a fresh process; requests are counted where boto3 sends them. The server's own work is not counted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from benchmarks.common import MB, Figures, measure, print_table, save
from benchmarks.figure import Panel, draw
from benchmarks.local_s3 import serve

_INBOX, _ARTIFACTS, _KEY = "inbox", "artifacts", "bench/cells.h5ad"
_SCHEMA = "7.1.0"


@dataclass(frozen=True, slots=True)
class Labelled:
    """What one file took. `received` and `sent` are bytes of objects through the function; `requests` by operation."""

    name: str
    cells: int
    size: int  # bytes of the file
    received: int
    sent: int
    requests: dict[str, int]
    figures: Figures


def client_of(endpoint: str) -> Any:
    """A client of the server."""
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )


def counting_client(endpoint: str, counts: Counter[str]) -> Any:
    """A client that counts its requests by operation, and the bytes of objects as `received` and `sent`."""
    s3 = client_of(endpoint)

    def count(model: Any, params: dict[str, Any], **_: Any) -> None:
        counts[model.name] += 1
        counts["sent"] += len(params.get("Body", b""))

    def weigh(model: Any, parsed: dict[str, Any], **_: Any) -> None:
        if model.name == "GetObject":
            counts["received"] += int(parsed.get("ContentLength", 0))

    s3.meta.events.register("provide-client-params.s3", count)
    s3.meta.events.register("after-call.s3", weigh)
    return s3


def label(endpoint: str, submission: dict[str, Any]) -> dict[str, int]:
    """Labels the upload, and gives the counts."""
    from celldock.catalog.records import Submission
    from celldock.cloud.objects import ObjectStore
    from celldock.cloud.steps.labelling import label_submission

    counts: Counter[str] = Counter()
    s3 = counting_client(endpoint, counts)
    with tempfile.TemporaryDirectory() as scratch:
        inbox, artifacts = ObjectStore(s3, _INBOX), ObjectStore(s3, _ARTIFACTS)
        made = label_submission(inbox, artifacts, Submission.model_validate(submission), _SCHEMA, Path(scratch))
    if made["state"] != "CONVERTED":
        raise RuntimeError(made["reason"])
    return dict(counts)


def measure_file(endpoint: str, path: Path) -> Labelled:
    """Plans and labels one file."""
    from celldock.catalog.records import Submission
    from celldock.cloud.objects import ObjectStore
    from celldock.cloud.steps.planning import load_plan, plan_submission
    from celldock.cloud.work import WorkArea

    s3 = client_of(endpoint)
    s3.upload_file(str(path), _INBOX, _KEY)
    head = s3.head_object(Bucket=_INBOX, Key=_KEY)
    version = head["VersionId"]
    submission = {
        **{"bucket": _INBOX, "key": _KEY, "version_id": version, "sequencer": "00", "run": 1, "execution": "arn"},
        **{"collection": "bench", "name": "cells", "dataset": "bench/cells", "pk": "p", "sk": "s"},
        **{"size": path.stat().st_size, "etag": head["ETag"], "publish": False, "required_formats": ["cells"]},
    }
    artifacts = ObjectStore(s3, _ARTIFACTS)
    plan_submission(ObjectStore(s3, _INBOX), artifacts, Submission.model_validate(submission))
    cells = load_plan(WorkArea(artifacts, version, 1)).n_obs
    figures = measure(label, endpoint, submission)
    requests: dict[str, int] = dict(figures.result)
    received, sent = requests.pop("received"), requests.pop("sent")
    return Labelled(path.name, cells, path.stat().st_size, received, sent, requests, figures)


@contextmanager
def server() -> Generator[str]:
    """The local stack's S3 in a process of its own, with two versioned buckets; yields its address."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        process = spawn.Process(target=serve, args=(folder, True, theirs), daemon=True)
        process.start()
        endpoint = f"http://127.0.0.1:{ours.recv()}"
        s3 = client_of(endpoint)
        for bucket in (_INBOX, _ARTIFACTS):
            s3.create_bucket(Bucket=bucket)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        yield endpoint
        process.kill()
        process.join()


def figure(found: Sequence[Labelled]) -> str:
    """CPU time and bytes, beside the file's, by cells."""
    times = {"Label": [(each.cells, each.figures.cpu) for each in found]}
    moved = {
        "through the function": [(each.cells, (each.received + each.sent) / MB) for each in found],
        "the file": [(each.cells, each.size / MB) for each in found],
    }
    return draw([Panel("CPU time, s", "cells", times), Panel("Bytes, MB", "cells", moved)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--figure", type=Path, help="where to draw them, as SVG")
    arguments = parser.parse_args()
    with server() as endpoint:
        found = sorted((measure_file(endpoint, path) for path in arguments.files), key=lambda each: each.cells)
    print_table(
        ("file", "MB", "cells", "GETs", "other requests", "MB in", "MB out", "% of file", "CPU-s", "wall s", "peak MB"),
        [
            (
                each.name,
                each.size // MB,
                each.cells,
                each.requests["GetObject"],
                sum(each.requests.values()) - each.requests["GetObject"],
                each.received / MB,
                each.sent / MB,
                100 * (each.received + each.sent) / each.size,
                each.figures.cpu,
                each.figures.wall,
                (each.figures.peak + each.figures.child_peak) // MB,
            )
            for each in found
        ],
    )
    if arguments.json:
        save(arguments.json, "label_s3", {"files": found})
    if arguments.figure:
        arguments.figure.parent.mkdir(parents=True, exist_ok=True)
        arguments.figure.write_text(figure(found))


if __name__ == "__main__":
    main()

"""Uploading a file to the inbox through the S3 API."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from celldock_cli.profiles import Target

MIB = 1 << 20
PARTS = TransferConfig(multipart_threshold=1 * MIB, multipart_chunksize=8 * MIB, max_concurrency=4)


@dataclass(frozen=True)
class Upload:
    """What S3 says it stored."""

    bucket: str
    key: str
    version_id: str


def upload(target: Target, file: Path, key: str, *, publish: bool, console: Console) -> Upload:
    """Uploads `file` as `key`, in parts, with a progress bar on `console` where that is a terminal."""
    s3 = target.client("s3")
    version_ids = _catch_version_ids(s3)
    metadata = {"celldock-publish": "auto"} if publish else {}
    with _progress(console) as progress:
        bar = progress.add_task(key, total=file.stat().st_size)
        lock = threading.Lock()

        def advance(sent: int) -> None:
            with lock:
                progress.advance(bar, sent)

        s3.upload_file(str(file), target.inbox, key, ExtraArgs={"Metadata": metadata}, Config=PARTS, Callback=advance)
    return Upload(target.inbox, key, version_ids[-1])


def _catch_version_ids(s3: Any) -> list[str]:
    """boto3's managed upload hides S3's answer; the version id in it is the only race-free name of what was stored."""
    caught: list[str] = []

    def remember(parsed: dict[str, Any], **_: Any) -> None:
        if "VersionId" in parsed:
            caught.append(parsed["VersionId"])

    for operation in ("PutObject", "CompleteMultipartUpload"):
        s3.meta.events.register(f"after-call.s3.{operation}", remember)
    return caught


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )

"""Submissions of one dataset in every state that tests start from."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from typing import Any

from celldock.catalog.records import RunInput, Version, artifact_sk
from celldock.catalog.states import VersionState
from celldock.cloud.claims import Claim, Upload, claim
from celldock.cloud.items import plain_to_item
from celldock.errors import Conflict
from tests.cloud.conftest import INBOX, TABLE, Cloud

DATASET = "atlas/lung"
KEY = f"{DATASET}.h5ad"
UPLOAD = Upload(size=512, etag="abc", publish_requested=False)


def run_of(version_id: str, sequencer: str, run: int = 1) -> RunInput:
    return RunInput(bucket=INBOX, key=KEY, version_id=version_id, sequencer=sequencer, run=run)


OLD, NEW = run_of("v-old", "0055AED6DCD9"), run_of("v-new", "0055AED6DCE1")


def arn(run: RunInput) -> str:
    return f"arn:aws:states:eu-central-1:123456789012:execution:ingest:{run.execution_name}"


def take(cloud: Cloud, run: RunInput, upload: Upload = UPLOAD) -> Claim:
    return claim(cloud.table, run, arn(run), lambda: upload)


def received(cloud: Cloud, *runs: RunInput) -> None:
    for run in runs:
        assert cloud.table.receive(run, DATASET, size=512, etag="abc")


def version(cloud: Cloud, version_id: str) -> Version:
    found = cloud.table.version(DATASET, version_id)
    assert found is not None
    return found


FILES = {"part-00000.parquet": b"cells 0-99", "part-00001.parquet": b"cells 100-199"}


def store_artifact(cloud: Cloud, version: Version) -> dict[str, str]:
    """An artifact of FILES in the work area; what the catalog is to hold of it."""
    root = f"work/{version.version_id}/1/convert/cells/"
    files = [
        cloud.artifacts.put_bytes(f"{root}files/{path}", content, "application/octet-stream").model_dump()
        for path, content in FILES.items()
    ]
    document = json.dumps({"files": [{name: f[name] for name in ("path", "bytes", "sha256")} for f in files]}).encode()
    stored = cloud.artifacts.put_bytes(root + "artifact.json", document, "application/json")
    step = {
        "step": "convert/cells",
        "version_id": version.version_id,
        "run": 1,
        "made_by_run": 1,
        "fingerprint": "f",
        "result": {"manifest": stored.model_dump()},
        "files": files,
    }
    cloud.artifacts.put_json(root + "manifest.json", step)
    return {"manifest_key": stored.key, "sha256": hashlib.sha256(document).hexdigest()}


def record_artifact(cloud: Cloud, version: Version, manifest_key: str, sha256: str, **changes: Any) -> None:
    """What the state machine writes of a converted format."""
    item = {
        "pk": version.pk,
        "sk": artifact_sk(version.version_id, "cells"),
        "entity": "artifact",
        "format": "cells",
        "state": "CONVERTED",
        "version_id": version.version_id,
        "run": 1,
        "version": "1",
        "files": len(FILES),
        "bytes": 24,
        "checksum": {"algorithm": "SHA256", "type": "COMPOSITE", "value": sha256},
        "manifest_key": manifest_key,
        "reason": "",
        "revision": 1,
        **changes,
    }
    cloud.table._client.put_item(TableName=TABLE, Item=plain_to_item(item))


def set_state(cloud: Cloud, run: RunInput, state: VersionState) -> Version:
    """What the state machine writes at the end."""
    item = version(cloud, run.version_id)
    cloud.table.write(cloud.table.update(item.pk, item.sk).where(run=item.run).set(state=state).remove("open_pk"))
    return version(cloud, run.version_id)


def ready(cloud: Cloud, version_id: str, sequencer: str, **artifact: Any) -> Version:
    """A version as the workflow leaves it: READY, with its artifact in the work area."""
    run = run_of(version_id, sequencer)
    take(cloud, run)
    claimed = version(cloud, version_id)
    record_artifact(cloud, claimed, **{**store_artifact(cloud, claimed), **artifact})
    return set_state(cloud, run, VersionState.READY)


def published_version(cloud: Cloud) -> str:
    """The version that the world sees, "" for none."""
    dataset = cloud.table.dataset(DATASET)
    assert dataset is not None
    return dataset.published_version if dataset.published else ""


def at_once(*calls: Callable[[], object]) -> list[object]:
    """Results or errors of calls that start together."""
    barrier = threading.Barrier(len(calls))
    results: list[object] = [None] * len(calls)

    def go(index: int) -> None:
        barrier.wait()
        try:
            results[index] = calls[index]()
        except Conflict as conflict:
            results[index] = conflict

    threads = [threading.Thread(target=go, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results

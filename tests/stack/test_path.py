"""From bucket to published."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import anndata
import duckdb
import pytest
from jsonschema import Draft202012Validator

from tests.dock import Dock, Drop, wait_for

SCHEMAS = Path(__file__).parents[2] / "events" / "schemas"
SCHEMA_OF = {
    "Dataset Changed": "dataset-changed.json",
    "Version Changed": "version-changed.json",
    "Artifact Changed": "artifact-changed.json",
    "Collection Changed": "collection-changed.json",
}


@pytest.fixture(scope="module")
def ready(dock: Dock, example: Path) -> Drop:
    """The real example, READY; what the portal was told before that of other files is gone."""
    dock.sqs.purge_queue(QueueUrl=dock.outputs["PortalQueueUrl"])
    drop = dock.drop(example, "path/pbmc68k.h5ad")
    assert dock.finished(drop)["state"] == "READY"
    return drop


def test_a_valid_file_ends_ready_with_a_report_and_is_private(dock: Dock, ready: Drop) -> None:
    answer = dock.answer(ready)
    assert answer["version"]["verdict"]["valid"] is True
    assert answer["dataset"]["published"] is False
    assert dock.report(ready)["valid"] is True
    assert dock.execution_status(ready) == "SUCCEEDED"


def test_cells_hold_every_cell_and_match_their_checksums(dock: Dock, ready: Drop, tmp_path: Path) -> None:
    artifact = dock.made(ready)["cells"]
    assert artifact["state"] == "CONVERTED"

    manifest_bytes = dock.s3.get_object(Bucket=dock.artifacts, Key=artifact["manifest_key"])["Body"].read()
    assert hashlib.sha256(manifest_bytes).hexdigest() == artifact["checksum"]["value"]
    files = json.loads(manifest_bytes)["files"]
    root = artifact["uri"].removeprefix(f"s3://{dock.artifacts}/").rstrip("/")
    for file in files:
        content = dock.s3.get_object(Bucket=dock.artifacts, Key=f"{root}/{file['path']}")["Body"].read()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
        (tmp_path / Path(file["path"]).name).write_bytes(content)
    assert sum(file["bytes"] for file in files) == artifact["bytes"]

    query = f"select count(*), count(distinct obs_id) from '{tmp_path}/part-*.parquet'"
    assert duckdb.connect().execute(query).fetchone() == (700, 700)


def test_the_labelled_file_holds_the_upload_byte_for_byte(
    dock: Dock, ready: Drop, example: Path, tmp_path: Path
) -> None:
    artifact = dock.made(ready)["h5ad"]
    folder = artifact["uri"].removeprefix(f"s3://{dock.artifacts}/")
    assert artifact["state"] == "CONVERTED"

    made = dock.s3.get_object(Bucket=dock.artifacts, Key=f"{folder}labelled.h5ad")["Body"].read()
    proof = dock.read_json(dock.artifacts, f"{folder}additivity.json")
    (tmp_path / "labelled.h5ad").write_bytes(made)

    data, before = anndata.read_h5ad(tmp_path / "labelled.h5ad"), anndata.read_h5ad(example)
    assert data.obs[list(before.obs)].equals(before.obs)
    assert set(data.obs) - set(before.obs) >= {"cell_type", "tissue", "observation_joinid"}
    assert proof["repacking"] is None
    differing = sum(a != b for a, b in zip(example.read_bytes(), made, strict=False))
    assert differing == proof["additivity"]["changed_bytes"] < 4096


def test_publishing_flips_the_flag_once_and_tells_the_portal(dock: Dock, ready: Drop) -> None:
    first = dock.api.publish(ready.dataset)
    again = dock.api.publish(ready.dataset)
    assert again == first

    answer = dock.answer(ready)
    assert answer["dataset"]["published"] is True
    assert answer["dataset"]["published_version"] == ready.version_id
    assert answer["version"]["publication"] == "PUBLISHED"
    for name in ("h5ad", "cells"):
        assert dock.keys(dock.public, f"public/{first['publication_id']}/{name}/")

    events: list[dict[str, Any]] = []

    def told() -> bool:
        events.extend(portal_events(dock))
        return any(
            (e["detail"]["new"] or {}).get("published") for e in events if e["detail"]["dataset"] == ready.dataset
        )

    wait_for(told, "the portal's event")
    mine = [e["detail"] for e in events if e["detail"]["dataset"] == ready.dataset]
    states = [d["new"]["state"] for d in mine if d["entity"] == "version"]
    assert states[0] == "RECEIVED"
    assert "READY" in states
    for event in events:
        validator_of(event["detail-type"]).validate(event["detail"])


def test_each_change_of_an_item_is_one_event_with_the_next_revision(dock: Dock, example: Path) -> None:
    drop = dock.drop(example, "path/revisions.h5ad")
    dock.finished(drop)
    revisions: list[int] = []

    def complete() -> bool:
        revisions.extend(
            e["detail"]["revision"]
            for e in portal_events(dock)
            if e["detail"]["dataset"] == drop.dataset and e["detail"]["entity"] == "version"
        )
        return max(revisions, default=0) == int((dock.version(drop) or {})["revision"])

    wait_for(complete, "all events of the version")
    assert sorted(set(revisions)) == list(range(1, max(revisions) + 1))


def test_a_new_version_replaces_the_published_one_only_when_asked(dock: Dock, example: Path) -> None:
    old = dock.drop(example, "path/replaced.h5ad")
    dock.finished(old)
    dock.api.publish(old.dataset)

    new = dock.drop(example, "path/replaced.h5ad")
    assert dock.finished(new)["state"] == "READY"
    assert dock.answer(new)["dataset"]["published_version"] == old.version_id

    dock.api.publish(new.dataset, new.version_id)
    assert dock.answer(new)["dataset"]["published_version"] == new.version_id
    assert (dock.version(old) or {})["publication"] == "REPLACED"


@pytest.mark.parametrize(("policy", "published"), [("hold", False), ("auto", True)])
def test_an_upload_publishes_itself_only_where_the_collection_allows_it(
    dock: Dock, example: Path, policy: str, published: bool
) -> None:
    dock.api.put_collection(f"policy-{policy}", publish_policy=policy)
    drop = dock.drop(example, f"policy-{policy}/pbmc.h5ad", **{"celldock-publish": "auto"})
    dock.finished(drop)
    assert dock.answer(drop)["dataset"]["published"] is published


@functools.cache
def validator_of(detail_type: str) -> Draft202012Validator:
    """Checks the details of events of a type; the schema itself is checked once."""
    schema = json.loads((SCHEMAS / SCHEMA_OF[detail_type]).read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def portal_events(dock: Dock) -> list[dict[str, Any]]:
    """Drains what is in the portal's queue now."""
    url = dock.outputs["PortalQueueUrl"]
    messages = dock.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    if messages:
        done = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)]
        dock.sqs.delete_message_batch(QueueUrl=url, Entries=done)
    return [json.loads(message["Body"]) for message in messages]

"""What a stopped stack's folder keeps, and how the next start brings it back.

Kept are S3's objects (bytes, versions with their ids, metadata, tags), DynamoDB's items and SQS's messages. They come
back under the same names, without events or stream records: nothing happens a second time. Executions, uploads in parts
that were not completed, and logs are moto's alone and end with the process; an execution that runs is therefore stopped
first, so that the workflow records its end.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import Table
from moto.s3.models import FakeBucket, FakeDeleteMarker, FakeKey, s3_backends
from moto.sqs.models import Message, Queue, sqs_backends

from celldock_local.aws import ACCOUNT, REGION
from celldock_local.data_folder import DataFolderError, StackInfo
from celldock_local.deploy import UPLOADS
from celldock_local.mends import _blobs
from celldock_local.mends.dynamodb_atomic import without_stream

FOLDER = "kept"
STATE_FILE = "state.json"
FORMAT = 1

_BYTES = "\0bytes"  # no header, attribute or field is called that
_KEY_FIELDS = (
    *("_etag", "_storage_class", "_is_versioned", "encryption", "kms_key_id", "bucket_key_enabled"),
    *("checksum_algorithm", "checksum_value", "checksum_type", "checksum_parts", "website_redirect_location"),
)


def end_executions(client: Callable[[str], Any], in_flight: Callable[[], int], deadline: float) -> int:
    """Stop the executions that run, then wait until the queues that are polled are empty and no function runs.

    Returns how many ran.
    """
    states, sqs, functions = client("stepfunctions"), client("sqs"), client("lambda")
    cause = "The local stack was stopped; its executions cannot be resumed."
    ended = 0
    for machine in states.list_state_machines()["stateMachines"]:
        arn = machine["stateMachineArn"]
        for execution in states.list_executions(stateMachineArn=arn, statusFilter="RUNNING")["executions"]:
            states.stop_execution(executionArn=execution["executionArn"], error="LocalStack.Stopped", cause=cause)
            ended += 1
    sources = {m["EventSourceArn"] for m in functions.list_event_source_mappings()["EventSourceMappings"]}
    names = [arn.split(":")[-1] for arn in sources if arn.split(":")[2] == "sqs"]
    urls = [sqs.get_queue_url(QueueName=name)["QueueUrl"] for name in names]
    quiet_since = time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - quiet_since < 1:
        if in_flight() or any(_waiting(sqs, url) for url in urls):
            quiet_since = time.monotonic()
        time.sleep(0.1)
    return ended


def _waiting(sqs: Any, url: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(attributes[name]) for name in names)


def save(data: Path, ended: int) -> None:
    """Write everything that is kept to `data`, in place of what was kept before. Nothing may write meanwhile.

    `ended` is the number of executions that had to be stopped.
    """
    draft = data / f"{FOLDER}.new"
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "objects").mkdir(parents=True)
    files = _Files(draft / "objects")
    buckets = s3_backends[ACCOUNT]["aws"].buckets
    state = {
        "format": FORMAT,
        "saved_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "ended": ended,
        "buckets": {name: list(_describe_bucket(b, files)) for name, b in buckets.items() if name != UPLOADS},
        "tables": {
            name: [item.to_json()["Attributes"] for item in table.all_items()]
            for name, table in dynamodb_backends[ACCOUNT][REGION].tables.items()
        },
        "queues": {
            name: [_describe_message(message) for message in queue._messages]
            for name, queue in sqs_backends[ACCOUNT][REGION].queues.items()
        },
    }
    (draft / STATE_FILE).write_text(json.dumps(state, default=_encode))
    shutil.rmtree(data / FOLDER, ignore_errors=True)
    draft.rename(data / FOLDER)


def restore(data: Path) -> list[str]:
    """Bring back what `save` kept, into the resources that are deployed now; what has no place any more, and why.

    Raises DataFolderError for data that this version cannot read: starting without them would overwrite them.
    """
    path = data / FOLDER / STATE_FILE
    if not path.exists():
        return []
    try:
        state = json.loads(path.read_text(), object_hook=_decode)
    except ValueError as error:
        raise DataFolderError(f"{path} is damaged: use another folder, or delete this one's data by a reset") from error
    if state["format"] != FORMAT:
        raise DataFolderError(
            f"the data in {data} were kept by another version of celldock (format {state['format']}): "
            "use another folder, or delete these data by a reset"
        )
    ended = state["ended"]
    cut = (
        [f"{ended} executions ran when the stack was stopped and cannot be resumed: redrive what failed"]
        if ended
        else []
    )
    return [
        *cut,
        *_refill(
            "objects", "bucket", state["buckets"], s3_backends[ACCOUNT]["aws"].buckets,
            lambda bucket, described: _fill_bucket(bucket, described, data),
        ),
        *_refill("items", "table", state["tables"], dynamodb_backends[ACCOUNT][REGION].tables, _fill_table),
        *_refill("messages", "queue", state["queues"], sqs_backends[ACCOUNT][REGION].queues, _fill_queue),
    ]  # fmt: skip


def _refill(
    things: str,
    place: str,
    kept: dict[str, list[dict[str, Any]]],
    places: Mapping[str, Any],
    fill: Callable[[Any, list[dict[str, Any]]], None],
) -> Iterator[str]:
    for name, contents in kept.items():
        if name in places:
            fill(places[name], contents)
        elif contents:
            yield f"{len(contents)} {things} were not brought back: there is no {place} {name} any more"


def _fill_table(table: Table, items: list[dict[str, Any]]) -> None:
    with without_stream():
        for item in items:
            table.put_item(item)


def _fill_queue(queue: Queue, messages: list[dict[str, Any]]) -> None:
    for described in messages:
        message: Any = Message(described["id"], described["body"])
        vars(message).update(described)
        message.visible_at = 0.0  # whoever had received it is gone
        queue.add_message(message)


def killed_note(data: Path, before: StackInfo) -> str:
    """What a user is told after a stack that did not stop cleanly."""
    path = data / FOLDER / STATE_FILE
    since = json.loads(path.read_text())["saved_at"] if path.exists() else before.started_at
    return (
        f"The stack before (process {before.pid}) was killed, so that it could not save its data: what changed since "
        f"{since} is lost, and executions that ran then will not end."
    )


class _Files:
    """Links the files of objects into one folder, each once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[Path, str] = {}

    def name(self, path: Path) -> str:
        if path not in self._names:
            self._names[path] = f"{len(self._names):08d}"
            _link(path, self._folder / self._names[path])
        return self._names[path]


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _describe_bucket(bucket: FakeBucket, files: _Files) -> Iterator[dict[str, Any]]:
    for name in bucket.keys:
        yield {"key": name, "versions": [_describe_version(v, files) for v in bucket.keys.getlist(name)]}


def _describe_version(version: Any, files: _Files) -> dict[str, Any]:
    described = {"version_id": version.version_id, "last_modified": version.last_modified.isoformat()}
    if isinstance(version, FakeDeleteMarker):
        return described | {"deleted": True}
    blob: Any = version._blob
    tags = s3_backends[ACCOUNT]["aws"].tagger.get_tag_dict_for_resource(version.arn)
    return described | {
        "fields": {name: getattr(version, name) for name in _KEY_FIELDS},
        "metadata": dict(version.metadata),
        "tags": tags,
        "extents": [[files.name(e.file.path), e.offset, e.length] for e in blob._extents],
        "digests": blob._digests,
    }


def _fill_bucket(bucket: FakeBucket, described: list[dict[str, Any]], data: Path) -> None:
    files: dict[str, _blobs._File] = {}
    for entry in described:
        versions: list[Any] = []
        for version in entry["versions"]:
            made = _make_version(bucket, entry["key"], version, data, files, versions)
            made.last_modified = datetime.fromisoformat(version["last_modified"])
            versions.append(made)
        bucket.keys.setlist(entry["key"], versions)


def _make_version(
    bucket: FakeBucket,
    name: str,
    described: dict[str, Any],
    data: Path,
    files: dict[str, _blobs._File],
    older: list[Any],
) -> Any:
    if described.get("deleted"):
        marker: Any = FakeDeleteMarker(older[-1] if older else _bare_key(bucket, name, _blobs.EMPTY, "null"))
        marker._version_id = described["version_id"]
        return marker
    extents: list[_blobs._Extent] = []
    for file_name, offset, length in described["extents"]:
        if file_name not in files:
            # A link of its own: the kept one stays until the next clean stop, also if the object is deleted.
            placed = data / "objects" / f"{FOLDER}-{file_name}"
            if not placed.exists():
                _link(data / FOLDER / "objects" / file_name, placed)
            files[file_name] = _blobs._File(placed)
        extents.append(_blobs._Extent(files[file_name], offset, length))
    key = _bare_key(bucket, name, _blobs.Blob(extents, described["digests"]), described["version_id"])
    for field, value in described["fields"].items():
        setattr(key, field, value)
    key.set_metadata(described["metadata"], replace=True)
    if described["tags"]:
        tagger = s3_backends[ACCOUNT]["aws"].tagger
        tagger.tag_resource(key.arn, tagger.convert_dict_to_tags_input(described["tags"]))
    return key


def _bare_key(bucket: FakeBucket, name: str, blob: _blobs.Blob, version_id: str) -> Any:
    value: Any = blob
    return FakeKey(name, value, ACCOUNT, bucket.region_name, version_id=version_id, bucket_name=bucket.name)


def _describe_message(message: Message) -> dict[str, Any]:
    return {name: value for name, value in vars(message).items() if "receipt_handle" not in name}


def _encode(value: Any) -> Any:
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} cannot be kept")


def _decode(value: dict[str, Any]) -> Any:
    return base64.b64decode(value[_BYTES]) if set(value) == {_BYTES} else value

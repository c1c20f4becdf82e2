"""The stack that stays: found again, stopped and started with its data, killed, reset."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celldock_local import daemon
from celldock_local.aws import local_client
from celldock_local.data_folder import DataFolderError, StackInfo
from tests.local.example import write_build
from tests.local.mend_server import until

PART = os.urandom(5 << 20)


class Up:
    """A stack on one folder, started over and over."""

    def __init__(self, folder: Path, runtime: Path) -> None:
        self.data = folder / "data"
        self._build = write_build(folder / "build")
        self._runtime = runtime

    def up(self) -> StackInfo:
        self.info = daemon.up(self.data, self._build, runtime=self._runtime)
        return self.info

    def client(self, service: str) -> Any:
        return local_client(service, self.info.endpoint)


@pytest.fixture
def local(tmp_path: Path, runtime: Path) -> Iterator[Up]:
    yield (started := Up(tmp_path, runtime))
    if started.data.exists():
        daemon.reset(started.data)


def upload(s3: Any, bucket: str) -> dict[str, str]:
    """Two versions of one key, a multipart object with a tag, and a deleted one; their version ids."""
    ids = {
        "first": s3.put_object(Bucket=bucket, Key="c/ü b+%25.h5ad", Body=b"one")["VersionId"],
        "second": s3.put_object(Bucket=bucket, Key="c/ü b+%25.h5ad", Body=b"two", Metadata={"x": "y"})["VersionId"],
    }
    started = s3.create_multipart_upload(Bucket=bucket, Key="large", ContentType="application/x-hdf5", Tagging="a=b")
    parts = [
        {
            "PartNumber": n,
            "ETag": s3.upload_part(Bucket=bucket, Key="large", UploadId=started["UploadId"], PartNumber=n, Body=body)[
                "ETag"
            ],
        }
        for n, body in ((1, PART), (2, b"end"))
    ]
    done = s3.complete_multipart_upload(
        Bucket=bucket, Key="large", UploadId=started["UploadId"], MultipartUpload={"Parts": parts}
    )
    ids["large"] = done["VersionId"]
    s3.put_object(Bucket=bucket, Key="gone", Body=b"x")
    ids["marker"] = s3.delete_object(Bucket=bucket, Key="gone")["VersionId"]
    return ids


def test_a_stopped_stack_is_found_again_as_it_was(local: Up) -> None:
    info = local.up()
    assert local.up() == info == daemon.status(local.data)
    s3, bucket = local.client("s3"), info.outputs["Objects"]
    ids = upload(s3, bucket)
    large = s3.head_object(Bucket=bucket, Key="large", ChecksumMode="ENABLED")
    table = local.client("dynamodb")
    table.put_item(TableName=info.outputs["Things"], Item={"pk": {"S": "a"}, "b": {"B": b"\0\1"}, "n": {"N": "1.5"}})
    local.client("sqs").send_message(QueueUrl=info.outputs["DeadUrl"], MessageBody="kept")
    until(lambda: local.client("sqs").receive_message(QueueUrl=info.outputs["JournalUrl"]).get("Messages"), 20)

    assert daemon.down(local.data)
    assert daemon.status(local.data) is None
    again = local.up()

    assert again.outputs == info.outputs
    assert again.endpoint == info.endpoint
    assert again.notes == []
    s3 = local.client("s3")
    versions = s3.list_object_versions(Bucket=bucket)
    assert {v["VersionId"] for v in versions["Versions"]} >= {ids["first"], ids["second"], ids["large"]}
    assert [m["VersionId"] for m in versions["DeleteMarkers"]] == [ids["marker"]]
    key = "c/ü b+%25.h5ad"
    assert s3.get_object(Bucket=bucket, Key=key, VersionId=ids["first"])["Body"].read() == b"one"
    newest = s3.get_object(Bucket=bucket, Key=key)
    assert (newest["Body"].read(), newest["VersionId"], newest["Metadata"]) == (b"two", ids["second"], {"x": "y"})
    assert (
        s3.get_object(Bucket=bucket, Key="large", Range=f"bytes={(5 << 20) - 2}-")["Body"].read() == PART[-2:] + b"end"
    )
    head = s3.head_object(Bucket=bucket, Key="large", ChecksumMode="ENABLED")
    for name in ("ETag", "ContentType", "LastModified", "ChecksumType", "ContentLength", "ServerSideEncryption"):
        assert head.get(name) == large.get(name), name
    assert s3.get_object_tagging(Bucket=bucket, Key="large")["TagSet"] == [{"Key": "a", "Value": "b"}]
    item = local.client("dynamodb").get_item(TableName=info.outputs["Things"], Key={"pk": {"S": "a"}})["Item"]
    assert item == {"pk": {"S": "a"}, "b": {"B": b"\0\1"}, "n": {"N": "1.5"}}
    sqs = local.client("sqs")
    assert sqs.receive_message(QueueUrl=info.outputs["DeadUrl"])["Messages"][0]["Body"] == "kept"
    time.sleep(1)
    noted = sqs.get_queue_attributes(QueueUrl=info.outputs["JournalUrl"], AttributeNames=["All"])["Attributes"]
    assert int(noted["ApproximateNumberOfMessages"]) <= 1  # what was noted before; nothing happened a second time


@pytest.mark.long
def test_a_killed_stack_says_what_is_lost_and_keeps_the_last_clean_state(local: Up) -> None:
    info = local.up()
    local.client("s3").put_object(Bucket=info.outputs["Objects"], Key="saved", Body=b"1")
    slow = {"stateMachineArn": info.outputs["Machine"], "input": '{"do": "sleep", "seconds": 60}'}
    local.client("stepfunctions").start_execution(**slow)
    daemon.down(local.data)
    info = local.up()
    assert [note[:36] for note in info.notes] == ["1 executions ran when the stack was "]
    s3, bucket = local.client("s3"), info.outputs["Objects"]
    s3.put_object(Bucket=bucket, Key="lost", Body=b"2")
    s3.delete_object(Bucket=bucket, Key="saved")

    os.kill(info.pid, signal.SIGKILL)
    until(lambda: daemon.status(local.data) is None)
    again = local.up()

    note = again.notes[-1]
    assert f"process {info.pid}" in note
    assert "is lost" in note
    keys = [entry["Key"] for entry in local.client("s3").list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys == ["saved"]
    assert local.client("s3").get_object(Bucket=bucket, Key="saved")["Body"].read() == b"1"


@pytest.mark.long
def test_reset_deletes_a_stacks_folder_and_no_other(local: Up, tmp_path: Path) -> None:
    local.up()
    daemon.reset(local.data)
    assert not local.data.exists()
    assert daemon.status(local.data) is None
    daemon.reset(local.data)

    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("")
    with pytest.raises(DataFolderError, match="no folder of a local stack"):
        daemon.reset(tmp_path / "precious")
    with pytest.raises(daemon.StackFailed, match="is not empty"):
        daemon.up(tmp_path / "precious", tmp_path)
    assert (tmp_path / "precious" / "thesis.tex").exists()


@pytest.mark.long
def test_data_that_cannot_be_read_are_neither_ignored_nor_overwritten(local: Up) -> None:
    local.up()
    daemon.down(local.data)
    kept = local.data / "kept" / "state.json"
    for state, told in (('{"format": 0}', "another version of celldock"), ('{"format": 1, "buck', "damaged")):
        kept.write_text(state)

        with pytest.raises(daemon.StackFailed, match=told):
            local.up()
        assert kept.read_text() == state

"""S3's events on EventBridge: each upload and each deletion once, as AWS documents them."""

from __future__ import annotations

import json
import os
import re
from typing import Any
from uuid import uuid4

import pytest

from tests.local.mend_server import Server, received

PART = os.urandom(5 << 20)
KEYS = ["plain.h5ad", "a+b c.h5ad", "a%2Bb%25.h5ad", "Zürich/细胞 🧬.h5ad", "c/'\"&<>;=?#.h5ad"]


class Inbox:
    """A versioned bucket whose events reach a queue."""

    def __init__(self, server: Server, *, enabled: bool = True) -> None:
        self.s3, self.sqs, events = server.client("s3"), server.client("sqs"), server.client("events")
        self.bucket = f"inbox-{uuid4().hex[:12]}"
        self.s3.create_bucket(Bucket=self.bucket)
        self.s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        notify = {"EventBridgeConfiguration": {}} if enabled else {}
        self.s3.put_bucket_notification_configuration(Bucket=self.bucket, NotificationConfiguration=notify)
        self.url = self.sqs.create_queue(QueueName=self.bucket)["QueueUrl"]
        arn = f"arn:aws:sqs:us-east-1:123456789012:{self.bucket}"
        pattern = {"source": ["aws.s3"], "detail": {"bucket": {"name": [self.bucket]}}}
        events.put_rule(Name=self.bucket, EventPattern=json.dumps(pattern))
        events.put_targets(Rule=self.bucket, Targets=[{"Id": "0", "Arn": arn}])

    def events(self, count: int = 1, wait: float = 3) -> list[dict[str, Any]]:
        return [json.loads(message["Body"]) for message in received(self.sqs, self.url, count, wait)]

    def put(self, key: str, body: bytes = b"x", **how: Any) -> str:
        return self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **how)["VersionId"]

    def multipart(self, key: str) -> dict[str, Any]:
        name = {"Bucket": self.bucket, "Key": key}
        upload = {**name, "UploadId": self.s3.create_multipart_upload(**name)["UploadId"]}
        etags = [self.s3.upload_part(**upload, PartNumber=number, Body=PART)["ETag"] for number in (1, 2)]
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        return self.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})


@pytest.fixture
def inbox(mended: Server) -> Inbox:
    return Inbox(mended)


# What stock moto does


def test_stock_moto_announces_an_upload_several_times_under_one_id(stock: Server) -> None:
    inbox = Inbox(stock)
    inbox.multipart("k")
    events = inbox.events(3)
    assert len(events) == 3
    assert len({event["id"] for event in events}) == 1
    assert len({event["detail"]["object"]["sequencer"] for event in events}) == 1
    assert "etag" not in events[0]["detail"]["object"]


def test_stock_moto_keeps_silent_when_one_of_two_versions_is_deleted(stock: Server) -> None:
    inbox = Inbox(stock)
    first, _ = inbox.put("k"), inbox.put("k")
    inbox.events(4)
    inbox.s3.delete_object(Bucket=inbox.bucket, Key="k", VersionId=first)
    assert inbox.events(wait=0.5) == []


# Created


def test_an_upload_is_announced_once_in_the_documented_shape(inbox: Inbox) -> None:
    version = inbox.put("c/name.h5ad", b"hello", Tagging="a=b", Metadata={"celldock-publish": "auto"})
    (event,) = inbox.events(2, wait=1)
    detail = event["detail"]
    assert (event["detail-type"], event["source"]) == ("Object Created", "aws.s3")
    assert event["resources"] == [f"arn:aws:s3:::{inbox.bucket}"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["time"])
    assert re.fullmatch(r"[0-9A-F]{16,}", detail["object"].pop("sequencer"))
    assert detail["object"] == {
        "key": "c/name.h5ad", "size": 5, "etag": "5d41402abc4b2a76b9719d911017c592", "version-id": version,
    }  # fmt: skip
    assert detail["reason"] == "PutObject"
    assert set(detail) == {"version", "bucket", "object", "request-id", "requester", "source-ip-address", "reason"}


def test_a_multipart_upload_is_announced_once_when_it_is_complete(inbox: Inbox) -> None:
    done = inbox.multipart("big.h5ad")
    (event,) = inbox.events(2, wait=1)
    assert event["detail"]["reason"] == "CompleteMultipartUpload"
    assert event["detail"]["object"]["size"] == 2 * len(PART)
    assert event["detail"]["object"]["etag"] == done["ETag"].strip('"')
    assert event["detail"]["object"]["version-id"] == done["VersionId"]


def test_a_copy_is_announced_as_one(inbox: Inbox) -> None:
    inbox.put("a")
    inbox.s3.copy_object(Bucket=inbox.bucket, Key="b", CopySource={"Bucket": inbox.bucket, "Key": "a"})
    created = [(event["detail"]["object"]["key"], event["detail"]["reason"]) for event in inbox.events(3, wait=1)]
    assert created == [("a", "PutObject"), ("b", "CopyObject")]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_arrives_byte_by_byte(inbox: Inbox, key: str) -> None:
    inbox.put(key)
    assert [event["detail"]["object"]["key"] for event in inbox.events()] == [key]


def test_ids_differ_and_sequencers_grow(inbox: Inbox) -> None:
    for _ in range(5):
        inbox.put("k")
    events = inbox.events(5)
    sequencers = [event["detail"]["object"]["sequencer"] for event in events]
    assert len({event["id"] for event in events}) == 5
    assert sequencers == sorted(set(sequencers))


def test_a_refused_upload_is_not_announced(inbox: Inbox) -> None:
    inbox.put("k")
    with pytest.raises(inbox.s3.exceptions.ClientError):
        inbox.put("k", IfNoneMatch="*")
    assert len(inbox.events(2, wait=1)) == 1


def test_a_bucket_that_did_not_ask_is_silent(mended: Server) -> None:
    inbox = Inbox(mended, enabled=False)
    inbox.put("k")
    assert inbox.events(wait=0.5) == []


def test_tags_that_are_set_later_are_announced_as_tags(inbox: Inbox) -> None:
    inbox.put("k")
    inbox.s3.put_object_tagging(Bucket=inbox.bucket, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert [event["detail-type"] for event in inbox.events(3, wait=1)] == ["Object Created", "Object Tags Added"]


# Deleted


def test_a_delete_marker_and_a_deleted_version_are_told_apart(inbox: Inbox) -> None:
    first, _ = inbox.put("k"), inbox.put("k")
    marker = inbox.s3.delete_object(Bucket=inbox.bucket, Key="k")["VersionId"]
    inbox.s3.delete_object(Bucket=inbox.bucket, Key="k", VersionId=first)
    events = inbox.events(5, wait=1)[2:]
    assert [event["detail-type"] for event in events] == ["Object Deleted", "Object Deleted"]
    told = [(event["detail"]["deletion-type"], event["detail"]["object"]["version-id"]) for event in events]
    assert told == [("Delete Marker Created", marker), ("Permanently Deleted", first)]
    assert {event["detail"]["reason"] for event in events} == {"DeleteObject"}


def test_each_key_of_one_delete_request_is_told(inbox: Inbox) -> None:
    for key in ("a", "b"):
        inbox.put(key)
    inbox.s3.delete_objects(Bucket=inbox.bucket, Delete={"Objects": [{"Key": "a"}, {"Key": "b"}]})
    assert [event["detail"]["object"]["key"] for event in inbox.events(5, wait=1)[2:]] == ["a", "b"]

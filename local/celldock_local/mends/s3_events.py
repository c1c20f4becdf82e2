"""S3 tells EventBridge of each object once, in AWS's documented shape, when the request that wrote it is done.

Stock moto announces a multipart upload twice, adds a tagging event to each, sends all with one id and one sequencer,
`eTag` for `etag`, a number for the time and no kind of deletion, and does so before the object's metadata are set.
"""

from __future__ import annotations

import functools
import threading
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from moto.s3 import models, notifications, responses
from moto.s3.notifications import S3NotificationEvent as Event

from celldock_local.mends.context import MendContext
from celldock_local.mends.eventbridge import publish, service_event

# Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
_REASONS = {
    Event.OBJECT_CREATED_PUT_EVENT: "PutObject",
    Event.OBJECT_CREATED_POST_EVENT: "POST Object",
    Event.OBJECT_CREATED_COPY_EVENT: "CopyObject",
    Event.OBJECT_CREATED_COMPLETE_MULTIPART_UPLOAD_EVENT: "CompleteMultipartUpload",
    Event.OBJECT_REMOVED_DELETE_EVENT: "DeleteObject",
    Event.OBJECT_REMOVED_DELETE_MARKER_CREATED_EVENT: "DeleteObject",
}
_DELETIONS = {
    Event.OBJECT_REMOVED_DELETE_EVENT: "Permanently Deleted",
    Event.OBJECT_REMOVED_DELETE_MARKER_CREATED_EVENT: "Delete Marker Created",
}
_BY_THE_WAY = {Event.OBJECT_TAGGING_PUT_EVENT, Event.OBJECT_ACL_UPDATE_EVENT, Event.OBJECT_CREATED_PUT_EVENT}


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that happened to an object, described while it was so."""

    name: Event
    account: str
    bucket: Any
    key: Any
    event: dict[str, Any]


# What the current request did so far; None outside of requests.
_notices: ContextVar[list[Notice] | None] = ContextVar("notices", default=None)


class Sequencers:
    """Hexadecimal numbers that grow with each write, over restarts too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> str:
        with self._lock:
            self._last = max(self._last + 1, time.time_ns())
            return f"{self._last:016X}"


def apply(_context: MendContext) -> None:
    sequencers, stock_send = Sequencers(), notifications.send_event

    def send_event(account_id: str, event_name: Event, bucket: Any, key: Any) -> None:
        if bucket.notification_configuration is None:
            return
        event = _describe(account_id, event_name, bucket, key, sequencers)
        notice = Notice(event_name, account_id, bucket, key, event)
        collected = _notices.get()
        if collected is None:
            tell([notice])
        else:
            collected.append(notice)

    def tell(notices: list[Notice]) -> None:
        for notice in _essential(notices):
            stock_send(notice.account, notice.name, notice.bucket, notice.key)
            if notice.bucket.notification_configuration.event_bridge is not None:
                publish(notice.account, notice.bucket.region_name, notice.event)

    notifications.send_event = send_event
    notifications._send_event_bridge_message = lambda *_: None  # stock_send keeps to queues, topics and functions
    for name in ("key_response", "bucket_response"):
        setattr(responses.S3Response, name, _told_at_the_end(getattr(responses.S3Response, name), tell))
    _mend_deletions()


def _told_at_the_end[**P, T](method: Callable[P, T], tell: Callable[[list[Notice]], None]) -> Callable[P, T]:
    @functools.wraps(method)
    def request(*args: P.args, **kwargs: P.kwargs) -> T:
        if _notices.get() is not None:  # one kind of request answers through the other
            return method(*args, **kwargs)
        notices: list[Notice] = []
        token = _notices.set(notices)
        try:
            return method(*args, **kwargs)
        finally:
            _notices.reset(token)
            tell(notices)

    return request


def _essential(notices: list[Notice]) -> list[Notice]:
    """Without what only came with the creation of an object: of those, moto's last notice is the request's own."""
    created = [notice for notice in notices if notice.name.startswith("s3:ObjectCreated:")]
    if not created:
        return notices
    return [notice for notice in notices if notice is created[-1] or notice.name not in _BY_THE_WAY]


def _describe(account: str, name: Event, bucket: Any, key: Any, sequencers: Sequencers) -> dict[str, Any]:
    described: dict[str, Any] = {"key": key.name}
    if name not in _DELETIONS:
        described |= {"size": key.size, "etag": key.etag.strip('"')}
    if bucket.is_versioned:
        described["version-id"] = key.version_id
    if name in _REASONS:
        described["sequencer"] = sequencers.next()
    detail = {
        "version": "0",
        "bucket": {"name": bucket.name},
        "object": described,
        "request-id": uuid.uuid4().hex[:16].upper(),
        "requester": account,
        "source-ip-address": "127.0.0.1",
    }
    if name in _REASONS:
        detail["reason"] = _REASONS[name]
    if name in _DELETIONS:
        detail["deletion-type"] = _DELETIONS[name]
    kind = notifications._detail_type(name)
    return service_event(account, bucket.region_name, "aws.s3", kind, bucket.arn, detail)


@dataclass(frozen=True, slots=True)
class _Gone:
    """What is left to say of a key that was deleted."""

    name: str
    version_id: str
    size: int = 0
    etag: str = '""'


def _mend_deletions() -> None:
    """Each deletion of a version and each delete marker is told; stock moto tells only of a key's last version."""
    stock_delete = models.S3Backend.delete_object

    def delete_object(
        self: Any, bucket_name: str, key_name: str, version_id: str | None = None, bypass: bool = False
    ) -> Any:
        bucket = self.get_bucket(bucket_name)
        there = {str(key.version_id): key for key in bucket.keys.getlist(key_name, [])}
        collected = _notices.get()
        mark = len(collected) if collected is not None else 0
        done, meta = stock_delete(self, bucket_name, key_name, version_id=version_id, bypass=bypass)
        if collected is not None:
            del collected[mark:]
        if not done or (version_id is not None and str(version_id) not in there):
            return done, meta
        marked = bucket.is_versioned and version_id is None
        name = Event.OBJECT_REMOVED_DELETE_MARKER_CREATED_EVENT if marked else Event.OBJECT_REMOVED_DELETE_EVENT
        notifications.send_event(self.account_id, name, bucket, _Gone(key_name, str(meta.get("version-id", "null"))))
        return done, meta

    models.S3Backend.delete_object = delete_object

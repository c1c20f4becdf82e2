"""What moto needs to behave like AWS for celldock: one module for each need, all applied before the server starts."""

from __future__ import annotations

from threading import Event
from types import ModuleType

from celldock_local.mends import (
    bucket_policy,
    cloudformation,
    dispatch,
    dynamodb_atomic,
    eventbridge,
    function_url,
    lambda_invoke,
    names,
    queue_urls,
    s3_disk,
    s3_events,
    s3_keys,
    sqs_atomic,
    sqs_poller,
    stepfunctions,
    stream_poller,
    tracking,
)
from celldock_local.mends.context import MendContext

ALL: list[ModuleType] = [
    tracking,
    dispatch,
    names,
    s3_disk,
    s3_events,
    s3_keys,
    bucket_policy,
    dynamodb_atomic,
    sqs_atomic,
    queue_urls,
    eventbridge,
    stepfunctions,
    lambda_invoke,
    function_url,
    sqs_poller,
    stream_poller,
    cloudformation,
]
"""In this order."""

_applied = Event()


def apply_all(context: MendContext) -> None:
    """Mend moto in this process. Raises RuntimeError if that was done before: the mends wrap what they find."""
    if _applied.is_set():
        raise RuntimeError("moto is mended once for each process")
    _applied.set()
    for mend in ALL:
        mend.apply(context)

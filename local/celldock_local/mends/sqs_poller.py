"""SQS event source mappings poll the queue as Lambda does.

Stock moto invokes from within SendMessage, one message at a time, ignores partial batch failures, and makes a failed
message visible again at once.
"""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from moto.awslambda.models import EventSourceMapping

from celldock_local.mends import _sources
from celldock_local.mends.context import InvokeResult, MendContext, Throttled

DEFAULT_CONCURRENCY = 5
"""Batches that Lambda starts with at once."""


def apply(context: MendContext) -> None:
    _sources.take_over(context, "sqs", _poll)


def _poll(context: MendContext, mapping: EventSourceMapping, alive: Any) -> None:
    poller = _Poller(context, mapping)
    with ThreadPoolExecutor(poller.concurrency, thread_name_prefix="sqs-batch") as workers:
        while alive():
            if not mapping.enabled:
                context.stop.wait(0.2)
                continue
            poller.gate.acquire()
            batch: list[dict[str, Any]] = []
            try:
                batch = poller.receive()
            finally:
                if not batch:
                    poller.gate.release()
            if batch:
                workers.submit(poller.handle, batch)


class _Poller:
    def __init__(self, context: MendContext, mapping: EventSourceMapping) -> None:
        self._context = context
        self._mapping = mapping
        self._sqs = context.client("sqs")
        self._url = self._sqs.get_queue_url(QueueName=mapping.event_source_arn.split(":")[-1])["QueueUrl"]
        fifo = mapping.event_source_arn.endswith(".fifo")
        scaling = (mapping.scaling_config or {}).get("MaximumConcurrency")
        self.concurrency = 1 if fifo else int(scaling or DEFAULT_CONCURRENCY)
        self.gate = threading.BoundedSemaphore(self.concurrency)

    def receive(self) -> list[dict[str, Any]]:
        """One batch that passes the filters: what is there, or what comes within the batching window."""
        wanted = int(self._mapping.batch_size)
        window_s = float(self._mapping.max_batch_window or 0)
        batch = self._receive(wanted, wait_s=1)
        closes = time.monotonic() + window_s
        while batch and len(batch) < wanted and (left := closes - time.monotonic()) > 0:
            batch += self._receive(wanted - len(batch), wait_s=min(1, int(left)))
            if left < 1:
                self._context.stop.wait(min(left, 0.1))
        passing = [m for m in batch if _sources.passes(self._mapping, _parsed(self._record(m)))]
        for message in batch:
            if message not in passing:  # filtered out: Lambda deletes it
                self._delete(message)
        return passing

    def handle(self, batch: list[dict[str, Any]]) -> None:
        try:
            result = self._invoke(batch)
            failed = {m["MessageId"] for m in batch} if result is None else self._failed(batch, result)
            for message in batch:
                if message["MessageId"] not in failed:
                    self._delete(message)
        finally:
            self.gate.release()

    def _invoke(self, batch: list[dict[str, Any]]) -> InvokeResult | None:
        """None if the function stayed throttled; the messages then come again after their visibility timeout."""
        body = _sources.to_json({"Records": [self._record(message) for message in batch]})
        attributes = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["VisibilityTimeout"])
        gives_up = time.monotonic() + int(attributes["Attributes"]["VisibilityTimeout"]) / 2
        while True:
            try:
                return self._context.runner.invoke(self._mapping.function_arn, body)
            except Throttled:
                if time.monotonic() > gives_up or self._context.stop.wait(0.2):
                    return None

    def _failed(self, batch: list[dict[str, Any]], result: InvokeResult) -> set[str]:
        everything = {message["MessageId"] for message in batch}
        if result.error:
            return everything
        if "ReportBatchItemFailures" not in (self._mapping.function_response_types or []):
            return set()
        failed = _sources.failed_items(result.payload)
        return everything if failed is None or not failed <= everything else failed

    def _receive(self, count: int, wait_s: float) -> list[dict[str, Any]]:
        answer = self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=min(10, count),
            WaitTimeSeconds=int(wait_s),
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return answer.get("Messages", [])

    def _delete(self, message: dict[str, Any]) -> None:
        self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])

    def _record(self, message: dict[str, Any]) -> dict[str, Any]:
        """Source: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html."""
        attributes = message.get("MessageAttributes", {})
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message.get("Attributes", {}),
            "messageAttributes": {name: _attribute(value) for name, value in attributes.items()},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self._mapping.event_source_arn,
            "awsRegion": self._context.region,
        }


def _attribute(value: dict[str, Any]) -> dict[str, Any]:
    names = {"StringValue": "stringValue", "BinaryValue": "binaryValue", "DataType": "dataType"}
    made = {names[name]: value[name] for name in names if name in value}
    return {**made, "stringListValues": [], "binaryListValues": []}


def _parsed(record: dict[str, Any]) -> dict[str, Any]:
    """A filter on `body` looks into it if it is JSON."""
    try:
        return {**record, "body": json.loads(record["body"])}
    except ValueError:
        return record

"""DynamoDB event source mappings read the stream as Lambda does: in order, filtered, retried, with a way out.

Stock moto invokes from within the write, with every record that is not yet processed, ignores filters, retries and
destinations, and loses what fails.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from moto.awslambda.models import EventSourceMapping

from celldock_local.destinations import send_to
from celldock_local.mends import _sources
from celldock_local.mends.context import InvokeResult, MendContext, Throttled

POLL_S = 0.15
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0

Record = dict[str, Any]
_log = logging.getLogger(__name__)


def apply(context: MendContext) -> None:
    _sources.take_over(context, "dynamodb", _poll)


def _poll(context: MendContext, mapping: EventSourceMapping, alive: Any) -> None:
    streams = context.client("dynamodbstreams")
    reader = _Reader(streams, mapping.event_source_arn, mapping.starting_position or "TRIM_HORIZON")
    delivery = _Delivery(context, mapping, reader.shard, alive)
    pending: list[Record] = []
    while alive():
        if not mapping.enabled:
            context.stop.wait(0.2)
            continue
        try:
            pending = pending or _collect(context, mapping, reader)
            if pending:
                delivery.deliver([r for r in pending if _sources.passes(mapping, json.loads(_sources.to_json(r)))])
                pending = []
            else:
                context.stop.wait(POLL_S)
        except Exception:  # noqa: BLE001 - the place in the stream is kept: leaving here would begin it anew
            if alive():
                _log.exception("stream %s", mapping.event_source_arn)
                context.stop.wait(1)


def _collect(context: MendContext, mapping: EventSourceMapping, reader: _Reader) -> list[Record]:
    """One batch: what is there, or what comes within the batching window."""
    wanted = int(mapping.batch_size)
    records = reader.read(wanted)
    closes = time.monotonic() + float(mapping.max_batch_window or 0)
    while records and len(records) < wanted and time.monotonic() < closes and not context.stop.wait(POLL_S):
        records += reader.read(wanted - len(records))
    return records


class _Reader:
    """The one shard of a local stream."""

    def __init__(self, streams: Any, arn: str, position: str) -> None:
        self._streams = streams
        self._arn = arn
        self.shard: str = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
        found = streams.get_shard_iterator(StreamArn=arn, ShardId=self.shard, ShardIteratorType=position)
        self._iterator = found["ShardIterator"]

    def read(self, limit: int) -> list[Record]:
        answer = self._streams.get_records(ShardIterator=self._iterator, Limit=min(limit, 1000))
        self._iterator = answer["NextShardIterator"]
        return [self._as_event(record) for record in answer["Records"]]

    def _as_event(self, record: Record) -> Record:
        change = dict(record["dynamodb"])
        created = change.get("ApproximateCreationDateTime")
        if isinstance(created, datetime):
            change["ApproximateCreationDateTime"] = int(created.timestamp())
        return {**record, "dynamodb": change, "eventSourceARN": self._arn}


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a batch did not go through, and from which record on."""

    first: int
    result: InvokeResult | None


class _Delivery:
    """Brings batches to the function, one after the other; the next one waits until this one is done with."""

    def __init__(self, context: MendContext, mapping: EventSourceMapping, shard: str, alive: Any) -> None:
        self._context = context
        self._mapping = mapping
        self._shard = shard
        self._alive = alive

    def deliver(self, records: list[Record]) -> None:
        """Returns once all records are processed, given up (then they went to the destination), or the stack stops."""
        attempts = 0
        while records and self._alive():
            failure = self._invoke(records)
            if failure is None:
                return
            if failure.first:  # progress: what succeeded counts, and the rest starts its attempts anew
                records, attempts = records[failure.first :], 0
            attempts += 1
            if self._given_up(records, attempts):
                self._discard(records, failure, attempts)
                return
            if self._mapping.bisect_on_error and len(records) > 1:
                middle = len(records) // 2
                self.deliver(records[:middle])
                self.deliver(records[middle:])
                return
            self._context.stop.wait(min(FIRST_WAIT_S * 2 ** (attempts - 1), LONGEST_WAIT_S))

    def _invoke(self, records: list[Record]) -> _Failure | None:
        body = _sources.to_json({"Records": records})
        while True:
            try:
                result = self._context.runner.invoke(self._mapping.function_arn, body)
                break
            except Throttled:
                if self._context.stop.wait(0.2):
                    return _Failure(0, None)
        if result.error:
            return _Failure(0, result)
        if "ReportBatchItemFailures" not in (self._mapping.function_response_types or []):
            return None
        failed = _sources.failed_items(result.payload)
        if failed is None:
            return _Failure(0, result)
        numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
        if not failed <= set(numbers):
            return _Failure(0, result)
        return _Failure(min(numbers.index(number) for number in failed), result) if failed else None

    def _given_up(self, records: list[Record], attempts: int) -> bool:
        limit = self._mapping.max_retry_attempts
        if limit is not None and int(limit) >= 0 and attempts > int(limit):
            return True
        age = self._mapping.max_record_age
        oldest = float(records[0]["dynamodb"]["ApproximateCreationDateTime"])
        return age is not None and int(age) > 0 and time.time() - oldest > int(age)

    def _discard(self, records: list[Record], failure: _Failure, attempts: int) -> None:
        destination = (self._mapping.destination_config or {}).get("OnFailure", {}).get("Destination")
        if destination:
            body = json.dumps(self._notice(records, failure, attempts))
            send_to(self._context.client, destination, body)

    def _notice(self, records: list[Record], failure: _Failure, attempts: int) -> dict[str, Any]:
        """Source: https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html."""
        first, last = records[0]["dynamodb"], records[-1]["dynamodb"]
        result = failure.result
        return {
            "requestContext": {
                "requestId": result.request_id if result else str(uuid.uuid4()),
                "functionArn": self._mapping.function_arn,
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": attempts,
            },
            "responseContext": {
                "statusCode": 200,
                "executedVersion": "$LATEST",
                "functionError": result.error if result else None,
            },
            "version": "1.0",
            "timestamp": _iso(time.time()),
            "DDBStreamBatchInfo": {
                "shardId": self._shard,
                "startSequenceNumber": first["SequenceNumber"],
                "endSequenceNumber": last["SequenceNumber"],
                "approximateArrivalOfFirstRecord": _iso(first["ApproximateCreationDateTime"]),
                "approximateArrivalOfLastRecord": _iso(last["ApproximateCreationDateTime"]),
                "batchSize": len(records),
                "streamArn": self._mapping.event_source_arn,
            },
        }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""What the pollers of event source mappings share."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Callable
from typing import Any

from moto.awslambda.models import EventSourceMapping, LambdaBackend, dynamodb_backends, sqs_backends
from moto.events.models import EventPattern

from celldock_local.mends.context import MendContext

_log = logging.getLogger(__name__)

Poll = Callable[[MendContext, EventSourceMapping, Callable[[], bool]], None]
"""Polls one mapping until the last argument says that it is gone."""


def take_over(context: MendContext, service: str, poll: Poll) -> None:
    """Run `poll` in a thread of its own for each mapping of `service`, instead of moto's push within the write."""
    stock: Callable[[LambdaBackend, dict[str, Any]], EventSourceMapping] = LambdaBackend.create_event_source_mapping

    def create(self: LambdaBackend, spec: dict[str, Any]) -> EventSourceMapping:
        mapping = stock(self, spec)
        if mapping.event_source_arn.split(":")[2] != service:
            return mapping
        stop_push(self, mapping)

        def alive() -> bool:
            return not context.stop.is_set() and mapping.uuid in self._event_source_mappings

        def run() -> None:
            while alive():
                try:
                    poll(context, mapping, alive)
                except Exception:  # noqa: BLE001 - whatever it was, the next poll is a new try
                    if alive():
                        _log.exception("event source %s", mapping.event_source_arn)
                        context.stop.wait(1)

        threading.Thread(target=run, daemon=True, name=f"poll-{mapping.event_source_arn.split(':')[-1][:40]}").start()
        return mapping

    LambdaBackend.create_event_source_mapping = create


def stop_push(backend: LambdaBackend, mapping: EventSourceMapping) -> None:
    """Unregister `mapping` where moto would invoke its function from within a write."""
    account, region = backend.account_id, backend.region_name
    sources: list[Any] = [*sqs_backends[account][region].queues.values()]
    sources += dynamodb_backends[account][region].tables.values()
    for source in sources:
        source.lambda_event_source_mappings.pop(mapping.function_arn, None)


def passes(mapping: EventSourceMapping, record: Any) -> bool:
    """Whether a record, as JSON has it, fits one of the mapping's filters; True if it has none."""
    filters = (mapping.filter_criteria or {}).get("Filters") or []
    return not filters or any(EventPattern.load(f["Pattern"]).matches_event(record) for f in filters)


def to_json(value: Any) -> bytes:
    """An event as Lambda sends it: binary attribute values in base64."""
    return json.dumps(value, default=lambda binary: base64.b64encode(bytes(binary)).decode()).encode()


def failed_items(payload: bytes) -> set[str] | None:
    """The identifiers in `batchItemFailures`; None if the whole batch counts as failed.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html: an answer that is null or
    empty, or has an empty list, is a success; a malformed one is a failure of all.
    """
    try:
        answer: Any = json.loads(payload or b"null")
    except ValueError:
        return None
    if not answer:
        return set()
    if not isinstance(answer, dict):
        return None
    failures: Any = answer.get("batchItemFailures") or []
    identifiers: list[Any] = [f.get("itemIdentifier") if isinstance(f, dict) else None for f in failures]
    if any(not isinstance(i, str) or not i for i in identifiers):
        return None
    return set(identifiers)

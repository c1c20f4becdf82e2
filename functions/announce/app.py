"""Turns each change of the catalog into one event on the bus."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import ValidationError

from celldock.catalog.events import AnyChange
from celldock.cloud.bus import EventBus, read_change
from celldock.cloud.clients import client
from celldock.cloud.environment import BusEnvironment, read_environment

logger = Logger()
metrics = Metrics()
environment = read_environment(BusEnvironment)
bus = EventBus(client("events"), environment.bus)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Fed by the table's stream, in order. Everything before a record that cannot be told goes out first."""
    changes: list[AnyChange] = []
    failures: list[dict[str, str]] = []
    for record in event["Records"]:
        try:
            change = read_change(record)
        except ValidationError:
            logger.exception("a change breaks the catalog's contract", extra={"event_id": record.get("eventID")})
            metrics.add_metric(name="ChangesRefused", unit=MetricUnit.Count, value=1)
            failures.append({"itemIdentifier": record["dynamodb"]["SequenceNumber"]})
            break
        if change is not None:
            changes.append(change)
    bus.put(changes)
    metrics.add_metric(name="ChangesAnnounced", unit=MetricUnit.Count, value=len(changes))
    logger.info("announced", extra={"changes": len(changes)})
    return {"batchItemFailures": failures}

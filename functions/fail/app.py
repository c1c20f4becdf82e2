"""Records a run that ended without an outcome, told by the workflow or, where no Catch sees it, by Step Functions."""

from __future__ import annotations

import json
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from celldock.catalog.failures import FailedRun, read_machine_failure, read_status_change
from celldock.cloud.clients import client
from celldock.cloud.environment import TableEnvironment, read_environment
from celldock.cloud.table import NOT_CLAIMED, CatalogTable
from celldock.errors import Conflict

logger = Logger()
metrics = Metrics()
environment = read_environment(TableEnvironment)
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
table = CatalogTable(client("dynamodb"), environment.table)


def record_failure(failed: FailedRun) -> None:
    """Writes FAILED, if the run still owns its version."""
    with logger.append_context_keys(**failed.run.log_keys()):
        table.fail(failed.run.submission_key.dataset, failed.run.version_id, failed.run.run, failed.failure)
        logger.error("a run has failed", extra={"failure": failed.failure.model_dump()})
    metrics.add_metric(name="RunsFailed", unit=MetricUnit.Count, value=1)


def hear(record: SQSRecord) -> None:
    """One status change. A run that does not own its version any more has nothing to record."""
    try:
        failed = read_status_change(json.loads(record.body))
        if failed is not None:
            record_failure(failed)
            return
        reason = "not the end of a run"
    except Conflict as conflict:
        reason = conflict.code
    except Exception:
        logger.exception("a message could not be recorded", extra={"message_id": record.message_id})
        raise
    logger.info("nothing to record", extra={"message_id": record.message_id, "reason": reason})


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Fed by the queue of ends, or by the state RecordFailure with `{"submission", "step", "error"}`."""
    if "Records" in event:
        return dict(process_partial_response(event=event, record_handler=hear, processor=processor, context=context))
    failed = read_machine_failure(event)
    if failed is None:
        # Failing over it would hide the failure that is being told of: the execution goes on to Failed.
        logger.error("a failure that names no run", extra={"step": event.get("step")})
        return {"recorded": False}
    try:
        record_failure(failed)
    except Conflict as conflict:
        if conflict.code != NOT_CLAIMED:
            raise
        # The version is as it was before this run, so there is nothing to write: but the execution shall fail.
        logger.error("a run has failed before its claim", extra={"failure": failed.failure.model_dump()})
        return {"recorded": False}
    return {"recorded": True}

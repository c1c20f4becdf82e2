"""Answers each object of the inbox: starts its run, rejects its key with a report, or ignores it."""

from __future__ import annotations

import json
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from celldock.catalog.uploads import read_upload_event
from celldock.cloud.clients import client
from celldock.cloud.environment import InboxEnvironment, MachineEnvironment, TableEnvironment, read_environment
from celldock.cloud.executions import Executions
from celldock.cloud.intake import Answer, Intake
from celldock.cloud.objects import ObjectStore
from celldock.cloud.table import CatalogTable


class Environment(TableEnvironment, InboxEnvironment, MachineEnvironment):
    """What intake is told."""


logger = Logger()
metrics = Metrics()
environment = read_environment(Environment)
# One poisoned message of a batch fails alone: the others are done, and it ends in the dead-letter queue.
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
intake = Intake(
    ObjectStore(client("s3"), environment.inbox),
    CatalogTable(client("dynamodb"), environment.table),
    Executions(client("stepfunctions"), environment.machine_arn),
)


def answer(record: SQSRecord) -> None:
    """One message: one event of the inbox. The key is read from the raw event, since accessors decode it again."""
    try:
        upload = read_upload_event(json.loads(record.body))
        with logger.append_context_keys(**(upload.log_keys() if upload else {})):
            outcome = intake.answer(upload) if upload else Answer.IGNORED
            logger.info("answered", extra={"outcome": outcome})
    except Exception:
        logger.exception("a message could not be answered", extra={"message_id": record.message_id})
        metrics.add_metric(name="MessagesRefused", unit=MetricUnit.Count, value=1)
        raise
    metrics.add_metric(name=f"Uploads{outcome.title()}", unit=MetricUnit.Count, value=1)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """Fed by the upload queue; answers with the messages that are to come again."""
    return process_partial_response(event=event, record_handler=answer, processor=processor, context=context)

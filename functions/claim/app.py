"""Takes the version for this run, so that only one run works on it and the newest upload of a key wins."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from celldock.catalog.records import RunInput
from celldock.cloud.claims import PUBLISHED, claim, look_at_upload
from celldock.cloud.clients import client
from celldock.cloud.companions import find_companions, refuse_late_companions
from celldock.cloud.environment import TableEnvironment, read_environment
from celldock.cloud.executions import stop_execution
from celldock.cloud.objects import ObjectStore
from celldock.cloud.reports import ReportStore
from celldock.cloud.table import CatalogTable
from celldock.errors import Conflict, ObjectGone

logger = Logger()
metrics = Metrics()
environment = read_environment(TableEnvironment)
table = CatalogTable(client("dynamodb"), environment.table)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"submission": the execution's input, "execution": its ARN}` → the Submission that every later step gets."""
    run = RunInput.model_validate(event["submission"])
    logger.append_keys(**run.log_keys(), execution=event["execution"])
    inbox = ObjectStore(client("s3"), run.bucket)
    try:
        claimed = claim(table, run, event["execution"], lambda: look_at_upload(inbox, run))
    except ObjectGone:
        table.cancel(run.submission_key.dataset, run.version_id, run.run)
        metrics.add_metric(name="RunsCancelled", unit=MetricUnit.Count, value=1)
        logger.info("the object is gone")
        raise
    except Conflict as conflict:
        if conflict.code == PUBLISHED:
            refuse_late_companions(ReportStore(inbox), find_companions(inbox, run.submission_key))
        raise
    for execution in claimed.superseded:
        # Its writes are fenced already; stopping it saves the work that nobody wants any more.
        stop_execution(client("stepfunctions"), execution, "A newer upload came.")
        metrics.add_metric(name="RunsSuperseded", unit=MetricUnit.Count, value=1)
    metrics.add_metric(name="RunsClaimed", unit=MetricUnit.Count, value=1)
    logger.info("claimed", extra={"run": run.run, "superseded": claimed.superseded})
    return claimed.submission.model_dump(mode="json")

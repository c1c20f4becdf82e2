"""Reads one block of rows of one matrix; leaves what rules and summaries need of its values in the work area."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from celldock.catalog.records import Submission
from celldock.cloud.clients import client
from celldock.cloud.environment import ArtifactsEnvironment, read_environment
from celldock.cloud.objects import ObjectStore
from celldock.cloud.scratch import scratch_folder
from celldock.cloud.steps.scanning import scan_part
from celldock.plan import ScanPartition

logger = Logger()
metrics = Metrics()
environment = read_environment(ArtifactsEnvironment)
artifacts = ObjectStore(client("s3"), environment.artifacts)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"submission", "partition": {"index", "path", "start", "stop"}}` → `{}`: a Map's results stay small."""
    submission = Submission.model_validate(event["submission"])
    partition = ScanPartition(**event["partition"])
    logger.append_keys(**submission.log_keys(), partition=partition.index)
    inbox = ObjectStore(client("s3"), submission.bucket)
    with scratch_folder() as scratch:
        scan_part(inbox, artifacts, submission, partition, scratch)
    metrics.add_metric(name="RowsScanned", unit=MetricUnit.Count, value=partition.stop - partition.start)
    logger.info("scanned")
    return {}

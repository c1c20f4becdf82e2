"""Converts one block of cells to one format; leaves its files and its manifest in the work area."""

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
from celldock.cloud.steps.conversion import convert_partition
from celldock.formats.protocol import Partition

logger = Logger()
metrics = Metrics()
environment = read_environment(ArtifactsEnvironment)
artifacts = ObjectStore(client("s3"), environment.artifacts)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"submission", "format", "partition": {"index", "start", "stop"}}` → `{}`: a Map's results stay small."""
    submission = Submission.model_validate(event["submission"])
    partition = Partition(**event["partition"])
    logger.append_keys(**submission.log_keys(), format=event["format"], partition=partition.index)
    inbox = ObjectStore(client("s3"), submission.bucket)
    with scratch_folder() as scratch:
        convert_partition(inbox, artifacts, submission, event["format"], partition, scratch)
    metrics.add_metric(name="CellsConverted", unit=MetricUnit.Count, value=partition.stop - partition.start)
    logger.info("converted")
    return {}

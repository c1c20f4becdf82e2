"""Checks the fragment file that lies beside an upload; leaves what it finds in the work area."""

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
from celldock.cloud.steps.fragments import check_submitted_fragments, fragments_of

logger = Logger()
metrics = Metrics()
environment = read_environment(ArtifactsEnvironment)
artifacts = ObjectStore(client("s3"), environment.artifacts)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"submission"}` → how many findings there are; Validate reports them."""
    submission = Submission.model_validate(event["submission"])
    logger.append_keys(**submission.log_keys())
    inbox = ObjectStore(client("s3"), submission.bucket)
    with scratch_folder() as scratch:
        checked = check_submitted_fragments(inbox, artifacts, submission, scratch)
    metrics.add_metric(name="FragmentBytes", unit=MetricUnit.Bytes, value=fragments_of(submission).size)
    logger.info("fragments checked", extra=checked)
    return checked

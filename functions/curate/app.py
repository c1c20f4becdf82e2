"""Curates an upload as the config beside it says: a copy, on which every later step works."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from celldock.catalog.records import Submission
from celldock.cloud.clients import client
from celldock.cloud.environment import ArtifactsEnvironment, InboxEnvironment, read_environment
from celldock.cloud.objects import ObjectStore
from celldock.cloud.scratch import scratch_folder
from celldock.cloud.steps.curation import curate_submission


class Environment(InboxEnvironment, ArtifactsEnvironment):
    """What curate is told."""


logger = Logger()
metrics = Metrics()
environment = read_environment(Environment)
inbox = ObjectStore(client("s3"), environment.inbox)
artifacts = ObjectStore(client("s3"), environment.artifacts)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"submission"}` → whether the config was refused, the next step, and where the record of the changes lies."""
    submission = Submission.model_validate(event["submission"])
    logger.append_keys(**submission.log_keys())
    with scratch_folder() as scratch:
        curated = curate_submission(inbox, artifacts, submission, scratch)
    outcome = "Refused" if curated["refused"] else "Made"
    metrics.add_metric(name=f"Curations{outcome}", unit=MetricUnit.Count, value=1)
    logger.info("curated", extra={name: curated[name] for name in ("refused", "changes", "bytes")})
    return curated

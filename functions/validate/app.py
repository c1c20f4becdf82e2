"""Applies the schema's rules and writes the report, also for a file that Plan has refused."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from celldock.catalog.records import Submission
from celldock.cloud.clients import client
from celldock.cloud.environment import ArtifactsEnvironment, InboxEnvironment, read_environment
from celldock.cloud.objects import ObjectStore
from celldock.cloud.steps.validation import validate_submission


class Environment(InboxEnvironment, ArtifactsEnvironment):
    """What validate is told."""


logger = Logger()
metrics = Metrics()
environment = read_environment(Environment)
inbox = ObjectStore(client("s3"), environment.inbox)
artifacts = ObjectStore(client("s3"), environment.artifacts)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"submission"}` → the verdict, and where the report lies."""
    submission = Submission.model_validate(event["submission"])
    logger.append_keys(**submission.log_keys())
    verdict = validate_submission(inbox, artifacts, submission)
    outcome = "Valid" if verdict["valid"] else "Invalid"
    metrics.add_metric(name=f"Submissions{outcome}", unit=MetricUnit.Count, value=1)
    logger.info("validated", extra={name: verdict[name] for name in ("valid", "errors", "warnings")})
    return verdict

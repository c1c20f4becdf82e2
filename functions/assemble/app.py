"""Makes the artifact of its parts."""

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
from celldock.cloud.steps.conversion import assemble_artifact

logger = Logger()
metrics = Metrics()
environment = read_environment(ArtifactsEnvironment)
artifacts = ObjectStore(client("s3"), environment.artifacts)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"submission", "format", "partitions_key"}` → the Artifact."""
    submission = Submission.model_validate(event["submission"])
    logger.append_keys(**submission.log_keys(), format=event["format"])
    inbox = ObjectStore(client("s3"), submission.bucket)
    with scratch_folder() as scratch:
        artifact = assemble_artifact(inbox, artifacts, submission, event["format"], scratch)
    metrics.add_metric(name="ArtifactBytes", unit=MetricUnit.Bytes, value=artifact["bytes"])
    logger.info("assembled", extra={name: artifact[name] for name in ("files", "bytes", "sha256")})
    return artifact

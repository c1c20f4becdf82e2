"""Reads shapes and encodings from the HDF5 headers; decides formats and blocks of cells."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from celldock.catalog.records import Submission
from celldock.cloud.clients import client
from celldock.cloud.environment import ArtifactsEnvironment, FormatsEnvironment, read_environment
from celldock.cloud.objects import ObjectStore
from celldock.cloud.steps.planning import plan_submission


class Environment(ArtifactsEnvironment, FormatsEnvironment):
    """What this function is told."""


logger = Logger()
metrics = Metrics()
environment = read_environment(Environment)
artifacts = ObjectStore(client("s3"), environment.artifacts)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"submission"}` → key of the plan, sizes, formats; `refused` where the file cannot be read as AnnData."""
    submission = Submission.model_validate(event["submission"])
    logger.append_keys(**submission.log_keys())
    inbox = ObjectStore(client("s3"), submission.bucket)
    planned = plan_submission(inbox, artifacts, submission, environment.formats)
    metrics.add_metric(name="Cells", unit=MetricUnit.Count, value=planned["n_obs"])
    logger.info("planned", extra={name: planned[name] for name in ("refused", "n_obs", "n_vars", "nnz")})
    return planned

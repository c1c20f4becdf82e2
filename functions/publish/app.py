"""Publishes a version that its collection's policy lets publish itself."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from celldock.catalog.records import Submission
from celldock.cloud.clients import client
from celldock.cloud.environment import ArtifactsEnvironment, PublicEnvironment, TableEnvironment, read_environment
from celldock.cloud.objects import ObjectStore
from celldock.cloud.publication import Publisher
from celldock.cloud.table import CatalogTable


class Environment(TableEnvironment, ArtifactsEnvironment, PublicEnvironment):
    """What publish is told."""


logger = Logger()
metrics = Metrics()
environment = read_environment(Environment)
publisher = Publisher(
    CatalogTable(client("dynamodb"), environment.table),
    ObjectStore(client("s3"), environment.artifacts),
    ObjectStore(client("s3"), environment.public),
)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:
    """`{"submission", "dataset", "version_id", "run"}` → dataset, version id, publication id."""
    logger.append_keys(**Submission.model_validate(event["submission"]).log_keys())
    published = publisher.publish(event["dataset"], event["version_id"])
    metrics.add_metric(name="VersionsPublished", unit=MetricUnit.Count, value=1)
    logger.info("published")
    return published.to_json()

"""What the API does: the one way in which clients read the catalog and ask for changes."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from celldock.catalog.keys import pad_sequencer
from celldock.catalog.policy import publishes_by_itself
from celldock.catalog.records import Dataset, Version
from celldock.catalog.requests import CollectionRequest, DatasetRequest
from celldock.catalog.states import Publication, VersionState
from celldock.cloud.environment import ApiEnvironment
from celldock.cloud.executions import Executions
from celldock.cloud.objects import ObjectStore
from celldock.cloud.publication import Publisher
from celldock.cloud.table import CatalogTable
from celldock.errors import CelldockError, Conflict, InvalidSubmission, NotFeasible, ObjectGone, TransientError

REPORT_URL_SECONDS = 900

_STATUS: tuple[tuple[type[CelldockError], HTTPStatus], ...] = (
    (InvalidSubmission, HTTPStatus.BAD_REQUEST),
    (ObjectGone, HTTPStatus.NOT_FOUND),
    (Conflict, HTTPStatus.CONFLICT),
    (NotFeasible, HTTPStatus.CONFLICT),
    (TransientError, HTTPStatus.SERVICE_UNAVAILABLE),
)


class Service:
    """The calls of the API on one catalog. Every answer is a JSON document."""

    def __init__(self, table: CatalogTable, inbox: ObjectStore, executions: Executions, publisher: Publisher) -> None:
        self._table = table
        self._inbox = inbox
        self._executions = executions
        self._publisher = publisher

    def status(self, request: DatasetRequest) -> dict[str, Any]:
        """The dataset, one version of it, the latest unless one is named, and its artifacts.

        `publishing`: the version is READY and about to go public by itself.
        """
        version = self._version(request)
        dataset = self._table.dataset(request.key.dataset)
        return {
            "dataset": dataset.model_dump(mode="json") if dataset else None,
            "version": version.model_dump(mode="json"),
            "artifacts": [artifact.model_dump(mode="json") for artifact in self._table.artifacts(version)],
            "publishing": dataset is not None and self._is_publishing(request.key.collection, dataset, version),
        }

    def _is_publishing(self, collection: str, dataset: Dataset, version: Version) -> bool:
        # One that is not the latest may never be published: where a newer one is, it loses.
        if version.version_id != dataset.latest_version:
            return False
        waits = version.state is VersionState.READY and version.publication is Publication.PRIVATE
        if not waits or not version.publish_requested or version.failure:
            return False
        return publishes_by_itself(self._table.collection(collection), version.publish_requested)

    def report(self, request: DatasetRequest) -> dict[str, Any]:
        """The report on a version, and a URL that reads it for a quarter of an hour."""
        version = self._version(request)
        if not version.report:
            raise ObjectGone(
                f"There is no report on the version; it is {version.state}.",
                code="report.none",
                where=version.version_id,
                hint="A report is written when validation ends; see the version's status.",
            )
        report = self._inbox.get_json(version.report)
        return {"url": self._inbox.presigned_get(version.report, REPORT_URL_SECONDS), "report": report}

    def publish(self, request: DatasetRequest) -> dict[str, Any]:
        """Makes a READY version public."""
        version = self._version(request)
        return self._publisher.publish(request.key.dataset, version.version_id).to_json()

    def redrive(self, request: DatasetRequest) -> dict[str, Any]:
        """Starts the next run of a FAILED version. The version itself changes when that run claims it."""
        version = self._version(request)
        if version.state != VersionState.FAILED:
            raise Conflict(
                f"The version is {version.state}; only a FAILED one can be redriven.",
                code="redrive.not_failed",
                where=version.version_id,
            )
        latest = self._table.dataset(request.key.dataset)
        if latest is not None and latest.latest_sequencer > pad_sequencer(version.sequencer):
            raise Conflict(
                "A newer version of the dataset has been uploaded.",
                code="redrive.superseded",
                where=version.version_id,
                hint=f"The newest version is {latest.latest_version}.",
            )
        started = self._executions.start_next(version.next_run())
        return {"run": started.run, "execution": started.arn}

    def put_collection(self, request: CollectionRequest) -> dict[str, Any]:
        """Sets a collection's settings and answers with all of them."""
        collection = self._table.put_collection(request.collection, request.settings())
        return {"collection": request.collection, **collection.model_dump(mode="json")}

    def _version(self, request: DatasetRequest) -> Version:
        dataset = request.key.dataset
        if request.version:
            version = self._table.version(dataset, request.version)
        else:
            version = self._table.latest_version(dataset)
        if version is None:
            raise ObjectGone(
                "The catalog knows no such version.",
                code="version.unknown",
                hint="An upload shows up here seconds after it has ended.",
            )
        return version


def connect(environment: ApiEnvironment, client: Callable[[str], Any]) -> Service:
    """The service of the deployment that `environment` names, over clients that `client` makes by service name."""
    table = CatalogTable(client("dynamodb"), environment.table)
    s3 = client("s3")
    publisher = Publisher(table, ObjectStore(s3, environment.artifacts), ObjectStore(s3, environment.public))
    executions = Executions(client("stepfunctions"), environment.machine_arn)
    return Service(table, ObjectStore(s3, environment.inbox), executions, publisher)


def error_answer(error: CelldockError) -> tuple[HTTPStatus, dict[str, Any]]:
    """An error as HTTP status and JSON document. What is our own fault says no more than its code."""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status, {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
    return HTTPStatus.INTERNAL_SERVER_ERROR, {
        "error": {"code": error.code, "message": "celldock has failed.", "hint": "Operators find the cause in its log."}
    }

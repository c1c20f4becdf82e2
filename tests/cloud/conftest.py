"""AWS in this process: the catalog's table, the three buckets, a state machine, a bus."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import botocore.client
import pytest
from moto import mock_aws

from celldock.cloud.clients import client, forget_clients
from celldock.cloud.executions import Executions
from celldock.cloud.objects import ObjectStore
from celldock.cloud.publication import Publisher
from celldock.cloud.table import CatalogTable

REGION = "eu-central-1"
TABLE = "catalog"
INBOX = "celldock-inbox"
ARTIFACTS = "celldock-artifacts"
PUBLIC = "celldock-public"
BUS = "celldock-events"


@dataclass(frozen=True)
class Cloud:
    """What a deployment has, empty."""

    table: CatalogTable
    inbox: ObjectStore
    artifacts: ObjectStore
    public: ObjectStore
    executions: Executions
    publisher: Publisher
    machine_arn: str

    def running(self) -> list[str]:
        """The names of the executions that are under way."""
        answer = client("stepfunctions").list_executions(stateMachineArn=self.machine_arn, statusFilter="RUNNING")
        return sorted(execution["name"] for execution in answer["executions"])

    def keys(self, store: ObjectStore) -> list[str]:
        """Every key in a bucket."""
        answer = client("s3").list_objects_v2(Bucket=store.bucket)
        return sorted(found["Key"] for found in answer.get("Contents", []))


@pytest.fixture(scope="package")
def _aws() -> Iterator[None]:
    """Clients, made once, which takes far longer than a test. Of this package alone: no others may see the patches."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
        monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
        _one_call_at_a_time(monkeypatch)
        forget_clients()
        yield
        forget_clients()


@pytest.fixture
def cloud(_aws: None) -> Iterator[Cloud]:
    """A deployment of its own for each test."""
    with mock_aws():
        yield _deploy()


def _one_call_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """DynamoDB isolates its transactions; moto rolls one back by restoring the whole table, other writes and all."""
    lock = threading.Lock()
    call: Any = botocore.client.BaseClient.__dict__["_make_api_call"]

    def locked(self: Any, operation: str, arguments: Any) -> Any:
        with lock:
            return call(self, operation, arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", locked)


def _deploy() -> Cloud:
    attributes = ["pk", "sk", "collection_pk", "collection_sk", "open_pk", "changed_at"]
    client("dynamodb").create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in attributes],
        KeySchema=_key("pk", "sk"),
        GlobalSecondaryIndexes=[
            _index("collections", "collection_pk", "collection_sk"),
            _index("open", "open_pk", "changed_at"),
        ],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    for bucket in (INBOX, ARTIFACTS, PUBLIC):
        client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    machine = client("stepfunctions").create_state_machine(
        name="ingest",
        definition='{"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}',
        roleArn="arn:aws:iam::123456789012:role/machine",
    )["stateMachineArn"]
    client("events").create_event_bus(Name=BUS)
    table = CatalogTable(client("dynamodb"), TABLE)
    stores = {name: ObjectStore(client("s3"), name) for name in (INBOX, ARTIFACTS, PUBLIC)}
    return Cloud(
        table=table,
        inbox=stores[INBOX],
        artifacts=stores[ARTIFACTS],
        public=stores[PUBLIC],
        executions=Executions(client("stepfunctions"), machine),
        publisher=Publisher(table, stores[ARTIFACTS], stores[PUBLIC]),
        machine_arn=machine,
    )


def _key(partition: str, sort: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]


def _index(name: str, partition: str, sort: str) -> dict[str, Any]:
    return {"IndexName": name, "KeySchema": _key(partition, sort), "Projection": {"ProjectionType": "ALL"}}

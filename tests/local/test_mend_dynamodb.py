"""DynamoDB's atomicity and its streams: what stock moto does, and what it should."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from tests.local.mend_server import Server, serving


@pytest.fixture(scope="module")
def mended() -> Iterator[Server]:
    with serving("dynamodb_atomic") as server:
        yield server


class Table:
    """A new table with a stream."""

    def __init__(self, server: Server) -> None:
        self.name = f"t-{uuid4().hex[:8]}"
        self.client = server.client("dynamodb")
        self.streams = server.client("dynamodbstreams")
        made = self.client.create_table(
            TableName=self.name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        self.stream = made["TableDescription"]["LatestStreamArn"]
        self.iterator = self.beginning()

    def beginning(self) -> str:
        shard = self.streams.describe_stream(StreamArn=self.stream)["StreamDescription"]["Shards"][0]["ShardId"]
        answer = self.streams.get_shard_iterator(StreamArn=self.stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        return answer["ShardIterator"]

    def changes(self) -> list[tuple[str, str]]:
        """What is new in the stream since the last call."""
        answer = self.streams.get_records(ShardIterator=self.iterator)
        self.iterator = answer["NextShardIterator"]
        return [(r["eventName"], r["dynamodb"]["Keys"]["pk"]["S"]) for r in answer["Records"]]

    def put(self, pk: str, **attributes: Any) -> None:
        self.client.put_item(TableName=self.name, Item={"pk": {"S": pk}, **attributes})

    def get(self, pk: str) -> dict[str, Any] | None:
        return self.client.get_item(TableName=self.name, Key={"pk": {"S": pk}}).get("Item")

    def update(self, pk: str, value: str, **condition: Any) -> None:
        self.client.update_item(
            TableName=self.name,
            Key={"pk": {"S": pk}},
            UpdateExpression="SET v = :v",
            ExpressionAttributeValues={":v": {"S": value}, **condition.pop("values", {})},
            **condition,
        )

    def transact_in_vain(self) -> None:
        """A transaction that writes `new` and `old`, and fails at its last check."""
        put = {"TableName": self.name, "Item": {"pk": {"S": "new"}}}
        change = {"TableName": self.name, "Item": {"pk": {"S": "old"}, "v": {"S": "changed"}}}
        check = {
            "TableName": self.name,
            "Key": {"pk": {"S": "absent"}},
            "ConditionExpression": "attribute_exists(pk)",
        }
        with pytest.raises(ClientError, match="TransactionCanceled"):
            self.client.transact_write_items(TransactItems=[{"Put": put}, {"Put": change}, {"ConditionCheck": check}])


def test_stock_loses_the_stream_after_a_failed_transaction(stock: Server) -> None:
    table = Table(stock)
    table.put("old")
    assert table.changes() == [("INSERT", "old")]
    table.transact_in_vain()
    table.put("later")
    assert ("INSERT", "later") not in table.changes()


def test_a_failed_transaction_leaves_no_trace(mended: Server) -> None:
    table = Table(mended)
    table.put("old", v={"S": "first"})
    assert table.changes() == [("INSERT", "old")]
    table.transact_in_vain()
    table.put("later")

    assert table.changes() == [("INSERT", "later")]
    assert table.get("new") is None
    assert table.get("old") == {"pk": {"S": "old"}, "v": {"S": "first"}}


def test_a_transaction_that_succeeds_is_told(mended: Server) -> None:
    table = Table(mended)
    puts = [{"Put": {"TableName": table.name, "Item": {"pk": {"S": pk}}}} for pk in "ab"]
    table.client.transact_write_items(TransactItems=puts)
    assert table.changes() == [("INSERT", "a"), ("INSERT", "b")]


def test_stock_tells_an_upsert_twice_and_a_change_of_nothing(stock: Server) -> None:
    table = Table(stock)
    table.update("a", "1")
    table.update("a", "1")
    assert [name for name, _ in table.changes()] == ["INSERT", "INSERT", "MODIFY"]


def test_each_change_is_told_once(mended: Server) -> None:
    table = Table(mended)
    table.update("a", "1")
    table.update("a", "1")
    table.update("a", "2")
    table.put("a", v={"S": "2"})
    assert table.changes() == [("INSERT", "a"), ("MODIFY", "a")]


def test_an_update_that_is_refused_creates_nothing(mended: Server) -> None:
    table = Table(mended)
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        table.update("a", "1", ConditionExpression="attribute_exists(pk)")
    assert table.get("a") is None
    assert table.changes() == []


def test_sequence_numbers_grow_without_gaps_being_read_twice(mended: Server) -> None:
    table = Table(mended)
    for number in range(5):
        table.update(f"k{number}", "1")
    answer = table.streams.get_records(ShardIterator=table.beginning())
    numbers = [int(r["dynamodb"]["SequenceNumber"]) for r in answer["Records"]]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 5


def test_one_of_many_conditional_writers_wins(mended: Server) -> None:
    table = Table(mended)
    table.put("flag", v={"S": "free"})

    def take(writer: int) -> bool:
        try:
            table.update("flag", f"{writer}", ConditionExpression="v = :free", values={":free": {"S": "free"}})
        except ClientError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(16))) == 1
    assert len(table.changes()) == 2

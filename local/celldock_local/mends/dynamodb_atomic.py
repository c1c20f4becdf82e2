"""DynamoDB's writes are atomic, and its streams tell each change once.

Stock moto takes no lock, so two conditional writes at once can both succeed. It undoes a failed transaction by putting
back a copy of the whole table: other writers' changes of that time are lost, and readers of the stream hold on to a
shard that nothing is added to any more. An update that creates an item writes two stream records, and one that changes
nothing writes one (DynamoDB: one, and none).
"""

from __future__ import annotations

import contextvars
import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.table import StreamShard, Table
from moto.dynamodb.responses import DynamoHandler
from moto.dynamodbstreams.models import DynamoDBStreamsBackend
from moto.dynamodbstreams.responses import DynamoDBStreamsHandler

from celldock_local.mends.context import MendContext

_lock = threading.RLock()
_silent: contextvars.ContextVar[bool] = contextvars.ContextVar("stream-silent", default=False)

ITERATORS_KEPT = 2000
"""Stock moto remembers every shard iterator for ever; a poller asks for one at each poll."""


def apply(context: MendContext) -> None:
    for handler in (DynamoHandler, DynamoDBStreamsHandler):
        handler.call_action = _one_at_a_time(handler.call_action)
    _mend_transactions()
    _mend_stream_records()
    _forget_iterators()


@contextmanager
def without_stream() -> Iterator[None]:
    """Writes within leave no stream records: for data that were there before."""
    with _lock:
        token = _silent.set(True)
        try:
            yield
        finally:
            _silent.reset(token)


def _one_at_a_time(stock: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A whole request, with the reading of its answer: moto updates items in place."""

    def call_action(self: Any) -> Any:
        with _lock:
            return stock(self)

    return call_action


def _mend_transactions() -> None:
    stock: Callable[[DynamoDBBackend, list[dict[str, Any]]], None] = DynamoDBBackend.transact_write_items
    # The copy that stock moto rolls back to becomes the table itself; what was touched is put back below.
    Table.__deepcopy__ = lambda self, memo: self  # pyright: ignore[reportAttributeAccessIssue]

    def transact(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
        with _lock:
            before = [_Snapshot(self, operation) for operation in _operations(transact_items)]
            lengths = {name: len(table.stream_shard.items) for name, table in self.tables.items() if table.stream_shard}
            try:
                stock(self, transact_items)
            except Exception:
                for snapshot in before:
                    snapshot.restore()
                for name, length in lengths.items():
                    shard = self.tables[name].stream_shard
                    if shard:
                        del shard.items[length:]
                raise

    DynamoDBBackend.transact_write_items = transact


def _operations(transact_items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for item in transact_items:
        yield from item.values()


class _Snapshot:
    """One item of a transaction as it was before."""

    def __init__(self, backend: DynamoDBBackend, operation: dict[str, Any]) -> None:
        self._table = backend.tables.get(operation.get("TableName", ""))
        self._key: tuple[Any, Any] | None = None
        names = operation.get("Key") or operation.get("Item") or {}
        if self._table is None or any(name not in names for name in self._table.table_key_attrs):
            return  # moto refuses such an operation, there is nothing to put back
        keys = {name: names[name] for name in self._table.table_key_attrs}
        self._key = backend.get_keys_value(self._table, keys)
        self._item = copy.deepcopy(self._table.get_item(*self._key))

    def restore(self) -> None:
        if self._table is None or self._key is None:
            return
        hash_key, range_key = self._key
        if self._item is None:
            self._table.delete_item(hash_key, range_key)
        elif range_key is not None:
            self._table.items[hash_key][range_key] = self._item
        else:
            self._table.items[hash_key] = self._item  # pyright: ignore[reportArgumentType]


def _mend_stream_records() -> None:
    stock_add: Callable[[StreamShard, Any, Any], None] = StreamShard.add
    stock_update: Callable[..., Any] = DynamoDBBackend.update_item

    def add(self: StreamShard, old: Any, new: Any) -> None:
        if _silent.get() or (old is not None and new is not None and old.attrs == new.attrs):
            return
        stock_add(self, old, copy.deepcopy(new))

    def update_item(self: DynamoDBBackend, table_name: str, key: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        table = self.tables.get(table_name)
        shard = table.stream_shard if table else None
        with _lock:
            length = len(shard.items) if shard else 0
            before = _Snapshot(self, {"TableName": table_name, "Key": key})
            try:
                item = stock_update(self, table_name, key, *args, **kwargs)
            except Exception:
                before.restore()
                if shard:
                    del shard.items[length:]
                raise
            if shard and len(shard.items) > length + 1:
                # The first record is that of the empty item which moto creates to update it.
                last = shard.items[-1]
                del shard.items[length:]
                last.record["dynamodb"]["SequenceNumber"] = str(shard.starting_sequence_number + length)
                shard.items.append(last)
            return item

    StreamShard.add = add
    DynamoDBBackend.update_item = update_item


def _forget_iterators() -> None:
    stock: Callable[[DynamoDBStreamsBackend, str, int], Any] = DynamoDBStreamsBackend.get_records

    def get_records(self: DynamoDBStreamsBackend, iterator_arn: str, limit: int) -> Any:
        answer = stock(self, iterator_arn, limit)
        while len(self.shard_iterators) > ITERATORS_KEPT:
            del self.shard_iterators[next(iter(self.shard_iterators))]
        return answer

    DynamoDBStreamsBackend.get_records = get_records

"""Items of DynamoDB: to and from plain values, and updates of them under conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, cast

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from celldock.catalog.records import timestamp

_serializer = TypeSerializer()
_deserializer = TypeDeserializer()


def item_to_plain(item: Mapping[str, Any]) -> dict[str, Any]:
    """A DynamoDB item (`{"run": {"N": "1"}}`) as plain values (`{"run": 1}`)."""
    return {name: _plain(_deserializer.deserialize(value)) for name, value in item.items()}


def plain_to_item(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values as a DynamoDB item."""
    return {name: _serializer.serialize(value) for name, value in plain.items()}


class Update:
    """An update of one item under a condition, which always raises `revision` and sets `changed_at`.

    Names are taken as they are (all of them go through placeholders), so that none can be a reserved word.
    """

    def __init__(self, table: str, pk: str, sk: str) -> None:
        self._table = table
        self._key = plain_to_item({"pk": pk, "sk": sk})
        self._names: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self._conditions: list[str] = []
        self._removed: list[str] = []
        zero, one, now = self._value(0), self._value(1), self._value(timestamp())
        revision, created, changed = map(self._name, ("revision", "created_at", "changed_at"))
        self._set = [
            f"{revision} = if_not_exists({revision}, {zero}) + {one}",
            f"{created} = if_not_exists({created}, {now})",
            f"{changed} = {now}",
        ]

    def set(self, **attributes: Any) -> Update:
        """Sets attributes."""
        self._set += [f"{self._name(name)} = {self._value(value)}" for name, value in attributes.items()]
        return self

    def set_if_absent(self, **attributes: Any) -> Update:
        """Sets attributes that the item lacks."""
        for name, value in attributes.items():
            self._set.append(f"{self._name(name)} = if_not_exists({self._name(name)}, {self._value(value)})")
        return self

    def remove(self, *names: str) -> Update:
        """Removes attributes."""
        self._removed += [self._name(name) for name in names]
        return self

    def where(self, **expected: Any) -> Update:
        """Only if each attribute equals its value."""
        self._conditions += [f"{self._name(name)} = {self._value(value)}" for name, value in expected.items()]
        return self

    def where_in(self, name: str, values: Iterable[Any]) -> Update:
        """Only if the attribute is one of `values`."""
        placeholders = ", ".join(self._value(value) for value in sorted(values))
        self._conditions.append(f"{self._name(name)} IN ({placeholders})")
        return self

    def where_revision(self, revision: int | None) -> Update:
        """Only if the item is as it was read: at `revision`, or absent where that is None."""
        if revision is None:
            self._conditions.append(f"attribute_not_exists({self._name('pk')})")
            return self
        return self.where(revision=revision)

    def arguments(self) -> dict[str, Any]:
        """The arguments of UpdateItem, or of an Update in TransactWriteItems."""
        expression = "SET " + ", ".join(self._set)
        if self._removed:
            expression += " REMOVE " + ", ".join(self._removed)
        arguments: dict[str, Any] = {
            "TableName": self._table,
            "Key": self._key,
            "UpdateExpression": expression,
            "ExpressionAttributeNames": self._names,
            "ExpressionAttributeValues": self._values,
        }
        if self._conditions:
            arguments["ConditionExpression"] = " AND ".join(self._conditions)
        return arguments

    def _name(self, name: str) -> str:
        self._names[f"#{name}"] = name
        return f"#{name}"

    def _value(self, value: Any) -> str:
        placeholder = f":v{len(self._values)}"
        self._values[placeholder] = _serializer.serialize(value)
        return placeholder


def _plain(value: Any) -> Any:
    """Numbers as int or float; DynamoDB's own are decimals."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {name: _plain(element) for name, element in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_plain(element) for element in cast("list[Any]", value)]
    return value

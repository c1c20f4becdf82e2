"""The event bus: every change of the catalog, told to whoever listens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import batched
from typing import Any

from celldock.catalog.events import SOURCE, AnyChange, change_of, detail_type
from celldock.cloud.faults import aws_faults
from celldock.cloud.items import item_to_plain
from celldock.errors import TransientError

_MAX_ENTRIES = 10


def read_change(record: Mapping[str, Any]) -> AnyChange | None:
    """The event that a record of the table's stream amounts to; None for an item that is none of celldock's.

    Raises:
        pydantic.ValidationError: the item breaks the catalog's contract.
    """
    images = record["dynamodb"]
    old, new = images.get("OldImage"), images.get("NewImage")
    return change_of(item_to_plain(old) if old else None, item_to_plain(new) if new else None)


class EventBus:
    """One EventBridge bus."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def put(self, changes: Sequence[AnyChange]) -> None:
        """Puts every change on the bus, in order.

        Raises:
            TransientError: the bus refused some; the message names their ids, and nothing after their batch was sent.
                Sending all of them again is safe, since consumers drop ids that they have seen.
        """
        for batch in batched(changes, _MAX_ENTRIES, strict=False):
            entries = [
                {
                    "EventBusName": self._name,
                    "Source": SOURCE,
                    "DetailType": detail_type(change),
                    "Detail": change.model_dump_json(),
                }
                for change in batch
            ]
            with aws_faults(self._name):
                answer = self._client.put_events(Entries=entries)
            if answer["FailedEntryCount"]:
                refused = [
                    f"{change.id} ({result['ErrorCode']})"
                    for change, result in zip(batch, answer["Entries"], strict=True)
                    if "ErrorCode" in result
                ]
                raise TransientError(f"The bus refused {', '.join(refused)}.", code="bus.refused", where=self._name)

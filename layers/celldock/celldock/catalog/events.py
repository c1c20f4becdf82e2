"""The events that celldock emits: one for each change of an item, as a contract that consumers validate against.

`python -m celldock.catalog.events <folder>` writes their JSON Schemas.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from celldock.catalog.records import DATASET_PREFIX, Artifact, Collection, Dataset, Record, Version

SOURCE = "celldock"

# Attributes that serve the table's indexes, and those that change with every write: they say nothing by themselves.
_INDEX_ATTRIBUTES = frozenset({"open_pk", "collection_pk", "collection_sk"})
_ALWAYS_CHANGED = frozenset({"revision", "changed_at"})


class ItemKey(BaseModel):
    """The changed item's key in the catalog."""

    pk: str
    sk: str


class ItemChange[R: Record](BaseModel):
    """One change of one item.

    Delivery is at least once and in order for each item: drop an `id`, or a `revision` of this key, that you have
    seen. `old` is null for a new item, `new` for a removed one; `changed` names the attributes that differ.
    """

    model_config = ConfigDict(frozen=True)

    event_version: Literal[1] = 1
    id: str
    key: ItemKey
    dataset: str | None
    version_id: str | None
    revision: int
    changed: list[str]
    old: R | None
    new: R | None


class DatasetChanged(ItemChange[Dataset]):
    """Detail of `Dataset Changed`."""

    entity: Literal["dataset"]


class VersionChanged(ItemChange[Version]):
    """Detail of `Version Changed`."""

    entity: Literal["version"]


class ArtifactChanged(ItemChange[Artifact]):
    """Detail of `Artifact Changed`."""

    entity: Literal["artifact"]


class CollectionChanged(ItemChange[Collection]):
    """Detail of `Collection Changed`."""

    entity: Literal["collection"]


type AnyChange = DatasetChanged | VersionChanged | ArtifactChanged | CollectionChanged

DETAIL_TYPES: dict[str, type[DatasetChanged | VersionChanged | ArtifactChanged | CollectionChanged]] = {
    "Dataset Changed": DatasetChanged,
    "Version Changed": VersionChanged,
    "Artifact Changed": ArtifactChanged,
    "Collection Changed": CollectionChanged,
}

_CHANGE: TypeAdapter[AnyChange] = TypeAdapter(AnyChange)


def detail_type(change: AnyChange) -> str:
    """The event's `detail-type`."""
    return next(name for name, model in DETAIL_TYPES.items() if isinstance(change, model))


def change_of(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> AnyChange | None:
    """The event of a change from item `old` to item `new` (plain values; None where it did not or does not exist).

    None for an item that is none of celldock's entities.

    Raises:
        pydantic.ValidationError: the item breaks the catalog's contract.
    """
    item = new or old
    if item is None or item.get("entity") not in {"dataset", "version", "artifact", "collection"}:
        return None
    # A removal carries no revision of its own; it comes after the last one.
    revision = int(item.get("revision", 0)) + (1 if new is None else 0)
    pk, sk = str(item["pk"]), str(item["sk"])
    return _CHANGE.validate_python(
        {
            "id": f"{pk}|{sk}|{revision}",
            "entity": item["entity"],
            "key": {"pk": pk, "sk": sk},
            "dataset": pk.removeprefix(DATASET_PREFIX) if pk.startswith(DATASET_PREFIX) else None,
            "version_id": item.get("version_id"),
            "revision": revision,
            "changed": _changed(old or {}, new or {}),
            "old": old,
            "new": new,
        }
    )


def event_schemas() -> dict[str, dict[str, Any]]:
    """File name → JSON Schema of each event's detail."""
    schemas: dict[str, dict[str, Any]] = {}
    for name, model in DETAIL_TYPES.items():
        schema = model.model_json_schema(mode="serialization")
        schemas[f"{name.lower().replace(' ', '-')}.json"] = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **schema,
            "title": name,
        }
    return schemas


def write_event_schemas(folder: Path) -> None:
    """Writes every event's JSON Schema into `folder`."""
    for name, schema in event_schemas().items():
        (folder / name).write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n")


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    names = (old.keys() | new.keys()) - _INDEX_ATTRIBUTES - _ALWAYS_CHANGED
    return sorted(name for name in names if old.get(name) != new.get(name))


if __name__ == "__main__":
    write_event_schemas(Path(sys.argv[1]))

"""The emitted events: their schemas are published, and every event fits its schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from celldock.catalog.events import DETAIL_TYPES, change_of, detail_type, event_schemas

SCHEMAS = Path(__file__).parents[2] / "events" / "schemas"

VERSION = {
    "pk": "DATASET#atlas/lung",
    "sk": "VERSION#v1",
    "entity": "version",
    "state": "PROCESSING",
    "step": "Plan",
    "run": 1,
    "bucket": "inbox",
    "key": "atlas/lung.h5ad",
    "version_id": "v1",
    "sequencer": "55AE",
    "publication": "PRIVATE",
    "open_pk": "OPEN",
    "revision": 2,
    "changed_at": "2026-01-01T00:00:00.000Z",
}
DATASET = {
    "pk": "DATASET#atlas/lung",
    "sk": "DATASET",
    "entity": "dataset",
    "collection": "atlas",
    "name": "lung",
    "collection_pk": "COLLECTION#atlas",
    "published": False,
    "revision": 1,
}
ARTIFACT = {
    "pk": "DATASET#atlas/lung",
    "sk": "VERSION#v1#ARTIFACT#cells",
    "entity": "artifact",
    "format": "cells",
    "state": "CONVERTED",
    "version_id": "v1",
    "run": 1,
    "checksum": {"algorithm": "SHA256", "type": "COMPOSITE", "value": "ab"},
    "revision": 1,
}
COLLECTION = {"pk": "COLLECTION#atlas", "sk": "COLLECTION", "entity": "collection", "title": "Atlas", "revision": 1}


def test_the_published_schemas_are_those_of_the_models() -> None:
    assert {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")} == event_schemas(), (
        "run: python -m celldock.catalog.events events/schemas"
    )


@pytest.mark.parametrize("item", [VERSION, DATASET, ARTIFACT, COLLECTION], ids=lambda item: item["entity"])
@pytest.mark.parametrize("kind", ["insert", "modify", "remove"])
def test_every_event_fits_its_published_schema(item: dict[str, Any], kind: str) -> None:
    old = None if kind == "insert" else item
    new = None if kind == "remove" else {**item, "revision": item["revision"] + 1}
    change = change_of(old, new)
    assert change is not None
    name = detail_type(change).lower().replace(" ", "-")
    document = json.loads((SCHEMAS / f"{name}.json").read_text())
    Draft202012Validator.check_schema(document)
    Draft202012Validator(document).validate(json.loads(change.model_dump_json()))
    assert detail_type(change) in DETAIL_TYPES


def test_a_change_says_what_changed_and_names_itself_by_item_and_revision() -> None:
    new = {**VERSION, "state": "READY", "revision": 3, "changed_at": "2026-01-01T00:00:01.000Z"}
    del new["open_pk"]
    change = change_of(VERSION, new)
    assert change is not None
    assert change.id == "DATASET#atlas/lung|VERSION#v1|3"
    assert (change.dataset, change.version_id, change.revision) == ("atlas/lung", "v1", 3)
    assert change.changed == ["state"], "neither what always changes nor what serves the indexes"
    assert change.old is not None
    assert change.new is not None
    assert (change.old.revision, change.new.revision) == (2, 3)


def test_a_removal_has_an_id_of_its_own() -> None:
    change = change_of(VERSION, None)
    assert change is not None
    assert (change.id, change.new) == ("DATASET#atlas/lung|VERSION#v1|3", None)


def test_what_the_index_needs_stays_inside() -> None:
    change = change_of(None, VERSION)
    assert change is not None
    assert "open_pk" not in change.model_dump_json()


@pytest.mark.parametrize("item", [None, {"pk": "LOCK#1", "sk": "x"}, {"pk": "p", "sk": "s", "entity": "lock"}])
def test_other_items_are_nobodys_business(item: dict[str, Any] | None) -> None:
    assert change_of(None, item) is None


def test_an_item_that_breaks_the_contract_is_an_error() -> None:
    with pytest.raises(ValidationError):
        change_of(None, {**VERSION, "state": "DONE"})

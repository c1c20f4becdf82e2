"""Publishing: undisclosed copies first, then one flip; whoever is late changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from celldock.catalog.records import dataset_pk
from celldock.catalog.states import Publication, VersionState
from celldock.catalog.work import StoredFile
from celldock.errors import Conflict, NotFeasible, ObjectGone, ServiceFault
from tests.cloud.conftest import Cloud
from tests.cloud.submissions import DATASET, FILES, at_once, published_version, ready, version


def test_a_ready_version_becomes_public_with_verified_copies(cloud: Cloud) -> None:
    ready(cloud, "v1", "01")
    published = cloud.publisher.publish(DATASET, "v1")
    root = f"public/{published.publication_id}/cells/"
    assert cloud.keys(cloud.public) == sorted(root + name for name in [*FILES, "manifest.json"])
    assert {path: cloud.public.get_bytes(root + path) for path in FILES} == FILES
    assert version(cloud, "v1").publication == Publication.PUBLISHED
    assert published_version(cloud) == "v1"
    assert len(published.publication_id) == 32


def test_publishing_twice_is_publishing_once(cloud: Cloud) -> None:
    ready(cloud, "v1", "01")
    first = cloud.publisher.publish(DATASET, "v1")
    before = version(cloud, "v1")
    assert cloud.publisher.publish(DATASET, "v1") == first
    assert version(cloud, "v1") == before


def test_an_interrupted_round_of_copies_goes_on_where_it_stopped(cloud: Cloud) -> None:
    item = ready(cloud, "v1", "01")
    # Given: one attempt died after its first copy.
    attempt = cloud.publisher._reserve(DATASET, item)
    key = f"public/{attempt.publication_id}/cells/part-00000.parquet"
    manifest = cloud.artifacts.get_json("work/v1/1/convert/cells/manifest.json")
    cloud.public.copy_from(cloud.artifacts, StoredFile(**manifest["files"][0]), key, "application/octet-stream")
    copied = cloud.public.head(key).object_version
    # When
    published = cloud.publisher.publish(DATASET, "v1")
    # Then
    assert published.publication_id == attempt.publication_id
    assert cloud.public.head(key).object_version == copied, "the good copy is left alone"


def test_the_next_version_replaces_the_published_one(cloud: Cloud) -> None:
    ready(cloud, "v1", "01")
    ready(cloud, "v2", "02")
    cloud.publisher.publish(DATASET, "v1")
    cloud.publisher.publish(DATASET, "v2")
    assert version(cloud, "v1").publication == Publication.REPLACED
    assert published_version(cloud) == "v2"


def test_an_older_version_never_takes_the_place_of_a_newer_one(cloud: Cloud) -> None:
    ready(cloud, "v1", "01")
    ready(cloud, "v2", "02")
    cloud.publisher.publish(DATASET, "v2")
    with pytest.raises(Conflict) as conflict:
        cloud.publisher.publish(DATASET, "v1")
    assert conflict.value.code == "publish.older"
    assert published_version(cloud) == "v2"


@pytest.mark.parametrize("publication", [Publication.REPLACED, Publication.WITHDRAWN])
def test_what_was_replaced_or_withdrawn_is_not_published_again(cloud: Cloud, publication: Publication) -> None:
    item = ready(cloud, "v1", "01")
    cloud.table.write(cloud.table.update(item.pk, item.sk).set(publication=publication))
    with pytest.raises(Conflict):
        cloud.publisher.publish(DATASET, "v1")
    assert published_version(cloud) == ""


def test_a_withdrawn_predecessor_stays_withdrawn(cloud: Cloud) -> None:
    # Given: v1 was published and then withdrawn.
    ready(cloud, "v1", "01")
    ready(cloud, "v2", "02")
    cloud.publisher.publish(DATASET, "v1")
    item = version(cloud, "v1")
    cloud.table.write(cloud.table.update(item.pk, item.sk).set(publication=Publication.WITHDRAWN))
    cloud.table.write(cloud.table.update(dataset_pk(DATASET), "DATASET").set(published=False))
    # When, then
    cloud.publisher.publish(DATASET, "v2")
    assert version(cloud, "v1").publication == Publication.WITHDRAWN
    assert published_version(cloud) == "v2"


@pytest.mark.parametrize("state", sorted(set(VersionState) - {VersionState.READY}))
def test_only_a_ready_version_is_published(cloud: Cloud, state: VersionState) -> None:
    item = ready(cloud, "v1", "01")
    cloud.table.write(cloud.table.update(item.pk, item.sk).set(state=state))
    with pytest.raises(Conflict) as conflict:
        cloud.publisher.publish(DATASET, "v1")
    assert conflict.value.code == "publish.not_ready"
    assert cloud.keys(cloud.public) == []


@pytest.mark.parametrize(
    "artifact",
    [
        {"state": "SKIPPED", "reason": "too wide"},
        {"state": "FAILED", "reason": "crashed"},
        {"sha256": ""},
        {"format": "other", "sk": "VERSION#v1#ARTIFACT#other"},
    ],
)
def test_a_required_format_must_be_complete(cloud: Cloud, artifact: dict[str, Any]) -> None:
    ready(cloud, "v1", "01", **artifact)
    with pytest.raises(NotFeasible) as refusal:
        cloud.publisher.publish(DATASET, "v1")
    assert refusal.value.code == "publish.format_missing"
    assert artifact.get("reason", "") in refusal.value.message
    assert published_version(cloud) == ""


def test_an_unknown_version_cannot_be_published(cloud: Cloud) -> None:
    with pytest.raises(ObjectGone):
        cloud.publisher.publish(DATASET, "v1")


def test_bytes_that_are_not_the_recorded_ones_stay_private(cloud: Cloud) -> None:
    ready(cloud, "v1", "01", sha256="0" * 64)
    with pytest.raises(ServiceFault):
        cloud.publisher.publish(DATASET, "v1")
    assert published_version(cloud) == ""
    assert cloud.keys(cloud.public) == []


def test_a_late_writer_of_the_work_area_does_not_change_what_is_published(cloud: Cloud) -> None:
    # Given: the Lambda of a run that was stopped overwrites a file after the manifest was written.
    ready(cloud, "v1", "01")
    cloud.artifacts.put_bytes("work/v1/1/convert/cells/files/part-00000.parquet", b"late", "application/octet-stream")
    # When
    published = cloud.publisher.publish(DATASET, "v1")
    # Then: the copy is of the object version that the manifest names.
    key = f"public/{published.publication_id}/cells/part-00000.parquet"
    assert cloud.public.get_bytes(key) == FILES["part-00000.parquet"]


def test_two_who_publish_the_same_version_agree(cloud: Cloud) -> None:
    ready(cloud, "v1", "01")
    first, second = at_once(*[lambda: cloud.publisher.publish(DATASET, "v1")] * 2)
    assert first == second
    assert published_version(cloud) == "v1"


def test_two_versions_that_race_to_be_published_end_with_the_newer_one(cloud: Cloud) -> None:
    ready(cloud, "v1", "01")
    ready(cloud, "v2", "02")
    at_once(lambda: cloud.publisher.publish(DATASET, "v1"), lambda: cloud.publisher.publish(DATASET, "v2"))
    assert published_version(cloud) == "v2"
    assert version(cloud, "v1").publication in {Publication.REPLACED, Publication.PRIVATE}

"""The catalog's table: reads, and the single conditional writes that change it.

Every write names the state and the run that it expects, raises `revision` and sets `changed_at`; so each can be
repeated, and a late writer loses. Claiming lies in `celldock.cloud.claims`, publishing in
`celldock.cloud.publication`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from celldock.catalog.keys import pad_sequencer
from celldock.catalog.records import (
    COLLECTION_SK,
    DATASET_SK,
    OPEN_PK,
    VERSION_PREFIX,
    Artifact,
    Collection,
    Dataset,
    Failure,
    RunInput,
    Version,
    artifact_sk,
    collection_pk,
    dataset_pk,
    timestamp,
    version_sk,
)
from celldock.catalog.states import OPEN_STATES, Publication, VersionState, states_before
from celldock.cloud.faults import aws_faults
from celldock.cloud.items import Update, item_to_plain, plain_to_item
from celldock.errors import Conflict

NOT_CLAIMED = "version.not_claimed"


class CatalogTable:
    """The one table of the catalog."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self.name = name

    def dataset(self, dataset: str) -> Dataset | None:
        """The dataset, once one of its versions has been claimed."""
        item = self._get(dataset_pk(dataset), DATASET_SK)
        return Dataset.model_validate(item) if item else None

    def version(self, dataset: str, version_id: str) -> Version | None:
        """One version of a dataset."""
        item = self._get(dataset_pk(dataset), version_sk(version_id))
        return Version.model_validate(item) if item else None

    def latest_version(self, dataset: str) -> Version | None:
        """The version that was claimed last or, before any was, the newest that was received."""
        found = self.dataset(dataset)
        if found:
            return self.version(dataset, found.latest_version)
        items = self._query(dataset_pk(dataset), VERSION_PREFIX)
        versions = [Version.model_validate(item) for item in items if item["entity"] == "version"]
        return max(versions, key=lambda version: pad_sequencer(version.sequencer), default=None)

    def artifact(self, version: Version, format_name: str) -> Artifact | None:
        """One format of a version."""
        item = self._get(version.pk, artifact_sk(version.version_id, format_name))
        return Artifact.model_validate(item) if item else None

    def artifacts(self, version: Version) -> list[Artifact]:
        """The formats of a version that have an outcome in the run that owns it, by name."""
        items = self._query(version.pk, artifact_sk(version.version_id, ""))
        artifacts = [Artifact.model_validate(item) for item in items]
        # An earlier run's may be of a companion that this one has no more.
        return [artifact for artifact in artifacts if artifact.run == version.run]

    def collection(self, collection: str) -> Collection:
        """A collection, with the defaults where nobody has set anything."""
        item = self._get(collection_pk(collection), COLLECTION_SK)
        return Collection.model_validate(item) if item else Collection.default(collection)

    def put_collection(self, collection: str, settings: Mapping[str, Any]) -> Collection:
        """Sets the named settings of a collection and leaves the others alone."""
        update = self.update(collection_pk(collection), COLLECTION_SK).set(entity="collection", **settings)
        with aws_faults(self.name):
            self._client.update_item(**update.arguments())
        return self.collection(collection)

    def receive(self, run: RunInput, dataset: str, size: int, etag: str) -> bool:
        """Records an upload as RECEIVED; False where it has been recorded before, by whichever event."""
        now = timestamp()
        item = {
            "pk": dataset_pk(dataset),
            "sk": version_sk(run.version_id),
            "entity": "version",
            "state": VersionState.RECEIVED,
            "step": "",
            "run": run.run,
            "execution": "",
            "bucket": run.bucket,
            "key": run.key,
            "version_id": run.version_id,
            "sequencer": run.sequencer,
            "size": size,
            "etag": etag,
            "publication": Publication.PRIVATE,
            "received_at": now,
            "open_pk": OPEN_PK,
            "revision": 1,
            "created_at": now,
            "changed_at": now,
        }
        try:
            with aws_faults(self.name):
                self._client.put_item(
                    TableName=self.name, Item=plain_to_item(item), ConditionExpression="attribute_not_exists(pk)"
                )
        except Conflict:
            return False
        return True

    def hand_out_run(self, version: Version) -> RunInput:
        """The input of a run that nobody else gets, on the version as it was read.

        A claim that is under way at this moment starts over, since the version has changed: whatever came to the inbox
        before this call, it sees.

        Raises:
            Conflict: the version is not as it was read.
        """
        run = version.next_run()
        self.write(self.update(version.pk, version.sk).where_revision(version.revision).set(last_run=run.run))
        return run

    def fail(self, dataset: str, version_id: str, run: int, failure: Failure) -> Version:
        """Records that a run ended without an outcome: FAILED, or for a READY version just the failure to publish it.

        Raises:
            Conflict: the version is unknown, or is no longer this run's to fail; `version.not_claimed` where the run
                has ended before it could claim the version.
        """
        version = self._owned(dataset, version_id, run)
        if version.failure is not None:
            return version
        known = failure.model_copy(update={"step": failure.step or version.step})
        update = self.update(version.pk, version.sk).where(run=run).set(failure=known.model_dump())
        if version.state == VersionState.READY:
            update.where(state=VersionState.READY, publication=Publication.PRIVATE)
        else:
            update.where_in("state", OPEN_STATES).set(state=VersionState.FAILED).remove("open_pk")
        self.write(update)
        return self._owned(dataset, version_id, run)

    def cancel(self, dataset: str, version_id: str, run: int) -> None:
        """Records that a version's object is gone before this run could claim it.

        Raises:
            Conflict: a later run has taken over, or the version has an outcome.
        """
        version = self.version(dataset, version_id)
        if version is None or version.state == VersionState.CANCELLED:
            return
        before = states_before(VersionState.CANCELLED)
        is_running_elsewhere = version.state == VersionState.PROCESSING and version.run != run
        if version.run > run or is_running_elsewhere or version.state not in before:
            raise Conflict("The version is another run's.", code="version.not_yours", where=dataset)
        self.write(
            self.update(version.pk, version.sk)
            .where(run=version.run, state=version.state)
            .set(state=VersionState.CANCELLED, run=run)
            .remove("open_pk")
        )

    def update(self, pk: str, sk: str) -> Update:
        """An update of one item, to be completed and handed to `write` or `transact`."""
        return Update(self.name, pk, sk)

    def write(self, update: Update) -> None:
        """One conditional write.

        Raises:
            Conflict: the condition does not hold.
        """
        with aws_faults(self.name):
            self._client.update_item(**update.arguments())

    def transact(self, updates: Sequence[Update], checks: Sequence[Mapping[str, Any]] = ()) -> None:
        """All updates or none; `checks` are further ConditionChecks.

        Raises:
            Conflict: one of the conditions does not hold.
        """
        items = [{"Update": update.arguments()} for update in updates]
        with aws_faults(self.name):
            self._client.transact_write_items(TransactItems=[*items, *({"ConditionCheck": check} for check in checks)])

    def _owned(self, dataset: str, version_id: str, run: int) -> Version:
        version = self.version(dataset, version_id)
        failable = OPEN_STATES | {VersionState.FAILED, VersionState.READY}
        if version is not None and version.run < run:
            raise Conflict("The run has not claimed the version.", code=NOT_CLAIMED, where=dataset)
        if version is None or version.run != run or version.state not in failable:
            raise Conflict("The version is not this run's.", code="version.not_yours", where=dataset)
        return version

    def _get(self, pk: str, sk: str) -> dict[str, Any] | None:
        with aws_faults(self.name):
            answer = self._client.get_item(
                TableName=self.name, Key=plain_to_item({"pk": pk, "sk": sk}), ConsistentRead=True
            )
        return item_to_plain(answer["Item"]) if "Item" in answer else None

    def _query(self, pk: str, sk_prefix: str) -> Iterator[dict[str, Any]]:
        request = {
            "TableName": self.name,
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :sk)",
            "ExpressionAttributeValues": plain_to_item({":pk": pk, ":sk": sk_prefix}),
            "ConsistentRead": True,
        }
        while True:
            with aws_faults(self.name):
                answer = self._client.query(**request)
            yield from map(item_to_plain, answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

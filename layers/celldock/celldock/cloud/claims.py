"""Claiming: the one place where a run takes a version, and where the newest upload of a key wins."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from celldock.catalog.keys import pad_sequencer
from celldock.catalog.policy import asks_to_publish, publishes_by_itself
from celldock.catalog.records import (
    DATASET_SK,
    DEFAULT_SCHEMA_VERSIONS,
    OPEN_PK,
    Companion,
    Dataset,
    RunInput,
    Submission,
    Version,
    collection_pk,
    first_step,
)
from celldock.catalog.states import OPEN_STATES, Publication, VersionState, transition
from celldock.cloud.companions import find_companions
from celldock.cloud.items import Update
from celldock.cloud.objects import ObjectStore
from celldock.cloud.table import CatalogTable
from celldock.errors import Conflict, Throttled, TransientError

PUBLISHED = "version.published"
"""The code of the Conflict of a run that a companion started, while its version was published."""

_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Upload:
    """The pinned object as S3 describes it, whether its submitter asks for publishing, and what lies beside it."""

    size: int
    etag: str
    publish_requested: bool
    companions: Mapping[str, Companion] = field(default_factory=dict[str, Companion])


def look_at_upload(inbox: ObjectStore, run: RunInput) -> Upload:
    """What S3 says of the run's pinned object, and of its companions as they are now.

    Raises:
        ObjectGone: the object does not exist any more.
    """
    head = inbox.head(run.key, run.version_id)
    companions = find_companions(inbox, run.submission_key)
    return Upload(head.size, head.etag, asks_to_publish(head.metadata), companions)


@dataclass(frozen=True, slots=True)
class Claim:
    """A version that this run owns now. `superseded`: the executions that it pushed aside, to be stopped."""

    submission: Submission
    superseded: tuple[str, ...]


def claim(table: CatalogTable, run: RunInput, execution: str, look: Callable[[], Upload]) -> Claim:
    """Takes the version for `run` in one transaction; repeated by the same execution, it gives the same answer.

    An older upload of the same key that is still under way becomes SUPERSEDED in the same transaction. One that
    is READY is never touched. `look` is called between reading the version and writing it, so that a companion that
    comes meanwhile is either seen, or finds the version claimed without it.

    Raises:
        Conflict: a newer upload came first (this version is SUPERSEDED then), or another run owns the version; with
            the code PUBLISHED, the version has been published and takes in no companion any more.
        TransientError: too many others write the same dataset at this moment.
    """
    claimant = _Claimant(table, run, execution)
    for attempt in range(_ATTEMPTS):
        version = table.version(claimant.key.dataset, run.version_id)
        upload = look()
        if version is None:
            # The execution was started by hand; intake records every upload before it starts anything.
            table.receive(run, claimant.key.dataset, upload.size, upload.etag)
            continue
        try:
            return claimant.claimed_before(version) or claimant.take(version, upload)
        except _LostRace:
            time.sleep(random.uniform(0, 0.02 * 2**attempt))
    raise TransientError("Others write this dataset all the time.", code="claim.contended", where=claimant.key.dataset)


class _LostRace(Exception):
    """The dataset or the version changed between reading and writing: look again."""


class _Claimant:
    """One execution that wants one version."""

    def __init__(self, table: CatalogTable, run: RunInput, execution: str) -> None:
        self.key = run.submission_key
        self._table = table
        self._run = run
        self._execution = execution
        self._collection = table.collection(self.key.collection)

    def claimed_before(self, version: Version) -> Claim | None:
        """The claim that an earlier attempt of this same execution has made."""
        is_ours = version.run == self._run.run and version.execution == self._execution
        if not is_ours or version.state != VersionState.PROCESSING:
            return None
        older = self._table.version(self.key.dataset, version.supersedes) if version.supersedes else None
        return self._claim(version, older)

    def take(self, version: Version, upload: Upload) -> Claim:
        """Takes the version as it was read, or gives way to a newer one."""
        self._check_takeover(version, upload)
        dataset = self._table.dataset(self.key.dataset)
        if dataset is not None and dataset.latest_sequencer > pad_sequencer(version.sequencer):
            self._give_way(version)
        older = self._unfinished_predecessor(dataset, version)
        claimed = version.model_copy(
            update={
                "state": VersionState.PROCESSING,
                "step": first_step(upload.companions),
                "run": self._run.run,
                "execution": self._execution,
                "stopped": version.execution if version.state == VersionState.PROCESSING else "",
                "size": upload.size,
                "etag": upload.etag,
                "companions": dict(upload.companions),
                "publish_requested": upload.publish_requested,
                "required_formats": self._collection.required_formats,
                "schema_versions": self._collection.schema_versions,
                "pre_analysis": self._collection.pre_analysis,
                "supersedes": older.version_id if older else version.supersedes,
            }
        )
        updates = [self._dataset_update(dataset, version), self._version_update(version, claimed)]
        if older is not None:
            updates.append(self._supersede(older))
        try:
            self._table.transact(updates)
        except Throttled:
            raise
        except (Conflict, TransientError) as error:
            # TransientError too: the transaction met another one, or its answer was lost and it may have happened.
            raise _LostRace from error
        return self._claim(claimed, older)

    def _check_takeover(self, version: Version, upload: Upload) -> None:
        """A RECEIVED version goes to its run, a FAILED one to a higher run, any other to one with other companions."""
        transition(version.state, VersionState.PROCESSING)
        lowest = version.run if version.state == VersionState.RECEIVED else version.run + 1
        if self._run.run < lowest:
            raise Conflict("A later run owns the version.", code="version.not_yours", where=self.key.dataset)
        needs_reason = version.state not in {VersionState.RECEIVED, VersionState.FAILED}
        if needs_reason and upload.companions == version.companions:
            raise Conflict("Nothing has changed since the last run.", code="version.unchanged", where=self.key.dataset)
        if version.publication != Publication.PRIVATE:
            raise Conflict("The version has been published.", code=PUBLISHED, where=self.key.dataset)

    def _give_way(self, version: Version) -> NoReturn:
        """A newer upload has been claimed already: this version will never be processed."""
        try:
            self._table.write(self._supersede(version))
        except Conflict as error:
            raise _LostRace from error
        raise Conflict(
            "A newer upload of the same key has been claimed.", code="version.superseded", where=self.key.dataset
        )

    def _unfinished_predecessor(self, dataset: Dataset | None, version: Version) -> Version | None:
        """The version that was claimed before, if its run is still under way."""
        if dataset is None or dataset.latest_version == version.version_id:
            return None
        previous = self._table.version(dataset.dataset, dataset.latest_version)
        return previous if previous is not None and previous.state in OPEN_STATES else None

    def _dataset_update(self, dataset: Dataset | None, version: Version) -> Update:
        return (
            self._table.update(version.pk, DATASET_SK)
            .where_revision(dataset.revision if dataset else None)
            .set(
                entity="dataset",
                collection=self.key.collection,
                name=self.key.name,
                collection_pk=collection_pk(self.key.collection),
                collection_sk=self.key.name,
                latest_version=version.version_id,
                latest_sequencer=pad_sequencer(version.sequencer),
            )
            .set_if_absent(published=False)
        )

    def _version_update(self, version: Version, claimed: Version) -> Update:
        changed = {name: value for name, value in claimed.model_dump().items() if value != version.model_dump()[name]}
        return (
            self._table.update(version.pk, version.sk)
            .where_revision(version.revision)
            .set(**changed, open_pk=OPEN_PK)
            # What an earlier run came to. A publication that it began gets another prefix, as it may hold other files.
            .remove("curation", "plan", "verdict", "report", "failure", "publication_id")
        )

    def _supersede(self, version: Version) -> Update:
        return (
            self._table.update(version.pk, version.sk)
            .where(state=version.state, run=version.run)
            .set(state=transition(version.state, VersionState.SUPERSEDED))
            .remove("open_pk")
        )

    def _claim(self, version: Version, older: Version | None) -> Claim:
        executions = (older.execution if older else "", version.stopped)
        return Claim(self._submission(version), tuple(execution for execution in executions if execution))

    def _submission(self, version: Version) -> Submission:
        return Submission(
            bucket=version.bucket,
            key=version.key,
            version_id=version.version_id,
            sequencer=version.sequencer,
            run=version.run,
            execution=version.execution,
            collection=self.key.collection,
            name=self.key.name,
            dataset=self.key.dataset,
            pk=version.pk,
            sk=version.sk,
            size=version.size,
            etag=version.etag,
            publish=publishes_by_itself(self._collection, version.publish_requested),
            required_formats=version.required_formats,
            schema_versions=version.schema_versions or DEFAULT_SCHEMA_VERSIONS,
            pre_analysis=version.pre_analysis,
            companions=version.companions,
            step=first_step(version.companions),
        )

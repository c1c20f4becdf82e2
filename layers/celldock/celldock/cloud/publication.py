"""Publishing: stage undisclosed copies, then flip the flag in one transaction.

Used by the workflow (where the collection's policy lets a submission publish itself) and by the API (on request).
Every part can be repeated: the copies go to one random prefix that the version keeps, and the flip happens once.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
import secrets
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from celldock.catalog.keys import pad_sequencer, public_prefix, step_manifest_beside
from celldock.catalog.records import DATASET_SK, Artifact, Dataset, Version
from celldock.catalog.states import ArtifactState, Publication, VersionState, publication_transition
from celldock.catalog.work import StepManifest, StoredFile
from celldock.cloud.items import plain_to_item
from celldock.cloud.objects import ObjectStore
from celldock.cloud.table import CatalogTable
from celldock.errors import Conflict, NotFeasible, ObjectGone, ServiceFault

# Fewer than the connections that a client keeps.
_COPIES_AT_ONCE = 16
_FLIP_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Published:
    """A version that the world sees, and the random name of its copies."""

    dataset: str
    version_id: str
    publication_id: str

    def to_json(self) -> dict[str, str]:
        """A document for `json.dumps`."""
        return {"dataset": self.dataset, "version_id": self.version_id, "publication_id": self.publication_id}


class Publisher:
    """Publishes versions of one catalog."""

    def __init__(self, table: CatalogTable, artifacts: ObjectStore, public: ObjectStore) -> None:
        self._table = table
        self._artifacts = artifacts
        self._public = public

    def publish(self, dataset: str, version_id: str) -> Published:
        """Makes a READY version the published one; the version that was published before becomes REPLACED.

        Raises:
            ObjectGone: there is no such version.
            NotFeasible: it lacks a format that its collection requires.
            Conflict: it is not READY, has been replaced or withdrawn, or is older than what is published.
            ServiceFault: an artifact's bytes are not those that were recorded.
        """
        version = self._version(dataset, version_id)
        if version.publication == Publication.PUBLISHED:
            return Published(dataset, version_id, version.publication_id)
        self._check_may_publish(version)
        artifacts = self._complete_artifacts(version)
        version = self._reserve(dataset, version)
        for artifact in artifacts:
            self._stage(version.publication_id, artifact)
        return self._flip(dataset, version, artifacts)

    def _version(self, dataset: str, version_id: str) -> Version:
        version = self._table.version(dataset, version_id)
        if version is None:
            raise ObjectGone("There is no such version.", code="version.unknown", where=dataset)
        return version

    def _check_may_publish(self, version: Version) -> None:
        if version.state != VersionState.READY:
            raise Conflict(
                f"The version is {version.state}; only a READY one can be published.",
                code="publish.not_ready",
                where=version.version_id,
                hint="See its status and report; publish it once it is READY.",
            )
        publication_transition(version.publication, Publication.PUBLISHED)

    def _complete_artifacts(self, version: Version) -> list[Artifact]:
        """Everything that was converted; NotFeasible where a required format is not among it."""
        artifacts = self._table.artifacts(version)
        complete = {artifact.format for artifact in artifacts if artifact.is_complete}
        missing = sorted(set(version.required_formats) - complete)
        if missing:
            reasons = "; ".join(f"{found.format}: {found.reason}" for found in artifacts if found.format in missing)
            raise NotFeasible(
                f"The version lacks a format that its collection requires: {', '.join(missing)}. {reasons}".strip(),
                code="publish.format_missing",
                where=version.version_id,
            )
        return [artifact for artifact in artifacts if artifact.is_complete]

    def _reserve(self, dataset: str, version: Version) -> Version:
        """The version with its publication id, the same one for each who tries."""
        if version.publication_id:
            return version
        update = (
            self._table.update(version.pk, version.sk)
            .where(state=VersionState.READY, publication=Publication.PRIVATE)
            .set_if_absent(publication_id=secrets.token_hex(16))
        )
        self._table.write(update)
        return self._version(dataset, version.version_id)

    def _stage(self, publication_id: str, artifact: Artifact) -> None:
        """Copies an artifact's files, and its manifest last."""
        step = StepManifest.model_validate(self._artifacts.get_json(step_manifest_beside(artifact.manifest_key)))
        manifest = StoredFile.model_validate(step.result["manifest"])
        document = self._artifacts.get_bytes(manifest.key, manifest.object_version)
        recorded = {(file["path"], file["bytes"], file["sha256"]) for file in json.loads(document)["files"]}
        located = {(stored.path, stored.bytes, stored.sha256) for stored in step.files}
        if hashlib.sha256(document).hexdigest() != artifact.checksum.value or recorded != located:
            raise ServiceFault(
                "The files of an artifact are not those that the catalog has recorded.",
                code="publish.checksum",
                where=artifact.format,
            )
        prefix = public_prefix(publication_id, artifact.format)

        def copy(stored: StoredFile) -> None:
            content_type = mimetypes.guess_type(stored.path)[0] or "application/octet-stream"
            self._public.copy_from(self._artifacts, stored, prefix + stored.path, content_type)

        # A store of arrays has thousands of small files, of which each takes S3 some tens of milliseconds.
        with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
            deque(pool.map(copy, step.files), maxlen=0)
        self._public.put_bytes(prefix + "manifest.json", document, "application/json")

    def _flip(self, dataset: str, staged: Version, artifacts: list[Artifact]) -> Published:
        for _ in range(_FLIP_ATTEMPTS):
            # The dataset is read first: if another flip comes in between, its revision tells.
            owner = self._dataset(dataset)
            version = self._version(dataset, staged.version_id)
            if version.publication == Publication.PUBLISHED:
                return Published(dataset, version.version_id, version.publication_id)
            self._check_may_publish(version)
            if (version.run, version.publication_id) != (staged.run, staged.publication_id):
                raise Conflict(
                    "A new run has processed the version meanwhile.",
                    code="publish.changed",
                    where=version.version_id,
                    hint="Publish it again.",
                )
            try:
                self._try_flip(version, owner, artifacts)
            except Conflict as conflict:
                if conflict.code != "aws.condition":
                    raise
        raise Conflict("Others publish versions of this dataset.", code="publish.contended", where=dataset)

    def _dataset(self, dataset: str) -> Dataset:
        found = self._table.dataset(dataset)
        if found is None:
            raise ServiceFault("A READY version has no dataset.", code="publish.no_dataset", where=dataset)
        return found

    def _try_flip(self, version: Version, dataset: Dataset, artifacts: list[Artifact]) -> None:
        flags = self._table.update(dataset.pk, DATASET_SK).where_revision(dataset.revision)
        flags.set(published=True, published_version=version.version_id, publication_id=version.publication_id)
        updates = [
            flags,
            self._table.update(version.pk, version.sk)
            .where_revision(version.revision)
            .where(state=VersionState.READY, publication=version.publication)
            .set(publication=publication_transition(version.publication, Publication.PUBLISHED))
            .remove("failure"),
        ]
        replaced = self._replaced(version, dataset)
        if replaced is not None:
            updates.append(
                self._table.update(replaced.pk, replaced.sk)
                .where(publication=replaced.publication)
                .set(publication=publication_transition(replaced.publication, Publication.REPLACED))
            )
        self._table.transact(updates, [self._still_complete(artifact) for artifact in artifacts])

    def _replaced(self, version: Version, dataset: Dataset) -> Version | None:
        """The version that the world sees now, unless it has been withdrawn."""
        if not dataset.published:
            return None
        previous = self._version(dataset.dataset, dataset.published_version)
        if previous.publication != Publication.PUBLISHED:
            return None
        if pad_sequencer(previous.sequencer) > pad_sequencer(version.sequencer):
            raise Conflict(
                "A newer version of the dataset is published.", code="publish.older", where=version.version_id
            )
        return previous

    def _still_complete(self, artifact: Artifact) -> dict[str, object]:
        return {
            "TableName": self._table.name,
            "Key": plain_to_item({"pk": artifact.pk, "sk": artifact.sk}),
            "ConditionExpression": "#state = :state AND #checksum.#value = :checksum",
            "ExpressionAttributeNames": {"#state": "state", "#checksum": "checksum", "#value": "value"},
            "ExpressionAttributeValues": plain_to_item(
                {":state": ArtifactState.CONVERTED, ":checksum": artifact.checksum.value}
            ),
        }

"""The work area on S3: steps find what they or an earlier run have left, and leave their own, manifest last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from celldock.catalog.keys import Step, run_prefix
from celldock.catalog.work import StepManifest, StoredFile
from celldock.cloud.objects import ObjectStore
from celldock.errors import ObjectGone, ServiceFault


class WorkArea:
    """The work of one version as one of its runs sees it.

    A run writes below its own number only, so that the Lambda of an older run that is still at it disturbs nobody;
    it reads from every run up to its own.
    """

    def __init__(self, store: ObjectStore, version_id: str, run: int) -> None:
        self.store = store
        self.version_id = version_id
        self.run = run

    def key(self, path: str) -> str:
        """The key of `path` in this run's folder."""
        return run_prefix(self.version_id, self.run) + path

    def find(self, step: Step, fingerprint: str) -> StepManifest | None:
        """The step's work if this run or an earlier one has done just that; None where it is still to do.

        Work of an earlier run becomes this run's: it gets a manifest that points to the earlier files.
        """
        for run in range(self.run, 0, -1):
            manifest = self._read(run_prefix(self.version_id, run) + step.manifest)
            if manifest is None or manifest.fingerprint != fingerprint or not self._holds(manifest):
                continue
            if run == self.run:
                return manifest
            return self._write(step, manifest.taken_over_by(self.run))
        return None

    def finish(
        self, step: Step, fingerprint: str, result: Mapping[str, Any], files: Iterable[StoredFile]
    ) -> StepManifest:
        """Declares the step done. Everything that `files` names must have been stored."""
        return self._write(
            step,
            StepManifest(
                step=step.name,
                version_id=self.version_id,
                run=self.run,
                made_by_run=self.run,
                fingerprint=fingerprint,
                result=dict(result),
                files=tuple(files),
            ),
        )

    def load(self, step: Step) -> StepManifest:
        """This run's manifest of a step that must have been done.

        Raises:
            ServiceFault: there is none.
        """
        manifest = self._read(self.key(step.manifest))
        if manifest is None:
            raise ServiceFault(
                f"The step {step.name} has left no manifest.", code="work.manifest_missing", where=step.name
            )
        return manifest

    def _read(self, key: str) -> StepManifest | None:
        try:
            return StepManifest.model_validate(self.store.get_json(key))
        except (ObjectGone, ValidationError):
            # A manifest of another release's shape is as good as none: the step is done again.
            return None

    def _write(self, step: Step, manifest: StepManifest) -> StepManifest:
        self.store.put_json(self.key(step.manifest), manifest.model_dump(mode="json"))
        return manifest

    def _holds(self, manifest: StepManifest) -> bool:
        """Whether every file is still there: the work area expires, and an older run's files go first."""
        heads = ((stored, self.store.find(stored.key, stored.object_version)) for stored in manifest.files)
        return all(head is not None and head.size == stored.bytes for stored, head in heads)

"""Artifacts as the catalog records them: what a step declares once a format is done, or cannot be made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celldock.catalog.keys import artifact_manifest, convert_step
from celldock.catalog.states import ArtifactState
from celldock.catalog.work import StepManifest, StoredFile
from celldock.cloud.work import WorkArea
from celldock.formats.manifest import make_manifest
from celldock.formats.protocol import Assembled, FormatPlan

ARTIFACT = "artifact"
"""Where a step's manifest has it."""

_MANIFEST = "manifest"


def skipped(planned: FormatPlan, reason: str) -> dict[str, Any]:
    """The artifact of a format that cannot be made, and why."""
    nothing = {"uri": "", "files": 0, "bytes": 0, "sha256": "", "manifest_key": ""}
    state = ArtifactState.SKIPPED
    return {"format": planned.format, "state": state, "version": planned.version, **nothing, "reason": reason}


def finish_artifact(
    work: WorkArea,
    planned: FormatPlan,
    mark: str,
    made: Assembled,
    root: str,
    files: Sequence[StoredFile],
    *,
    beside: Mapping[str, Any] | None = None,
) -> StepManifest:
    """Declares a format done: its artifact has these files, all of which lie under `root`.

    `beside` is what the step tells later ones, and is no part of the artifact.
    """
    step = convert_step(planned.format)
    document = make_manifest(planned, made.files, made.omitted)
    stored = work.store.put_bytes(work.key(artifact_manifest(planned.format)), document.to_bytes(), "application/json")
    artifact = {
        "format": planned.format,
        "state": ArtifactState.CONVERTED,
        "version": planned.version,
        "uri": f"s3://{work.store.bucket}/{root}",
        "files": len(document.files),
        "bytes": document.bytes,
        "sha256": document.sha256,
        "manifest_key": stored.key,
        "reason": "",
    }
    return work.finish(step, mark, {ARTIFACT: artifact, _MANIFEST: stored.model_dump(), **(beside or {})}, files)

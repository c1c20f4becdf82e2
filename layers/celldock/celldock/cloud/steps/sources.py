"""What the steps from Plan on work on: the pinned upload, or what Curate has made of it."""

from __future__ import annotations

from celldock.catalog.keys import CURATE
from celldock.catalog.records import Submission
from celldock.cloud.objects import ObjectStore, S3ByteSource
from celldock.cloud.work import WorkArea

CURATED = "curated.h5ad"


def source_of(inbox: ObjectStore, work: WorkArea, submission: Submission) -> S3ByteSource:
    """The file of a submission. Raises ServiceFault where it is to be curated and this run has not done so."""
    if not submission.is_curated:
        return inbox.source(submission.key, submission.version_id, submission.size)
    stored = work.load(CURATE).file(CURATED)
    return work.store.source(stored.key, stored.object_version, stored.bytes)

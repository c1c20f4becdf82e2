"""What lies in the inbox beside an upload: found, and refused where it comes too late."""

from __future__ import annotations

from collections.abc import Mapping

from celldock.catalog.keys import COMPANION_SUFFIXES, SubmissionKey
from celldock.catalog.records import DEFAULT_SCHEMA_VERSIONS, FIRST_RUN, Companion
from celldock.cloud.objects import ObjectHead, ObjectStore
from celldock.cloud.reports import ReportStore
from celldock.errors import InvalidSubmission
from celldock.report.model import FileFacts, Report


def find_companions(inbox: ObjectStore, key: SubmissionKey) -> dict[str, Companion]:
    """The companions of an upload by their kind, each pinned to what is current now.

    S3 is asked, and not an event believed: events come late, twice and out of order. Where a companion lies under
    several of its names, the newest one counts; of those of one second, the one that `COMPANION_SUFFIXES` has first.
    """
    found: dict[str, Companion] = {}
    for kind in COMPANION_SUFFIXES:
        heads = {name: head for name in key.companion_keys(kind) if (head := inbox.find(name))}
        if heads:
            # Of equals, max gives the first.
            newest = max(heads, key=lambda name: heads[name].modified)
            found[kind] = _pinned(newest, heads[newest], next((name for name in heads if name != newest), ""))
    return found


def _pinned(key: str, head: ObjectHead, passed_over: str) -> Companion:
    return Companion(key=key, version_id=head.object_version, size=head.size, etag=head.etag, passed_over=passed_over)


def refuse_late_companions(reports: ReportStore, companions: Mapping[str, Companion]) -> None:
    """Tells whoever uploaded these that their dataset's version has been published without them."""
    for companion in companions.values():
        refusal = InvalidSubmission(
            "The file came too late: the version of the dataset that it belongs to has been published.",
            code="companion.too_late",
            where=companion.key,
            hint="Upload the .h5ad file again: the new version takes in the files that lie beside it.",
        )
        facts = FileFacts(
            name=companion.file_name,
            size=companion.size,
            key=companion.key,
            version_id=companion.version_id,
            etag=companion.etag,
        )
        report = Report.refused(refusal, schema_version=DEFAULT_SCHEMA_VERSIONS[0], file=facts)
        reports.put(companion.key, companion.version_id, FIRST_RUN, report)


def changed(now: Mapping[str, Companion], pinned: Mapping[str, Companion]) -> dict[str, Companion]:
    """The companions that are there now and not the pinned ones."""
    return {kind: companion for kind, companion in now.items() if companion != pinned.get(kind)}

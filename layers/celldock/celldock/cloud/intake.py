"""Intake: whatever lands in the inbox is answered – with a run, with a report – or, where that is right, ignored."""

from __future__ import annotations

from enum import StrEnum

from celldock.catalog.keys import CompanionKey, Ignored, Rejection, SubmissionKey, parse_upload_key
from celldock.catalog.records import DEFAULT_SCHEMA_VERSIONS, FIRST_RUN
from celldock.catalog.states import Publication, VersionState, states_before
from celldock.catalog.uploads import ObjectCreated
from celldock.cloud.companions import changed, find_companions, refuse_late_companions
from celldock.cloud.executions import Executions
from celldock.cloud.objects import ObjectStore
from celldock.cloud.reports import ReportStore
from celldock.cloud.table import CatalogTable
from celldock.errors import Conflict, InvalidSubmission, ServiceFault, TransientError
from celldock.report.model import FileFacts, Report

_ATTEMPTS = 8


class Answer(StrEnum):
    """What became of an upload's event. WAITING: a companion whose h5ad file's next claim will find it."""

    STARTED = "STARTED"
    WAITING = "WAITING"
    REJECTED = "REJECTED"
    IGNORED = "IGNORED"


class Intake:
    """Answers uploads of one inbox; the same event twice has the same outcome as once."""

    def __init__(self, inbox: ObjectStore, table: CatalogTable, executions: Executions) -> None:
        self._inbox = inbox
        self._table = table
        self._executions = executions
        self._reports = ReportStore(inbox)

    def answer(self, upload: ObjectCreated) -> Answer:
        """Records the upload and starts its run, or writes the report that rejects its key.

        A companion that its dataset's newest version has not seen starts a new run of that version.

        Raises:
            ServiceFault: the event is about another bucket.
            TransientError, Throttled: to be repeated; nothing is lost, since the message comes back.
        """
        if upload.bucket != self._inbox.bucket:
            raise ServiceFault("The event is about another bucket.", code="intake.bucket", where=upload.bucket)
        match parse_upload_key(upload.key, upload.size):
            case Ignored():
                return Answer.IGNORED
            case Rejection() as rejection:
                report = _rejection_report(rejection, upload)
                self._reports.put(upload.key, upload.version_id, FIRST_RUN, report)
                return Answer.REJECTED
            case SubmissionKey() as key:
                run = upload.first_run()
                # Recorded first: an upload has a state from here on, also when nothing can be started just now.
                self._table.receive(run, key.dataset, upload.size, upload.etag)
                self._executions.start(run)
                return Answer.STARTED
            case CompanionKey() as key:
                return self._answer_companion(key)

    def _answer_companion(self, key: CompanionKey) -> Answer:
        for _ in range(_ATTEMPTS):
            try:
                return self._try_companion(key)
            except Conflict:
                # The version has changed since it was read, perhaps by a claim that has not seen the companion.
                continue
        raise TransientError("Others write this version all the time.", code="intake.contended", where=key.key)

    def _try_companion(self, key: CompanionKey) -> Answer:
        """What is to be done by what the inbox holds now; raises Conflict if the catalog changes meanwhile."""
        version = self._table.latest_version(key.submission.dataset)
        if version is None or version.state not in states_before(VersionState.PROCESSING):
            return Answer.WAITING
        found = find_companions(self._inbox, key.submission)
        if found == version.companions:
            # Pinned already: by the claim that came after the upload, or by the run that this event has started.
            return Answer.IGNORED
        if version.publication != Publication.PRIVATE:
            refuse_late_companions(self._reports, changed(found, version.companions))
            return Answer.REJECTED
        run = self._table.hand_out_run(version)
        if version.state == VersionState.RECEIVED:
            # Its first run is on its way and will claim it, with what lies in the inbox then.
            return Answer.WAITING
        self._executions.start(run)
        return Answer.STARTED


def _rejection_report(rejection: Rejection, upload: ObjectCreated) -> Report:
    refusal = InvalidSubmission(rejection.message, code=rejection.code, where=rejection.key, hint=rejection.hint)
    facts = FileFacts(
        name=upload.key.rpartition("/")[2],
        size=upload.size,
        key=upload.key,
        version_id=upload.version_id,
        etag=upload.etag,
    )
    return Report.refused(refusal, schema_version=DEFAULT_SCHEMA_VERSIONS[0], file=facts)

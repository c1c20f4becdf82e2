"""Intake: whatever lands in the inbox is answered – with a run, with a report – or, where that is right, ignored."""

from __future__ import annotations

from enum import StrEnum

from celldock.catalog.keys import Ignored, Rejection, SubmissionKey, parse_upload_key
from celldock.catalog.records import DEFAULT_SCHEMA_VERSIONS
from celldock.catalog.uploads import FIRST_RUN, ObjectCreated
from celldock.cloud.executions import Executions
from celldock.cloud.reports import ReportStore
from celldock.cloud.table import CatalogTable
from celldock.errors import InvalidSubmission, ServiceFault
from celldock.report.model import FileFacts, Report


class Answer(StrEnum):
    """What became of an upload's event."""

    STARTED = "STARTED"
    REJECTED = "REJECTED"
    IGNORED = "IGNORED"


class Intake:
    """Answers uploads of one inbox; the same event twice has the same outcome as once."""

    def __init__(self, inbox: str, table: CatalogTable, executions: Executions, reports: ReportStore) -> None:
        self._inbox = inbox
        self._table = table
        self._executions = executions
        self._reports = reports

    def answer(self, upload: ObjectCreated) -> Answer:
        """Records the upload and starts its run, or writes the report that rejects its key.

        Raises:
            ServiceFault: the event is about another bucket.
            TransientError, Throttled: to be repeated; nothing is lost, since the message comes back.
        """
        if upload.bucket != self._inbox:
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

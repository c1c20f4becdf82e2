"""Reports, written where the submitter looks for them: in the inbox bucket, under the reports prefix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celldock.canonical import canonical_json
from celldock.catalog.keys import curation_key, report_key
from celldock.cloud.objects import ObjectStore
from celldock.report.model import Report


class ReportStore:
    """The reports prefix of the inbox bucket."""

    def __init__(self, inbox: ObjectStore) -> None:
        self._inbox = inbox

    def put(self, key: str, version_id: str, run: int, report: Report) -> str:
        """Writes the report on one run of an upload, and gives its key. Writing it again changes nothing."""
        name = report_key(key, version_id, run)
        self._inbox.put_bytes(name, _markup_free(canonical_json(report.to_json())), "application/json")
        return name

    def put_record(self, key: str, version_id: str, run: int, record: Mapping[str, Any]) -> str:
        """Writes what a run has done to an upload by its config, beside the report, and gives its key."""
        name = curation_key(report_key(key, version_id, run))
        self._inbox.put_bytes(name, _markup_free(canonical_json(record)), "application/json")
        return name


def _markup_free(document: bytes) -> bytes:
    """The same JSON without `<`, `>` and `&`: names from a stranger's file stay text wherever a report is shown."""
    return document.replace(b"<", rb"\u003c").replace(b">", rb"\u003e").replace(b"&", rb"\u0026")

"""One file validated whole, in this process: planned, scanned and judged by the rules of a schema version.

On AWS the same functions are called by the steps Plan, Scan and Validate: see `celldock.cloud.steps`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from celldock.errors import InvalidSubmission
from celldock.h5ad.source import ByteSource
from celldock.plan import Progress, make_plan, scan_file
from celldock.report import FileFacts, Report
from celldock.schema import Schema, Setting, validate


@dataclass(frozen=True, slots=True)
class Companion:
    """A file that comes with an h5ad file; `passed_over` names another one of its kind, which does not count."""

    source: ByteSource
    passed_over: str = ""


@dataclass(frozen=True, slots=True)
class Companions:
    """The files that come with an h5ad file."""

    fragments: Companion | None = None


def validate_file(
    source: ByteSource,
    schema: Schema,
    *,
    scratch: Path,
    progress: Progress | None = None,
    companions: Companions | None = None,
    pre_analysis: bool = False,
) -> Report:
    """Applies every rule of `schema` to the file, the rules on the values of its matrices included.

    `scratch` is a local folder for matrices that are stored by columns or in large chunks, and for fragments that are
    not sorted. `progress` is told how many stored elements of the matrices have been scanned, and how many there are;
    after that, the same of a fragment file's bytes. `companions` are the files that come with it; rules that need to
    know what there is do not run where it is None. `pre_analysis` says whether it is for a pre-analysis collection.
    A file that is refused is reported too, with the one finding that says why. Memory: that of the plan, of a scanned
    partition, of the rules, or of the check of a fragment file, whichever needs most. Raises what the sources raise.
    """
    try:
        planned = make_plan(source, [], formats=[])
    except InvalidSubmission as refusal:
        facts = FileFacts(name=source.name, size=source.size)
        return Report.refused(refusal, schema_version=schema.version, file=facts, schema_url=schema.url)
    scan = scan_file(source, planned, scratch=scratch, progress=progress)
    header = planned.plan.header
    fragments = companions.fragments if companions else None
    known = None if companions is None else fragments is not None
    setting = Setting(fragments=known, pre_analysis=pre_analysis)
    report = validate(source, schema, header=header, scan=scan, setting=setting)
    if fragments is None:
        return report
    # Few files have one.
    from celldock.schema.fragments import validate_fragments

    told = _Told(fragments.source, progress) if progress else fragments.source
    verdict = validate_fragments(
        source, told, schema, header=header, scratch=scratch, passed_over=fragments.passed_over
    )
    facts = FileFacts(name=fragments.source.name, size=fragments.source.size)
    return report.with_companion(facts, verdict.findings, verdict.checked)


class _Told:
    """A source that tells how far it has been read."""

    def __init__(self, source: ByteSource, progress: Progress) -> None:
        self._source = source
        self._progress = progress

    @property
    def size(self) -> int:
        return self._source.size

    @property
    def name(self) -> str:
        return self._source.name

    def read(self, offset: int, length: int) -> bytes:
        self._progress(offset, self._source.size)
        return self._source.read(offset, length)

"""What is fuzzed: a file's whole way through the service's own functions, as `celldock.cloud.steps` composes them.

Documents travel between the steps as bytes, as they do there; folders stand in for S3.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from celldock.catalog.records import DEFAULT_SCHEMA_VERSIONS
from celldock.curating import curate_file
from celldock.curation import read_curation
from celldock.errors import InvalidSubmission, NotFeasible, ServiceFault
from celldock.formats.manifest import make_manifest
from celldock.formats.protocol import FormatPlan, Part, Subject
from celldock.formats.registry import FORMATS, get_format
from celldock.formats.sink import LocalSink
from celldock.h5ad.accounting.accounting import account
from celldock.h5ad.layout import FileLayout
from celldock.h5ad.source import ByteSource, LocalSource
from celldock.labelling import label_file
from celldock.plan import Plan, make_plan, scan_partition
from celldock.report import FileFacts, Report
from celldock.report.text import render_text
from celldock.scan import ScanResult, read_partial
from celldock.schema import load_schema, validate

_SCHEMA = load_schema(DEFAULT_SCHEMA_VERSIONS[0])
_CURATION = read_curation(b"""
uns: {title: Curated, organism_ontology_term_id: Homo sapiens}
obs:
  assay_ontology_term_id: 10x 3' v3
  tissue_ontology_term_id: {tissue_type: {tissue: blood}}
  sex_ontology_term_id: {column: sex_ontology_term_id}
unmapped: unknown
genes: {unknown: drop}
matrices: {layers.before: X}
""")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a file ended. `codes` are those of the report's errors; `refused` says that Plan let it go no further."""

    valid: bool
    codes: tuple[str, ...]
    refused: bool


def ingest(data: bytes, folder: Path, tolerated: frozenset[str] = frozenset()) -> Outcome:
    """Takes a file through all steps, in a new folder below `folder`. What it raises would end as FAILED.

    It is converted unless it has errors of other codes than those that are `tolerated`.
    """
    with TemporaryDirectory(dir=folder) as own:
        path = Path(own) / "submitted.h5ad"
        path.write_bytes(data)
        return _ingest(LocalSource(path), Path(own), tolerated)


def _ingest(source: ByteSource, folder: Path, tolerated: frozenset[str]) -> Outcome:
    try:
        planned = make_plan(source, list(FORMATS))
    except InvalidSubmission as refusal:
        facts = FileFacts(name=source.name, size=source.size)
        report = Report.refused(refusal, schema_version=_SCHEMA.version, file=facts, schema_url=_SCHEMA.url)
        return _outcome(report, refused=True)
    plan = Plan.from_bytes(planned.plan.to_bytes())
    layout = FileLayout.from_bytes(planned.layout.to_bytes())
    scan = ScanResult(plan.scan.rows)
    for refusal in plan.scan.refusals:
        scan.add(refusal)
    for partition in plan.scan.partitions:
        partial = scan_partition(source, plan.scan, layout, partition, scratch=folder)
        scan.add(read_partial(partial.to_bytes()))
    scan.check_complete()
    report = validate(source, _SCHEMA, header=plan.header, scan=scan)
    outcome = _outcome(report, refused=False)
    if tolerated.issuperset(outcome.codes):
        _label(source, folder)
        for planned_format in plan.formats:
            _convert(Subject(source, plan.header, layout), planned_format, folder)
    _curate(source, folder)
    return outcome


def _curate(source: ByteSource, folder: Path) -> None:
    """Curates the file, valid or not. What cannot be done is the submitter's to mend, and ends as INVALID."""
    with suppress(InvalidSubmission), curate_file(source, _CURATION, _SCHEMA, scratch=folder) as curated:
        json.dumps(curated.to_json(), allow_nan=False)
        assert curated.file is not None
        curated.file.read(0, curated.file.size)


def _label(source: ByteSource, folder: Path) -> None:
    """Labels the file. Bytes that contradict each other where no rule looks make the artifact SKIPPED."""
    with suppress(InvalidSubmission), label_file(source, _SCHEMA, scratch=folder) as labelled:
        if not account(labelled.file).clean:
            raise ServiceFault("the labelled file holds what no object reaches", code="fuzz.residue")


def _convert(subject: Subject, planned: FormatPlan, folder: Path) -> None:
    """Makes an artifact, which is SKIPPED where bytes contradict each other in places that no rule looks at."""
    if not planned.feasible:
        return
    converter = get_format(planned.format)
    sink = LocalSink(folder / planned.format, folder)
    try:
        parts = [converter.convert(subject, partition, sink).to_json() for partition in planned.partitions]
        made = converter.assemble(subject, [Part.from_json(part) for part in parts], sink)
    except (InvalidSubmission, NotFeasible):
        return
    manifest = make_manifest(planned, made.files, made.omitted)
    missing = [file.path for file in manifest.files if not (folder / planned.format / file.path).is_file()]
    if missing or not manifest.files:
        raise ServiceFault(f"{planned.format} lacks {missing or 'all'} files", code="fuzz.artifact")


def _outcome(report: Report, *, refused: bool) -> Outcome:
    """What the report says, once it is sure that it can be written and shown."""
    text = json.dumps(report.to_json(), ensure_ascii=False, allow_nan=False).encode()
    if Report.from_json(json.loads(text)) != report:
        raise ServiceFault("the report does not survive being written", code="fuzz.report")
    render_text(report).encode()
    errors = [finding for finding in report.findings if finding.severity == "error"]
    if report.valid == bool(errors) or not all(error.code and error.message for error in errors):
        raise ServiceFault("the report gives no reason", code="fuzz.report")
    return Outcome(report.valid, tuple(error.code for error in errors), refused)

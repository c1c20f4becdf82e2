"""Validation: all rules of a schema version over one file, in one round."""

from __future__ import annotations

from collections.abc import Sequence

from celldock.errors import InvalidSubmission
from celldock.h5ad.file import open_h5ad
from celldock.h5ad.headers import Header
from celldock.h5ad.source import ByteSource
from celldock.report import FileFacts, Finding, Report, Summary
from celldock.scan import ScanResult
from celldock.schema.facts import Tables
from celldock.schema.loading import AppliedRule, Schema
from celldock.schema.reference import Reference, open_reference
from celldock.schema.registry import Context, Setting, Skip


def validate(
    source: ByteSource,
    schema: Schema,
    *others: Schema,
    header: Header | None = None,
    scan: ScanResult | None = None,
    facts: FileFacts | None = None,
    reference: Reference | None = None,
    setting: Setting | None = None,
) -> Report:
    """Applies every rule of a schema and reports all findings at once.

    A file that states in uns/schema_version that it is in one of the `others` is checked by that one, any other file by
    `schema`. `header` comes from a plan, whose guard has let the file pass; without one the file is guarded here.
    `scan` is what a scan of the values found: without it, rules that need it do not run. `facts` say where the file
    came from (default: the source's name and size). `reference` has the terms and genes of that schema (default: those
    that the installation has). `setting` says what comes with the file and where it belongs; a fragment file itself is
    checked by `celldock.schema.fragments`.
    A file that cannot be read is reported too, with the one finding that says why. Raises what the source raises.

    >>> validate(LocalSource(Path("cells.h5ad")), load_schema("7.1.0")).valid
    True
    """
    facts = facts or FileFacts(name=source.name, size=source.size)
    try:
        with open_h5ad(source) as file:
            if header is None:
                file.guard()
                header = file.header()
            tables = Tables(file, header)
            schema = stated_schema(tables, others) or schema
            reference = reference or open_reference(schema.version)
            return _report(tables, scan, schema, reference, facts, setting or Setting())
    except InvalidSubmission as error:
        return Report.refused(error, schema_version=schema.version, file=facts, schema_url=schema.url)


def stated_schema(tables: Tables, schemas: Sequence[Schema]) -> Schema | None:
    """The schema that the file says it is in, if it is one of these."""
    header = tables.element_header("uns/schema_version")
    if header is None or (header.kind, header.dtype) != ("scalar", "str"):
        return None
    stated = tables.element(header.path)
    return next((schema for schema in schemas if schema.version == stated), None)


def _report(
    tables: Tables,
    scan: ScanResult | None,
    schema: Schema,
    reference: Reference,
    facts: FileFacts,
    setting: Setting,
) -> Report:
    findings: list[Finding] = []
    refusals: list[Finding] = []
    checked: list[str] = []
    for applied in schema.rules:
        context = Context(tables, scan, reference, applied.code, applied.severity, applied.schema_url, setting)
        found, refusal, complete = _run(context, applied)
        findings += [finding for finding in found if finding not in findings]
        if refusal is not None and refusal not in refusals:
            refusals.append(refusal)
        if complete:
            checked.append(applied.code)
    # Several rules may stumble over the same damaged bytes: the submitter is told once.
    damaged = {finding.where for finding in findings if finding.code.endswith("damaged")}
    findings += [refusal for refusal in refusals if refusal.where not in damaged]
    summary = _summary(tables.header)
    return Report.of(
        findings,
        schema_version=schema.version,
        file=facts,
        checked=checked,
        summary=summary,
        reference=reference.versions,
    )


def _run(context: Context, applied: AppliedRule) -> tuple[list[Finding], Finding | None, bool]:
    """What one rule finds, what kept it from reading on, and whether it ran to its end.

    It does not where its input is missing or damaged.
    """
    found: list[Finding] = []
    try:
        found.extend(applied.rule.check(context, **applied.parameters))
    except Skip:
        return found, None, False
    except InvalidSubmission as error:
        return found, Finding.refusal(error), False
    return found, None, True


def _summary(header: Header) -> Summary:
    return Summary(
        n_obs=header.n_obs,
        n_vars=header.n_vars,
        nnz=header.x.nnz if header.x else None,
        x_encoding=header.x.encoding if header.x else None,
        embeddings=tuple(array.key for array in header.obsm if array.key.startswith("X_")),
        obs_columns=tuple(column.name for column in header.obs.columns),
    )

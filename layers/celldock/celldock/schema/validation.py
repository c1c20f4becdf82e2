"""Validation: all rules of a schema version over one file, in one round."""

from __future__ import annotations

from celldock.errors import InvalidSubmission
from celldock.h5ad.file import H5adFile, open_h5ad
from celldock.h5ad.headers import Header
from celldock.h5ad.source import ByteSource
from celldock.report import FileFacts, Finding, Report, Summary
from celldock.scan import ScanResult
from celldock.schema.loading import AppliedRule, Schema
from celldock.schema.registry import Context, Skip


def validate(
    source: ByteSource,
    schema: Schema,
    *,
    header: Header | None = None,
    scan: ScanResult | None = None,
    facts: FileFacts | None = None,
) -> Report:
    """Applies every rule of `schema` and reports all findings at once.

    `header` comes from a plan, whose guard has let the file pass; without one the file is guarded here. `scan` is what
    a scan of the values found: without it, rules that need it do not run. `facts` say where the file came from
    (default: the source's name and size).
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
            return _report(file, header, scan, schema, facts)
    except InvalidSubmission as error:
        return Report.refused(error, schema_version=schema.version, file=facts, schema_url=schema.url)


def _report(file: H5adFile, header: Header, scan: ScanResult | None, schema: Schema, facts: FileFacts) -> Report:
    findings: list[Finding] = []
    checked: list[str] = []
    for applied in schema.rules:
        found, complete = _run(file, header, scan, applied)
        # Several rules may stumble over the same damaged bytes: the submitter is told once.
        findings += [finding for finding in found if finding not in findings]
        if complete:
            checked.append(applied.code)
    return Report.of(findings, schema_version=schema.version, file=facts, checked=checked, summary=_summary(header))


def _run(file: H5adFile, header: Header, scan: ScanResult | None, applied: AppliedRule) -> tuple[list[Finding], bool]:
    """What one rule finds, and whether it ran to its end: not where its input is missing or damaged."""
    context = Context(file, header, scan, applied.code, applied.severity, applied.schema_url)
    found: list[Finding] = []
    try:
        found.extend(applied.rule.check(context, **applied.parameters))
    except Skip:
        return found, False
    except InvalidSubmission as error:
        return [*found, Finding.refusal(error)], False
    return found, True


def _summary(header: Header) -> Summary:
    return Summary(
        n_obs=header.n_obs,
        n_vars=header.n_vars,
        nnz=header.x.nnz if header.x else None,
        x_encoding=header.x.encoding if header.x else None,
        embeddings=tuple(array.key for array in header.obsm if array.key.startswith("X_")),
        obs_columns=tuple(column.name for column in header.obs.columns),
    )

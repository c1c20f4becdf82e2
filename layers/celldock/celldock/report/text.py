"""A report as plain text for a terminal.

Names in a submitted file may hold control characters that would move a terminal's cursor or reverse its text: all of
them are shown escaped.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

from celldock.report.model import Finding, Report

_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def printable(text: str) -> str:
    r"""Escapes what a terminal would act upon rather than show: `"a\x1b[2J"` becomes `"a\\x1b[2J"`."""
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _UNSAFE else character
        for character in text
    )


def render_text(report: Report) -> str:
    """The report as lines of text: the verdict, then each finding with its place, examples and suggestion."""
    return "\n".join(_lines(report)) + "\n"


def render_findings(findings: Iterable[Finding]) -> str:
    """Findings alone, with a blank line between them."""
    return "\n\n".join("\n".join(_finding(finding)) for finding in findings) + "\n"


def _lines(report: Report) -> Iterator[str]:
    verdict = "valid" if report.valid else "not valid"
    names = " with ".join(printable(file.name) for file in (report.file, *report.companions))
    yield f"{names} is {verdict} by schema {printable(report.schema_version)}."
    yield from _summary(report)
    for finding in report.findings:
        yield ""
        yield from _finding(finding)
    yield ""
    yield f"{_plural(report.errors, 'error')}, {_plural(report.warnings, 'warning')}; " + (
        f"{_plural(len(report.checked), 'rule')} checked." if report.checked else "the file could not be read."
    )


def _summary(report: Report) -> Iterator[str]:
    summary = report.summary
    if summary.n_obs is None or summary.n_vars is None:
        return
    parts = [_plural(summary.n_obs, "cell"), _plural(summary.n_vars, "gene")]
    if summary.nnz is not None:
        parts.append(f"{summary.nnz:,} stored values ({summary.x_encoding})")
    if summary.embeddings:
        parts.append("embeddings " + ", ".join(map(printable, summary.embeddings)))
    yield ", ".join(parts) + "."


def _finding(finding: Finding) -> Iterator[str]:
    yield f"{finding.severity.upper()} {finding.code}" + (f" at {printable(finding.where)}" if finding.where else "")
    yield f"  {printable(finding.message)}"
    if finding.examples:
        more = "" if finding.count <= len(finding.examples) else f" (of {finding.count:,})"
        yield f"  For example{more}: {', '.join(map(printable, finding.examples))}"
    if finding.suggestion:
        yield f"  → {printable(finding.suggestion)}"
    if finding.schema_url:
        yield f"  See {finding.schema_url}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")

"""report.json, a contract with submitters' scripts, and the same as text for a terminal."""

from __future__ import annotations

import json

import jsonschema
import pytest
from pydantic import ValidationError

from celldock import __version__
from celldock.errors import InvalidSubmission
from celldock.report import FileFacts, Finding, Report, Summary, render_text
from celldock.report.text import printable

FILE = FileFacts(name="cells.h5ad", size=1234)


def a_finding(**changes: object) -> Finding:
    known = {
        "code": "obs.index.duplicates",
        "severity": "error",
        "where": "obs/_index",
        "message": "2 cells share their name with another.",
        "count": 2,
        "examples": ("AAAC (2 cells)",),
        "suggestion": "Make them unique.",
        "schema_url": "https://example.org/schema#index",
    }
    return Finding.model_validate(known | changes)


def a_report(*findings: Finding) -> Report:
    summary = Summary(n_obs=20, n_vars=1, nnz=1000, x_encoding="csr", embeddings=("X_umap",), obs_columns=("donor_id",))
    return Report.of(findings, schema_version="7.1.0", file=FILE, checked=("obs.index.duplicates",), summary=summary)


def test_the_document_has_exactly_the_keys_of_the_contract() -> None:
    assert a_report(a_finding()).to_json() == {
        "report_version": 1,
        "schema_version": "7.1.0",
        "valid": False,
        "file": {"name": "cells.h5ad", "size": 1234, "key": None, "version_id": None, "etag": None},
        "findings": [
            {
                "code": "obs.index.duplicates",
                "severity": "error",
                "where": "obs/_index",
                "message": "2 cells share their name with another.",
                "count": 2,
                "examples": ["AAAC (2 cells)"],
                "suggestion": "Make them unique.",
                "schema_url": "https://example.org/schema#index",
            }
        ],
        "checked": ["obs.index.duplicates"],
        "summary": {
            "n_obs": 20,
            "n_vars": 1,
            "nnz": 1000,
            "x_encoding": "csr",
            "embeddings": ["X_umap"],
            "obs_columns": ["donor_id"],
        },
        "made_by": {"name": "celldock", "version": __version__},
        "reference": {},
        "companions": [],
    }


def test_a_report_survives_json_and_fits_its_published_schema() -> None:
    for report in (a_report(), a_report(a_finding(), a_finding(severity="warning"))):
        document = json.loads(json.dumps(report.to_json()))
        assert Report.from_json(document) == report
        jsonschema.validate(document, Report.model_json_schema(mode="serialization"))


@pytest.mark.parametrize("change", [{"report_version": 2}, {"surprise": 1}, {"findings": [{"code": "x"}]}])
def test_another_document_is_no_report(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Report.from_json(a_report().to_json() | change)


def test_warnings_alone_leave_a_file_valid_and_errors_come_first() -> None:
    warning, error = a_finding(severity="warning", code="w"), a_finding(code="e")
    assert a_report(warning).valid
    mixed = a_report(warning, error)
    assert not mixed.valid
    assert [finding.code for finding in mixed.findings] == ["e", "w"]
    assert (mixed.errors, mixed.warnings) == (1, 1)


def test_a_refused_file_gets_the_same_document() -> None:
    error = InvalidSubmission("cells.h5ad is empty.", code="file.empty", where="cells.h5ad", hint="Upload it again.")
    report = Report.refused(error, schema_version="7.1.0", file=FILE)
    assert (report.valid, report.checked) == (False, ())
    assert report.findings[0].code == "file.empty"
    assert report.findings[0].suggestion == "Upload it again."
    assert report.to_json().keys() == a_report().to_json().keys()
    assert "could not be read" in render_text(report)


def test_what_a_file_says_is_bounded_and_can_always_be_written() -> None:
    finding = a_finding(where="obs/" + "x" * 10_000, examples=("y" * 10_000, "lone \udcff surrogate"))
    assert len(finding.where) == 2000
    assert len(finding.examples[0]) == 200
    assert finding.examples[1] == "lone \\udcff surrogate"
    json.dumps(a_report(finding).to_json(), ensure_ascii=False).encode()
    with pytest.raises(ValidationError):
        a_finding(examples=tuple("abcdef"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("T cell", "T cell"),
        ("Zellkörper 細胞", "Zellkörper 細胞"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("line\r\nline", "line\\r\\nline"),
        ("\x9b31m", "\\x9b31m"),
        ("safe\u202egnp.exe", "safe\\u202egnp.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
    ],
)
def test_control_characters_of_a_file_are_shown_not_obeyed(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_the_text_tells_verdict_place_examples_and_suggestion() -> None:
    text = render_text(a_report(a_finding(where="obs/\x1b[2J", count=7)))
    assert text.splitlines() == [
        "cells.h5ad is not valid by schema 7.1.0.",
        "20 cells, 1 gene, 1,000 stored values (csr), embeddings X_umap.",
        "",
        "ERROR obs.index.duplicates at obs/\\x1b[2J",
        "  2 cells share their name with another.",
        "  For example (of 7): AAAC (2 cells)",
        "  → Make them unique.",
        "  See https://example.org/schema#index",
        "",
        "1 error, 0 warnings; 1 rule checked.",
    ]

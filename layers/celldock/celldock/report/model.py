"""The report: what celldock found in one file, as report.json.

The document is a contract with submitters' scripts: its JSON Schema is `Report.model_json_schema()`, finding codes are
stable, and a change that would break a reader raises `REPORT_VERSION`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from celldock import __version__
from celldock.errors import InvalidSubmission

REPORT_VERSION = 1
MAX_EXAMPLES = 5
MAX_EXAMPLE_CHARACTERS = 200
MAX_TEXT_CHARACTERS = 2000

Severity = Literal["error", "warning"]


def _clip(limit: int) -> BeforeValidator:
    """Bounds a text that quotes a submitted file, and makes it one that can be written as UTF-8."""

    def clip(value: object) -> object:
        if not isinstance(value, str):
            return value
        text = value.encode("utf-8", "backslashreplace").decode()
        return text if len(text) <= limit else text[: limit - 1] + "…"

    return BeforeValidator(clip)


Text = Annotated[str, _clip(MAX_TEXT_CHARACTERS)]
Example = Annotated[str, _clip(MAX_EXAMPLE_CHARACTERS)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(_Model):
    """One thing that is wrong with a file.

    `code` is stable, `where` a path inside the file, `message` one sentence for a biologist, `count` how many cells,
    genes or elements it concerns, `examples` up to five of them by name, `suggestion` how to mend it ("" where
    nothing can be computed), `schema_url` the section of the schema that asks for it.
    """

    code: str
    severity: Severity
    where: Text
    message: Text
    count: int = 1
    examples: Annotated[tuple[Example, ...], Field(max_length=MAX_EXAMPLES)] = ()
    suggestion: Text = ""
    schema_url: str = ""

    @classmethod
    def refusal(cls, error: InvalidSubmission, *, schema_url: str = "") -> Self:
        """The finding that an error about the submitter's data carries."""
        return cls(
            code=error.code,
            severity="error",
            where=error.where,
            message=error.message,
            suggestion=error.hint,
            schema_url=schema_url,
        )


class FileFacts(_Model):
    """Which file the report is about: its name and size in bytes; key, version and etag where it came from a bucket."""

    name: Text
    size: int
    key: str | None = None
    version_id: str | None = None
    etag: str | None = None


class Summary(_Model):
    """What is in the file. Everything is None or empty where the file could not be read."""

    n_obs: int | None = None
    n_vars: int | None = None
    nnz: int | None = None
    x_encoding: str | None = None
    embeddings: tuple[Text, ...] = ()
    obs_columns: tuple[Text, ...] = ()


class MadeBy(_Model):
    """The program that wrote the report."""

    name: str = "celldock"
    version: str = __version__


class Report(_Model):
    """The document report.json.

    `checked` lists the codes of all rules that ran to their end, clean or not; `reference` has the version of each
    ontology and gene set that they went by. `companions` are the files beside it that were checked with it.
    """

    report_version: Literal[1] = REPORT_VERSION
    schema_version: str
    valid: bool
    file: FileFacts
    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    summary: Summary
    made_by: MadeBy
    reference: dict[str, str] = {}
    companions: tuple[FileFacts, ...] = ()

    @classmethod
    def of(
        cls,
        findings: Iterable[Finding],
        *,
        schema_version: str,
        file: FileFacts,
        checked: Sequence[str],
        summary: Summary,
        reference: Mapping[str, str] | None = None,
    ) -> Self:
        """A report on these findings, errors first; valid if none of them is an error."""
        ordered = tuple(sorted(findings, key=lambda finding: finding.severity != "error"))
        return cls(
            schema_version=schema_version,
            valid=all(finding.severity != "error" for finding in ordered),
            file=file,
            findings=ordered,
            checked=tuple(checked),
            summary=summary,
            made_by=MadeBy(),
            reference=dict(reference or {}),
        )

    @classmethod
    def refused(cls, error: InvalidSubmission, *, schema_version: str, file: FileFacts, schema_url: str = "") -> Self:
        """The report on a file that could not be read: one finding, nothing checked."""
        finding = Finding.refusal(error, schema_url=schema_url)
        return cls.of([finding], schema_version=schema_version, file=file, checked=(), summary=Summary())

    def with_companion(self, facts: FileFacts, findings: Iterable[Finding], checked: Iterable[str]) -> Self:
        """This report and what was found in a file beside the one that it is about."""
        known = list(self.findings)
        whole = self.of(
            [*known, *(finding for finding in findings if finding not in known)],
            schema_version=self.schema_version,
            file=self.file,
            checked=[*self.checked, *(code for code in checked if code not in self.checked)],
            summary=self.summary,
            reference=self.reference,
        )
        return whole.model_copy(update={"companions": (*self.companions, facts)})

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """How many findings are warnings."""
        return len(self.findings) - self.errors

    def to_json(self) -> dict[str, Any]:
        """The document report.json, for `json.dumps`."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The report that `to_json` wrote; raises pydantic's ValidationError for anything else."""
        return cls.model_validate(data)

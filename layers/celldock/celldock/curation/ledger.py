"""What a curation has done and what stands in its way: written down as it goes, told all at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from celldock.errors import InvalidSubmission
from celldock.report import Finding
from celldock.report.model import MAX_EXAMPLES


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is other than it was.

    Attributes:
        code: stable: `obs.mapped`, `genes.dropped`.
        where: a path inside the file: `obs/cell_type_ontology_term_id`.
        message: one sentence.
        count: cells, genes or values that it concerns.
        details: all of it, by name: {"T cell": "CL:0000084"}; or names alone.
    """

    code: str
    where: str
    message: str
    count: int = 0
    details: Mapping[str, str] | tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A document for `json.dumps`."""
        return asdict(self)


class CurationRefused(InvalidSubmission):
    """A config and a file that do not fit together; `findings` are all that is wrong, errors and warnings."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        errors = [finding for finding in self.findings if finding.severity == "error"]
        first = errors[0]
        more = f" There are {len(errors) - 1:,} more problems." if len(errors) > 1 else ""
        super().__init__(first.message + more, code=first.code, where=first.where, hint=first.suggestion)


@dataclass
class Ledger:
    """The changes and findings of one curation, in the order in which they came up."""

    changes: list[Change] = field(default_factory=list[Change])
    findings: list[Finding] = field(default_factory=list[Finding])

    def change(
        self, code: str, where: str, message: str, count: int = 0, details: Mapping[str, str] | tuple[str, ...] = ()
    ) -> None:
        """Notes what is changed."""
        self.changes.append(Change(code, where, message, count, details))

    def problem(
        self,
        code: str,
        where: str,
        message: str,
        *,
        count: int = 1,
        examples: Iterable[str] = (),
        suggestion: str = "",
    ) -> None:
        """Notes what nothing can be done about but by the submitter. `where` is a line of the config, or a path."""
        self.findings.append(
            Finding(
                code=code,
                severity="error",
                where=where,
                message=message,
                count=count,
                examples=tuple(examples)[:MAX_EXAMPLES],
                suggestion=suggestion,
            )
        )

    def warn(
        self,
        code: str,
        where: str,
        message: str,
        *,
        count: int = 1,
        examples: Iterable[str] = (),
        suggestion: str = "",
    ) -> None:
        """Notes what somebody should look at."""
        self.problem(code, where, message, count=count, examples=examples, suggestion=suggestion)
        self.findings[-1] = self.findings[-1].model_copy(update={"severity": "warning"})

    def check(self) -> None:
        """Raises CurationRefused if there is any problem."""
        if any(finding.severity == "error" for finding in self.findings):
            raise CurationRefused(self.findings)

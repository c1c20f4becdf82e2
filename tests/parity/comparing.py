"""Two verdicts on one file, and what the schema's text decides where they differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from celldock.h5ad.source import LocalSource
from celldock.report import Report
from celldock.schema import load_schema
from celldock.validating import validate_file
from tests.parity.peer import PeerVerdict

DECIDED = Path(__file__).with_name("decided.json")

type Agreement = Literal["equal", "decided", "stricter", "laxer"]


class Decision(BaseModel):
    """A difference that the schema's text decides.

    Attributes:
        id: of the decision, a few words with dashes.
        celldock: whether celldock is stricter or laxer than cellxgene-schema.
        versions: of the schema.
        sentence: of the schema, word for word.
        section: its anchor in the schema's text.
        why: what follows from it, and what cellxgene-schema does instead.
        codes: of celldock's findings where it is stricter; patterns with `*`.
        messages: of cellxgene-schema where it is stricter; regular expressions, each found somewhere in an error.
        cases: the files that it is about, by their ids; patterns with `*`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    celldock: Literal["stricter", "laxer"]
    versions: tuple[str, ...] = ("7.1.0",)
    sentence: str
    section: str
    why: str
    codes: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    cases: tuple[str, ...] = ("*",)

    def covers(self, case: str, complaint: str) -> bool:
        """Whether it decides about a code of celldock's, or an error of cellxgene-schema's, in a file."""
        if not any(fnmatchcase(case, pattern) for pattern in self.cases):
            return False
        if self.celldock == "stricter":
            return any(fnmatchcase(complaint, pattern) for pattern in self.codes)
        return any(re.search(pattern, complaint) for pattern in self.messages)


class _Decisions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Both verdicts on a file. `by` are the ids of the decisions that settle a difference."""

    case: str
    agreement: Agreement
    report: Report
    peer: PeerVerdict
    by: tuple[str, ...] = ()

    def __str__(self) -> str:
        findings = [f"  celldock          {each.code} at {each.where}: {each.message}" for each in self.report.findings]
        errors = [f"  cellxgene-schema  {error.splitlines()[0]}" for error in self.peer.errors]
        return "\n".join([f"{self.case}: celldock is {self.agreement}", *findings, *errors])


@cache
def decisions() -> tuple[Decision, ...]:
    """All that is decided."""
    return _Decisions.model_validate_json(DECIDED.read_bytes()).decisions


def judge(path: Path, version: str, scratch: Path, *, pre_analysis: bool = False) -> Report:
    """celldock's report on a file, its values included."""
    return validate_file(LocalSource(path), load_schema(version), scratch=scratch, pre_analysis=pre_analysis)


def compare(case: str, report: Report, peer: PeerVerdict) -> Outcome:
    """Whether both verdicts are equal, or which decisions settle that they differ."""
    if report.valid == peer.valid:
        return Outcome(case, "equal", report, peer)
    if peer.valid:
        complaints: Sequence[str] = [each.code for each in report.findings if each.severity == "error"]
        agreement: Agreement = "stricter"
    else:
        complaints, agreement = peer.errors, "laxer"
    settled = [_settling(case, report.schema_version, agreement, complaint) for complaint in complaints]
    if settled and all(settled):
        return Outcome(case, "decided", report, peer, tuple(dict.fromkeys(each for each in settled if each)))
    return Outcome(case, agreement, report, peer)


def _settling(case: str, version: str, agreement: Agreement, complaint: str) -> str | None:
    """The id of the decision about a complaint."""
    for decision in decisions():
        if (
            decision.celldock == agreement
            and version in decision.versions
            and decision.covers(case, complaint.removeprefix("ERROR: "))
        ):
            return decision.id
    return None

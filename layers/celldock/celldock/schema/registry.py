"""What a rule is, and the registry of all rules.

A rule is a small generator with a stable finding code. A schema version's data file (`versions/*.json`) lists which
rules apply, with which parameters. A new rule is one function here under `rules/` and one line in each version.

>>> @rule("x.missing")
... def x_missing(context: Context) -> Iterator[Finding]:
...     if context.header.x is None:
...         yield context.finding("X", "The file has no X, the matrix of cells by genes.")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from celldock.h5ad.file import H5adFile
from celldock.h5ad.headers import FrameHeader, Header
from celldock.report import Finding, Severity
from celldock.report.model import MAX_EXAMPLES
from celldock.scan import MatrixScan, ScanResult

Check = Callable[..., Iterator[Finding]]


class Skip(Exception):
    """Raised by a rule whose input is not in the file: nothing was checked, another rule says what is missing."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A registered rule; `code` may name parameters in braces, which each application fills in."""

    name: str
    code: str
    check: Check


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule works with: the open file, its header, what the scan of its values found, how findings are labelled.

    `scan` is None where the values were not scanned.
    """

    file: H5adFile
    header: Header
    scan: ScanResult | None
    code: str
    severity: Severity
    schema_url: str

    def frame(self, name: str) -> FrameHeader:
        """The header of `obs`, `var` or `raw.var`; raises Skip if the file has none."""
        frames = {"obs": self.header.obs, "var": self.header.var, "raw.var": self.header.raw_var}
        frame = frames[name]
        if frame is None:
            raise Skip
        return frame

    def scanned(self) -> ScanResult:
        """What the scan found; raises Skip if there was none."""
        if self.scan is None:
            raise Skip
        return self.scan

    def values(self, matrix: str) -> list[MatrixScan]:
        """The scans of `x`, of `raw`, or of all `layers`; raises Skip unless the file has them, wholly readable."""
        header = self.header
        headers = {"x": [header.x], "raw": [header.raw_x], "layers": header.layers}[matrix]
        scans = [self.scanned().matrix(found.path) for found in headers if found is not None]
        if not scans or None in scans:
            raise Skip
        return [scan for scan in scans if scan is not None]

    def finding(
        self, where: str, message: str, *, count: int = 1, examples: Iterable[str] = (), suggestion: str = ""
    ) -> Finding:
        """A finding of this rule; only the first few examples are kept."""
        return Finding(
            code=self.code,
            severity=self.severity,
            where=where,
            message=message,
            count=count,
            examples=tuple(examples)[:MAX_EXAMPLES],
            suggestion=suggestion,
            schema_url=self.schema_url,
        )


_rules: dict[str, Rule] = {}


def rule(code: str) -> Callable[[Check], Check]:
    """Registers a rule under its function's name. `code` is that of its findings and never changes."""

    def register(check: Check) -> Check:
        name = check.__name__
        if name in _rules:
            raise ValueError(f"two rules are called {name}")
        _rules[name] = Rule(name, code, check)
        return check

    return register


def get_rule(name: str) -> Rule:
    """The rule of that name; raises KeyError for one that nobody registered."""
    return _rules[name]

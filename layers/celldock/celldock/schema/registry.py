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

from celldock.errors import InvalidSubmission
from celldock.h5ad.elements import Element
from celldock.h5ad.file import H5adFile
from celldock.h5ad.headers import ArrayHeader, ColumnHeader, ElementHeader, FrameHeader, Header
from celldock.report import Finding, Severity
from celldock.report.model import MAX_EXAMPLES
from celldock.scan import MatrixScan, ScanResult
from celldock.schema.arrays import ArrayFacts
from celldock.schema.facts import ColumnFacts, Combination, Tables, TooManyValuesError
from celldock.schema.reference import Reference

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
class Setting:
    """What rules know of a file that it does not hold itself.

    `fragments` says whether a fragment file comes with it; None where that is not known. `pre_analysis` says whether
    it belongs to a pre-analysis collection.
    """

    fragments: bool | None = None
    pre_analysis: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule works with: the open file, what the scan of its values found, what terms and genes there are.

    `scan` is None where the values were not scanned. `code`, `severity` and `schema_url` label the rule's findings.
    """

    tables: Tables
    scan: ScanResult | None
    reference: Reference
    code: str
    severity: Severity
    schema_url: str
    setting: Setting

    @property
    def file(self) -> H5adFile:
        """The open file."""
        return self.tables.file

    @property
    def header(self) -> Header:
        """What the file declares."""
        return self.tables.header

    def frame(self, name: str) -> FrameHeader:
        """The header of `obs`, `var` or `raw.var`; raises Skip if the file has none."""
        frames = {"obs": self.header.obs, "var": self.header.var, "raw.var": self.header.raw_var}
        frame = frames[name]
        if frame is None:
            raise Skip
        return frame

    def column_header(self, frame: str, name: str) -> ColumnHeader:
        """The header of a column that can be read; raises Skip if there is none."""
        found = self.frame(frame)
        for column in found.columns:
            if column.name == name and column.kind != "unsupported":
                return column
        raise Skip

    def column(self, frame: str, name: str) -> ColumnFacts:
        """The values of a column, and how many rows have each.

        Raises Skip if there is no such column, or one of more different values than are told apart.
        """
        try:
            return self.tables.column(self.column_header(frame, name), self.frame(frame).length)
        except TooManyValuesError:
            raise Skip from None

    def combinations(self, frame: str, *names: str) -> list[Combination]:
        """The combinations of values that occur in several columns; raises Skip as `column` does."""
        try:
            columns = [self.column_header(frame, name) for name in names]
            return self.tables.combinations(columns, self.frame(frame).length)
        except TooManyValuesError:
            raise Skip from None

    def array(self, array: ArrayHeader) -> ArrayFacts:
        """Where a dense array of at least one dimension is not finite; raises InvalidSubmission for a damaged one."""
        return self.tables.array(array)

    def names(self, frame: str, rows: Iterable[int]) -> list[str]:
        """The names of the first few of these rows, in their order; `row 12` for one that cannot be named."""
        first = sorted(set(rows))[:MAX_EXAMPLES]
        try:
            return self.tables.names(self.frame(frame), first)
        except InvalidSubmission:
            return [f"row {row:,}" for row in first]

    def uns_header(self, path: str) -> ElementHeader | None:
        """What uns declares at a path, as `title` or `spatial/is_single`; None where there is nothing."""
        return self.tables.element_header(f"uns/{path}")

    def uns(self, path: str) -> Element:
        """The value of an element of uns; raises Skip where there is nothing."""
        if self.uns_header(path) is None:
            raise Skip
        return self.tables.element(f"uns/{path}")

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

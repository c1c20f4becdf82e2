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

import h5py

from celldock.h5ad.headers import FrameHeader, Header
from celldock.report import Finding, Severity
from celldock.report.model import MAX_EXAMPLES

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
    """What a rule works with: the open file, its header, and how its findings are labelled."""

    file: h5py.File
    header: Header
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

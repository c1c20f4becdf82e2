"""One message of each finding, as celldock words it on mutations of valid files: what docs/schema-rules.md shows.

python -m tests.parity.examples
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from celldock.report import Report
from celldock.schema import schema_versions
from tests.parity.comparing import judge
from tests.parity.mutations import MUTATIONS, Case

EXAMPLES = Path(__file__).with_name("examples.json")


class Example(BaseModel):
    """A message, and the id of the case that it is about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    case: str
    message: str


_EXAMPLES = TypeAdapter(Mapping[str, Mapping[str, Example]])


def first_cases() -> list[Case]:
    """Each mutation of its first base, with its first value."""
    return [Case(mutation, mutation.bases[0], 0) for mutation in MUTATIONS]


def messages(case: Case, report: Report) -> dict[str, str]:
    """The first message of each code that names the mutation: other findings may follow from it."""
    named = [finding for finding in report.findings if finding.code in case.mutation.codes]
    return {finding.code: finding.message for finding in reversed(named)}


@cache
def examples() -> Mapping[str, Mapping[str, Example]]:
    """Those that are kept, by version of the schema and code."""
    return _EXAMPLES.validate_json(EXAMPLES.read_bytes())


def _collect() -> dict[str, dict[str, Example]]:
    found: dict[str, dict[str, Example]] = {version: {} for version in schema_versions()}
    with tempfile.TemporaryDirectory() as folder:
        for case in first_cases():
            version = case.mutation.version
            report = judge(case.write(Path(folder) / "case.h5ad"), version, Path(folder))
            for code, message in messages(case, report).items():
                found[version].setdefault(code, Example(case=case.id, message=message))
    return {version: dict(sorted(of_version.items())) for version, of_version in found.items()}


def main() -> int:
    """Writes them anew."""
    warnings.simplefilter("ignore")
    document = json.loads(_EXAMPLES.dump_json(_collect()))
    EXAMPLES.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

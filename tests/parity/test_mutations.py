"""A mutation of a valid file gets the finding that names it; one that changes nothing forbidden leaves it valid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.parity.comparing import judge
from tests.parity.examples import examples, first_cases, messages
from tests.parity.mutations import MUTATIONS, Case


def test_there_are_mutations_of_every_kind() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 200


def _sampled(cases: Sequence[Case]) -> list[Any]:
    """The cases, all but every sixth marked as long."""
    return [
        pytest.param(case, id=case.id, marks=[pytest.mark.long] if number % 6 else [])
        for number, case in enumerate(cases)
    ]


@pytest.mark.parametrize("case", _sampled(first_cases()))
def test_mutation(case: Case, tmp_path: Path) -> None:
    version = case.mutation.version
    report = judge(case.write(tmp_path / "case.h5ad"), version, tmp_path)
    found = messages(case, report)
    errors = [f"{finding.code}: {finding.message}" for finding in report.findings if finding.severity == "error"]

    if case.mutation.codes:
        assert found, f"{' or '.join(case.mutation.codes)} expected of {case.mutation.values[0]!r}, found {errors}"
    else:
        assert errors == []
    kept = examples()[version]
    shown = {code: example.message for code, example in kept.items() if example.case == case.id}
    assert shown.items() <= found.items(), "run python -m tests.parity.examples"
    assert found.keys() <= kept.keys(), "run python -m tests.parity.examples"

"""celldock's verdict on each file of the corpora is that of cellxgene-schema, or the schema's text decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from celldock.schema import schema_versions
from tests.parity.comparing import compare, judge
from tests.parity.corpus import CORPORA, Entry, entries, unpack

_SAMPLE = 8
_CASES = [(version, entry) for version in CORPORA if version in schema_versions() for entry in entries(version)]
_PARAMETERS = [
    pytest.param(version, entry, id=f"{version}-{entry.name}", marks=[pytest.mark.long] if number % _SAMPLE else [])
    for number, (version, entry) in enumerate(_CASES)
] or [
    pytest.param(
        "",
        None,
        id="absent",
        marks=pytest.mark.skip("set CELLDOCK_SHARED to the folder that holds the corpora in data/"),
    )
]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The unpacked files, by version of the schema."""
    return {version: unpack(version, tmp_path_factory.mktemp(version)) for version in CORPORA if entries(version)}


@pytest.mark.parametrize(("version", "entry"), _PARAMETERS)
def test_verdict(version: str, entry: Entry, corpora: dict[str, Path], tmp_path: Path) -> None:
    report = judge(corpora[version] / entry.name, version, tmp_path, pre_analysis=entry.pre_analysis)
    outcome = compare(entry.name, report, entry.peer)

    assert outcome.agreement in {"equal", "decided"}, str(outcome)

"""Every requirement of the schema is checked by a rule, or says why no software can; and the page shows it."""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from celldock.schema import load_schema, schema_versions
from tests import builders
from tests.parity.comparing import judge

ROOT = Path(__file__).parents[2]
DOMAIN = ROOT / "layers" / "celldock" / "celldock"
table: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "rules_table.py"))
VERSIONS = schema_versions()


def requirements(version: str) -> Any:
    return table["load_requirements"](version)


@pytest.mark.parametrize(("version", "count"), [("7.1.0", 148), ("2.0.0", 54)])
def test_all_requirements_of_the_text_are_there(version: str, count: int) -> None:
    assert len(requirements(version).of_the_text()) == count


@pytest.mark.parametrize("version", VERSIONS)
def test_requirements_have_names_of_their_own(version: str) -> None:
    names = Counter(each.id for each in requirements(version).all())

    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_requirement_is_checked_or_says_why_not(version: str) -> None:
    assert [
        each.id for each in requirements(version).all() if bool(each.codes or each.outside) == bool(each.reason)
    ] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_code_is_that_of_a_rule_that_the_version_applies(version: str) -> None:
    applied = {rule.code for rule in load_schema(version).rules}
    named = {code for each in requirements(version).all() for code in each.codes}

    assert sorted(named - applied) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_no_rule_is_missing(version: str) -> None:
    applied = {rule.code for rule in load_schema(version).rules}
    named = {code for each in requirements(version).all() for code in each.codes}

    assert sorted(applied - named) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_codes_outside_the_rules_exist(version: str) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in DOMAIN.rglob("*.py"))
    outside = {code for each in requirements(version).all() for code in each.outside}

    assert [code for code in sorted(outside) if f'"{code}"' not in text] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_files_that_are_refused_get_the_codes_that_are_named(version: str, tmp_path: Path) -> None:
    makers = [builders.make_empty, builders.make_html, builders.make_truncated, builders.make_zipped]
    refused = {judge(make(tmp_path / "broken.h5ad"), version, tmp_path).findings[0].code for make in makers}
    named = {code for each in requirements(version).all() for code in each.outside}

    assert refused <= named


def test_the_pages_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert table["main"](["--check"]) == 0, capsys.readouterr().err

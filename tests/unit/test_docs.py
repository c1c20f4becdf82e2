"""What the docs show is what celldock does."""

import json
import re
from pathlib import Path

import pytest

from celldock.catalog.keys import Rejection, parse_upload_key
from celldock.catalog.states import VersionState
from celldock.cloud.steps.subjects import FORMAT
from celldock.formats.registry import FORMATS
from celldock.report import Report
from celldock.schema import load_schema

ROOT = Path(__file__).parents[2]
SUBMITTING = (ROOT / "docs" / "submitting.md").read_text(encoding="utf-8")
OPERATING = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
TEMPLATE = (ROOT / "template.yaml").read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """The lines below a heading, up to the next heading of whatever level."""
    return re.split(r"^#+ ", text.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def rows(table: str) -> list[list[str]]:
    """The cells of each row of a Markdown table, without the heading."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


REFUSED = [
    (key, code.strip("`"))
    for keys, code in rows(section(SUBMITTING, "Keys that are refused"))
    for key in re.findall(r"`([^`]*\.(?:h5ad|H5AD|gz|rds|txt|exe))`", keys)
]


def test_the_table_of_refused_keys_is_read() -> None:
    assert len(REFUSED) >= 10


@pytest.mark.parametrize(("key", "code"), REFUSED)
def test_a_refused_key_gets_the_code_that_submitters_are_told(key: str, code: str) -> None:
    parsed = parse_upload_key(key)

    assert isinstance(parsed, Rejection)
    assert parsed.code == code


def test_every_state_is_explained() -> None:
    explained = [state for state, *_ in rows(section(SUBMITTING, "What comes back"))]

    assert sorted(explained) == sorted(VersionState)


def test_every_format_is_explained() -> None:
    assert {name.strip("`") for name, _ in rows(section(SUBMITTING, "The artifacts"))} == {FORMAT, *FORMATS}


def test_the_report_shown_is_a_report_by_rules_that_exist() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", section(SUBMITTING, "The report"), flags=re.DOTALL)
    report = Report.from_json(json.loads(example))
    codes = {applied.code: applied.schema_url for applied in load_schema(report.schema_version).rules}

    assert not report.valid
    assert set(report.checked) <= set(codes)
    assert all(codes[finding.code] == finding.schema_url for finding in report.findings)


def test_every_alarm_is_explained() -> None:
    alarms = set(re.findall(r"^  (\w+)Alarm:$", TEMPLATE, flags=re.MULTILINE))
    explained = {name for names, *_ in rows(section(OPERATING, "What each alarm means")) for name in names.split(", ")}

    assert alarms == explained


def test_every_parameter_is_explained_with_its_default() -> None:
    parameters = TEMPLATE.split("\nParameters:\n", 1)[1].split("\nConditions:\n", 1)[0]
    found = dict(re.findall(r"^  (\w+):\n(?:    .*\n)*?    Default: (.*)$", parameters, flags=re.MULTILINE))
    explained = {name.strip("`"): default for name, default, _ in rows(section(OPERATING, "Deploying"))}

    assert {name: default.strip('"') or "empty" for name, default in found.items()} == explained


def test_every_dead_letter_queue_has_its_runbook() -> None:
    queues = set(re.findall(r"^  (\w+Dlq):$", TEMPLATE.split("\nOutputs:\n", 1)[0], flags=re.MULTILINE))

    assert {name for name, *_ in rows(section(OPERATING, "Dead letters"))} == queues

"""What linters say of the translated template, with the workflow's definition inline."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from cfnlint.api import lint

from tests.template.house import FUNCTIONS, ROOT, Stack, of_type

# Every finding that is accepted, and why.
ACCEPTED = {
    "ES1001": (
        {"IntakeFunctionUploads", "FailFunctionEnds"},
        "a queue's event source mapping can have no destination: the queue has a dead-letter queue",
    ),
    "ES6000": (
        {"UploadDlq", "EndsDlq", "AnnounceDlq", "PortalDlq"},
        "these are the dead-letter queues themselves",
    ),
    "WS1004": (
        {f"{name}Function" for name in FUNCTIONS},
        "the rule goes by the group's name; LoggingConfig names a group with retention, which test_functions checks",
    ),
}


def findings(template: Stack, *rules: str) -> set[tuple[str, str, str]]:
    """Rule, resource and message of whatever cfn-lint has to say."""
    # cfn-lint's own annotations know neither `append_rules` nor a match's path.
    config: Any = {"regions": ["us-east-1"], "append_rules": list(rules)}
    found: list[Any] = [*lint(json.dumps(template), config=config)]
    return {(match.rule.id, str((match.path or ["", ""])[1]), match.message) for match in found}


def test_nothing_but_what_is_accepted_with_a_reason(stack: Stack) -> None:
    found = findings(stack, "cfn_lint_serverless.rules")
    unaccepted = {finding for finding in found if finding[1] not in ACCEPTED.get(finding[0], (set(), ""))[0]}
    assert not unaccepted
    # An acceptance that nothing needs any more goes.
    assert {rule: {name for r, name, _ in found if r == rule} for rule in ACCEPTED} == {
        rule: names for rule, (names, _) in ACCEPTED.items()
    }


def test_the_definition_is_linted_too(stack: Stack) -> None:
    machine: dict[str, Any] = copy.deepcopy(of_type(stack, "AWS::StepFunctions::StateMachine")["IngestMachine"])
    del machine["Definition"]["States"]["Plan"]["Type"]
    alone = {
        "Resources": {
            "IngestMachine": {
                "Type": "AWS::StepFunctions::StateMachine",
                "Properties": {"Definition": machine["Definition"], "RoleArn": "arn:aws:iam::111122223333:role/ingest"},
            }
        }
    }
    assert "E3601" in {rule for rule, _, _ in findings(alone)}


def test_accepted_findings_say_why() -> None:
    assert all(len(reason.split()) > 3 for _, reason in ACCEPTED.values())
    skipped = [line for line in (ROOT / ".checkov.yaml").read_text().splitlines() if line.strip().startswith("- CKV")]
    assert skipped
    assert all(len(line.partition("#")[2].split()) > 3 for line in skipped)


@pytest.mark.parametrize("name", ["cfn-lint", "checkov", "cfn_nag"])
def test_the_template_itself_silences_no_linter(source: dict[str, Any], name: str) -> None:
    for resource in source["Resources"].values():
        assert name not in resource.get("Metadata", {})

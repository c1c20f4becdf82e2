"""Each function may do what it does, and nothing else."""

from __future__ import annotations

import json
import re

import pytest

from celldock.catalog.keys import COMPANION_SUFFIXES
from celldock.cloud import environment
from tests.template.house import (
    FUNCTIONS,
    ROOT,
    WORKERS,
    Machine,
    Stack,
    as_list,
    function_of,
    logical_id,
    of_type,
    references,
    rights,
    statements,
    tasks,
)

# AWS knows no narrower resource for these.
UNSCOPED = {
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
    "dynamodb:ListStreams",
}
COMPANIONS = {f"*{suffix}" for suffixes in COMPANION_SUFFIXES.values() for suffix in suffixes}
ROLES = (*(f"{name}Role" for name in FUNCTIONS), "IngestRole")


def test_each_function_has_a_role_of_its_own(stack: Stack) -> None:
    roles = [logical_id(function["Role"]) for function in of_type(stack, "AWS::Lambda::Function").values()]
    machine = of_type(stack, "AWS::StepFunctions::StateMachine")["IngestMachine"]
    assert sorted([*roles, logical_id(machine["RoleArn"])]) == sorted(ROLES) == sorted(of_type(stack, "AWS::IAM::Role"))


@pytest.mark.parametrize("role", ROLES)
def test_no_role_has_a_wildcard_action_or_an_unscoped_resource(stack: Stack, role: str) -> None:
    assert "ManagedPolicyArns" not in of_type(stack, "AWS::IAM::Role")[role], "AWS's managed policies are unscoped"
    for statement in statements(stack, role):
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in as_list(statement["Action"])), statement["Sid"]
        if "*" in as_list(statement["Resource"]):
            assert set(as_list(statement["Action"])) <= UNSCOPED, statement["Sid"]


@pytest.mark.parametrize("role", ROLES)
def test_objects_are_reached_by_prefix(stack: Stack, role: str) -> None:
    for statement in statements(stack, role):
        for action in as_list(statement["Action"]):
            if not action.startswith("s3:") or action == "s3:ListBucket":
                continue
            for resource in as_list(statement["Resource"]):
                prefix = resource["Fn::Sub"].split("/", 1)[1]
                # An upload's key may be anything; it is read by its pinned version alone.
                is_pinned_upload = (action, logical_id(resource)) == ("s3:GetObjectVersion", "InboxBucket")
                # What is pinned first has to be found: what is current beside an upload.
                is_companion = action == "s3:GetObject" and prefix in COMPANIONS
                known = is_pinned_upload or is_companion or prefix in {"work/*", "_reports/*", "public/*"}
                assert known, (action, resource)


@pytest.mark.parametrize("role", ["IntakeRole", "ClaimRole"])
def test_whoever_looks_for_companions_may_see_all_of_them(stack: Stack, role: str) -> None:
    seen = {resource for action, resource in rights(stack, role) if action == "s3:GetObject"}
    assert {json.loads(resource)["Fn::Sub"].split("/", 1)[1] for resource in seen} == COMPANIONS


@pytest.mark.parametrize("worker", WORKERS)
def test_workers_have_no_rights_on_the_table_or_the_public_bucket(stack: Stack, worker: str) -> None:
    for action, resource in rights(stack, f"{worker}Role"):
        assert "CatalogTable" not in resource, action
        assert "PublicBucket" not in resource, action
        assert action.split(":")[0] in {"s3", "logs", "xray"}


@pytest.mark.parametrize(
    ("role", "actions"),
    [
        ("IntakeRole", {"PutItem", "GetItem", "Query", "UpdateItem"}),
        ("ClaimRole", {"GetItem", "PutItem", "UpdateItem"}),
        ("PublishRole", {"GetItem", "Query", "UpdateItem", "ConditionCheckItem"}),
        ("FailRole", {"GetItem", "UpdateItem"}),
        ("ApiRole", {"GetItem", "Query", "UpdateItem", "ConditionCheckItem"}),
        ("IngestRole", {"GetItem", "UpdateItem", "ConditionCheckItem"}),
    ],
)
def test_writers_have_the_rights_on_the_table_that_the_contract_gives_them(
    stack: Stack, role: str, actions: set[str]
) -> None:
    on_the_table = {action for action, resource in rights(stack, role) if '"CatalogTable' in resource}
    assert on_the_table == {f"dynamodb:{action}" for action in actions}


def test_only_publish_and_the_api_write_public_copies(stack: Stack) -> None:
    writers = {
        role
        for role in ROLES
        for action, resource in rights(stack, role)
        if action == "s3:PutObject" and "PublicBucket" in resource
    }
    assert writers == {"PublishRole", "ApiRole"}


def test_nobody_may_delete_what_was_uploaded_made_or_published(stack: Stack) -> None:
    actions = {action for role in ROLES for action, _ in rights(stack, role)}
    assert not {action for action in actions if re.match(r"(s3|dynamodb):.*Delete", action)}


def test_the_machine_may_invoke_the_functions_that_it_names_and_no_others(stack: Stack, definition: Machine) -> None:
    named = {function for task in tasks(definition).values() if (function := function_of(task))}
    (invoke,) = [found for found in statements(stack, "IngestRole") if "lambda:InvokeFunction" in found["Action"]]
    assert references(invoke["Resource"]) == named


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_function_is_told_what_it_reads_and_no_more(stack: Stack, function: str) -> None:
    code = (ROOT / "functions" / function.lower() / "app.py").read_text()
    models = {name for name in re.findall(r"\b\w+Environment\b", code) if hasattr(environment, name)}
    read = {field.validation_alias for name in models for field in getattr(environment, name).model_fields.values()}
    variables = of_type(stack, "AWS::Lambda::Function")[f"{function}Function"]["Environment"]["Variables"]
    assert {name for name in variables if name.startswith("CELLDOCK_")} == read
    of_libraries = {name for name in variables if name.startswith(("MALLOC_", "OPENBLAS_"))}
    assert set(variables) - read - of_libraries == {
        "POWERTOOLS_SERVICE_NAME",
        "POWERTOOLS_METRICS_NAMESPACE",
        "POWERTOOLS_LOG_LEVEL",
    }


def test_queues_take_messages_from_their_own_rule_alone(stack: Stack) -> None:
    allowed: dict[str, str] = {}
    for policy in of_type(stack, "AWS::SQS::QueuePolicy").values():
        for statement in policy["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Allow":
                assert statement["Principal"] == {"Service": "events.amazonaws.com"}
                rule = logical_id(statement["Condition"]["ArnEquals"]["aws:SourceArn"])
                allowed |= dict.fromkeys(references(statement["Resource"]), rule)
    targets = {}
    for rule, properties in of_type(stack, "AWS::Events::Rule").items():
        for target in properties["Targets"]:
            targets |= {logical_id(target["Arn"]): rule, logical_id(target["DeadLetterConfig"]["Arn"]): rule}
    assert allowed == targets


def test_the_api_is_closed_to_those_without_iam_credentials(stack: Stack) -> None:
    assert [url["AuthType"] for url in of_type(stack, "AWS::Lambda::Url").values()] == ["AWS_IAM"]
    assert not of_type(stack, "AWS::Lambda::Permission")

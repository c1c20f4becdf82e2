"""Nothing is lost silently: queues, alarms, the dashboard."""

from __future__ import annotations

import json
import re

import pytest

from tests.template.house import Stack, logical_id, of_type, references

DLQS = ("UploadDlq", "EndsDlq", "AnnounceDlq", "PortalDlq")


def test_every_queue_has_a_dead_letter_queue_or_is_one(stack: Stack) -> None:
    queues = of_type(stack, "AWS::SQS::Queue")
    for name, queue in queues.items():
        assert queue["SqsManagedSseEnabled"] is True
        if name in DLQS:
            assert queue["MessageRetentionPeriod"] == 14 * 86400
        else:
            assert logical_id(queue["RedrivePolicy"]["deadLetterTargetArn"]) in DLQS
            assert queue["RedrivePolicy"]["maxReceiveCount"] >= 3
    assert set(DLQS) < set(queues)


def test_every_rule_keeps_what_it_cannot_deliver(stack: Stack) -> None:
    for rule in of_type(stack, "AWS::Events::Rule").values():
        for target in rule["Targets"]:
            assert logical_id(target["DeadLetterConfig"]["Arn"]) in DLQS


@pytest.mark.parametrize("queue", DLQS)
def test_a_message_in_a_dead_letter_queue_raises_an_alarm(stack: Stack, queue: str) -> None:
    alarm = of_type(stack, "AWS::CloudWatch::Alarm")[f"{queue}Alarm"]
    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert [logical_id(dimension["Value"]) for dimension in alarm["Dimensions"]] == [queue]
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (0, "GreaterThanThreshold")


@pytest.mark.parametrize(
    ("metric", "subject"),
    [
        ("ExecutionsFailed", "IngestMachine"),
        ("ExecutionsTimedOut", "IngestMachine"),
        ("ExecutionsAborted", "IngestMachine"),
        ("ExecutionThrottled", "IngestMachine"),
        ("ApproximateAgeOfOldestMessage", "UploadQueue"),
        ("ApproximateAgeOfOldestMessage", "EndsQueue"),
        ("IteratorAge", "AnnounceFunction"),
        ("Errors", "IntakeFunction"),
        ("Errors", "FailFunction"),
        ("Errors", "AnnounceFunction"),
        ("Errors", "ApiFunction"),
        ("Throttles", "IntakeFunction"),
        ("Throttles", "ScanFunction"),
        ("Throttles", "ConvertFunction"),
    ],
)
def test_operators_hear_of(stack: Stack, metric: str, subject: str) -> None:
    watched = {
        (alarm["MetricName"], logical_id(dimension["Value"]))
        for alarm in of_type(stack, "AWS::CloudWatch::Alarm").values()
        for dimension in alarm["Dimensions"]
    }
    assert (metric, subject) in watched


def test_every_alarm_is_about_something_that_exists_and_reaches_the_operators(stack: Stack) -> None:
    for name, alarm in of_type(stack, "AWS::CloudWatch::Alarm").items():
        assert references(alarm["Dimensions"]) <= set(stack["Resources"]), name
        assert references(alarm["AlarmActions"]) == {"OperatorsTopic"}, name
        assert alarm["AlarmDescription"], name
        assert alarm["TreatMissingData"] == "notBreaching", name


def test_alarms_may_use_the_key_that_encrypts_what_operators_are_told(stack: Stack) -> None:
    topic = of_type(stack, "AWS::SNS::Topic")["OperatorsTopic"]
    key = of_type(stack, "AWS::KMS::Key")[logical_id(topic["KmsMasterKeyId"])]
    (alarms,) = [s for s in key["KeyPolicy"]["Statement"] if "Service" in s["Principal"]]
    assert alarms["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert set(alarms["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey"}
    assert key["EnableKeyRotation"] is True


def test_the_dashboard_names_what_exists(stack: Stack) -> None:
    body = of_type(stack, "AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"]
    named = references(body)
    assert named <= set(stack["Resources"])
    assert {"IngestMachine", "UploadQueue", *DLQS, *of_type(stack, "AWS::Lambda::Function")} <= named
    widgets = json.loads(re.sub(r"\$\{[^}]+\}", "x", body["Fn::Sub"]))["widgets"]
    assert all(widget["properties"]["metrics"] for widget in widgets)


def test_the_machine_is_traced_and_logs_no_data(stack: Stack) -> None:
    machine = of_type(stack, "AWS::StepFunctions::StateMachine")["IngestMachine"]
    assert machine["TracingConfiguration"] == {"Enabled": True}
    logging = machine["LoggingConfiguration"]
    assert (logging["Level"], logging["IncludeExecutionData"]) == ("ALL", False)
    group = of_type(stack, "AWS::Logs::LogGroup")[logical_id(logging["Destinations"])]
    assert group["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_ends_that_no_catch_sees_reach_fail(stack: Stack) -> None:
    rule = of_type(stack, "AWS::Events::Rule")["EndsRule"]
    assert rule["EventPattern"]["detail"]["status"] == ["FAILED", "TIMED_OUT", "ABORTED"]
    assert references(rule["EventPattern"]) == {"IngestMachine"}
    queue = logical_id(rule["Targets"][0]["Arn"])
    fed = [m for m in of_type(stack, "AWS::Lambda::EventSourceMapping").values() if queue in references(m)]
    assert [logical_id(mapping["FunctionName"]) for mapping in fed] == ["FailFunction"]

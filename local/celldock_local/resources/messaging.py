"""Policies, subscriptions, rules and alarms: types and properties that moto's CloudFormation skips."""

from __future__ import annotations

import json
from typing import Any

from celldock_local.mends.context import MendContext
from celldock_local.resources.kinds import Kind, Request, Resource, Unsupported, flag, text_flag

RULE_TARGETS = ("sqs", "sns", "lambda", "states", "events", "logs")
"""Services that the local stack's EventBridge delivers to."""

_NUMBERS = {"Period", "EvaluationPeriods", "DatapointsToAlarm"}


def create_queue_policy(request: Request) -> Resource:
    policy = json.dumps(request.properties["PolicyDocument"])
    for url in request.properties["Queues"]:
        request.context.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    return Resource(request.name)


def create_topic_policy(request: Request) -> Resource:
    policy = json.dumps(request.properties["PolicyDocument"])
    for arn in request.properties["Topics"]:
        request.context.client("sns").set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=policy)
    return Resource(request.name)


def create_topic(request: Request) -> Any:
    topic = request.stock({k: v for k, v in request.properties.items() if k != "Subscription"})
    for subscription in request.properties.get("Subscription", []):
        _subscribe(request.context, {"TopicArn": topic.arn, **subscription})
    return topic


def create_subscription(request: Request) -> Resource:
    return Resource(_subscribe(request.context, request.properties))


def _subscribe(context: MendContext, properties: dict[str, Any]) -> str:
    attributes: dict[str, str] = {}
    for name in ("FilterPolicy", "RedrivePolicy"):
        if name in properties:
            attributes[name] = json.dumps(properties[name])
    if "RawMessageDelivery" in properties:
        attributes["RawMessageDelivery"] = text_flag(properties["RawMessageDelivery"])
    if "FilterPolicyScope" in properties:
        attributes["FilterPolicyScope"] = properties["FilterPolicyScope"]
    made = context.client("sns").subscribe(
        TopicArn=properties["TopicArn"],
        Protocol=properties["Protocol"],
        Endpoint=properties["Endpoint"],
        Attributes=attributes,
        ReturnSubscriptionArn=True,
    )
    return made["SubscriptionArn"]


def create_bus(request: Request) -> Resource:
    """Its Ref is its name; moto's is the object itself."""
    bus = request.stock(request.properties)
    return Resource(bus.name, {"Arn": bus.arn, "Name": bus.name})


def create_bus_policy(request: Request) -> Resource:
    properties = request.properties
    bus, statement = properties.get("EventBusName", "default"), properties.get("Statement")
    if not isinstance(statement, dict):
        raise Unsupported("an EventBusPolicy needs its Statement as an object here")
    policy = {"Version": "2012-10-17", "Statement": [{"Sid": properties["StatementId"], **statement}]}
    request.context.client("events").put_permission(EventBusName=bus, Policy=json.dumps(policy))
    return Resource(f"{bus}|{properties['StatementId']}")


def create_rule(request: Request) -> Any:
    properties = dict(request.properties)
    for target in properties.get("Targets", []):
        service = str(target["Arn"]).split(":")[2]
        if service not in RULE_TARGETS:
            raise Unsupported(f"the local stack's rules cannot have {service} as a target")
    return request.stock(properties)


def create_alarm(request: Request) -> Resource:
    """Kept and shown by the API, but nothing evaluates it here."""
    arguments: dict[str, Any] = {}
    for name, value in request.properties.items():
        if name == "Threshold":
            arguments[name] = float(value)
        elif name in _NUMBERS:
            arguments[name] = int(value)
        elif name == "ActionsEnabled":
            arguments[name] = flag(value)
        elif name != "Tags":
            arguments[name] = value
    arguments["AlarmName"] = request.name
    cloudwatch = request.context.client("cloudwatch")
    cloudwatch.put_metric_alarm(**arguments)
    arn = cloudwatch.describe_alarms(AlarmNames=[request.name])["MetricAlarms"][0]["AlarmArn"]
    return Resource(request.name, {"Arn": arn})


MESSAGING = [
    Kind("AWS::SQS::QueuePolicy", frozenset({"Queues", "PolicyDocument"}), frozenset(), create=create_queue_policy),
    Kind(
        "AWS::SNS::Topic",
        frozenset({"TopicName", "DisplayName", "Subscription"}),
        frozenset({"Tags", "TracingConfig", "KmsMasterKeyId"}),
        create=create_topic,
        attributes=frozenset({"TopicArn"}),
    ),
    Kind("AWS::SNS::TopicPolicy", frozenset({"Topics", "PolicyDocument"}), frozenset(), create=create_topic_policy),
    Kind(
        "AWS::SNS::Subscription",
        frozenset(
            {
                *("Endpoint", "FilterPolicy", "FilterPolicyScope", "Protocol", "RawMessageDelivery", "RedrivePolicy"),
                "TopicArn",
            }
        ),
        frozenset({"Region"}),
        create=create_subscription,
    ),
    Kind(
        "AWS::Events::EventBus",
        frozenset({"Name"}),
        frozenset({"Tags", "Description", "LogConfig"}),
        create=create_bus,
        attributes=frozenset({"Arn", "Name"}),
    ),
    Kind(
        "AWS::Events::EventBusPolicy",
        frozenset({"EventBusName", "StatementId", "Statement"}),
        frozenset(),
        create=create_bus_policy,
    ),
    Kind(
        "AWS::Events::Rule",
        frozenset({"Description", "EventBusName", "EventPattern", "Name", "State", "Targets"}),
        frozenset({"RoleArn", "Tags"}),
        create=create_rule,
    ),
    Kind(
        "AWS::CloudWatch::Alarm",
        frozenset(
            {
                *("ActionsEnabled", "AlarmActions", "AlarmDescription", "AlarmName", "ComparisonOperator"),
                *("DatapointsToAlarm", "Dimensions", "EvaluationPeriods", "ExtendedStatistic"),
                *("InsufficientDataActions", "MetricName", "Metrics", "Namespace", "OKActions", "Period", "Statistic"),
                *("Threshold", "TreatMissingData", "Unit"),
            }
        ),
        create=create_alarm,
        named_by="AlarmName",
        attributes=frozenset({"Arn"}),
    ),
]

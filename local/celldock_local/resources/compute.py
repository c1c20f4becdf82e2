"""Lambda functions with all that their sandboxes need, and state machines that run."""

from __future__ import annotations

import json
from typing import Any

from moto.awslambda.models import LambdaFunction, lambda_backends

from celldock_local.aws import ACCOUNT
from celldock_local.destinations import DESTINATIONS
from celldock_local.isolation import VERSION
from celldock_local.resources.kinds import Kind, Request, Resource, Unsupported, only

_LOGGING = {"LogFormat", "LogGroup", "ApplicationLogLevel", "SystemLogLevel"}


def create_function(request: Request) -> LambdaFunction:
    """moto's function, then the properties that its CloudFormation drops."""
    properties = request.properties
    runtime = properties.get("Runtime")
    if runtime != VERSION:
        raise Unsupported(f"its Runtime is {runtime}, but the local stack runs on {VERSION}")
    function: LambdaFunction = request.stock(properties)
    kept: Any = function
    kept.logging_config = properties.get("LoggingConfig", {})
    only("LoggingConfig", kept.logging_config, _LOGGING)
    kept.dead_letter_arn = properties.get("DeadLetterConfig", {}).get("TargetArn", "")
    _check_destination(kept.dead_letter_arn)
    if layers := properties.get("Layers"):
        function.layers = function._get_layers_data(layers)
    if storage := properties.get("EphemeralStorage"):
        kept.ephemeral_storage = int(storage["Size"])
    if architectures := properties.get("Architectures"):
        function.architectures = architectures
    if tracing := properties.get("TracingConfig"):
        function.tracing_config = tracing
    function.tags = {tag["Key"]: tag["Value"] for tag in properties.get("Tags", [])}
    return function


def create_layer(request: Request) -> Resource:
    """Its Ref is the ARN of the version; moto's is the object itself."""
    layer = request.stock(request.properties)
    return Resource(layer.arn, {"LayerVersionArn": layer.arn})


def create_version(request: Request) -> Resource:
    properties = request.properties
    published = request.context.client("lambda").publish_version(
        FunctionName=properties["FunctionName"], Description=properties.get("Description", "")
    )
    arn = f"{published['FunctionArn'].removesuffix(':' + published['Version'])}:{published['Version']}"
    return Resource(arn, {"Version": published["Version"], "FunctionArn": arn})


def create_alias(request: Request) -> Resource:
    properties = request.properties
    alias = request.context.client("lambda").create_alias(
        FunctionName=properties["FunctionName"],
        Name=properties["Name"],
        FunctionVersion=str(properties["FunctionVersion"]),
        Description=properties.get("Description", ""),
    )
    return Resource(alias["AliasArn"], {"AliasArn": alias["AliasArn"]})


def create_event_invoke_config(request: Request) -> Resource:
    properties = request.properties
    destinations = properties.get("DestinationConfig", {})
    only("DestinationConfig", destinations, {"OnFailure"})
    _check_destination(destinations.get("OnFailure", {}).get("Destination", ""))
    numbers = {k: int(properties[k]) for k in ("MaximumRetryAttempts", "MaximumEventAgeInSeconds") if k in properties}
    request.context.client("lambda").put_function_event_invoke_config(
        FunctionName=properties["FunctionName"], DestinationConfig=destinations, **numbers
    )
    return Resource(f"{properties['FunctionName']}|{properties.get('Qualifier', '$LATEST')}")


def create_url(request: Request) -> Resource:
    """moto keeps one URL for each function, and knows no qualifier: the URL itself is told which version it serves."""
    properties = request.properties
    target = properties["TargetFunctionArn"].split(":function:")[-1]
    name, _, qualifier = target.partition(":")
    config = {"AuthType": properties["AuthType"], "Qualifier": properties.get("Qualifier", qualifier)}
    made = lambda_backends[ACCOUNT][request.context.region].create_function_url_config(name, config)
    arn = made.function.function_arn
    return Resource(arn, {"FunctionUrl": made.url, "FunctionArn": arn})


def create_state_machine(request: Request) -> Resource:
    """On the backend that executes; moto's CloudFormation uses the one that does not, and forgets the substitutions."""
    properties = request.properties
    definition = properties.get("DefinitionString") or json.dumps(properties["Definition"])
    for name, value in properties.get("DefinitionSubstitutions", {}).items():
        definition = definition.replace("${" + name + "}", str(value))
    kind = properties.get("StateMachineType", "STANDARD")
    if kind != "STANDARD":
        raise Unsupported(f"the local stack runs STANDARD state machines only, not {kind}")
    made = request.context.client("stepfunctions").create_state_machine(
        name=request.name, definition=definition, roleArn=properties["RoleArn"], type=kind
    )
    arn = made["stateMachineArn"]
    return Resource(arn, {"Arn": arn, "Name": request.name})


def _check_destination(arn: str) -> None:
    if arn and arn.split(":")[2] not in DESTINATIONS:
        raise Unsupported(f"the local stack sends failures to {' and '.join(DESTINATIONS)} only, not to {arn}")


COMPUTE = [
    Kind(
        "AWS::Lambda::Function",
        frozenset(
            {
                *("Architectures", "Code", "DeadLetterConfig", "Description", "Environment", "EphemeralStorage"),
                *("FunctionName", "Handler", "Layers", "LoggingConfig", "MemorySize", "ReservedConcurrentExecutions"),
                *("Role", "Runtime", "Timeout", "TracingConfig", "Tags"),
            }
        ),
        frozenset({"KmsKeyArn", "RecursiveLoop", "RuntimeManagementConfig"}),
        create=create_function,
    ),
    Kind(
        "AWS::Lambda::LayerVersion",
        frozenset({"CompatibleRuntimes", "Content", "Description", "LayerName", "LicenseInfo"}),
        frozenset({"CompatibleArchitectures"}),
        create=create_layer,
        named_by="LayerName",
        attributes=frozenset({"LayerVersionArn"}),
    ),
    Kind(
        "AWS::Lambda::Version",
        frozenset({"FunctionName", "Description"}),
        frozenset({"CodeSha256"}),
        create=create_version,
        attributes=frozenset({"Version", "FunctionArn"}),
    ),
    Kind(
        "AWS::Lambda::Alias",
        frozenset({"FunctionName", "FunctionVersion", "Name", "Description"}),
        frozenset(),
        create=create_alias,
        attributes=frozenset({"AliasArn"}),
    ),
    Kind(
        "AWS::Lambda::EventInvokeConfig",
        frozenset({"FunctionName", "MaximumRetryAttempts", "DestinationConfig"}),
        frozenset({"Qualifier", "MaximumEventAgeInSeconds"}),
        create=create_event_invoke_config,
    ),
    Kind(
        "AWS::Lambda::Url",
        frozenset({"TargetFunctionArn", "AuthType", "Qualifier"}),
        frozenset(),
        create=create_url,
        attributes=frozenset({"FunctionUrl", "FunctionArn"}),
    ),
    Kind(
        "AWS::StepFunctions::StateMachine",
        frozenset(
            {
                *("Definition", "DefinitionString", "DefinitionSubstitutions", "RoleArn", "StateMachineName"),
                "StateMachineType",
            }
        ),
        frozenset({"Tags", "LoggingConfiguration", "TracingConfiguration"}),
        create=create_state_machine,
        named_by="StateMachineName",
        attributes=frozenset({"Arn", "Name"}),
    ),
]

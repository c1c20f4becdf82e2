"""A template that `sam build` made, deployed through CloudFormation's API as `sam deploy` would."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

from celldock_local.aws import isolated_session
from celldock_local.code import CodeStore

STACK_NAME = "celldock"
UPLOADS = "celldock-local-deployment"
"""The bucket of the deployment's zips; no part of the stack."""

_CODE = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}


class DeployFailed(Exception):
    """The stack could not be deployed; the message says which resource and why."""


def build_template(build: Path) -> Path:
    """The template in a build folder (or itself, if it is given). Raises DeployFailed if there is none."""
    template = build if build.is_file() else build / "template.yaml"
    if not template.is_file():
        raise DeployFailed(f"{template} does not exist: run `make build` first")
    return template


def translate(template: Path, upload: Callable[[Path], str], parameters: dict[str, str]) -> dict[str, Any]:
    """The template in plain CloudFormation.

    `upload` is given each folder of code and returns its `s3://` URI. Raises DeployFailed for an invalid template.
    """
    document = yaml_parse(template.read_text(encoding="utf-8"))
    for logical_id, resource in document["Resources"].items():
        _localise(logical_id, resource, template.parent, upload)
    values = {name: p["Default"] for name, p in document.get("Parameters", {}).items() if "Default" in p} | parameters
    translator = Translator({}, Parser(), boto_session=isolated_session())
    try:
        return translator.translate(document, values)
    except InvalidDocumentException as error:
        reasons = "; ".join(cause.message for cause in error.causes)
        raise DeployFailed(f"{template} is no valid SAM template: {reasons}") from error


def _localise(logical_id: str, resource: dict[str, Any], root: Path, upload: Callable[[Path], str]) -> None:
    properties = resource.get("Properties") or {}
    name = _CODE.get(resource["Type"])
    if name and isinstance(properties.get(name), str):
        folder = root / properties[name]
        if not folder.is_dir():
            raise DeployFailed(f"{logical_id}: {name} {properties[name]} is not a folder: is the template built?")
        properties[name] = upload(folder)
    if resource["Type"] == "AWS::Serverless::StateMachine" and isinstance(properties.get("DefinitionUri"), str):
        definition = root / properties.pop("DefinitionUri")
        properties["Definition"] = yaml_parse(definition.read_text(encoding="utf-8"))


def deploy(
    build: Path, client: Callable[[str], Any], code: CodeStore, parameters: dict[str, str] | None = None
) -> dict[str, str]:
    """Deploy the built template as the stack `celldock`; its outputs. Raises DeployFailed."""
    template, given = build_template(build), dict(parameters or {})
    s3, cloudformation = client("s3"), client("cloudformation")
    s3.create_bucket(Bucket=UPLOADS)

    def upload(folder: Path) -> str:
        body = code.add(folder)
        key = hashlib.sha256(body).hexdigest()
        s3.put_object(Bucket=UPLOADS, Key=key, Body=body)
        return f"s3://{UPLOADS}/{key}"

    translated = translate(template, upload, given)
    declared = translated.get("Parameters", {})
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise DeployFailed(f"the template has no parameter {', '.join(unknown)}")
    try:
        cloudformation.create_stack(
            StackName=STACK_NAME,
            TemplateBody=json.dumps(without_metadata(translated), default=str),
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
        )
    except ClientError as error:
        raise DeployFailed(error.response["Error"]["Message"]) from error
    stack = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
    if stack["StackStatus"] != "CREATE_COMPLETE":
        raise DeployFailed(f"the stack is {stack['StackStatus']}")
    return {output["OutputKey"]: str(output["OutputValue"]) for output in stack.get("Outputs", [])}


def without_metadata(template: dict[str, Any]) -> dict[str, Any]:
    """The template without what only tools read."""
    plain = copy.deepcopy(template)
    plain.pop("Metadata", None)
    for resource in plain["Resources"].values():
        resource.pop("Metadata", None)
    return plain

"""The template as people write it, as CloudFormation gets it, and the workflow's definition."""

from __future__ import annotations

import json
from typing import Any

import pytest
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

from tests.template.house import ROOT, Machine, Stack


@pytest.fixture(scope="session", autouse=True)
def region() -> Any:
    """The translator asks boto3 for the region it translates for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield


@pytest.fixture(scope="session")
def source() -> dict[str, Any]:
    """template.yaml as it is written."""
    return yaml_parse((ROOT / "template.yaml").read_text())


@pytest.fixture(scope="session")
def definition() -> Machine:
    """The workflow's definition, its substitutions not yet made."""
    return json.loads((ROOT / "statemachine" / "ingest.asl.json").read_text())


@pytest.fixture(scope="session")
def stack(definition: Machine) -> Stack:
    """What SAM makes of the template with its defaults; the definition stands inline, where linters see it."""
    template = yaml_parse((ROOT / "template.yaml").read_text())
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        for name in {"CodeUri", "ContentUri"} & set(properties):
            properties[name] = "s3://code/built.zip"
        if "DefinitionUri" in properties:
            del properties["DefinitionUri"]
            properties["Definition"] = definition
    defaults = {name: parameter["Default"] for name, parameter in template["Parameters"].items()}
    translated = Translator({}, Parser()).translate(template, defaults)
    machine = translated["Resources"]["IngestMachine"]["Properties"]
    del machine["DefinitionString"]
    machine["Definition"] = definition
    return translated

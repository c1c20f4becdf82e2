"""How functions and layers are set up."""

from __future__ import annotations

from typing import Any

import pytest

from celldock.plan import CONCURRENCY, LIMITS
from celldock.plan.prediction import Limits
from tests.template.house import FUNCTIONS, ROOT, Machine, Stack, function_of, logical_id, of_type, states, tasks

LIGHT = {"CelldockLayer", "RuntimeLayer"}
HEADERS = LIGHT | {"CoreLayer"}
RULES = HEADERS | {"ReferenceLayer"}
CONVERSION = HEADERS | {"ColumnsLayer", "ArraysLayer"}
CARRIED = dict.fromkeys(FUNCTIONS, LIGHT) | {
    "Curate": RULES,
    "Plan": HEADERS,
    "Scan": HEADERS,
    "Fragments": RULES,
    "Validate": RULES,
    "Label": RULES,
    "Convert": CONVERSION,
    "Assemble": CONVERSION,
}


def test_there_is_a_function_for_each_folder(stack: Stack) -> None:
    folders = {folder.name for folder in (ROOT / "functions").iterdir() if (folder / "app.py").exists()}
    assert folders == {name.lower() for name in FUNCTIONS}
    assert set(of_type(stack, "AWS::Lambda::Function")) == {f"{name}Function" for name in FUNCTIONS}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_memory_timeout_and_scratch_space_are_said_for_each_function(source: dict[str, Any], name: str) -> None:
    properties = source["Resources"][f"{name}Function"]["Properties"]
    assert properties["CodeUri"] == f"functions/{name.lower()}/"
    # 3,008 MB is what a new account is allowed.
    assert 128 <= properties["MemorySize"] <= 3008
    assert 0 < properties["Timeout"] <= 900
    assert properties["EphemeralStorage"]["Size"] >= 512


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_runs_traced_and_logs_json_to_a_group_of_its_own(stack: Stack, name: str) -> None:
    properties = of_type(stack, "AWS::Lambda::Function")[f"{name}Function"]
    assert (properties["Runtime"], properties["Architectures"], properties["Handler"]) == (
        "python3.13",
        ["x86_64"],
        "app.handler",
    )
    assert properties["TracingConfig"] == {"Mode": "Active"}
    assert properties["LoggingConfig"]["LogFormat"] == "JSON"
    group = logical_id(properties["LoggingConfig"]["LogGroup"])
    assert group == f"{name}Logs"
    assert of_type(stack, "AWS::Logs::LogGroup")[group]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_carries_the_layers_that_it_needs(source: dict[str, Any], name: str) -> None:
    layers = source["Resources"][f"{name}Function"]["Properties"]["Layers"]
    assert {logical_id(layer) for layer in layers} == CARRIED[name]


def test_layers_are_built_from_the_one_makefile_for_lambda(source: dict[str, Any]) -> None:
    layers = {k: v for k, v in source["Resources"].items() if v["Type"] == "AWS::Serverless::LayerVersion"}
    assert set(layers) == RULES | CONVERSION
    targets = (ROOT / "layers" / "Makefile").read_text()
    for name, layer in layers.items():
        assert layer["Properties"]["ContentUri"] == "layers/"
        assert layer["Metadata"] == {"BuildMethod": "makefile", "BuildArchitecture": "x86_64"}
        assert f"build-{name}" in targets


def test_a_function_ends_before_the_workflow_gives_it_up(stack: Stack, definition: Machine) -> None:
    functions = of_type(stack, "AWS::Lambda::Function")
    for name, task in tasks(definition).items():
        if function := function_of(task):
            assert task["TimeoutSeconds"] > functions[function]["Timeout"], name


def test_predictions_are_judged_by_what_the_functions_are_given(source: dict[str, Any]) -> None:
    properties = {step: source["Resources"][f"{step.title()}Function"]["Properties"] for step in LIMITS}
    given = {
        step: Limits(found["Timeout"], found["MemorySize"], found["EphemeralStorage"]["Size"])
        for step, found in properties.items()
    }
    assert given == LIMITS


def test_predictions_know_how_many_workers_there_are_at_once(definition: Machine) -> None:
    assert {name: dict(states(definition))[name]["MaxConcurrency"] for name in CONCURRENCY} == CONCURRENCY


def test_a_message_stays_hidden_for_six_times_its_functions_timeout(stack: Stack) -> None:
    functions, queues = of_type(stack, "AWS::Lambda::Function"), of_type(stack, "AWS::SQS::Queue")
    fed = 0
    for mapping in of_type(stack, "AWS::Lambda::EventSourceMapping").values():
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        queue = queues.get(logical_id(mapping["EventSourceArn"]))
        if queue is not None:
            timeout = functions[logical_id(mapping["FunctionName"])]["Timeout"]
            assert queue["VisibilityTimeout"] >= 6 * timeout
            assert mapping["ScalingConfig"]["MaximumConcurrency"]
            fed += 1
    assert fed == 2


def test_changes_are_announced_in_order_and_given_up_into_a_queue(stack: Stack) -> None:
    (stream,) = [m for m in of_type(stack, "AWS::Lambda::EventSourceMapping").values() if "StartingPosition" in m]
    assert logical_id(stream["EventSourceArn"]) == "CatalogTable"
    assert (stream["StartingPosition"], stream["ParallelizationFactor"]) == ("TRIM_HORIZON", 1)
    assert stream["BisectBatchOnFunctionError"] is True
    assert stream["MaximumRetryAttempts"] > 0
    assert logical_id(stream["DestinationConfig"]["OnFailure"]["Destination"]) == "AnnounceDlq"


def test_the_template_deploys_by_itself(source: dict[str, Any]) -> None:
    for name, parameter in source["Parameters"].items():
        assert "Default" in parameter, name
        assert parameter["Description"], name


def test_the_outputs_are_those_of_the_contract(source: dict[str, Any]) -> None:
    assert list(source["Outputs"]) == [
        *("InboxBucket", "ArtifactsBucket", "PublicBucket", "Table", "MachineArn", "UploadQueue", "UploadQueueUrl"),
        *("UploadDlq", "UploadDlqUrl", "PortalQueue", "PortalQueueUrl", "EventBus", "ApiUrl"),
    ]

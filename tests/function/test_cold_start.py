"""Each function in its sandbox with its layers alone: it starts, and it answers nonsense with an error of its own."""

from __future__ import annotations

import json

import pytest

from tests.dock import Dock

FUNCTIONS = [
    "AnnounceFunction",
    "ApiFunction",
    "AssembleFunction",
    "ClaimFunction",
    "ConvertFunction",
    "CurateFunction",
    "FailFunction",
    "FragmentsFunction",
    "IntakeFunction",
    "LabelFunction",
    "PlanFunction",
    "PublishFunction",
    "ScanFunction",
    "ValidateFunction",
]
# What Lambda itself reports when a function did not even start.
NEVER_STARTED = {
    "Runtime.ImportModuleError",
    "Runtime.HandlerNotFound",
    "Runtime.UserCodeSyntaxError",
    "Runtime.ExitError",
}


@pytest.mark.parametrize("logical", FUNCTIONS)
def test_a_function_starts_with_its_layers_alone(dock: Dock, logical: str) -> None:
    answer = dock.functions.invoke(FunctionName=dock.function(logical), Payload=b"{}")
    payload = json.loads(answer["Payload"].read() or b"null")
    error = payload.get("errorType") if isinstance(payload, dict) else None
    assert error not in NEVER_STARTED, payload


def test_a_function_sees_nothing_of_the_development_environment(dock: Dock) -> None:
    with dock.wrapped("PlanFunction", "import anndata"):
        answer = dock.functions.invoke(FunctionName=dock.function("PlanFunction"), Payload=b"{}")
        payload = json.loads(answer["Payload"].read())
    assert (payload["errorType"], "anndata" in payload["errorMessage"]) == ("ModuleNotFoundError", True)

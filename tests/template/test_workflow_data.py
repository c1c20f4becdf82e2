"""What travels between the states is what the functions expect and return."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from celldock.catalog.keys import CURATION, FRAGMENTS
from celldock.catalog.records import RunInput, Submission
from tests.template.house import Machine, states
from tests.template.shapes import ANY, DeadPath, Flow, Shape

INPUT: Shape = dict.fromkeys(RunInput.model_fields, ANY)
SUBMISSION: Shape = dict.fromkeys(Submission.model_fields, ANY) | {"companions": {FRAGMENTS: ANY, CURATION: ANY}}
FORMAT: Shape = dict.fromkeys(
    ("format", "feasible", "required", "reason", "partitions", "partitions_key", "version"), ANY
)
ARTIFACT: Shape = dict.fromkeys(
    ("format", "state", "version", "uri", "files", "bytes", "sha256", "manifest_key", "reason"), ANY
)
PARTITION: Shape = dict.fromkeys(("index", "start", "stop"), ANY)
SCAN_PARTITION: Shape = dict.fromkeys(("index", "path", "start", "stop"), ANY)
CONTEXT: dict[str, Any] = {
    "Execution": {"Id": ANY, "Input": INPUT, "Name": ANY, "StartTime": ANY},
    "State": {"EnteredTime": ANY, "Name": ANY},
}
RESULTS: dict[str, Shape] = {
    "${ClaimFunction}": SUBMISSION,
    "${CurateFunction}": dict.fromkeys(("refused", "next", "record", "changes", "bytes"), ANY),
    "${PlanFunction}": dict.fromkeys(("key", "refused", "n_obs", "n_vars", "nnz", "seconds"), ANY)
    | {"scan": {"partitions": ANY, "partitions_key": ANY}, "formats": [FORMAT]},
    "${ScanFunction}": {},
    "${FragmentsFunction}": {"findings": ANY},
    "${ValidateFunction}": dict.fromkeys(
        ("valid", "report_key", "report_bucket", "schema_version", "errors", "warnings"), ANY
    ),
    "${LabelFunction}": ARTIFACT,
    "${ConvertFunction}": {},
    "${AssembleFunction}": ARTIFACT,
    "${PublishFunction}": dict.fromkeys(("dataset", "version_id", "publication_id"), ANY),
    "${FailFunction}": {"recorded": ANY},
}


def follow(definition: Machine) -> Flow:
    flow = Flow(RESULTS, {"Scan": SCAN_PARTITION, "ConvertParts": PARTITION})
    flow.run(definition, INPUT, CONTEXT)
    return flow


def test_every_path_names_something_that_is_there_whichever_way_the_data_came(definition: Machine) -> None:
    visited = {name for name, _ in follow(definition).visited}
    assert visited == {name for name, _ in states(definition)}


def test_each_function_gets_the_payload_of_the_contract(definition: Machine) -> None:
    failure = {"step": ANY, "error": {"Error": ANY, "Cause": ANY}}
    payloads = follow(definition).payloads
    # A Claim that failed has no Submission to hand on: the input says which run it was.
    assert sorted(payloads.pop("RecordFailure"), key=lambda payload: len(str(payload))) == [
        {"submission": INPUT} | failure,
        {"submission": SUBMISSION} | failure,
    ]
    assert payloads == {
        "Claim": [{"submission": INPUT, "execution": ANY}],
        "Curate": [{"submission": SUBMISSION}],
        "Plan": [{"submission": SUBMISSION}],
        "ScanPart": [{"submission": SUBMISSION, "partition": SCAN_PARTITION}],
        "CheckFragments": [{"submission": SUBMISSION}],
        "Validate": [{"submission": SUBMISSION}],
        "Label": [{"submission": SUBMISSION, "schema_version": ANY}],
        "ConvertPart": [{"submission": SUBMISSION, "format": ANY, "partition": PARTITION}],
        "Assemble": [{"submission": SUBMISSION, "format": ANY, "partitions_key": ANY}],
        "Publish": [{"submission": SUBMISSION, "dataset": ANY, "version_id": ANY, "run": ANY}],
    }


@pytest.mark.parametrize(
    ("state", "place", "path"),
    [
        ("Label", ("Parameters", "Payload", "schema_version.$"), "$.verdict.schema"),
        ("Scan?", ("Choices",), [{"Variable": "$.plan.scans.partitions", "Next": "Scan"}]),
        ("RecordFailure", ("Parameters", "Payload", "step.$"), "$.at.state"),
        ("ConvertParts", ("ItemSelector", "partition.$"), "$$.Map.Value"),
        ("Failed", ("CausePath",), "$.cause"),
    ],
)
def test_a_dead_path_is_found(definition: Machine, state: str, place: tuple[str, ...], path: Any) -> None:
    broken = copy.deepcopy(definition)
    (target,) = [found for name, found in states(broken) if name == state]
    for step in place[:-1]:
        target = target[step]
    assert place[-1] in target
    target[place[-1]] = path
    with pytest.raises(DeadPath, match=state):
        follow(broken)

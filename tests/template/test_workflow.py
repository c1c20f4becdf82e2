"""The house rules of the workflow's definition."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from statelint.linter import Linter

from celldock import errors
from celldock.catalog.keys import CURATION, FRAGMENTS
from celldock.catalog.records import first_step
from celldock.catalog.states import VERSION_TRANSITIONS, VersionState
from tests.template.house import ROOT, Machine, function_of, machines, states, tasks

THROTTLED = re.compile(r"Throttl|TooManyRequests|RequestLimit|ProvisionedThroughput")
DATA_ERRORS = {"InvalidSubmission", "HostileFile", "NotFeasible", "Conflict", "ObjectGone"}
AWS_ERRORS = re.compile(r"(States|Lambda|DynamoDB|DynamoDb)\.\w+")

DEFINITION: Machine = json.loads((ROOT / "statemachine" / "ingest.asl.json").read_text())
TASKS = tasks(DEFINITION)
CATALOG_CALLS = {name: task for name, task in TASKS.items() if function_of(task) is None}
# Why a part of a run failed: of that run alone, so that there is nobody to write over.
CAUSES = {name: task for name, task in CATALOG_CALLS.items() if name.endswith("Cause")}
CATALOG_WRITES = {name: task for name, task in CATALOG_CALLS.items() if name not in CAUSES}


def retriers(task: dict[str, Any]) -> list[dict[str, Any]]:
    return task["Retry"]


def test_an_asl_linter_finds_nothing(definition: Machine) -> None:
    # statelint 3.1 knows the ASL specification, which leaves the fields of ReaderConfig to the platform.
    accepted = [
        f'Field "InputType" not allowed in State Machine.States.{each}.ItemReader.ReaderConfig'
        for each in ("Scan", "Convert.ItemProcessor.States.ConvertParts")
    ]
    assert Linter.validate(definition) == accepted


def test_the_linter_would_find_a_state_that_does_not_exist(definition: Machine) -> None:
    broken = {**definition, "StartAt": "Nowhere"}
    assert any("Nowhere" in problem for problem in Linter.validate(broken))


def test_only_what_also_runs_on_one_machine_is_used(definition: Machine) -> None:
    fields = {name for _, state in states(definition) for name in state}
    assert not fields & {"Assign", "Arguments", "Output", "QueryLanguage", "ItemBatcher", "ResultWriter"}


def test_the_machine_ends_by_itself(definition: Machine) -> None:
    assert 0 < definition["TimeoutSeconds"] <= 86400


def test_state_names_are_unique_and_described(definition: Machine) -> None:
    names = [name for name, _ in states(definition)]
    assert len(names) == len(set(names))
    assert all(state["Comment"] for _, state in states(definition))


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_timeout_retries_with_jitter_and_a_catch(name: str) -> None:
    task = TASKS[name]
    assert task["TimeoutSeconds"] > 0
    assert task["Retry"]
    for retrier in retriers(task):
        assert retrier["JitterStrategy"] == "FULL"
        assert {"IntervalSeconds", "BackoffRate", "MaxAttempts", "MaxDelaySeconds"} < set(retrier)
    assert task["Catch"][-1]["ErrorEquals"] == ["States.ALL"]


@pytest.mark.parametrize("name", TASKS)
def test_throttling_is_retried_apart_from_other_errors_and_for_longer(name: str) -> None:
    throttling, *others = retriers(TASKS[name])
    assert all(THROTTLED.search(error) for error in throttling["ErrorEquals"])
    for other in others:
        assert not any(THROTTLED.search(error) for error in other["ErrorEquals"])
        assert throttling["MaxAttempts"] > other["MaxAttempts"]
        assert throttling["MaxDelaySeconds"] > other["MaxDelaySeconds"]


@pytest.mark.parametrize("name", TASKS)
def test_what_no_retry_can_mend_is_never_retried(name: str) -> None:
    retried = {error for retrier in retriers(TASKS[name]) for error in retrier["ErrorEquals"]}
    assert not retried & DATA_ERRORS
    # These would retry out-of-memory, timeouts and our own faults, for hours.
    assert not retried & {"States.ALL", "States.TaskFailed", "States.Runtime", "Lambda.Unknown"}
    assert not any("ConditionalCheckFailed" in error for error in retried)
    assert function_of(TASKS[name]) is None or "States.Timeout" not in retried


def test_every_error_that_is_named_exists(definition: Machine) -> None:
    for name, state in states(definition):
        for rule in [*state.get("Retry", []), *state.get("Catch", [])]:
            for error in rule["ErrorEquals"]:
                ours = getattr(errors, error, None)
                is_ours = isinstance(ours, type) and issubclass(ours, errors.CelldockError)
                assert is_ours or AWS_ERRORS.fullmatch(error), (name, error)


def ends(machine: Machine, start: str) -> set[str]:
    """The final states that can be reached from `start`."""
    found, waiting, seen = set(), [start], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        state = machine["States"][name]
        if state["Type"] in {"Succeed", "Fail"} or state.get("End"):
            found.add(name)
        rules = [state, *state.get("Choices", []), *state.get("Catch", [])]
        waiting += [rule["Next"] for rule in rules if "Next" in rule]
        waiting += [state["Default"]] if "Default" in state else []
    return found


def test_every_caught_error_ends_in_a_final_state(definition: Machine) -> None:
    for machine in machines(definition):
        for name, state in machine["States"].items():
            for catcher in state.get("Catch", []):
                assert ends(machine, catcher["Next"]), name


def test_a_caught_error_never_ends_as_if_all_were_well(definition: Machine) -> None:
    for name, state in definition["States"].items():
        for catcher in state.get("Catch", []):
            reached = ends(definition, catcher["Next"])
            assert reached <= {"Superseded", "Failed"}, name
            if catcher["ErrorEquals"] == ["States.ALL"]:
                assert "Failed" in reached, name


def test_only_a_run_that_does_not_own_its_version_is_superseded(definition: Machine) -> None:
    lost = {"Conflict", "ObjectGone", "DynamoDB.ConditionalCheckFailedException"}
    for name, state in definition["States"].items():
        for catcher in state.get("Catch", []):
            if catcher["Next"] == "Superseded":
                assert set(catcher["ErrorEquals"]) <= lost, name
    # Only Claim may meet an object that has gone without a failure: it has recorded CANCELLED.
    gone = [name for name, state in definition["States"].items() if "ObjectGone" in json.dumps(state.get("Catch", []))]
    assert gone == ["Claim"]


def parts(task: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """What of a catalog write has an expression of this kind; of a transaction, each part that does."""
    items = task["Parameters"].get("TransactItems")
    found = [task["Parameters"]] if items is None else [part for item in items for part in item.values()]
    return [part for part in found if kind in part]


@pytest.mark.parametrize("name", CATALOG_WRITES)
def test_every_write_of_the_machine_names_the_run_and_the_state_that_it_expects(name: str) -> None:
    (condition,) = parts(CATALOG_WRITES[name], "ConditionExpression")
    assert condition["ConditionExpression"].startswith("#run = :run AND #state ")
    assert condition["ExpressionAttributeValues"][":run"] == {"N.$": "States.JsonToString($.submission.run)"}
    assert condition["ExpressionAttributeValues"][":processing"] == {"S": "PROCESSING"}
    assert condition["Key"] == {"pk": {"S.$": "$.submission.pk"}, "sk": {"S.$": "$.submission.sk"}}


@pytest.mark.parametrize("name", CATALOG_WRITES)
def test_every_write_of_the_machine_raises_the_revision_and_dates_the_change(name: str) -> None:
    updates = parts(CATALOG_WRITES[name], "UpdateExpression")
    assert updates
    for update in updates:
        text = update["UpdateExpression"]
        assert re.search(r"#revision = (#revision|if_not_exists\(#revision, :zero\)) \+ :one", text)
        assert "#changed_at = :now" in text
        assert update["ExpressionAttributeValues"][":now"] == {"S.$": "$$.State.EnteredTime"}


@pytest.mark.parametrize("name", CAUSES)
def test_a_cause_belongs_to_one_run_of_one_version(name: str) -> None:
    key = CAUSES[name]["Parameters"]["Key"]
    assert key["pk"] == {"S.$": "$.submission.pk"}
    assert key["sk"]["S.$"].startswith("States.Format('{}#CAUSE#{}#")
    assert "$.submission.sk, States.JsonToString($.submission.run)" in key["sk"]["S.$"]


@pytest.mark.parametrize("name", CATALOG_CALLS)
def test_the_names_and_values_of_an_expression_are_just_those_that_it_uses(name: str) -> None:
    for part in parts(CATALOG_CALLS[name], "ExpressionAttributeNames"):
        text = part.get("ConditionExpression", "") + " " + part.get("UpdateExpression", "")
        assert set(re.findall(r"#\w+", text)) == set(part["ExpressionAttributeNames"])
        assert set(re.findall(r":\w+", text)) == set(part["ExpressionAttributeValues"])


@pytest.mark.parametrize(("name", "final"), [("Ready", VersionState.READY), ("Reject", VersionState.INVALID)])
def test_a_final_state_is_allowed_closes_the_version_and_may_be_written_twice(name: str, final: VersionState) -> None:
    parameters = CATALOG_WRITES[name]["Parameters"]
    assert final in VERSION_TRANSITIONS[VersionState.PROCESSING]
    assert parameters["ExpressionAttributeValues"][":final"] == {"S": final.value}
    assert parameters["UpdateExpression"].endswith("REMOVE #open_pk")
    assert parameters["ConditionExpression"] == "#run = :run AND #state IN (:processing, :final)"


@pytest.mark.parametrize(("name", "part"), [("Scan", "ScanPart"), ("ConvertParts", "ConvertPart")])
def test_parts_run_as_standard_children_that_return_nothing(definition: Machine, name: str, part: str) -> None:
    each = dict(states(definition))[name]
    assert each["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    assert each["ItemProcessor"]["States"][part]["ResultSelector"] == {}
    assert each["ResultPath"] is None
    assert each["MaxConcurrency"] > 0
    assert not {"ToleratedFailurePercentage", "ToleratedFailureCount"} & set(each)


def test_a_file_is_validated_after_its_values_were_read_or_where_there_are_none(definition: Machine) -> None:
    found = definition["States"]
    assert found["RecordPlan"]["Next"] == "Scan?"
    assert (found["Scan?"]["Choices"][0]["Next"], found["Scan?"]["Default"]) == ("Scan", "RecordScan")
    assert (found["Scan"]["Next"], found["RecordScan"]["Next"]) == ("RecordScan", "Fragments?")


def test_fragments_are_checked_where_there_are_any_before_the_verdict(definition: Machine) -> None:
    found = definition["States"]
    assert (found["Fragments?"]["Choices"][0]["Next"], found["Fragments?"]["Default"]) == ("CheckFragments", "Validate")
    assert found["CheckFragments"]["Next"] == "Validate"
    present, refused = found["Fragments?"]["Choices"][0]["And"]
    assert present == {"Variable": f"$.submission.companions.{FRAGMENTS}", "IsPresent": True}
    assert refused == {"Variable": "$.plan.refused", "BooleanEquals": False}


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("RecordPlan", "Scan"),
        ("RecordScan", "Validate"),
        ("RecordVerdict", "Label"),
        ("RecordLabelled", "Convert"),
    ],
)
def test_a_failure_is_recorded_under_the_step_that_the_catalog_shows(definition: Machine, name: str, step: str) -> None:
    state = definition["States"][name]
    selected = state["ResultSelector"]
    assert selected.get("at", selected)["step"] == step
    if name in CATALOG_WRITES:
        (shown,) = [part for part in parts(state, "UpdateExpression") if ":step" in part["UpdateExpression"]]
        assert shown["ExpressionAttributeValues"][":step"] == {"S": step}


def test_a_run_begins_with_the_step_that_claim_says(definition: Machine) -> None:
    found = definition["States"]
    assert found["Claim"]["ResultSelector"]["at"] == {"step.$": "$.Payload.step"}
    assert (found["Claim"]["Next"], found["Curate?"]["Default"]) == ("Curate?", first_step({}))
    (curated,) = found["Curate?"]["Choices"]
    assert curated["Variable"] == f"$.submission.companions.{CURATION}"
    assert curated["Next"] == first_step({CURATION}) == "Curate"


def test_what_was_curated_goes_on_as_an_upload_and_what_could_not_be_is_reported(definition: Machine) -> None:
    found = definition["States"]
    order = ["Curate", "RecordCuration", "LeaveCuration", "Curated?"]
    assert [found[name]["Next"] for name in order[:-1]] == order[1:]
    shown = CATALOG_WRITES["RecordCuration"]["Parameters"]["ExpressionAttributeValues"][":step"]
    assert shown == {"S.$": "$.curation.next"}
    assert found["LeaveCuration"]["Parameters"] == {"step.$": "$.curation.next"}
    assert found["LeaveCuration"]["ResultPath"] == "$.at"
    (refused,) = found["Curated?"]["Choices"]
    assert (refused["Next"], found["Curated?"]["Default"]) == ("PlanNothing", "Plan")
    assert (found["PlanNothing"]["Parameters"]["formats"], found["PlanNothing"]["Next"]) == ([], "Validate")


def test_the_definitions_placeholders_are_those_that_the_template_fills(source: dict[str, Any]) -> None:
    text = (ROOT / "statemachine" / "ingest.asl.json").read_text()
    machine = source["Resources"]["IngestMachine"]["Properties"]
    assert set(re.findall(r"\$\{(\w+)\}", text)) == set(machine["DefinitionSubstitutions"])

"""A companion reaches its dataset's newest version, before or after it, once, in whichever order events come."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from celldock.catalog.keys import parse_submission_key, report_key
from celldock.catalog.records import Failure, RunInput, Version
from celldock.catalog.states import Publication, VersionState
from celldock.cloud.claims import PUBLISHED, Claim, claim, look_at_upload
from celldock.cloud.clients import client
from celldock.cloud.companions import find_companions
from celldock.errors import Conflict
from tests.cloud.conftest import INBOX, Cloud
from tests.cloud.lambdas import failed_messages, invoke, load, sqs
from tests.cloud.submissions import DATASET, KEY, arn, at_once, ready, run_of, set_state, version
from tests.cloud.test_intake import created

GZ, BGZ = f"{DATASET}.fragments.tsv.gz", f"{DATASET}.fragments.tsv.bgz"
RESTARTED = [VersionState.PROCESSING, VersionState.READY, VersionState.INVALID, VersionState.FAILED]


@pytest.fixture
def intake(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("intake", cloud, monkeypatch)


def put(key: str, content: bytes = b"x") -> str:
    return client("s3").put_object(Bucket=INBOX, Key=key, Body=content)["VersionId"]


def submitted(cloud: Cloud) -> RunInput:
    """An h5ad file that has arrived: RECEIVED."""
    run = run_of(put(KEY), "55AE")
    assert cloud.table.receive(run, DATASET, size=1, etag="e")
    return run


def claimed(cloud: Cloud, run: RunInput) -> Claim:
    return claim(cloud.table, run, arn(run), lambda: look_at_upload(cloud.inbox, run))


def in_state(cloud: Cloud, state: VersionState) -> RunInput:
    """A version whose first run, without a companion, has come as far as this."""
    run = submitted(cloud)
    claimed(cloud, run)
    if state == VersionState.FAILED:
        cloud.table.fail(DATASET, run.version_id, 1, Failure(step="Plan", error="Boom", cause=""))
    elif state != VersionState.PROCESSING:
        set_state(cloud, run, state)
    return run


def told(intake: ModuleType, key: str, version_id: str) -> None:
    assert failed_messages(invoke(intake, sqs(created(key, version_id)))) == []


def next_run(cloud: Cloud, run: RunInput, number: int = 2) -> RunInput:
    """The run that is under way by Step Functions, checked."""
    later = run.model_copy(update={"run": number})
    assert later.execution_name in cloud.running()
    return later


def pinned(found: Version) -> dict[str, str]:
    return {kind: companion.version_id for kind, companion in found.companions.items()}


@pytest.mark.parametrize("key", [GZ, BGZ])
def test_a_companion_that_is_there_first_is_pinned_by_the_claim(cloud: Cloud, intake: ModuleType, key: str) -> None:
    version_id = put(key, b"fragments")
    told(intake, key, version_id)
    assert (cloud.running(), cloud.keys(cloud.inbox)) == ([], [key]), "it waits, and nobody is told off"
    run = submitted(cloud)
    companions = claimed(cloud, run).submission.companions
    assert {kind: (c.key, c.version_id, c.size, c.passed_over) for kind, c in companions.items()} == {
        "fragments": (key, version_id, 9, "")
    }
    assert version(cloud, run.version_id).companions == companions
    told(intake, key, version_id)
    assert cloud.running() == [], "an event that comes after the claim starts nothing"


def test_the_newest_of_two_names_counts_and_the_other_is_named(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    put(BGZ)
    put(GZ)
    run = submitted(cloud)
    key = parse_submission_key(KEY)
    assert key is not None
    heads: dict[str, Any] = {name: cloud.inbox.head(name) for name in (GZ, BGZ)}

    def found(name: str) -> Any:
        return _of_hour(heads[name], hours[name]) if name in heads else None

    for newest, other in ((GZ, BGZ), (BGZ, GZ)):
        hours = {newest: 2, other: 1}
        monkeypatch.setattr(cloud.inbox, "find", found)
        companions = find_companions(cloud.inbox, key)
        assert {kind: (each.key, each.passed_over) for kind, each in companions.items()} == {
            "fragments": (newest, other)
        }
    assert run.key == KEY


def _of_hour(head: Any, hour: int) -> Any:
    return replace(head, modified=head.modified.replace(hour=hour))


@pytest.mark.parametrize("state", RESTARTED)
def test_a_companion_that_comes_later_starts_a_new_run(cloud: Cloud, intake: ModuleType, state: VersionState) -> None:
    run = in_state(cloud, state)
    version_id = put(GZ)
    for _ in range(2):
        told(intake, GZ, version_id)
    later = next_run(cloud, run)
    taken = claimed(cloud, later)
    assert taken.superseded == ((arn(run),) if state == VersionState.PROCESSING else ())
    assert claimed(cloud, later) == taken, "the same execution may claim twice"
    found = version(cloud, run.version_id)
    assert (found.state, found.run, pinned(found)) == (VersionState.PROCESSING, 2, {"fragments": version_id})
    assert (found.failure, found.verdict, found.report) == (None, None, "")
    # Then: nothing is left to do, for the same event or for the execution that its second delivery started.
    told(intake, GZ, version_id)
    for number in (1, 3):
        with pytest.raises(Conflict):
            claimed(cloud, run.model_copy(update={"run": number}))
    assert version(cloud, run.version_id) == found


def test_a_run_that_was_stopped_changes_nothing_more(cloud: Cloud, intake: ModuleType) -> None:
    run = in_state(cloud, VersionState.PROCESSING)
    told(intake, GZ, put(GZ))
    claimed(cloud, next_run(cloud, run))
    before = version(cloud, run.version_id)
    with pytest.raises(Conflict):
        cloud.table.fail(DATASET, run.version_id, 1, Failure(step="Scan", error="ABORTED", cause=""))
    assert version(cloud, run.version_id) == before


def test_the_event_of_an_overwritten_companion_does_not_bring_it_back(cloud: Cloud, intake: ModuleType) -> None:
    run = in_state(cloud, VersionState.INVALID)
    older, newer = put(GZ, b"older"), put(GZ, b"newer")
    told(intake, GZ, newer)
    claimed(cloud, next_run(cloud, run))
    told(intake, GZ, older)
    assert pinned(version(cloud, run.version_id)) == {"fragments": newer}
    assert len(cloud.running()) == 1


def test_a_companion_that_comes_while_a_claim_looks_is_seen_by_it(cloud: Cloud, intake: ModuleType) -> None:
    # Given: the claim has looked into the inbox, and the companion comes before it writes.
    run = submitted(cloud)
    looks = []

    def look() -> Any:
        upload = look_at_upload(cloud.inbox, run)
        if not looks:
            told(intake, GZ, put(GZ))
        looks.append(upload)
        return upload

    submission = claim(cloud.table, run, arn(run), look).submission
    assert (len(looks), set(submission.companions)) == (2, {"fragments"})
    assert cloud.running() == []


def test_a_message_that_was_answered_halfway_is_answered_again(
    cloud: Cloud, intake: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: the run has its number, and the machine cannot be reached.
    run = in_state(cloud, VersionState.READY)
    event = sqs(created(GZ, put(GZ)))
    with monkeypatch.context() as broken:
        broken.setattr(intake.intake._executions, "_machine_arn", cloud.machine_arn + "-missing")
        assert failed_messages(invoke(intake, event)) == ["m0"]
    assert version(cloud, run.version_id).state == VersionState.READY
    # When
    assert failed_messages(invoke(intake, event)) == []
    # Then
    claimed(cloud, next_run(cloud, run, number=3))
    assert set(version(cloud, run.version_id).companions) == {"fragments"}


@pytest.mark.parametrize("publication", [Publication.PUBLISHED, Publication.REPLACED, Publication.WITHDRAWN])
def test_a_companion_of_a_published_version_is_refused_with_a_report(
    cloud: Cloud, intake: ModuleType, publication: Publication
) -> None:
    run = in_state(cloud, VersionState.READY)
    item = version(cloud, run.version_id)
    cloud.table.write(cloud.table.update(item.pk, item.sk).set(publication=publication))
    version_id = put(GZ)
    for _ in range(2):
        told(intake, GZ, version_id)
    report = cloud.inbox.get_json(report_key(GZ, version_id, 1))
    (finding,) = report["findings"]
    assert (finding["code"], "Upload the .h5ad file again" in finding["suggestion"]) == ("companion.too_late", True)
    assert report["file"]["key"] == GZ
    assert cloud.running() == []


def test_a_version_that_is_published_before_the_new_run_claims_it_stays_so(
    cloud: Cloud, intake: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = in_state(cloud, VersionState.READY)
    version_id = put(GZ)
    told(intake, GZ, version_id)
    later = next_run(cloud, run)
    item = version(cloud, run.version_id)
    cloud.table.write(cloud.table.update(item.pk, item.sk).set(publication=Publication.PUBLISHED))
    function = load("claim", cloud, monkeypatch)
    with pytest.raises(Conflict) as conflict:
        invoke(function, {"submission": later.model_dump(), "execution": arn(later)})
    assert conflict.value.code == PUBLISHED
    assert version(cloud, run.version_id).state == VersionState.READY
    assert cloud.inbox.get_json(report_key(GZ, version_id, 1))["valid"] is False


@pytest.mark.parametrize("state", [VersionState.SUPERSEDED, VersionState.CANCELLED])
def test_a_companion_of_nobody_waits(cloud: Cloud, intake: ModuleType, state: VersionState) -> None:
    told(intake, GZ, put(GZ))
    run = in_state(cloud, VersionState.PROCESSING)
    set_state(cloud, run, state)
    told(intake, GZ, put(GZ, b"another"))
    assert cloud.running() == []


def test_what_an_earlier_run_has_made_is_not_published_with_a_later_one(cloud: Cloud) -> None:
    item = ready(cloud, put(KEY), "55AE")
    assert [artifact.run for artifact in cloud.table.artifacts(item)] == [1]
    put(GZ)
    run = run_of(item.version_id, "55AE", run=2)
    claimed(cloud, run)
    assert cloud.table.artifacts(version(cloud, item.version_id)) == []


def test_publishing_gives_way_to_a_run_that_comes_between(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given: the copies are staged, and before the flip a run with a companion goes from claim to READY.
    item = ready(cloud, put(KEY), "55AE")
    put(GZ)
    run = run_of(item.version_id, "55AE", run=2)
    stage = cloud.publisher._stage

    def stage_and_be_overtaken(*arguments: Any) -> None:
        stage(*arguments)
        claimed(cloud, run)
        set_state(cloud, run, VersionState.READY)

    monkeypatch.setattr(cloud.publisher, "_stage", stage_and_be_overtaken)
    with pytest.raises(Conflict) as conflict:
        cloud.publisher.publish(DATASET, item.version_id)
    assert conflict.value.code == "publish.changed"
    found = version(cloud, item.version_id)
    assert (found.publication, found.publication_id) == (Publication.PRIVATE, "")


@pytest.mark.parametrize("_", range(4))
def test_two_companions_and_a_claim_at_once_end_with_what_is_current(cloud: Cloud, intake: ModuleType, _: int) -> None:
    run = submitted(cloud)

    def come(content: bytes) -> None:
        told(intake, GZ, put(GZ, content))

    at_once(lambda: come(b"one"), lambda: come(b"two"), lambda: claimed(cloud, run))
    for number in range(2, 6):
        later = run.model_copy(update={"run": number})
        if later.execution_name in cloud.running():
            at_once(lambda later=later: claimed(cloud, later))
    assert pinned(version(cloud, run.version_id)) == {"fragments": cloud.inbox.head(GZ).object_version}


def test_a_run_that_dies_before_its_claim_fails_its_execution(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    run = in_state(cloud, VersionState.READY)
    function = load("fail", cloud, monkeypatch)
    dead = {"submission": {**run.model_dump(), "run": 2}, "step": "Claim", "error": {"Error": "Boom", "Cause": ""}}
    assert invoke(function, dead) == {"recorded": False}
    assert version(cloud, run.version_id).failure is None
    with pytest.raises(Conflict):
        claimed(cloud, run)

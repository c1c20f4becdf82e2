"""Claiming: one run owns a version, and the newest upload of a key wins, in whichever order things arrive."""

from __future__ import annotations

import pytest

from celldock.catalog.records import Failure
from celldock.catalog.states import VersionState
from celldock.cloud.claims import Claim, Upload, look_at_upload
from celldock.errors import Conflict, ObjectGone
from tests.cloud.conftest import INBOX, Cloud
from tests.cloud.submissions import DATASET, KEY, NEW, OLD, arn, at_once, received, run_of, set_state, take, version


def test_a_claimed_version_is_processing_and_its_dataset_points_to_it(cloud: Cloud) -> None:
    received(cloud, OLD)
    submission = take(cloud, OLD).submission
    assert (submission.dataset, submission.collection, submission.name) == (DATASET, "atlas", "lung")
    assert (submission.run, submission.execution, submission.size) == (1, arn(OLD), 512)
    assert submission.required_formats == ("cells",)
    assert not submission.publish
    assert version(cloud, OLD.version_id).state == VersionState.PROCESSING
    dataset = cloud.table.dataset(DATASET)
    assert dataset is not None
    assert (dataset.latest_version, dataset.published) == ("v-old", False)


def test_the_same_execution_may_claim_twice(cloud: Cloud) -> None:
    received(cloud, OLD)
    first = take(cloud, OLD)
    before = version(cloud, OLD.version_id)
    assert take(cloud, OLD) == first
    assert version(cloud, OLD.version_id) == before, "the second claim has written nothing"


def test_an_execution_that_nobody_announced_can_claim(cloud: Cloud) -> None:
    assert take(cloud, OLD).submission.version_id == "v-old"


def test_a_newer_upload_supersedes_an_older_unfinished_one(cloud: Cloud) -> None:
    received(cloud, OLD, NEW)
    take(cloud, OLD)
    claimed = take(cloud, NEW)
    assert claimed.superseded == (arn(OLD),)
    assert version(cloud, OLD.version_id).state == VersionState.SUPERSEDED
    assert version(cloud, NEW.version_id).state == VersionState.PROCESSING
    assert take(cloud, NEW).superseded == (arn(OLD),), "a repeated claim still knows whom to stop"


def test_an_older_upload_that_comes_late_gives_way(cloud: Cloud) -> None:
    received(cloud, NEW, OLD)
    take(cloud, NEW)
    with pytest.raises(Conflict) as conflict:
        take(cloud, OLD)
    assert conflict.value.code == "version.superseded"
    assert version(cloud, OLD.version_id).state == VersionState.SUPERSEDED
    assert version(cloud, NEW.version_id).state == VersionState.PROCESSING


def test_sequencers_of_unequal_length_are_padded_before_they_compare(cloud: Cloud) -> None:
    short, long = run_of("v-short", "55AED6"), run_of("v-long", "55AED5FFFF")
    received(cloud, short, long)
    take(cloud, short)
    with pytest.raises(Conflict):
        take(cloud, long)


@pytest.mark.parametrize("state", [VersionState.READY, VersionState.INVALID])
def test_a_version_with_an_outcome_is_never_superseded(cloud: Cloud, state: VersionState) -> None:
    received(cloud, OLD, NEW)
    take(cloud, OLD)
    set_state(cloud, OLD, state)
    assert take(cloud, NEW).superseded == ()
    assert version(cloud, OLD.version_id).state == state


@pytest.mark.parametrize(
    "state", [VersionState.READY, VersionState.INVALID, VersionState.SUPERSEDED, VersionState.CANCELLED]
)
def test_a_version_with_an_outcome_cannot_be_claimed_again(cloud: Cloud, state: VersionState) -> None:
    received(cloud, OLD)
    take(cloud, OLD)
    set_state(cloud, OLD, state)
    for run in (OLD, run_of("v-old", OLD.sequencer, run=2)):
        with pytest.raises(Conflict):
            take(cloud, run)
    assert version(cloud, OLD.version_id).state == state


def test_a_redrive_takes_over_a_failed_version_and_the_old_run_is_locked_out(cloud: Cloud) -> None:
    received(cloud, OLD)
    take(cloud, OLD)
    cloud.table.fail(DATASET, "v-old", 1, Failure(step="Convert", error="Boom", cause="why"))
    second = run_of("v-old", OLD.sequencer, run=2)
    assert take(cloud, second).submission.run == 2
    claimed = version(cloud, OLD.version_id)
    assert (claimed.state, claimed.run, claimed.failure) == (VersionState.PROCESSING, 2, None)
    with pytest.raises(Conflict):
        take(cloud, OLD)
    with pytest.raises(Conflict):
        cloud.table.fail(DATASET, "v-old", 1, Failure(step="Convert", error="Late", cause=""))
    assert version(cloud, OLD.version_id) == claimed


def test_a_failed_version_is_not_taken_by_the_run_that_failed(cloud: Cloud) -> None:
    received(cloud, OLD)
    take(cloud, OLD)
    cloud.table.fail(DATASET, "v-old", 1, Failure(step="Plan", error="Boom", cause=""))
    with pytest.raises(Conflict):
        take(cloud, OLD)


def test_a_running_version_is_not_taken_by_a_higher_run(cloud: Cloud) -> None:
    received(cloud, OLD)
    take(cloud, OLD)
    with pytest.raises(Conflict):
        take(cloud, run_of("v-old", OLD.sequencer, run=2))


def test_a_redrive_of_an_old_version_gives_way_to_a_newer_one(cloud: Cloud) -> None:
    received(cloud, OLD, NEW)
    take(cloud, OLD)
    cloud.table.fail(DATASET, "v-old", 1, Failure(step="Plan", error="Boom", cause=""))
    take(cloud, NEW)
    with pytest.raises(Conflict):
        take(cloud, run_of("v-old", OLD.sequencer, run=2))
    assert version(cloud, OLD.version_id).state == VersionState.SUPERSEDED


def test_publishing_needs_the_submitters_wish_and_the_collections_leave(cloud: Cloud) -> None:
    wished = Upload(size=512, etag="abc", publish_requested=True)
    received(cloud, OLD, NEW)
    assert not take(cloud, OLD, wished).submission.publish, "the default is to hold"
    cloud.table.put_collection("atlas", {"publish_policy": "auto"})
    assert take(cloud, NEW, wished).submission.publish


def test_a_run_knows_whether_its_collection_is_a_pre_analysis_one(cloud: Cloud) -> None:
    received(cloud, OLD, NEW)
    assert not take(cloud, OLD).submission.pre_analysis
    cloud.table.put_collection("atlas", {"pre_analysis": True})
    assert take(cloud, NEW).submission.pre_analysis


def test_the_upload_is_looked_at_by_its_version(cloud: Cloud) -> None:
    s3 = cloud.inbox._client
    first = s3.put_object(Bucket=INBOX, Key=KEY, Body=b"one", Metadata={"celldock-publish": "Auto"})["VersionId"]
    s3.put_object(Bucket=INBOX, Key=KEY, Body=b"overwritten")
    upload = look_at_upload(cloud.inbox, run_of(first, "55"))
    assert (upload.size, upload.publish_requested) == (3, True)
    s3.delete_object(Bucket=INBOX, Key=KEY, VersionId=first)
    with pytest.raises(ObjectGone):
        look_at_upload(cloud.inbox, run_of(first, "55"))


def test_a_version_whose_object_is_gone_is_cancelled_once(cloud: Cloud) -> None:
    received(cloud, OLD)
    for _ in range(2):
        cloud.table.cancel(DATASET, "v-old", 1)
    assert version(cloud, OLD.version_id).state == VersionState.CANCELLED


def test_a_run_does_not_cancel_another_run(cloud: Cloud) -> None:
    received(cloud, OLD)
    take(cloud, OLD)
    with pytest.raises(Conflict):
        cloud.table.cancel(DATASET, "v-old", 2)
    assert version(cloud, OLD.version_id).state == VersionState.PROCESSING


@pytest.fixture(params=range(4))
def rounds(request: pytest.FixtureRequest) -> int:
    """A race is run more than once: each time its threads interleave in another way."""
    return request.param


@pytest.mark.usefixtures("rounds")
def test_two_versions_that_race_end_with_the_newer_one(cloud: Cloud) -> None:
    received(cloud, OLD, NEW)
    old, new = at_once(lambda: take(cloud, OLD), lambda: take(cloud, NEW))
    assert isinstance(new, Claim)
    assert isinstance(old, Claim | Conflict)
    assert version(cloud, OLD.version_id).state == VersionState.SUPERSEDED
    assert version(cloud, NEW.version_id).state == VersionState.PROCESSING
    assert new.superseded == ((arn(OLD),) if isinstance(old, Claim) else ())


@pytest.mark.usefixtures("rounds")
def test_two_deliveries_of_one_claim_that_race_agree(cloud: Cloud) -> None:
    received(cloud, OLD)
    first, second = at_once(lambda: take(cloud, OLD), lambda: take(cloud, OLD))
    assert first == second
    assert version(cloud, OLD.version_id).revision == 2, "received once, claimed once"


@pytest.mark.usefixtures("rounds")
def test_a_claim_that_races_with_ready_leaves_ready_alone(cloud: Cloud) -> None:
    received(cloud, OLD, NEW)
    take(cloud, OLD)

    def finish() -> None:
        item = version(cloud, OLD.version_id)
        cloud.table.write(
            cloud.table.update(item.pk, item.sk)
            .where(run=1, state=VersionState.PROCESSING)
            .set(state=VersionState.READY)
        )

    finished, claimed = at_once(finish, lambda: take(cloud, NEW))
    assert isinstance(claimed, Claim)
    is_late = isinstance(finished, Conflict)
    assert version(cloud, OLD.version_id).state == (VersionState.SUPERSEDED if is_late else VersionState.READY)


def test_every_write_raises_the_revision_by_one(cloud: Cloud) -> None:
    received(cloud, OLD)
    revisions = [version(cloud, OLD.version_id).revision]
    take(cloud, OLD)
    revisions.append(version(cloud, OLD.version_id).revision)
    cloud.table.fail(DATASET, "v-old", 1, Failure(step="Plan", error="Boom", cause=""))
    revisions.append(version(cloud, OLD.version_id).revision)
    assert revisions == [1, 2, 3]

"""boto3's exceptions become the errors that the workflow's Retry and Catch name."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from celldock.catalog.events import change_of
from celldock.cloud.bus import EventBus
from celldock.cloud.clients import client
from celldock.cloud.environment import ApiEnvironment, TableEnvironment, read_environment
from celldock.cloud.executions import Executions, stop_execution
from celldock.cloud.faults import aws_faults
from celldock.cloud.scratch import scratch_folder
from celldock.errors import CelldockError, Conflict, ObjectGone, ServiceFault, Throttled, TransientError
from tests.cloud.conftest import BUS, Cloud
from tests.cloud.submissions import NEW, OLD
from tests.unit.test_catalog_events import VERSION


def client_error(code: str, status: int = 400, **more: object) -> ClientError:
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}, **more}
    return ClientError(response, "Call")  # pyright: ignore[reportArgumentType] - the shape that AWS sends


def cancelled(*codes: str) -> ClientError:
    return client_error("TransactionCanceledException", CancellationReasons=[{"Code": code} for code in codes])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (client_error("NoSuchKey", 404), ObjectGone),
        (client_error("NoSuchVersion", 404), ObjectGone),
        (client_error("404", 404), ObjectGone),
        (client_error("405", 405), ObjectGone),
        (client_error("SlowDown", 503), Throttled),
        (client_error("ThrottlingException"), Throttled),
        (client_error("TooManyRequestsException", 429), Throttled),
        (client_error("ProvisionedThroughputExceededException"), Throttled),
        (client_error("ConditionalCheckFailedException"), Conflict),
        (client_error("InternalError", 500), TransientError),
        (client_error("503", 503), TransientError),
        (client_error("TransactionConflictException"), TransientError),
        (client_error("AccessDenied", 403), ServiceFault),
        (client_error("NoSuchBucket", 404), ServiceFault),
        (client_error("ResourceNotFoundException"), ServiceFault),
        (cancelled("None", "ConditionalCheckFailed"), Conflict),
        (cancelled("TransactionConflict", "ConditionalCheckFailed"), Conflict),
        (cancelled("TransactionConflict", "None"), TransientError),
        (cancelled("ThrottlingError"), Throttled),
        (cancelled("ValidationError"), ServiceFault),
        (EndpointConnectionError(endpoint_url="http://x"), TransientError),
        (ReadTimeoutError(endpoint_url="http://x"), TransientError),
        (ResponseStreamingError(error="reset"), TransientError),
        (NoCredentialsError(), ServiceFault),
    ],
)
def test_every_fault_has_one_kind(error: Exception, kind: type[CelldockError]) -> None:
    with pytest.raises(CelldockError) as raised, aws_faults("here"):
        raise error
    assert type(raised.value) is kind
    assert raised.value.where == "here"


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), aws_faults("here"):
        raise KeyError("x")


def test_a_second_start_of_the_same_run_starts_nothing(cloud: Cloud) -> None:
    first = cloud.executions.start(OLD)
    assert cloud.executions.start(OLD).arn == first.arn == cloud.executions.arn_of(OLD)
    stop_execution(client("stepfunctions"), first.arn, "over")
    again = cloud.executions.start(OLD)
    assert (again.arn, again.existed) == (first.arn, True)
    assert cloud.running() == []


def test_stopping_what_has_ended_or_never_was_is_fine(cloud: Cloud) -> None:
    for _ in range(2):
        stop_execution(client("stepfunctions"), cloud.executions.start(OLD).arn, "over")
    stop_execution(client("stepfunctions"), cloud.executions.arn_of(NEW), "never was")
    assert cloud.running() == []


def test_a_redrive_skips_numbers_whose_run_died_before_it_could_claim(cloud: Cloud) -> None:
    second = OLD.model_copy(update={"run": 2})
    stop_execution(client("stepfunctions"), cloud.executions.start(second).arn, "died")
    started = cloud.executions.start_next(second)
    assert started.run == 3
    assert cloud.executions.start_next(second).run == 3, "asked again while it runs: the same execution"


def test_an_unknown_machine_is_our_fault(cloud: Cloud) -> None:
    machine = cloud.machine_arn.replace("ingest", "missing")
    with pytest.raises(ServiceFault):
        Executions(client("stepfunctions"), machine).start(OLD)


class RefusingBus:
    """A bus that takes all but the second entry of a call."""

    def put_events(self, Entries: list[dict[str, str]]) -> dict[str, object]:  # noqa: N803 - boto3's name
        results = [{"EventId": "1"}, {"ErrorCode": "ThrottlingException"}, *[{"EventId": "2"}] * (len(Entries) - 2)]
        return {"FailedEntryCount": 1, "Entries": results}


def test_refused_entries_are_named() -> None:
    changes = [change for n in range(3) if (change := change_of(None, {**VERSION, "revision": n}))]
    with pytest.raises(TransientError, match=r"VERSION#v1\|1 \(ThrottlingException\)"):
        EventBus(RefusingBus(), BUS).put(changes)


def test_the_environment_is_checked_and_named() -> None:
    assert read_environment(TableEnvironment, {"CELLDOCK_TABLE": "t", "OTHER": "x"}).table == "t"
    with pytest.raises(ServiceFault, match="CELLDOCK_MACHINE_ARN, CELLDOCK_TABLE") as raised:
        read_environment(
            ApiEnvironment,
            {
                "CELLDOCK_INBOX": "i",
                "CELLDOCK_ARTIFACTS": "a",
                "CELLDOCK_PUBLIC": "p",
                "CELLDOCK_MACHINE_ARN": "secret value",
            },
        )
    assert "secret value" not in str(raised.value)


def test_scratch_is_empty_whatever_the_last_invocation_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "celldock").mkdir()
    (tmp_path / "celldock" / "somebody's data").write_text("private")
    with scratch_folder() as scratch:
        assert list(scratch.iterdir()) == []
        (scratch / "x").write_text("mine")
    assert not scratch.exists()

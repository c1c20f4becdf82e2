"""The example service, deployed and used through the APIs that its users have."""

from __future__ import annotations

import base64
import json
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from celldock_local.stack import LocalStack, StackFailed
from tests.local.example import write_build
from tests.local.mend_server import received, until


def invoke(stack: LocalStack, function: str, qualifier: str = "", **event: Any) -> tuple[Any, str | None]:
    """A function's answer, and whether it is an error."""
    name = stack.outputs[function] + (f":{qualifier}" if qualifier else "")
    answer = stack.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event))
    return json.loads(answer["Payload"].read() or b"null"), answer.get("FunctionError")


@pytest.fixture
def journal(stack: LocalStack) -> str:
    """The queue that the example's functions note their batches in, empty."""
    received(stack.client("sqs"), stack.outputs["JournalUrl"], 1000, wait=0.3)
    return stack.outputs["JournalUrl"]


def notes(stack: LocalStack, journal: str, kind: str, count: int, wait: float = 15) -> list[Any]:
    """The next `count` notes of one kind, or fewer after `wait` seconds."""
    found = [json.loads(m["Body"]) for m in received(stack.client("sqs"), journal, count, wait)]
    return [note[kind] for note in found if kind in note]


def test_a_function_has_its_layers_environment_and_limits(stack: LocalStack) -> None:
    assert invoke(stack, "Probe", do="greet") == ("from the later layer", None)
    seen, _ = invoke(stack, "Probe", do="environment")
    assert seen["WORD"] == "given"
    assert seen["AWS_ENDPOINT_URL"] == stack.endpoint
    assert seen["AWS_LAMBDA_LOG_FORMAT"] == "JSON"


def test_a_function_without_the_layer_lacks_it(stack: LocalStack) -> None:
    answer, error = invoke(stack, "Bare", do="greet")
    assert error == "Unhandled"
    assert answer["errorMessage"] == "No module named 'greeting'"
    answer, error = invoke(stack, "Broken")
    assert error == "Unhandled"
    assert answer["errorType"] == "Runtime.ImportModuleError"


def test_an_alias_runs_the_published_version(stack: LocalStack) -> None:
    client = stack.client("lambda")

    assert invoke(stack, "Probe", "live", do="version") == ("1", None)
    assert invoke(stack, "Probe", do="version") == ("$LATEST", None)
    answer = client.invoke(FunctionName=stack.outputs["Probe"], Qualifier="live", Payload=b'{"do":"version"}')
    assert json.loads(answer["Payload"].read()) == "1"


def test_every_invocation_is_logged(stack: LocalStack) -> None:
    answer = stack.client("lambda").invoke(FunctionName=stack.outputs["Bare"], LogType="Tail", Payload=b"{}")
    request_id = json.loads(answer["Payload"].read())["request_id"]

    logged = next(i for i in stack.invocations() if i.request_id == request_id)
    assert logged.function == stack.outputs["Bare"]
    assert logged.memory_mb == 256
    assert 5 < logged.peak_mb < 256
    assert logged.error is None
    assert "printed by the function" in base64.b64decode(answer["LogResult"]).decode()

    invoke(stack, "Probe", do="echo")
    events = stack.client("logs").filter_log_events(logGroupName=stack.outputs["Logs"])["events"]
    assert any("REPORT RequestId" in event["message"] for event in events)


def test_reserved_concurrency_throttles(stack: LocalStack) -> None:
    def attempt(_: int) -> str:
        try:
            return str(invoke(stack, "Single", do="sleep", seconds=3))
        except ClientError as error:
            return error.response["Error"]["Code"]

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(attempt, range(3))) == ["(None, None)", *["TooManyRequestsException"] * 2]
    assert invoke(stack, "Single")[1] is None


def test_a_payload_over_the_limit_is_refused(stack: LocalStack) -> None:
    with pytest.raises(ClientError) as raised:
        stack.client("lambda").invoke(FunctionName=stack.outputs["Bare"], Payload=json.dumps("x" * (7 << 20)))
    assert raised.value.response["Error"]["Code"] == "RequestTooLargeException"


def test_an_event_is_retried_then_goes_to_the_destination(stack: LocalStack, journal: str) -> None:
    stack.client("lambda").invoke(FunctionName=stack.outputs["Later"], InvocationType="Event", Payload=b'{"number":7}')

    [failure] = received(stack.client("sqs"), stack.outputs["FailureUrl"], wait=20)
    record = json.loads(failure["Body"])
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert record["requestPayload"] == {"number": 7}
    assert record["responsePayload"]["errorMessage"] == "asked to"
    assert notes(stack, journal, "later", 2) == [{"number": 7}] * 2


def test_a_queue_is_polled_in_batches(stack: LocalStack, journal: str) -> None:
    sqs, url = stack.client("sqs"), stack.outputs["WorkUrl"]
    entries = [{"Id": str(n), "MessageBody": f"ok {n}"} for n in range(4)]
    sqs.send_message_batch(QueueUrl=url, Entries=entries)

    seen = notes(stack, journal, "messages", 1)
    assert sorted(body for batch in seen for body in batch) == ["ok 0", "ok 1", "ok 2", "ok 3"]
    until(lambda: empty(sqs, url))


def test_only_failed_messages_come_again_and_end_in_the_dead_letter_queue(stack: LocalStack, journal: str) -> None:
    sqs, url = stack.client("sqs"), stack.outputs["WorkUrl"]
    entries = [{"Id": body, "MessageBody": body} for body in ("good", "fail-always", "unwanted")]
    sqs.send_message_batch(QueueUrl=url, Entries=entries)

    [dead] = received(sqs, stack.outputs["DeadUrl"], wait=20)
    assert dead["Body"] == "fail-always"
    seen = [body for batch in notes(stack, journal, "messages", 2) for body in batch]
    assert sorted(seen) == ["fail-always", "fail-always", "good"]
    until(lambda: empty(sqs, url))


def test_a_function_that_fails_leaves_its_batch_in_the_queue(stack: LocalStack, journal: str) -> None:
    sqs = stack.client("sqs")
    sqs.send_message(QueueUrl=stack.outputs["WorkUrl"], MessageBody="explode")

    [dead] = received(sqs, stack.outputs["DeadUrl"], wait=20)
    assert dead["Body"] == "explode"
    assert notes(stack, journal, "messages", 2) == [["explode"]] * 2


def empty(sqs: Any, url: str) -> bool:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    return not any(int(n) for n in sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values())


def test_a_stream_is_followed_in_order_and_filtered(stack: LocalStack, journal: str) -> None:
    table, name = stack.client("dynamodb"), stack.outputs["Things"]
    for number in range(6):
        key = {"pk": {"S": f"ordered-{number}"}}
        table.put_item(TableName=name, Item={**key, "n": {"N": "1"}})
        table.put_item(TableName=name, Item={**key, "n": {"N": "2"}})

    seen: list[str] = []
    until(lambda: len(seen.__iadd__([k for b in notes(stack, journal, "changes", 1, 2) for k in b])) >= 6, 20)
    assert seen == [f"ordered-{number}" for number in range(6)]


def test_a_poisoned_change_is_bisected_out_and_reported(stack: LocalStack, journal: str) -> None:
    table, name = stack.client("dynamodb"), stack.outputs["Things"]
    requests: list[Any] = [{"PutRequest": {"Item": {"pk": {"S": f"mixed-{n}"}}}} for n in range(3)]
    requests[1]["PutRequest"]["Item"]["poison"] = {"BOOL": True}
    table.batch_write_item(RequestItems={name: requests})

    [failure] = received(stack.client("sqs"), stack.outputs["FailureUrl"], wait=20)
    batch = json.loads(failure["Body"])["DDBStreamBatchInfo"]
    assert batch["batchSize"] == 1
    assert batch["startSequenceNumber"] == batch["endSequenceNumber"]
    seen = [keys for keys in notes(stack, journal, "changes", 20, wait=2) if "mixed-1" not in keys]
    assert [key for keys in seen for key in keys] == ["mixed-0", "mixed-2"]


def test_the_function_url_is_served(stack: LocalStack) -> None:
    url = f"{stack.api_url}/a%20b/%2F?name=caf%C3%A9%2B%25&name=2&empty="
    request = urllib.request.Request(url, data=b'{"do": "echo"}', headers={"X-Mine": "1", "Cookie": "a=b; c=d"})
    with urllib.request.urlopen(request) as answer:
        event = json.loads(answer.read())["event"]

    assert event["version"] == "2.0"
    assert event["rawPath"] == "/a b//"
    assert event["rawQueryString"] == "name=caf%C3%A9%2B%25&name=2&empty="
    assert event["queryStringParameters"] == {"name": "café+%,2", "empty": ""}
    assert event["headers"]["x-mine"] == "1"
    assert event["cookies"] == ["a=b", "c=d"]
    assert event["requestContext"]["http"]["method"] == "POST"
    assert event["requestContext"]["authorizer"]["iam"]["accountId"] == "123456789012"
    assert not event["isBase64Encoded"]


def test_a_state_machine_runs_the_deployed_function(stack: LocalStack) -> None:
    states, arn = stack.client("stepfunctions"), stack.outputs["Machine"]
    execution = states.start_execution(stateMachineArn=arn, name="one", input='{"do": "greet"}')["executionArn"]
    ended = until(lambda: (d := states.describe_execution(executionArn=execution))["status"] != "RUNNING" and d)
    assert (ended["status"], ended["output"]) == ("SUCCEEDED", '"from the later layer"')


def test_a_new_object_is_an_event(stack: LocalStack, journal: str) -> None:
    events, bucket = stack.client("events"), stack.outputs["Objects"]
    events.put_rule(Name="objects", EventPattern='{"source": ["aws.s3"]}')
    queue = stack.client("sqs").get_queue_attributes(QueueUrl=journal, AttributeNames=["QueueArn"])["Attributes"]
    events.put_targets(Rule="objects", Targets=[{"Id": "journal", "Arn": queue["QueueArn"]}])
    stack.client("s3").put_object(Bucket=bucket, Key="a b+c", Body=b"new")

    assert notes(stack, journal, "detail", 1)[0]["object"]["key"] == "a b+c"


def test_a_topic_and_a_bus_reach_their_queue(stack: LocalStack, journal: str) -> None:
    stack.client("sns").publish(TopicArn=stack.outputs["Topic"], Message='{"from": "topic"}')
    assert notes(stack, journal, "from", 1) == ["topic"]
    entry = {"Source": "example", "DetailType": "Told", "Detail": '{"n": 1}', "EventBusName": stack.outputs["Bus"]}
    stack.client("events").put_events(Entries=[entry])
    assert notes(stack, journal, "detail", 1) == [{"n": 1}]


def test_the_resources_have_what_the_template_gives_them(stack: LocalStack) -> None:
    s3, bucket = stack.client("s3"), stack.outputs["Objects"]
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert {rule["ID"]: rule.get("Expiration") for rule in rules} == {"parts": None, "work": {"Days": 30}}
    ownership = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert ownership == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert "aws:SecureTransport" in s3.get_bucket_policy(Bucket=bucket)["Policy"]
    s3.put_object(Bucket=bucket, Key="a", Body=b"allowed")

    table, name = stack.client("dynamodb"), stack.outputs["Things"]
    assert table.describe_time_to_live(TableName=name)["TimeToLiveDescription"]["AttributeName"] == "expires"
    recovery = table.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    assert recovery["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"

    probe = stack.client("lambda").get_function_configuration(FunctionName=stack.outputs["Probe"])
    assert probe["TracingConfig"] == {"Mode": "Active"}
    assert probe["Layers"][0]["Arn"] == stack.outputs["Layer"]
    groups = stack.client("logs").describe_log_groups(logGroupNamePrefix=stack.outputs["Logs"])["logGroups"]
    assert groups[0]["retentionInDays"] == 30
    alarms = stack.client("cloudwatch").describe_alarms(AlarmNames=[stack.outputs["Alarm"]])["MetricAlarms"]
    assert alarms[0]["AlarmActions"] == [stack.outputs["Topic"]]


def test_messages_survive_many_senders_and_receivers_at_once(stack: LocalStack) -> None:
    sqs = stack.client("sqs")
    url = sqs.create_queue(QueueName="crowded")["QueueUrl"]
    got: list[str] = []
    sent = threading.Event()

    def send(sender: int) -> None:
        for number in range(15):
            sqs.send_message(QueueUrl=url, MessageBody=f"{sender}-{number}")

    def drain() -> None:
        while True:
            messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=3).get("Messages", [])
            if not messages and sent.is_set():
                return
            for message in messages:
                got.append(message["Body"])
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    with ThreadPoolExecutor(8) as pool:
        drains = [pool.submit(drain) for _ in range(4)]
        for sender in [pool.submit(send, n) for n in range(4)]:
            sender.result()
        sent.set()
        for receiver in drains:
            receiver.result()
    assert sorted(got) == sorted(f"{s}-{n}" for s in range(4) for n in range(15))


@pytest.mark.long
def test_a_template_that_cannot_be_deployed_fails_the_start(runtime: Path, tmp_path: Path) -> None:
    template = "Transform: AWS::Serverless-2016-10-31\nResources: {Odd: {Type: AWS::Glue::Job}}\n"
    build = write_build(tmp_path / "build", template)
    with pytest.raises(StackFailed, match=r"^Odd: the local stack cannot create AWS::Glue::Job$"):
        LocalStack(build, tmp_path / "data", runtime=runtime).__enter__()


@pytest.mark.long
def test_two_stacks_run_side_by_side(stack: LocalStack, runtime: Path, tmp_path: Path) -> None:
    with LocalStack(None, tmp_path / "data", runtime=runtime) as other:
        other.client("s3").create_bucket(Bucket="only-here")
        names = [bucket["Name"] for bucket in stack.client("s3").list_buckets()["Buckets"]]
        assert "only-here" not in names

"""The small mends: in each, what stock moto does and what it should."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.awslambda.models import LambdaFunction
from moto.cloudformation import parsing
from moto.core.common_models import BaseModel

from celldock_local.aws import isolated_session, local_client
from celldock_local.deploy import DeployFailed, translate
from celldock_local.mends import names, tracking
from celldock_local.mends.context import MendContext
from celldock_local.stack import LocalStack
from tests.local.example import write_build
from tests.local.machines import function
from tests.local.mend_server import ScriptedRunner, Server, serving


def context(data: Path) -> MendContext:
    """For mends that need no server."""

    def client(service: str) -> Any:
        return local_client(service, "http://127.0.0.1:9")

    return MendContext(client, ScriptedRunner(client), data, ThreadPoolExecutor(1))


@pytest.fixture(scope="module")
def mended() -> Iterator[Server]:
    with serving("tracking", "names", "bucket_policy", "sqs_atomic", "queue_urls") as server:
        yield server


def deployed(server: Server | LocalStack, name: str, resources: dict[str, Any], output: Any) -> str:
    """The output of a new stack."""
    client = server.client("cloudformation")
    body = {"Resources": resources, "Outputs": {"It": {"Value": output}}}
    client.create_stack(StackName=name, TemplateBody=json.dumps(body))
    return client.describe_stacks(StackName=name)["Stacks"][0]["Outputs"][0]["OutputValue"]


QUEUE = {"Queue": {"Type": "AWS::SQS::Queue"}}


def test_stock_queue_urls_lead_to_aws(stock: Server) -> None:
    assert "amazonaws.com" in deployed(stock, "queues", QUEUE, {"Ref": "Queue"})


def test_queue_urls_lead_here(mended: Server) -> None:
    url = deployed(mended, "queues", QUEUE, {"Ref": "Queue"})
    assert url.startswith(mended.endpoint)
    mended.client("sqs").send_message(QueueUrl=url, MessageBody="there")


def test_stock_names_are_random_and_ours_come_from_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stock_generate = parsing.generate_resource_name

    def name_in(folder: str) -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.setattr(parsing, "generate_resource_name", stock_generate)
        names.apply(context(tmp_path / folder))
        return parsing.generate_resource_name("AWS::S3::Bucket", "stack", "Bucket")

    assert stock_generate("AWS::S3::Bucket", "stack", "Bucket") != stock_generate("AWS::S3::Bucket", "stack", "Bucket")
    assert name_in("one") == name_in("one") != name_in("two")


def tls_only(server: Server, name: str) -> Any:
    s3 = server.client("s3")
    s3.create_bucket(Bucket=name)
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{name}/*"}
    conditional = {**deny, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [conditional]}))
    return s3


def test_stock_denies_everything_for_a_condition(stock: Server) -> None:
    with pytest.raises(ClientError, match=r"AccessDenied|Forbidden|403"):
        tls_only(stock, "tls").put_object(Bucket="tls", Key="a", Body=b"")


def test_a_condition_is_kept_and_not_evaluated(mended: Server) -> None:
    s3 = tls_only(mended, "tls")
    s3.put_object(Bucket="tls", Key="a", Body=b"")
    assert "SecureTransport" in s3.get_bucket_policy(Bucket="tls")["Policy"]


def test_a_plain_deny_still_denies(mended: Server) -> None:
    s3 = mended.client("s3")
    s3.create_bucket(Bucket="closed")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::closed/*"}
    s3.put_bucket_policy(Bucket="closed", Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    with pytest.raises(ClientError, match=r"AccessDenied|Forbidden|403"):
        s3.put_object(Bucket="closed", Key="a", Body=b"")


def test_stock_remembers_what_was_deleted_and_ours_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Thing(BaseModel):
        instances_tracked: ClassVar[list[Any]]

    monkeypatch.setattr(BaseModel, "__new__", BaseModel.__new__)
    Thing()
    assert len(Thing.instances_tracked) == 1
    tracking.apply(context(tmp_path))
    Thing()
    assert len(Thing.instances_tracked) == 1


SENT_DURING_A_DELETE = """
import threading
from moto.sqs.models import Message, Queue

def message(body):
    made = Message(body, body)
    made.receipt_handle = body
    made.mark_sent()
    return made

def left():
    queue = Queue("q", "us-east-1", "123456789012")
    sender = threading.Thread(target=lambda: queue.add_message(message("second")))
    class Messages(list):  # lets the sender in when it was read to its end
        def __iter__(self):
            yield from list.__iter__(self)
            if not sender.ident:
                sender.start()
                sender.join(0.2)
    queue._messages = Messages([message("first")])
    queue.delete_message("first")
    sender.join()
    return [m.body for m in queue._messages]

print(left())
from celldock_local.mends import sqs_atomic
sqs_atomic.apply(None)
print(left())
"""


def test_stock_loses_a_message_that_is_sent_during_a_delete_and_ours_does_not() -> None:
    answer = subprocess.run([sys.executable, "-c", SENT_DURING_A_DELETE], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == ["[]", "['second']"]


COUNTED_FOR_A_RECEIVE = """
import moto.sqs.models as models
from types import SimpleNamespace
from threading import Event

counted = []
stock = models.Queue.approximate_number_of_messages
models.Queue.approximate_number_of_messages = property(lambda queue: counted.append(queue) or stock.fget(queue))

def fetched(age):
    backend = models.SQSBackend("us-east-1", "123456789012")
    queue = backend.create_queue("q", MessageRetentionPeriod=60)
    for number in range(3):
        backend.send_message("q", str(number))
    for message in queue._messages:
        message.sent_timestamp -= 1000 * age
    counted.clear()
    bodies = [message.body for message in backend.receive_message("q", 10, 0, 30)]
    return bodies, len(counted)

print(fetched(0), fetched(50), fetched(70))
from celldock_local.mends import sqs_atomic
sqs_atomic.apply(SimpleNamespace(stop=Event()))
print(fetched(0), fetched(50), fetched(70))
"""


def test_stock_counts_the_queue_for_each_message_and_ours_does_not() -> None:
    answer = subprocess.run([sys.executable, "-c", COUNTED_FOR_A_RECEIVE], capture_output=True, text=True, check=True)
    bodies = "['0', '1', '2']"
    assert answer.stdout.splitlines() == [f"({bodies}, {n}) ({bodies}, {n}) ([], {n // 3})" for n in (9, 0)]


SERVICES_OF_A_REQUEST = """
import os
from moto.moto_server.werkzeug_app import DomainDispatcherApplication

listed = []
stock = os.listdir
os.listdir = lambda folder: listed.append(folder) or stock(folder)

def found():
    listed.clear()
    application = DomainDispatcherApplication(None)
    hosts = ["dynamodb", "s3.amazonaws.com", "awslambda", "no-such-service"]
    return [application.get_backend_for_host(host) for host in hosts], len(listed)

print(found())
from celldock_local.mends import dispatch
dispatch.apply(None)
print(found())
"""


def test_stock_lists_its_services_for_each_request_and_ours_does_not() -> None:
    answer = subprocess.run([sys.executable, "-c", SERVICES_OF_A_REQUEST], capture_output=True, text=True, check=True)
    backends = "['dynamodb', 's3', 'awslambda', None]"
    assert answer.stdout.splitlines() == [f"({backends}, 4)", f"({backends}, 0)"]


@mock_aws
def test_stock_needs_docker_to_invoke_and_forgets_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///there/is/none.sock")
    session = isolated_session()
    functions, iam = session.client("lambda"), session.client("iam")
    role = iam.create_role(RoleName="any", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    code = {"ZipFile": b"PK\x05\x06" + bytes(18)}
    functions.create_function(
        FunctionName="any", Runtime="python3.13", Role=role, Handler="app.handler", Code=code, Publish=True
    )
    answer = functions.invoke(FunctionName="any", Payload=b"{}")
    assert b"error running docker" in answer["Payload"].read()

    monkeypatch.setattr(LambdaFunction, "invoke", lambda self, *_: f'"{self.version}"'.encode())
    assert functions.invoke(FunctionName="any", Qualifier="1")["Payload"].read() == b'"$LATEST"'


def test_stock_does_not_serve_a_function_url(stock: Server) -> None:
    config = stock.client("lambda").create_function_url_config(FunctionName=function(stock), AuthType="NONE")
    assert "on.aws" in config["FunctionUrl"]


def test_stock_skips_what_it_does_not_know(stock: Server) -> None:
    resources = {
        **QUEUE,
        "Policy": {
            "Type": "AWS::SQS::QueuePolicy",
            "Properties": {"Queues": [{"Ref": "Queue"}], "PolicyDocument": {"Version": "2012-10-17", "Statement": []}},
        },
        "Bucket": {
            "Type": "AWS::S3::Bucket",
            "Properties": {"VersioningConfiguration": {"Status": "Enabled"}, "Colour": "red"},
        },
        "Job": {"Type": "AWS::Glue::Job"},
    }
    bucket = deployed(stock, "skipping", resources, {"Ref": "Bucket"})
    made = stock.client("cloudformation").list_stack_resources(StackName="skipping")["StackResourceSummaries"]
    assert not {"Policy", "Job"} & {r["LogicalResourceId"] for r in made}
    assert "Status" not in stock.client("s3").get_bucket_versioning(Bucket=bucket)


LAMBDA = {
    "Type": "AWS::Lambda::Function",
    "Properties": {"Runtime": "python3.9", "Handler": "a.b", "Code": {}, "Role": "r"},
}


@pytest.mark.parametrize(
    ("resource", "complaint"),
    [
        ({"Type": "AWS::Glue::Job"}, "Odd: the local stack cannot create AWS::Glue::Job"),
        (
            {"Type": "AWS::SQS::Queue", "Properties": {"Colour": "red"}},
            "Odd: the local stack does not know the property Colour of AWS::SQS::Queue",
        ),
        (
            {"Type": "AWS::S3::Bucket", "Properties": {"NotificationConfiguration": {"QueueConfigurations": []}}},
            "Odd (AWS::S3::Bucket) could not be created: the local stack does not know QueueConfigurations",
        ),
        (
            {"Type": "AWS::Events::Rule", "Properties": {"ScheduleExpression": "rate(5 minutes)"}},
            "the local stack does not know the property ScheduleExpression",
        ),
        (LAMBDA, "its Runtime is python3.9, but the local stack runs on python3.13"),
    ],
)
def test_ours_refuses_it_by_name(stack: LocalStack, resource: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ClientError) as raised:
        deployed(stack, f"odd-{uuid4().hex[:8]}", {"Odd": resource}, "-")
    assert complaint in str(raised.value)


def test_code_that_was_not_built_is_named(tmp_path: Path) -> None:
    template = """
        Transform: AWS::Serverless-2016-10-31
        Resources:
          Odd: {Type: AWS::Serverless::Function, Properties: {CodeUri: Absent, Handler: a.b, Runtime: python3.13}}
    """
    build = write_build(tmp_path, template)
    with pytest.raises(DeployFailed, match="Odd: CodeUri Absent is not a folder"):
        translate(build / "template.yaml", lambda folder: "s3://bucket/key", {})


def test_stock_pushes_within_the_write(stock: Server) -> None:
    """One message an invocation, at once; a failed one is visible again immediately."""
    name, sqs = function(stock), stock.client("sqs")
    url = sqs.create_queue(QueueName="pushed", Attributes={"VisibilityTimeout": "600"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    stock.client("lambda").create_event_source_mapping(EventSourceArn=arn, FunctionName=name, BatchSize=10)
    sqs.send_message(QueueUrl=url, MessageBody="once")
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert counts["ApproximateNumberOfMessages"] == counts["ApproximateNumberOfMessagesNotVisible"] == "0"


def stream_left_by(server: Server | LocalStack, name: str) -> list[str]:
    """What a reader of a table's stream sees of an item while a function follows it too."""
    client, streams = server.client("dynamodb"), server.client("dynamodbstreams")
    made = client.create_table(
        TableName=(table := f"t-{uuid4().hex[:8]}"),
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
    )["TableDescription"]
    stream = made["LatestStreamArn"]
    server.client("lambda").create_event_source_mapping(
        EventSourceArn=stream, FunctionName=name, StartingPosition="TRIM_HORIZON"
    )
    client.put_item(TableName=table, Item={"pk": {"S": "a"}})
    shard = streams.describe_stream(StreamArn=stream)["StreamDescription"]["Shards"][0]["ShardId"]
    place = streams.get_shard_iterator(StreamArn=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    records = streams.get_records(ShardIterator=place["ShardIterator"])["Records"]
    return [record["dynamodb"]["Keys"]["pk"]["S"] for record in records]


def test_stock_empties_a_stream_that_a_function_follows(stock: Server) -> None:
    assert stream_left_by(stock, function(stock)) == []


def test_a_followed_stream_has_other_readers(stack: LocalStack) -> None:
    assert stream_left_by(stack, stack.outputs["Bare"]) == ["a"]

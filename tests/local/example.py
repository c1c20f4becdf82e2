"""A small service as `sam build` would leave it: one of each thing that the local stack has to do."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

PROBE = '''
import os
import sys
import tempfile
import time


def handler(event, context):
    """Does what the event asks for and tells what it saw."""
    operation = event.get("do", "echo")
    return OPERATIONS[operation](event, context)


def allocate(event, context):
    held = bytearray(event["mb"] << 20)
    for place in range(0, len(held), 4096):
        held[place] = 1
    time.sleep(event.get("seconds", 0))
    return len(held)


def read(event, context):
    try:
        with open(event["path"]) as file:
            return file.read()
    except OSError as error:
        return type(error).__name__


def write(event, context):
    folder = event.get("folder") or tempfile.gettempdir()
    try:
        with open(os.path.join(folder, "written"), "wb") as file:
            for _ in range(event.get("mb", 1)):
                file.write(b"x" * (1 << 20))
    except OSError as error:
        return os.strerror(error.errno)
    return sorted(os.listdir(folder))


def fail(event, context):
    raise ValueError(event["message"])


def greet(event, context):
    import greeting

    return greeting.TEXT


def echo(event, context):
    print("printed by the function")
    return {"event": event, "request_id": context.aws_request_id, "left_ms": context.get_remaining_time_in_millis()}


OPERATIONS = {
    "allocate": allocate,
    "big": lambda event, context: "x" * event["bytes"],
    "echo": echo,
    "environment": lambda event, context: dict(os.environ),
    "exit": lambda event, context: os._exit(event["status"]),
    "fail": fail,
    "greet": greet,
    "import": lambda event, context: __import__(event["module"]).__name__,
    "list": lambda event, context: sorted(os.listdir(event["path"])),
    "path": lambda event, context: sys.path,
    "read": read,
    "sleep": lambda event, context: time.sleep(event["seconds"]),
    "url": lambda event, context: {"statusCode": 201, "headers": {"X-Seen": "yes"}, "cookies": ["a=b"], "body": "made"},
    "user": lambda event, context: os.getuid(),
    "version": lambda event, context: context.function_version,
    "write": write,
}
'''

JOURNAL = '''
import json
import os

import boto3

sqs = boto3.client("sqs")


def note(what):
    sqs.send_message(QueueUrl=os.environ["JOURNAL_URL"], MessageBody=json.dumps(what))


def messages(event, context):
    """Notes the batch; the bodies say which messages fail."""
    bodies = [record["body"] for record in event["Records"]]
    note({"messages": bodies})
    if "explode" in bodies:
        raise RuntimeError("asked to")
    failed = [record["messageId"] for record in event["Records"] if record["body"].startswith("fail")]
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in failed]}


def changes(event, context):
    """Notes the batch; an item with `poison` fails it."""
    keys = [record["dynamodb"]["Keys"]["pk"]["S"] for record in event["Records"]]
    note({"changes": keys})
    if any("poison" in record["dynamodb"].get("NewImage", {}) for record in event["Records"]):
        raise RuntimeError("poisoned")


def later(event, context):
    note({"later": event})
    raise RuntimeError("asked to")
'''

MACHINE = {
    "StartAt": "Probe",
    "States": {
        "Probe": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Parameters": {"FunctionName": "${ProbeArn}", "Payload.$": "$"},
            "OutputPath": "$.Payload",
            "End": True,
        }
    },
}

TEMPLATE = """
AWSTemplateFormatVersion: '2010-09-09'
Transform: AWS::Serverless-2016-10-31
Parameters:
  Word: {Type: String, Default: plain}
Globals:
  Function: {Runtime: python3.13, Timeout: 20, MemorySize: 256}
Resources:
  GreetingLayer:
    Type: AWS::Serverless::LayerVersion
    Properties: {ContentUri: GreetingLayer, CompatibleRuntimes: [python3.13]}
  OtherLayer:
    Type: AWS::Serverless::LayerVersion
    Properties: {ContentUri: OtherLayer, CompatibleRuntimes: [python3.13]}
  Probe:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: Probe
      Handler: app.handler
      Timeout: 3
      EphemeralStorage: {Size: 512}
      Layers: [!Ref GreetingLayer, !Ref OtherLayer]
      Environment: {Variables: {WORD: !Ref Word}}
      AutoPublishAlias: live
      FunctionUrlConfig: {AuthType: AWS_IAM}
      LoggingConfig: {LogFormat: JSON, LogGroup: !Ref ProbeLogs}
      Tracing: Active
  ProbeLogs:
    Type: AWS::Logs::LogGroup
    Properties: {RetentionInDays: 30}
  Bare:
    Type: AWS::Serverless::Function
    Properties: {CodeUri: Probe, Handler: app.handler}
  Broken:
    Type: AWS::Serverless::Function
    Properties: {CodeUri: Probe, Handler: absent.handler}
  Single:
    Type: AWS::Serverless::Function
    Properties: {CodeUri: Probe, Handler: app.handler, ReservedConcurrentExecutions: 1}
  Later:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: Journal
      Handler: app.later
      Environment: {Variables: {JOURNAL_URL: !Ref JournalQueue}}
      EventInvokeConfig:
        MaximumRetryAttempts: 1
        DestinationConfig: {OnFailure: {Type: SQS, Destination: !GetAtt FailureQueue.Arn}}
  JournalQueue: {Type: AWS::SQS::Queue}
  FailureQueue: {Type: AWS::SQS::Queue}
  DeadQueue: {Type: AWS::SQS::Queue}
  WorkQueue:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 3
      RedrivePolicy: {deadLetterTargetArn: !GetAtt DeadQueue.Arn, maxReceiveCount: 2}
  WorkQueuePolicy:
    Type: AWS::SQS::QueuePolicy
    Properties:
      Queues: [!Ref WorkQueue]
      PolicyDocument:
        Version: '2012-10-17'
        Statement: [{Effect: Allow, Principal: {Service: events.amazonaws.com}, Action: sqs:SendMessage, Resource: '*'}]
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: Journal
      Handler: app.messages
      Environment: {Variables: {JOURNAL_URL: !Ref JournalQueue}}
      Events:
        Work:
          Type: SQS
          Properties:
            Queue: !GetAtt WorkQueue.Arn
            BatchSize: 4
            MaximumBatchingWindowInSeconds: 1
            FunctionResponseTypes: [ReportBatchItemFailures]
            FilterCriteria: {Filters: [{Pattern: '{"body":[{"anything-but":["unwanted"]}]}'}]}
  Things:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: pk, AttributeType: S}]
      KeySchema: [{AttributeName: pk, KeyType: HASH}]
      StreamSpecification: {StreamViewType: NEW_AND_OLD_IMAGES}
      TimeToLiveSpecification: {AttributeName: expires, Enabled: true}
      PointInTimeRecoverySpecification: {PointInTimeRecoveryEnabled: true}
  Follower:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: Journal
      Handler: app.changes
      Environment: {Variables: {JOURNAL_URL: !Ref JournalQueue}}
      Events:
        Changes:
          Type: DynamoDB
          Properties:
            Stream: !GetAtt Things.StreamArn
            StartingPosition: TRIM_HORIZON
            BatchSize: 10
            MaximumRetryAttempts: 1
            BisectBatchOnFunctionError: true
            DestinationConfig: {OnFailure: {Type: SQS, Destination: !GetAtt FailureQueue.Arn}}
            FilterCriteria: {Filters: [{Pattern: '{"eventName":["INSERT"]}'}]}
  Objects:
    Type: AWS::S3::Bucket
    Properties:
      VersioningConfiguration: {Status: Enabled}
      NotificationConfiguration: {EventBridgeConfiguration: {EventBridgeEnabled: true}}
      PublicAccessBlockConfiguration:
        {BlockPublicAcls: true, BlockPublicPolicy: true, IgnorePublicAcls: true, RestrictPublicBuckets: true}
      OwnershipControls: {Rules: [{ObjectOwnership: BucketOwnerEnforced}]}
      BucketEncryption: {ServerSideEncryptionConfiguration: [{ServerSideEncryptionByDefault: {SSEAlgorithm: AES256}}]}
      LifecycleConfiguration:
        Rules:
          - {Id: parts, Status: Enabled, AbortIncompleteMultipartUpload: {DaysAfterInitiation: 3}}
          - {Id: work, Status: Enabled, Prefix: work/, ExpirationInDays: 30}
  ObjectsPolicy:
    Type: AWS::S3::BucketPolicy
    Properties:
      Bucket: !Ref Objects
      PolicyDocument:
        Version: '2012-10-17'
        Statement:
          - Effect: Deny
            Principal: '*'
            Action: s3:*
            Resource: !Sub '${Objects.Arn}/*'
            Condition: {Bool: {'aws:SecureTransport': false}}
  Topic: {Type: AWS::SNS::Topic}
  TopicPolicy:
    Type: AWS::SNS::TopicPolicy
    Properties:
      Topics: [!Ref Topic]
      PolicyDocument:
        Version: '2012-10-17'
        Statement: [{Effect: Allow, Principal: {Service: cloudwatch.amazonaws.com}, Action: sns:Publish, Resource: '*'}]
  Subscription:
    Type: AWS::SNS::Subscription
    Properties: {TopicArn: !Ref Topic, Protocol: sqs, Endpoint: !GetAtt JournalQueue.Arn, RawMessageDelivery: true}
  Bus: {Type: AWS::Events::EventBus, Properties: {Name: !Sub '${AWS::StackName}-events'}}
  BusPolicy:
    Type: AWS::Events::EventBusPolicy
    Properties:
      EventBusName: !Ref Bus
      StatementId: account
      Statement:
        {Effect: Allow, Principal: {AWS: !Ref AWS::AccountId}, Action: events:PutEvents, Resource: !GetAtt Bus.Arn}
  BusRule:
    Type: AWS::Events::Rule
    Properties:
      EventBusName: !Ref Bus
      EventPattern: {source: [example]}
      Targets: [{Id: journal, Arn: !GetAtt JournalQueue.Arn}]
  DeadAlarm:
    Type: AWS::CloudWatch::Alarm
    Properties:
      Namespace: AWS/SQS
      MetricName: ApproximateNumberOfMessagesVisible
      Dimensions: [{Name: QueueName, Value: !GetAtt DeadQueue.QueueName}]
      Statistic: Maximum
      Period: 60
      EvaluationPeriods: 1
      Threshold: 0
      ComparisonOperator: GreaterThanThreshold
      AlarmActions: [!Ref Topic]
  Machine:
    Type: AWS::Serverless::StateMachine
    Properties:
      DefinitionUri: machine.asl.json
      DefinitionSubstitutions: {ProbeArn: !GetAtt Probe.Arn}
      Policies: [{LambdaInvokePolicy: {FunctionName: !Ref Probe}}]
Outputs:
  Probe: {Value: !Ref Probe}
  Bare: {Value: !Ref Bare}
  Broken: {Value: !Ref Broken}
  Single: {Value: !Ref Single}
  Later: {Value: !Ref Later}
  JournalUrl: {Value: !Ref JournalQueue}
  FailureUrl: {Value: !Ref FailureQueue}
  DeadUrl: {Value: !Ref DeadQueue}
  WorkUrl: {Value: !GetAtt WorkQueue.QueueUrl}
  Things: {Value: !Ref Things}
  Objects: {Value: !Ref Objects}
  Topic: {Value: !Ref Topic}
  Bus: {Value: !Ref Bus}
  Alarm: {Value: !Ref DeadAlarm}
  Logs: {Value: !Ref ProbeLogs}
  Machine: {Value: !GetAtt Machine.Arn}
  Layer: {Value: !Ref GreetingLayer}
  ApiUrl: {Value: !GetAtt ProbeUrl.FunctionUrl}
"""


def write_build(folder: Path, template: str = TEMPLATE) -> Path:
    """The build folder of the example, or of another template with the same code."""
    sources = {
        "Probe/app.py": PROBE,
        "Journal/app.py": JOURNAL,
        "GreetingLayer/python/greeting.py": "TEXT = 'overridden'\n",
        "OtherLayer/python/greeting.py": "TEXT = 'from the later layer'\n",
        "machine.asl.json": json.dumps(MACHINE),
        "template.yaml": textwrap.dedent(template),
    }
    for name, text in sources.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder

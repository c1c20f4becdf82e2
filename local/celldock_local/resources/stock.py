"""Resource types that moto creates well: only which of their properties count."""

from __future__ import annotations

from celldock_local.resources.kinds import Kind

_TAGS = frozenset({"Tags"})

STOCK = [
    Kind(
        "AWS::SQS::Queue",
        frozenset(
            {
                *("QueueName", "VisibilityTimeout", "MessageRetentionPeriod", "DelaySeconds", "MaximumMessageSize"),
                *("ReceiveMessageWaitTimeSeconds", "RedrivePolicy"),
            }
        ),
        frozenset({"Tags", "SqsManagedSseEnabled", "RedriveAllowPolicy"}),
        attributes=frozenset({"QueueUrl"}),
    ),
    # IAM is not enforced by the local stack: tests over the template check the statements.
    Kind(
        "AWS::IAM::Role",
        frozenset({"AssumeRolePolicyDocument", "RoleName", "Path", "Policies", "Description", "MaxSessionDuration"}),
        frozenset({"Tags", "ManagedPolicyArns", "PermissionsBoundary"}),
    ),
    Kind(
        "AWS::IAM::ManagedPolicy",
        frozenset({"PolicyDocument", "ManagedPolicyName", "Description", "Path", "Roles", "Users", "Groups"}),
        frozenset(),
    ),
    Kind("AWS::IAM::Policy", frozenset({"PolicyDocument", "PolicyName", "Roles", "Users", "Groups"}), frozenset()),
    Kind("AWS::Logs::LogGroup", frozenset({"LogGroupName", "RetentionInDays"}), frozenset({"Tags", "LogGroupClass"})),
    Kind("AWS::Logs::ResourcePolicy", frozenset({"PolicyName", "PolicyDocument"}), frozenset()),
    Kind("AWS::CloudWatch::Dashboard", frozenset({"DashboardName", "DashboardBody"}), frozenset()),
    # moto encrypts nothing: keys are there to be named.
    Kind(
        "AWS::KMS::Key",
        frozenset({"Description", "KeyPolicy", "KeySpec", "KeyUsage"}),
        frozenset(
            {"Enabled", "EnableKeyRotation", "MultiRegion", "PendingWindowInDays", "RotationPeriodInDays", "Tags"}
        ),
    ),
    Kind("AWS::KMS::Alias", frozenset({"AliasName", "TargetKeyId"}), frozenset()),
    Kind("AWS::SSM::Parameter", frozenset({"Name", "Type", "Value", "Description"}), _TAGS),
    Kind(
        "AWS::Lambda::EventSourceMapping",
        frozenset(
            {
                *("BatchSize", "BisectBatchOnFunctionError", "DestinationConfig", "Enabled", "EventSourceArn"),
                *("FilterCriteria", "FunctionName", "FunctionResponseTypes", "MaximumBatchingWindowInSeconds"),
                *("MaximumRecordAgeInSeconds", "MaximumRetryAttempts", "ScalingConfig", "StartingPosition"),
            }
        ),
        # One shard and one poller keep the order that ParallelizationFactor keeps per item.
        frozenset({"Tags", "ParallelizationFactor", "MetricsConfig"}),
    ),
    Kind(
        "AWS::Lambda::Permission",
        frozenset({"Action", "FunctionName", "Principal", "SourceArn", "SourceAccount"}),
        frozenset({"FunctionUrlAuthType", "InvokedViaFunctionUrl", "PrincipalOrgID", "EventSourceToken"}),
    ),
]

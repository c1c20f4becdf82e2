"""S3 buckets and DynamoDB tables: what moto's CloudFormation leaves out of them."""

from __future__ import annotations

import json
from typing import Any

from celldock_local.resources.kinds import Kind, Properties, Request, Resource, flag, only


def create_bucket(request: Request) -> Any:
    """moto's bucket, then everything that its CloudFormation ignores."""
    properties, s3 = request.properties, request.context.client("s3")
    bucket = request.stock(properties)
    if versioning := properties.get("VersioningConfiguration"):
        s3.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration=versioning)
    if notifications := properties.get("NotificationConfiguration"):
        only("a bucket's NotificationConfiguration", notifications, {"EventBridgeConfiguration"})
        if flag(notifications.get("EventBridgeConfiguration", {}).get("EventBridgeEnabled", True)):
            configuration = {"EventBridgeConfiguration": {}}
            s3.put_bucket_notification_configuration(Bucket=bucket.name, NotificationConfiguration=configuration)
    if blocked := properties.get("PublicAccessBlockConfiguration"):
        configuration = {name: flag(value) for name, value in blocked.items()}
        s3.put_public_access_block(Bucket=bucket.name, PublicAccessBlockConfiguration=configuration)
    if ownership := properties.get("OwnershipControls"):
        s3.put_bucket_ownership_controls(Bucket=bucket.name, OwnershipControls=ownership)
    if lifecycle := properties.get("LifecycleConfiguration"):
        only("a bucket's LifecycleConfiguration", lifecycle, {"Rules", "TransitionDefaultMinimumObjectSize"})
        rules = [lifecycle_rule(rule) for rule in lifecycle["Rules"]]
        s3.put_bucket_lifecycle_configuration(Bucket=bucket.name, LifecycleConfiguration={"Rules": rules})
    if cors := properties.get("CorsConfiguration"):
        rules = [cors_rule(rule) for rule in cors["CorsRules"]]
        s3.put_bucket_cors(Bucket=bucket.name, CORSConfiguration={"CORSRules": rules})
    return bucket


def lifecycle_rule(rule: Properties) -> Properties:
    """CloudFormation's form of a lifecycle rule as the API's."""
    as_is = {"Status", "AbortIncompleteMultipartUpload", "NoncurrentVersionExpiration"}
    renamed = {"Id", "Prefix", "ExpirationInDays", "ExpiredObjectDeleteMarker", "Transitions", "TagFilters"}
    only("a lifecycle rule", rule, as_is | renamed)
    made: Properties = {key: rule[key] for key in as_is & set(rule)}
    if "Id" in rule:
        made["ID"] = rule["Id"]
    expiration: Properties = {}
    if "ExpirationInDays" in rule:
        expiration["Days"] = int(rule["ExpirationInDays"])
    if "ExpiredObjectDeleteMarker" in rule:
        expiration["ExpiredObjectDeleteMarker"] = flag(rule["ExpiredObjectDeleteMarker"])
    if expiration:
        made["Expiration"] = expiration
    if "Transitions" in rule:
        made["Transitions"] = [
            {"Days": int(t["TransitionInDays"]), "StorageClass": t["StorageClass"]} for t in rule["Transitions"]
        ]
    made["Filter"] = _lifecycle_filter(rule)
    return made


def _lifecycle_filter(rule: Properties) -> Properties:
    prefix, tags = rule.get("Prefix", ""), rule.get("TagFilters", [])
    if not tags:
        return {"Prefix": prefix}
    if len(tags) == 1 and not prefix:
        return {"Tag": tags[0]}
    return {"And": {"Prefix": prefix, "Tags": tags}}


def cors_rule(rule: Properties) -> Properties:
    """CloudFormation's form of a CORS rule as the API's."""
    names = {"ExposedHeaders": "ExposeHeaders", "MaxAge": "MaxAgeSeconds", "Id": "ID"}
    only("a CORS rule", rule, {"AllowedHeaders", "AllowedMethods", "AllowedOrigins", *names})
    return {names.get(key, key): int(value) if key == "MaxAge" else value for key, value in rule.items()}


def create_bucket_policy(request: Request) -> Resource:
    properties = request.properties
    policy = json.dumps(properties["PolicyDocument"])
    request.context.client("s3").put_bucket_policy(Bucket=properties["Bucket"], Policy=policy)
    return Resource(properties["Bucket"])


def create_table(request: Request) -> Any:
    properties, dynamodb = request.properties, request.context.client("dynamodb")
    table = request.stock(properties)
    if ttl := properties.get("TimeToLiveSpecification"):
        specification = {"Enabled": flag(ttl["Enabled"]), "AttributeName": ttl["AttributeName"]}
        dynamodb.update_time_to_live(TableName=table.name, TimeToLiveSpecification=specification)
    if recovery := properties.get("PointInTimeRecoverySpecification"):
        only("PointInTimeRecoverySpecification", recovery, {"PointInTimeRecoveryEnabled"})
        specification = {"PointInTimeRecoveryEnabled": flag(recovery["PointInTimeRecoveryEnabled"])}
        dynamodb.update_continuous_backups(TableName=table.name, PointInTimeRecoverySpecification=specification)
    return table


STORAGE = [
    Kind(
        "AWS::S3::Bucket",
        frozenset(
            {
                *("BucketName", "BucketEncryption", "VersioningConfiguration", "NotificationConfiguration"),
                *("PublicAccessBlockConfiguration", "OwnershipControls", "LifecycleConfiguration", "CorsConfiguration"),
            }
        ),
        create=create_bucket,
    ),
    Kind("AWS::S3::BucketPolicy", frozenset({"Bucket", "PolicyDocument"}), frozenset(), create=create_bucket_policy),
    Kind(
        "AWS::DynamoDB::Table",
        frozenset(
            {
                *("TableName", "KeySchema", "AttributeDefinitions", "BillingMode", "ProvisionedThroughput"),
                *("GlobalSecondaryIndexes", "LocalSecondaryIndexes", "StreamSpecification", "SSESpecification"),
                *("TimeToLiveSpecification", "PointInTimeRecoverySpecification", "DeletionProtectionEnabled"),
            }
        ),
        create=create_table,
    ),
]

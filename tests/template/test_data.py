"""Where data live: closed, encrypted, recoverable."""

from __future__ import annotations

import pytest

from tests.template.house import Stack, logical_id, of_type

BUCKETS = ("InboxBucket", "ArtifactsBucket", "PublicBucket")


@pytest.mark.parametrize("name", BUCKETS)
def test_buckets_are_closed_versioned_and_encrypted(stack: Stack, name: str) -> None:
    bucket = of_type(stack, "AWS::S3::Bucket")[name]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]


@pytest.mark.parametrize("name", BUCKETS)
def test_buckets_refuse_whoever_comes_without_tls(stack: Stack, name: str) -> None:
    (policy,) = [p for p in of_type(stack, "AWS::S3::BucketPolicy").values() if logical_id(p["Bucket"]) == name]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [{"Fn::GetAtt": [name, "Arn"]}, {"Fn::Sub": f"${{{name}.Arn}}/*"}]


@pytest.mark.parametrize("name", BUCKETS)
def test_no_object_that_may_be_in_use_expires(stack: Stack, name: str) -> None:
    rules = of_type(stack, "AWS::S3::Bucket")[name]["LifecycleConfiguration"]["Rules"]
    assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)
    for rule in rules:
        assert "ExpirationInDays" not in rule
        # Manifests and runs pin object versions: only withdrawn public copies are noncurrent and unused.
        assert name == "PublicBucket" or "NoncurrentVersionExpiration" not in rule


def test_the_inbox_tells_eventbridge_of_every_upload(stack: Stack) -> None:
    inbox = of_type(stack, "AWS::S3::Bucket")["InboxBucket"]
    assert inbox["NotificationConfiguration"] == {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}


def test_the_catalog_can_be_restored_and_not_be_dropped(stack: Stack) -> None:
    table = of_type(stack, "AWS::DynamoDB::Table")["CatalogTable"]
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["DeletionProtectionEnabled"] is True
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}


def test_the_catalog_has_the_indexes_of_the_contract(stack: Stack) -> None:
    indexes = of_type(stack, "AWS::DynamoDB::Table")["CatalogTable"]["GlobalSecondaryIndexes"]
    keys = {index["IndexName"]: [key["AttributeName"] for key in index["KeySchema"]] for index in indexes}
    assert keys == {"collections": ["collection_pk", "collection_sk"], "open": ["open_pk", "changed_at"]}


@pytest.mark.parametrize("name", [*BUCKETS, "CatalogTable"])
def test_data_outlive_the_stack(stack: Stack, name: str) -> None:
    resource = stack["Resources"][name]
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")

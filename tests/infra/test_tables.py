"""The tables and the secret: what is kept, how, and what a deletion leaves behind."""

from typing import Any

import pytest

from messaging.base import keys
from tests.infra.template import KEY, SECRET, TABLES, arn, only, properties
from tests.synthesized import STAGES, resources

KEYS = {"messages": keys.MESSAGES, "inbox": keys.INBOX, "dedup": keys.DEDUP, "directory": keys.DIRECTORY}
EXPIRING = {"messages", "dedup"}
MOVING = {"last_seq", "last_at", "skip_seq", "skip_sum"}  # marks of a group's head: they move with every message

each_stage = pytest.mark.parametrize("stage", STAGES)
each_table = pytest.mark.parametrize("name", TABLES)


def table(stage: str, name: str) -> dict[str, Any]:
    return properties(stage, "AWS::DynamoDB::GlobalTable", TABLES[name])


def replica(stage: str, name: str) -> dict[str, Any]:
    (replica,) = table(stage, name)["Replicas"]
    return dict(replica)


def schema(found: dict[str, Any], types: list[dict[str, str]]) -> keys.Table:
    """Key attributes in the words of `messaging.base.keys`."""
    type_of: dict[str, Any] = {each["AttributeName"]: each["AttributeType"] for each in types}
    names = {each["KeyType"]: each["AttributeName"] for each in found["KeySchema"]}
    assert type_of[names["HASH"]] == "S"
    return keys.Table(names["HASH"], (names["RANGE"], type_of[names["RANGE"]]) if "RANGE" in names else None)


@each_stage
@each_table
def test_a_tables_keys_are_those_that_the_functions_build(stage: str, name: str) -> None:
    found = table(stage, name)
    assert schema(found, found["AttributeDefinitions"]) == KEYS[name]


@each_stage
@each_table
def test_a_table_is_on_demand_encrypted_and_recoverable(stage: str, name: str) -> None:
    found = table(stage, name)
    assert found["BillingMode"] == "PAY_PER_REQUEST"
    # Without a key of its own a table is encrypted with the one that DynamoDB owns, which is free (SSEEnabled: false says that).
    assert found["SSESpecification"] == ({"SSEEnabled": False} if stage == "dev" else {"SSEEnabled": True, "SSEType": "KMS"})
    assert replica(stage, name).get("SSESpecification") == ({"KMSMasterKeyId": arn(KEY)} if stage == "prod" else None)
    assert replica(stage, name)["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
    assert replica(stage, name)["Region"] == {"Ref": "AWS::Region"}


@each_stage
@each_table
def test_messages_and_reservations_expire_and_nothing_else_does(stage: str, name: str) -> None:
    expiry = table(stage, name).get("TimeToLiveSpecification")
    assert expiry == ({"AttributeName": keys.EXPIRES_AT, "Enabled": True} if name in EXPIRING else None)


@each_stage
@each_table
def test_only_messages_have_a_stream_which_carries_the_new_item(stage: str, name: str) -> None:
    stream = table(stage, name).get("StreamSpecification")
    assert stream == ({"StreamViewType": "NEW_IMAGE"} if name == "messages" else None)


@each_stage
@each_table
def test_only_production_keeps_its_data_whatever_happens_to_the_stack(stage: str, name: str) -> None:
    keep = stage == "prod"
    resource = resources(stage, "AWS::DynamoDB::GlobalTable")[TABLES[name]]
    assert replica(stage, name).get("DeletionProtectionEnabled", False) is keep
    assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == ("Retain" if keep else "Delete")


@each_stage
def test_the_listing_is_not_written_when_a_groups_head_moves(stage: str) -> None:
    found = table(stage, "directory")
    (index,) = found["GlobalSecondaryIndexes"]
    assert index["IndexName"] == "listing"
    assert schema(index, found["AttributeDefinitions"]) == keys.LISTING
    assert index["Projection"]["ProjectionType"] == "INCLUDE"
    held = {*index["Projection"]["NonKeyAttributes"], *(each["AttributeName"] for each in found["AttributeDefinitions"])}
    assert not held & MOVING


@each_stage
@pytest.mark.parametrize("name", ["messages", "inbox", "dedup"])
def test_no_other_table_has_an_index_to_pay_for(stage: str, name: str) -> None:
    assert "GlobalSecondaryIndexes" not in table(stage, name)


@each_stage
def test_the_first_signing_key_is_made_by_aws_and_made_once(stage: str) -> None:
    """A change to any of these has CloudFormation generate a new secret value: every token and every rotated key would be lost."""
    assert only(stage, "AWS::SecretsManager::Secret").get("KmsKeyId") == (arn(KEY) if stage == "prod" else None)
    assert only(stage, "AWS::SecretsManager::Secret")["GenerateSecretString"] == {
        "SecretStringTemplate": '{"current": "k1"}',
        "GenerateStringKey": "k1",
        "PasswordLength": 64,
        "ExcludePunctuation": True,
    }


@each_stage
def test_only_productions_signing_keys_outlive_the_stack(stage: str) -> None:
    secret = resources(stage, "AWS::SecretsManager::Secret")[SECRET]
    assert secret["DeletionPolicy"] == secret["UpdateReplacePolicy"] == ("Retain" if stage == "prod" else "Delete")

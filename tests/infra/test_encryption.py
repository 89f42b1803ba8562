"""The customer-managed key: who may use it, through which service, and that everything which holds data is encrypted with it."""

from typing import Any

import pytest

from infra.encryption import ENCRYPTED
from tests.infra.conftest import Variant
from tests.infra.template import KEY, arn, flat
from tests.synthesized import STAGES, resources, template

ACCOUNT = "arn:{AWS::Partition}:iam::{AWS::AccountId}:root"
EXISTING = "arn:aws:kms:eu-central-1:123456789012:key/12345678-90ab-cdef-1234-567890abcdef"
LOOKS = ("Describe", "List", "Get")
DATA_TYPES = {  # that a stack could hold and that take a key
    "AWS::DynamoDB::GlobalTable",
    "AWS::DynamoDB::Table",
    "AWS::SQS::Queue",
    "AWS::SNS::Topic",
    "AWS::SecretsManager::Secret",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
    "AWS::Kinesis::Stream",
    "AWS::SSM::Parameter",
}


@pytest.fixture
def statements() -> dict[str, dict[str, Any]]:
    key = resources("prod", "AWS::KMS::Key")[KEY]
    return {each["Sid"]: each for each in key["Properties"]["KeyPolicy"]["Statement"]}


@pytest.mark.parametrize("stage", STAGES)
def test_only_production_pays_for_a_key_of_its_own(stage: str) -> None:
    assert list(resources(stage, "AWS::KMS::Key")) == ([KEY] if stage == "prod" else [])


def test_the_key_rotates_and_outlives_the_stack_that_it_encrypts_the_tables_of() -> None:
    key = resources("prod", "AWS::KMS::Key")[KEY]
    assert key["Properties"]["EnableKeyRotation"] is True
    assert key["Properties"]["PendingWindowInDays"] == 30
    assert key["DeletionPolicy"] == key["UpdateReplacePolicy"] == "Retain"


def test_everything_that_holds_data_is_encrypted_with_the_key() -> None:
    found = {id: each for id, each in template("prod")["Resources"].items() if each["Type"] in DATA_TYPES}
    assert {each["Type"] for each in found.values()} == set(ENCRYPTED)
    for id, each in found.items():
        assert str(arn(KEY)) in str(each["Properties"]), id


def test_who_administers_the_key_cannot_read_with_it(statements: dict[str, dict[str, Any]]) -> None:
    administer = statements["Administer"]
    assert flat(administer["Principal"]["AWS"]) == ACCOUNT
    assert not [action for action in administer["Action"] if "*" in action or "crypt" in action.lower() or "DataKey" in action]
    assert {"kms:PutKeyPolicy", "kms:ScheduleKeyDeletion"} <= set(administer["Action"])  # or nobody could ever change or remove it


def test_the_account_uses_the_key_only_through_the_services_that_hold_its_data(statements: dict[str, dict[str, Any]]) -> None:
    use = statements["UseThroughServices"]
    assert flat(use["Principal"]["AWS"]) == ACCOUNT
    assert use["Condition"]["StringEquals"]["kms:CallerAccount"] == {"Ref": "AWS::AccountId"}
    services = {flat(each).split(".")[0] for each in use["Condition"]["StringEquals"]["kms:ViaService"]}
    assert services == {"dynamodb", "sqs", "secretsmanager"}


def test_logs_and_alarms_use_the_key_for_this_stack_only(statements: dict[str, dict[str, Any]]) -> None:
    logs, alarms = statements["Logs"], statements["Alarms"]
    assert flat(logs["Principal"]["Service"]) == "logs.{AWS::Region}.amazonaws.com"
    of = "arn:{AWS::Partition}:logs:{AWS::Region}:{AWS::AccountId}:log-group:"
    groups = [flat(each).removeprefix(of) for each in logs["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"]]
    assert groups == ["/aws/lambda/Parley-prod-*", "/aws/apigateway/Parley-prod"]
    named = [each["Properties"]["LogGroupName"] for each in resources("prod", "AWS::Logs::LogGroup").values()]
    assert all(name == groups[1] or name.startswith(groups[0].rstrip("*")) for name in named)
    assert alarms["Principal"]["Service"] == "cloudwatch.amazonaws.com"
    assert flat(alarms["Condition"]["ArnLike"]["aws:SourceArn"]).endswith(":alarm:Parley-prod-*")


def test_nobody_else_is_named_and_no_action_has_a_wildcard(statements: dict[str, dict[str, Any]]) -> None:
    assert set(statements) == {"Administer", "UseThroughServices", "Logs", "Alarms"}
    assert not [action for each in statements.values() for action in each["Action"] if "*" in action]
    assert all("Condition" in each for sid, each in statements.items() if sid != "Administer")


def test_an_existing_key_is_used_as_it_is(variant: Variant) -> None:
    found = variant("prod", kms=EXISTING)["Resources"]
    assert not [id for id, each in found.items() if each["Type"] == "AWS::KMS::Key"]
    for id, each in found.items():
        if each["Type"] in ENCRYPTED:
            assert EXISTING in str(each["Properties"]), id
    used = [
        statement
        for each in found.values()
        if each["Type"] == "AWS::IAM::Policy"
        for statement in each["Properties"]["PolicyDocument"]["Statement"]
        if "kms:" in str(statement["Action"])
    ]
    assert used
    assert all(statement["Resource"] == EXISTING and "kms:ViaService" in str(statement["Condition"]) for statement in used)

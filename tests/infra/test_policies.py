"""What deploying takes: one policy for CloudFormation, one that bounds the functions' roles; both enough for the templates and no more."""

import json
from fnmatch import fnmatchcase
from typing import Any

import pytest

from infra.settings import ROOT
from tests.infra.conftest import Variant
from tests.infra.template import NAMES
from tests.infra.test_roles import granted
from tests.infra.test_scanners import EVERYTHING
from tests.synthesized import STAGES, template

POLICY_CHARACTERS = 6144  # of a managed policy without white space, AWS quota
WITHOUT_RESOURCE = {  # AWS: these know no resource, or only one that is made later
    "Bootstrap",
    "RandomPassword",
    "EventSources",
    "LogsWithoutResource",
    "NewKey",
    "OwnKey",
    "UseKeysThroughServices",
    "Traces",
    "KeysThroughServices",
    "Front",
    "Api",
}
TRACING = {"xray:PutTelemetryRecords", "xray:PutTraceSegments"}  # that a stage may ask for
LIFE = {  # of a resource, by its type: the calls of making, changing and removing it
    "AWS::ApiGatewayV2::Api": "apigateway:POST apigateway:PATCH apigateway:DELETE",
    "AWS::ApiGatewayV2::ApiMapping": "apigateway:POST apigateway:PATCH apigateway:DELETE",
    "AWS::ApiGatewayV2::DomainName": "apigateway:POST apigateway:PATCH apigateway:DELETE",
    "AWS::ApiGatewayV2::Integration": "apigateway:POST apigateway:PATCH apigateway:DELETE",
    "AWS::ApiGatewayV2::Route": "apigateway:POST apigateway:PATCH apigateway:DELETE",
    "AWS::ApiGatewayV2::Stage": "apigateway:POST apigateway:PATCH apigateway:DELETE logs:CreateLogDelivery logs:DeleteLogDelivery",
    "AWS::CDK::Metadata": "",
    "AWS::CloudFront::Distribution": "cloudfront:CreateDistribution cloudfront:UpdateDistribution cloudfront:DeleteDistribution",
    "AWS::CloudWatch::Alarm": "cloudwatch:PutMetricAlarm cloudwatch:DeleteAlarms",
    "AWS::CloudWatch::Dashboard": "cloudwatch:PutDashboard cloudwatch:DeleteDashboards",
    "AWS::DynamoDB::GlobalTable": "dynamodb:CreateTable dynamodb:UpdateTable dynamodb:DeleteTable dynamodb:UpdateTimeToLive "
    "dynamodb:UpdateContinuousBackups dynamodb:DescribeTable",
    "AWS::IAM::Policy": "iam:PutRolePolicy iam:DeleteRolePolicy",
    "AWS::IAM::Role": "iam:CreateRole iam:DeleteRole iam:PassRole iam:UpdateAssumeRolePolicy",
    "AWS::KMS::Key": "kms:CreateKey kms:PutKeyPolicy kms:EnableKeyRotation kms:ScheduleKeyDeletion",
    "AWS::Lambda::EventSourceMapping": "lambda:CreateEventSourceMapping lambda:UpdateEventSourceMapping lambda:DeleteEventSourceMapping",
    "AWS::Lambda::Function": "lambda:CreateFunction lambda:UpdateFunctionCode lambda:UpdateFunctionConfiguration lambda:DeleteFunction "
    "lambda:GetLayerVersion s3:GetObject",
    "AWS::Lambda::LayerVersion": "lambda:PublishLayerVersion lambda:DeleteLayerVersion",
    "AWS::Lambda::Permission": "lambda:AddPermission lambda:RemovePermission",
    "AWS::Logs::LogGroup": "logs:CreateLogGroup logs:PutRetentionPolicy logs:AssociateKmsKey logs:DeleteLogGroup",
    "AWS::Logs::MetricFilter": "logs:PutMetricFilter logs:DeleteMetricFilter",
    "AWS::SNS::Subscription": "sns:Subscribe sns:Unsubscribe",
    "AWS::SNS::Topic": "sns:CreateTopic sns:SetTopicAttributes sns:DeleteTopic",
    "AWS::SNS::TopicPolicy": "sns:SetTopicAttributes",
    "AWS::SQS::Queue": "sqs:CreateQueue sqs:SetQueueAttributes sqs:DeleteQueue",
    "AWS::SQS::QueuePolicy": "sqs:SetQueueAttributes",
    "AWS::SecretsManager::Secret": "secretsmanager:CreateSecret secretsmanager:UpdateSecret secretsmanager:DeleteSecret "
    "secretsmanager:GetRandomPassword",
}
READS = (
    "dynamodb:GetItem",
    "dynamodb:Query",
    "dynamodb:Scan",
    "secretsmanager:GetSecretValue",
    "sqs:ReceiveMessage",
    "lambda:InvokeFunction",
)

each_policy = pytest.mark.parametrize("name", ["deploy", "boundary"])


def statements(name: str) -> list[dict[str, Any]]:
    return list(json.loads((ROOT / "infra" / "policies" / f"{name}.json").read_text())["Statement"])


def actions(statement: dict[str, Any]) -> list[str]:
    return [statement["Action"]] if isinstance(statement["Action"], str) else list(statement["Action"])


def allows(name: str, action: str) -> bool:
    return any(fnmatchcase(action, pattern) for each in statements(name) for pattern in actions(each))


@each_policy
def test_a_policy_fits_and_names_its_resources_where_there_are_any(name: str) -> None:
    assert len("".join((ROOT / "infra" / "policies" / f"{name}.json").read_text().split())) <= POLICY_CHARACTERS
    for each in statements(name):
        resources = [each["Resource"]] if isinstance(each["Resource"], str) else each["Resource"]
        ours = all("Parley-" in resource or "TokenKeys" in resource or "FunctionsDependencies" in resource for resource in resources)
        assert ours or each["Sid"] in WITHOUT_RESOURCE, each["Sid"]
        assert not [action for action in actions(each) if action in ("*", f"{action.split(':')[0]}:*")]


@pytest.mark.parametrize("stage", STAGES)
def test_cloudformation_may_do_what_the_templates_take(stage: str) -> None:
    types = {each["Type"] for each in template(stage)["Resources"].values()}
    assert not [(type_, call) for type_ in types for call in LIFE[type_].split() if not allows("deploy", call)]


def test_also_with_everything_that_can_be_asked_for(variant: Variant) -> None:
    made = variant("prod", **EVERYTHING, permissions_boundary="ParleyBoundary")["Resources"]
    types = {each["Type"] for each in made.values()}
    assert not [(type_, call) for type_ in types for call in LIFE[type_].split() if not allows("deploy", call)]
    roles = [each["Properties"] for each in made.values() if each["Type"] == "AWS::IAM::Role"]
    assert len(roles) == len(NAMES)
    assert all(str(role["PermissionsBoundary"]).count(":policy/ParleyBoundary") == 1 for role in roles)
    (key,) = [each["Properties"] for each in made.values() if each["Type"] == "AWS::KMS::Key"]
    assert {"Key": "parley", "Value": "Parley-prod"} in key["Tags"]


def test_who_deploys_reads_no_message_no_key_and_invokes_nothing() -> None:
    assert not [action for action in READS if allows("deploy", action)]


def test_a_role_can_only_be_made_or_changed_within_the_boundary() -> None:
    for each in statements("deploy"):
        if {"iam:CreateRole", "iam:PutRolePolicy"} & set(actions(each)):
            assert each["Condition"] == {"ArnLike": {"iam:PermissionsBoundary": "arn:aws:iam::*:policy/ParleyBoundary"}}
    assert not allows("deploy", "iam:DeleteRolePermissionsBoundary")
    assert not allows("deploy", "iam:AttachRolePolicy")
    assert not allows("deploy", "iam:CreatePolicyVersion")


@pytest.mark.parametrize("name", NAMES)
def test_the_boundary_holds_what_every_function_is_granted(name: str) -> None:
    wanted = {action.split(" via ")[0] for stage in STAGES for action, _ in granted(stage, name)}
    assert not [action for action in wanted if not allows("boundary", action)]


def test_the_boundary_allows_nothing_that_no_function_is_granted() -> None:
    wanted = {action.split(" via ")[0] for name in NAMES for action, _ in granted("prod", name)} | TRACING
    assert {action for each in statements("boundary") for action in actions(each)} == wanted

"""What each function may do: exactly the table of the catalog, to exactly the resources it names, in a role that no other function has."""

import json
from itertools import product
from typing import Any

import pytest

from infra.catalog import WITH_RETENTION
from tests.infra.conftest import Variant
from tests.infra.template import ENDPOINTS, KEY, NAMES, QUEUES, ROWS, SECRET, TABLES, arn, flat, function, function_id
from tests.synthesized import STAGES, resources, template

Grant = tuple[str, str]  # an action and the resource, as JSON

EVERYTHING = json.dumps("*")
STREAM = json.dumps({"Fn::GetAtt": [TABLES["messages"], "StreamArn"]})
READ_STREAM = ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
READ_QUEUE = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
READ_KEY = ("Decrypt", "DescribeKey")
WRITE_KEY = ("Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo")

each_stage = pytest.mark.parametrize("stage", STAGES)
each_name = pytest.mark.parametrize("name", NAMES)


def role_id(stage: str, name: str) -> str:
    id, attribute = function(stage, name)["Role"]["Fn::GetAtt"]
    assert attribute == "Arn"
    return str(id)


def grants(found: dict[str, Any]) -> dict[str, set[Grant]]:
    """What each role of a template may do."""
    made: dict[str, set[Grant]] = {id: set() for id, each in found.items() if each["Type"] == "AWS::IAM::Role"}
    for policy in [each["Properties"] for each in found.values() if each["Type"] == "AWS::IAM::Policy"]:
        (role,) = policy["Roles"]
        for statement in policy["PolicyDocument"]["Statement"]:
            assert set(statement) <= {"Effect", "Action", "Resource", "Condition"}
            assert statement["Effect"] == "Allow"
            actions = [action + _via(statement) for action in _list(statement["Action"])]
            pairs = product(actions, _list(statement["Resource"]))
            made[role["Ref"]] |= {(action, json.dumps(resource)) for action, resource in pairs}
    return made


def granted(stage: str, name: str) -> set[Grant]:
    return grants(template(stage)["Resources"])[role_id(stage, name)]


def _via(statement: dict[str, Any]) -> str:
    """` via dynamodb` for a use of the key through that service, which is the only condition that there is."""
    uses_key = all(action.startswith("kms:") for action in _list(statement["Action"]))
    assert uses_key == ("Condition" in statement), statement
    if not uses_key:
        return ""
    ((test, tested),) = statement["Condition"].items()
    assert (test, list(tested)) == ("StringEquals", ["kms:ViaService"])
    return " via " + flat(tested["kms:ViaService"]).removesuffix(".{AWS::Region}.amazonaws.com")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def on(id: str, service: str, *actions: str) -> set[Grant]:
    return {(f"{service}:{action}", json.dumps(arn(id))) for action in actions}


def expected(stage: str, name: str) -> set[Grant]:
    log = function(stage, name)["LoggingConfig"]["LogGroup"]["Ref"]
    allowed = on(log, "logs", "CreateLogStream", "PutLogEvents")
    for table, actions in ROWS[name].tables.items():
        allowed |= on(TABLES[table], "dynamodb", *actions)
    if name in ENDPOINTS:
        allowed.add(("secretsmanager:GetSecretValue", json.dumps({"Ref": SECRET})))
    if name == "deliver":
        allowed |= on(QUEUES["fanout"], "sqs", "SendMessage") | on(QUEUES["deliver_dead"], "sqs", "SendMessage")
        allowed |= {(f"dynamodb:{action}", STREAM) for action in READ_STREAM}
    if name == "fanout":
        allowed |= on(QUEUES["fanout"], "sqs", *READ_QUEUE)
    if stage == "prod":
        allowed |= {
            (f"kms:{action} via {service}", json.dumps(arn(KEY))) for service, actions in key_uses(name).items() for action in actions
        }
    return allowed


def key_uses(name: str) -> dict[str, tuple[str, ...]]:
    """What a function may do with the stack's own key, by the service through which."""
    writes = any(not action.endswith(("GetItem", "Query")) for actions in ROWS[name].tables.values() for action in actions)
    uses = {"dynamodb": (*READ_KEY, *(WRITE_KEY if writes else ()))}
    if name in ENDPOINTS:
        uses["secretsmanager"] = ("Decrypt",)
    if name == "deliver":
        uses["sqs"] = ("Decrypt", "GenerateDataKey")
    if name == "fanout":
        uses["sqs"] = ("Decrypt",)
    return uses


@each_stage
@each_name
def test_a_function_may_do_what_the_catalog_says_and_nothing_else(stage: str, name: str) -> None:
    assert granted(stage, name) == expected(stage, name)


@each_stage
def test_no_statement_has_a_wildcard(stage: str) -> None:
    found = set().union(*grants(template(stage)["Resources"]).values())
    assert not [grant for grant in found if "*" in "".join(grant)]


def test_tracing_adds_two_actions_which_know_no_resource_to_every_role(variant: Variant) -> None:
    for role, found in grants(variant("dev", tracing=True)["Resources"]).items():
        assert {grant for grant in found if "*" in "".join(grant)} == {
            ("xray:PutTraceSegments", EVERYTHING),
            ("xray:PutTelemetryRecords", EVERYTHING),
        }, role


@each_stage
def test_no_two_functions_share_a_role_and_no_role_is_spare(stage: str) -> None:
    roles = [role_id(stage, name) for name in NAMES]
    assert sorted(roles) == sorted(resources(stage, "AWS::IAM::Role"))


@each_stage
@each_name
def test_only_lambda_assumes_a_role_which_has_no_rights_but_its_policy(stage: str, name: str) -> None:
    role = resources(stage, "AWS::IAM::Role")[role_id(stage, name)]["Properties"]
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust == {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
    assert set(role) == {"AssumeRolePolicyDocument"}


@each_stage
@each_name
def test_a_function_waits_for_its_rights_before_it_exists(stage: str, name: str) -> None:
    waits = resources(stage, "AWS::Lambda::Function")[function_id(stage, name)]["DependsOn"]
    policies = {
        id for id, each in resources(stage, "AWS::IAM::Policy").items() if {"Ref": role_id(stage, name)} in each["Properties"]["Roles"]
    }
    assert policies
    assert policies <= set(waits)


def test_where_messages_expire_the_catalog_grants_what_that_takes_and_no_more(variant: Variant) -> None:
    usual, retaining = grants(template("dev")["Resources"]), grants(variant("dev", retention_days=30)["Resources"])
    more = {name: retaining[role_id("dev", name)] - usual[role_id("dev", name)] for name in NAMES}
    assert more == {
        name: set().union(*(on(TABLES[table], "dynamodb", *actions) for table, actions in WITH_RETENTION.get(name, {}).items()))
        for name in NAMES
    }
    assert any(more.values())
    assert not any(usual[role] - retaining[role] for role in usual)

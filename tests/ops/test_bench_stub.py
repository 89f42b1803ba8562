"""The stub answers the real SDK as AWS does, and the yardstick of start-up makes the calls that our functions make."""

import importlib
import os
import time
from collections.abc import Iterator

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import SSLError

from infra.catalog import FUNCTIONS, Function
from ops.bench import smallest, stub
from ops.bench.stub import Stub
from ops.bench.warm import Context
from tests.world import forget_caches


@pytest.fixture(scope="module")
def started() -> Iterator[Stub]:
    with stub.running(tls=True) as running:
        yield running


@pytest.fixture
def aws(started: Stub) -> Iterator[Stub]:
    """The stub as in the beginning, and this process a function that talks to it."""
    started.restore()
    started.delay(0)
    os.environ.update(started.environment)
    forget_caches()
    smallest.forget_caches()
    yield started
    forget_caches()


@pytest.mark.parametrize("row", FUNCTIONS, ids=lambda row: row.name)
def test_the_smallest_function_makes_the_calls_of_ours_and_both_succeed(aws: Stub, row: Function) -> None:
    made = []
    for handler in (importlib.import_module(row.module).handler, getattr(smallest, row.name)):
        aws.restore()
        answer = stub.envelope(handler(stub.event(row.name), Context))
        assert answer == {"batchItemFailures": []} or answer["code"] == 200
        made.append(sorted(aws.calls()))
    assert made[0] == made[1]
    assert made[0]


def test_a_failed_condition_tells_the_item_that_was_there(aws: Stub) -> None:
    dynamodb = boto3.client("dynamodb")
    item = {"entity": {"S": "demo"}, "facet": {"S": "profile"}}
    with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException) as refused:
        dynamodb.put_item(
            TableName="Directory",
            Item=item,
            ConditionExpression="attribute_not_exists(entity)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    there = refused.value.response.get("Item", {})
    assert there["what"] == {"S": "app"}


def test_an_answer_is_kept_back_as_long_as_told(aws: Stub) -> None:
    dynamodb = boto3.client("dynamodb")

    def took_ms() -> float:
        started = time.perf_counter()
        dynamodb.get_item(TableName="Directory", Key={"entity": {"S": "demo"}, "facet": {"S": "profile"}})
        return (time.perf_counter() - started) * 1000

    took_ms()  # connects
    aws.delay(40)
    assert took_ms() >= 40


def test_restoring_takes_back_what_was_written_and_forgets_the_calls(aws: Stub) -> None:
    dynamodb = boto3.client("dynamodb")
    key = {"entity": {"S": "new"}, "facet": {"S": "profile"}}
    dynamodb.put_item(TableName="Directory", Item=key)
    assert aws.calls() == ["PutItem"]
    aws.restore()
    assert aws.calls() == []
    assert "Item" not in dynamodb.get_item(TableName="Directory", Key=key)


def test_a_client_that_does_not_trust_the_certificate_is_turned_away(aws: Stub) -> None:
    del os.environ["AWS_CA_BUNDLE"]
    untrusting = boto3.session.Session().client("dynamodb", config=Config(retries={"total_max_attempts": 1}))
    with pytest.raises(SSLError):
        untrusting.list_tables()

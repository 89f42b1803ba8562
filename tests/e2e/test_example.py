"""Other AWS services send messages: the worked example, deployed beside the local Parley by the pinned CDK CLI."""

import json
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from infra.settings import ROOT
from ops import cdk, stack
from ops.console import run
from tests.e2e.conftest import Api, Person, eventually

Make = Callable[[int], list[Person]]
ARRIVED_S = 300.0


@pytest.fixture(scope="module")
def example(api: Api, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The outputs of the example's stack."""
    env = cdk.environment(stack.local_env(api.info["aws_endpoint_url"]))
    where = tmp_path_factory.mktemp("example")
    command: list[str | Path] = [cdk.cli(env, where), "deploy", "--app", f"{sys.executable} -m infra.example", "-c", "stage=local"]
    run("cdk deploy of the example", [*command, "--require-approval", "never", "--output", where / "out"], env, where / "deploy.log", ROOT)
    return stack.read_outputs(f"{api.info['stack']}-example")


def contents(api: Api, reader: Person, number: int) -> list[tuple[str, bool]]:
    return [(message["content"], message["is_system"]) for message in api.history(reader.token, number)]


def test_an_eventbridge_rule_notifies_a_customer(api: Api, people: Make, example: dict[str, str]) -> None:
    (alice,) = people(1)
    detail = {"app": "demo", "customer": alice.user_id, "order": "A-17"}
    entry = {"Source": "shop.orders", "DetailType": "OrderShipped", "Detail": json.dumps(detail)}
    assert boto3.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0
    assert eventually(lambda: contents(api, alice, 0), bool, ARRIVED_S) == [("Order A-17 is on its way", True)]
    assert eventually(lambda: api.unread(alice.token), bool, ARRIVED_S) == {0: 1}


def test_an_event_that_comes_twice_is_one_message(api: Api, people: Make, example: dict[str, str]) -> None:
    """EventBridge delivers at least once; its event's id, a UUID, comes with each delivery."""
    (alice,) = people(1)
    given = {"app": "demo", "to": [alice.user_id], "text": "Order B-18 is on its way", "id": str(uuid.uuid4())}
    assert [run_once(example, given) for _ in range(2)] == [("SUCCEEDED", [1])] * 2
    assert contents(api, alice, 0) == [("Order B-18 is on its way", True)]


def test_a_state_machine_sends_a_message_once_however_often_it_runs(api: Api, people: Make, example: dict[str, str]) -> None:
    alice, bob = people(2)
    given = {"app": "demo", "from": alice.user_id, "to": [bob.user_id], "text": "Hello from a workflow", "id": 17}
    assert [run_once(example, given) for _ in range(2)] == [("SUCCEEDED", [1])] * 2
    assert contents(api, bob, alice.user_id) == [("Hello from a workflow", False)]


def run_once(example: dict[str, str], given: dict[str, Any]) -> tuple[str, Any]:
    """How an execution of the machine ends, and with what."""
    states = boto3.client("stepfunctions")
    execution = states.start_execution(stateMachineArn=example["StateMachineArn"], input=json.dumps(given))["executionArn"]
    done = eventually(lambda: states.describe_execution(executionArn=execution), lambda e: e["status"] != "RUNNING", ARRIVED_S)
    return done["status"], json.loads(done["output"]) if done["status"] == "SUCCEEDED" else done.get("error")


def test_a_refused_message_fails_the_execution(api: Api, people: Make, example: dict[str, str]) -> None:
    (alice,) = people(1)
    given = {"app": "demo", "from": alice.user_id, "to": [999_999_999], "text": "nobody", "id": 1}
    assert run_once(example, given) == ("FAILED", "Refused")

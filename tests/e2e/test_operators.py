"""What an operator does on the deployed stack: every line of the runbook, and drills of what it is for."""

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest

from infra.settings import ROOT
from messaging.base import keys, settings, store
from messaging.conversations import membership
from ops import dead_letters, stack
from tests.e2e.conftest import DELIVERED_S, FANNED_OUT_S, Api, Person, eventually
from tests.e2e.test_operations import last_line, parley

Make = Callable[[int], list[Person]]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "operations.md").read_text(), re.DOTALL)
LINES = [line.removeprefix(".venv/bin/parley ") for block in BLOCKS for line in block.splitlines()]
RETIRED_S = 60.0  # until a change of the keys takes effect


@pytest.fixture
def outputs(api: Api) -> dict[str, str]:
    return stack.read_outputs(api.info["stack"])


@pytest.fixture
def undelivered(outputs: dict[str, str]) -> Iterator[None]:
    """The stream is not read meanwhile."""
    client = boto3.client("lambda")
    (mapping,) = client.list_event_source_mappings(FunctionName=outputs["DeliverFunction"])["EventSourceMappings"]
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    yield
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


@pytest.fixture(scope="module")
def erased(api: Api) -> Iterator[Future[list[str]]]:
    """The runbook's lines about 4711, who is a user made for it: erasing takes a minute, in which the other tests run."""
    lines, fresh = [line for line in LINES if "4711" in line], str(time.time_ns() // 1000)
    assert len(lines) == 2
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(lambda: [failure for line in lines for failure in failures(line.replace("4711", fresh))])


def failures(line: str) -> list[str]:
    """What a line of the runbook ends with where it does not succeed."""
    done = parley(*line.split(), check=False)
    return [f"{line}: {done.stdout}{done.stderr}"] if done.returncode else []


def test_every_line_of_the_runbook_works_as_it_stands(erased: Future[list[str]], tmp_path: Path) -> None:
    """But for those that would log out the users of the other tests, and with a file that no earlier run has used."""
    skipped = [line for line in LINES if line.startswith("keys retire")]
    assert len(skipped) == 3
    lines = [line.replace(".local/", f"{tmp_path}/") for line in LINES if line not in skipped and "4711" not in line]
    assert [failure for line in lines for failure in failures(line)] == []


def test_a_key_is_rotated_and_retired_while_everybody_goes_on(api: Api, people: Make) -> None:
    (bob,) = people(1)

    def code(token: str) -> int:
        return int(api.call("GET", "/message/unread", token)["code"])

    def token() -> str:
        return last_line(parley("token", "create", "--app", "demo", "--user", bob.user_id))

    second = json.loads(parley("keys", "rotate", "--json").stdout)["kid"]
    of_second = token()
    assert (code(bob.token), code(of_second)) == (200, 200)
    parley("keys", "rotate")
    of_third = token()
    too_early = parley("keys", "retire", second, check=False)
    assert (too_early.returncode, "--longest-token-days" in too_early.stderr) == (1, True)
    parley("keys", "retire", second, "--force")
    assert eventually(lambda: code(of_second), lambda code: code == 10008, RETIRED_S) == 10008
    assert (code(bob.token), code(of_third)) == (200, 200)


def test_dead_letters_of_both_kinds_are_redriven(api: Api, people: Make, outputs: dict[str, str], undelivered: None) -> None:
    alice, bob, carol = people(3)
    group = membership.create("demo", alice.user_id, [bob.user_id], False, time.time_ns() // 1_000_000, None, lambda done: None)
    arn = store.dynamodb().describe_table(TableName=settings.settings().messages_table)["Table"]["LatestStreamArn"]
    streams: Any = boto3.client("dynamodbstreams")
    shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
    latest = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="LATEST")["ShardIterator"]
    api.send(alice.token, [carol.user_id], content="canary")
    (record,) = streams.get_records(ShardIterator=latest)["Records"]
    place = record["dynamodb"]["SequenceNumber"]
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    info = {"streamArn": arn, "shardId": shard, "startSequenceNumber": place, "endSequenceNumber": place, "batchSize": 1}
    info |= {"approximateArrivalOfFirstRecord": at, "approximateArrivalOfLastRecord": at}
    job = {"conversation": keys.group("demo", group).key, "last_seq": 1, "last_at": 1, "skip_seq": 0, "members": [bob.user_id]}
    sqs = boto3.client("sqs")
    sqs.send_message(QueueUrl=outputs["DeliverDeadQueueUrl"], MessageBody=json.dumps({"DDBStreamBatchInfo": info}))
    sqs.send_message(QueueUrl=outputs["FanoutDeadQueueUrl"], MessageBody=json.dumps(job))
    api.send(alice.token, [group], type=2, content="canary")

    shown = parley("dead-letters", "show").stdout
    assert f"user {alice.user_id} and {carol.user_id} up to message 1" in shown
    assert f"group {group} up to message 1" in shown
    assert "canary" not in shown
    assert (api.unread(bob.token), api.unread(carol.token)) == ({}, {})
    doctor = parley("doctor", "--wait", 1, "--json", check=False)
    red = {row["section"] for row in json.loads(doctor.stdout) if row["state"] == "red"}
    assert doctor.returncode == 1
    assert {"Dead letters", "A stuck stream"} <= red
    redriven = json.loads(parley("dead-letters", "redrive", "--all", "--json").stdout)
    assert redriven == [{"queue": queue, "redriven": 1, "left": 0} for queue in ("deliver", "fanout")]
    assert eventually(lambda: api.unread(carol.token), bool, DELIVERED_S) == {alice.user_id: 1}
    assert eventually(lambda: api.unread(bob.token), bool, FANNED_OUT_S) == {group: 1}
    assert [dead_letters.count(outputs[f"{queue}DeadQueueUrl"]) for queue in ("Deliver", "Fanout")] == [0, 0]


def test_a_lost_inbox_is_rebuilt(api: Api, people: Make) -> None:
    alice, bob = people(2)
    for _ in range(3):
        api.send(alice.token, [bob.user_id])
    eventually(lambda: api.unread(bob.token), lambda listed: listed == {alice.user_id: 3}, DELIVERED_S)
    reader = store.pack({"reader": f"demo#{bob.user_id}", "conversation": alice.user_id})
    store.dynamodb().delete_item(TableName=settings.settings().inbox_table, Key=reader)
    assert api.unread(bob.token) == {}
    assert json.loads(parley("inbox", "rebuild", "--app", "demo", "--yes", "--json").stdout)["made"] >= 1
    assert api.unread(bob.token) == {alice.user_id: 3}


def test_a_user_is_erased_while_everybody_goes_on(erased: Future[list[str]]) -> None:
    assert erased.result() == []

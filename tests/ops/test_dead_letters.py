"""What could not be delivered is shown without its contents, and delivering it once more makes every number exact."""

import io
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from messaging.base import store
from ops import dead_letters, personal
from tests.faults.sdk import Crash, tampered
from tests.ops.conftest import Parley
from tests.world import World

Outputs = dict[str, str]


@pytest.fixture(autouse=True)
def _clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """New clients for every test, and queues that are empty at once when they are."""
    caches = (dead_letters._sqs, dead_letters._streams, dead_letters._lambda)
    for cached in caches:
        cached.cache_clear()
    monkeypatch.setattr(dead_letters, "EMPTY_REPLIES", 1)
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.fixture
def invoked(world: World) -> Iterator[list[Any]]:
    """Invoking deliver runs its handler on what is invoked with; the events."""
    events: list[Any] = []

    def answer(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        if operation == "Invoke":
            events.append(json.loads(request["Payload"]))
            return {"Payload": io.BytesIO(json.dumps(world.deliver(events[-1]["Records"])).encode())}
        if operation == "ReceiveMessage":
            request["WaitTimeSeconds"] = 0
        return perform()

    with tampered(answer):
        yield events


def put(queue: str, body: str) -> None:
    boto3.client("sqs").send_message(QueueUrl=queue, MessageBody=body, MessageGroupId="demo")
    time.sleep(0.002)  # so that the redrive begins later


def letter(records: list[dict[str, Any]]) -> str:
    """What Lambda leaves of stream records that it gives up."""
    stream = store.dynamodb().describe_table(TableName="Messages")["Table"]["LatestStreamArn"]
    shard = boto3.client("dynamodbstreams").describe_stream(StreamArn=stream)["StreamDescription"]["Shards"][0]["ShardId"]
    at = datetime.now(UTC).isoformat()
    info = {
        "shardId": shard,
        "startSequenceNumber": records[0]["dynamodb"]["SequenceNumber"],
        "endSequenceNumber": records[-1]["dynamodb"]["SequenceNumber"],
        "approximateArrivalOfFirstRecord": at,
        "approximateArrivalOfLastRecord": at,
        "batchSize": len(records),
        "streamArn": stream,
    }
    return json.dumps({"version": "1.0", "requestContext": {"condition": "RetryAttemptsExhausted"}, "DDBStreamBatchInfo": info})


@pytest.fixture
def lost_jobs(world: World, alice: int, bob: int, carol: int, outputs: Outputs) -> int:
    """A group whose three last messages were not fanned out: their jobs are dead letters. The group."""
    group = world.group(alice, bob, carol)
    for said in ("canary one", "canary two", "canary three"):
        world.say(alice, group, content=said)
        world.deliver(world.stream())
        for job in world.jobs():
            put(outputs["FanoutDeadQueueUrl"], job["body"])
    assert world.num(bob, group) is None
    return group


@pytest.fixture
def lost_records(world: World, alice: int, bob: int, outputs: Outputs) -> int:
    """Two messages of Alice to Bob whose stream records were given up. How many records."""
    world.send(alice, [bob], content="canary one")
    world.send(alice, [bob], content="canary two")
    records = world.stream()
    put(outputs["DeliverDeadQueueUrl"], letter(records))
    assert world.num(bob, alice) is None
    return len(records)


def test_list_counts_both_queues_and_tells_the_age_of_the_oldest(parley: Parley, invoked: Any, lost_jobs: int) -> None:
    deliver, fanout = parley("dead-letters", "list", "--json").json
    assert deliver == {"queue": "deliver", "letters": 0, "oldest": None}
    assert (fanout["letters"], fanout["oldest"][-1]) == (3, "s")
    assert [row["queue"] for row in parley("dead-letters", "list", "--queue", "fanout", "--json").json] == ["fanout"]


def test_what_was_looked_at_is_still_there(parley: Parley, invoked: Any, lost_jobs: int, world: World, bob: int) -> None:
    for command in ("list", "show", "show"):
        parley("dead-letters", command)
    assert len(parley("dead-letters", "show", "--json").json) == 3
    assert parley("dead-letters", "redrive", "--all").code == 0
    world.fan_out(world.jobs())
    assert world.num(bob, lost_jobs) == 3


def test_a_job_is_shown_as_who_waits_for_what_without_contents(parley: Parley, invoked: Any, lost_jobs: int, bob: int, carol: int) -> None:
    said = parley("dead-letters", "show")
    assert f"app demo, group {lost_jobs} up to message 3" in said.out
    assert f"for {bob}, {carol}" in said.out
    assert "canary" not in said.out + said.err


def test_a_place_in_the_stream_is_shown_as_the_conversation_without_contents(
    parley: Parley, invoked: Any, lost_records: int, alice: int, bob: int
) -> None:
    (row,) = parley("dead-letters", "show", "--queue", "deliver", "--json").json
    assert row["what"] == f"app demo, user {alice} and {bob} up to message 2"


@pytest.fixture
def spoiled(world: World, alice: int, bob: int, outputs: Outputs, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A message of Alice to Bob whose stream record deliver could not read; the record."""
    monkeypatch.setenv("DELIVER_DEAD_QUEUE_URL", outputs["DeliverDeadQueueUrl"])
    world.send(alice, [bob], content="canary one")
    (record,) = world.stream()
    bad: dict[str, Any] = json.loads(json.dumps(record, default=str))
    del bad["dynamodb"]["NewImage"]["sender"]
    assert world.deliver([bad]) == {"batchItemFailures": []}
    assert world.num(bob, alice) is None
    time.sleep(0.002)
    return bad


def test_a_record_that_could_not_be_read_is_shown_without_contents_and_delivered_from_the_log(
    parley: Parley, invoked: list[Any], spoiled: dict[str, Any], world: World, alice: int, bob: int
) -> None:
    shown = parley("dead-letters", "show", "--json")
    assert [row["what"] for row in shown.json] == [f"a record that cannot be read: app demo, user {alice} and {bob}, message 1"]
    assert parley("dead-letters", "redrive", "--json").json[0] == {"queue": "deliver", "redriven": 1, "left": 0}
    assert "canary" not in json.dumps([shown.out, invoked])
    assert world.num(bob, alice) == 1
    assert parley("dead-letters", "list", "--json").json[0]["letters"] == 0


def test_a_message_that_the_log_cannot_read_either_stays_a_letter(
    parley: Parley, invoked: list[Any], spoiled: dict[str, Any], outputs: Outputs
) -> None:
    key = spoiled["dynamodb"]["Keys"]
    store.dynamodb().update_item(TableName="Messages", Key=key, UpdateExpression="REMOVE sender")
    said = parley("dead-letters", "redrive", "--all")
    assert (said.code, "a message that cannot be read" in said.err) == (1, True)
    assert (dead_letters.count(outputs["DeliverDeadQueueUrl"]), invoked) == (1, [])


def test_a_record_of_a_message_that_is_gone_is_done(parley: Parley, invoked: list[Any], spoiled: dict[str, Any]) -> None:
    store.dynamodb().delete_item(TableName="Messages", Key=spoiled["dynamodb"]["Keys"])
    assert parley("dead-letters", "redrive", "--all", "--json").json[0] == {"queue": "deliver", "redriven": 1, "left": 0}
    assert invoked == []


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (None, "7 in the stream, of no message"),
        ({"conversation": {"S": "nonsense"}, "msg_id": {"N": "3"}}, "no conversation ('nonsense'), message 3"),
    ],
)
def test_a_record_of_nothing_known_is_shown_and_stays(
    parley: Parley, invoked: list[Any], outputs: Outputs, keys: dict[str, Any] | None, told: str
) -> None:
    put(outputs["DeliverDeadQueueUrl"], json.dumps({"unreadable": {"stream": None, "sequence": "7", "keys": keys}}))
    assert told in parley("dead-letters", "show", "--json").json[0]["what"]
    said = parley("dead-letters", "redrive", "--all")
    assert said.code == (1 if keys is None else 0)  # of the other there is no message in the log


def test_a_place_that_holds_a_record_that_cannot_be_read_is_shown(
    parley: Parley, invoked: list[Any], world: World, alice: int, bob: int, outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = {"conversation": {"S": "nonsense"}, "msg_id": {"N": "1"}}
    world.send(alice, [bob])
    store.dynamodb().put_item(TableName="Messages", Item=item)
    monkeypatch.setenv("DELIVER_DEAD_QUEUE_URL", outputs["DeliverDeadQueueUrl"])
    put(outputs["DeliverDeadQueueUrl"], letter(world.stream()))
    (row,) = parley("dead-letters", "show", "--json").json
    assert row["what"] == f"app demo, user {alice} and {bob} up to message 1; no conversation ('nonsense') up to message 1"
    parley("dead-letters", "redrive", "--all")
    assert world.num(bob, alice) == 1
    assert dead_letters.count(outputs["DeliverDeadQueueUrl"]) == 1  # the one that cannot be read, by itself now


def test_letters_of_somebody_who_was_erased_tell_nothing_and_are_redriven_without_contents(
    parley: Parley, invoked: Any, lost_records: int, world: World, alice: int, bob: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(personal, "SETTLED_S", 0)
    assert parley("user", "erase", "--app", "demo", "--user", alice, "--yes", "--json").json["messages"] == lost_records
    shown = parley("dead-letters", "show")
    assert (f"user {alice} and {bob} up to message 2" in shown.out, "canary" in shown.out + shown.err) == (True, False)
    assert parley("dead-letters", "redrive", "--all").code == 0
    assert "canary" not in json.dumps([invoked, world.snapshot()])
    assert world.num(bob, alice) == lost_records


def test_redriven_jobs_reach_everybody(parley: Parley, invoked: Any, lost_jobs: int, world: World, bob: int, carol: int) -> None:
    assert parley("dead-letters", "redrive", "--all", "--json").json == [
        {"queue": "deliver", "redriven": 0, "left": 0},
        {"queue": "fanout", "redriven": 3, "left": 0},
    ]
    world.fan_out(world.jobs())
    assert (world.num(bob, lost_jobs), world.num(carol, lost_jobs)) == (3, 3)
    assert parley("dead-letters", "list", "--json").json[1]["letters"] == 0


def test_without_all_ten_are_tried(parley: Parley, invoked: Any, lost_jobs: int, outputs: Outputs, world: World) -> None:
    body = boto3.client("sqs").receive_message(QueueUrl=outputs["FanoutDeadQueueUrl"], VisibilityTimeout=0)["Messages"][0]["Body"]
    for _ in range(20):
        put(outputs["FanoutDeadQueueUrl"], body)
    assert parley("dead-letters", "redrive", "--json").json[1] == {"queue": "fanout", "redriven": 10, "left": 13}
    assert len(world.jobs()) == 10


def test_a_crash_between_sending_and_deleting_loses_nothing(
    parley: Parley, invoked: Any, lost_jobs: int, world: World, bob: int, outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(queue: str, letters: Any) -> None:
        raise Crash

    monkeypatch.setattr(dead_letters, "HELD_S", 0)
    with monkeypatch.context() as patch:
        patch.setattr(dead_letters, "_delete", crash)
        with pytest.raises(Crash):
            dead_letters.redrive_jobs(outputs["FanoutDeadQueueUrl"], outputs["FanoutQueueUrl"], 10, lambda done: None)
    parley("dead-letters", "redrive", "--all")
    jobs = world.jobs()
    assert len(jobs) > 3
    world.fan_out(jobs)
    assert world.num(bob, lost_jobs) == 3


def test_what_is_no_job_is_left_and_named(parley: Parley, invoked: Any, outputs: Outputs, world: World) -> None:
    put(outputs["FanoutDeadQueueUrl"], "canary")
    said = parley("dead-letters", "redrive", "--all")
    assert (said.code, "no fan-out job" in said.err, "canary" in said.err) == (1, True, False)
    assert world.jobs() == []


def test_records_are_delivered_from_the_stream_while_it_has_them(
    parley: Parley, invoked: list[Any], lost_records: int, world: World, alice: int, bob: int
) -> None:
    world.send(bob, [alice])  # later in the stream: none of ours
    assert parley("dead-letters", "redrive", "--all", "--json").json[0] == {"queue": "deliver", "redriven": 1, "left": 0}
    assert [len(event["Records"]) for event in invoked] == [lost_records]
    assert "canary" not in json.dumps(invoked)
    assert world.num(bob, alice) == 2
    world.drain()
    assert (world.num(bob, alice), world.num(alice, bob)) == (2, 1)


@pytest.mark.parametrize("code", dead_letters.GONE)
def test_records_that_have_left_the_stream_are_delivered_from_the_log(
    parley: Parley, invoked: list[Any], lost_records: int, world: World, alice: int, bob: int, code: str
) -> None:
    def trimmed(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        if operation == "GetShardIterator":
            client: Any = boto3.client("dynamodbstreams")
            raise client.exceptions.from_code(code)({"Error": {"Code": code}}, operation)
        return perform()

    with tampered(trimmed):
        (row,) = parley("dead-letters", "show", "--json").json
        assert "left the stream" in row["what"]
        assert "nothing done" in parley("dead-letters", "redrive", "--all", answer="n\n").err
        assert world.num(bob, alice) is None
        said = parley("dead-letters", "redrive", "--all", "--yes", "--json")
    assert said.json[0] == {"queue": "deliver", "redriven": 1, "left": 0}
    assert "items" in said.err
    assert "canary" not in json.dumps(invoked)
    assert world.num(bob, alice) == 2


def test_what_fails_again_stays(parley: Parley, lost_records: int, outputs: Outputs) -> None:
    def failing(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        if operation == "Invoke":
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorMessage": "out of order"}')}
        return perform()

    with tampered(failing):
        said = parley("dead-letters", "redrive", "--all")
    assert (said.code, "out of order" in said.err) == (1, True)
    assert dead_letters.count(outputs["DeliverDeadQueueUrl"]) == 1

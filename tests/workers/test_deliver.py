"""The stream worker: what is in the log reaches the Inbox, whatever the stream does with its records."""

import itertools
import json
import os
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from messaging.base import settings, store
from messaging.base.errors import ApiError
from messaging.conversations import rules
from tests.faults.sdk import error, tampered
from tests.world import Context, World
from workers import deliver

COMMAND = rules.COMMAND


def only_inbox_of(reader: int) -> Callable[..., Any]:
    """An Inbox that cannot be written for this reader."""

    def answer(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        if operation == "UpdateItem" and request["Key"].get("reader", {}).get("S", "").endswith(f"#{reader}"):
            raise error("ProvisionedThroughputExceededException")
        return perform()

    return answer


def sequences(records: list[dict[str, Any]]) -> list[str]:
    return [record["dynamodb"]["SequenceNumber"] for record in records]


def failures(reply: dict[str, Any]) -> list[str]:
    return [failure["itemIdentifier"] for failure in reply["batchItemFailures"]]


# --- one-to-one


def test_a_message_moves_both_sides(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    assert world.deliver(world.stream()) == {"batchItemFailures": []}
    [message] = world.rows("Messages")
    delivered = {"chat": "user", "last_seq": 1, "last_at": message["sent_at"]}
    assert world.row(bob, alice) == {"reader": f"demo#{bob}", "conversation": alice, **delivered}
    assert world.row(alice, bob) == {"reader": f"demo#{alice}", "conversation": bob, **delivered, "read_seq": 1}


def test_a_message_from_the_system_moves_the_recipient_only(world: World, alice: int) -> None:
    world.direct("notify", {"app_id": "demo", "body": {"type": 1, "targets": [alice], "content": "hi"}})
    world.drain()
    assert [(row["reader"], row["conversation"], row["chat"]) for row in world.rows("Inbox")] == [(f"demo#{alice}", 0, "system")]
    assert world.unread(alice) == {0: 1}


def test_a_message_to_oneself_is_never_unread(world: World, alice: int) -> None:
    world.send(alice, [alice])
    world.drain()
    assert world.unread(alice) == {alice: 0}


@pytest.mark.parametrize("times", [2, 3])
def test_records_that_come_again_change_nothing(world: World, alice: int, bob: int, times: int) -> None:
    world.send(alice, [bob])
    world.send(bob, [alice])
    world.send(alice, [bob], content_type=COMMAND)
    records = world.stream()
    world.deliver(records)
    before = world.rows("Inbox")
    for _ in range(times - 1):
        world.deliver(records)
        for record in records:
            world.deliver([record])
    assert world.rows("Inbox") == before


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_the_unread_numbers_are_exact_in_whatever_order_records_come(world: World, order: tuple[int, ...]) -> None:
    alice, bob = world.user(), world.user()
    world.send(alice, [bob])
    world.send(bob, [alice])
    world.send(alice, [bob], content_type=COMMAND)
    world.send(alice, [bob])
    records = world.stream()
    for at in order:
        world.deliver([records[at]])
    assert world.unread(bob) == {alice: 2}
    assert world.unread(alice) == {bob: 1}


def test_a_late_record_never_moves_a_mark_back(world: World, alice: int, bob: int) -> None:
    for _ in range(3):
        world.send(alice, [bob])
    records = world.stream()
    world.deliver(records[1:])
    world.ack(bob, alice)
    before = world.rows("Inbox")
    world.deliver(records[:1])
    assert world.row(bob, alice) == next(row for row in before if row["reader"] == f"demo#{bob}")
    assert world.num(bob, alice) == 0


def test_a_delivery_after_a_delete_does_not_bring_the_deleted_back(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    records = world.stream()
    world.forget(bob, alice)
    world.deliver(records)
    assert world.unread(bob) == {}
    assert world.contents(bob, alice) == []


def test_a_batch_costs_one_write_per_side_however_many_messages_it_holds(world: World, alice: int, bob: int) -> None:
    for _ in range(5):
        world.send(alice, [bob])
    records = world.stream()
    with world.calls() as calls:
        world.deliver(records)
    assert [call.operation for call in calls] == ["UpdateItem"] * 2


def test_a_command_does_not_count(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob], content_type=COMMAND)
    world.drain()
    assert world.unread(bob) == {alice: 0}


@pytest.mark.parametrize("sent", [[0, COMMAND, 0], [COMMAND, 0, 0], [0, 0, COMMAND]], ids=str)
def test_a_command_between_others_does_not_count(world: World, alice: int, bob: int, sent: list[int]) -> None:
    for content_type in sent:
        world.send(alice, [bob], content_type=content_type)
    world.drain()
    assert world.unread(bob) == {alice: 2}


def test_ones_own_message_counts_for_the_other_only(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.send(bob, [alice])
    world.drain()
    assert world.unread(bob) == {alice: 1}
    assert world.unread(alice) == {bob: 1}


@pytest.mark.parametrize("event", ["REMOVE", "MODIFY"])
def test_a_message_that_expires_or_changes_is_no_news(world: World, alice: int, bob: int, event: str) -> None:
    world.send(alice, [bob])
    records = world.stream()
    old = [{**record, "eventName": event} for record in records]
    if event == "REMOVE":
        for record in old:
            record["dynamodb"] = {name: value for name, value in record["dynamodb"].items() if name != "NewImage"}
    assert world.deliver(old) == {"batchItemFailures": []}
    assert world.rows("Inbox") == []


# --- lanes: of two messages of one conversation the later one may be delivered first


@pytest.mark.parametrize("kind", ["user", "group"])
@pytest.mark.parametrize(("content_type", "nums"), [(0, (0, 1)), (COMMAND, (0, 0))], ids=["text", "command"])
def test_what_does_not_count_is_not_counted_even_while_it_is_on_its_way(
    world: World, alice: int, bob: int, kind: str, content_type: int, nums: tuple[int, int]
) -> None:
    """Alice's message is delivered after the answer to it. She never has more unread than the answer, Bob never more than her text."""
    group = world.group(alice, bob) if kind == "group" else None
    for sender, other in ((alice, bob), (bob, alice)):
        fields = {"content_type": content_type if sender == alice else 0}
        if group:
            world.say(sender, group, **fields)
        else:
            world.send(sender, [other], **fields)
    first, second = world.stream()
    for record in (second, first):
        assert world.deliver([record]) == {"batchItemFailures": []}
        world.fan_out(world.jobs())
        assert world.num(alice, group or bob) == 1
        assert world.num(bob, group or alice) == nums[1]


def test_what_another_lane_holds_of_the_middle_of_a_batch_is_known(world: World, alice: int, bob: int) -> None:
    world.send(bob, [alice])
    world.send(alice, [bob])
    world.send(bob, [alice])
    first, second, third = world.stream()
    world.deliver([first, third])
    assert world.num(alice, bob) == 2
    world.deliver([second])
    assert world.num(alice, bob) == 2


def test_what_was_given_up_is_told_with_the_next_message(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob], content_type=COMMAND)
    world.send(alice, [bob])
    world.deliver(world.stream()[1:])
    assert world.unread(bob) == {alice: 1}
    assert world.unread(alice) == {bob: 0}


def test_a_message_that_the_log_cannot_read_does_not_hold_up_the_next(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.send(alice, [bob])
    first, second = world.stream()
    store.dynamodb().update_item(TableName="Messages", Key=first["dynamodb"]["Keys"], UpdateExpression="REMOVE sender")
    assert world.deliver([second]) == {"batchItemFailures": []}
    assert world.unread(bob) == {alice: 2}


def test_messages_that_come_in_order_cost_no_look_at_the_log(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    for _ in range(3):
        world.send(alice, [bob])
        world.send(bob, [alice])
        world.say(alice, group)
    records = world.stream()
    with world.calls() as calls:
        for record in records:
            world.deliver([record])
    assert [call for call in calls if call.request.get("TableName") == "Messages"] == []
    assert len([call for call in calls if call.operation == "UpdateItem"]) == 2 * 9 + 5  # who has not read all writes once more


def test_a_batch_of_nothing_new_is_done(world: World) -> None:
    assert deliver.handler({"Records": []}, Context()) == {"batchItemFailures": []}


# --- failures


def test_only_the_conversation_that_failed_comes_again(world: World, alice: int, bob: int, carol: int) -> None:
    world.send(alice, [carol])
    world.send(alice, [bob])
    world.send(bob, [alice])
    records = world.stream()
    with tampered(only_inbox_of(carol)):
        reply = world.deliver(records)
    assert failures(reply) == sequences(records[:1])
    assert world.unread(bob) == {alice: 1}
    assert world.unread(alice) == {bob: 1, carol: 0}

    assert world.deliver(records[:1]) == {"batchItemFailures": []}
    assert world.unread(carol) == {alice: 1}


def test_every_record_of_a_conversation_that_failed_comes_again(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.send(alice, [bob])
    records = world.stream()
    with tampered(only_inbox_of(bob)):
        assert sorted(failures(world.deliver(records))) == sorted(sequences(records))


def test_a_batch_that_fails_is_one_line_in_the_log(world: World, alice: int, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("bob", "carol", "dave"):
        world.send(alice, [world.user(name)])
    records = world.stream()
    with tampered(only_inbox_of(alice)):
        assert sorted(failures(world.deliver(records))) == sorted(sequences(records))
    assert [record.__dict__["failed"] for record in caplog.records if record.levelname == "ERROR"] == [3]


def test_who_sends_to_many_at_once_is_not_served_before_everybody_else(world: World) -> None:
    many = [world.user() for _ in range(30)]
    world.send(many[0], many[1:])
    world.app("other")
    one, two = world.user("one", "other"), world.user("two", "other")
    world.send(one, [two], app="other")
    records = world.stream()
    with world.calls() as calls:
        assert world.deliver(records) == {"batchItemFailures": []}
    readers = [call.request["Key"]["reader"]["S"] for call in sorted(calls, key=lambda call: call.started)]
    assert max(readers.index(f"other#{user}") for user in (one, two)) < store.PARALLEL + 4 < len(readers) / 2


# --- what cannot be read

CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no image": lambda change: change.pop("NewImage"),
    "an empty image": lambda change: change.update(NewImage={}),
    "no sender": lambda change: change["NewImage"].pop("sender"),
    "a number that is none": lambda change: change["NewImage"].update(msg_id={"N": "one"}),
    "a time that is a text": lambda change: change["NewImage"].update(sent_at={"S": "soon"}),
    "a value without its type": lambda change: change["NewImage"].update(ctype="0"),
    "a value of no type": lambda change: change["NewImage"].update(ctype={}),
    "a conversation that is a number": lambda change: change["NewImage"].update(conversation={"N": "7"}),
    "a conversation that is none": lambda change: change["NewImage"].update(conversation={"S": "nonsense"}),
    "a conversation of no app": lambda change: change["NewImage"].update(conversation={"S": "demo#user#1"}),
}


def spoiled(record: dict[str, Any], how: str = "no sender", sequence: str = "99") -> dict[str, Any]:
    """The record as nobody can read it."""
    bad: dict[str, Any] = json.loads(json.dumps(record, default=str))
    bad["dynamodb"]["SequenceNumber"] = sequence
    CHANGES[how](bad["dynamodb"])
    return bad


def letters() -> list[dict[str, Any]]:
    """Takes the dead letters that deliver itself has left."""
    url = os.environ["DELIVER_DEAD_QUEUE_URL"]
    found: list[dict[str, Any]] = []
    while messages := boto3.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            found.append(json.loads(message["Body"]))
            boto3.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


@pytest.mark.parametrize("how", CHANGES)
def test_a_record_that_cannot_be_read_goes_to_the_dead_letters_alone(world: World, alice: int, bob: int, how: str) -> None:
    world.send(alice, [bob], content="canary")
    world.send(alice, [bob])
    first, second = world.stream()
    bad = spoiled(first, how)
    assert world.deliver([bad, second]) == {"batchItemFailures": []}  # its lane goes on
    assert world.row(bob, alice) is not None
    keys = {"conversation": {"S": f"demo#user#{alice}#{bob}"}, "msg_id": {"N": "1"}}
    assert letters() == [{"unreadable": {"stream": first["eventSourceARN"], "sequence": "99", "keys": keys}}]


def test_a_batch_in_which_nothing_can_be_read_is_one_line_in_the_log_without_contents(
    world: World, alice: int, bob: int, caplog: pytest.LogCaptureFixture
) -> None:
    world.send(alice, [bob], content="canary")
    [record] = world.stream()
    bad = [spoiled(record, how, str(at)) for at, how in enumerate(CHANGES)]
    assert world.deliver([*bad, {"eventName": "INSERT"}]) == {"batchItemFailures": []}
    assert [line.__dict__["records"] for line in caplog.records if line.levelname == "ERROR"] == [len(bad) + 1]
    assert len(found := letters()) == len(bad) + 1
    assert "canary" not in json.dumps(found)


def test_what_comes_again_anyway_is_set_aside_once_when_it_is_done(world: World, alice: int, bob: int, carol: int) -> None:
    """Lambda goes on with the first record that failed, so what stood before it is done and what stands after it comes again."""
    for target in (bob, carol, bob):
        world.send(alice, [target])
    before, failing, after = world.stream()
    batch = [spoiled(before, sequence="1"), failing, spoiled(after, sequence="9")]
    with tampered(only_inbox_of(carol)):
        assert failures(world.deliver(batch)) == sequences([failing])
    assert [letter["unreadable"]["sequence"] for letter in letters()] == ["1"]
    assert world.deliver(batch[1:]) == {"batchItemFailures": []}
    assert [letter["unreadable"]["sequence"] for letter in letters()] == ["9"]


def test_a_poller_that_brings_the_whole_batch_again_has_nothing_set_aside_until_it_passes(
    world: World, alice: int, bob: int, carol: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARTIAL_BATCHES", "false")
    settings.settings.cache_clear()
    world.send(alice, [bob])
    world.send(alice, [carol])
    first, second = world.stream()
    batch = [spoiled(first), second]
    with tampered(only_inbox_of(carol)), pytest.raises(RuntimeError, match="1 records failed"):
        world.deliver(batch)
    assert letters() == []
    assert world.deliver(batch) == {"batchItemFailures": []}
    assert len(letters()) == 1


def test_a_record_that_could_not_be_set_aside_comes_again(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    [record] = world.stream()
    with tampered(refusing(rounds=99)), pytest.raises(ApiError):
        world.deliver([spoiled(record)])
    assert world.deliver([spoiled(record)]) == {"batchItemFailures": []}
    assert len(letters()) == 1


def test_a_poller_that_knows_no_partial_failures_gets_an_error_instead(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob, carol = world.user(), world.user(), world.user()
    monkeypatch.setenv("PARTIAL_BATCHES", "false")
    settings.settings.cache_clear()
    world.send(alice, [bob])
    world.send(alice, [carol])
    records = world.stream()
    with tampered(only_inbox_of(bob)), pytest.raises(RuntimeError, match="1 records failed"):
        world.deliver(records)
    assert world.unread(carol) == {alice: 1}
    assert world.deliver(records) == {"batchItemFailures": []}
    assert world.unread(bob) == {alice: 1}


# --- groups


def test_a_group_message_moves_the_head_and_the_sender_and_queues_the_others(world: World, alice: int, bob: int, carol: int) -> None:
    group = world.group(alice, bob, carol)
    world.say(bob, group)
    world.deliver(world.stream())
    [message] = world.rows("Messages")
    assert [json.loads(job["body"]) for job in world.jobs()] == [
        {"conversation": f"demo#group#{group}", "last_seq": 1, "last_at": message["sent_at"], "skip_seq": 0, "members": [alice, carol]}
    ]
    head = next(item for item in world.rows("Directory") if item["entity"] == f"demo#{group}" and item["facet"] == "profile")
    assert (head["last_seq"], head["last_at"]) == (1, message["sent_at"])
    assert world.unread(bob) == {group: 0}


@pytest.mark.parametrize("push_limit", [500, 1], ids=["written", "read by its head"])
def test_ones_own_message_is_not_unread_even_between_two_writes_of_a_delivery(
    world: World, alice: int, bob: int, monkeypatch: pytest.MonkeyPatch, push_limit: int
) -> None:
    monkeypatch.setenv("PUSH_LIMIT_MEMBERS", str(push_limit))
    settings.settings.cache_clear()
    group = world.group(alice, bob)
    world.say(bob, group)
    world.say(alice, group)
    numbers: list[int] = []

    def watching(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        reply = perform()
        if operation in ("UpdateItem", "SendMessageBatch"):
            numbers.extend(world.num(user, group) or 0 for user in (alice, bob))
        return reply

    records = world.stream()
    with tampered(watching):
        world.deliver(records)
    assert max(numbers) == 1  # the other's message, never their own
    world.fan_out(world.jobs())
    assert world.num(alice, group) == world.num(bob, group) == 1


def test_a_command_moves_the_head_so_that_it_does_not_count(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    world.say(alice, group, content_type=COMMAND)
    world.deliver(world.stream())
    [job] = world.jobs()
    assert json.loads(job["body"])["skip_seq"] == 1
    head = next(item for item in world.rows("Directory") if item["entity"] == f"demo#{group}" and item["facet"] == "profile")
    assert head["skip_seq"] == 1


def test_a_batch_is_one_job_a_page_of_members_however_many_messages_it_holds(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    for _ in range(4):
        world.say(alice, group)
    world.deliver(world.stream())
    [job] = world.jobs()
    assert json.loads(job["body"])["last_seq"] == 4


@pytest.mark.parametrize(("first", "second", "jobs"), [(0, 0, 1), (COMMAND, 0, 2), (0, COMMAND, 1), (COMMAND, COMMAND, 2)], ids=str)
def test_what_a_later_message_has_told_in_another_lane_is_not_told_again(
    world: World, alice: int, bob: int, carol: int, first: int, second: int, jobs: int
) -> None:
    group = world.group(alice, bob, carol)
    world.say(alice, group, content_type=first)
    world.say(alice, group, content_type=second)
    older, newer = world.stream()
    for record in (newer, older):
        assert world.deliver([record]) == {"batchItemFailures": []}
    found = world.jobs()
    assert len(found) == jobs
    world.fan_out(found)
    world.ack(bob, group, msg_id=0)
    assert world.num(bob, group) == 0
    assert world.num(carol, group) == 2 - (first, second).count(COMMAND)


def test_a_delivery_that_died_before_it_queued_its_jobs_queues_them_when_it_comes_again(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    world.say(alice, group)
    records = world.stream()
    with tampered(refusing(rounds=99)):
        assert failures(world.deliver(records)) == sequences(records)  # the head has moved
    world.deliver(records)
    assert len(world.jobs()) == 1


def test_a_group_of_more_than_a_hundred_members_makes_several_jobs(world: World, crowd: Callable[[int], list[int]]) -> None:
    members = crowd(deliver.MEMBERS_PER_JOB + 2)
    group = world.group(*members)
    world.say(members[0], group)
    world.deliver(world.stream())
    pages = [json.loads(job["body"])["members"] for job in world.jobs()]
    assert sorted(map(len, pages)) == [1, deliver.MEMBERS_PER_JOB]
    assert sorted(member for page in pages for member in page) == sorted(members[1:])


def test_a_group_with_more_jobs_than_one_batch_holds_queues_them_all(
    world: World, crowd: Callable[[int], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "MEMBERS_PER_JOB", 1)
    members = crowd(13)
    group = world.group(*members)
    world.say(members[0], group)
    records = world.stream()
    with world.calls() as calls:
        world.deliver(records)
    assert [len(call.request["Entries"]) for call in calls if call.operation == "SendMessageBatch"] == [10, 2]
    assert len(world.jobs()) == 12


def test_the_app_is_the_message_group_of_its_jobs(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    world.say(alice, group)
    records = world.stream()
    with world.calls() as calls:
        world.deliver(records)
    [entry] = next(call.request["Entries"] for call in calls if call.operation == "SendMessageBatch")
    assert entry["MessageGroupId"] == "demo"


def test_a_group_of_one_needs_no_job(world: World, alice: int) -> None:
    group = world.group(alice)
    world.say(alice, group)
    world.deliver(world.stream())
    assert world.jobs() == []
    assert world.unread(alice) == {group: 0}


def refusing(rounds: int) -> Callable[..., Any]:
    """A queue that takes all entries but the first, for so many rounds."""
    refused: list[dict[str, Any]] = []

    def answer(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        if operation != "SendMessageBatch" or len(refused) == rounds:
            return perform()
        first, *others = request["Entries"]
        refused.append(first)
        request["Entries"] = others
        failed = [{"Id": first["Id"], "SenderFault": False, "Code": "InternalError"}]
        return {**(perform() if others else {}), "Failed": failed}

    return answer


def test_jobs_that_the_queue_refuses_are_queued_again(
    world: World, crowd: Callable[[int], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "MEMBERS_PER_JOB", 1)
    members = crowd(4)
    group = world.group(*members)
    world.say(members[0], group)
    records = world.stream()
    with tampered(refusing(rounds=2)):
        assert world.deliver(records) == {"batchItemFailures": []}
    assert sorted(json.loads(job["body"])["members"] for job in world.jobs()) == [[member] for member in members[1:]]


def test_a_queue_that_keeps_refusing_has_the_records_come_again(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    world.say(alice, group)
    records = world.stream()
    with tampered(refusing(rounds=99)):
        assert failures(world.deliver(records)) == sequences(records)
    assert world.deliver(records) == {"batchItemFailures": []}
    world.fan_out(world.jobs())
    assert world.unread(bob) == {group: 1}


def test_who_left_before_the_delivery_is_not_written(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    world.say(bob, group)
    world.leave(group, bob)
    before = world.row(bob, group)
    world.drain()
    assert world.row(bob, group) == before
    assert world.unread(bob) == {}


def test_a_group_that_is_gone_has_no_head_made_up(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    world.say(alice, group)
    records = json.loads(json.dumps(world.stream(), default=str))
    for record in records:
        record["dynamodb"]["NewImage"]["conversation"]["S"] = "demo#group#987654"
    before = world.rows("Directory")
    assert world.deliver(records) == {"batchItemFailures": []}
    assert world.rows("Directory") == before
    assert world.jobs() == []

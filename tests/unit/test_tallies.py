"""What a list asks the log for, and what it keeps of the answer: exact, at a bounded price, and failing nobody else's number."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from messaging.base import keys, store
from messaging.conversations import rules, tallies
from messaging.conversations.rules import COMMAND, Marks, Tally
from ops.bench import deployed
from ops.bench.meter import Meter
from tests.fast_world import FastWorld, fast_world
from tests.faults.sdk import error

DAY_S = 86_400
LISTED = 20  # conversations
READ_UNITS = 3  # for each of them
KIB_32 = "x" * 32_768


@pytest.fixture
def world() -> Iterator[FastWorld]:
    with fast_world() as found:
        found.user(number=1001)
        found.user(number=1002)
        yield found


@pytest.fixture
def expiring() -> Iterator[FastWorld]:
    with fast_world(RETENTION_SECONDS=str(2 * DAY_S)) as found:
        found.user(number=1001)
        found.user(number=1002)
        yield found


def talk(world: FastWorld, script: str, drain: bool = True) -> None:
    """`t`: 1001 says something to 1002, `o`: 1002 to 1001; capitals are COMMANDs."""
    for letter in script:
        sender, reader = (1001, 1002) if letter in "tT" else (1002, 1001)
        world.send(sender, [reader], content_type=COMMAND if letter.isupper() else 0)
        if drain:
            world.drain()


def fill(world: FastWorld, writer: int, reader: int, upto: int, apart_ms: int = 0) -> None:
    """Copies of the newest message of a conversation up to a number, as appending leaves them; then one more is sent."""
    conversation, table = keys.between("demo", writer, reader), world.aws.tables["Messages"]
    pattern = table[table.partition(conversation.key)[-1]]
    for at in range(int(pattern["msg_id"]["N"]) + 1, upto):
        world.now_ms += apart_ms
        table[conversation.key, at] = {**pattern, "msg_id": {"N": str(at)}, "sent_at": {"N": str(world.now_ms)}}
    world.send(writer, [reader], content=pattern["content"]["S"])
    world.drain()


def poll(world: FastWorld, reader: int = 1002, **query: int) -> tuple[list[int | None], Meter]:
    """The numbers of a list, and what it was billed."""
    meter = Meter(world.aws.perform, deployed.tables())
    token = world.token(reader)
    world.unread(1001)  # the app and the keys are in memory
    world.injector = meter
    try:
        reply = world.call("GET", "/message/unread", token, query=query)
    finally:
        world.injector = None
    assert reply["code"] == 200
    assert all(entry["set_num"] == (entry["num"] is not None) for entry in reply["data"])
    return [entry["num"] for entry in reply["data"]], meter


# --- numbers


def test_own_messages_up_to_the_floor_are_not_subtracted(world: FastWorld) -> None:
    talk(world, "tototot")
    world.ack(1002, 1001, msg_id=3)
    assert world.num(1002, 1001) == 2


def test_own_messages_beyond_what_a_row_remembers_are_counted_in_the_log(world: FastWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_OWN", 4)
    talk(world, "t" + "o" * 9 + "tOot")
    assert len((world.row(1002, 1001) or {})["own"]) <= 4
    assert world.num(1002, 1001) == world.num(1002, 1001) == 3
    world.ack(1002, 1001, msg_id=3)
    talk(world, "ooooTt")
    assert world.num(1002, 1001) == 3


def test_what_was_kept_counts_for_its_own_floor_only(world: FastWorld) -> None:
    talk(world, "tTtTtTt")
    world.ack(1002, 1001, msg_id=1)
    assert world.num(1002, 1001) == 3
    kept = (world.row(1002, 1001) or {})["tally"]
    world.ack(1002, 1001, msg_id=4)
    store.update((("Inbox"), {"reader": "demo#1002", "conversation": 1001}), {"tally": kept}, "attribute_exists(reader)")  # a slow list
    assert world.num(1002, 1001) == 2


def test_what_another_release_has_kept_is_told_anew(world: FastWorld) -> None:
    talk(world, "tTtTtTt")
    world.ack(1002, 1001, msg_id=1)
    kept = {"floor": 1, "after": 1, "upto": 1, "skipped": 2, "unheard_of": 7}
    store.update((("Inbox"), {"reader": "demo#1002", "conversation": 1001}), {"tally": kept}, "attribute_exists(reader)")
    assert world.num(1002, 1001) == 3


def test_sums_of_two_chains_are_not_compared() -> None:
    marks = Marks(last_seq=9, read_seq=2, skip_seq=8, uncounted=2, chain=2)
    assert rules.number(marks, Tally(2, 2, 2, uncounted=1, chain=2)) == 6
    assert rules.number(marks, Tally(2, 2, 2, uncounted=1, chain=1)) is None


@pytest.mark.parametrize("sent_by", ["0.1.0", None], ids=["sent by it too", "delivered by it only"])
@pytest.mark.parametrize("first", "toTO")
def test_what_0_1_0_skipped_is_counted_after_the_upgrade(world: FastWorld, first: str, sent_by: str | None) -> None:
    for letter in "tToot":
        world.aws.release = sent_by
        talk(world, letter, drain=False)
        world.aws.release = "0.1.0"
        world.drain()
    world.aws.release = None
    assert world.num(1002, 1001) == 2
    talk(world, first + "t" * (first != "t"))
    assert world.num(1002, 1001) == 3
    world.ack(1002, 1001, msg_id=1)
    talk(world, "Tt")
    assert world.num(1002, 1001) == 3


@pytest.mark.parametrize("expired", range(9))
def test_expired_messages_are_left_out_wherever_the_border_lies(expiring: FastWorld, expired: int) -> None:
    start = expiring.now_ms
    for letter in "tTtottTtt":
        talk(expiring, letter)
        expiring.now_ms += 3_600_000
    counted = [1, 0, 1, 0, 1, 1, 0, 1, 1]
    expiring.now_ms = start + (2 * DAY_S + 60) * 1000 + (expired - 1) * 3_600_000 + 1_000
    assert expiring.num(1002, 1001) == expiring.num(1002, 1001) == sum(counted[expired:])
    for place in [place for place in expiring.aws.tables["Messages"] if place[1] <= expired and place[1] % 2]:
        del expiring.aws.tables["Messages"][place]  # TTL deletes in any order
    assert expiring.num(1002, 1001) == sum(counted[expired:])
    expiring.now_ms += 3_600_000
    assert expiring.num(1002, 1001) == (sum(counted[expired + 1 :]) if expired < 8 else None)


# --- failing, and taking long


def test_a_count_that_fails_leaves_out_one_number(world: FastWorld) -> None:
    world.user(number=1003)
    world.aws.release = "0.1.0"  # of which the log has to be counted
    world.send(1003, [1002], content_type=COMMAND)
    world.send(1003, [1002])
    world.drain()
    world.aws.release = None
    talk(world, "tTt")

    def broken(operation: str, request: dict[str, Any], perform: Any) -> Any:
        if operation == "Query" and "1003" in json.dumps(request):
            raise error("ProvisionedThroughputExceededException")
        return perform()

    world.injector = broken
    assert world.unread(1002) == {1001: 2, 1003: None}
    world.injector = None
    assert world.unread(1002) == {1001: 2, 1003: 1}


def test_numbers_that_need_nothing_of_the_log_are_told_while_it_fails(world: FastWorld) -> None:
    world.user(number=1003)
    world.send(1003, [1002])
    talk(world, "tTtTt")
    world.ack(1002, 1001, msg_id=2)

    def broken(operation: str, request: dict[str, Any], perform: Any) -> Any:
        if "Messages" in json.dumps(request):
            raise error("InternalServerError", 500)
        return perform()

    world.injector = broken
    assert world.unread(1002) == {1001: None, 1003: 1}


def test_a_tally_that_cannot_be_kept_does_not_hide_the_number(world: FastWorld) -> None:
    talk(world, "tTtTt")
    world.ack(1002, 1001, msg_id=2)

    def broken(operation: str, request: dict[str, Any], perform: Any) -> Any:
        if operation == "UpdateItem":
            raise error("InternalServerError", 500)
        return perform()

    world.injector = broken
    assert world.num(1002, 1001) == 2


def test_a_long_count_goes_on_where_the_last_list_stopped(world: FastWorld) -> None:
    world.aws.release = "0.1.0"
    talk(world, "tT" * 5)
    world.aws.release, world.aws.page_items = None, 2

    def slow(operation: str, request: dict[str, Any], perform: Any) -> Any:
        if operation == "Query" and request["TableName"] == "Messages":
            world.now_ms += int(tallies.COUNTING_S * 1000 / 2)
        return perform()

    world.injector = slow
    assert [world.num(1002, 1001) for _ in range(3)] == [None, None, 5]


# --- the price


@pytest.mark.parametrize("content", ["x" * 80, KIB_32], ids=["80 characters", "32 KiB"])
@pytest.mark.parametrize("unread", [10**2, 10**3])
def test_commands_and_own_messages_cost_no_more_than_3_units_a_conversation(world: FastWorld, unread: int, content: str) -> None:
    for writer in range(2001, 2001 + LISTED):
        world.user(number=writer)
        for content_type in (COMMAND, 0, COMMAND):
            world.send(writer, [1002], content_type=content_type, content=content)
        world.drain()
        world.ack(1002, writer, msg_id=2)
        for at in range(10):
            world.send(1002, [writer], content="mine")
            world.send(writer, [1002], content_type=COMMAND if at % 2 else 0, content=content)
        world.drain()
        fill(world, writer, 1002, unread)
    wanted = [unread - 2 - 1 - 10 - 5] * LISTED
    first, read = poll(world)
    assert first == wanted
    kept = sum(charge.metered.writes for charge in read.charges)
    assert kept == LISTED  # a write for each, once for where the reader is
    again, reread = poll(world)
    assert again == wanted
    assert reread.total.writes == 0
    assert reread.total.reads <= READ_UNITS * LISTED
    weak = 9 * 0.5 if content is KIB_32 else 0.5  # half a unit for each started 4 KiB of the one message that was read
    assert read.total.reads <= reread.total.reads + weak * LISTED + 1


def test_a_command_costs_no_read_of_what_0_1_0_left_unread(world: FastWorld) -> None:
    world.aws.release = "0.1.0"
    world.send(1001, [1002], content=KIB_32)
    fill(world, 1001, 1002, 100)
    world.aws.release = None
    talk(world, "TtTt")
    (number,), read = poll(world)
    assert number == 102
    assert {charge.operation for charge in read.charges if charge.table == "Messages"} <= {"BatchGetItem"}
    assert read.total.reads <= READ_UNITS


def test_200_own_messages_cost_no_read_of_the_log(world: FastWorld) -> None:
    talk(world, "t" + "o" * rules.MAX_OWN + "t")
    (number,), read = poll(world)
    assert number == 2
    assert {charge.table for charge in read.charges} == {"Inbox"}
    talk(world, "o")
    assert world.num(1002, 1001) == 2


@pytest.mark.parametrize("unread", [10**2, 10**4])
def test_retention_costs_no_more_than_3_units_a_conversation(expiring: FastWorld, unread: int) -> None:
    expiring.send(1001, [1002])
    expiring.drain()
    apart_ms = 3 * DAY_S * 1000 // unread  # a third has expired in the end
    fill(expiring, 1001, 1002, unread, apart_ms)
    horizon = expiring.now_ms - (2 * DAY_S + 60) * 1000
    live = sum(int(item["sent_at"]["N"]) > horizon + 999 for item in expiring.aws.tables["Messages"].values())
    expiring.history(1002, 0)  # the container has seen who asks
    (told,), first = poll(expiring)
    (again,), second = poll(expiring)
    assert told == again
    assert abs(told - live) <= 1
    assert first.total.reads <= 2 * READ_UNITS
    assert second.total.reads <= READ_UNITS
    expiring.now_ms += 5 * apart_ms  # five more have expired
    expiring.history(1002, 0)
    (later,), third = poll(expiring)
    assert later == told - 5
    assert third.total.reads <= READ_UNITS

"""GET /message/ack."""

import os
from functools import partial
from typing import Any

import pytest

from messaging.base import settings
from tests.endpoints.refusals import assert_refused
from tests.world import World

DONE = {"code": 200, "data": True, "message": None}
INT32 = 2**31 - 1


def _call(world: World, reader: int, **query: Any) -> dict[str, Any]:
    return world.call("GET", "/message/ack", world.token(reader), query=query)


@pytest.fixture(params=["user", "group", "large group", "system"])
def number(request: pytest.FixtureRequest, world: World, alice: int, bob: int) -> int:
    """How bob knows a conversation of each kind, with three messages of others in it."""
    if request.param == "large group":
        os.environ["PUSH_LIMIT_MEMBERS"] = "1"
        settings.settings.cache_clear()
    group = world.group(alice, bob)
    for _ in range(3):
        if request.param == "user":
            world.send(alice, [bob])
        elif request.param == "system":
            body = {"type": 1, "targets": [bob], "content": "news"}
            world.call("POST", "/message/notify", world.admin(), body=body)
        else:
            world.say(alice, group)
    return {"user": alice, "system": 0}.get(request.param, group)


@pytest.mark.parametrize("query", [{}, {"msg_id": 0}, {"msg_id": 3}], ids=["absent", "0", "newest"])
def test_everything_is_read(world: World, bob: int, number: int, query: dict[str, Any]) -> None:
    world.drain()
    assert world.ack(bob, number, **query) == DONE
    assert world.unread(bob) == {number: 0}
    row = world.row(bob, number)
    assert row is not None
    assert row["read_seq"] == 3


def test_everything_up_to_the_message_is_read(world: World, bob: int, number: int) -> None:
    world.drain()
    assert world.ack(bob, number, msg_id=2) == DONE
    assert world.unread(bob) == {number: 1}


def test_what_is_not_delivered_yet_is_read_too(world: World, bob: int, number: int) -> None:
    assert world.ack(bob, number, msg_id=2) == DONE
    world.drain()
    assert world.unread(bob) == {number: 1}


def test_everything_includes_what_is_not_delivered_yet(world: World, bob: int, number: int) -> None:
    assert world.ack(bob, number) == DONE
    world.drain()
    assert world.unread(bob) == {number: 0}


def test_an_older_message_changes_nothing_and_succeeds(world: World, bob: int, number: int) -> None:
    world.drain()
    world.ack(bob, number, msg_id=2)
    before = world.snapshot()
    assert [world.ack(bob, number, msg_id=msg_id) for msg_id in (1, 2)] == [DONE, DONE]
    assert world.snapshot() == before


def test_a_message_that_is_not_there_yet_is_refused(world: World, bob: int, number: int) -> None:
    assert_refused(world, 50001, "4", lambda: world.ack(bob, number, msg_id=4))
    world.drain()
    assert_refused(world, 50001, "4", lambda: world.ack(bob, number, msg_id=4))


def test_reading_again_after_the_next_message_moves_on(world: World, alice: int, bob: int) -> None:
    for msg_id in (1, 2):
        world.send(alice, [bob])
        world.drain()
        assert world.num(bob, alice) == 1
        world.ack(bob, alice, msg_id=msg_id)
        assert world.num(bob, alice) == 0


def test_a_receipt_moves_the_own_row_only(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.drain()
    log, own, other = world.rows("Messages"), world.row(bob, alice), world.row(alice, bob)
    world.ack(bob, alice, msg_id=1, device_sn=5)
    assert own is not None
    assert world.row(bob, alice) == own | {"read_seq": 1, "device_sn": 5}
    assert (world.rows("Messages"), world.row(alice, bob)) == (log, other)


def test_a_receipt_for_the_own_message_succeeds(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.drain()
    assert world.ack(alice, bob, msg_id=1) == DONE
    assert world.unread(bob) == {alice: 1}


def test_one_members_receipt_reads_for_nobody_else(world: World, alice: int, bob: int, carol: int) -> None:
    group = world.group(alice, bob, carol)
    world.say(alice, group)
    world.drain()
    world.ack(bob, group)
    assert (world.num(bob, group), world.num(carol, group)) == (0, 1)


@pytest.mark.parametrize("query", [{}, {"msg_id": 0}])
def test_reading_all_of_nothing_succeeds_without_a_trace(world: World, alice: int, bob: int, query: dict[str, Any]) -> None:
    group = world.group(bob)
    before = world.snapshot()
    assert [world.ack(bob, number, **query) for number in (alice, group, bob, 0, 777777)] == [DONE] * 5
    assert world.snapshot() == before


def test_no_message_exists_in_an_empty_or_unknown_conversation(world: World, alice: int, bob: int) -> None:
    group = world.group(bob)
    assert_refused(world, 50001, "1", *(partial(world.ack, bob, number, msg_id=1) for number in (alice, group, bob, 0, 777777)))


def test_a_receipt_alone_puts_no_conversation_into_the_list(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.drain()
    world.forget(bob, alice)
    world.ack(bob, alice)
    assert world.unread(bob) == {}


def test_a_group_without_membership_is_refused(world: World, alice: int, bob: int) -> None:
    foreign, left = world.group(alice), world.group(alice, bob)
    for group in (foreign, left):
        world.say(alice, group)
    world.drain()
    world.leave(left, bob)
    for group in (foreign, left):
        assert_refused(world, 20002, group, partial(world.ack, bob, group), partial(world.ack, bob, group, msg_id=1))


def test_who_was_removed_is_refused_even_for_what_was_read_before(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    world.say(alice, group)
    world.drain()
    world.ack(bob, group, msg_id=1)
    world.leave(group, bob)
    assert_refused(world, 20002, group, lambda: world.ack(bob, group, msg_id=1))


# --- devices


def test_what_one_device_reads_is_read_on_all(world: World, alice: int, bob: int) -> None:
    for _ in range(2):
        world.send(alice, [bob])
    world.drain()
    world.ack(bob, alice, msg_id=2, device_sn=5)
    assert world.ack(bob, alice, msg_id=1, device_sn=6) == DONE
    assert world.unread(bob) == {alice: 0}


@pytest.mark.parametrize("device_sn", [1, INT32])
@pytest.mark.parametrize("query", [{}, {"msg_id": 1}], ids=["everything", "one message"])
def test_the_device_that_read_last_is_recorded(world: World, alice: int, bob: int, device_sn: int, query: dict[str, Any]) -> None:
    world.send(alice, [bob])
    world.drain()
    world.ack(bob, alice, device_sn=device_sn, **query)
    row = world.row(bob, alice)
    assert row is not None
    assert row["device_sn"] == device_sn


@pytest.mark.parametrize("query", [{}, {"msg_id": 2}], ids=["everything", "one message"])
def test_reading_on_no_particular_device_records_none(world: World, alice: int, bob: int, query: dict[str, Any]) -> None:
    for _ in range(2):
        world.send(alice, [bob])
    world.drain()
    world.ack(bob, alice, msg_id=1, device_sn=5)
    assert world.ack(bob, alice, device_sn=0, **query) == DONE
    row = world.row(bob, alice)
    assert row is not None
    assert (row["read_seq"], row["device_sn"]) == (2, 5)


# --- parameters


def test_a_missing_conversation_id_is_refused(world: World, alice: int) -> None:
    assert_refused(world, 10002, "conversation_id", lambda: _call(world, alice), lambda: _call(world, alice, msg_id=1))


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("conversation_id", [-1, 2**53, "x", "", "1.0", "true", "1,2", "9" * 30]),
        ("msg_id", [-1, 2**53, "x", "", "1.0", "true", "1,2", "9" * 30]),
        ("device_sn", [-1, INT32 + 1, "x", "", "1.0", "true", "1,2"]),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(world: World, alice: int, bob: int, field: str, wrong: list[object]) -> None:
    world.send(alice, [bob])
    assert_refused(world, 10002, field, *(partial(_call, world, bob, **{"conversation_id": alice} | {field: value}) for value in wrong))

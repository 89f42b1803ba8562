"""DELETE /message/conversation."""

import os
from functools import partial
from typing import Any

import pytest

from messaging.base import settings
from tests.endpoints.refusals import assert_refused
from tests.world import World

PATH = "/message/conversation"
DONE = {"code": 200, "data": True, "message": None}


def _call(world: World, reader: int, **query: Any) -> dict[str, Any]:
    return world.call("DELETE", PATH, world.token(reader), query=query)


@pytest.fixture(params=["user", "group", "visible group", "large group", "system"])
def number(request: pytest.FixtureRequest, world: World, alice: int, bob: int) -> int:
    """How bob knows a conversation of each kind."""
    if request.param == "large group":
        os.environ["PUSH_LIMIT_MEMBERS"] = "1"
        settings.settings.cache_clear()
    if request.param == "user":
        return alice
    return 0 if request.param == "system" else world.group(alice, bob, history_visible=request.param == "visible group")


def _say(world: World, alice: int, bob: int, number: int, *contents: str) -> None:
    """Somebody else's messages into the conversation, delivered."""
    for content in contents:
        if number == alice:
            world.send(alice, [bob], content=content)
        elif number:
            world.say(alice, number, content=content)
        else:
            body = {"type": 1, "targets": [bob], "content": content}
            assert world.call("POST", "/message/notify", world.admin(), body=body)["code"] == 200
    world.drain()


def test_a_deleted_conversation_has_no_history_and_leaves_the_list(world: World, alice: int, bob: int, number: int) -> None:
    _say(world, alice, bob, number, "one", "two")
    assert world.unread(bob) == {number: 2}
    assert world.forget(bob, number) == DONE
    assert world.contents(bob, number) == []
    assert world.history(bob, number, msg_id_start=2)["messages"] == []
    assert world.unread(bob) == {}


def test_the_next_message_brings_it_back_with_only_what_came_after(world: World, alice: int, bob: int, number: int) -> None:
    _say(world, alice, bob, number, "one", "two")
    world.forget(bob, number)
    _say(world, alice, bob, number, "three", "four")
    assert world.contents(bob, number) == world.contents(bob, number, limit=1) == ["three", "four"]
    assert world.unread(bob) == {number: 2}


def test_deleting_reaches_what_is_not_delivered_yet(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    assert world.forget(bob, alice) == DONE
    world.drain()
    assert world.contents(bob, alice) == []
    assert world.unread(bob) == {}


def test_deleting_removes_no_message_and_moves_the_own_row_only(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.drain()
    log, own, other = world.rows("Messages"), world.row(bob, alice), world.row(alice, bob)
    world.forget(bob, alice)
    assert own is not None
    assert world.row(bob, alice) == own | {"cut_seq": 1, "read_seq": 1}
    assert (world.rows("Messages"), world.row(alice, bob)) == (log, other)


def test_the_other_side_keeps_everything(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob], content="one")
    world.send(bob, [alice], content="two")
    world.drain()
    world.forget(bob, alice)
    assert world.contents(alice, bob) == ["one", "two"]
    assert world.unread(alice) == {bob: 1}


def test_the_other_members_keep_everything(world: World, alice: int, bob: int, carol: int) -> None:
    group = world.group(alice, bob, carol)
    world.say(alice, group, content="one")
    world.drain()
    world.forget(bob, group)
    assert world.contents(carol, group) == ["one"]
    assert world.unread(carol) == {group: 1}


def test_the_other_conversations_stay(world: World, alice: int, bob: int, carol: int) -> None:
    world.send(alice, [bob])
    world.send(carol, [bob])
    world.drain()
    world.forget(bob, alice)
    assert world.unread(bob) == {carol: 1}


def test_who_deletes_a_group_stays_in_it(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    world.say(alice, group)
    world.drain()
    world.forget(bob, group)
    assert world.say(bob, group) == 2


def test_the_own_next_message_brings_it_back(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob], content="one")
    world.drain()
    world.forget(bob, alice)
    world.send(bob, [alice], content="two")
    world.drain()
    assert world.contents(bob, alice) == ["two"]
    assert world.unread(bob) == {alice: 0}


def test_numbering_goes_on_after_a_delete(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.forget(bob, alice)
    world.forget(alice, bob)
    assert world.send(alice, [bob]) == [2]


def test_deleting_twice_succeeds_and_changes_nothing_more(world: World, alice: int, bob: int, number: int) -> None:
    _say(world, alice, bob, number, "one")
    world.forget(bob, number)
    before = world.snapshot()
    assert world.forget(bob, number) == DONE
    assert world.snapshot() == before


def test_deleting_what_does_not_exist_succeeds_without_a_trace(world: World, alice: int, bob: int) -> None:
    group = world.group(bob)
    before = world.snapshot()
    assert [world.forget(bob, number) for number in (777777, alice, group, bob, 0)] == [DONE] * 5
    assert world.snapshot() == before


def test_a_conversation_can_be_deleted_again_and_again(world: World, alice: int, bob: int) -> None:
    for _ in range(2):
        world.send(alice, [bob])
        world.drain()
        assert world.unread(bob) == {alice: 1}
        world.forget(bob, alice)
        assert world.unread(bob) == {}


def test_an_old_read_receipt_does_not_undo_a_delete(world: World, alice: int, bob: int) -> None:
    for _ in range(2):
        world.send(alice, [bob])
    world.drain()
    world.forget(bob, alice)
    world.ack(bob, alice, msg_id=1)
    assert world.contents(bob, alice) == []
    assert world.unread(bob) == {}


def test_a_group_without_membership_is_refused(world: World, alice: int, bob: int) -> None:
    foreign, left = world.group(alice), world.group(alice, bob)
    world.say(alice, left)
    world.leave(left, bob)
    assert_refused(world, 20002, foreign, lambda: _call(world, bob, conversation_id=foreign))
    assert_refused(world, 20002, left, lambda: _call(world, bob, conversation_id=left))


def test_a_missing_conversation_id_is_refused(world: World, alice: int) -> None:
    assert_refused(world, 10002, "conversation_id", lambda: _call(world, alice), lambda: _call(world, alice, opposite_id=7))


def test_a_wrong_conversation_id_is_refused(world: World, alice: int) -> None:
    wrong: list[object] = [-1, 2**53, "x", "", "1.0", "true", "1,2", "9" * 30]
    assert_refused(world, 10002, "conversation_id", *(partial(_call, world, alice, conversation_id=value) for value in wrong))


@pytest.mark.parametrize("msg_id", [1, "1", -1, 2**53, "x", True, False, "0x0", " "])
def test_a_client_that_means_one_message_does_not_lose_all(world: World, alice: int, bob: int, msg_id: Any) -> None:
    world.send(alice, [bob])
    world.drain()
    query = {"conversation_id": alice, "msg_id": msg_id}
    assert_refused(world, 10002, "msg_id", lambda: world.call("DELETE", "/message/conversation", world.token(bob), query=query))
    told = world.direct("forget", {"app_id": "demo", "user_id": bob, "query": query})
    assert (told["code"], "recall" in told["message"]) == (10002, True)


@pytest.mark.parametrize("msg_id", [0, "0", "", None])
def test_a_msg_id_of_0_or_none_deletes_the_conversation(world: World, alice: int, bob: int, msg_id: Any) -> None:
    world.send(alice, [bob])
    world.drain()
    query = {"conversation_id": alice, "msg_id": msg_id}
    assert world.direct("forget", {"app_id": "demo", "user_id": bob, "query": query})["code"] == 200
    assert world.unread(bob) == {}

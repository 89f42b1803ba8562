"""POST|PUT /message/notify."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from messaging.people.directory import ADMINISTRATOR_ID
from tests.endpoints.refusals import assert_refused
from tests.world import World

LIMIT = 32 * 1024  # bytes


def _notify(world: World, targets: list[Any], verb: str = "POST", token: str | None = None, **fields: Any) -> dict[str, Any]:
    body = {"type": 1, "targets": targets, "content_type": 0, "content": "news"} | fields
    return world.call(verb, "/message/notify", token or world.admin(), body=body)


def _origins(world: World, reader: int, number: int) -> list[tuple[int, int, bool]]:
    """Of each message, newest first: from whom, to whom, whether it is a system message."""
    messages = world.history(reader, number)["messages"]
    return [(message["from_xid"]["uid"], message["to_xid"]["uid"], message["is_system"]) for message in messages]


@pytest.mark.parametrize("verb", ["POST", "PUT"])
def test_without_a_sender_it_lands_in_each_users_system_conversation(world: World, alice: int, bob: int, verb: str) -> None:
    assert _notify(world, [bob, alice], verb) == {"code": 200, "data": True, "message": None, "msg_ids": [1, 1]}
    assert _origins(world, bob, 0) == [(0, bob, True)]
    assert _origins(world, alice, 0) == [(0, alice, True)]
    world.drain()
    assert world.unread(bob) == world.unread(alice) == {0: 1}


@pytest.mark.parametrize("verb", ["POST", "PUT"])
def test_without_a_sender_it_lands_in_the_groups_conversation(world: World, alice: int, bob: int, verb: str) -> None:
    group = world.group(alice, bob)
    world.say(alice, group)
    assert _notify(world, [group], verb, type=2) == {"code": 200, "data": True, "message": None, "msg_ids": [2]}
    assert _origins(world, bob, group) == [(0, group, True), (alice, group, False)]
    world.drain()
    assert world.unread(alice) == {group: 1}
    assert world.unread(bob) == {group: 2}


@pytest.mark.parametrize("verb", ["POST", "PUT"])
def test_with_a_sender_it_lands_where_a_message_from_that_user_would(world: World, alice: int, bob: int, verb: str) -> None:
    world.send(bob, [alice])
    assert _notify(world, [bob], verb, from_user_id=alice)["msg_ids"] == [2]
    assert _origins(world, bob, alice) == [(alice, bob, True), (bob, alice, False)]
    assert _origins(world, bob, 0) == []
    world.drain()
    assert world.unread(bob) == {alice: 1}
    assert world.unread(alice) == {bob: 1}


def test_with_a_sender_that_is_a_member_it_lands_in_the_group(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    assert _notify(world, [group], type=2, from_user_id=alice)["msg_ids"] == [1]
    assert _origins(world, bob, group) == [(alice, group, True)]
    world.drain()
    assert world.unread(alice) == {group: 0}


def test_the_administrator_may_be_the_sender(world: World, bob: int) -> None:
    _notify(world, [bob], from_user_id=ADMINISTRATOR_ID)
    assert _origins(world, bob, ADMINISTRATOR_ID) == [(ADMINISTRATOR_ID, bob, True)]


def test_the_administrators_own_notification_is_unread_for_the_administrator(world: World) -> None:
    _notify(world, [ADMINISTRATOR_ID])
    world.drain()
    envelope = world.call("GET", "/message/unread", world.admin())
    assert [(entry["conversation_id"]["uid"], entry["num"]) for entry in envelope["data"]] == [(0, 1)]


def test_the_acting_user_is_not_the_sender(world: World, alice: int, bob: int) -> None:
    body = {"type": 1, "targets": [bob], "content": "news"}
    world.call("POST", "/message/notify", world.admin(), body=body, headers={"user_id": str(alice)})
    assert _origins(world, bob, 0) == [(0, bob, True)]


def test_system_conversations_are_numbered_each_on_its_own(world: World, alice: int, bob: int) -> None:
    _notify(world, [bob])
    assert _notify(world, [alice, bob, alice])["msg_ids"] == [1, 2, 1]


def test_a_sent_message_is_no_system_message(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    assert _origins(world, bob, alice) == [(alice, bob, False)]


@pytest.mark.parametrize("verb", ["POST", "PUT"])
def test_a_user_token_is_refused(world: World, alice: int, bob: int, verb: str) -> None:
    bodies: list[dict[str, Any]] = [{"targets": [bob]}, {"targets": [bob], "from_user_id": alice}, {"targets": []}]
    assert_refused(world, 10010, "", *(partial(_notify, world, verb=verb, token=world.token(alice), **body) for body in bodies))


def test_unknown_users_are_refused_by_name_and_nothing_is_sent(world: World, bob: int) -> None:
    assert_refused(world, 10000, "777777, 888888", lambda: _notify(world, [bob, 777777, 888888]))


def test_unknown_groups_are_refused_by_name_and_nothing_is_sent(world: World, alice: int, bob: int) -> None:
    group = world.group(alice)
    assert_refused(world, 20001, f"{bob}, 777777", lambda: _notify(world, [group, bob, 777777], type=2))


def test_a_sender_outside_the_group_is_refused(world: World, alice: int, bob: int) -> None:
    group = world.group(alice)
    assert_refused(world, 20002, group, lambda: _notify(world, [group], type=2, from_user_id=bob))


def test_an_unknown_sender_is_refused(world: World, bob: int) -> None:
    assert_refused(world, 10000, 777777, lambda: _notify(world, [bob], from_user_id=777777))


def test_a_group_is_no_sender(world: World, alice: int, bob: int) -> None:
    group = world.group(alice)
    assert_refused(world, 10000, group, lambda: _notify(world, [bob], from_user_id=group))


@pytest.mark.parametrize(
    ("code", "naming", "fields"),
    [
        (10002, "type", {"type": 3}),
        (10002, "type", {"type": None}),
        (10002, "targets", {"targets": []}),
        (10002, "targets", {"targets": None}),
        (10002, "targets", {"targets": ["x"]}),
        (12005, "targets", {"targets": [1] * 501}),
        (10002, "content_type", {"content_type": 8}),
        (10002, "content", {"content": ""}),
        (10002, "content", {"content": 7}),
        (10002, "attachment", {"content_type": 1}),
        (10002, "attachment", {"attachment": {}}),
        (10002, "config", {"config": []}),
        (10002, "ext", {"ext": 1.5}),
        (10002, "from_user_id", {"from_user_id": -1}),
        (10002, "transaction_id", {"transaction_id": True}),
        (50003, "content", {"content": "x" * (LIMIT + 1)}),
    ],
)
def test_the_body_follows_the_rules_of_a_send(world: World, bob: int, code: int, naming: str, fields: dict[str, Any]) -> None:
    assert_refused(world, code, naming, lambda: _notify(world, **{"targets": [bob]} | fields))


@pytest.mark.parametrize(("first", "second"), [("POST", "PUT"), ("PUT", "POST")])
def test_repeating_a_transaction_id_stores_nothing_new(world: World, alice: int, bob: int, first: str, second: str) -> None:
    reply = _notify(world, [bob, alice], first, transaction_id=7)
    assert _notify(world, [bob, alice], second, transaction_id=7) == reply  # which finds it done, and notes that
    before = world.snapshot()
    assert _notify(world, [bob, alice], second, transaction_id=7) == reply
    assert world.snapshot() == before


def test_the_same_transaction_id_with_other_content_is_refused(world: World, bob: int) -> None:
    _notify(world, [bob], transaction_id=7)
    assert_refused(world, 50002, "transaction_id", lambda: _notify(world, [bob], transaction_id=7, content="other"))


def test_a_refused_request_does_not_use_up_its_transaction_id(world: World, bob: int) -> None:
    assert_refused(world, 10000, 777777, lambda: _notify(world, [bob, 777777], transaction_id=7))
    assert _notify(world, [bob], transaction_id=7)["msg_ids"] == [1]


def test_send_and_notify_have_transaction_ids_of_their_own(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob], transaction_id=7, content="sent")
    assert _notify(world, [bob], from_user_id=alice, transaction_id=7)["msg_ids"] == [2]
    assert world.contents(bob, alice) == ["sent", "news"]


def test_the_system_and_each_sender_have_transaction_ids_of_their_own(world: World, alice: int, bob: int) -> None:
    assert _notify(world, [bob], transaction_id=7, content="one")["msg_ids"] == [1]
    assert _notify(world, [bob], transaction_id=7, content="two", from_user_id=alice)["msg_ids"] == [1]


def test_a_transaction_id_is_free_again_after_24_hours(world: World, bob: int, later: Callable[[float], None]) -> None:
    _notify(world, [bob], transaction_id=7)
    later(86_401)
    assert _notify(world, [bob], transaction_id=7, content="other")["msg_ids"] == [2]

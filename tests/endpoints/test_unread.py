"""GET /message/unread."""

import os
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any

import pytest

from messaging.base import keys, settings
from messaging.conversations import inbox
from messaging.conversations.rules import News
from tests.endpoints.refusals import assert_refused
from tests.world import World

DAY_S = 86_400
COMMAND = 6


def _call(world: World, reader: int, **query: Any) -> dict[str, Any]:
    return world.call("GET", "/message/unread", world.token(reader), query=query)


def _set(name: str, value: int) -> None:
    os.environ[name] = str(value)
    settings.settings.cache_clear()


def _notify(world: World, user: int) -> None:
    world.call("POST", "/message/notify", world.admin(), body={"type": 1, "targets": [user], "content": "news"})


@pytest.fixture(params=["small group", "large group"])
def group(request: pytest.FixtureRequest, world: World, alice: int, bob: int) -> int:
    """A group of alice and bob that is written member by member, or read by its head."""
    if request.param == "large group":
        _set("PUSH_LIMIT_MEMBERS", 1)
    return world.group(alice, bob)


# --- the list


def test_the_list_is_empty_at_first(world: World, alice: int) -> None:
    assert _call(world, alice) == {"code": 200, "data": [], "message": None, "next_cursor": None}


def test_an_entry_holds_every_field_of_the_table(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.drain()
    named = {"uid": alice, "device_sn": 0, "set_uid": True, "set_device_sn": True}
    entry = {"conversation_id": named, "num": 1, "set_conversation_id": True, "set_num": True}
    assert _call(world, bob) == {"code": 200, "data": [entry], "message": None, "next_cursor": None}


def test_a_zero_is_a_value(world: World, bob: int) -> None:
    _notify(world, bob)
    world.drain()
    world.ack(bob, 0)
    (entry,) = _call(world, bob)["data"]
    assert entry["conversation_id"] == {"uid": 0, "device_sn": 0, "set_uid": True, "set_device_sn": True}
    assert (entry["num"], entry["set_num"]) == (0, True)


def test_the_newest_activity_comes_first(world: World, alice: int, bob: int, carol: int) -> None:
    group = world.group(alice, bob)
    for talk in (partial(world.send, alice, [bob]), partial(world.say, alice, group), partial(_notify, world, bob)):
        talk()
    world.send(carol, [bob])
    world.send(alice, [bob])
    world.drain()
    assert list(world.unread(bob).items()) == [(alice, 2), (carol, 1), (0, 1), (group, 1)]


def test_the_own_message_is_activity_too(world: World, alice: int, bob: int, carol: int) -> None:
    world.send(carol, [alice])
    world.send(bob, [alice])
    world.send(alice, [carol])
    world.drain()
    assert list(world.unread(alice)) == [carol, bob]


def test_a_conversation_that_is_read_stays_in_the_list(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.drain()
    world.ack(bob, alice)
    assert world.unread(bob) == {alice: 0}


def test_asking_changes_nothing(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.drain()
    before = world.snapshot()
    assert world.unread(bob) == world.unread(bob) == {alice: 1}
    assert world.snapshot() == before


def test_the_lists_of_two_users_are_their_own(world: World, alice: int, bob: int, carol: int) -> None:
    world.send(alice, [bob])
    world.drain()
    assert world.unread(carol) == {}


# --- which groups are in it


def test_a_group_in_which_nothing_was_said_since_joining_is_not_listed(world: World, alice: int, bob: int, carol: int, group: int) -> None:
    world.say(alice, group)
    world.drain()
    world.join(group, carol)
    assert world.unread(carol) == {}
    world.say(alice, group)
    world.drain()
    assert world.unread(carol) == {group: 1}


@pytest.mark.parametrize("limit", [1, 500], ids=["large", "small"])
def test_a_group_that_shows_its_past_is_listed_with_nothing_unread(world: World, alice: int, bob: int, limit: int) -> None:
    _set("PUSH_LIMIT_MEMBERS", limit)
    group = world.group(alice, history_visible=True)
    world.say(alice, group)
    world.drain()
    world.join(group, bob)
    assert world.unread(bob) == {group: 0}


def test_a_group_leaves_the_list_of_who_was_removed(world: World, alice: int, bob: int, group: int) -> None:
    world.say(alice, group)
    world.drain()
    world.leave(group, bob)
    assert world.unread(bob) == {}
    world.say(alice, group)
    world.drain()
    assert world.unread(bob) == {}


def test_who_joins_again_counts_from_then_on(world: World, alice: int, bob: int, group: int) -> None:
    world.say(alice, group)
    world.leave(group, bob)
    world.say(alice, group)
    world.drain()
    world.join(group, bob)
    world.say(alice, group)
    world.drain()
    assert world.unread(bob) == {group: 1}


# --- the number


def test_messages_of_others_count_and_the_own_do_not(world: World, alice: int, bob: int, group: int) -> None:
    for sender in (alice, bob, alice, alice, bob):
        world.say(sender, group)
    world.drain()
    assert world.unread(bob) == {group: 3}
    assert world.unread(alice) == {group: 2}


def test_between_two_users_the_own_messages_do_not_count(world: World, alice: int, bob: int) -> None:
    for sender, target in [(alice, bob), (alice, bob), (bob, alice), (alice, bob)]:
        world.send(sender, [target])
    world.drain()
    assert world.unread(bob) == {alice: 3}
    assert world.unread(alice) == {bob: 1}


def test_an_answer_reads_nothing_that_was_unread(world: World, alice: int, bob: int) -> None:
    for sender, target in [(alice, bob), (alice, bob), (bob, alice)]:
        world.send(sender, [target])
        world.drain()
    assert world.unread(bob) == {alice: 2}
    world.ack(bob, alice, msg_id=1)
    assert world.unread(bob) == {alice: 1}


def test_commands_do_not_count(world: World, alice: int, bob: int, group: int) -> None:
    for content_type in (0, COMMAND, 0, COMMAND):
        world.say(alice, group, content_type=content_type)
    world.drain()
    assert world.unread(bob) == {group: 2}
    world.ack(bob, group, msg_id=2)
    assert world.unread(bob) == {group: 1}
    world.ack(bob, group, msg_id=3)
    assert world.unread(bob) == {group: 0}


def test_a_command_alone_lists_the_conversation_with_nothing_unread(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob], content_type=COMMAND)
    world.drain()
    assert world.unread(bob) == {alice: 0}


def test_commands_and_own_messages_mixed_leave_the_number_exact(world: World, alice: int, bob: int, group: int) -> None:
    for sender, content_type in [(alice, 0), (bob, 0), (alice, COMMAND), (alice, 0), (bob, COMMAND), (alice, 0)]:
        world.say(sender, group, content_type=content_type)
        world.drain()
    expected = {0: 3, 1: 2, 2: 2, 3: 2, 4: 1, 5: 1, 6: 0}
    found = {}
    for msg_id in expected:
        if msg_id:
            world.ack(bob, group, msg_id=msg_id)
        found[msg_id] = world.num(bob, group)
    assert found == expected


def test_system_messages_count(world: World, bob: int) -> None:
    for _ in range(2):
        _notify(world, bob)
    world.drain()
    assert world.unread(bob) == {0: 2}


def test_the_number_counts_after_a_delete(world: World, alice: int, bob: int, group: int) -> None:
    world.say(alice, group)
    world.drain()
    world.forget(bob, group)
    for sender in (alice, bob, alice):
        world.say(sender, group)
    world.drain()
    assert world.unread(bob) == {group: 2}


def test_delivering_everything_once_more_changes_no_number(world: World, alice: int, bob: int, group: int) -> None:
    for sender in (alice, bob, alice):
        world.say(sender, group)
        world.send(sender, [alice + bob - sender])
    world.drain()
    before = world.unread(bob)
    world.streamed = 0
    world.drain()
    assert world.unread(bob) == before == {alice: 2, group: 2}


# --- large groups


def test_a_large_group_is_read_by_its_head_and_not_written_member_by_member(world: World, alice: int, bob: int) -> None:
    _set("PUSH_LIMIT_MEMBERS", 1)
    group = world.group(alice, bob)
    before = world.row(bob, group)
    world.say(alice, group)
    world.drain()
    assert world.row(bob, group) == before
    assert world.unread(bob) == {group: 1}


def test_a_group_that_grows_across_the_limit_keeps_every_number(world: World, alice: int, bob: int, carol: int) -> None:
    _set("PUSH_LIMIT_MEMBERS", 2)
    group = world.group(alice, bob)
    for _ in range(2):
        world.say(alice, group)
    world.drain()
    world.join(group, carol)
    assert (world.unread(bob), world.unread(carol)) == ({group: 2}, {})
    world.say(alice, group)
    world.drain()
    assert (world.unread(bob), world.unread(carol)) == ({group: 3}, {group: 1})


def test_a_group_that_shrinks_again_keeps_every_number(world: World, alice: int, bob: int, carol: int) -> None:
    _set("PUSH_LIMIT_MEMBERS", 2)
    group = world.group(alice, bob, carol)
    world.say(alice, group)
    world.drain()
    world.leave(group, carol)
    world.say(alice, group)
    world.drain()
    assert world.unread(bob) == {group: 2}


# --- retention


def test_expired_messages_do_not_count(world: World, alice: int, bob: int, later: Callable[[float], None]) -> None:
    _set("RETENTION_SECONDS", 2 * DAY_S)
    for _ in range(2):
        world.send(alice, [bob])
    later(DAY_S)
    world.send(alice, [bob])
    world.drain()
    assert world.unread(bob) == {alice: 3}
    later(DAY_S + 120)
    assert world.unread(bob) == {alice: 1}


def test_a_conversation_whose_messages_have_all_expired_leaves_the_list(
    world: World, alice: int, bob: int, later: Callable[[float], None]
) -> None:
    _set("RETENTION_SECONDS", 2 * DAY_S)
    world.send(alice, [bob])
    world.drain()
    later(3 * DAY_S)
    assert world.unread(bob) == {}
    world.send(alice, [bob])
    world.drain()
    assert world.unread(bob) == {alice: 1}


# --- paging


def test_pages_follow_each_other_without_a_repeat_or_a_hole(world: World, alice: int) -> None:
    others = [world.user() for _ in range(5)]
    for other in others[:2]:
        world.send(other, [alice])
    world.send(alice, others[2:])  # three at the same moment
    world.drain()
    whole, pages = list(world.unread(alice)), []
    query: dict[str, Any] = {}
    while True:
        envelope = _call(world, alice, limit=2, **query)
        pages.append([entry["conversation_id"]["uid"] for entry in envelope["data"]])
        if envelope["next_cursor"] is None:
            break
        query = {"cursor": envelope["next_cursor"]}
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [*chain(*pages)] == whole
    assert set(whole) == set(others)


def test_a_page_that_holds_the_rest_exactly_is_the_last(world: World, alice: int, bob: int, carol: int) -> None:
    world.send(alice, [bob, carol])
    world.drain()
    assert _call(world, alice, limit=2)["next_cursor"] is None


def test_what_becomes_active_between_two_pages_does_not_come_twice(world: World, alice: int, bob: int, carol: int) -> None:
    world.send(bob, [alice])
    world.send(carol, [alice])
    world.drain()
    first = _call(world, alice, limit=1)
    world.send(carol, [alice])
    world.drain()
    assert world.unread(alice, cursor=first["next_cursor"]) == {bob: 1}


def test_at_most_1000_conversations_come_at_once_and_the_cursor_leads_to_the_rest(world: World, alice: int) -> None:
    others = range(5000, 6001)
    for other in others:
        inbox.apply(keys.between("demo", alice, other), alice, News(last_seq=1, last_at=other))
    first = _call(world, alice)
    assert [entry["conversation_id"]["uid"] for entry in first["data"]] == list(range(6000, 5000, -1))
    assert _call(world, alice, limit=1001) == first
    rest = _call(world, alice, cursor=first["next_cursor"])
    assert [(entry["conversation_id"]["uid"], entry["num"]) for entry in rest["data"]] == [(5000, 1)]
    assert rest["next_cursor"] is None


def test_what_moves_up_between_two_pages_is_told_of(world: World, alice: int, bob: int, carol: int) -> None:
    for other in (bob, carol, world.user()):
        world.send(other, [alice])
        world.drain()
    first = _call(world, alice, limit=1)
    second = _call(world, alice, limit=1, cursor=first["next_cursor"])
    world.send(bob, [alice])  # which would have been on the last page
    world.drain()
    rest = _call(world, alice, cursor=second["next_cursor"])
    assert (rest["data"], rest["list_changed"]) == ([], True)
    assert "list_changed" not in second


def test_what_was_told_already_may_move_up_unnoticed(world: World, alice: int, bob: int, carol: int) -> None:
    for other in (bob, carol):
        world.send(other, [alice])
        world.drain()
    first = _call(world, alice, limit=1)
    world.send(carol, [alice])
    world.drain()
    assert "list_changed" not in _call(world, alice, cursor=first["next_cursor"])


def test_a_cursor_of_0_1_0_is_still_taken(world: World, alice: int, bob: int, carol: int) -> None:
    world.send(alice, [bob, carol])
    world.drain()
    old = _call(world, alice, limit=1)["next_cursor"].rpartition("-")[0]
    assert world.unread(alice, cursor=old) == {bob: 0}


# --- parameters


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("limit", [0, -1, "x", "", "1.0", "true", "1,2"]),
        ("cursor", ["x", "1", "-", "1-", "-1", "1-2-3", "1--2", " 1-2", "1-2\n", "1-٢", "9" * 40 + "-1", "null", "1-2-" + "g" * 16]),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(world: World, alice: int, field: str, wrong: list[object]) -> None:
    assert_refused(world, 10002, field, *(partial(_call, world, alice, **{field: value}) for value in wrong))

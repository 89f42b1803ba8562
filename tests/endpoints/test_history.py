"""GET /message/conversation."""

import json
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from messaging.base import settings, store
from messaging.conversations import rules
from messaging.people.directory import ADMINISTRATOR_ID
from tests.endpoints.refusals import assert_refused
from tests.world import World

PATH = "/message/conversation"
LARGEST = 2**53 - 1
DAY_S = 86_400
EMPTY = {
    "is_last": True,
    "messages": [],
    "messages_iterator": {},
    "messages_size": 0,
    "next_msg_id": 0,
    "set_is_last": True,
    "set_messages": True,
    "set_next_msg_id": True,
}


def _call(world: World, reader: int, **query: Any) -> dict[str, Any]:
    return world.call("GET", PATH, world.token(reader), query=query)


def _notify(world: World, *users: int) -> None:
    body = {"type": 1, "targets": list(users), "content": "news"}
    assert world.call("POST", "/message/notify", world.admin(), body=body)["code"] == 200


def _ids(page: dict[str, Any]) -> list[int]:
    return [message["msg_id"] for message in page["messages"]]


def _statuses(world: World, reader: int, number: int) -> list[str]:
    """Oldest first."""
    return [message["status"] for message in world.history(reader, number)["messages"]][::-1]


def _xid(uid: int) -> dict[str, Any]:
    return {"uid": uid, "device_sn": 0, "set_uid": True, "set_device_sn": True}


# --- the shape of a page


def test_a_page_holds_every_field_of_the_table(world: World, alice: int, bob: int) -> None:
    before = time.time_ns() // 1_000_000
    world.send(alice, [bob], content_type=1, content="look", attachment="a", config="c", ext="e")
    after = time.time_ns() // 1_000_000
    page = world.history(bob, alice)
    timestamp = page["messages"][0]["timestamp"]
    assert isinstance(timestamp, int)
    assert before <= timestamp <= after
    message = {
        "attachment": "a",
        "config": "c",
        "content": "look",
        "ctype": "IMAGE",
        "ext": "e",
        "from_xid": _xid(alice),
        "is_system": False,
        "msg_id": 1,
        "set_attachment": True,
        "set_config": True,
        "set_content": True,
        "set_ctype": True,
        "set_ext": True,
        "set_from_xid": True,
        "set_msg_id": True,
        "set_status": True,
        "set_timestamp": True,
        "set_to_xid": True,
        "status": "UNREAD",
        "timestamp": timestamp,
        "to_xid": _xid(bob),
    }
    assert page == EMPTY | {"messages": [message], "messages_size": 1}


def test_a_string_without_a_value_is_null_and_its_flag_false(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob], content_type=6, content=None, ext=None)
    (message,) = world.history(bob, alice)["messages"]
    assert {name: (message[name], message[f"set_{name}"]) for name in ("content", "attachment", "config", "ext")} == dict.fromkeys(
        ("content", "attachment", "config", "ext"), (None, False)
    )


def test_an_empty_string_is_a_value(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob], ext="")
    (message,) = world.history(bob, alice)["messages"]
    assert (message["ext"], message["set_ext"]) == ("", True)


def test_from_and_to_are_the_same_whoever_reads(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.send(bob, [alice])
    for reader, opposite in [(alice, bob), (bob, alice)]:
        messages = world.history(reader, opposite)["messages"]
        assert [(m["from_xid"], m["to_xid"]) for m in messages] == [(_xid(bob), _xid(alice)), (_xid(alice), _xid(bob))]


def test_a_group_message_goes_to_the_group(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    world.say(alice, group)
    for reader in (alice, bob):
        (message,) = world.history(reader, group)["messages"]
        assert (message["from_xid"], message["to_xid"], message["is_system"]) == (_xid(alice), _xid(group), False)


def test_a_system_message_comes_from_0_and_goes_to_the_user(world: World, bob: int) -> None:
    _notify(world, bob)
    (message,) = world.history(bob, 0)["messages"]
    assert (message["from_xid"], message["to_xid"], message["is_system"]) == (_xid(0), _xid(bob), True)


def test_timestamps_never_run_backwards(world: World, alice: int, bob: int) -> None:
    for _ in range(3):
        world.send(alice, [bob])
    stamps = [message["timestamp"] for message in world.history(bob, alice)["messages"]]
    assert stamps == sorted(stamps, reverse=True)


# --- empty pages


def test_an_unknown_number_is_an_empty_last_page(world: World, alice: int) -> None:
    assert _call(world, alice, opposite_id=777777) == {"code": 200, "data": EMPTY, "message": None}


def test_a_user_one_never_wrote_to_is_an_empty_last_page(world: World, alice: int, bob: int) -> None:
    assert _call(world, alice, opposite_id=bob) == {"code": 200, "data": EMPTY, "message": None}


def test_a_silent_group_and_a_silent_system_are_empty_last_pages(world: World, alice: int) -> None:
    group = world.group(alice)
    assert world.history(alice, group) == world.history(alice, 0) == EMPTY


def test_reading_what_is_empty_leaves_no_trace(world: World, alice: int, bob: int) -> None:
    group = world.group(alice)
    before = world.snapshot()
    for number in (bob, group, 0, 777777):
        assert world.history(alice, number) == EMPTY
    assert world.snapshot() == before


# --- paging


def test_pages_continue_without_a_repeat_or_a_hole(world: World, alice: int, bob: int) -> None:
    for _ in range(7):
        world.send(alice, [bob])
    pages, start = [], 0
    for _ in range(3):
        page = world.history(bob, alice, limit=3, msg_id_start=start)
        pages.append((_ids(page), page["messages_size"], page["next_msg_id"], page["is_last"]))
        start = page["next_msg_id"]
    assert pages == [([7, 6, 5], 3, 4, False), ([4, 3, 2], 3, 1, False), ([1], 1, 0, True)]


def test_a_page_that_ends_with_the_oldest_message_is_the_last(world: World, alice: int, bob: int) -> None:
    for _ in range(4):
        world.send(alice, [bob])
    first = world.history(bob, alice, limit=2)
    second = world.history(bob, alice, limit=2, msg_id_start=first["next_msg_id"])
    assert [(_ids(page), page["next_msg_id"], page["is_last"]) for page in (first, second)] == [([4, 3], 2, False), ([2, 1], 0, True)]


def test_a_page_that_ends_at_what_the_reader_may_see_is_the_last(world: World, alice: int, bob: int) -> None:
    for _ in range(2):
        world.send(alice, [bob])
    world.forget(bob, alice)
    for _ in range(2):
        world.send(alice, [bob])
    page = world.history(bob, alice, limit=2)
    assert (_ids(page), page["next_msg_id"], page["is_last"]) == ([4, 3], 0, True)


def test_what_is_sent_between_two_pages_does_not_shift_them(world: World, alice: int, bob: int) -> None:
    for _ in range(4):
        world.send(alice, [bob])
    first = world.history(bob, alice, limit=2)
    world.send(alice, [bob])
    assert _ids(world.history(bob, alice, limit=2, msg_id_start=first["next_msg_id"])) == [2, 1]


@pytest.mark.parametrize(("start", "ids"), [(0, [3, 2, 1]), (3, [3, 2, 1]), (2, [2, 1]), (1, [1]), (4, [3, 2, 1]), (LARGEST, [3, 2, 1])])
def test_msg_id_start_is_inclusive_and_goes_back_in_time(world: World, alice: int, bob: int, start: int, ids: list[int]) -> None:
    for _ in range(3):
        world.send(alice, [bob])
    assert _ids(world.history(bob, alice, msg_id_start=start)) == ids


def test_a_page_has_20_messages_unless_said_otherwise_and_100_at_most(world: World, alice: int, bob: int) -> None:
    for _ in range(102):
        world.send(alice, [bob])
    sizes = {limit: world.history(bob, alice, limit=limit)["messages_size"] for limit in (1, 100, 101, LARGEST)}
    assert sizes == {1: 1, 100: 100, 101: 100, LARGEST: 100}
    assert world.history(bob, alice)["messages_size"] == 20


@pytest.mark.parametrize("fill", ["\0", "x", '"', "🙂", "\u2028"], ids=["NUL", "letter", "quote", "emoji", "line separator"])
def test_a_page_of_big_messages_fits_a_reply_and_the_next_continues_exactly(world: World, alice: int, bob: int, fill: str) -> None:
    text = fill * (32 * 1024 // len(fill.encode()))
    for _ in range(33):
        world.send(alice, [bob], content=text)
    ids: list[int] = []
    start, last = 0, False
    while not last:
        query = {"opposite_id": alice, "limit": 100, "msg_id_start": start}
        reply = world.http("GET", PATH, world.token(bob), query=query)
        assert len(json.dumps(reply).encode()) <= 6 * 1024 * 1024
        page = json.loads(reply["body"])["data"]
        assert all(message["content"] == text for message in page["messages"])
        ids += _ids(page)
        start, last = page["next_msg_id"], page["is_last"]
    assert ids == list(range(33, 0, -1))


def test_a_page_of_a_little_more_than_fits_a_reply_is_not_the_last(world: World, alice: int, bob: int) -> None:
    count = rules.PAGE_BYTES // (32 * 1024) + 2  # less than the megabyte at which DynamoDB ends a page
    for _ in range(count):
        world.send(alice, [bob], content="x" * 32 * 1024)
    assert len(world.contents(bob, alice, limit=100)) == count


# --- parameters


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("opposite_id", [-1, LARGEST + 1, "x", "", "1.0", "true", "1,2", "9" * 30]),
        ("msg_id_start", [-1, LARGEST + 1, "x", "", "1.0", "true", "1,2", "9" * 30]),
        ("limit", [0, -1, "x", "", "1.0", "true", "1,2"]),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(world: World, alice: int, bob: int, field: str, wrong: list[object]) -> None:
    assert_refused(world, 10002, field, *(partial(_call, world, alice, **{"opposite_id": bob} | {field: value}) for value in wrong))


def test_a_missing_opposite_id_is_refused(world: World, alice: int) -> None:
    assert_refused(world, 10002, "opposite_id", lambda: _call(world, alice), lambda: _call(world, alice, limit=5))


def test_unknown_parameters_are_ignored(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    assert _ids(world.history(bob, alice, colour="red", conversation_id=77)) == [1]


# --- who may read a group


def test_who_is_not_in_the_group_is_refused(world: World, alice: int, bob: int) -> None:
    group = world.group(alice)
    world.say(alice, group)
    assert_refused(world, 20002, group, lambda: _call(world, bob, opposite_id=group))


def test_who_was_removed_from_the_group_is_refused(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    world.say(alice, group)
    world.leave(group, bob)
    assert_refused(world, 20002, group, lambda: _call(world, bob, opposite_id=group))


def test_an_admin_reads_a_group_with_group_id_only(world: World, alice: int) -> None:
    group, other = world.group(alice), world.group(alice)
    world.say(alice, group)
    read = partial(world.call, "GET", PATH, world.admin(), query={"opposite_id": group})
    assert _ids(read(headers={"group_id": str(group)})["data"]) == [1]
    assert_refused(world, 20002, ADMINISTRATOR_ID, read, lambda: read(headers={"group_id": str(other)}))


def test_a_member_sees_messages_from_the_moment_of_joining_on(world: World, alice: int, bob: int) -> None:
    group = world.group(alice)
    world.say(alice, group, content="before")
    world.join(group, bob)
    world.say(alice, group, content="after")
    assert world.contents(bob, group) == ["after"]
    assert _ids(world.history(bob, group, msg_id_start=1)) == []
    assert world.contents(alice, group) == ["before", "after"]


def test_a_member_sees_everything_where_the_history_is_visible(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, history_visible=True)
    world.say(alice, group, content="before")
    world.join(group, bob)
    world.say(alice, group, content="after")
    assert world.contents(bob, group) == ["before", "after"]


def test_who_joins_again_sees_what_came_since(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    world.say(alice, group, content="first time")
    world.leave(group, bob)
    world.say(alice, group, content="meanwhile")
    world.join(group, bob)
    world.say(alice, group, content="second time")
    assert world.contents(bob, group) == ["second time"]


# --- status


def test_a_message_is_unread_then_delivered_then_read(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.drain()
    seen = [_statuses(world, alice, bob)]
    world.history(bob, alice)
    seen.append(_statuses(world, alice, bob))
    world.ack(bob, alice)
    seen.append(_statuses(world, alice, bob))
    assert seen == [["UNREAD"], ["DELIVERED"], ["READ"]]


def test_a_message_fetched_by_its_number_is_delivered(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.history(bob, alice, msg_id_start=1)
    assert _statuses(world, alice, bob) == ["DELIVERED"]


def test_only_what_the_read_mark_has_reached_is_read(world: World, alice: int, bob: int) -> None:
    for _ in range(3):
        world.send(alice, [bob])
    world.history(bob, alice)
    world.ack(bob, alice, msg_id=2)
    world.send(alice, [bob])
    assert _statuses(world, alice, bob) == ["READ", "READ", "DELIVERED", "UNREAD"]


def test_the_recipient_sees_the_same_status_as_the_sender(world: World, alice: int, bob: int) -> None:
    for _ in range(2):
        world.send(alice, [bob])
    world.history(bob, alice)
    world.ack(bob, alice, msg_id=1)
    assert _statuses(world, bob, alice) == _statuses(world, alice, bob) == ["READ", "DELIVERED"]


def test_the_senders_own_reading_changes_no_status(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.drain()
    world.history(alice, bob)
    world.ack(alice, bob)
    assert _statuses(world, alice, bob) == ["UNREAD"]


def test_each_direction_has_its_own_status(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.ack(bob, alice)
    world.send(bob, [alice])
    assert _statuses(world, bob, alice) == ["READ", "UNREAD"]


def test_in_a_group_a_message_of_somebody_else_goes_by_the_readers_own_marks(world: World, alice: int, bob: int, carol: int) -> None:
    group = world.group(alice, bob, carol)
    world.say(alice, group)
    world.ack(carol, group)
    seen = [_statuses(world, bob, group), _statuses(world, bob, group)]
    world.ack(bob, group)
    seen.append(_statuses(world, bob, group))
    assert seen == [["UNREAD"], ["DELIVERED"], ["READ"]]


def test_in_a_group_the_readers_own_message_is_delivered(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    world.say(alice, group)
    seen = [_statuses(world, alice, group)]
    world.drain()
    world.ack(bob, group)
    world.ack(alice, group)
    seen.append(_statuses(world, alice, group))
    assert seen == [["DELIVERED"], ["DELIVERED"]]


def test_a_system_message_goes_by_the_readers_own_marks(world: World, bob: int) -> None:
    _notify(world, bob)
    seen = [_statuses(world, bob, 0), _statuses(world, bob, 0)]
    world.ack(bob, 0)
    seen.append(_statuses(world, bob, 0))
    assert seen == [["UNREAD"], ["DELIVERED"], ["READ"]]


def test_a_message_to_oneself_is_read_once_it_is_delivered(world: World, alice: int) -> None:
    world.send(alice, [alice])
    world.drain()
    assert _statuses(world, alice, alice) == ["READ"]


def test_fetching_reads_nothing(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.drain()
    world.history(bob, alice)
    assert world.num(bob, alice) == 1


# --- retention


@pytest.fixture
def retention(world: World) -> None:
    """Messages are kept for two days."""
    os.environ["RETENTION_SECONDS"] = str(2 * DAY_S)
    settings.settings.cache_clear()


def _empty_the_log(world: World) -> None:
    """What the table's TTL does in the end."""
    for row in world.rows("Messages"):
        key = {"conversation": row["conversation"], "msg_id": row["msg_id"]}
        store.dynamodb().delete_item(TableName="Messages", Key=store.pack(key))


@pytest.mark.usefixtures("retention")
def test_an_expired_message_is_not_shown_with_its_row_still_there(
    world: World, alice: int, bob: int, later: Callable[[float], None]
) -> None:
    for content in ("first", "second"):
        world.send(alice, [bob], content=content)
    later(DAY_S)
    world.send(alice, [bob], content="third")
    assert world.contents(bob, alice) == ["first", "second", "third"]
    later(DAY_S + 120)
    assert world.contents(bob, alice) == ["third"]
    page = world.history(bob, alice, limit=1)
    assert _ids(page) == [3]
    assert len(world.rows("Messages")) == 3


@pytest.mark.usefixtures("retention")
def test_where_everything_has_expired_there_is_an_empty_last_page(
    world: World, alice: int, bob: int, later: Callable[[float], None]
) -> None:
    world.send(alice, [bob])
    later(3 * DAY_S)
    assert world.history(bob, alice) == EMPTY


@pytest.mark.usefixtures("retention")
@pytest.mark.parametrize("emptied", [True, False], ids=["log empty", "rows still there"])
@pytest.mark.parametrize("kind", ["user", "oneself", "group", "system"])
def test_numbering_never_restarts(world: World, alice: int, bob: int, later: Callable[[float], None], kind: str, emptied: bool) -> None:
    group = world.group(alice, bob)
    body = {
        "user": {"type": 1, "targets": [bob], "from_user_id": alice},
        "oneself": {"type": 1, "targets": [bob], "from_user_id": bob},
        "group": {"type": 2, "targets": [group], "from_user_id": alice},
        "system": {"type": 1, "targets": [bob]},
    }[kind]
    post = partial(world.call, "POST", "/message/notify", body={**body, "content": "x"})
    assert [post(world.admin())["msg_ids"] for _ in range(2)] == [[1], [2]]
    world.drain()
    later(3 * DAY_S)
    if emptied:
        _empty_the_log(world)
    assert [post(world.admin())["msg_ids"] for _ in range(2)] == [[3], [4]]


@pytest.mark.usefixtures("retention")
def test_numbering_goes_on_for_both_sides_of_an_empty_log(world: World, alice: int, bob: int, later: Callable[[float], None]) -> None:
    world.send(alice, [bob])
    world.drain()
    later(3 * DAY_S)
    _empty_the_log(world)
    assert world.send(bob, [alice], transaction_id=7) == [2]
    assert world.send(alice, [bob]) == [3]


@pytest.mark.usefixtures("retention")
def test_who_joins_a_group_with_an_empty_log_sees_what_comes(world: World, alice: int, bob: int, later: Callable[[float], None]) -> None:
    group = world.group(alice)
    world.say(alice, group)
    world.drain()
    later(3 * DAY_S)
    _empty_the_log(world)
    world.join(group, bob)
    assert world.say(alice, group, content="after") == 2
    world.drain()
    assert world.contents(bob, group) == ["after"]
    assert world.unread(bob) == {group: 1}

"""After a rebuild every list and every number is what the log says, whatever was lost and whatever happens meanwhile."""

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from messaging.base import keys, settings, store
from messaging.conversations import membership, rules
from messaging.people import directory
from ops import rebuild
from tests.faults.sdk import tampered
from tests.ops.conftest import Parley
from tests.world import APP, World

DAY_MS = 86_400_000


def recounted(world: World, user: int) -> dict[int, int]:
    """The list of a user, by a plain recount: who is listed with what number, from the log and the user's own marks."""
    found = {}
    log = world.rows("Messages")
    for row in world.rows("Inbox"):
        if row["reader"] != f"{APP}#{user}" or "left_at" in row:
            continue
        number, marks = row["conversation"], rules.marks_of(row)
        if row["chat"] == "group":
            key = keys.group(APP, number).key
        else:
            key = (keys.between(APP, user, number) if number else keys.system(APP, user)).key
        messages = [message for message in log if message["conversation"] == key]
        hidden = max(marks.cut_seq, 0 if row.get("history_visible") else marks.join_seq)
        if any(message["msg_id"] > hidden for message in messages):
            unread = [each for each in messages if each["msg_id"] > marks.floor and each["sender"] != user]
            found[number] = len([each for each in unread if each["ctype"] != rules.COMMAND])
    return found


def partners(world: World, user: int) -> set[int]:
    """With whom a user has a one-to-one or system conversation, by the log."""
    found = (keys.parse(message["conversation"]) for message in world.rows("Messages"))
    return {conversation.number_for(user) for conversation in found if user in conversation.users()}


def lose(world: World, *readers: int) -> None:
    for row in world.rows("Inbox"):
        if not readers or row["reader"] in {f"{APP}#{reader}" for reader in readers}:
            store.dynamodb().delete_item(TableName="Inbox", Key=store.pack({name: row[name] for name in ("reader", "conversation")}))


def rebuilt(days_later: float = 0, user: int | None = None) -> rebuild.Rebuilt:
    now_ms = int(time.time() * 1000 + days_later * DAY_MS)
    if user is None:
        done = rebuild.conversations(APP, now_ms, lambda done: None)
    else:
        others = [item["entity_id"] for item in directory.listed(APP, "user")]
        done = rebuild.conversations_of(APP, user, others, now_ms, lambda done: None)
    for item in directory.listed(APP, "group"):
        done += rebuild.group(APP, item["entity_id"], user, now_ms)
    return done


@pytest.fixture
def people(world: World) -> list[int]:
    """Five users with a past: one-to-one, in two groups, system messages, some of it read, some deleted."""
    users = [world.user(name) for name in ("alice", "bob", "carol", "dave", "erin")]
    alice, bob, carol, dave, _ = users
    small, open_ = world.group(alice, bob, carol), world.group(dave, alice, history_visible=True)
    chance = random.Random(7)
    for step in range(60):
        sender, other = chance.sample(users, 2)
        kind = chance.choice(["user", "user", "small", "open", "command", "ack", "forget"])
        if kind == "user":
            world.send(sender, [other])
        elif kind == "command":
            world.send(sender, [other], content_type=rules.COMMAND)
        elif kind == "small":
            world.say(chance.choice([alice, bob, carol]), small)
        elif kind == "open":
            world.say(chance.choice([alice, dave]), open_)
        elif kind == "ack":
            world.ack(sender, other)
        else:
            world.forget(sender, other)
        if step % 3 == 0:
            world.drain()
    world.send(bob, [bob])
    admin = world.admin()
    world.call("POST", "/message/notify", admin, body={"type": 1, "targets": [carol], "content_type": 0, "content": "parcel"})
    world.drain()
    return users


def test_what_is_right_is_left_alone(world: World, people: list[int]) -> None:
    before = world.rows("Inbox")
    assert rebuilt() == (0, 0)
    assert world.rows("Inbox") == before


def test_a_lost_inbox_comes_back_with_every_conversation(world: World, people: list[int]) -> None:
    before = {user: partners(world, user) for user in people}
    lose(world)
    done = rebuilt()
    assert done.made == sum(map(len, before.values())) + 5  # and a row for each member of the two groups
    for user in people:
        listed = world.unread(user)
        assert listed == recounted(world, user)
        assert before[user] <= set(listed)
    assert rebuilt() == (0, 0)


def test_one_users_lost_rows_come_back_without_touching_anybody_elses(world: World, people: list[int]) -> None:
    alice, bob = people[:2]
    others = [row for row in world.rows("Inbox") if row["reader"] != f"{APP}#{alice}"]
    lose(world, alice)
    assert rebuilt(user=alice).made == len(partners(world, alice)) + 2
    assert [row for row in world.rows("Inbox") if row["reader"] != f"{APP}#{alice}"] == others
    assert world.unread(alice) == recounted(world, alice)
    assert world.unread(bob) == recounted(world, bob)


def test_what_was_never_delivered_is_in_the_list_afterwards(world: World, alice: int, bob: int, carol: int) -> None:
    group = world.group(alice, bob, carol)
    world.send(alice, [bob])
    world.say(alice, group)
    world.send(alice, [bob], content_type=rules.COMMAND)
    world.stream()  # lost
    assert world.unread(bob) == {}
    rebuilt()
    assert world.unread(bob) == recounted(world, bob) == {alice: 1, group: 1}
    assert world.unread(alice) == {bob: 0, group: 0}


def test_a_command_that_was_never_told_of_is_not_counted(world: World, alice: int, bob: int, carol: int) -> None:
    group = world.group(alice, bob, carol)
    world.say(alice, group, content_type=rules.COMMAND)
    world.deliver(world.stream())
    world.jobs()  # lost
    world.say(alice, group)
    world.drain()
    assert world.num(bob, group) == 2
    assert rebuilt().moved == 2
    assert (world.num(bob, group), world.num(carol, group)) == (1, 1)


def test_read_and_deleted_stays_as_it_was_where_the_row_is_there(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.drain()
    world.forget(bob, alice)
    world.send(alice, [bob], content="new")
    world.stream()  # lost
    assert rebuilt().moved == 2
    assert (world.num(bob, alice), world.contents(bob, alice)) == (1, ["new"])


def test_a_lost_read_mark_is_taken_as_the_users_own_newest_message_of_more_than_a_day_ago(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.send(alice, [bob])
    world.send(bob, [alice])
    world.send(alice, [bob])
    world.drain()
    world.ack(bob, alice)
    lose(world)
    rebuilt(days_later=2)
    assert world.unread(bob) == recounted(world, bob) == {alice: 1}
    assert world.unread(alice) == recounted(world, alice) == {bob: 0}


def test_a_conversation_that_is_just_beginning_is_not_taken_as_read(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.send(bob, [alice])
    rebuilt()  # before the first delivery
    world.drain()
    assert (world.unread(bob), world.unread(alice)) == ({alice: 1}, {bob: 1})


def test_a_member_whose_row_was_lost_sees_nothing_from_before(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    world.say(alice, group, content="before")
    world.drain()
    lose(world, bob)
    rebuilt()
    assert world.contents(bob, group) == []
    world.say(alice, group, content="after")
    world.drain()
    assert (world.contents(bob, group), world.num(bob, group)) == (["after"], 1)


def test_where_a_group_shows_its_past_so_does_a_row_that_was_made_anew(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob, history_visible=True)
    world.say(alice, group, content="before")
    lose(world, bob)
    rebuilt()
    assert world.contents(bob, group) == ["before"]


def test_a_large_groups_head_is_moved_and_lost_rows_read_it(world: World, alice: int, bob: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSH_LIMIT_MEMBERS", "1")
    settings.settings.cache_clear()
    group = world.group(alice, bob)
    world.say(alice, group)
    world.say(alice, group, content_type=rules.COMMAND)
    world.stream()  # lost
    rebuilt()
    assert world.num(bob, group) == 1
    lose(world, bob)
    rebuilt()
    world.say(alice, group)
    world.drain()
    assert world.num(bob, group) == 1


def test_who_left_is_not_brought_back(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    world.say(alice, group)
    world.leave(group, bob)
    rebuilt()
    assert world.unread(bob) == {}
    lose(world)
    rebuilt()
    assert world.call("GET", "/message/conversation", world.token(bob), query={"opposite_id": group})["code"] == 20002


def test_who_leaves_while_the_row_is_made_anew_is_out(world: World, alice: int, bob: int) -> None:
    group = world.group(alice, bob)
    lose(world, bob)
    left: list[bool] = []

    def meanwhile(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        if operation == "UpdateItem" and request["TableName"] == "Inbox" and not left:
            left.append(True)
            world.leave(group, bob)
        return perform()

    with tampered(meanwhile):
        assert not membership.restore(keys.group(APP, group), bob, int(time.time() * 1000))
    assert (world.row(bob, group) or {})["left_at"]


@pytest.mark.parametrize("whole", [True, False], ids=["the whole app", "one user"])
def test_whatever_happens_at_whatever_call_every_number_is_exact(
    world: World, alice: int, bob: int, carol: int, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A send, its delivery, a receipt and a membership, put in before every second AWS call of the rebuild in turn."""
    monkeypatch.setattr(rebuild.scan, "SEGMENTS", 2)
    dave = world.user("dave")
    group = world.group(alice, bob, dave)

    def meanwhile(turn: int) -> None:
        world.send(alice, [bob])
        world.say(dave, group, content_type=rules.COMMAND if turn % 2 else rules.TEXT)
        world.drain() if turn % 3 else None
        world.ack(bob, alice) if turn % 4 == 0 else None
        (world.leave if turn % 2 else world.join)(group, carol)

    for turn in range(60):
        calls, inside = 0, False

        def interrupted(operation: str, request: dict[str, Any], perform: Callable[[], Any], turn: int = turn) -> Any:
            nonlocal calls, inside
            if not inside:
                calls += 1
                if calls == 2 * turn + 1:
                    inside = True
                    meanwhile(turn)
                    inside = False
            return perform()

        world.send(bob, [alice])
        world.say(dave, group)
        if turn % 2:
            world.drain()
        lose(world, *([bob] if turn % 3 else [alice, bob]))
        with tampered(interrupted):
            rebuilt(user=None if whole else bob)
        if not whole:
            rebuilt(user=alice)
        world.drain()
        for user in (alice, bob, carol, dave):
            assert world.unread(user) == recounted(world, user), turn
        if calls < 2 * turn + 1:
            return
    pytest.fail("more calls than were tried")


def test_the_command_says_what_it_will_read_and_asks(world: World, people: list[int], parley: Parley) -> None:
    lose(world)
    refused = parley("inbox", "rebuild", "--app", APP, answer="n\n")
    assert (refused.code, "The whole log has to be read" in refused.err, world.rows("Inbox")) == (1, True, [])
    alice = people[0]
    assert parley("inbox", "rebuild", "--app", APP, "--user", alice, "--yes", "--json").json["made"] == len(partners(world, alice)) + 2
    assert parley("inbox", "rebuild", "--app", APP, "--yes", "--json").json["made"] > 0
    assert parley("inbox", "rebuild", "--app", APP, "--yes").out == "0 rows made anew, 0 moved; every other one was right\n"
    assert {user: world.unread(user) for user in people} == {user: recounted(world, user) for user in people}


def test_an_app_that_is_not_there_is_named(parley: Parley) -> None:
    assert "nobody" in parley("inbox", "rebuild", "--app", "nobody", "--yes").err

"""Joining, leaving and coming back while messages are under way; groups that are read by their head."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from messaging.base.errors import ApiError, Code
from messaging.conversations import membership, rules
from tests.faults.sdk import Answer, Crash, Crashing, lost_reply, tampered
from tests.world import World

COMMAND = rules.COMMAND
CALLS_OF_A_JOIN = 40  # more than one user's joining makes

PushLimit = Callable[[int], None]


@pytest.fixture
def group(world: World, alice: int, bob: int) -> int:
    return world.group(alice, bob)


def rows_of(world: World, group: int) -> list[dict[str, Any]]:
    return [row for row in world.rows("Inbox") if row["conversation"] == group]


# --- joining and leaving


def test_a_member_sees_and_counts_what_came_after_joining(world: World, alice: int, carol: int, group: int) -> None:
    world.say(alice, group, content="before")
    world.drain()
    world.join(group, carol)
    assert world.unread(carol) == {}
    world.say(alice, group, content="after")
    world.drain()
    assert world.unread(carol) == {group: 1}
    assert world.contents(carol, group) == ["after"]


def test_where_the_past_is_visible_a_member_sees_it_but_none_of_it_is_unread(world: World, alice: int, carol: int) -> None:
    group = world.group(alice, history_visible=True)
    world.say(alice, group, content="before")
    world.drain()
    world.join(group, carol)
    assert world.contents(carol, group) == ["before"]
    assert world.unread(carol) == {group: 0}


def test_a_message_from_before_that_is_delivered_after_joining_is_not_unread(world: World, alice: int, carol: int, group: int) -> None:
    world.say(alice, group)
    records = world.stream()
    world.join(group, carol)
    world.deliver(records)
    world.fan_out(world.jobs())
    assert world.unread(carol) == {}


def test_who_left_neither_reads_nor_lists_the_group(world: World, alice: int, bob: int, group: int) -> None:
    world.say(alice, group)
    world.drain()
    world.leave(group, bob)
    assert world.unread(bob) == {}
    envelope = world.call("GET", "/message/conversation", world.token(bob), query={"opposite_id": group})
    assert envelope["code"] == Code.NOT_A_MEMBER
    assert world.post(bob, [group], type=2)["code"] == Code.NOT_A_MEMBER


def test_who_comes_back_starts_anew_and_keeps_what_was_read(world: World, alice: int, bob: int, group: int) -> None:
    world.say(alice, group, content="read")
    world.drain()
    world.ack(bob, group)
    world.leave(group, bob)
    world.say(alice, group, content="missed")
    world.drain()
    assert world.join(group, bob) == [bob]
    assert world.unread(bob) == {}
    world.say(alice, group, content="new")
    world.drain()
    assert world.unread(bob) == {group: 1}
    assert world.contents(bob, group) == ["new"]


def test_joining_twice_changes_nothing(world: World, alice: int, bob: int, group: int) -> None:
    world.say(alice, group)
    world.drain()
    before = rows_of(world, group)
    assert world.join(group, bob) == []
    assert world.num(bob, group) == 1
    after = rows_of(world, group)
    assert [row["join_seq"] for row in after] == [row["join_seq"] for row in before]


def test_a_join_of_an_unknown_user_changes_nothing(world: World, carol: int, group: int) -> None:
    before = world.snapshot()
    with pytest.raises(ApiError, match="999999") as refusal:
        world.join(group, carol, 999_999)
    assert refusal.value.code == Code.UNKNOWN_USER
    assert world.snapshot() == before


def test_a_leave_of_a_stranger_changes_nothing(world: World, bob: int, carol: int, group: int) -> None:
    before = world.snapshot()
    with pytest.raises(ApiError, match=str(carol)) as refusal:
        world.leave(group, bob, carol)
    assert refusal.value.code == Code.NOT_A_MEMBER
    assert world.snapshot() == before


def test_a_group_takes_no_more_than_its_limit(world: World, carol: int, group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "MAX_MEMBERS", 2)
    before = world.snapshot()
    with pytest.raises(ApiError) as refusal:
        world.join(group, carol)
    assert refusal.value.code == Code.TOO_MANY_MEMBERS
    assert world.snapshot() == before


# --- others go on between the calls of a join


class SlippingIn:
    """Somebody else acts just before the `at`-th AWS call of what is being done."""

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        self.at, self.act, self.made, self.acting = at, act, 0, False

    def __call__(self, operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        if not self.acting:
            self.made += 1
            if self.made == self.at:
                self.acting = True
                self.act()
                self.acting = False
        return perform()


class AfterTheFirstLook:
    """Somebody else acts right after a join has read the newest number; `faults` strike the join alone."""

    def __init__(self, act: Callable[[], object], faults: Answer) -> None:
        self.act, self.faults, self.looked, self.acting = act, faults, False, False

    def __call__(self, operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        if self.acting:
            return perform()
        reply = self.faults(operation, request, perform)
        if not self.looked and operation == "Query" and request["TableName"] == "Messages":
            self.looked = self.acting = True
            self.act()
            self.acting = False
        return reply


def follow(world: World, sender: int, group: int, content_type: int) -> None:
    """A text that nobody was told of shows by itself; a command only by what is counted once a text has followed it."""
    if content_type == COMMAND:
        world.say(sender, group)
    world.drain()


def assert_exact(world: World, reader: int, group: int) -> None:
    """For a reader who has read nothing: the number that the API tells is a recount of what it shows."""
    page = world.history(reader, group, limit=100)["messages"]
    counted = [m for m in page if m["from_xid"]["uid"] != reader and m["ctype"] != "COMMAND"]
    assert (world.num(reader, group) or 0) == len(counted)


@pytest.mark.parametrize("delivered", ["at once", "later"])
@pytest.mark.parametrize("content_type", [0, COMMAND], ids=["text", "command"])
def test_what_slips_into_a_join_is_counted_exactly_when_it_is_visible(world: World, delivered: str, content_type: int) -> None:
    alice = world.user("alice")
    group = world.group(alice)

    def act() -> None:
        world.say(alice, group, content_type=content_type)
        if delivered == "at once":
            world.drain()

    for at in range(1, CALLS_OF_A_JOIN):
        newcomer, slipping = world.user(), SlippingIn(at, act)
        with tampered(slipping):
            world.join(group, newcomer)
        follow(world, alice, group, content_type)
        assert_exact(world, newcomer, group)
        if slipping.made < at:
            assert at > 5
            return
    pytest.fail("a join makes more calls than expected")


@pytest.mark.parametrize("effective", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("content_type", [0, COMMAND], ids=["text", "command"])
def test_a_join_that_was_cut_short_is_completed_by_repeating_it(world: World, effective: bool, content_type: int) -> None:
    alice = world.user("alice")
    group = world.group(alice)

    def act() -> None:
        world.say(alice, group, content_type=content_type)
        world.drain()

    for at in range(1, CALLS_OF_A_JOIN):
        newcomer, crashing = world.user(), Crashing(at, effective)
        with suppress(Crash), tampered(AfterTheFirstLook(act, crashing)):
            world.join(group, newcomer)
        world.join(group, newcomer)
        follow(world, alice, group, content_type)
        assert_exact(world, newcomer, group)
        if not crashing.crashed:
            assert at > 5
            return
    pytest.fail("a join makes more calls than expected")


@pytest.mark.parametrize("content_type", [0, COMMAND], ids=["text", "command"])
def test_a_join_whose_replies_were_lost_is_as_good_as_any(world: World, alice: int, carol: int, group: int, content_type: int) -> None:
    def act() -> None:
        world.say(alice, group, content_type=content_type)
        world.drain()

    with tampered(AfterTheFirstLook(act, lost_reply)):
        world.join(group, carol)
    follow(world, alice, group, content_type)
    assert_exact(world, carol, group)


@pytest.mark.parametrize("effective", [False, True], ids=["before", "after"])
def test_a_leave_that_was_cut_short_is_over_or_can_be_repeated(world: World, effective: bool) -> None:
    alice = world.user("alice")
    group = world.group(alice)
    for at in range(1, CALLS_OF_A_JOIN):
        member, crashing = world.user(), Crashing(at, effective)
        world.join(group, member)
        with suppress(Crash), tampered(crashing):
            world.leave(group, member)
        with suppress(ApiError):
            world.leave(group, member)
        world.say(alice, group)
        world.drain()
        assert world.unread(member) == {}
        world.join(group, member)
        world.say(alice, group)
        world.drain()
        assert world.unread(member) == {group: 1}
        if not crashing.crashed:
            assert at > 3
            return
    pytest.fail("leaving makes more calls than expected")


def assert_whoever_belongs_is_reached(world: World, member: int, group: int, sender: int) -> None:
    world.drain()
    belongs = world.call("GET", "/message/conversation", world.token(member), query={"opposite_id": group})["code"] == 200
    world.say(sender, group)
    world.drain()
    if belongs:
        assert_exact(world, member, group)
        assert world.num(member, group)
    else:
        assert world.unread(member) == {}


def test_a_join_at_any_moment_of_a_leave_is_in_or_out_as_a_whole(world: World) -> None:
    alice = world.user("alice")
    group = world.group(alice)
    for at in range(1, CALLS_OF_A_JOIN):
        member = world.user()
        world.join(group, member)
        slipping = SlippingIn(at, lambda member=member: world.join(group, member))  # type: ignore[misc]
        with tampered(slipping):
            world.leave(group, member)
        assert_whoever_belongs_is_reached(world, member, group, alice)
        if slipping.made < at:
            assert at > 3
            return
    pytest.fail("leaving makes more calls than expected")


def test_a_leave_at_any_moment_of_a_join_is_in_or_out_as_a_whole(world: World) -> None:
    alice = world.user("alice")
    group = world.group(alice)
    for at in range(1, CALLS_OF_A_JOIN):
        member = world.user()

        def leave(member: int = member) -> None:
            with suppress(ApiError):
                world.leave(group, member)

        slipping = SlippingIn(at, leave)
        with suppress(ApiError), tampered(slipping):
            world.join(group, member)
        assert_whoever_belongs_is_reached(world, member, group, alice)
        if slipping.made < at:
            assert at > 5
            return
    pytest.fail("a join makes more calls than expected")


# --- groups that are read by their head


@pytest.fixture
def large(world: World, push_limit: PushLimit, alice: int, bob: int, carol: int) -> int:
    """A group of three that counts as large."""
    push_limit(2)
    return world.group(alice, bob, carol)


def test_a_large_group_is_delivered_by_its_head_and_the_senders_row_alone(world: World, alice: int, bob: int, large: int) -> None:
    before = world.row(bob, large)
    world.say(alice, large)
    records = world.stream()
    with world.calls() as calls:
        world.deliver(records)
    assert [call.operation for call in calls] == ["UpdateItem"] * 2
    assert world.jobs() == []
    assert world.row(bob, large) == before
    assert world.unread(bob) == {large: 1}
    assert world.unread(alice) == {large: 0}


def test_a_group_at_the_limit_is_still_written(world: World, push_limit: PushLimit, alice: int, bob: int) -> None:
    push_limit(2)
    group = world.group(alice, bob)
    world.say(alice, group)
    world.deliver(world.stream())
    assert len(world.jobs()) == 1


def test_a_command_does_not_count_in_a_large_group(world: World, alice: int, bob: int, large: int) -> None:
    world.say(alice, large, content_type=COMMAND)
    world.say(alice, large)
    world.drain()
    assert world.num(bob, large) == 1


def test_ones_own_message_does_not_count_in_a_large_group(world: World, alice: int, bob: int, large: int) -> None:
    world.say(alice, large)
    world.say(bob, large)
    world.drain()
    assert world.num(bob, large) == 1
    assert world.num(alice, large) == 1


def test_a_message_that_only_the_head_knows_can_be_read_and_deleted(world: World, alice: int, bob: int, carol: int, large: int) -> None:
    world.say(alice, large)
    world.say(alice, large)
    world.drain()
    assert world.ack(bob, large, msg_id=1)["code"] == 200
    assert world.unread(bob) == {large: 1}
    assert world.forget(carol, large)["code"] == 200
    assert world.unread(carol) == {}


def test_who_joins_a_large_group_counts_from_there(world: World, alice: int, large: int) -> None:
    world.say(alice, large)
    world.drain()
    newcomer = world.user()
    world.join(large, newcomer)
    assert world.unread(newcomer) == {}
    world.say(alice, large)
    world.drain()
    assert world.unread(newcomer) == {large: 1}


def test_who_leaves_a_large_group_has_it_no_longer_in_the_list(world: World, alice: int, bob: int, large: int) -> None:
    world.say(alice, large)
    world.drain()
    world.leave(large, bob)
    assert world.unread(bob) == {}


def test_a_large_group_stays_one_when_it_shrinks(world: World, alice: int, bob: int, carol: int, large: int) -> None:
    world.leave(large, carol)
    world.say(alice, large)
    world.deliver(world.stream())
    assert world.jobs() == []
    assert world.unread(bob) == {large: 1}


def test_a_group_that_grows_past_the_limit_keeps_every_number(
    world: World, push_limit: PushLimit, alice: int, bob: int, carol: int
) -> None:
    push_limit(2)
    group = world.group(alice, bob)
    world.say(alice, group)
    world.drain()
    world.say(alice, group)
    world.deliver(world.stream())
    late = world.jobs()
    world.say(alice, group)
    undelivered = world.stream()
    world.join(group, carol)
    world.say(alice, group)
    world.drain()
    world.deliver(undelivered)
    world.fan_out(late)
    assert world.num(bob, group) == 4
    assert world.num(carol, group) == 1
    assert world.num(alice, group) == 0


@pytest.mark.parametrize("content_type", [0, COMMAND], ids=["text", "command"])
def test_a_message_at_any_moment_of_the_crossing_is_counted_exactly(world: World, push_limit: PushLimit, content_type: int) -> None:
    push_limit(2)
    alice, bob, carol = world.user(), world.user(), world.user()
    for at in range(1, CALLS_OF_A_JOIN):
        group = world.group(alice, bob)

        def act(group: int = group) -> None:
            world.say(alice, group, content_type=content_type)
            world.drain()

        slipping = SlippingIn(at, act)
        with tampered(slipping):
            world.join(group, carol)
        follow(world, alice, group, content_type)
        assert_exact(world, bob, group)
        assert_exact(world, carol, group)
        if slipping.made < at:
            assert at > 10
            return
    pytest.fail("crossing takes more calls than expected")


def test_a_delivery_at_any_moment_of_the_crossing_reaches_everybody(world: World, push_limit: PushLimit) -> None:
    push_limit(2)
    alice, bob, carol = world.user(), world.user(), world.user()
    for at in range(1, CALLS_OF_A_JOIN):
        group = world.group(alice, bob)
        world.say(alice, group)
        records = world.stream()
        slipping = SlippingIn(at, lambda records=records: world.deliver(records))  # type: ignore[misc]
        with tampered(slipping):
            world.join(group, carol)
        world.fan_out(world.jobs())
        world.deliver(records)
        assert_exact(world, bob, group)
        assert_exact(world, carol, group)
        if slipping.made < at:
            return
    pytest.fail("crossing takes more calls than expected")


def test_two_joins_that_cross_the_limit_together_leave_nobody_out(world: World, push_limit: PushLimit) -> None:
    push_limit(2)
    alice, bob, carol = world.user(), world.user(), world.user()
    for at in range(1, CALLS_OF_A_JOIN):
        group = world.group(alice)
        slipping = SlippingIn(at, lambda group=group: world.join(group, bob))  # type: ignore[misc]
        with tampered(slipping):
            world.join(group, carol)
        world.join(group, world.user())
        world.say(alice, group)
        world.drain()
        for member in (bob, carol):
            if slipping.made >= at or member == carol:
                assert world.num(member, group) == 1, f"before call {at}"
        if slipping.made < at:
            return
    pytest.fail("a join makes more calls than expected")


def test_a_join_within_a_crossing_leaves_nobody_out(world: World, push_limit: PushLimit) -> None:
    push_limit(2)
    alice, bob, carol, dave = world.user(), world.user(), world.user(), world.user()
    for at in range(1, CALLS_OF_A_JOIN):
        group = world.group(alice, bob)
        slipping = SlippingIn(at, lambda group=group: world.join(group, carol))  # type: ignore[misc]
        with tampered(slipping):
            world.join(group, dave)
        world.say(alice, group)
        world.drain()
        joined = [bob, dave] + ([carol] if slipping.made >= at else [])
        assert [world.num(member, group) for member in joined] == [1] * len(joined), f"before call {at}"
        if slipping.made < at:
            return
    pytest.fail("crossing takes more calls than expected")


@pytest.mark.parametrize("effective", [False, True], ids=["before", "after"])
def test_a_crossing_that_was_cut_short_leaves_nobody_out(world: World, push_limit: PushLimit, effective: bool) -> None:
    push_limit(2)
    alice, bob, carol = world.user(), world.user(), world.user()
    for at in range(1, CALLS_OF_A_JOIN):
        group, crashing = world.group(alice, bob), Crashing(at, effective)
        with suppress(Crash), tampered(crashing):
            world.join(group, carol)
        world.say(alice, group)
        world.drain()
        assert world.num(bob, group) == 1, f"call {at}"
        world.join(group, carol)
        world.say(alice, group)
        world.drain()
        assert_exact(world, bob, group)
        assert_exact(world, carol, group)
        if not crashing.crashed:
            return
    pytest.fail("crossing takes more calls than expected")

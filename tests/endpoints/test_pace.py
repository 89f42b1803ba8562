"""A conversation takes so many messages a second, told by the log itself: what exceeds that is refused before anything is written."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.conversations import pace
from tests.fast_world import FastWorld, fast_world
from tests.faults.sdk import Crash

RATE, BURST = 10, 5  # messages a second, and how many may come at once beyond that
INTERVAL_MS = 1000 // RATE
AT_ONCE = BURST + 1  # the first finds an idle conversation


@pytest.fixture
def fast() -> Iterator[FastWorld]:
    with fast_world(CONVERSATION_RATE_PER_SECOND=str(RATE), CONVERSATION_BURST_MESSAGES=str(BURST)) as world:
        for number in (1001, 1002, 1003):
            world.user(number=number)
        yield world


def codes(world: FastWorld, count: int, every_ms: int = 0, target: int = 1002) -> list[int]:
    """Of as many sends, that long after each other."""
    found = []
    for _ in range(count):
        reply = world.http("POST", "/message/send", world.token(1001), body={"type": 1, "targets": [target], "content": "hello"})
        envelope = json.loads(reply["body"])
        assert reply["statusCode"] == (429 if envelope["code"] == 50004 else 200)
        found.append(envelope["code"])
        world.now_ms += every_ms
    return found


def code(world: FastWorld, sender: int, target: int, **fields: Any) -> int:
    body = {"type": 1, "targets": [target], "content": "hello"} | fields
    return int(json.loads(world.http("POST", "/message/send", world.token(sender), body=body)["body"])["code"])


def test_a_burst_is_taken_and_what_exceeds_it_is_refused(fast: FastWorld) -> None:
    assert codes(fast, AT_ONCE + 3) == [200] * AT_ONCE + [50004] * 3
    assert len(fast.rows("Messages")) == AT_ONCE


def test_what_is_refused_writes_nothing_and_names_the_target(fast: FastWorld) -> None:
    codes(fast, AT_ONCE)
    before = fast.snapshot()
    envelope = json.loads(
        fast.http(
            "POST",
            "/message/send",
            fast.token(1001),
            body={"type": 1, "targets": [1002, 1003], "content": "hello", "transaction_id": 7},
        )["body"]
    )
    assert (envelope["code"], envelope["data"]) == (50004, None)
    assert "1002" in envelope["message"]
    assert "1003" not in envelope["message"]
    assert fast.snapshot() == before


def test_in_the_long_run_the_rate_is_what_gets_through(fast: FastWorld) -> None:
    seconds = 60
    accepted = codes(fast, 4 * RATE * seconds, every_ms=INTERVAL_MS // 4).count(200)
    assert RATE * seconds <= accepted <= RATE * seconds + AT_ONCE


def test_within_the_rate_nothing_is_refused_and_no_message_carries_anything(fast: FastWorld) -> None:
    assert set(codes(fast, 50, every_ms=INTERVAL_MS)) == {200}
    assert not any("busy_until" in row for row in fast.rows("Messages"))


def test_a_conversation_at_rest_takes_a_burst_again_and_no_more(fast: FastWorld) -> None:
    codes(fast, AT_ONCE + 1)
    fast.now_ms += 10 * AT_ONCE * INTERVAL_MS
    assert codes(fast, AT_ONCE + 1) == [200] * AT_ONCE + [50004]


def test_other_conversations_go_on(fast: FastWorld) -> None:
    codes(fast, AT_ONCE + 1)
    assert codes(fast, 1, target=1003) == [200]


def test_a_repeat_is_answered_as_before_in_the_middle_of_a_storm(fast: FastWorld) -> None:
    first = fast.post(1001, [1002], transaction_id=5)
    assert codes(fast, AT_ONCE)[-1] == 50004
    assert fast.post(1001, [1002], transaction_id=5) == first
    assert len(fast.rows("Messages")) == AT_ONCE


def test_what_is_refused_can_be_sent_again_later(fast: FastWorld) -> None:
    codes(fast, AT_ONCE)
    body = {"type": 1, "targets": [1002], "content": "late", "transaction_id": 5}
    assert json.loads(fast.http("POST", "/message/send", fast.token(1001), body=body)["body"])["code"] == 50004
    fast.now_ms += INTERVAL_MS
    assert fast.post(1001, [1002], content="late", transaction_id=5)["msg_ids"] == [AT_ONCE + 1]


def test_without_a_rate_there_is_no_limit() -> None:
    with fast_world() as world:
        for number in (1001, 1002):
            world.user(number=number)
        assert set(codes(world, 200)) == {200}
        assert not any("busy_until" in row for row in world.rows("Messages"))


@pytest.mark.parametrize(("before", "now_ms", "until"), [(0, 5000, 5100), (4000, 5000, 5100), (5050, 5000, 5150)])
def test_a_message_keeps_its_conversation_busy_for_an_interval(before: int, now_ms: int, until: int) -> None:
    waiting = pace.backlog(4900, before, {1: before - 4900}, now_ms)
    assert pace.added(waiting, 1, pace.cost(0, RATE)).until == until


def test_one_sender_alone_is_refused_from_one_more_than_a_burst_on() -> None:
    for late, refused in ((0, False), (1, True)):
        ms = BURST * INTERVAL_MS + late
        assert pace.refuses(pace.Backlog(5000, 5000 + ms, {1: ms}), 1, INTERVAL_MS, RATE, BURST) is refused


@pytest.mark.parametrize(
    ("text_bytes", "rate", "ms"), [(0, 100, 10), (9 * 1024, 100, 10), (32 * 1024, 100, 33), (32 * 1024, 10, 100), (1, 0, 0)]
)
def test_a_large_message_counts_as_its_write_units_of_the_1000_that_a_partition_takes(text_bytes: int, rate: int, ms: int) -> None:
    assert pace.cost(text_bytes, rate) == ms


def test_of_large_messages_fewer_fit_into_a_burst() -> None:
    def taken(content: str) -> int:
        with fast_world(CONVERSATION_RATE_PER_SECOND="100", CONVERSATION_BURST_MESSAGES="50") as world:
            for number in (1001, 1002):
                world.user(number=number)
            return [code(world, 1001, 1002, content=content) for _ in range(60)].count(200)

    assert taken("x") == 51
    assert taken("x" * 32_768) == 500 // 33


messages = st.lists(st.tuples(st.integers(1, 15), st.integers(0, 400), st.integers(1, 12)), max_size=80)  # who, ms later, races lost


@given(messages)
def test_whoever_has_no_share_gets_in_unless_it_is_full_and_the_shares_are_the_backlog(sent: list[tuple[int, int, int]]) -> None:
    rate, burst = 100, 50
    at, newest = 1_000_000, pace.Backlog(0, 0, {})
    for sender, later, lost in sent:
        last, at = at, at + later
        waiting = pace.backlog(last, newest.until, newest.shares, at)
        assert waiting.ms == max(0, newest.until - at)
        assert len(waiting.shares) <= pace.SHARES
        if len(newest.shares) < pace.SHARES:
            assert waiting.ms <= sum(waiting.shares.values()) or not waiting.ms
        if pace.refuses(waiting, 99, 10, rate, burst):
            assert waiting.ms > 3 * burst * 10
        if not pace.refuses(waiting, sender, 10, rate, burst):
            waiting = pace.added(waiting, sender, lost * 10)
            assert waiting.shares
        newest = pace.Backlog(at, waiting.until, waiting.shares)


@pytest.mark.parametrize("kib", [0, 32])
@pytest.mark.parametrize("flooders", [1, 2, 3, 10, 11, 12, 20, pace.SHARES])
def test_flooders_leave_room_for_everybody_else_from_the_first_second_on(flooders: int, kib: int) -> None:
    rate, burst, at, newest, last, refused, taken_ms = 100, 50, 1_000_000, pace.Backlog(0, 0, {}), 0, 0, 0
    rng = random.Random(flooders)
    for step in range(8_000):  # at 800 messages a second in all, for ten seconds; each of two others about once a second
        at = 1_000_000 + step * 5 // 4
        other = [100 + step % 2] if rng.random() < 1 / 400 else []
        for sender in [rng.randint(1, flooders), *other]:
            cost_ms = pace.cost(0 if sender >= 100 else kib * 1024, rate)
            waiting = pace.backlog(last, newest.until, newest.shares, at)
            if pace.refuses(waiting, sender, cost_ms, rate, burst):
                refused += sender >= 100
                continue
            newest, last = pace.added(waiting, sender, cost_ms), at
            taken_ms += cost_ms
    assert refused == 0
    assert 9_500 <= taken_ms <= 10_000 + 3 * burst * 10


def test_a_flooding_member_makes_nobody_elses_send_fail(fast: FastWorld) -> None:
    group = fast.group(1001, 1002, 1003)
    assert 50004 in [code(fast, 1001, group, type=2) for _ in range(20)]
    assert code(fast, 1002, group, type=2) == code(fast, 1003, group, type=2) == 200
    assert code(fast, 1001, group, type=2) == 50004


def test_a_batch_with_one_busy_conversation_gets_in(fast: FastWorld) -> None:
    for number in range(1100, 1118):
        fast.user(number=number)
    while code(fast, 1002, 1003) == 200:
        pass
    bot = fast.user(number=1200)
    group = fast.group(1002, bot)
    while code(fast, 1002, group, type=2) == 200:
        pass
    others = [fast.group(bot) for _ in range(18)]
    assert fast.post(bot, [group, *others], type=2)["code"] == 200


@pytest.mark.parametrize("ahead_ms", [1_000, 4_900, 5_200, 5_600, 9_000, 3_600_000])
def test_a_message_of_a_clock_that_is_ahead_refuses_nobody(fast: FastWorld, ahead_ms: int) -> None:
    start = fast.now_ms
    fast.now_ms += ahead_ms
    assert code(fast, 1001, 1002) == 200
    found = []
    for second in range(0, 370):
        fast.now_ms = start + second * 1000
        found.append(code(fast, 1001, 1002))
    assert set(found) == {200}
    stamps = [row["sent_at"] for row in fast.rows("Messages")]
    assert stamps == sorted(stamps)


def test_the_rate_holds_also_while_the_newest_message_is_ahead_of_the_clock(fast: FastWorld) -> None:
    fast.now_ms += 3_600_000
    code(fast, 1001, 1002)
    fast.now_ms -= 3_600_000
    assert [code(fast, 1001, 1002) for _ in range(AT_ONCE + 2)] == [200] * AT_ONCE + [50004] * 2


def test_time_and_rate_go_on_from_the_message_before_whoever_has_named_the_slot(fast: FastWorld) -> None:
    """One attempt reserves, its twin moves the reservation behind rivals and dies, and the first one puts."""
    body = {"type": 1, "targets": [1002], "content": "mine", "transaction_id": 7}
    puts = 0

    def twin(operation: str, request: dict[str, Any], perform: Callable[..., Any]) -> Any:
        nonlocal puts
        if operation == "PutItem" and request["TableName"] == "Messages":
            puts += 1
            if puts > 1:
                raise Crash
            fast.injector = None
            fast.now_ms += 5_000
            for _ in range(3):
                fast.post(1002, [1001])
            fast.injector = twin
        return perform()

    def first(operation: str, request: dict[str, Any], perform: Callable[..., Any]) -> Any:
        if operation == "PutItem" and request["TableName"] == "Dedup":
            fast.injector = twin
            with pytest.raises(Crash):
                fast.http("POST", "/message/send", fast.token(1001), body=body)
            fast.injector = None
        return perform()

    fast.injector = first
    assert fast.call("POST", "/message/send", fast.token(1001), body=body)["msg_ids"] == [4]
    rows = fast.rows("Messages")
    assert [row["sent_at"] for row in rows] == sorted(row["sent_at"] for row in rows)
    assert rows[-1]["busy_until"] == rows[-1]["sent_at"] + 4 * INTERVAL_MS


@pytest.mark.parametrize(("transaction_id", "writes"), [(None, 2), (5, 3)], ids=["put twice", "and the reservation moved"])
def test_a_race_that_was_lost_counts_as_what_it_has_written(fast: FastWorld, transaction_id: int | None, writes: int) -> None:
    def overtaken(operation: str, request: dict[str, Any], perform: Callable[..., Any]) -> Any:
        if operation == "PutItem" and request["TableName"] == "Messages":
            fast.injector = None
            fast.post(1002, [1001])
        return perform()

    fast.injector = overtaken
    assert fast.post(1001, [1002], transaction_id=transaction_id)["msg_ids"] == [2]
    assert fast.rows("Messages")[1]["busy_until"] == fast.now_ms + (1 + writes) * INTERVAL_MS


def test_who_has_waited_long_is_not_refused_for_that(fast: FastWorld) -> None:
    def overtaken_late(operation: str, request: dict[str, Any], perform: Callable[..., Any]) -> Any:
        if operation == "PutItem":
            fast.injector = None
            fast.now_ms += 10 * AT_ONCE * INTERVAL_MS
            fast.post(1002, [1001])
        return perform()

    fast.injector = overtaken_late
    assert fast.post(1001, [1002])["msg_ids"] == [2]


def test_whose_clock_is_behind_is_not_refused_for_that(fast: FastWorld) -> None:
    fast.now_ms += 60_000
    fast.post(1002, [1001])
    fast.now_ms -= 60_000
    assert fast.post(1001, [1002])["msg_ids"] == [2]

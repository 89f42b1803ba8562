"""A conversation takes so many messages a second, told by the log itself: what exceeds that is refused before anything is written."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from messaging.conversations import rules
from tests.fast_world import FastWorld, fast_world

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


@pytest.mark.parametrize(("before", "sent_at", "until"), [(0, 5000, 5100), (4000, 5000, 5100), (5050, 5000, 5150)])
def test_a_message_keeps_its_conversation_busy_for_an_interval(before: int, sent_at: int, until: int) -> None:
    assert rules.busy_until(before, sent_at, RATE) == until


def test_a_conversation_is_overfull_from_one_more_than_a_burst_on() -> None:
    assert not rules.overfull(5000 + BURST * INTERVAL_MS, 5000, RATE, BURST)
    assert rules.overfull(5001 + BURST * INTERVAL_MS, 5000, RATE, BURST)


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

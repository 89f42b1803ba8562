"""A container's clock may be wrong. AWS's replies say what time it is, and that is what counts."""

from collections.abc import Iterator
from email.utils import formatdate

import pytest

from messaging.base import clock
from tests import world as worlds
from tests.fast_world import FastWorld, fast_world

HOUR_MS = 3_600_000


@pytest.fixture
def fast() -> Iterator[FastWorld]:
    with fast_world() as world:
        for number in (1001, 1002):
            world.user(number=number)
        yield world


@pytest.fixture
def looked() -> Iterator[None]:
    clock.forget()
    yield
    clock.forget()


def date(at_ms: int) -> str:
    return formatdate(at_ms // 1000, usegmt=True)


@pytest.mark.parametrize("skew_ms", [HOUR_MS, -HOUR_MS, 10_000, -10_000])
def test_a_container_with_a_wrong_clock_stamps_messages_right(fast: FastWorld, skew_ms: int) -> None:
    worlds.cold()
    fast.skew_ms = skew_ms
    fast.send(1001, [1002])
    (message,) = fast.rows("Messages")
    assert abs(message["sent_at"] - fast.now_ms) <= 1000


@pytest.mark.parametrize("skew_ms", [HOUR_MS, -HOUR_MS])
def test_a_container_with_a_wrong_clock_judges_tokens_right_from_its_first_request_on(fast: FastWorld, skew_ms: int) -> None:
    good, ended = fast.token(1001, lives_s=60), fast.token(1001, lives_s=-60)
    worlds.cold()
    fast.skew_ms = skew_ms
    assert [fast.call("GET", "/message/unread", token)["code"] for token in (good, ended)] == [200, 402]


def test_a_container_that_was_frozen_keeps_what_it_knows(fast: FastWorld) -> None:
    fast.skew_ms = HOUR_MS
    fast.send(1001, [1002])
    token = fast.token(1001, lives_s=10 * HOUR_MS / 1000)
    fast.now_ms += 9 * HOUR_MS
    told = clock.now_ms()
    assert abs(told - fast.now_ms) <= 1000
    assert fast.call("GET", "/message/unread", token)["code"] == 200


def test_a_clock_that_is_set_right_is_believed_again(fast: FastWorld) -> None:
    fast.skew_ms = HOUR_MS
    fast.send(1001, [1002])
    fast.skew_ms = 1
    fast.send(1001, [1002])
    fast.send(1001, [1002])
    assert clock.now_ms() == fast.now_ms + 1


@pytest.mark.parametrize("off_ms", [0, 900, -900, 1900, -1900])
def test_a_clock_that_may_be_right_is_left_alone(looked: None, off_ms: int) -> None:
    clock.compare(50_000_000 + off_ms, date(50_000_000), 50_000_005 + off_ms)
    assert clock._known.ahead_ms == 0


def test_a_slow_reply_says_nothing_of_the_clock(looked: None) -> None:
    clock.compare(50_000_000, date(50_000_000), 50_003_000)  # 3 s on their way
    assert clock._known.ahead_ms == 0
    clock.compare(50_000_000, date(50_000_000), 50_000_000 + HOUR_MS)  # frozen meanwhile
    assert clock._known.ahead_ms == 0


@pytest.mark.parametrize("wrong", ["", "yesterday", "Wed, 99 Nov 2026 11:33:59 GMT"])
def test_what_is_no_date_changes_nothing(looked: None, wrong: str) -> None:
    clock.compare(50_000_000, wrong, 50_000_001)
    assert clock._known.ahead_ms == 0


def test_replies_are_looked_at_every_few_seconds_only(looked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50_000_000]
    monkeypatch.setattr(clock, "_own_ms", lambda: now[0])
    looks = []
    for _ in range(12):
        context: dict[str, object] = {}
        clock.begin(context=context)
        clock.end(context=context, parsed={"ResponseMetadata": {"HTTPHeaders": {"date": date(now[0])}}})
        looks.append(bool(context))
        now[0] += 1000
    assert looks == [True, False, False, False, False] * 2 + [True, False]
    clock.end(context={clock.SENT_AT: now[0]}, parsed={"Error": {}})  # a reply without the header
    assert clock.now_ms() == now[0]

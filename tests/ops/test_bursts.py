"""The measure of bursts: what it counts, how long what takes, and that it notices what would make its figures worthless."""

from typing import Any

import pytest

from messaging.conversations import log
from messaging.conversations.log import Tip
from messaging.conversations.models import Message
from ops.bench.bursts import Broken, Load, Run, To, run
from ops.bench.virtual_time import VirtualTime

SEED = 3


def measured(rate: float, messages: int = 150, **load: Any) -> Run:
    """Without a limit, at 11 ms a call, unless said otherwise."""
    return run(Load(rate, messages=messages, seed=SEED, **{"latency_s": 0.011, "settings": {}, **load}), lambda words: None)


@pytest.mark.parametrize(("transactions", "calls"), [(False, 2), (True, 3)], ids=["without", "with a transaction_id"])
def test_a_lonely_message_takes_as_long_as_its_calls_after_one_another(transactions: bool, calls: int) -> None:
    done = measured(0.1, 50, transactions=transactions)
    assert (done.writes, done.refused) == (calls - 1, 0)
    assert calls * 10 < done.latency_ms(0.5) < calls * 13  # of two reads side by side the slower one counts


def test_a_put_that_lost_its_race_is_counted() -> None:
    lonely, crowded = measured(0.1), measured(50)
    assert lonely.puts == 1 < crowded.puts
    assert crowded.accepted + crowded.refused == 150


def test_slower_calls_lose_more_races() -> None:
    assert measured(30, latency_s=0.003).puts < measured(30, latency_s=0.03).puts


def test_attempts_of_refused_messages_are_counted_for_those_accepted() -> None:
    done = measured(200, constants={"messaging.conversations.log.APPEND_ATTEMPTS": 1})
    assert done.refused > 0
    assert done.puts == pytest.approx(150 / done.accepted)


@pytest.mark.parametrize("to", To)
def test_the_same_seed_gives_the_same_run(to: To) -> None:
    assert measured(100, to=to) == measured(100, to=to)


def test_members_of_a_group_race_each_other() -> None:
    assert measured(50, to=To.GROUP).puts > 1


@pytest.mark.parametrize(
    ("places", "why"), [((0, 0), "50 messages were accepted, 100 stored"), ((1,), "a gap: 50 messages up to number 100")]
)
def test_a_log_that_is_not_what_was_promised_is_noticed(monkeypatch: pytest.MonkeyPatch, places: tuple[int, ...], why: str) -> None:
    """Each message is put once for each of these, so many places after its own."""
    append = log.append

    def wrong(message: Message, newest: Tip, *others: Any) -> int:
        for copy, place in enumerate(places):
            put = append(message.model_copy(update={"msg_id": message.msg_id + place, "written_by": f"{copy}"}), newest, *others)
        return put

    monkeypatch.setattr(log, "append", wrong)
    with pytest.raises(Broken, match=why):
        measured(0.1, 50)


def test_of_independent_calls_each_takes_its_own_time() -> None:
    clock = VirtualTime()
    assert clock.parallel([lambda: (clock.sleep(3), clock.now_s)[1], lambda: (clock.sleep(5), clock.now_s)[1]]) == [3, 5]
    assert clock.now_s == 5


def test_of_independent_calls_that_fail_the_first_one_counts_when_all_have_ended() -> None:
    clock = VirtualTime()

    def fail(after_s: float) -> None:
        clock.sleep(after_s)
        raise ValueError(after_s)

    with pytest.raises(ValueError, match="7"):
        clock.parallel([lambda: fail(7), lambda: fail(1)])
    assert clock.now_s == 7


@pytest.mark.parametrize("flooded", [100, 400])
@pytest.mark.parametrize("seed", range(3))
def test_a_member_who_floods_has_nobody_else_refused(flooded: float, seed: int) -> None:
    done = run(Load(10, To.GROUP, flooded=flooded, messages=1500, seed=seed), lambda words: None)
    assert done.others > 20
    assert done.others_refused == 0
    assert done.refused > 0  # it is a flood

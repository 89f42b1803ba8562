"""Several write into one conversation at the same moment: nobody overwrites anybody, and a storm is refused rather than fed."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from messaging.conversations import log
from tests.faults.conftest import Client
from tests.faults.sdk import tampered
from tests.world import World

ATTEMPTS = 3  # races that a send may lose here before it is refused


class Overtaking:
    """A rival is faster: it fills the slot just before each of the first `times` puts of a message that is not its own."""

    def __init__(self, rival: Client, target: int, times: int) -> None:
        self.rival, self.target, self.left, self.acting = rival, target, times, False

    def __call__(self, operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        if operation == "PutItem" and request["TableName"] == "Messages" and self.left and not self.acting:
            self.left -= 1
            self.acting = True
            self.rival.send([self.target], content="rival")
            self.acting = False
        return perform()


@pytest.fixture(autouse=True)
def _few_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "APPEND_ATTEMPTS", ATTEMPTS)


@pytest.mark.parametrize("transaction_id", [None, 5], ids=["without a transaction_id", "with one"])
def test_a_send_that_lost_too_many_races_is_refused_and_not_stored(
    world: World, client: Client, rival: Client, transaction_id: int | None
) -> None:
    with tampered(Overtaking(rival, client.user, ATTEMPTS)):
        reply = client.post([rival.user], content="mine", transaction_id=transaction_id)
    assert reply["statusCode"] == 429
    envelope = json.loads(reply["body"])
    assert (envelope["code"], envelope["data"]) == (50004, None)
    assert world.contents(client.user, rival.user) == ["rival"] * ATTEMPTS


def test_a_send_that_was_refused_for_lost_races_is_done_once_by_repeating_it(world: World, client: Client, rival: Client) -> None:
    with tampered(Overtaking(rival, client.user, ATTEMPTS)):
        client.post([rival.user], content="mine", transaction_id=5)
    assert client.send([rival.user], content="mine", transaction_id=5) == [ATTEMPTS + 1]
    assert client.send([rival.user], content="mine", transaction_id=5) == [ATTEMPTS + 1]
    assert world.contents(client.user, rival.user) == ["rival"] * ATTEMPTS + ["mine"]


@pytest.mark.parametrize("at", range(1, 5))
def test_a_duplicate_at_any_moment_of_a_request_is_the_same_message(world: World, client: Client, bob: int, at: int) -> None:
    inner: list[list[int]] = []
    made = 0

    def answer(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        nonlocal made
        if not inner:
            made += 1
            if made == at:
                inner.append([])
                inner[0] += client.send([bob], content="once", transaction_id=5)
        return perform()

    with tampered(answer):
        outer = client.send([bob], content="once", transaction_id=5)
    assert inner == [outer]
    assert world.contents(bob, client.user) == ["once"]


def test_later_in_the_log_is_never_earlier_on_the_clock(
    world: World, client: Client, rival: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = time.time_ns() + 1800 * 10**9
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: ahead)
        client.send([rival.user])
    rival.send([client.user])
    with tampered(Overtaking(client, rival.user, 1)):
        rival.send([client.user])
    stamps = [message["timestamp"] for message in world.history(rival.user, client.user)["messages"]]
    assert len(stamps) == 4
    assert stamps == [ahead // 1_000_000] * 4

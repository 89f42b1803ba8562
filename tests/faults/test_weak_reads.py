"""DynamoDB may answer a read that is not consistent from the past, and may end a page of a query wherever it likes."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from messaging.conversations import rules
from tests.fast_world import FastWorld, fast_world

PUSH_LIMIT = 2  # members


@pytest.fixture
def weak() -> Iterator[FastWorld]:
    with fast_world(PUSH_LIMIT_MEMBERS=str(PUSH_LIMIT)) as world:
        yield world


def a_day(world: FastWorld) -> None:
    """Everything that there is to be done, each step relying on the one before."""
    alice, bob, carol = world.user("alice"), world.user("bob"), world.user("carol")
    small, large = world.group(alice, bob), world.group(alice, bob, carol)
    assert world.send(alice, [bob, carol], transaction_id=7) == [1, 1]
    assert world.send(alice, [bob, carol], transaction_id=7) == [1, 1]
    assert world.send(bob, [alice]) == [2]
    assert world.contents(bob, alice) == world.contents(alice, bob) == ["hello", "hello"]
    assert [world.say(alice, small), world.say(alice, large), world.say(bob, large, content_type=rules.COMMAND)] == [1, 1, 2]
    world.drain()
    assert world.unread(bob) == {large: 1, small: 1, alice: 1}
    assert world.ack(bob, large)["data"] is True
    assert world.unread(bob) == {large: 0, small: 1, alice: 1}
    assert world.history(alice, bob)["messages"][0]["status"] == "DELIVERED"
    assert world.forget(bob, alice)["data"] is True
    assert world.contents(bob, alice) == []
    assert world.ack(alice, bob, msg_id=3)["code"] == 50001
    assert world.say(carol, large) == 3
    world.leave(large, carol)
    assert world.call("GET", "/message/conversation", world.token(carol), query={"opposite_id": large})["code"] == 20002
    assert world.post(carol, [large], type=2)["code"] == 20002
    assert world.join(large, carol) == [carol]
    assert world.contents(carol, large) == []
    assert world.say(alice, large) == 4
    world.drain()
    assert world.unread(carol) == {large: 1, alice: 1}


def test_what_was_answered_is_seen_whatever_replica_is_asked(weak: FastWorld) -> None:
    """Every read that may be stale tells how things stood at the very beginning."""
    asked: list[str] = []

    def stale(operation: str, request: dict[str, Any], perform: Callable[..., Any]) -> Any:
        asked.append(operation)
        return perform(stale=True)

    weak.aws.mark()
    weak.injector = stale
    a_day(weak)
    assert {"GetItem", "BatchGetItem", "Query"} <= set(asked)


@pytest.mark.parametrize("items", [1, 2])
def test_a_page_may_end_anywhere(weak: FastWorld, items: int) -> None:
    weak.aws.page_items = items
    a_day(weak)

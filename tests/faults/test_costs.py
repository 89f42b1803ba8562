"""What a request costs in AWS calls: how many one after the other, and that a group's size does not matter to who sends."""

from types import SimpleNamespace
from typing import Any

import pytest

from messaging.base import keys, memory, settings, store
from messaging.conversations import rules
from messaging.people import directory
from tests.faults.conftest import Client
from tests.world import Call, World, depth

SLOW_S = 0.1  # each call takes that long, so that calls side by side are seen to overlap
MEMBERS = 300
BATCH_WRITE = 25  # items per BatchWriteItem, AWS limit


@pytest.fixture(autouse=True)
def _warm(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that has served others before, and whose memory of the app and the keys does not end within the test."""
    monkeypatch.setattr(memory, "time", SimpleNamespace(time=lambda: 0.0))
    world.unread(directory.ADMINISTRATOR_ID)


@pytest.fixture(params=["a user who was here a moment ago", "a user who was not"])
def asks(request: pytest.FixtureRequest) -> list[str]:
    """The calls that are made because of who asks: one weak read, beside the first reads, or none."""
    return ["GetItem"] if request.param.endswith("not") else []


def seen(world: World, user: int, asks: list[str]) -> None:
    """The container has served this user already, unless a call is to be made."""
    if not asks:
        world.unread(user)


def store_calls(calls: list[Call]) -> list[Call]:
    """Without the signing of the test's own token."""
    return [call for call in calls if call.operation != "GetSecretValue"]


def crowd(world: World, group: int, like: int) -> None:
    """Makes the group one of `MEMBERS`, each row as that of the member `like`."""
    row = world.row(like, group)
    assert row
    items: list[tuple[str, dict[str, Any]]] = []
    for number in range(50_000, 50_000 + MEMBERS - 3):
        items.append(("Directory", {"entity": f"demo#{group}", "facet": keys.member(number)}))
        items.append(("Inbox", {**row, "reader": f"demo#{number}"}))
    for at in range(0, len(items), BATCH_WRITE):
        puts: dict[str, list[Any]] = {}
        for table, item in items[at : at + BATCH_WRITE]:
            puts.setdefault(table, []).append({"PutRequest": {"Item": store.pack(item)}})
        store.dynamodb().batch_write_item(RequestItems=puts)


@pytest.mark.parametrize(("transaction_id", "most"), [(None, 2), (5, 3)], ids=["without a transaction_id", "with one"])
@pytest.mark.parametrize("targets", [1, 5])
def test_a_send_to_users_waits_for_two_calls_or_three_and_to_several_for_one_more(
    world: World, client: Client, targets: int, transaction_id: int | None, most: int
) -> None:
    users = [world.user() for _ in range(targets)]
    with world.calls(SLOW_S) as calls:
        client.send(users, transaction_id=transaction_id)
    assert depth(store_calls(calls)) <= most + (targets > 1)


@pytest.mark.parametrize(("transaction_id", "most"), [(None, 2), (5, 3)], ids=["without a transaction_id", "with one"])
def test_a_send_to_a_group_waits_for_two_calls_or_three(
    world: World, client: Client, bob: int, transaction_id: int | None, most: int
) -> None:
    group = world.group(client.user, bob)
    with world.calls(SLOW_S) as calls:
        client.send([group], type=2, transaction_id=transaction_id)
    assert depth(store_calls(calls)) <= most


def test_a_send_that_was_repeated_is_answered_in_two_calls(world: World, client: Client, bob: int) -> None:
    client.send([bob], transaction_id=5)
    client.send([bob], transaction_id=5)  # looks at what is there, and notes it
    with world.calls(SLOW_S) as calls:
        client.send([bob], transaction_id=5)
    assert depth(store_calls(calls)) <= 2


def test_a_send_to_a_group_of_3_and_of_300_costs_the_sender_the_same(world: World, client: Client, bob: int, carol: int) -> None:
    group = world.group(client.user, bob, carol)
    seen(world, client.user, [])
    with world.calls() as small:
        client.send([group], type=2)
    crowd(world, group, like=bob)
    assert len(directory.members("demo", group)) == MEMBERS
    with world.calls() as big:
        client.send([group], type=2)
    assert sorted(call.operation for call in big) == sorted(call.operation for call in small)
    assert len(small) == 3


def test_a_send_to_a_user_makes_three_calls_and_one_for_who_sends(world: World, client: Client, bob: int, asks: list[str]) -> None:
    seen(world, client.user, asks)
    with world.calls(SLOW_S) as calls:
        client.send([bob])
    assert sorted(call.operation for call in calls) == ["BatchGetItem", *asks, "PutItem", "Query"]
    assert depth(calls) == 2
    assert [call.request.get("ConsistentRead", False) for call in calls if call.operation == "GetItem"] == [False] * len(asks)


@pytest.mark.parametrize("kind", ["user", "group"])
def test_a_page_of_history_waits_for_two_calls(world: World, client: Client, bob: int, kind: str) -> None:
    number = client.user if kind == "user" else world.group(client.user, bob)
    client.send([bob] if kind == "user" else [number], type=1 if kind == "user" else 2)
    world.drain()
    world.history(bob, number)  # what is new has been fetched
    with world.calls(SLOW_S) as calls:
        world.history(bob, number)
    assert depth(store_calls(calls)) <= 2


def test_the_unread_list_waits_for_one_call(world: World, client: Client, bob: int, asks: list[str]) -> None:
    client.send([bob])
    client.send([world.group(client.user, bob)], type=2)
    world.drain()
    seen(world, bob, asks)
    with world.calls(SLOW_S) as calls:
        assert len(world.unread(bob)) == 2
    assert sorted(call.operation for call in store_calls(calls)) == [*asks, "Query"]
    assert depth(store_calls(calls)) == 1


def test_the_unread_list_with_commands_in_it_waits_for_two_calls_and_keeps_what_it_read(world: World, client: Client, bob: int) -> None:
    others = [client.user, *(world.user() for _ in range(4))]
    for other in others:
        for content_type in (rules.COMMAND, rules.TEXT, rules.COMMAND, rules.TEXT):
            world.send(other, [bob], content_type=content_type)
    world.drain()
    seen(world, bob, [])
    for other in others:
        world.ack(bob, other, msg_id=2)
    with world.calls(SLOW_S) as calls:
        assert set(world.unread(bob).values()) == {1}
    made = store_calls(calls)
    assert [call.operation for call in made[:2]] == ["Query", "BatchGetItem"]
    assert [call.operation for call in made[2:]] == ["UpdateItem"] * len(others)
    assert depth(made) <= 3
    with world.calls() as calls:
        assert set(world.unread(bob).values()) == {1}
    assert [call.operation for call in store_calls(calls)] == ["Query"]


def test_the_unread_list_with_own_messages_in_it_waits_for_one_call(world: World, client: Client, bob: int) -> None:
    for sender, target in ((client.user, bob), (client.user, bob), (bob, client.user), (client.user, bob)):
        world.send(sender, [target])
    world.drain()
    world.ack(bob, client.user, msg_id=1)
    with world.calls() as calls:
        assert world.unread(bob) == {client.user: 2}
    assert [call.operation for call in store_calls(calls)] == ["Query"]


def test_the_unread_list_of_large_groups_waits_for_two_calls(
    world: World, client: Client, bob: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUSH_LIMIT_MEMBERS", "1")
    settings.settings.cache_clear()
    groups = [world.group(client.user, bob) for _ in range(3)]
    for group in groups:
        client.send([group], type=2)
    world.drain()
    seen(world, bob, [])
    with world.calls(SLOW_S) as calls:
        assert world.unread(bob) == dict.fromkeys(sorted(groups, reverse=True), 1)
    assert [call.operation for call in store_calls(calls)] == ["Query", "BatchGetItem"]


@pytest.mark.parametrize("kind", ["user", "group"])
def test_the_usual_read_receipt_is_one_call(world: World, client: Client, bob: int, kind: str, asks: list[str]) -> None:
    number = client.user if kind == "user" else world.group(client.user, bob)
    client.send([bob] if kind == "user" else [number], type=1 if kind == "user" else 2)
    world.drain()
    seen(world, bob, asks)
    with world.calls() as calls:
        assert world.ack(bob, number, msg_id=1)["code"] == 200
    assert [call.operation for call in store_calls(calls)] == [*asks, "UpdateItem"]


def test_a_read_receipt_for_everything_waits_for_two_calls(world: World, client: Client, bob: int) -> None:
    client.send([bob])
    world.drain()
    with world.calls(SLOW_S) as calls:
        world.ack(bob, client.user)
    assert depth(store_calls(calls)) <= 2


def test_a_refused_token_costs_no_call(world: World, client: Client) -> None:
    with world.calls() as calls:
        world.http("GET", "/message/unread", client.token[:-2])
    assert calls == []

"""The container dies at any AWS call of a request. The client repeats it: the message is there once, and it arrives."""

from contextlib import suppress
from typing import Any

import pytest

from tests.faults.conftest import Client
from tests.faults.sdk import Crash, Crashing, tampered
from tests.world import World

MOST_CALLS = 30  # more AWS calls than any of these requests makes


def assert_once_and_dense(world: World, reader: int, number: int, content: str) -> int:
    """`content` is there exactly once, and the conversation has no hole; returns where it is."""
    messages = world.history(reader, number, limit=100)["messages"][::-1]
    assert [message["msg_id"] for message in messages] == list(range(1, len(messages) + 1))
    [place] = [message["msg_id"] for message in messages if message["content"] == content]
    return int(place)


@pytest.mark.parametrize("effective", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("rivalry", [False, True], ids=["alone", "with a rival"])
@pytest.mark.parametrize("kind", ["user", "users", "group"])
def test_a_send_that_crashed_anywhere_is_done_once_by_repeating_it(
    world: World, client: Client, rival: Client, carol: int, kind: str, rivalry: bool, effective: bool
) -> None:
    alice, bob = client.user, rival.user
    group = world.group(alice, bob, carol)
    targets, type_ = {"user": ([bob], 1), "users": ([bob, carol], 1), "group": ([group], 2)}[kind]
    recipients = [bob, carol] if kind == "users" else [bob]
    theirs = group if kind == "group" else alice  # how a recipient names the conversation
    for at in range(1, MOST_CALLS):
        content, crashing = f"at {at}", Crashing(at, effective)
        request: dict[str, Any] = {"type": type_, "content": content, "transaction_id": at}
        with suppress(Crash), tampered(crashing):
            client.post(targets, **request)
        if rivalry:
            rival.send([group] if kind == "group" else [alice], type=type_, content="rival")
        msg_ids = client.send(targets, **request)
        assert client.send(targets, **request) == msg_ids
        assert [assert_once_and_dense(world, recipient, theirs, content) for recipient in recipients] == msg_ids
        world.drain()
        for recipient in recipients:
            row = world.row(recipient, theirs)
            assert row
            assert row["last_seq"] == len(world.contents(recipient, theirs))
            world.ack(recipient, theirs)
        if not crashing.crashed:
            assert at > 4
            return
    pytest.fail("a send makes more calls than expected")


@pytest.mark.parametrize("effective", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("type_", [1, 2], ids=["user", "group"])
def test_without_a_transaction_id_a_send_that_crashed_is_there_once_or_not_at_all(
    world: World, client: Client, bob: int, type_: int, effective: bool
) -> None:
    group = world.group(client.user, bob)
    target, theirs = (bob, client.user) if type_ == 1 else (group, group)
    outcomes = set()
    for at in range(1, MOST_CALLS):
        content, crashing = f"at {at}", Crashing(at, effective)
        with suppress(Crash), tampered(crashing):
            client.post([target], type=type_, content=content)
        times = world.contents(bob, theirs).count(content)
        assert times == (0 if crashing.crashed and not times else 1)
        outcomes.add((crashing.crashed, times))
        client.send([target], type=type_, content="next")
        if times:
            assert_once_and_dense(world, bob, theirs, content)
        if not crashing.crashed:
            break
    assert (False, 1) in outcomes
    assert (True, 0) in outcomes
    assert ((True, 1) in outcomes) == effective


@pytest.mark.parametrize("effective", [False, True], ids=["before", "after"])
def test_a_batch_that_crashed_anywhere_reaches_every_target_once(
    world: World, client: Client, bob: int, carol: int, effective: bool
) -> None:
    dave = world.user("dave")
    targets = [dave, bob, carol, bob]
    for at in range(1, MOST_CALLS):
        content, crashing = f"at {at}", Crashing(at, effective)
        with suppress(Crash), tampered(crashing):
            client.post(targets, content=content, transaction_id=at)
        msg_ids = client.send(targets, content=content, transaction_id=at)
        assert [assert_once_and_dense(world, target, client.user, content) for target in targets] == msg_ids
        if not crashing.crashed:
            return
    pytest.fail("a send makes more calls than expected")


@pytest.mark.parametrize("effective", [False, True], ids=["before", "after"])
def test_a_delivery_that_crashed_anywhere_is_done_by_repeating_it(
    world: World, client: Client, bob: int, carol: int, effective: bool
) -> None:
    group = world.group(client.user, bob, carol)
    for at in range(1, MOST_CALLS):
        client.send([bob])
        client.send([group], type=2)
        records, crashing = world.stream(), Crashing(at, effective)
        with suppress(Crash), tampered(crashing):
            world.deliver(records)
        assert world.deliver(records) == {"batchItemFailures": []}
        world.fan_out(world.jobs())
        assert world.unread(bob) == {group: at, client.user: at}
        assert world.unread(carol) == {group: at}
        if not crashing.crashed:
            assert at > 5
            return
    pytest.fail("a delivery makes more calls than expected")


@pytest.mark.parametrize("effective", [False, True], ids=["before", "after"])
def test_a_fan_out_that_crashed_anywhere_is_done_by_repeating_it(
    world: World, client: Client, bob: int, carol: int, effective: bool
) -> None:
    group = world.group(client.user, bob, carol)
    for at in range(1, MOST_CALLS):
        client.send([group], type=2)
        world.deliver(world.stream())
        jobs, crashing = world.jobs(), Crashing(at, effective)
        with suppress(Crash), tampered(crashing):
            world.fan_out(jobs)
        assert world.fan_out(jobs) == {"batchItemFailures": []}
        assert world.unread(bob) == world.unread(carol) == {group: at}
        if not crashing.crashed:
            assert at > 2
            return
    pytest.fail("a fan-out makes more calls than expected")


@pytest.mark.parametrize("effective", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("verb", "path"), [("GET", "/message/ack"), ("DELETE", "/message/conversation")], ids=["ack", "delete"])
def test_a_mark_that_crashed_anywhere_is_moved_by_repeating_it(
    world: World, client: Client, bob: int, verb: str, path: str, effective: bool
) -> None:
    token = world.token(bob)
    for at in range(1, MOST_CALLS):
        client.send([bob])
        world.drain()
        crashing = Crashing(at, effective)
        with suppress(Crash), tampered(crashing):
            world.http(verb, path, token, query={"conversation_id": client.user})
        assert world.call(verb, path, token, query={"conversation_id": client.user})["data"] is True
        assert world.unread(bob) == ({client.user: 0} if verb == "GET" else {})
        if not crashing.crashed:
            assert at > 2
            return
    pytest.fail("a request makes more calls than expected")

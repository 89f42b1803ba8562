"""A write takes effect, its reply is lost, and the SDK repeats it: nothing is done twice, and nobody is told that it failed."""

from typing import Any

import pytest

from messaging.base.errors import ApiError
from tests.faults.conftest import Client
from tests.faults.sdk import lost_reply, tampered
from tests.world import World


def repeated(world: World, client: Client, targets: list[int], **fields: Any) -> list[int]:
    with tampered(lost_reply):
        return client.send(targets, **fields)


@pytest.mark.parametrize("transaction_id", [None, 5], ids=["without a transaction_id", "with one"])
def test_a_send_is_stored_once(world: World, client: Client, bob: int, carol: int, transaction_id: int | None) -> None:
    assert repeated(world, client, [bob, carol], transaction_id=transaction_id, content="one") == [1, 1]
    assert repeated(world, client, [bob, carol], content="two") == [2, 2]
    assert world.contents(bob, client.user) == world.contents(carol, client.user) == ["one", "two"]


@pytest.mark.parametrize("transaction_id", [None, 5], ids=["without a transaction_id", "with one"])
def test_a_group_send_is_stored_once(world: World, client: Client, bob: int, transaction_id: int | None) -> None:
    group = world.group(client.user, bob)
    assert repeated(world, client, [group], type=2, transaction_id=transaction_id, content="one") == [1]
    assert world.contents(bob, group) == ["one"]


def test_a_reservation_that_moved_unheard_is_followed(world: World, client: Client, rival: Client) -> None:
    """Somebody else takes the reserved slot, and every reply is lost on the way to the next one."""
    overtaken: list[bool] = []

    def answer(operation: str, request: dict[str, Any], perform: Any) -> Any:
        if operation == "PutItem" and request["TableName"] == "Messages" and not overtaken:
            overtaken.append(True)
            rival.send([client.user], content="rival")
        return lost_reply(operation, request, perform)

    with tampered(answer):
        assert client.send([rival.user], content="mine", transaction_id=5) == [2]
    assert world.contents(rival.user, client.user) == ["rival", "mine"]
    assert client.send([rival.user], content="mine", transaction_id=5) == [2]


def test_deliveries_move_the_marks_once(world: World, client: Client, bob: int, carol: int) -> None:
    group = world.group(client.user, bob, carol)
    client.send([bob])
    client.send([group], type=2)
    with tampered(lost_reply):
        world.drain()
    assert world.unread(bob) == {client.user: 1, group: 1}
    assert world.unread(carol) == {group: 1}
    assert world.unread(client.user) == {bob: 0, group: 0}


@pytest.mark.parametrize("delivered", [True, False], ids=["delivered", "on the way"])
@pytest.mark.parametrize("msg_id", [0, 1])
def test_a_read_receipt_succeeds(world: World, client: Client, bob: int, msg_id: int, delivered: bool) -> None:
    client.send([bob])
    if delivered:
        world.drain()
    token = world.token(bob)
    with tampered(lost_reply):
        envelope = world.call("GET", "/message/ack", token, query={"conversation_id": client.user, "msg_id": msg_id})
    assert envelope["data"] is True
    world.drain()
    assert world.unread(bob) == {client.user: 0}


def test_a_delete_succeeds(world: World, client: Client, bob: int) -> None:
    client.send([bob])
    token = world.token(bob)
    with tampered(lost_reply):
        assert world.call("DELETE", "/message/conversation", token, query={"conversation_id": client.user})["data"] is True
    world.drain()
    assert world.unread(bob) == {}


def test_a_fetch_is_noted(world: World, client: Client, bob: int) -> None:
    client.send([bob])
    with tampered(lost_reply):
        world.history(bob, client.user)
    assert world.history(client.user, bob)["messages"][0]["status"] == "DELIVERED"


def test_leaving_ends_the_membership(world: World, client: Client, bob: int) -> None:
    group = world.group(client.user, bob)
    with tampered(lost_reply):
        world.leave(group, bob)
    client.send([group], type=2)
    world.drain()
    assert world.unread(bob) == {}
    with pytest.raises(ApiError):
        world.leave(group, bob)


def test_creating_a_user_creates_one(world: World) -> None:
    before = len(world.rows("Directory"))
    with tampered(lost_reply):
        world.user("alice")
    assert len(world.rows("Directory")) == before + 1


def test_creating_a_user_under_a_number_of_ones_own_succeeds(world: World) -> None:
    with tampered(lost_reply):
        assert world.user("alice", number=77) == 77


def test_creating_an_app_succeeds(world: World) -> None:
    with tampered(lost_reply):
        assert world.app("other") == "other"

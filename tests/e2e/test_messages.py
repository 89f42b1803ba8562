"""Messages over HTTP, all the way into everybody's list."""

import gzip
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import DELIVERED_S, FANNED_OUT_S, Api, Person, eventually

Make = Callable[[int], list[Person]]


def test_a_message_is_read_and_answered(api: Api, people: Make) -> None:
    alice, bob = people(2)
    assert api.send(alice.token, [bob.user_id], content="hi") == [1]
    assert [message["content"] for message in api.history(bob.token, alice.user_id)] == ["hi"]
    assert eventually(lambda: api.unread(bob.token), bool, DELIVERED_S) == {alice.user_id: 1}
    assert eventually(lambda: api.unread(alice.token), bool, DELIVERED_S) == {bob.user_id: 0}

    assert api.history(alice.token, bob.user_id)[0]["status"] == "DELIVERED"
    ack = api.call("GET", "/message/ack", bob.token, query={"conversation_id": alice.user_id, "msg_id": 1, "device_sn": 7})
    assert ack == {"code": 200, "data": True, "message": None}
    assert api.unread(bob.token) == {alice.user_id: 0}
    assert api.history(alice.token, bob.user_id)[0]["status"] == "READ"

    gone = api.call("DELETE", "/message/conversation", bob.token, query={"conversation_id": alice.user_id})
    assert gone == {"code": 200, "data": True, "message": None}
    assert (api.unread(bob.token), api.history(bob.token, alice.user_id)) == ({}, [])
    assert api.send(bob.token, [alice.user_id], content="again") == [2]
    assert [message["content"] for message in api.history(bob.token, alice.user_id)] == ["again"]
    assert [message["content"] for message in api.history(alice.token, bob.user_id)] == ["again", "hi"]
    assert eventually(lambda: api.unread(alice.token), lambda list_: list_ == {bob.user_id: 1}, DELIVERED_S) == {bob.user_id: 1}
    assert eventually(lambda: api.unread(bob.token), bool, DELIVERED_S) == {alice.user_id: 0}


def test_a_group_message_reaches_every_member(api: Api) -> None:
    demo = api.app()
    group, tokens = demo["groups"][0]["group_id"], [user["token"] for user in demo["users"][:3]]
    before = [api.unread(token).get(group, 0) for token in tokens]
    sent = [api.send(tokens[0], [group], type=2, content=str(n))[0] for n in range(3)]
    assert sent == list(range(sent[0], sent[0] + 3))
    for token, num in zip(tokens[1:], before[1:], strict=True):
        assert eventually(lambda: api.unread(token).get(group), lambda n: n == num + 3, FANNED_OUT_S) == num + 3  # noqa: B023
    assert api.unread(tokens[0]).get(group, 0) == before[0]
    outsider = demo["users"][3]["token"]
    assert api.call("GET", "/message/conversation", outsider, query={"opposite_id": group})["code"] == 20002


@pytest.mark.parametrize("verb", ["POST", "PUT"])
def test_the_system_speaks_in_its_own_conversation(api: Api, people: Make, verb: str) -> None:
    (bob,) = people(1)
    body = {"type": 1, "targets": [str(bob.user_id)], "content_type": 0, "content": "maintenance at noon"}
    envelope = api.call(verb, "/message/notify", api.app()["admin_token"], body=body)
    assert envelope == {"code": 200, "data": True, "message": None, "msg_ids": [1]}
    (message,) = api.history(bob.token, 0)
    assert (message["is_system"], message["from_xid"]["uid"], message["to_xid"]["uid"]) == (True, 0, bob.user_id)
    assert eventually(lambda: api.unread(bob.token), bool, DELIVERED_S) == {0: 1}


def test_eight_senders_at_once_leave_dense_numbers_and_lose_and_double_nothing(api: Api, people: Make) -> None:
    alice, bob = people(2)
    said = [[f"{name} {sender} {n}" for n in range(10)] for name in ("alice", "bob") for sender in range(4)]

    def talk(lines: list[str]) -> list[int]:
        who, other = (alice, bob) if lines[0].startswith("alice") else (bob, alice)
        return [api.send(who.token, [other.user_id], content=line)[0] for line in lines]

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(talk, said))
    assert sorted(number for each in numbers for number in each) == list(range(1, 81))
    assert all(each == sorted(each) for each in numbers)
    seen = api.history(bob.token, alice.user_id)
    assert seen == [{**message, "status": seen[at]["status"]} for at, message in enumerate(api.history(alice.token, bob.user_id))]
    assert [message["msg_id"] for message in seen] == list(range(80, 0, -1))
    by_number = {message["msg_id"]: message["content"] for message in seen}
    assert [[by_number[number] for number in each] for each in numbers] == said


def test_a_page_is_compressed_on_its_way_to_who_takes_gzip(api: Api, people: Make) -> None:
    alice, bob = people(2)
    for n in range(5):
        api.send(alice.token, [bob.user_id], content=f"Ünïcödé {n}")
    query, headers = {"opposite_id": bob.user_id}, {"app_id": "demo", "access-token": alice.token}
    plain = api.raw("GET", "/message/conversation", headers=headers, fields=query)
    packed = api.raw("GET", "/message/conversation", headers=headers | {"accept-encoding": "gzip"}, fields=query, decode_content=False)
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert len(packed.data) < len(plain.data)


def test_eight_repeats_at_once_are_one_message(api: Api, people: Make) -> None:
    alice, *friends = people(4)
    targets = [friend.user_id for friend in friends]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: api.send(alice.token, targets, content="once", transaction_id=-7), range(8)))
    assert replies == [[1, 1, 1]] * 8
    for friend in friends:
        assert [message["content"] for message in api.history(friend.token, alice.user_id)] == ["once"]


def test_five_hundred_targets_in_one_request(api: Api, people: Make) -> None:
    alice, *friends = people(501)
    targets = [friend.user_id for friend in friends]
    assert api.send(alice.token, targets, transaction_id=1) == [1] * 500
    assert api.send(alice.token, targets, transaction_id=1) == [1] * 500
    assert eventually(lambda: api.unread(friends[-1].token), bool, DELIVERED_S) == {alice.user_id: 1}


def test_what_was_sent_comes_back_byte_for_byte(api: Api, people: Make) -> None:
    alice, bob = people(2)
    parts = {
        "content": '😀 \u05e9\u05dc\u05d5\u05dd \u2028\u2029 \x00\x1f \\" </script> \u202e',
        "attachment": '{"b": 1,  "a":[1.50, 1e3]}\n',
        "config": " {} ",
        "ext": "",
    }
    api.send(alice.token, [bob.user_id], **parts)
    (message,) = api.history(bob.token, alice.user_id)
    assert {name: message[name] for name in parts} == parts


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/json"),
        (b"null", "application/json"),
        (b"[]", "text/plain"),
        (b"\xff\xfe{", "application/json"),
        (b"\xff\xfe{", "application/octet-stream"),
        (b'{"type": 1, "targets": [1001], "content": "\xff"}', "application/json"),
        (b'{"type": 1, "targets": [1001], "content": "\\ud800"}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"type": ' + b"9" * 5000 + b"}", "application/json"),
        (b'{"type": 1, "targets": [' + b"1," * 999_999 + b"1]}", "application/json"),
        (b'{"type": 1, "content": "' + b"x" * 7_000_000 + b'"}', "application/json"),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else None,
)
def test_hostile_bodies_are_refused(api: Api, body: bytes, content_type: str) -> None:
    alice = api.app()["users"][0]
    headers = {"app_id": "demo", "access-token": alice["token"], "content-type": content_type}
    reply = api.raw("POST", "/message/send", body=body, headers=headers)
    assert reply.status in (200, 413)
    assert json.loads(reply.data)["code"] in (10002, 12005, 50003)


def test_an_unknown_route_is_404(api: Api) -> None:
    assert api.raw("GET", "/message/nope").status == 404


def test_one_app_cannot_enter_another(api: Api) -> None:
    token = api.app("other")["admin_token"]
    assert api.call("GET", "/message/unread", token, "demo")["code"] == 10008
    assert api.call("GET", "/message/unread", token, "nobody")["code"] == 40000

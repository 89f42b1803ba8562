"""A large reply is compressed for who takes that; the same bytes come out."""

import base64
import gzip
import json
from typing import Any

import pytest

from tests.world import World

TAKEN = ["gzip", "deflate, gzip", "gzip, deflate, br", "br;q=1.0, gzip;q=0.8, *;q=0.1", "GZIP", "gzip ; q=0.001", "gzip;q=1"]
NOT_TAKEN = ["", "identity", "br", "x-gzip", "gzip;q=0", "gzip; q=0.000", "deflate, gzip;q=0, br", "gzipped", "*"]
PLAIN = {"statusCode", "headers", "body"}


def page(world: World, reader: int, other: int, accepted: str) -> dict[str, Any]:
    headers = {"accept-encoding": accepted}
    query = {"opposite_id": other, "limit": 50}
    return world.reply("GET", "/message/conversation", world.token(reader), query=query, headers=headers)


@pytest.fixture
def talked(world: World, alice: int, bob: int) -> World:
    for number in range(50):
        world.send(alice, [bob], content=f"{number}: ünïcödé and the usual eighty characters of somebody's everyday message, so so")
    return world


@pytest.mark.parametrize("accepted", TAKEN)
def test_who_takes_gzip_gets_the_same_reply_in_a_quarter_of_the_bytes(talked: World, alice: int, bob: int, accepted: str) -> None:
    plain, packed = page(talked, alice, bob, "identity"), page(talked, alice, bob, accepted)
    assert set(packed) == {*PLAIN, "isBase64Encoded"}
    assert packed["headers"] == plain["headers"] | {"content-encoding": "gzip"}
    assert packed["isBase64Encoded"] is True
    sent = base64.b64decode(packed["body"])
    assert gzip.decompress(sent).decode() == plain["body"]
    assert len(sent) <= len(plain["body"].encode()) / 4


@pytest.mark.parametrize("accepted", NOT_TAKEN)
def test_who_does_not_take_gzip_gets_plain_json(talked: World, alice: int, bob: int, accepted: str) -> None:
    reply = page(talked, alice, bob, accepted)
    assert set(reply) == PLAIN
    assert json.loads(reply["body"])["data"]["messages_size"] == 50


def test_a_small_reply_is_not_compressed(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    assert set(page(world, alice, bob, "gzip")) == PLAIN


def test_every_reply_says_that_it_depends_on_what_the_client_takes(world: World, alice: int, bob: int) -> None:
    assert page(world, alice, bob, "identity")["headers"]["vary"] == "accept-encoding"


def test_a_caller_without_http_gets_an_object(talked: World, alice: int, bob: int) -> None:
    reply = talked.direct("history", {"app_id": "demo", "user_id": alice, "query": {"opposite_id": bob, "limit": 50}})
    assert reply["data"]["messages_size"] == 50

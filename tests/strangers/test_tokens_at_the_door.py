"""Tokens through the real handlers: what a forger, a thief or somebody locked out is told, and when."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import boto3
import jwt
import pytest

from messaging.base import store
from messaging.people import directory
from messaging.people.directory import ADMINISTRATOR_ID
from messaging.people.models import ADMIN, USER
from ops import keyring
from tests import world as worlds
from tests.world import ENDPOINTS, World

MINUTE_S = 60
GOOD: dict[str, dict[str, Any]] = {
    "history": {"query": {"opposite_id": 0}},
    "forget": {"query": {"conversation_id": 0}},
    "ack": {"query": {"conversation_id": 0}},
    "unread": {},
}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def made(user: int, key: str, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token as anybody may make one: any header, any claims, any key."""
    now = time.time()
    head = {"alg": "HS256", "typ": "JWT", "kid": "k1.1"} | (header or {})
    payload = {"app": "demo", "sub": str(user), "role": ADMIN, "iat": now - 10, "exp": now + 3600} | claims
    signed = ".".join(b64(json.dumps(part).encode()) for part in (head, payload))
    return signed + "." + b64(hmac.new(key.encode(), signed.encode(), "sha256").digest())


def emptied(token: str) -> str:
    head, _, signature = token.split(".")
    return f"{head}..{signature}"


def asked(world: World, token: str) -> list[dict[str, Any]]:
    """What every endpoint replies, by every verb, to a request that is good but for its token."""
    body = {"type": 1, "targets": [ADMINISTRATOR_ID], "content": "hi"}
    requests = [partial(world.http, verb, path, token, **GOOD.get(name, {"body": body})) for (verb, path), name in ENDPOINTS.items()]
    return [json.loads(request()["body"]) for request in requests]


def codes(world: World, token: str) -> set[int]:
    return {envelope["code"] for envelope in asked(world, token)}


def keep(world: World, **keys: Any) -> None:
    """Puts other keys into the secret; `World.token` signs with the current one."""
    boto3.client("secretsmanager").put_secret_value(SecretId="TokenKeys", SecretString=json.dumps(keys))


# --- forgers


def test_every_forgery_is_refused_at_every_door_in_the_same_words(world: World) -> None:
    admin, key = ADMINISTRATOR_ID, world.key().value
    world.app("other")
    group, theirs = world.group(admin, number=7001), world.key("other").value
    world.user(app="other", number=7002)
    good = made(admin, key)
    head, payload, signature = good.split(".")
    forgeries = {
        "unsigned": made(admin, key, {"alg": "none"}).rpartition(".")[0] + ".",
        "signed by no algorithm": made(admin, key, {"alg": "nOnE"}),
        "another algorithm": jwt.encode(jwt.decode(good, key, ["HS256"]), key, "HS512", {"kid": "k1"}),
        "the algorithm of a public key": made(admin, key, {"alg": "RS256"}),
        "another key": made(admin, "1" * 64),
        "no key": made(admin, ""),
        "the name of the key": made(admin, "k1", {"kid": "current"}),
        "an unknown kid": made(admin, key, {"kid": "k2.1"}),
        "the stack's own key": made(admin, world.keys["k1"], {"kid": "k1"}),
        "the stack's own key for the app's": made(admin, world.keys["k1"]),
        "a key of the name of the current one": made(admin, world.key(kid="current", value="k1").value, {"kid": "current.1"}),
        "a generation that was never good": made(admin, world.key(generation=0).value, {"kid": "k1.0"}),
        "another app's key": made(admin, theirs),
        "another app's key for that app": made(admin, theirs, app="other"),
        "this app's key for another": made(admin, key, app="other"),
        "a path for a kid": made(admin, "", {"kid": "../../../../dev/null"}),
        "SQL for a kid": made(admin, "1", {"kid": "x' UNION SELECT '1"}),
        "a long kid": made(admin, key, {"kid": "k" * 2000}),
        "a kid that is no name": made(admin, key, {"kid": ["k1.1"]}),
        "critical": made(admin, key, {"crit": ["exp"]}),
        "somewhere else": emptied(made(admin, key, {"b64": False, "crit": ["b64"]})),
        "no expiry": made(admin, key, exp=None),
        "an expiry in words": made(admin, key, exp="never"),
        "from the future": made(admin, key, iat=time.time() + 3600),
        "not yet good": made(admin, key, nbf=time.time() + 3600),
        "beyond all time": made(admin, key, exp=10**400),
        "beyond all floats but one": made(admin, key, exp=1e308),
        "for longer than a year and a month": made(admin, key, exp=time.time() + 401 * 86400),
        "a revocation that is no number": made(admin, key, rev="1"),
        "for nobody": made(777777, key),
        "for nobody, as a user": made(777777, key, role=USER),
        "for a group's number": made(group, key),
        "for a group's number, as a user": made(group, key, role=USER),
        "for a user of another app": made(7002, key),
        "one part": head,
        "two parts": f"{head}.{payload}",
        "four parts": f"{good}.{signature}",
        "no part": ".",
        "10 KB": made(admin, key, filler="x" * 10_000),
        "whitespace": f"{head}. {payload}.{signature}",
        "another alphabet": f"{head}.{payload}.+/{signature[2:]}",
        "unicode": f"{head}.{payload}.é{signature[1:]}",
        "a scheme": f"Bearer {good}",
    }
    assert codes(world, good) == {200}
    before = world.snapshot()
    refusal = {"code": 10008, "data": None, "message": "access-token: invalid for this app"}
    for name, token in forgeries.items():
        assert [envelope for envelope in asked(world, token) if envelope != refusal] == [], name
    assert world.snapshot() == before


KEYS_BY_HEADER = {
    "jku": "https://attacker.example/keys.json",
    "x5u": "https://attacker.example/certificate.pem",
    "jwk": {"kty": "oct", "kid": "k1.1", "alg": "HS256", "k": b64(b"1" * 64)},
    "x5c": ["MIIB"],
    "x5t": "AAAA",
    "x5t#S256": "AAAA",
    "iss": "https://attacker.example",
}


def test_a_key_that_a_header_names_or_brings_along_is_never_looked_at(world: World, offline: list[str]) -> None:
    for name, value in KEYS_BY_HEADER.items():
        assert codes(world, made(ADMINISTRATOR_ID, world.key().value, {name: value})) == {200}  # rightly signed: the rest says nothing
        with world.calls() as calls:
            assert codes(world, made(ADMINISTRATOR_ID, "1" * 64, {name: value})) == {10008}
            assert codes(world, made(ADMINISTRATOR_ID, "1" * 64, {name: value, "kid": str(value)})) == {10008}
        assert {call.operation for call in calls} <= {"GetSecretValue"}  # for the unknown kid
    assert offline == []


# --- who is locked out


def test_a_revocation_shuts_every_door_within_a_minute(world: World, alice: int, later: Callable[[float], None]) -> None:
    key = world.key().value
    world.app("other")
    world.user(app="other", number=alice)
    old, others, elsewhere = made(alice, key), made(ADMINISTRATOR_ID, key), made(alice, world.key("other").value, app="other")
    assert codes(world, old) == codes(world, others) == {200}
    later(1)
    directory.revoke("demo", alice, time.time_ns() // 1_000_000)
    later(MINUTE_S)
    assert codes(world, old) == {402}
    assert codes(world, made(alice, key, iat=time.time())) == codes(world, others) == {200}
    assert world.call("GET", "/message/unread", elsewhere, app="other")["code"] == 200


def test_a_revocation_is_for_good(world: World, alice: int, later: Callable[[float], None]) -> None:
    old = made(alice, world.key().value, exp=time.time() + 10**6)
    directory.revoke("demo", alice, time.time_ns() // 1_000_000)
    for seconds in (MINUTE_S, 3600, 86400):
        later(seconds)
        assert codes(world, old) == {402}


def test_who_was_erased_or_disabled_is_shut_out_at_every_door_and_leaves_no_trace(world: World, alice: int, bob: int) -> None:
    store.update(directory.ref("demo", bob), {"disabled": True}, "attribute_exists(entity)")
    directory.erase("demo", alice, time.time_ns() // 1_000_000)
    before = world.snapshot()
    for user in (alice, bob):
        for role in (USER, ADMIN):
            assert codes(world, made(user, world.key().value, role=role)) == {402}
    assert world.snapshot() == before


def test_who_calls_comes_before_what_is_asked(world: World, alice: int) -> None:
    directory.erase("demo", alice, time.time_ns() // 1_000_000)
    for user, code in ((777777, 10008), (alice, 402)):
        token = made(user, world.key().value, role=USER)
        for (verb, path), name in ENDPOINTS.items():
            wrong: dict[str, Any] = {"query": {"limit": "x"}} if name in GOOD else {"body": {"targets": "x"}}
            for request in (wrong, {**wrong, "headers": {"user_id": "1"}}, {**wrong, "headers": {"group_id": "x"}}):
                assert world.call(verb, path, token, **request)["code"] == code, (name, request)


def test_nothing_is_written_for_who_is_shut_out_where_another_call_may_be_quicker(world: World, alice: int, bob: int) -> None:
    token = made(alice, world.key().value, role=USER)
    for number in range(3):
        world.send(bob, [alice], content=str(number))
    world.drain()
    directory.erase("demo", alice, time.time_ns() // 1_000_000)
    before = world.snapshot()
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "/message/ack", {"query": {"conversation_id": bob, "msg_id": 2}}),
        ("GET", "/message/ack", {"query": {"conversation_id": bob}}),
        ("GET", "/message/conversation", {"query": {"opposite_id": bob}}),
        ("DELETE", "/message/conversation", {"query": {"conversation_id": bob}}),
        ("POST", "/message/send", {"body": {"type": 1, "targets": [bob], "content": "hi", "transaction_id": 1}}),
    ]
    for verb, path, request in requests:
        worlds.cold()
        assert world.call(verb, path, token, **request)["code"] == 402
    assert world.snapshot() == before


HOURS_S = 11 * 3600


def _delete_app(world: World, user: int) -> None:
    for table, key in (directory.app_ref("demo"), directory.ref("demo", user)):
        store.dynamodb().delete_item(TableName=table, Key=store.pack(key))


def _retire_apps_key(world: World, user: int) -> None:
    keyring.rotate_app("demo")
    keyring.retire_app("demo")


CHANGES: dict[str, tuple[Callable[[World, int], object], int]] = {
    "revoked": (lambda world, user: directory.revoke("demo", user, time.time_ns() // 1_000_000), 402),
    "erased": (lambda world, user: directory.erase("demo", user, time.time_ns() // 1_000_000), 402),
    "the stack's key is retired": (lambda world, user: keep(world, current="k2", k2="2" * 64), 10008),
    "the app's key is retired": (_retire_apps_key, 10008),
    "the app is deleted": (_delete_app, 40000),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_container_that_was_frozen_for_hours_lets_nobody_in_who_is_locked_out(
    world: World, alice: int, later: Callable[..., None], change: str
) -> None:
    """On Lambda the monotonic clock stands still between two requests."""
    lock_out, code = CHANGES[change]
    token = made(alice, world.key().value, exp=time.time() + 7 * 86400)
    assert codes(world, token) == {200}
    lock_out(world, alice)
    assert codes(world, token) == {200}  # from memory
    later(HOURS_S, frozen=True)
    assert codes(world, token) == {code}


# --- keys that change


def test_a_new_key_signs_and_is_taken_at_once_and_the_old_one_goes_on(world: World, alice: int, later: Callable[[float], None]) -> None:
    old = world.token(alice, ADMIN)
    assert codes(world, old) == {200}
    later(6)  # an unknown kid was last looked for a while ago
    keep(world, current="k2", k1=world.keys["k1"], k2="2" * 64)
    new = world.token(alice, ADMIN)
    assert jwt.get_unverified_header(new)["kid"] == "k2.1"
    assert codes(world, new) == codes(world, old) == {200}
    later(MINUTE_S)
    assert codes(world, new) == codes(world, old) == {200}


def test_a_retired_key_opens_no_door_after_a_minute(world: World, alice: int, later: Callable[[float], None]) -> None:
    old = world.token(alice, ADMIN)
    assert codes(world, old) == {200}
    keep(world, current="k2", k2="2" * 64)
    later(MINUTE_S)
    assert codes(world, old) == {10008}
    assert codes(world, world.token(alice, ADMIN)) == {200}


def test_a_key_that_has_another_value_no_longer_opens_for_the_first_one(world: World, alice: int, later: Callable[[float], None]) -> None:
    old = world.token(alice, ADMIN)
    assert codes(world, old) == {200}
    keep(world, current="k1", k1="2" * 64)
    later(MINUTE_S)
    assert codes(world, old) == {10008}


def test_a_secret_of_another_shape_lets_nobody_in(world: World, alice: int, later: Callable[[float], None]) -> None:
    for secret in ("[]", '"k1"', "7", "null", "{", "{}", '{"k1": null}', '{"k1": ""}', '{"k1": 7}', '{"k1": ["k"]}', '{"k1": {}}'):
        boto3.client("secretsmanager").put_secret_value(SecretId="TokenKeys", SecretString=secret)
        later(MINUTE_S)
        for key in (world.key().value, world.keys["k1"], "", "7", "None", "null"):
            reply = world.http("GET", "/message/unread", made(alice, key))
            assert json.loads(reply["body"])["code"] in (10008, 20000, 50000), (secret, reply)

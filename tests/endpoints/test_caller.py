"""Who is calling: the headers, the tokens, direct invocation, and apps that never see each other."""

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import boto3
import jwt
import pytest

from messaging.base import store
from messaging.base.telemetry import alias
from messaging.people import directory
from messaging.people.directory import ADMINISTRATOR_ID
from messaging.people.models import ADMIN, USER
from tests.endpoints.refusals import assert_refused
from tests.world import ENDPOINTS, EVENTS, World

LARGEST = 2**53 - 1
NO_IDS = ["0", "-1", str(LARGEST + 1), "9" * 30, "x", "1.0", "1e3", "true", "0x1", "1,2", "١"]
QUERIES: dict[str, dict[str, Any]] = {
    "history": {"opposite_id": 0},
    "forget": {"conversation_id": 0},
    "ack": {"conversation_id": 0},
    "unread": {},
}


def _call(world: World, verb: str, path: str, token: str | None, target: int = ADMINISTRATOR_ID, **request: Any) -> dict[str, Any]:
    """A request that is good as far as its query or body goes."""
    name = ENDPOINTS[verb, path]
    good = {"query": QUERIES[name]} if name in QUERIES else {"body": {"type": 1, "targets": [target], "content": "hi"}}
    return world.call(verb, path, token, **good | request)


def _everywhere(world: World, token: str | None, **request: Any) -> list[Callable[[], dict[str, Any]]]:
    """The same request to every endpoint by every verb."""
    return [partial(_call, world, verb, path, token, **request) for verb, path in ENDPOINTS]


def _unread(world: World, token: str | None, **request: Any) -> dict[str, Any]:
    return world.call("GET", "/message/unread", token, **request)


def _as(number: object) -> dict[str, str]:
    return {"user_id": str(number)}


def _signed(world: World, user: int, key: str | None = None, algorithm: str = "HS256", kid: Any = "k1.1", **claims: Any) -> str:
    """A token as anybody might make one, by default one that is good; a claim of None is left out."""
    now = int(time.time())
    payload = {"app": "demo", "sub": str(user), "role": USER, "iat": now - 10, "exp": now + 600} | claims
    head = {} if kid is None else {"kid": kid}
    said = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(said, world.key().value if key is None else key, algorithm, head)


def _sender_of(world: World, reader: int, number: int) -> int:
    uid: int = world.history(reader, number)["messages"][0]["from_xid"]["uid"]
    return uid


# --- app_id


def test_an_app_is_required_and_has_to_exist(world: World) -> None:
    assert_refused(world, 10002, "app_id", *_everywhere(world, world.admin(), app=""))
    assert_refused(world, 40000, "app_id", *_everywhere(world, world.admin(), app="nowhere"))


@pytest.mark.parametrize("app", ["", "a" * 65, "a b", "a#b", "a.b", "ä", "demo,demo", "demo\0", "../demo", "demo\ndemo"])
def test_an_app_id_of_other_characters_or_length_is_refused(world: World, app: str) -> None:
    assert_refused(world, 10002, "app_id", lambda: _unread(world, world.admin(), app=app))


@pytest.mark.parametrize("app", ["a", "A-Z_a-z_0-9", "x" * 64, "-", "_", "0"])
def test_an_app_id_has_1_to_64_letters_digits_underscores_or_hyphens(world: World, app: str) -> None:
    world.app(app)
    assert _unread(world, world.admin(app), app=app)["code"] == 200


@pytest.mark.parametrize("token", [None, "", "rubbish"])
def test_an_unknown_app_is_told_before_the_token_is_looked_at(world: World, token: str | None) -> None:
    assert_refused(world, 40000, "nowhere", lambda: _unread(world, token, app="nowhere"))


def test_a_token_of_another_app_is_refused(world: World, alice: int) -> None:
    world.app("other")
    assert_refused(world, 10008, "access-token", lambda: _unread(world, world.token(alice), app="other"))


# --- access-token


def test_a_token_is_required(world: World) -> None:
    assert_refused(world, 10003, "access-token", *_everywhere(world, None), *_everywhere(world, ""))


def test_a_bad_token_is_refused_everywhere(world: World) -> None:
    forged = _signed(world, ADMINISTRATOR_ID, key="1" * 64, role=ADMIN)
    assert_refused(world, 10008, "access-token", *_everywhere(world, forged))


def test_an_expired_token_is_refused_everywhere_with_the_code_for_logging_in_again(world: World) -> None:
    assert_refused(world, 402, "expired", *_everywhere(world, world.token(ADMINISTRATOR_ID, ADMIN, lives_s=-1)))


def test_a_malformed_token_is_refused(world: World) -> None:
    malformed = ["rubbish", ".", "..", "a.b.c", "e30.e30.e30", "Bearer x", "ü.ü.ü", "\ud800", "\0", "x" * 10_000, "." * 5000]
    assert_refused(world, 10008, "access-token", *(partial(_unread, world, token) for token in malformed))


@pytest.mark.parametrize(
    ("claim", "wrong"),
    [
        ("app", [None, "other", "", ["demo"], 7]),
        ("sub", [None, "", "0", "-1", "x", "1.0", str(LARGEST + 1)]),
        ("role", [None, 0, 3, "2", [2], True]),
        ("iat", [None, "now", -1, True]),
        ("exp", [None, "never", [], True]),
    ],
)
def test_a_token_without_a_proper_claim_is_refused(world: World, alice: int, claim: str, wrong: list[Any]) -> None:
    tokens = [_signed(world, alice, **{claim: value}) for value in wrong]
    assert_refused(world, 10008, "access-token", *(partial(_unread, world, token) for token in tokens))


def test_a_token_whose_signature_does_not_hold_is_refused(world: World, alice: int) -> None:
    head, payload, signature = _signed(world, alice).split(".")
    _, admins, _ = _signed(world, alice, role=ADMIN).split(".")
    tampered = [f"{head}.{admins}.{signature}", f"{head}.{payload}.", f"{head}.{payload}", f"{head}.{payload}.{signature[:-4]}"]
    assert_refused(world, 10008, "access-token", *(partial(_unread, world, token) for token in tampered))


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("kid", [None, "", "k1", "k2", "k2.1", "k1.0", "k1.01", "k1.-1", "k1.", ".1", "current", "current.1"])
def test_a_token_whose_kid_names_no_signing_key_is_refused(world: World, alice: int, kid: str | None) -> None:
    of_its_name = world.key(kid="current", value="k1").value  # `current` names a key, it is none
    tokens = [_signed(world, alice, kid=kid, key=key) for key in (None, "k1", world.keys["k1"], of_its_name)]
    assert_refused(world, 10008, "access-token", *(partial(_unread, world, token) for token in tokens))


@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512"])
def test_any_algorithm_but_the_configured_one_is_refused(world: World, alice: int, algorithm: str) -> None:
    token = _signed(world, alice, key="" if algorithm == "none" else None, algorithm=algorithm)
    assert_refused(world, 10008, "access-token", lambda: _unread(world, token))


def test_a_bad_token_that_has_also_expired_is_a_bad_token(world: World, alice: int) -> None:
    past: dict[str, Any] = {"iat": 1, "exp": 2}
    bad = [
        _signed(world, alice, key="1" * 64, **past),
        _signed(world, alice, app="other", **past),
        _signed(world, alice, kid="k2.1", **past),
    ]
    assert_refused(world, 10008, "access-token", *(partial(_unread, world, token) for token in bad))


def test_a_token_expires_at_its_time(world: World, alice: int, later: Callable[[float], None]) -> None:
    token = world.token(alice, lives_s=60)
    assert _unread(world, token)["code"] == 200
    later(60)
    assert_refused(world, 402, "expired", lambda: _unread(world, token))


def test_a_revocation_takes_effect_within_a_minute(world: World, alice: int, bob: int, later: Callable[[float], None]) -> None:
    old, others = world.token(alice), world.token(bob)
    assert _unread(world, old)["code"] == 200
    later(1)
    directory.revoke("demo", alice, time.time_ns() // 1_000_000)
    later(59)
    assert_refused(world, 402, "revoked", lambda: _unread(world, old))
    assert _unread(world, world.token(alice))["code"] == 200
    assert _unread(world, others)["code"] == 200


def test_keys_rotate_without_a_break(world: World, alice: int) -> None:
    old = world.token(alice)
    assert _unread(world, old)["code"] == 200
    keys = world.keys | {"current": "k2", "k2": "2" * 64}
    boto3.client("secretsmanager").put_secret_value(SecretId="TokenKeys", SecretString=json.dumps(keys))
    new = world.key(kid="k2", value=keys["k2"])
    for token in (_signed(world, alice, key=new.value, kid=new.kid), world.token(alice), old):
        assert _unread(world, token)["code"] == 200


def test_a_token_may_live_as_long_as_the_setting_says(world: World, alice: int) -> None:
    now = int(time.time())
    for seconds, code in ((400 * 86400, 200), (400 * 86400 + 1, 10008), (1e308, 10008), (1e9, 10008)):
        assert _unread(world, _signed(world, alice, iat=now, exp=now + seconds))["code"] == code


def test_a_token_for_nobody_or_for_a_groups_number_is_refused_everywhere_and_leaves_no_trace(world: World, alice: int) -> None:
    group = world.group(alice)
    for number in (777777, group):
        for role in (USER, ADMIN):
            assert_refused(world, 10008, "access-token", *_everywhere(world, _signed(world, number, role=role)))
    assert directory.what_is("demo", group) == "group"


def test_a_user_who_is_disabled_has_to_log_in_again_and_still_gets_messages(world: World, alice: int, bob: int) -> None:
    store.update(directory.ref("demo", alice), {"disabled": True}, "attribute_exists(entity)")
    for role in (USER, ADMIN):
        assert_refused(world, 402, "access-token", *_everywhere(world, _signed(world, alice, role=role)))
    world.send(bob, [alice])
    world.drain()
    assert len(_unread(world, world.admin(), headers=_as(alice))["data"]) == 1  # an administrator may act for them


def test_an_admins_token_is_refused_once_the_admin_is_whoever_it_acts_for(world: World, alice: int, bob: int) -> None:
    token = _signed(world, alice, role=ADMIN)
    directory.erase("demo", alice, time.time_ns() // 1_000_000)
    assert_refused(world, 402, "access-token", *_everywhere(world, token, headers=_as(bob)))
    assert_refused(world, 402, "access-token", *_everywhere(world, token, headers=_as(777777)))


# --- how headers are spelled


ALIASES = {"app_id": "app-id", "user_id": "user-id", "group_id": "group-id"}


def _headers_only(world: World, **headers: str) -> dict[str, Any]:
    """A request for the list with exactly these headers of ours."""
    event = json.loads((EVENTS / "unread.http.json").read_text())
    event["headers"] = {name: value for name, value in event["headers"].items() if name not in (*ALIASES, "access-token")} | headers
    return dict(json.loads(world.direct("unread", event)["body"]))


def test_headers_are_understood_with_hyphens_too(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.drain()
    for app, user in (("app_id", "user_id"), ("app-id", "user-id"), ("App-Id", "USER-ID"), ("app_id", "user-id")):
        told = _headers_only(world, **{app: "demo", user: str(bob), "access-token": world.admin()})
        assert [entry["conversation_id"]["uid"] for entry in told["data"]] == [alice]
    group = world.group(alice)
    for name in ("group_id", "group-id"):
        assert _headers_only(world, **{"app_id": "demo", "access-token": world.admin(), name: str(group)})["code"] == 200
        assert _headers_only(world, **{"app_id": "demo", "access-token": world.token(alice), name: str(group)})["code"] == 10010
        assert _headers_only(world, **{"app_id": "demo", "access-token": world.admin(), name: "777777"})["code"] == 20001


@pytest.mark.parametrize(("name", "alias"), ALIASES.items())
def test_both_spellings_of_a_header_are_one_value_or_refused(world: World, alice: int, bob: int, name: str, alias: str) -> None:
    group, other = world.group(alice), world.group(alice)
    good = {"app_id": "demo", "access-token": world.admin()}
    value, differs = {"app_id": ("demo", "other"), "user_id": (str(alice), str(bob)), "group_id": (str(group), str(other))}[name]
    assert _headers_only(world, **good | {name: value, alias: value})["code"] == 200
    for one, two in ((value, differs), (differs, value)):
        told = _headers_only(world, **good | {name: one, alias: two})
        assert told["code"] == 10002
        assert name in told["message"]


@pytest.mark.parametrize("name", ["user_id", "group_id", "user-id", "group-id"])
@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_header_counts_as_absent(world: World, alice: int, name: str, empty: str) -> None:
    for token in (world.admin(), world.token(alice)):
        assert _unread(world, token, headers={name: empty})["code"] == 200
    for spelled in ("user_id", "user-id"):  # beside the other spelling too
        assert _unread(world, world.token(alice), headers={"user_id": "", "user-id": "", spelled: str(alice)})["code"] == 200


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   "])
def test_a_bearer_token_is_as_good_as_an_access_token(world: World, alice: int, scheme: str) -> None:
    world.send(alice, [alice])
    world.drain()
    for spelled in ("authorization", "Authorization"):
        assert len(_headers_only(world, **{"app_id": "demo", spelled: scheme + world.token(alice)})["data"]) == 1


def test_the_access_token_wins_over_a_bearer_token(world: World, alice: int) -> None:
    good = world.token(alice)
    assert _unread(world, good, headers={"authorization": "Bearer rubbish"})["code"] == 200
    assert _unread(world, "rubbish", headers={"authorization": f"Bearer {good}"})["code"] == 10008
    assert _unread(world, "", headers={"authorization": f"Bearer {good}"})["code"] == 200


def test_an_authorization_of_another_scheme_is_no_token(world: World, alice: int) -> None:
    good = world.token(alice)
    for value in ("", "Bearer", "Bearer ", f"Basic {good}", good, f"Bearer{good}", f"Token {good}"):
        assert _unread(world, None, headers={"authorization": value})["code"] == 10003, value
    assert _unread(world, None, headers={"authorization": f"Bearer {good[:-3]}"})["code"] == 10008


# --- what the log tells of who asks


def _told(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    said = vars(caplog.records[-1])
    return {name: said.get(name) for name in ("via", "app", "kid", "role", "user", "code")}


def test_a_log_line_tells_who_asked_and_how(world: World, alice: int, bob: int, caplog: pytest.LogCaptureFixture) -> None:
    names = {user: alias(directory.app("demo")["nonce"], user) for user in (alice, bob, ADMINISTRATOR_ID)}
    assert len(set(names.values())) == 3
    _unread(world, world.token(alice))
    by_alice = {"via": "http", "app": "demo", "kid": "k1.1", "role": USER, "user": names[alice], "code": 200}
    assert _told(caplog) == by_alice
    _unread(world, world.admin(), headers=_as(bob))
    assert _told(caplog) == by_alice | {"role": ADMIN, "user": names[bob]}
    world.direct("unread", {"app_id": "demo", "user_id": bob})
    assert _told(caplog) == {"via": "direct", "app": "demo", "kid": None, "role": None, "user": names[bob], "code": 200}
    world.direct("unread", {"app_id": "demo"})
    assert _told(caplog)["user"] == names[ADMINISTRATOR_ID]


def test_a_log_line_of_a_refusal_tells_as_much_as_is_certain(world: World, alice: int, caplog: pytest.LogCaptureFixture) -> None:
    user, nobody = alias(directory.app("demo")["nonce"], alice), dict.fromkeys(("via", "app", "kid", "role", "user"))
    known: list[tuple[Callable[[], object], dict[str, Any]]] = [
        (lambda: _unread(world, None, app="nowhere"), {"code": 40000}),
        (lambda: _unread(world, None), {"code": 10003, "app": "demo"}),
        (lambda: _unread(world, _signed(world, alice, kid="not-one-of-ours.1")), {"code": 10008, "app": "demo"}),
        (lambda: _unread(world, _signed(world, alice, key="1" * 64)), {"code": 10008, "app": "demo", "kid": "k1.1"}),
        (lambda: _unread(world, world.token(alice, lives_s=-1)), {"code": 402, "app": "demo", "kid": "k1.1", "role": 1, "user": user}),
        (
            lambda: _unread(world, world.token(alice), headers=_as(5)),
            {"code": 10010, "app": "demo", "kid": "k1.1", "role": 1, "user": user},
        ),
    ]
    for ask, certain in known:
        ask()
        assert _told(caplog) == nobody | {"via": "http"} | certain
    world.direct("unread", {"app_id": "nowhere"})
    assert _told(caplog) == nobody | {"via": "direct", "code": 40000}


# --- user_id


def test_an_admin_acts_as_the_user_it_names(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.drain()
    call = partial(world.call, token=world.admin(), headers=_as(bob))
    assert [entry["num"] for entry in call("GET", "/message/unread")["data"]] == [1]
    assert call("GET", "/message/conversation", query={"opposite_id": alice})["data"]["messages_size"] == 1
    assert call("GET", "/message/ack", query={"conversation_id": alice})["data"] is True
    assert world.num(bob, alice) == 0
    assert call("DELETE", "/message/conversation", query={"conversation_id": alice})["data"] is True
    assert world.unread(bob) == {}


@pytest.mark.parametrize("verb", ["POST", "PUT"])
def test_an_admin_sends_as_the_user_it_names(world: World, alice: int, bob: int, verb: str) -> None:
    _call(world, verb, "/message/send", world.admin(), target=bob, headers=_as(alice))
    assert _sender_of(world, bob, alice) == alice


def test_an_admin_that_names_no_user_of_the_app_is_refused(world: World, alice: int) -> None:
    group = world.group(alice)
    for number in (777777, group):
        assert_refused(world, 10000, number, *_everywhere(world, world.admin(), headers=_as(number)))


def test_a_user_acts_for_itself_only(world: World, alice: int, bob: int) -> None:
    for number in (bob, 777777):
        assert_refused(world, 10010, "", *_everywhere(world, world.token(alice), headers=_as(number)))


def test_a_user_may_name_itself(world: World, alice: int, bob: int) -> None:
    world.send(bob, [alice])
    world.drain()
    assert len(_unread(world, world.token(alice), headers=_as(alice))["data"]) == 1


@pytest.mark.parametrize("header", ["user_id", "group_id"])
def test_an_id_in_a_header_that_is_none_is_refused_by_name(world: World, alice: int, header: str) -> None:
    requests = [partial(_unread, world, token, headers={header: text}) for text in NO_IDS for token in (world.admin(), world.token(alice))]
    assert_refused(world, 10002, header, *requests)


# --- group_id


def test_a_user_may_not_name_a_group(world: World, alice: int) -> None:
    own = world.group(alice)
    for number in (own, 777777):
        assert_refused(world, 10010, "group_id", *_everywhere(world, world.token(alice), headers={"group_id": str(number)}))


def test_an_admin_that_names_no_group_of_the_app_is_refused(world: World, alice: int) -> None:
    for number in (777777, alice):
        assert_refused(world, 20001, number, *_everywhere(world, world.admin(), headers={"group_id": str(number)}))


@pytest.mark.parametrize("verb", ["POST", "PUT"])
def test_an_admin_with_group_id_sends_into_the_group_without_membership(world: World, alice: int, bob: int, verb: str) -> None:
    group = world.group(alice, bob)
    body = {"type": 2, "targets": [group], "content": "hi"}
    assert world.call(verb, "/message/send", world.admin(), body=body, headers={"group_id": str(group)})["msg_ids"] == [1]
    world.drain()
    assert _sender_of(world, alice, group) == ADMINISTRATOR_ID
    assert world.unread(alice) == world.unread(bob) == {group: 1}


def test_group_id_gives_rights_in_that_group_only(world: World, alice: int) -> None:
    group, other = world.group(alice), world.group(alice)
    body = {"type": 2, "targets": [group, other], "content": "hi"}
    call = partial(world.call, "POST", "/message/send", world.admin(), body=body)
    assert_refused(world, 20002, other, lambda: call(headers={"group_id": str(group)}))


def test_an_admin_without_group_id_is_no_member(world: World, alice: int) -> None:
    group = world.group(alice)
    body = {"type": 2, "targets": [group], "content": "hi"}
    assert_refused(world, 20002, group, lambda: world.call("POST", "/message/send", world.admin(), body=body))


# --- who sends


@pytest.mark.parametrize("verb", ["POST", "PUT"])
def test_an_admin_that_names_no_sender_sends_as_the_administrator(world: World, bob: int, verb: str) -> None:
    assert _call(world, verb, "/message/send", world.admin(), target=bob)["code"] == 200
    assert _sender_of(world, bob, ADMINISTRATOR_ID) == ADMINISTRATOR_ID


def test_the_sender_goes_before_the_acting_user(world: World, alice: int, bob: int, carol: int) -> None:
    body = {"type": 1, "targets": [bob], "content": "hi", "from_user_id": alice}
    world.call("POST", "/message/send", world.admin(), body=body, headers=_as(carol))
    assert _sender_of(world, bob, alice) == alice


def test_an_admin_may_send_to_a_group_in_the_name_of_a_member(world: World, alice: int, bob: int) -> None:
    group = world.group(alice)
    body: dict[str, Any] = {"type": 2, "targets": [group], "content": "hi"}
    call = partial(world.call, "POST", "/message/send", world.admin())
    assert call(body=body | {"from_user_id": alice})["msg_ids"] == [1]
    assert_refused(world, 20002, group, lambda: call(body=body | {"from_user_id": bob}))


def test_an_unknown_sender_is_refused(world: World, alice: int, bob: int) -> None:
    group = world.group(alice)
    body: dict[str, Any] = {"type": 1, "targets": [bob], "content": "hi"}
    for number in (777777, group):
        request = partial(world.call, "POST", "/message/send", world.admin(), body=body | {"from_user_id": number})
        assert_refused(world, 10000, number, request)


@pytest.mark.parametrize("verb", ["POST", "PUT"])
def test_a_user_sends_as_itself_only(world: World, alice: int, bob: int, verb: str) -> None:
    assert world.post(alice, [bob], verb=verb, from_user_id=alice)["code"] == 200
    assert_refused(world, 10010, "from_user_id", *(partial(world.post, alice, [bob], verb=verb, from_user_id=u) for u in (bob, 777777)))


# --- direct invocation


@pytest.mark.parametrize("name", sorted(set(ENDPOINTS.values())))
def test_a_direct_event_gets_the_envelope_as_a_plain_object(world: World, name: str) -> None:
    members = [world.user(number=number) for number in (1001, 1002)]
    world.group(*members, number=1005)
    event = json.loads((EVENTS / f"{name}.direct.json").read_text())
    reply = world.direct(name, event)
    assert {"code", "data", "message"} <= set(reply) <= {"code", "data", "message", "msg_ids", "next_cursor"}
    assert (reply["code"], reply["message"]) == (200, None)
    assert json.loads(json.dumps(reply)) == reply


def test_a_direct_event_acts_as_the_administrator(world: World, bob: int) -> None:
    event = {"app_id": "demo", "body": {"type": 1, "targets": [bob], "content": "hi"}}
    assert world.direct("send", event) == {"code": 200, "data": True, "message": None, "msg_ids": [1]}
    assert _sender_of(world, bob, ADMINISTRATOR_ID) == ADMINISTRATOR_ID


def test_a_direct_event_acts_as_the_user_it_names(world: World, alice: int, bob: int) -> None:
    event = {"app_id": "demo", "user_id": alice, "body": {"type": 1, "targets": [bob], "content": "hi"}}
    assert world.direct("send", event) == {"code": 200, "data": True, "message": None, "msg_ids": [1]}
    assert _sender_of(world, bob, alice) == alice


@pytest.mark.parametrize("name", ["send", "notify", "history", "forget", "ack", "unread"])
def test_a_direct_event_that_names_no_user_of_the_app_is_refused(world: World, name: str) -> None:
    body = {"type": 1, "targets": [ADMINISTRATOR_ID], "content": "hi"}
    event = {"app_id": "demo", "user_id": 777777, "query": QUERIES.get(name, {}), "body": body}
    assert_refused(world, 10000, 777777, lambda: world.direct(name, event))


def test_a_direct_event_has_an_admins_rights(world: World, alice: int, bob: int) -> None:
    group = world.group(alice)
    notify = {"app_id": "demo", "body": {"type": 1, "targets": [bob], "content": "news"}}
    assert world.direct("notify", notify)["code"] == 200
    into = {"app_id": "demo", "group_id": group, "body": {"type": 2, "targets": [group], "content": "hi"}}
    assert world.direct("send", into)["code"] == 200
    read = {"app_id": "demo", "group_id": group, "query": {"opposite_id": group}}
    assert world.direct("history", read)["data"]["messages_size"] == 1


def test_a_direct_event_may_hold_numbers_or_strings(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    for query in ({"opposite_id": alice, "limit": 1}, {"opposite_id": str(alice), "limit": "1"}):
        assert world.direct("history", {"app_id": "demo", "user_id": str(bob), "query": query})["data"]["messages_size"] == 1


@pytest.mark.parametrize(
    ("code", "naming", "fields"),
    [
        (10002, "app_id", {"app_id": None}),
        (10002, "app_id", {"app_id": 7}),
        (10002, "app_id", {"app_id": "a#b"}),
        (40000, "nowhere", {"app_id": "nowhere"}),
        (10002, "user_id", {"user_id": True}),
        (10002, "user_id", {"user_id": 1.0}),
        (10002, "user_id", {"user_id": -1}),
        (10002, "user_id", {"user_id": LARGEST + 1}),
        (10000, "777777", {"user_id": 777777}),
        (10002, "group_id", {"group_id": "x"}),
        (20001, "777777", {"group_id": 777777}),
        (10002, "query", {"query": []}),
        (10002, "query", {"query": "limit=5"}),
        (10002, "limit", {"query": {"limit": 0}}),
        (10002, "limit", {"query": {"limit": True}}),
        (10002, "limit", {"query": {"limit": 1.0}}),
    ],
)
def test_a_wrong_direct_event_is_refused_by_name(world: World, code: int, naming: str, fields: dict[str, Any]) -> None:
    assert_refused(world, code, naming, lambda: world.direct("unread", {"app_id": "demo"} | fields))


def test_an_event_that_names_no_app_is_refused(world: World) -> None:
    events: list[Any] = [None, [], "demo", 7, {}, {"Records": []}]
    names = sorted(set(ENDPOINTS.values()))
    assert_refused(world, 10002, "app_id", *(partial(world.direct, name, event) for event in events for name in names))


def test_an_http_request_cannot_pass_for_a_direct_one(world: World, alice: int) -> None:
    body = {"app_id": "demo", "user_id": alice, "body": {"type": 1, "targets": [alice], "content": "hi"}}
    assert_refused(world, 10003, "access-token", lambda: world.call("POST", "/message/send", None, body=body))
    assert_refused(world, 10003, "access-token", lambda: _unread(world, None, query={"app_id": "demo", "user_id": alice}))


# --- apps


@pytest.fixture
def twins(world: World) -> tuple[int, int, int]:
    """Two users and a group that have the same numbers in two apps."""
    world.app("other")
    for app in ("demo", "other"):
        for number in (7001, 7002):
            world.user(app=app, number=number)
        world.group(7001, 7002, app=app, number=7003)
    return 7001, 7002, 7003


def test_nothing_of_one_app_is_visible_in_another(world: World, twins: tuple[int, int, int]) -> None:
    one, two, group = twins
    world.send(one, [two])
    world.say(one, group)
    world.drain()
    assert world.unread(two) == {group: 1, one: 1}
    assert world.unread(two, app="other") == {}
    assert world.contents(two, one, app="other") == world.contents(two, group, app="other") == []
    assert world.ack(two, one, app="other", msg_id=1)["code"] == 50001


def test_nothing_in_one_app_is_changed_from_another(world: World, twins: tuple[int, int, int]) -> None:
    one, two, group = twins
    world.send(one, [two])
    world.say(one, group)
    world.drain()
    for number in (one, group):
        world.ack(two, number, app="other")
        world.forget(two, number, app="other")
    assert world.send(one, [two], app="other") == world.send(one, [group], type=2, app="other") == [1]
    world.drain()
    assert world.unread(two) == {group: 1, one: 1}


def test_users_and_groups_of_another_app_do_not_exist(world: World, alice: int) -> None:
    world.app("other")
    stranger = world.user(app="other", number=8001)
    group = world.group(stranger, app="other", number=8002)
    assert_refused(world, 10000, stranger, lambda: world.post(alice, [stranger]))
    assert_refused(world, 20001, group, lambda: world.post(alice, [group], type=2))
    assert_refused(world, 10000, stranger, lambda: _unread(world, world.admin(), headers=_as(stranger)))
    assert_refused(world, 20001, group, lambda: _unread(world, world.admin(), headers={"group_id": str(group)}))


def test_an_admin_of_one_app_is_nobody_in_another(world: World) -> None:
    world.app("other")
    assert_refused(world, 10008, "access-token", lambda: _unread(world, world.admin("other"), app="demo"))

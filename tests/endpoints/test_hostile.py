"""Input that nobody sends by accident: refused with a reason or taken as it is, never a fault of ours, never a trace."""

import base64
import json
import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import jwt
import pytest

from tests.endpoints.refusals import assert_refused
from tests.world import World

FIELDS = ("content", "attachment", "config", "ext")
MEGABYTE = 1024 * 1024
STRANGE_TEXTS = {
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪",
    "right to left": "שלום \u202eevil\u202c مرحبا",
    "separators": "a\u2028b\u2029c\u0085d\x0b\x0c",
    "NUL": "\0 before and \0 after \0",
    "every control character": "".join(map(chr, range(0x20))) + "\x7f",
    "not normalised": "é e\u0301 \u212b \ufb01",
    "noncharacters": "\ufffe\uffff\U0010ffff\ufdd0",
    "byte order mark": "\ufeffhi\ufeff",
    "replacement character": "\ufffd",
    "json": '{"a" : 1.0,\t"b":[ 1e400 , NaN ],"a":"\\u0041\\/"}\r\n',
    "escapes": "\\u0000 \\ \" ' </script> %00 ${jndi:x} {{7*7}}",
    "spaces": " \t\r\n\u00a0\u3000",
}


@pytest.fixture(autouse=True)
def _no_fault(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever comes in, nothing is logged as an error, and so no traceback."""
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


def _raw(world: World, alice: int, raw: str | bytes, verb: str = "POST", **request: Any) -> dict[str, Any]:
    """A send of exactly this body; of bytes as the gateway hands them over for a content type that it does not know."""
    if isinstance(raw, bytes):
        raw, request = base64.b64encode(raw).decode(), {"base64": True, **request}
    return world.call(verb, "/message/send", world.token(alice), raw=raw, **request)


def _body(bob: int, more: str = "") -> str:
    return f'{{"type": 1, "targets": [{bob}], "content": "hi"{more}}}'


# --- bodies


def test_a_replacement_in_what_is_ignored_is_no_fault(world: World, alice: int, bob: int) -> None:
    bodies = [_body(bob, more) for more in (', "\\ud800": "\ufffd"', ', "\ufffd": 1', ', "unknown": ["\ufffd"]')]
    assert {_raw(world, alice, body)["code"] for body in bodies} <= {200, 10002}
    assert_refused(world, 10002, "", partial(_raw, world, alice, "\ufffd"), partial(_raw, world, alice, '{"\\ud800": "\ufffd"}'))


@pytest.mark.parametrize("field", ["transaction_id", "from_user_id"])
def test_a_number_beyond_every_range_is_refused_by_name(world: World, alice: int, bob: int, field: str) -> None:
    numbers = ["1e400", "-1e400", "1e-400", "9" * 20, "9" * 400, "-" + "9" * 400]
    bodies = [_body(bob, f', "{field}": {number}') for number in numbers]
    assert_refused(world, 10002, field, *(partial(_raw, world, alice, body) for body in bodies))


def test_an_integer_of_5000_digits_is_refused(world: World, alice: int, bob: int) -> None:
    digits = "9" * 5000
    bodies = [_body(bob, f', "{field}": {digits}') for field in ("transaction_id", "unknown")] + [
        _body(int("1" * 10)).replace("1" * 10, digits)
    ]
    assert_refused(world, 10002, "", *(partial(_raw, world, alice, body) for body in bodies))


@pytest.mark.parametrize("text", ["x", "\ufffd"], ids=["plain", "replaced by the gateway"])
def test_nesting_as_deep_as_can_just_be_read_is_no_fault(world: World, alice: int, text: str) -> None:
    bodies = ['{"unknown": ' + "[" * depth + f'"{text}"' + "]" * depth + "}" for depth in range(800, 1000)]
    assert_refused(world, 10002, "", *(partial(_raw, world, alice, body) for body in bodies))


def test_a_million_targets_are_too_many(world: World, alice: int) -> None:
    million = ",".join(map(str, range(10_000, 1_010_000)))
    repeated = ",".join(["1001"] * 1_000_000)
    bodies = [f'{{"type": 1, "targets": [{targets}], "content": "hi"}}' for targets in (repeated, million[:5_000_000].rpartition(",")[0])]
    assert_refused(world, 12005, "targets", *(partial(_raw, world, alice, body) for body in bodies))


@pytest.mark.parametrize("encoded", [False, True])
def test_seven_megabytes_are_refused_as_too_large_a_request(world: World, alice: int, bob: int, encoded: bool) -> None:
    raw = _body(bob, f', "unknown": "{"x" * 7 * MEGABYTE}"')
    before = world.snapshot()
    text = base64.b64encode(raw.encode()).decode() if encoded else raw
    reply = world.http("POST", "/message/send", world.token(alice), raw=text, base64=encoded)
    envelope = json.loads(reply["body"])
    assert (reply["statusCode"], envelope["code"], envelope["data"]) == (413, 50003, None)
    assert world.snapshot() == before


def test_much_that_is_ignored_does_no_harm(world: World, alice: int, bob: int) -> None:
    assert _raw(world, alice, _body(bob, f', "unknown": "{"x" * 3 * MEGABYTE}"'))["msg_ids"] == [1]


def test_any_content_type_will_do(world: World, alice: int, bob: int) -> None:
    for content_type in ["application/json; charset=latin-1", "text/plain", "application/octet-stream", "image/png", "", "\0", "x" * 5000]:
        headers = {"content-type": content_type}
        assert _raw(world, alice, _body(bob), headers=headers)["code"] == 200
        assert _raw(world, alice, _body(bob).encode(), headers=headers)["code"] == 200
    assert world.contents(bob, alice) == ["hi"] * 14


# --- texts


@pytest.mark.parametrize("text", STRANGE_TEXTS.values(), ids=STRANGE_TEXTS)
def test_every_text_comes_back_byte_for_byte(world: World, alice: int, bob: int, text: str) -> None:
    fields = {name: f"{name} {text}" for name in FIELDS}
    body = {"type": 1, "targets": [bob], **fields}
    assert _raw(world, alice, json.dumps(body), "POST")["msg_ids"] == [1]
    assert _raw(world, alice, json.dumps(body, ensure_ascii=False).encode(), "PUT")["msg_ids"] == [2]
    for message in world.history(bob, alice)["messages"]:
        assert {name: message[name] for name in FIELDS} == fields


def test_a_lone_surrogate_in_what_is_ignored_does_no_harm(world: World, alice: int, bob: int) -> None:
    body = {"type": 1, "targets": [bob], "content": "hi", "\ud800": "\udfff"}
    assert _raw(world, alice, json.dumps(body))["code"] in (200, 10002)
    assert world.direct("send", {"app_id": "demo", "\ud800": 1, "body": body})["code"] in (200, 10002)


def test_the_message_of_a_refusal_repeats_nothing_of_the_input(world: World, alice: int) -> None:
    secret = "s3cr3t"
    bodies: list[Any] = [{"type": secret}, {"targets": [secret]}, {"type": 1, "targets": secret}, {secret: {}}, [secret], secret]
    raws = [json.dumps(body) for body in bodies] + [secret, f'{{"{secret}": {secret}}}', f'{{"{secret}": 1, "{secret}": 2}}']
    for raw in raws:
        assert secret not in _raw(world, alice, raw)["message"]


# --- queries and headers


def test_padded_headers_count_without_their_padding(world: World, alice: int) -> None:
    headers = {"app_id": "  demo\t", "user_id": f" {alice} "}
    assert world.call("GET", "/message/unread", f" {world.token(alice)} ", headers=headers)["code"] == 200


def test_names_of_headers_are_not_case_sensitive(world: World, alice: int) -> None:
    headers = {"Access-Token": world.token(alice), "USER_ID": str(alice)}
    assert world.call("GET", "/message/unread", None, headers=headers)["code"] == 200


def test_a_token_made_of_hostile_json_is_refused(world: World) -> None:
    parts = [b"[" * 3000, b'{"a":' * 600, b'{"kid":' + b"[" * 2900, b'{"alg":"HS256","kid":{}}', b'{"alg":[],"kid":"k1"}', b"9" * 3000]
    encoded = [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in [*parts, b'{"kid":"\\ud800"}', b"\xff"]]
    tokens = [token for part in encoded for token in (f"{part}.e30.AAAA", f"e30.{part}.AAAA", f"e30.e30.{part}")]
    assert_refused(world, 10008, "access-token", *(partial(world.call, "GET", "/message/unread", token) for token in tokens))


def test_a_signed_token_made_of_hostile_json_is_refused(world: World) -> None:
    payloads = ['{"app":' + "[" * 2500, "[" * 2500 + "]" * 200, "null", '{"app": NaN}', '{"app": "\\ud800"}', '{"exp": ' + "9" * 2500 + "}"]
    tokens = [jwt.api_jws.encode(payload.encode(), world.keys["k1"], "HS256", {"kid": "k1"}) for payload in payloads]
    assert_refused(world, 10008, "access-token", *(partial(world.call, "GET", "/message/unread", token) for token in tokens))


def test_many_unknown_parameters_do_no_harm(world: World, alice: int) -> None:
    query = {"opposite_id": "0", "limit": "1"} | {f"x{n}": "y" * 100 for n in range(500)}
    assert world.call("GET", "/message/conversation", world.token(alice), query=query)["code"] == 200

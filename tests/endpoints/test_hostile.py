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
from tests.world import ENDPOINTS, EVENTS, World

FIELDS = ("content", "attachment", "config", "ext")
MEGABYTE = 1024 * 1024
SURROGATES = ["\ud800", "\udfff", "a\ud83db", "\udc00\ud800"]
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


@pytest.mark.parametrize("verb", ["POST", "PUT"])
@pytest.mark.parametrize("path", ["/message/send", "/message/notify"])
def test_a_request_without_a_body_is_refused(world: World, verb: str, path: str) -> None:
    assert_refused(world, 10002, "body", lambda: world.call(verb, path, world.admin()))


def test_a_body_that_is_no_json_object_is_refused(world: World, alice: int) -> None:
    bodies = [
        "",
        " ",
        "null",
        "true",
        "7",
        '"x"',
        "[]",
        "[1]",
        "[[]]",
        "{",
        "}",
        "{]",
        "not json",
        "<xml/>",
        "a=1&b=2",
        "{'type': 1}",
        "\0",
    ]
    both: list[str | bytes] = [*bodies, *(body.encode() for body in bodies)]
    assert_refused(world, 10002, "body", *(partial(_raw, world, alice, body) for body in both))


def test_text_after_the_object_is_refused(world: World, alice: int, bob: int) -> None:
    bodies = [_body(bob) + tail for tail in ["x", "{}", ",", "]", "\0", "//", "\ufeff"]]
    both: list[str | bytes] = [*bodies, *(body.encode() for body in bodies)]
    assert_refused(world, 10002, "body", *(partial(_raw, world, alice, body) for body in both))


def test_a_byte_order_mark_is_refused(world: World, alice: int, bob: int) -> None:
    marked = "\ufeff" + _body(bob)
    bodies: list[str | bytes] = [
        marked,
        marked.encode(),
        _body(bob).encode("utf-16"),
        _body(bob).encode("utf-16-le"),
        _body(bob).encode("utf-32"),
    ]
    assert_refused(world, 10002, "body", *(partial(_raw, world, alice, body) for body in bodies))


def test_what_is_not_utf_8_is_refused(world: World, alice: int, bob: int) -> None:
    octets = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"]
    bodies = [_body(bob, ', "ext": "?"').encode().replace(b"?", each) for each in octets]
    assert_refused(world, 10002, "body", *(partial(_raw, world, alice, body) for body in bodies))


@pytest.mark.parametrize("field", FIELDS)
def test_what_the_gateway_has_replaced_because_it_was_not_utf_8_is_refused_by_name(world: World, alice: int, bob: int, field: str) -> None:
    body = {"type": 1, "targets": [bob], "content": "hi"} | {field: "a\ufffdb"}
    assert_refused(world, 10002, field, partial(_raw, world, alice, json.dumps(body, ensure_ascii=False)))


def test_a_replacement_in_what_is_ignored_is_no_fault(world: World, alice: int, bob: int) -> None:
    bodies = [_body(bob, more) for more in (', "\\ud800": "\ufffd"', ', "\ufffd": 1', ', "unknown": ["\ufffd"]')]
    assert {_raw(world, alice, body)["code"] for body in bodies} <= {200, 10002}
    assert_refused(world, 10002, "", partial(_raw, world, alice, "\ufffd"), partial(_raw, world, alice, '{"\\ud800": "\ufffd"}'))


def test_a_key_that_occurs_twice_is_refused_wherever_it_is(world: World, alice: int, bob: int) -> None:
    bodies = [_body(bob, f', "content": "{text}"') for text in ("hi", "other")] + [_body(bob, ', "unknown": [{"a": 1, "a": 1}]')]
    assert_refused(world, 10002, "body", *(partial(_raw, world, alice, body) for body in bodies))


def test_a_number_that_is_not_json_is_refused(world: World, alice: int, bob: int) -> None:
    numbers = [(field, value) for field in ("transaction_id", "unknown") for value in ("NaN", "Infinity", "-Infinity")]
    bodies = [_body(bob, f', "{field}": {value}') for field, value in numbers]
    assert_refused(world, 10002, "body", *(partial(_raw, world, alice, body) for body in bodies))


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


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize("depth", [1000, 100_000])
def test_deep_nesting_is_refused(world: World, alice: int, bob: int, opening: str, depth: int) -> None:
    closing = "".join({"[": "]", "{": "}"}.get(c, "") for c in reversed(opening))
    nested = opening * depth + "1" + closing * depth
    bodies = [nested, opening * depth, _body(bob, f', "content_type": {nested}')]
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


def test_a_body_that_is_not_the_base64_it_claims_to_be_is_refused(world: World, alice: int) -> None:
    raws = ["%%%", "e30", "e30=x", "ü", "e3 0=", "\0", "\ufffd"]
    assert_refused(world, 10002, "body", *(partial(_raw, world, alice, raw, base64=True) for raw in raws))


# --- texts


@pytest.mark.parametrize("text", STRANGE_TEXTS.values(), ids=STRANGE_TEXTS)
def test_every_text_comes_back_byte_for_byte(world: World, alice: int, bob: int, text: str) -> None:
    fields = {name: f"{name} {text}" for name in FIELDS}
    body = {"type": 1, "targets": [bob], **fields}
    assert _raw(world, alice, json.dumps(body), "POST")["msg_ids"] == [1]
    assert _raw(world, alice, json.dumps(body, ensure_ascii=False).encode(), "PUT")["msg_ids"] == [2]
    for message in world.history(bob, alice)["messages"]:
        assert {name: message[name] for name in FIELDS} == fields


@pytest.mark.parametrize("field", FIELDS)
def test_a_lone_surrogate_is_refused_by_name(world: World, alice: int, bob: int, field: str) -> None:
    bodies = [{"type": 1, "targets": [bob], "content": "hi"} | {field: text} for text in SURROGATES]
    assert_refused(world, 10002, field, *(partial(_raw, world, alice, json.dumps(body)) for body in bodies))
    assert_refused(world, 10002, field, *(partial(world.direct, "send", {"app_id": "demo", "body": body}) for body in bodies))


def test_a_lone_surrogate_in_what_is_ignored_does_no_harm(world: World, alice: int, bob: int) -> None:
    body = {"type": 1, "targets": [bob], "content": "hi", "\ud800": "\udfff"}
    assert _raw(world, alice, json.dumps(body))["code"] in (200, 10002)
    assert world.direct("send", {"app_id": "demo", "\ud800": 1, "body": body})["code"] in (200, 10002)


def test_a_lone_surrogate_where_an_id_is_expected_is_refused(world: World, alice: int, bob: int) -> None:
    fields: list[dict[str, Any]] = [{"targets": ["\ud800"]}, {"transaction_id": "\ud800"}, {"from_user_id": "\ud800"}, {"type": "\ud800"}]
    bodies = [{"type": 1, "targets": [bob], "content": "hi"} | field for field in fields]
    assert_refused(world, 10002, "", *(partial(_raw, world, alice, json.dumps(body)) for body in bodies))


def test_the_message_of_a_refusal_repeats_nothing_of_the_input(world: World, alice: int) -> None:
    secret = "s3cr3t"
    bodies: list[Any] = [{"type": secret}, {"targets": [secret]}, {"type": 1, "targets": secret}, {secret: {}}, [secret], secret]
    raws = [json.dumps(body) for body in bodies] + [secret, f'{{"{secret}": {secret}}}', f'{{"{secret}": 1, "{secret}": 2}}']
    for raw in raws:
        assert secret not in _raw(world, alice, raw)["message"]


# --- queries and headers

HOSTILE = ["\0", "1001\0", "\ud800", "9" * 5000, "-" + "9" * 5000, "١٢", "1001,1001", "NaN", "null", "[1001]", "1001;", "🙂", "x" * 100_000]


@pytest.mark.parametrize(
    ("verb", "path", "field"),
    [
        ("GET", "/message/conversation", "opposite_id"),
        ("GET", "/message/ack", "conversation_id"),
        ("DELETE", "/message/conversation", "conversation_id"),
        ("GET", "/message/unread", "cursor"),
    ],
)
def test_a_hostile_parameter_is_refused_by_name(world: World, alice: int, verb: str, path: str, field: str) -> None:
    call = partial(world.call, verb, path, world.token(alice))
    assert_refused(world, 10002, field, *(partial(call, query={field: value}) for value in HOSTILE))


@pytest.mark.parametrize("header", ["app_id", "user_id", "group_id"])
def test_a_hostile_header_is_refused_by_name(world: World, header: str) -> None:
    call = partial(world.call, "GET", "/message/unread", world.admin())
    values = [f"a {value}" if header == "app_id" else value for value in HOSTILE]
    assert_refused(world, 10002, header, *(partial(call, headers={header: value}) for value in values))


def test_a_repeated_token_is_refused(world: World, alice: int) -> None:
    token = world.token(alice)
    assert_refused(
        world, 10008, "access-token", *(partial(world.call, "GET", "/message/unread", f"{token}{by}{token}") for by in (",", ", "))
    )


def test_padded_headers_count_without_their_padding(world: World, alice: int) -> None:
    headers = {"app_id": "  demo\t", "user_id": f" {alice} "}
    assert world.call("GET", "/message/unread", f" {world.token(alice)} ", headers=headers)["code"] == 200


def test_names_of_headers_are_not_case_sensitive(world: World, alice: int) -> None:
    headers = {"Access-Token": world.token(alice), "USER_ID": str(alice)}
    assert world.call("GET", "/message/unread", None, headers=headers)["code"] == 200


@pytest.mark.parametrize("headers", [{}, None])
def test_a_request_without_any_header_is_refused(world: World, headers: dict[str, str] | None) -> None:
    for name in sorted(set(ENDPOINTS.values())):
        event = json.loads((EVENTS / f"{name}.http.json").read_text()) | {"headers": headers}
        reply = world.direct(name, event)
        assert (reply["statusCode"], json.loads(reply["body"])["code"]) == (200, 10002)


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

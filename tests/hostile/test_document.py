"""docs/openapi.json: a valid document, up to date, and true: what it says of requests and replies is what the endpoints do."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from infra.catalog import FUNCTIONS
from messaging.base.errors import ApiError, Code
from messaging.people import directory
from ops import openapi
from tests.world import ENDPOINTS, World

DOCUMENT = openapi.document()
UNUSED = {  # of operations on users and groups, and of recalling
    *(Code.USER_EXISTS, Code.TOO_MANY_MEMBERS, Code.GROUP_ADMINISTRATOR_REQUIRED, Code.GROUP_OWNER_REQUIRED),
    *(Code.ALREADY_A_MEMBER, Code.TOO_LATE_TO_RECALL),
}
SEND, HISTORY, ACK, UNREAD = (
    ("POST", "/message/send"),
    ("GET", "/message/conversation"),
    ("GET", "/message/ack"),
    ("GET", "/message/unread"),
)


def _closed(schema: Any) -> Any:
    """The same, but with no other fields than those that it names: a new field has to be in the document."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    return closed | {"additionalProperties": False} if isinstance(schema.get("properties"), dict) else closed


CLOSED = copy.deepcopy(DOCUMENT) | {"components": _closed(DOCUMENT["components"])}


def _errors(pointer: str, value: Any, document: dict[str, Any] = CLOSED) -> list[str]:
    """What the schema at this place of the document has to say against a value."""
    return [error.message for error in Draft202012Validator({**document, "$ref": pointer}).iter_errors(value)]


def _conforms(name: str, status: int, envelope: dict[str, Any]) -> None:
    response = name if status == 200 else status
    assert _errors(f"#/components/responses/{response}/content/application~1json/schema", envelope) == [], envelope


def _call(world: World, route: tuple[str, str], token: str | None, **request: Any) -> dict[str, Any]:
    """The envelope of a request, which conforms to the document."""
    reply = world.http(*route, token, **request)
    envelope: dict[str, Any] = json.loads(reply["body"])
    _conforms(ENDPOINTS[route], reply["statusCode"], envelope)
    return envelope


def test_the_document_is_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_the_file_is_up_to_date() -> None:
    assert openapi.PATH.read_text() == openapi.text(), "run `python -m ops.openapi`"


def test_every_route_is_in_it() -> None:
    routes = {f"{verb.upper()} {path}" for path, operations in DOCUMENT["paths"].items() for verb in operations}
    assert routes == {route for function in FUNCTIONS for route in function.routes}
    names = [operation["operationId"] for operations in DOCUMENT["paths"].values() for operation in operations.values()]
    assert len(set(names)) == len(names)


def test_every_example_conforms() -> None:
    for operations in DOCUMENT["paths"].values():
        for operation in operations.values():
            for content in operation.get("requestBody", {"content": {}})["content"].values():
                assert _errors(content["schema"]["$ref"], content["example"]) == []
    for name, response in DOCUMENT["components"]["responses"].items():
        for example in response["content"]["application/json"].get("examples", {}).values():
            _conforms(name, 200, example["value"])


def test_everything_that_is_described_is_there() -> None:
    described = {(name, field) for name, fields in openapi.FIELDS.items() for field in fields}
    shown: set[tuple[str, str]] = {("Reply", field) for field in ("code", "data", "message", "msg_ids", "next_cursor", "list_changed")}
    for name, schema in DOCUMENT["components"]["schemas"].items():
        shown |= {(name, field) for field in schema.get("properties", {})}
    parameters = set(DOCUMENT["components"]["parameters"])
    for operations in DOCUMENT["paths"].values():
        for operation in operations.values():
            parameters |= {parameter["name"] for parameter in operation["parameters"] if "name" in parameter}
    assert {each for each in described - shown if each[1] not in parameters} == set()


# --- requests


SPELLINGS: list[dict[str, Any]] = [
    {},
    {"type": "1", "content_type": "0", "transaction_id": "-5"},
    {"content_type": None, "attachment": None, "config": None, "ext": None, "from_user_id": None, "transaction_id": None},
    {"attachment": "{}", "config": "", "ext": "x", "transaction_id": 9},
    {"unknown": {"a": [1]}},
]


@pytest.mark.parametrize("more", SPELLINGS, ids=range(len(SPELLINGS)))
def test_every_spelling_that_the_document_allows_is_taken(world: World, alice: int, bob: int, more: dict[str, Any]) -> None:
    body = {"type": 1, "targets": [bob, str(bob)], "content": "hi"} | more
    assert _errors("#/components/schemas/SendRequest", body, DOCUMENT) == []
    assert _call(world, SEND, world.token(alice), body=body)["msg_ids"] == [1, 1]


# --- replies


def test_every_reply_conforms(world: World, alice: int, bob: int, carol: int) -> None:
    group = world.group(alice, bob)
    parts = {"content": "hi", "attachment": "{}", "config": "{}", "ext": "{}"}
    for verb in ("POST", "PUT"):
        for ctype in range(8):
            body = {"type": 1, "targets": [bob, carol], "content_type": ctype, **(parts if ctype % 2 else {"content": "", **parts})}
            assert _call(world, (verb, "/message/send"), world.token(alice), body=body)["code"] == 200
        for type_, target in ((1, bob), (2, group)):
            for more in ({}, {"from_user_id": alice}):
                body = {"type": type_, "targets": [target], "content": "news"} | more
                assert _call(world, (verb, "/message/notify"), world.admin(), body=body)["code"] == 200
    world.say(bob, group, content_type=6)
    for drained in (False, True):
        if drained:
            world.drain()
        for reader in (alice, bob, carol):
            token = world.token(reader)
            for query in ({}, {"limit": 1}):
                assert _call(world, UNREAD, token, query=query)["code"] == 200
            for number in (0, alice, bob, *([group] if reader != carol else []), 999):
                for query in ({}, {"limit": 2}, {"msg_id_start": 1}):
                    assert _call(world, HISTORY, token, query={"opposite_id": number, **query})["code"] == 200
        assert _call(world, ACK, world.token(bob), query={"conversation_id": alice, "msg_id": drained + 1, "device_sn": 1})["code"] == 200
    assert _call(world, ("DELETE", "/message/conversation"), world.token(bob), query={"conversation_id": alice})["code"] == 200
    assert _call(world, HISTORY, world.token(bob), query={"opposite_id": alice})["data"]["messages"] == []


def test_every_reply_to_a_direct_event_conforms(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    requests: dict[str, dict[str, Any]] = {
        "send": {"body": {"type": 1, "targets": [alice], "content": "hi"}},
        "notify": {"body": {"type": 1, "targets": [alice], "content": "hi"}},
        "history": {"query": {"opposite_id": alice}},
        "ack": {"query": {"conversation_id": alice}},
        "unread": {},
        "forget": {"query": {"conversation_id": alice}},
    }
    assert set(requests) == set(ENDPOINTS.values())
    for name, event in requests.items():
        for part in (event, {}):
            envelope = world.direct(name, {"app_id": "demo", "user_id": bob, **part})
            _conforms(name, 200, envelope)
            assert (envelope["code"] == 200) == (part == event)


def test_every_refusal_conforms(world: World, alice: int, bob: int) -> None:
    group, token, admin = world.group(alice), world.token(bob), world.admin()
    world.send(alice, [bob], transaction_id=1)
    body = {"type": 1, "targets": [bob], "content": "hi"}

    def send(**more: Any) -> dict[str, Any]:
        return _call(world, SEND, world.token(alice), body=body | more)

    refusals = [
        _call(world, UNREAD, world.token(alice, lives_s=-1)),
        _call(world, UNREAD, None),
        _call(world, UNREAD, "x"),
        _call(world, UNREAD, token, headers={"app_id": "nobody"}),
        _call(world, UNREAD, token, headers={"user_id": str(alice)}),
        _call(world, UNREAD, admin, headers={"group_id": str(alice)}),
        _call(world, HISTORY, token),
        _call(world, HISTORY, token, query={"opposite_id": group}),
        _call(world, ACK, token, query={"conversation_id": alice, "msg_id": 9}),
        send(targets=[999]),
        send(targets=[bob] * 501),
        send(content="x" * 32769),
        send(transaction_id=1, content="other"),
    ]
    refused = {Code(refusal["code"]) for refusal in refusals}
    assert refused == set(Code) - UNUSED - {Code.OK, Code.INTERNAL, Code.STORE_FAILED, Code.TOO_MANY_REQUESTS}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (lambda: ApiError(Code.MESSAGE_TOO_LARGE, "body: larger", status=413), 413),
        (lambda: ApiError(Code.TOO_MANY_REQUESTS, "slow down"), 429),
        (lambda: ApiError(Code.STORE_FAILED, "try again"), 503),
        (lambda: ZeroDivisionError("a bug"), 500),
    ],
)
@pytest.mark.parametrize("route", ENDPOINTS)
def test_every_failure_conforms(
    world: World, monkeypatch: pytest.MonkeyPatch, route: tuple[str, str], error: Callable[[], Exception], status: int
) -> None:
    def fails(app_id: str) -> Any:
        raise error()

    monkeypatch.setattr(directory, "app", fails)
    assert world.http(*route, "token")["statusCode"] == status
    _call(world, route, "token")

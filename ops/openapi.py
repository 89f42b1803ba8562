"""The API as an OpenAPI 3.1 document, `docs/openapi.json`, made of what serves the requests: routes, models, views, codes, sample events.

Stated here is only what no code says: what a field means. The shape of a reply is that of a reply which the views made.
"""

import importlib
import inspect
import json
from importlib.metadata import version
from typing import Annotated, Any, TypeAlias, get_type_hints

import typer
from pydantic import BaseModel

from infra.catalog import FUNCTIONS, Function
from infra.settings import ROOT
from messaging import edge
from messaging.base import keys
from messaging.base.errors import HTTP_STATUS, Code
from messaging.conversations.models import MAX_TARGETS, Message, conversation_view, message_view, page_view, xid
from messaging.conversations.rules import CONTENT_TYPES, Marks
from messaging.edge import ActingHeaders, AppHeader
from ops.console import fail

PATH = ROOT / "docs" / "openapi.json"
BODY_VERBS = ("POST", "PUT")
SAMPLE_MS = 1795425121123  # when the messages of the examples were sent

Schema: TypeAlias = dict[str, Any]

MEANINGS = {
    Code.OK: "success",
    Code.TOKEN_EXPIRED: "access-token expired or revoked: log in again",
    Code.UNKNOWN_USER: "user does not exist",
    Code.BAD_PARAMETER: "bad request parameter; `message` names the field and says what it must be",
    Code.TOKEN_MISSING: "access-token missing",
    Code.USER_EXISTS: "user already exists",
    Code.TOKEN_INVALID: "access-token invalid",
    Code.NO_PERMISSION: "no permission",
    Code.TOO_MANY_TARGETS: f"more than {MAX_TARGETS} targets",
    Code.STORE_FAILED: "the store failed after retries: try again",
    Code.UNKNOWN_GROUP: "group does not exist",
    Code.NOT_A_MEMBER: "not a member of the group",
    Code.TOO_MANY_MEMBERS: "too many group members",
    Code.GROUP_ADMINISTRATOR_REQUIRED: "group administrator required",
    Code.GROUP_OWNER_REQUIRED: "group owner required",
    Code.ALREADY_A_MEMBER: "already a member",
    Code.UNKNOWN_APP: "app does not exist",
    Code.INTERNAL: "our own fault; `message` gives only the request id",
    Code.UNKNOWN_MESSAGE: "message does not exist",
    Code.TRANSACTION_ID_REUSED: "transaction_id already used for another request",
    Code.MESSAGE_TOO_LARGE: "message or request too large",
    Code.TOO_MANY_REQUESTS: "too many requests: slow down and try again",
    Code.TOO_LATE_TO_RECALL: "too late to recall",
}

INTRODUCTION = f"""Messages between the users of an app, one-to-one, in groups, and from the system.

**Every reply is an envelope**: `{{"code", "data", "message"}}`. `code` {Code.OK:d} is success. Every other code is a refusal, whose \
`message` says why; the HTTP status is 200 then too, so branch on `code`. Other HTTP statuses mean that the request never reached the \
business: 404 no such route, 413 too large, 429 throttled, 500 and 503 a fault of ours; the gateway answers some of them itself, with \
a `message` alone.

**Integers** of a request's body may be spelled as strings of digits; replies always carry numbers. Ids go from 1 to 2⁵³ − 1. \
Times are milliseconds since the Unix epoch, UTC. A field that is null counts as absent; unknown fields are ignored. In a body, a key \
that occurs twice, NaN and anything that is not UTF-8 are refused.

**A conversation** is named by one integer from the caller's side: the other user's id, the group's id, or 0 for messages from the \
system. Its messages are numbered 1, 2, 3, … without a gap: that is `msg_id`.

**Every `set_x`** of a reply says whether `x` carries a value.

**Headers** may be spelled with a hyphen for the underscore (`app-id`, `user-id`, `group-id`), and the token may come as \
`Authorization: Bearer …`; `access-token` wins over that. An empty `user_id` or `group_id` counts as absent; both spellings of one header \
with different values are refused.

| code | meaning |
|---|---|
""" + "\n".join(f"| {code:d} | {MEANINGS[code]} |" for code in Code)

# What the first line of an endpoint's module leaves open.
DETAILS = {
    "send": "All targets are checked before anything is written: one that may not be written to means that nothing was sent. Repeating "
    "a request with the same `transaction_id` within 24 hours sends nothing twice and gets the first reply again; who may no longer send "
    "is refused, unless it was sent. A request carries at most 2 MiB over all its targets. 50004 of several targets without a "
    "`transaction_id` names those it was sent to.",
    "notify": "Needs an admin token. The message is marked `is_system`. Without `from_user_id` a user finds it in conversation 0, with it "
    "in the conversation with that user; a group always in its own conversation.",
    "history": "Pass `next_msg_id` as `msg_id_start` until `is_last` is true. A page may hold fewer messages than `limit` asks for. A "
    "conversation that does not exist is an empty last page.",
    "forget": "For this user on all devices. The next message brings the conversation back with only what came after.",
    "ack": "An older `msg_id` than the last one succeeds and changes nothing.",
    "unread": "A conversation is listed as long as it holds a message that the caller may see. Pass `next_cursor` as `cursor` until it "
    "is null; where `list_changed` is there, a conversation has moved up to the pages before meanwhile: read the first one again.",
}

NUMBER = "The conversation: the other user's id, the group's id, or 0 for the system's messages."
FIELDS: dict[str, dict[str, str]] = {
    "AppHeader": {"app_id": "The app; the token must be one of this app's."},
    "ActingHeaders": {
        "user_id": "With an admin token: act as this user. With a user token: only the token's own user.",
        "group_id": "With an admin token only: act with this group's administrator rights, also without being a member.",
    },
    "SendRequest": {
        "type": "What `targets` are: 1 users, 2 groups.",
        "targets": "Ids of users or of groups. A repeated id counts once.",
        "content_type": ", ".join(f"{number} {name}" for number, name in enumerate(CONTENT_TYPES))
        + ". TEXT needs `content`; IMAGE, AUDIO, VIDEO and FILE need an `attachment`.",
        "content": "The text. With `attachment`, `config` and `ext` at most 32 KiB of UTF-8, unless the deployment says otherwise.",
        "attachment": "Usually JSON. Comes back byte for byte.",
        "config": "Usually JSON. Comes back byte for byte.",
        "ext": "Usually JSON. Comes back byte for byte.",
        "from_user_id": "The sender; 0: not set. An administrator may name any user, a user only itself.",
        "transaction_id": "Makes the request idempotent, per sender and operation; 0 or absent: it is not. A string of digits is the "
        "integer that it spells. It is never returned.",
    },
    "HistoryQuery": {
        "opposite_id": NUMBER,
        "msg_id_start": "Where to begin, inclusive, going back in time; 0: at the newest message.",
        "limit": "Messages at most; more than 100 is treated as 100.",
    },
    "AckQuery": {
        "conversation_id": NUMBER,
        "msg_id": "Everything up to and including this message has been read; 0: everything there is.",
        "device_sn": "The device that was read on; 0: no particular one.",
    },
    "DeleteQuery": {"conversation_id": NUMBER, "msg_id": "0 or absent: a conversation is deleted as a whole. One message is for recall."},
    "UnreadQuery": {"limit": "Conversations at most; more than 1,000 is treated as 1,000.", "cursor": "The last page's `next_cursor`."},
    "Reply": {
        "code": "200: success.",
        "data": "The result.",
        "message": "null: success.",
        "msg_ids": "The message's number in each target's conversation, in the order of `targets`.",
        "next_cursor": "Where the next page begins; null: this is the last one.",
        "list_changed": "Only where it is true: which conversations come before this page is not what it was when its cursor was given.",
    },
    "Page": {
        "is_last": "Whether there is nothing older.",
        "messages": "Newest first.",
        "next_msg_id": "The next older message; 0 on the last page.",
        "messages_iterator": "Always empty.",
        "messages_size": "The length of `messages`.",
    },
    "Message": {
        "attachment": "As it was sent.",
        "config": "As it was sent.",
        "content": "As it was sent.",
        "ctype": "What kind of message.",
        "ext": "As it was sent.",
        "from_xid": "The sender; `uid` 0: the system.",
        "is_system": "Whether it is a notification.",
        "msg_id": "The message's number in its conversation.",
        "status": "READ once the recipient has read it, else DELIVERED once the recipient has fetched it, else UNREAD. In a group: by the "
        "caller's own marks, and DELIVERED for the caller's own messages.",
        "timestamp": "When it was accepted, ms.",
        "to_xid": "The recipient, or the group.",
    },
    "Conversation": {
        "conversation_id": NUMBER,
        "num": "How many messages from others are unread; null where that could not be told in time.",
    },
    "Party": {"uid": "A user's or group's id, or 0.", "device_sn": "Always 0."},
}
VALUES: dict[str, dict[str, Schema]] = {  # beyond the type
    "SendRequest": {"targets": {"maxItems": MAX_TARGETS}},
    "Message": {"ctype": {"enum": list(CONTENT_TYPES)}, "status": {"enum": ["UNREAD", "DELIVERED", "READ"]}},
}

NUMERAL = {"$ref": "#/components/schemas/Numeral"}
GATEWAY = {
    "description": "What the gateway says by itself.",
    "type": "object",
    "properties": {"message": {"type": ["string", "null"]}},
    "required": ["message"],
}


def document() -> Schema:
    """The whole document."""
    paths: Schema = {}
    for function in FUNCTIONS:
        for route in function.routes:
            verb, path = route.split()
            paths.setdefault(path, {})[verb.lower()] = _operation(function, verb)
    endpoints = [function for function in FUNCTIONS if function.is_endpoint]
    models = {model.__name__: model for function in endpoints for model in [_model(function)]}
    headers = [_parameter(model, name, "header") for model in (AppHeader, ActingHeaders) for name in model.model_fields]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Parley", "version": version("parley"), "description": INTRODUCTION},
        "servers": [
            {
                "url": "{api}",
                "description": "A deployment.",
                "variables": {
                    "api": {
                        "default": "http://127.0.0.1:4566",
                        "description": "`api_url` of `.local/parley.json` on the local AWS, the stack's `ApiUrl` output on AWS.",
                    }
                },
            }
        ],
        "security": [{"access-token": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "access-token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "access-token",
                    "description": "A JWT: claims `app`, `sub` (the user id, as a string), `role` (1 user, 2 admin), `iat`, `exp`; "
                    "signed with the app's key (HS256), whose `kid` its header names.",
                },
                "bearer": {"type": "http", "scheme": "bearer", "description": "The same token. `access-token` wins where both are sent."},
            },
            "parameters": {header["name"]: header for header in headers},
            "schemas": {
                "Numeral": {"description": "An integer of the same range, in digits.", "type": "string", "pattern": "^-?[0-9]{1,999}$"},
                "Refusal": _refusal([code for code in Code if code != Code.OK and code not in HTTP_STATUS]),
                "GatewayRefusal": GATEWAY,
                **{name: _body(model) for name, model in models.items() if name == "SendRequest"},
                **{name: _shape(name, *views) for name, views in VIEWS.items()},
            },
            "headers": {"Cache-Control": {"required": True, "schema": {"const": edge.HEADERS["cache-control"]}}},
            "responses": {
                **{function.name: _reply(function) for function in endpoints},
                **{str(status): _failure(code) for status, code in _failures().items()},
            },
        },
    }


# --- requests


def _operation(function: Function, verb: str) -> Schema:
    model = _model(function)
    told = " ".join((inspect.getdoc(importlib.import_module(function.module)) or "").partition(": ")[2].split())
    statuses = {"200": function.name, **{str(status): str(status) for status in _failures()}}
    operation: Schema = {
        "operationId": function.name if f"{verb} " == function.routes[0][: len(verb) + 1] else f"{function.name}_{verb.lower()}",
        "summary": _sentence(told.partition(". ")[0].removesuffix(".")),
        "description": f"{_sentence(told)} {DETAILS[function.name]}",
        "tags": ["message"],
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in (*AppHeader.model_fields, *ActingHeaders.model_fields)],
        "responses": {status: {"$ref": f"#/components/responses/{name}"} for status, name in statuses.items()},
    }
    sample = json.loads((ROOT / "events" / f"{function.name}.http.json").read_text())
    if verb in BODY_VERBS:
        content = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}, "example": json.loads(sample["body"])}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    else:
        samples = sample.get("queryStringParameters", {})
        operation["parameters"] += [_parameter(model, name, "query", samples.get(name)) for name in model.model_fields]
    return operation


def _model(function: Function) -> type[BaseModel]:
    """What validates an endpoint's request."""
    model: type[BaseModel] = get_type_hints(importlib.import_module(function.module).handler)["request"]
    return model


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _parameter(model: type[BaseModel], name: str, place: str, sample: str | None = None) -> Schema:
    """A header or query parameter: always text on the wire, so an integer has no second spelling, and there is no null."""
    field = model.model_json_schema()["properties"][name]
    schema = _any_of(_accepted(field, ()))
    if field.get("default") is not None:
        schema["default"] = field["default"]
    parameter = {"name": name, "in": place, "required": model.model_fields[name].is_required(), "schema": schema}
    example = {"example": int(sample) if schema.get("type") == "integer" else sample} if sample else {}
    return {**parameter, "description": FIELDS[model.__name__][name], **example}


def _body(model: type[BaseModel]) -> Schema:
    """A body: integers may be numerals, and null is the same as absent."""
    schema, properties = model.model_json_schema(), {}
    for name, field in schema["properties"].items():
        accepted = _accepted(field | VALUES[model.__name__].get(name, {}), (NUMERAL,))
        if name not in schema["required"]:
            accepted.append({"type": "null"})
        default = {"default": field["default"]} if field.get("default") is not None else {}
        properties[name] = {**_any_of(accepted), **default, "description": FIELDS[model.__name__][name]}
    return {"type": "object", "description": schema["description"], "properties": properties, "required": schema["required"]}


def _accepted(field: Schema, integers: tuple[Schema, ...]) -> list[Schema]:
    """What a field of a pydantic schema takes; wherever an integer is taken, `integers` are too."""
    if "anyOf" in field:
        return [each for alternative in field["anyOf"] for each in _accepted(alternative, integers)]
    if field["type"] == "null":
        return []
    if field["type"] == "integer":
        schema: Schema = {"type": "integer", "minimum": field["ge"]}
        if "le" in field or "lt" in field:
            schema |= {"format": "int64", "maximum": field["le"] if "le" in field else field["lt"] - 1}
        return [schema, *integers]
    if field["type"] == "array":
        return [{**_without(field), "items": _any_of(_accepted(field["items"], integers))}]
    return [_without(field)]


def _without(field: Schema) -> Schema:
    return {name: value for name, value in field.items() if name not in ("title", "default")}


def _any_of(schemas: list[Schema]) -> Schema:
    return dict(schemas[0]) if len(schemas) == 1 else {"anyOf": schemas}


# --- replies


def _views() -> dict[str, list[Schema]]:
    """Examples of everything that a reply's `data` is made of, by name; where a field may be null, an example of each."""
    log = keys.between("demo", 1001, 1002).key
    rows = [
        Message(conversation=log, msg_id=17, sent_at=SAMPLE_MS, sender=1001, ctype=0, written_by="", content="Hello Bob", config="{}"),
        Message(conversation=log, msg_id=16, sent_at=SAMPLE_MS - 60_000, sender=1002, ctype=1, written_by="", attachment="{}", ext="{}"),
    ]
    messages = [message_view(row, 1002, Marks(read_seq=16), Marks(read_seq=16)) for row in rows]
    pages = [page_view(messages, 15), page_view([], 0)]
    return {
        "Message": messages,
        "Page": pages,
        "Conversation": [conversation_view(1001, 1), conversation_view(1003, None)],
        "Party": [xid(1001)],
    }


VIEWS = _views()
SUCCESS: dict[str, list[Schema]] = {
    "send": [{"data": True, "msg_ids": [17]}],
    "notify": [{"data": True, "msg_ids": [3]}],
    "ack": [{"data": True}],
    "forget": [{"data": True}],
    "history": [{"data": page} for page in VIEWS["Page"]],
    "unread": [
        {"data": VIEWS["Conversation"], "next_cursor": f"{SAMPLE_MS}-1001-0123456789abcdef"},
        {"data": VIEWS["Conversation"], "next_cursor": None, "list_changed": True},
    ],
}


def _reply(function: Function) -> Schema:
    examples = [{"code": int(Code.OK), "message": None} | reply for reply in SUCCESS[function.name]]
    success = _shape("Reply", *examples)
    for name in ("code", "data"):
        if not isinstance(examples[0][name], dict | list):
            success["properties"][name]["const"] = examples[0][name]
    refusal = {"code": int(Code.BAD_PARAMETER), "data": None, "message": "targets: Field required"}
    if "targets" not in _model(function).model_fields:
        refusal = {"code": int(Code.NO_PERMISSION), "data": None, "message": "user_id: a user token acts for its own user only"}
    content = {
        "schema": {"oneOf": [success, {"$ref": "#/components/schemas/Refusal"}]},
        "examples": {"success": {"value": examples[0]}, "refusal": {"value": refusal}},
    }
    return _response("Success, or a refusal: `code` tells.", content)


def _failures() -> dict[int, Code]:
    """HTTP status → the code that comes with it. 413 is the edge's, for what is too large to be looked at."""
    return dict(sorted({413: Code.MESSAGE_TOO_LARGE, **{status: code for code, status in HTTP_STATUS.items()}}.items()))


def _failure(code: Code) -> Schema:
    content = {"schema": {"anyOf": [_refusal([code]), {"$ref": "#/components/schemas/GatewayRefusal"}]}}
    return {"description": _sentence(MEANINGS[code]) + ".", "content": {"application/json": content}}


def _refusal(codes: list[Code]) -> Schema:
    return {
        "type": "object",
        "properties": {
            "code": {
                "type": "integer",
                "enum": [int(code) for code in codes],
                "x-enum-varnames": [code.name for code in codes],
                "description": "; ".join(f"{code:d} {MEANINGS[code]}" for code in codes),
            },
            "data": {"type": "null", "description": "Nothing."},
            "message": {"type": "string", "description": "What is wrong, for a programmer's eyes."},
        },
        "required": ["code", "data", "message"],
    }


def _response(description: str, content: Schema) -> Schema:
    headers = {"Cache-Control": {"$ref": "#/components/headers/Cache-Control"}}
    return {"description": description, "headers": headers, "content": {"application/json": content}}


def _shape(name: str, *examples: Schema) -> Schema:
    """The schema of an object that has the shape of all these: of each field every type that occurs; what one has not is optional."""
    properties = {}
    for field in dict.fromkeys(field for example in examples for field in example):
        schema = _type_of([example[field] for example in examples if field in example]) | VALUES.get(name, {}).get(field, {})
        twin = f"Whether `{field.removeprefix('set_')}` carries a value."
        properties[field] = {**schema, "description": twin if field.startswith("set_") else FIELDS[name][field]}
    return {"type": "object", "properties": properties, "required": sorted(set(properties).intersection(*examples))}


TYPES = {bool: "boolean", int: "integer", str: "string", type(None): "null", dict: "object", list: "array"}


def _type_of(values: list[Any]) -> Schema:
    for name, views in VIEWS.items():
        if isinstance(values[0], dict) and values[0].keys() == views[0].keys():
            return {"$ref": f"#/components/schemas/{name}"}
    types = sorted({TYPES[type(value)] for value in values})
    schema: Schema = {"type": types[0] if len(types) == 1 else types}
    if types == ["array"]:
        schema["items"] = _type_of([item for value in values for item in value])
    elif types == ["object"]:
        schema["maxProperties"] = 0
    elif types[0] == "integer":
        schema["format"] = "int64"
    return schema


def text() -> str:
    """The document as it is written."""
    return json.dumps(document(), ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def main(check: Annotated[bool, typer.Option("--check", help="Write nothing, fail where it is out of date.")] = False) -> None:
    """Writes docs/openapi.json."""
    if not check:
        PATH.write_text(text())
    elif not PATH.exists() or PATH.read_text() != text():
        fail("docs/openapi.json is out of date: run `python -m ops.openapi`")


if __name__ == "__main__":
    typer.run(main)

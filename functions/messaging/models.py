"""Every shape on the wire and in the stream. The wire's words end here: what leaves this module has our names."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from messaging import keys
from messaging.errors import ApiError, Code
from messaging.rules import CONTENT_TYPES, PARTS, Marks, status, text_bytes

MAX_TARGETS = 500
MAX_PAGE = 100  # messages
MAX_CONVERSATIONS = 1000
INT32 = 2**31 - 1


def _integer(value: object) -> object:
    """A numeric string counts as the integer that it spells, because many clients hold ids as strings."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,999}", value) else value


def _an_id(text: str) -> str:
    if int(text) > keys.MAX_ID:
        raise ValueError("should be an id")
    return text


def _targets(value: object) -> object:
    if isinstance(value, list) and len(value) > MAX_TARGETS:
        raise ApiError(Code.TOO_MANY_TARGETS, f"targets: at most {MAX_TARGETS} ids, got {len(value)}")
    return value


def json_object(text: str) -> dict[str, Any]:
    """Exactly one JSON object: no duplicate keys, no NaN, no text around it; ValueError that does not quote the input."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refused, parse_int=_int)
    except RecursionError:
        raise ValueError("nested too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos}") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice")
    return value


def _int(digits: str) -> int:
    if len(digits) > 999:
        raise ValueError("a number has too many digits")
    return int(digits)


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _storable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not hold half of a surrogate pair") from None
    return text


Text = Annotated[str, AfterValidator(_storable)]
Integer = Annotated[int, BeforeValidator(_integer)]
Id = Annotated[Integer, Field(ge=1, le=keys.MAX_ID)]
IdOrZero = Annotated[Integer, Field(ge=0, le=keys.MAX_ID)]
AppId = Annotated[str, StringConstraints(pattern=f"^{keys.APP_ID}$")]


class Wire(BaseModel):
    """A request: strict types, unknown fields ignored, nothing of the input in an error."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True, frozen=True)


class DirectEvent(Wire):
    """What another AWS service invokes a function with; IAM has let it in."""

    app_id: AppId
    user_id: Id | None = None
    group_id: Id | None = None
    query: dict[str, Any] = Field(default_factory=dict)
    body: dict[str, Any] = Field(default_factory=dict)


class AppHeader(Wire):
    app_id: AppId


class ActingHeaders(Wire):
    """For whom, and with whose rights, an administrator acts."""

    user_id: Id | None = None
    group_id: Id | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling and with which rights, once the edge has checked it."""

    app_id: str
    user_id: int  # the acting user
    is_admin: bool
    vouched: bool  # a token of ours says that the acting user exists
    group_id: int | None = None  # an administrator acts with this group's administrator rights


class SendRequest(Wire):
    """The body of send and notify; `type` 1 sends to users, 2 to groups."""

    type: Annotated[Integer, Field(ge=1, le=2)]
    targets: Annotated[list[Id], BeforeValidator(_targets), Field(min_length=1)]
    content_type: Annotated[Integer, Field(ge=0, lt=len(CONTENT_TYPES))] = 0
    content: Text | None = None
    attachment: Text | None = None
    config: Text | None = None
    ext: Text | None = None
    from_user_id: Id | None = None
    transaction_id: Annotated[Integer, Field(ge=-keys.MAX_ID, le=keys.MAX_ID)] | None = None


class HistoryQuery(Wire):
    opposite_id: IdOrZero  # 0: the system conversation
    msg_id_start: IdOrZero = 0  # 0: the newest message
    limit: Annotated[Integer, Field(ge=1)] = 20


class AckQuery(Wire):
    conversation_id: IdOrZero
    msg_id: IdOrZero = 0  # 0: everything there is
    device_sn: Annotated[Integer, Field(ge=0, le=INT32)] = 0


class DeleteQuery(Wire):
    conversation_id: IdOrZero


class UnreadQuery(Wire):
    limit: Annotated[Integer, Field(ge=1)] = MAX_CONVERSATIONS
    cursor: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,16}-[0-9]{1,16}$")] | None = None


class Stored(BaseModel):
    """What we wrote ourselves; nothing of it in an error, which would end up in the log."""

    model_config = ConfigDict(hide_input_in_errors=True)


class Message(Stored):
    """A stored message. `written_by` tells whose append took the slot: the key of a Dedup record, or a nonce."""

    conversation: str
    msg_id: int
    sent_at: int  # ms
    sender: int  # 0: the system
    ctype: int
    written_by: str
    is_system: bool = False
    content: str | None = None
    attachment: str | None = None
    config: str | None = None
    ext: str | None = None
    busy_until: int | None = None  # ms; only where the conversation is ahead of its rate: until when it would take it to catch up
    expires_at: int | None = None  # s, the table's TTL

    @property
    def text_bytes(self) -> int:
        return text_bytes({name: getattr(self, name) for name in PARTS})


class FanoutJob(Stored):
    """One page of a group's members and how far their marks move; the body of a queue message."""

    conversation: str
    last_seq: int
    last_at: int
    skip_seq: int
    members: list[int]


def flagged(values: Mapping[str, object]) -> dict[str, Any]:
    """A reply object as the API's clients know it: every field has a `set_` twin that says whether it carries a value."""
    return {**values, **{f"set_{name}": value is not None for name, value in values.items()}}


def xid(uid: int) -> dict[str, Any]:
    """A user or group on the wire. Read state belongs to the user, not to a device: `device_sn` is 0."""
    return flagged({"uid": uid, "device_sn": 0})


def message_view(message: Message, reader: int, own_marks: Marks, opposite_marks: Marks) -> dict[str, Any]:
    """A message as `reader` sees it; `opposite_marks` are the other user's in a one-to-one conversation."""
    conversation = keys.parse(message.conversation)
    if message.sender != reader or message.sender == conversation.recipient_of(message.sender):
        state = status(message.msg_id, own_marks)
    elif conversation.kind == "user":
        state = status(message.msg_id, opposite_marks)
    else:
        state = "DELIVERED"
    return {
        **flagged(
            {
                "attachment": message.attachment,
                "config": message.config,
                "content": message.content,
                "ctype": CONTENT_TYPES[message.ctype],
                "ext": message.ext,
                "from_xid": xid(message.sender),
                "msg_id": message.msg_id,
                "status": state,
                "timestamp": message.sent_at,
                "to_xid": xid(conversation.recipient_of(message.sender)),
            }
        ),
        "is_system": message.is_system,
    }


def page_view(messages: list[dict[str, Any]], next_msg_id: int) -> dict[str, Any]:
    page = flagged({"is_last": next_msg_id == 0, "messages": messages, "next_msg_id": next_msg_id})
    return {**page, "messages_iterator": {}, "messages_size": len(messages)}


def conversation_view(number: int, num: int) -> dict[str, Any]:
    return flagged({"conversation_id": xid(number), "num": num})


USER, ADMIN = 1, 2  # roles of a token


class Claims(Wire):
    """What a token says. `iat`, `nbf`, `exp`: seconds since the epoch."""

    app: str
    sub: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,15}$"), AfterValidator(_an_id)]
    role: Annotated[int, Field(ge=USER, le=ADMIN)]
    iat: Annotated[int | float, Field(ge=0, allow_inf_nan=False)]
    exp: Annotated[int | float, Field(ge=0, allow_inf_nan=False)]
    nbf: Annotated[int | float, Field(ge=0, allow_inf_nan=False)] = 0

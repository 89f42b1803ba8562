"""The shapes of messages: on the wire, in the log, in a job. The wire's words end here: what leaves this module has our names."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints

from messaging.base import keys
from messaging.base.errors import ApiError, Code
from messaging.base.wire import INT32, Id, IdOrZero, Integer, Stored, Text, TransactionId, Wire, flagged
from messaging.conversations.rules import CONTENT_TYPES, PARTS, Marks, status, text_bytes

MAX_TARGETS = 500
MAX_PAGE = 100  # messages
MAX_CONVERSATIONS = 1000
CURSOR = "[0-9]{1,16}-[0-9]{1,16}(-[0-9a-f]{16})?"  # the last entry's time and number, and which were told up to there (not in 0.1.0)


def _no_message(value: object) -> object:
    if value in ("", "0") or (type(value) is int and value == 0):
        return 0
    raise ValueError("must be absent or 0: this deletes the whole conversation, one message is for recall")


def _targets(value: object) -> object:
    if isinstance(value, list) and len(value) > MAX_TARGETS:
        raise ApiError(Code.TOO_MANY_TARGETS, f"targets: at most {MAX_TARGETS} ids, got {len(value)}")
    return value


class SendRequest(Wire):
    """The body of send and notify; `type` 1 sends to users, 2 to groups."""

    type: Annotated[Integer, Field(ge=1, le=2)]
    targets: Annotated[list[Id], BeforeValidator(_targets), Field(min_length=1)]
    content_type: Annotated[Integer, Field(ge=0, lt=len(CONTENT_TYPES))] = 0
    content: Text | None = None
    attachment: Text | None = None
    config: Text | None = None
    ext: Text | None = None
    from_user_id: IdOrZero | None = None  # 0: not set
    transaction_id: TransactionId | None = None  # 0: not set


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
    msg_id: Annotated[int, BeforeValidator(_no_message), Field(ge=0, le=0)] = 0  # a client that means one message must not lose all


class UnreadQuery(Wire):
    limit: Annotated[Integer, Field(ge=1)] = MAX_CONVERSATIONS
    cursor: Annotated[str, StringConstraints(pattern=rf"^{CURSOR}$")] | None = None


class Message(Stored):
    """A stored message. `written_by` tells whose append took the slot: the key of a Dedup record, or a nonce.

    `uncounted`: how many messages of its chain, up to this one, count as unread for nobody (COMMANDs). A chain is a run of messages that
    each added to the sum of the one before; `chain` is the number that it began with. So of two messages of one chain the difference of
    `uncounted` is how many lie between them, and nothing in between has to be read. A chain breaks where the sum before is not known:
    after a message of 0.1.0 (which has none), and after one that has expired.
    """

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
    backlog: dict[str, int] | None = None  # sender → ms of that; only where it is not this sender's alone
    expires_at: int | None = None  # s, the table's TTL
    uncounted: int | None = None
    chain: int = 1

    @property
    def text_bytes(self) -> int:
        return text_bytes({name: getattr(self, name) for name in PARTS})


class FanoutJob(Stored):
    """One page of a group's members and how far their marks move; the body of a queue message.

    `uncounted` and `chain` are those of the COMMAND `skip_seq`; a job of 0.1.0 has none. `count_seq`: see `News`.
    """

    conversation: str
    last_seq: int
    last_at: int
    skip_seq: int
    uncounted: int | None = None
    chain: int = 1
    count_seq: int = 0
    members: list[int]


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


def conversation_view(number: int, num: int | None) -> dict[str, Any]:
    return flagged({"conversation_id": xid(number), "num": num})

"""What is held about one user: all of it, to hand over; and erasing it.

What was said to others stays theirs as a message without contents, under its number. Both go by the user's own Inbox rows.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from messaging.base import keys, store, wire
from messaging.base.keys import Conversation
from messaging.base.settings import settings
from messaging.conversations import inbox, log, membership, rules
from messaging.conversations.models import Message
from messaging.conversations.rules import CONTENT_TYPES, PARTS
from messaging.people import directory
from ops import scan

# Until nothing that the user has begun is under way: the app item is remembered for 30 s, a request runs for 28 s at most.
SETTLED_MS = 60_000
PAGE = 100  # messages
CHUNK = 50  # messages erased side by side

Progress = Callable[[int], None]
Line = dict[str, Any]


def conversations(app_id: str, user: int) -> list[tuple[Conversation, inbox.Row]]:
    """Every conversation of a user, those of groups they left included."""
    named = {"user": partial(keys.between, app_id, user), "group": partial(keys.group, app_id), "system": partial(_system, app_id, user)}
    return [(named[row["chat"]](row["conversation"]), row) for row in inbox.rows(app_id, user)]


def _system(app_id: str, user: int, number: int) -> Conversation:
    return keys.system(app_id, user)


def export(app_id: str, user: int, found: list[tuple[Conversation, inbox.Row]], now_ms: int, progress: Progress) -> Iterator[Line]:
    """Profile, revocation, requests of the last day, and of every conversation the marks and the messages: the user's own, and those
    that the user may see. Times: ms since the epoch."""
    profile = directory.require(app_id, user, "user", "user")
    yield {"record": "user", "app_id": app_id, "user_id": user, "name": profile.get("title"), "created_at": profile["created_at"]}
    if revoked := directory.app(app_id)["revoked"].get(str(user)):
        yield {"record": "revocation", "tokens_issued_before": revoked}
    for request in requests(app_id, user):
        _, _, operation, transaction_id = request["dedup_key"].split("#")
        told = {"operation": operation, "transaction_id": wire.transaction_id(transaction_id), "targets": request["slots"]}
        yield {"record": "request", **told, "expires_at": request[keys.EXPIRES_AT] * 1000}
    for conversation, row in found:
        number = conversation.number_for(user)
        marks = {name: value for name, value in row.items() if name not in ("reader", "conversation", "chat")}
        yield {"record": "conversation", "kind": conversation.kind, "conversation": number, **marks}
        hidden = rules.marks_of(row).cut_seq if row.get("history_visible") else max(rules.marks_of(row).cut_seq, row.get("join_seq", 0))
        for message in _messages(conversation, now_ms):
            if message.sender == user or ("left_at" not in row and message.msg_id > hidden):
                yield _line(message, number)
        progress(1)


def _messages(conversation: Conversation, now_ms: int) -> Iterator[Message]:
    """Newest first."""
    newest, more = keys.MAX_ID, True
    while more:
        page, more = log.page(conversation, 1, newest, PAGE, now_ms)
        yield from page
        newest = page[-1].msg_id - 1 if page else 0


def _line(message: Message, number: int) -> Line:
    said = {name: getattr(message, name) for name in PARTS}
    who = {"sender": message.sender, "is_system": message.is_system, "content_type": CONTENT_TYPES[message.ctype]}
    return {"record": "message", "conversation": number, "msg_id": message.msg_id, "sent_at": message.sent_at, **who, **said}


def requests(app_id: str, user: int, progress: Progress = lambda done: None) -> Iterator[store.Item]:
    """The Dedup records of a user's requests: the whole table has to be read, a day's requests."""
    names, mine = ("dedup_key", "slots", keys.EXPIRES_AT), f"{app_id}#{user}#"
    for page in scan.pages(settings().dedup_table, names, "begins_with(dedup_key, :mine)", {":mine": mine}):
        yield from page.items
        progress(page.read)


def close(app_id: str, user: int, now_ms: int) -> int:
    """The user is gone for everybody, and in no group; returns when nothing of theirs is under way any more, ms."""
    gone_at = directory.erase(app_id, user, now_ms)
    for conversation, row in conversations(app_id, user):
        if inbox.belongs(row):
            membership.leave(app_id, conversation.low, [user], now_ms, lambda done: None)
    return gone_at + SETTLED_MS


def erase(app_id: str, user: int, now_ms: int, progress: Progress) -> int:
    """What the user wrote, and what only the user could read; then the user's rows. How many messages. Repeating it is harmless.

    A row is dealt with after its messages, so that what is cut short is found again.
    """
    erased = 0
    for conversation, row in conversations(app_id, user):
        private = conversation.users() == (user,)
        numbers = list(log.sent_by(conversation, None if private else user))
        for at in range(0, len(numbers), CHUNK):
            store.parallel([partial(log.erase, conversation, number, now_ms) for number in numbers[at : at + CHUNK]])
        erased += len(numbers)
        place = inbox.ref(app_id, user, row["conversation"])
        if private or conversation.kind == "group":
            _delete(place)
        else:  # the other user's messages stay as read as they were; this user sees none of them
            newest = log.tip(conversation, now_ms).msg_id
            store.update(place, {"cut_seq": newest}, "attribute_not_exists(cut_seq) OR cut_seq <= :cut_seq", remove="device_sn")
        progress(1)
    return erased


def forget_requests(app_id: str, user: int, progress: Progress) -> None:
    for record in requests(app_id, user, progress):
        _delete((settings().dedup_table, {"dedup_key": record["dedup_key"]}))


def _delete(place: store.Ref) -> None:
    table, key = place
    store.dynamodb().delete_item(TableName=table, Key=store.pack(key))


def owned(app_id: str, user: int) -> list[int]:
    """The groups that this user owns."""
    return [item["entity_id"] for item in directory.listed(app_id, "group") if item["owner_id"] == user]

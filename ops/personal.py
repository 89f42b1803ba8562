"""What is held about one user: all of it, to hand over; and erasing it.

What was said to others stays theirs as a message without contents, under its number. What the user wrote is looked for in the log itself:
Inbox rows know only what was delivered, and only of conversations that the user was ever in.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from messaging.base import keys, store, wire
from messaging.base.errors import ApiError, Code
from messaging.base.keys import Conversation
from messaging.base.settings import settings
from messaging.conversations import inbox, log, membership, rules
from messaging.conversations.models import Message
from messaging.conversations.rules import CONTENT_TYPES, PARTS
from messaging.people import directory
from ops import scan

# Until nothing that the user has begun is under way: that they exist is remembered for 30 s, a request runs for 28 s at most.
SETTLED_S = 60.0
PAGE = 100  # messages
CHUNK = 100  # writes between two reports of progress
PERSONAL = ("device_sn", "cut_seq")  # of a one-to-one row: what tells the other user nothing

Progress = Callable[[int], None]
Line = dict[str, Any]
Found = tuple[Conversation, inbox.Row]


# --- handing over


def conversations(app_id: str, user: int, progress: Progress) -> list[Found]:
    """Every conversation of a user with their row (empty where there is none): those that a row tells, and those that only the log does,
    because nothing was delivered yet, the row was lost, or somebody wrote in their name. `progress` is told how many messages were read.
    """
    found = {conversation_of(row): row for row in inbox.rows(app_id, user)}
    theirs = "begins_with(conversation, :app) AND (sender = :user OR contains(conversation, :number))"
    values: dict[str, object] = {":app": f"{app_id}#", ":user": user, ":number": f"#{user}"}
    for page in scan.pages(settings().messages_table, ("conversation", "sender"), theirs, values):
        for key, sender in {(item["conversation"], item["sender"]) for item in page.items}:
            conversation = keys.parse(key)
            if sender == user or user in conversation.users():
                found.setdefault(conversation, {})
        progress(page.read)
    return sorted(found.items())


def conversation_of(row: inbox.Row) -> Conversation:
    """Which conversation an Inbox row is about."""
    app_id, _, reader = row["reader"].partition("#")
    if row["chat"] == "group":
        return keys.group(app_id, row["conversation"])
    return keys.between(app_id, int(reader), row["conversation"]) if row["chat"] == "user" else keys.system(app_id, int(reader))


def export(app_id: str, user: int, asked: Iterable[store.Item], found: Sequence[Found], now_ms: int, progress: Progress) -> Iterator[Line]:
    """Profile, revocation, the requests `asked`, and of every conversation the marks and the messages: the user's own, and those
    that the user may see. Times: ms since the epoch."""
    profile = directory.require(app_id, user, "user", "user")
    yield {"record": "user", "app_id": app_id, "user_id": user, "name": profile.get("title"), "created_at": profile["created_at"]}
    if revoked := directory.revoked_ms(directory.app(app_id), profile, user):
        yield {"record": "revocation", "tokens_issued_before": revoked}
    for request in asked:
        _, _, operation, transaction_id = request["dedup_key"].split("#")
        told = {"operation": operation, "transaction_id": wire.transaction_id(transaction_id), "targets": request["slots"]}
        yield {"record": "request", **told, "expires_at": request[keys.EXPIRES_AT] * 1000}
    for conversation, row in found:
        number = conversation.number_for(user)
        marks = {name: value for name, value in row.items() if name not in ("reader", "conversation", "chat")}
        yield {"record": "conversation", "kind": conversation.kind, "conversation": number, **marks}
        hidden = rules.marks_of(row).cut_seq if row.get("history_visible") else max(rules.marks_of(row).cut_seq, row.get("join_seq", 0))
        sees = conversation.kind != "group" or inbox.belongs(row)
        for message in _messages(conversation, now_ms):
            if message.sender == user or (sees and message.msg_id > hidden):
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


def requests(app_id: str, user: int, progress: Progress) -> Iterator[store.Item]:
    """The Dedup records of a user's requests: the whole table has to be read, a day's requests."""
    names, mine = ("dedup_key", "slots", keys.EXPIRES_AT), f"{app_id}#{user}#"
    for page in scan.pages(settings().dedup_table, names, "begins_with(dedup_key, :mine)", {":mine": mine}):
        yield from page.items
        progress(page.read)


# --- erasing: `require_erasable`, `close`, and when that has settled the rest in any order


def require_erasable(app_id: str, user: int) -> None:
    """ApiError where erasing could not be finished, before it has begun: UNKNOWN_USER, NO_PERMISSION for the administrator, and for the
    owner of groups, naming them. Who is erased already passes, so that repeating always works.
    """
    profile = store.get(directory.ref(app_id, user))
    if profile and profile["what"] == "erased":
        return
    directory.require(app_id, user, "user", "user")
    if user == directory.app(app_id)["admin_id"]:
        raise ApiError(Code.NO_PERMISSION, f"user: {user} is the administrator of {app_id}")
    if groups := owned(app_id, user):
        named = ", ".join(map(str, groups))
        raise ApiError(Code.NO_PERMISSION, f"user: {user} owns group {named}; `parley group transfer` makes another member the owner")


def owned(app_id: str, user: int) -> list[int]:
    """The groups that this user owns."""
    listed = {item["entity_id"] for item in directory.listed(app_id, "group") if item["owner_id"] == user}
    groups = sorted(listed | _groups_by_rows(app_id, user))  # the index may be seconds behind: what counts are the profiles
    profiles = store.get_many([directory.ref(app_id, group) for group in groups])
    return [group for group, item in zip(groups, profiles, strict=True) if item and item["what"] == "group" and item["owner_id"] == user]


def close(app_id: str, user: int, now_ms: int) -> None:
    """The user is gone for everybody, and in no group; `SETTLED_S` later nothing of theirs is under way any more."""
    directory.erase(app_id, user, now_ms)
    _leave_groups(app_id, user, now_ms)


def _leave_groups(app_id: str, user: int, now_ms: int) -> None:
    """Also groups of which nothing is left but the user's row, and those that list a user whose row was lost."""
    listed = membership.listing(app_id, user, [item["entity_id"] for item in directory.listed(app_id, "group")])
    groups = sorted({*listed, *_groups_by_rows(app_id, user)})
    store.parallel([partial(membership.end, keys.group(app_id, group), user, now_ms) for group in groups])


def _groups_by_rows(app_id: str, user: int) -> set[int]:
    return {row["conversation"] for row in inbox.rows(app_id, user) if row["chat"] == "group"}


def erase_messages(app_id: str, user: int, now_ms: int, progress: Progress) -> int:
    """Empties what the user wrote, and what only the user could read; how many messages. `progress` is told how many were read."""
    written = "attribute_not_exists(erased_at) AND begins_with(conversation, :app) AND (sender = :user OR conversation = :private)"
    values: dict[str, object] = {":app": f"{app_id}#", ":user": user, ":private": keys.system(app_id, user).key}
    erased = 0
    for page in scan.pages(settings().messages_table, ("conversation", "msg_id"), written, values):
        erased += sum(store.parallel([partial(log.erase, keys.parse(item["conversation"]), item["msg_id"], now_ms) for item in page.items]))
        progress(page.read)
    return erased


def erase_rows(app_id: str, user: int, rows: Sequence[inbox.Row], now_ms: int, progress: Progress) -> int:
    """Removes the marks in all of the user's `rows`; how many rows were removed or changed.

    Of a one-to-one row those stay that tell the other user what was read. The two conversations that are the user's alone keep a row that
    says that it is over, so that no late delivery makes one.
    """
    _leave_groups(app_id, user, now_ms)  # whoever was adding them when they were closed
    private = [keys.system(app_id, user), keys.between(app_id, user, user)]
    changed = 0
    for at in range(0, len(rows), CHUNK):
        chunk = rows[at : at + CHUNK]
        changed += sum(store.parallel([partial(_erase_row, row) for row in chunk if conversation_of(row) not in private]))
        progress(len(chunk))
    return changed + sum(store.parallel([partial(_end, conversation, user, now_ms) for conversation in private]))


def _erase_row(row: inbox.Row) -> bool:
    reader = {"reader": row["reader"], "conversation": row["conversation"]}
    if remains(row) is None:
        _delete((settings().inbox_table, reader))
        return True
    return store.attempt(
        store.dynamodb().update_item,
        TableName=settings().inbox_table,
        Key=store.pack(reader),
        UpdateExpression=f"REMOVE {', '.join(PERSONAL)}",
        ConditionExpression=" OR ".join(f"attribute_exists({name})" for name in PERSONAL),
    ).applied


def remains(row: inbox.Row) -> inbox.Row | None:
    """What is left of the Inbox row of an erased user."""
    if conversation_of(row).kind != "user" or len(conversation_of(row).users()) == 1:
        return None
    return {name: value for name, value in row.items() if name not in PERSONAL}


def _end(conversation: Conversation, user: int, now_ms: int) -> bool:
    """Whether it was still going on: leaves a row without marks, which no delivery moves."""
    table, key = inbox.ref(conversation.app_id, user, conversation.number_for(user))
    row = {**key, "chat": conversation.kind, "left_at": now_ms}
    condition = "attribute_not_exists(left_at)"
    return store.attempt(store.dynamodb().put_item, TableName=table, Item=store.pack(row), ConditionExpression=condition).applied


def forget_requests(app_id: str, user: int, progress: Progress) -> int:
    """Removes the records of the user's requests; how many. `progress` is told how many records were read."""
    found = 0
    for record in requests(app_id, user, progress):
        _delete((settings().dedup_table, {"dedup_key": record["dedup_key"]}))
        found += 1
    return found


def _delete(place: store.Ref) -> None:
    table, key = place
    store.dynamodb().delete_item(TableName=table, Key=store.pack(key))

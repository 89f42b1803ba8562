"""Bringing back what a table has lost, from one that AWS has restored beside it, while everybody goes on using it.

What is there stays: a missing item is put, and of an Inbox row that is there the marks are moved forward. Messages that come back are
delivered by the stream like any others, which is harmless.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from messaging.base import keys, store
from messaging.base.errors import ApiError, Code
from messaging.base.keys import Table
from messaging.base.settings import settings
from messaging.conversations import inbox, rules
from ops import scan

Progress = Callable[[int], None]
TABLES: dict[str, Table] = {"messages": keys.MESSAGES, "inbox": keys.INBOX, "directory": keys.DIRECTORY}


class Restored(NamedTuple):
    """How many items were put, and how many rows moved."""

    put: int
    moved: int


def restore(kind: str, source: str, now_ms: int, progress: Progress) -> Restored:
    """Copies what is missing from the table `source`; ApiError BAD_PARAMETER where that is no such table."""
    table = getattr(settings(), f"{kind}_table")
    found = store.dynamodb().describe_table(TableName=source)["Table"]
    names = {key["AttributeName"] for key in found["KeySchema"]}
    partition, sort = TABLES[kind].partition, TABLES[kind].sort
    if source == table or names != {partition, *(sort or ())[:1]}:
        raise ApiError(Code.BAD_PARAMETER, f"{source} is no copy of the {kind} table")
    put = moved = 0
    for page in scan.pages(source):
        done = store.parallel([partial(_bring, kind, table, item, now_ms) for item in page.items])
        put += done.count("put")
        moved += done.count("moved")
        progress(page.read)
    return Restored(put, moved)


def _bring(kind: str, table: str, item: store.Item, now_ms: int) -> str:
    """`put`, `moved`, or empty where nothing was missing."""
    if kind == "directory" and item["facet"].startswith(keys.MEMBER) and _has_left(item):
        return ""
    if kind == "inbox" and inbox.belongs(item) and not _is_listed(item):
        item = {**item, "left_at": now_ms}
    condition = f"attribute_not_exists({TABLES[kind].partition})"
    outcome = store.attempt(store.dynamodb().put_item, TableName=table, Item=store.pack(item), ConditionExpression=condition)
    if outcome.applied:
        return "put"
    if kind == "inbox":
        lost = rules.ahead({name: item[name] for name in rules.WATERMARKS if name in item}, rules.marks_of(outcome.item))
        if lost and lost.keys() != {"last_at"} and "left_at" not in outcome.item:
            return "moved" if inbox.advance(_conversation(item), _reader(item), rules.marks_of(outcome.item), lost) else ""
    return ""


def _has_left(listing: store.Item) -> bool:
    """Whether the member has left since: the end of a listing is no loss."""
    app_id, _, group_id = listing["entity"].partition("#")
    row = store.get(inbox.ref(app_id, int(listing["facet"].removeprefix(keys.MEMBER)), int(group_id)))
    return row is not None and not inbox.belongs(row)


def _is_listed(row: inbox.Row) -> bool:
    """Whether the Directory knows of the membership; a row from before the user left would let them in again."""
    app_id = row["reader"].partition("#")[0]
    listing = {"entity": keys.entity(app_id, row["conversation"]), "facet": keys.member(_reader(row))}
    return store.get((settings().directory_table, listing)) is not None


def _reader(row: inbox.Row) -> int:
    return int(row["reader"].partition("#")[2])


def _conversation(row: inbox.Row) -> keys.Conversation:
    app_id, number = row["reader"].partition("#")[0], row["conversation"]
    if row["chat"] == "group":
        return keys.group(app_id, number)
    return keys.between(app_id, _reader(row), number) if row["chat"] == "user" else keys.system(app_id, _reader(row))

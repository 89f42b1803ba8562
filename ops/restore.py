"""Bringing back what a table has lost, from one that AWS has restored beside it, while everybody goes on using it.

What is there stays: a missing item is put, and of an Inbox row that is there the marks are moved forward. Messages that come back are
delivered by the stream like any others, which is harmless. Of users who were erased since then only that comes back which erasing leaves.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from messaging.base import keys, store
from messaging.base.errors import ApiError, Code
from messaging.base.keys import Table
from messaging.base.settings import settings
from messaging.conversations import inbox, log, rules
from messaging.people import directory
from ops import personal, scan

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
    again: list[tuple[store.Item, int]] = []
    for page in scan.pages(source):
        forgotten = _forgotten(page.items) if kind == "directory" else []
        items = [item for item in page.items if item not in (profile for profile, _ in forgotten)]
        again += forgotten
        gone = _erased(entity for item in items for entity in _of_whom(kind, item))
        left = [item if gone.isdisjoint(_of_whom(kind, item)) else _left_of(kind, item, now_ms) for item in items]
        done = store.parallel([partial(_bring, kind, table, item, now_ms) for item in left if item])
        put += done.count("put")
        moved += done.count("moved")
        progress(page.read)
    for profile, gone_at in again:  # now that their app is back; for no longer than between these two calls they exist once more
        put += _bring(kind, table, profile, now_ms) == "put"
        directory.erase(profile["entity"].partition("#")[0], profile["entity_id"], gone_at)
    return Restored(put, moved)


def _of_whom(kind: str, item: store.Item) -> set[str]:
    """The users, as entities of the Directory, whose erasing changes the item."""
    if kind == "inbox":
        return {item["reader"]}
    if kind == "directory":
        app_id, member = item["entity"].partition("#")[0], item["facet"].removeprefix(keys.MEMBER)
        return {keys.entity(app_id, int(member))} if member != item["facet"] else set()
    conversation = keys.parse(item["conversation"])
    users = (item["sender"], conversation.low) if conversation.kind == "system" else (item["sender"],)
    return {keys.entity(conversation.app_id, user) for user in users}


def _erased(entities: Iterable[str]) -> set[str]:
    """Those users who are erased. Asked anew for every page: whoever is erased meanwhile waits for longer than a page takes."""
    found = store.get_many([(settings().directory_table, {"entity": entity, "facet": keys.PROFILE}) for entity in set(entities)])
    return {item["entity"] for item in found if item and item["what"] == "erased"}


def _forgotten(items: Iterable[store.Item]) -> list[tuple[store.Item, int]]:
    """The profiles of users of whom the Inbox says that they were erased, and when (ms): the Directory may have lost just that."""
    profiles = [item for item in items if item.get("what") == "user"]
    rows = store.get_many([inbox.ref(item["entity"].partition("#")[0], item["entity_id"], 0) for item in profiles])
    return [(item, row["left_at"]) for item, row in zip(profiles, rows, strict=True) if row and "left_at" in row]


def _left_of(kind: str, item: store.Item, now_ms: int) -> store.Item | None:
    """What erasing its user leaves of an item."""
    if kind == "directory":
        return None
    return log.emptied(item, now_ms) if kind == "messages" else personal.remains(item)


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
            return "moved" if inbox.advance(personal.conversation_of(item), _reader(item), rules.marks_of(outcome.item), lost) else ""
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

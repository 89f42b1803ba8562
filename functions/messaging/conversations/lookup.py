"""From the number by which a caller names a conversation to its log, the caller's row, and whether the caller may see it."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from messaging.base import keys, store
from messaging.base.errors import ApiError, Code
from messaging.base.keys import Conversation
from messaging.conversations import inbox, log, rules
from messaging.conversations.log import Tip
from messaging.conversations.rules import Marks
from messaging.people import directory
from messaging.people.models import Caller


class Found(NamedTuple):
    """A conversation that the caller may see, by what name, and the caller's marks in it (all 0 where there is no row yet); and what
    is kept of its log (see `rules.Tally`)."""

    conversation: Conversation
    number: int
    marks: Marks
    history_visible: bool = False
    tally: Mapping[str, int] = {}

    @property
    def oldest(self) -> int:
        """The first message that the caller may see: after a delete, and after joining unless the group shows its past."""
        return max(self.marks.cut_seq, 0 if self.history_visible else self.marks.join_seq) + 1


class Entry(NamedTuple):
    """A conversation of the caller, looked into no further than its place in the list needs: there may be 100,000."""

    last_at: int
    number: int
    last_seq: int
    oldest: int
    row: store.Item  # packed
    head: Marks | None

    @property
    def activity(self) -> tuple[int, int]:
        """When the newest message was sent; then the number, so that no two conversations are at the same place."""
        return self.last_at, self.number


def all_of(caller: Caller) -> list[Entry]:
    """Every conversation of the caller: one query, and one batch for the heads of large groups."""
    (found,) = caller.alongside(partial(inbox.packed, caller.app_id, caller.user_id))
    rows = [row for row in found if "left_at" not in row]
    heads = inbox.heads(caller.app_id, [_int(row, "conversation") for row in rows if "by_head" in row])
    return [_entry(row, heads.get(_int(row, "conversation"))) for row in rows]


def _entry(row: store.Item, head: Marks | None) -> Entry:
    last_seq, last_at = _int(row, "last_seq"), _int(row, "last_at")
    if head and head.last_seq > last_seq:
        last_seq, last_at = head.last_seq, head.last_at
    oldest = max(_int(row, "cut_seq"), 0 if "history_visible" in row else _int(row, "join_seq")) + 1
    return Entry(last_at, _int(row, "conversation"), last_seq, oldest, row, head)


def _int(row: store.Item, name: str) -> int:
    return int(row[name]["N"]) if name in row else 0


def opened(caller: Caller, entry: Entry) -> Found:
    """All of what the row says."""
    row = store.unpack(entry.row)
    return _found(caller, row["chat"], entry.number, row, entry.head)


def find(caller: Caller, number: int) -> Found | None:
    """None for a number that names nothing; ApiError NOT_A_MEMBER for a group that the caller is not in."""
    (row,) = caller.alongside(partial(store.get, inbox.ref(caller.app_id, caller.user_id, number)))
    return _judge(caller, number, row)


def find_with_tip(caller: Caller, number: int, now_ms: int) -> tuple[Found | None, Tip]:
    """The same, and the newest message, in one round trip: every log that the number may name is asked along with the row."""
    kinds: list[keys.Kind] = ["user", "group"] if number else ["system"]
    names = [_conversation(caller, kind, number) for kind in kinds]
    own = partial(store.get, inbox.ref(caller.app_id, caller.user_id, number))
    row, *tips = caller.alongside(own, *(partial(log.tip, name, now_ms) for name in names))
    found = _judge(caller, number, row)
    return found, tips[names.index(found.conversation)] if found else log.NOTHING


def advance(caller: Caller, found: Found, upto: Mapping[str, int], **others: object) -> None:
    """Moves the caller's marks; ApiError NOT_A_MEMBER where the caller has left the group since it was found."""
    if not inbox.advance(found.conversation, caller.user_id, found.marks, upto, **others) and caller.group_id != found.number:
        raise _not_a_member(caller, found.number)


def _not_a_member(caller: Caller, number: int) -> ApiError:
    return ApiError(Code.NOT_A_MEMBER, f"user {caller.user_id} is not in group {number}")


def _judge(caller: Caller, number: int, row: inbox.Row | None) -> Found | None:
    kind: keys.Kind | None = "system" if number == 0 else row["chat"] if row else directory.what_is(caller.app_id, number)
    if kind is None:
        return None
    if kind == "group" and not inbox.belongs(row):
        if caller.group_id != number:
            raise _not_a_member(caller, number)
        row = None  # an administrator reads it all
    return _found(caller, kind, number, row)


def _found(caller: Caller, kind: keys.Kind, number: int, row: inbox.Row | None, head: Marks | None = None) -> Found:
    marks = rules.marks_of(row or {})
    if head:
        marks = rules.with_head(marks, head)
    row = row or {}
    return Found(_conversation(caller, kind, number), number, marks, bool(row.get("history_visible")), row.get("tally", {}))


def _conversation(caller: Caller, kind: keys.Kind, number: int) -> Conversation:
    if kind == "group":
        return keys.group(caller.app_id, number)
    return keys.between(caller.app_id, caller.user_id, number) if kind == "user" else keys.system(caller.app_id, caller.user_id)

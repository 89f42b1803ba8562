"""The Inbox from the log, while everybody goes on sending, reading and joining: marks are only ever moved forward.

A row that is there keeps what the user has read and deleted; only where the log is ahead of it, it moves. A row that was lost is made
anew. What nobody can know any more is taken as: read up to the user's own newest message that is a day old, nothing deleted, and of a
group a member from now on.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter
from typing import NamedTuple, TypeVar

from messaging.base import keys, store
from messaging.base.keys import Conversation
from messaging.base.settings import settings
from messaging.conversations import inbox, log, membership, rules, tallies
from messaging.conversations.log import Tip
from messaging.conversations.lookup import Found
from messaging.conversations.rules import News, Skip
from messaging.people import directory
from ops import scan

# A row that is missing for a message that old was lost: delivery is not merely on its way, a stream keeps nothing for longer.
DELIVERED_MS = 86_400_000
CHUNK = 50  # conversations whose rows are read together

Progress = Callable[[int], None]
T = TypeVar("T")


class Rebuilt(NamedTuple):
    """How many rows were made anew, and how many were moved."""

    made: int = 0
    moved: int = 0

    def __add__(self, other: "Rebuilt") -> "Rebuilt":  # type: ignore[override]
        return Rebuilt(self.made + other.made, self.moved + other.moved)


def conversations(app_id: str, now_ms: int, progress: Progress) -> Rebuilt:
    """Every one-to-one and system conversation of an app; `progress` is told how many messages, of any app, were read."""
    condition = "begins_with(conversation, :user) OR begins_with(conversation, :system)"
    kinds: dict[str, object] = {":user": f"{app_id}#user#", ":system": f"{app_id}#system#"}
    done = Rebuilt()
    for page in scan.pages(settings().messages_table, ("conversation", "msg_id", "sent_at"), condition, kinds):
        newest: dict[str, Tip] = {}
        for item in page.items:
            tip = Tip(item["msg_id"], item["sent_at"])
            newest[item["conversation"]] = max(newest.get(item["conversation"], tip), tip, key=attrgetter("msg_id"))
        done += _rows([(keys.parse(key), tip, keys.parse(key).users()) for key, tip in newest.items()], now_ms)
        progress(page.read)
    return done


def conversations_of(app_id: str, user: int, others: Sequence[int], now_ms: int, progress: Progress) -> Rebuilt:
    """The one-to-one conversations of one user with any of `others`, and the system conversation: no need to read the whole log."""
    candidates = [keys.system(app_id, user), *(keys.between(app_id, user, other) for other in others)]
    done = Rebuilt()
    for chunk in _chunks(candidates):
        tips = store.parallel([partial(log.tip, conversation, now_ms) for conversation in chunk])
        done += _rows([(conversation, tip, (user,)) for conversation, tip in zip(chunk, tips, strict=True) if tip.msg_id], now_ms)
        progress(len(chunk))
    return done


def group(app_id: str, group_id: int, only: int | None, now_ms: int) -> Rebuilt:
    """A group's head, and the rows of its listed members, or of one of them."""
    conversation = keys.group(app_id, group_id)
    profile = directory.require(app_id, group_id, "group", "group")
    members = [member for member in directory.members(app_id, group_id) if only in (None, member)]
    newest = log.tip(conversation, now_ms)
    by_head = bool(profile.get("by_head"))
    if members and newest.msg_id:
        inbox.move_head(conversation, _caught_up(newest) if by_head else News(newest.msg_id, newest.sent_at))
    done = Rebuilt()
    for chunk in _chunks(members):
        rows = store.get_many([inbox.ref(app_id, member, group_id) for member in chunk])
        lost = [partial(membership.restore, conversation, member, now_ms) for member, row in zip(chunk, rows, strict=True) if row is None]
        done += Rebuilt(made=sum(map(bool, [restore() for restore in lost])))
        if not by_head:
            there = [(member, row) for member, row in zip(chunk, rows, strict=True) if inbox.belongs(row) and row]
            done += _moved([(conversation, newest, member, row) for member, row in there], now_ms)
    return done


def _rows(found: Iterable[tuple[Conversation, Tip, Iterable[int]]], now_ms: int) -> Rebuilt:
    done = Rebuilt()
    for chunk in _chunks([(conversation, newest, reader) for conversation, newest, readers in found for reader in readers]):
        places = [inbox.ref(conversation.app_id, reader, conversation.number_for(reader)) for conversation, _, reader in chunk]
        rows = store.get_many(places)
        there = [(*each, row) for each, row in zip(chunk, rows, strict=True) if row is not None]
        lost = [partial(_made, *each, now_ms) for each, row in zip(chunk, rows, strict=True) if row is None]
        done += _moved(there, now_ms) + Rebuilt(made=sum(store.parallel(lost)))
    return done


def _moved(there: Iterable[tuple[Conversation, Tip, int, inbox.Row]], now_ms: int) -> Rebuilt:
    return Rebuilt(moved=sum(store.parallel([partial(_move, *each, now_ms) for each in there])))


def _made(conversation: Conversation, newest: Tip, reader: int, now_ms: int) -> bool:
    profile = store.get(directory.ref(conversation.app_id, reader))
    if not profile or profile["what"] != "user":
        return False
    read = log.newest_of(conversation, reader, now_ms - DELIVERED_MS)
    marks = {"last_seq": newest.msg_id, "last_at": newest.sent_at, "skip_seq": newest.msg_id, "count_seq": newest.msg_id}
    return inbox.advance(conversation, reader, rules.Marks(), marks | ({"read_seq": read} if read else {}))


def _move(conversation: Conversation, newest: Tip, reader: int, row: inbox.Row, now_ms: int) -> bool:
    """Whether the row was wrong. One that is right is left alone: else its number would have to be counted in the log."""
    marks = rules.marks_of(row)
    if marks.last_seq >= newest.msg_id and _is_right(conversation, row, reader, now_ms):
        return False
    upto = max(newest, Tip(marks.last_seq, marks.last_at), key=attrgetter("msg_id"))
    count = {"skip_seq": upto.msg_id, "count_seq": upto.msg_id} if upto.msg_id > marks.floor else {}
    return inbox.advance(conversation, reader, marks, {"last_seq": upto.msg_id, "last_at": upto.sent_at, **count}, tally={})


def _is_right(conversation: Conversation, row: inbox.Row, reader: int, now_ms: int) -> bool:
    """Whether the list tells what the log says. Not so where a mark was lost, or where a delivery has made a lost row anew."""
    found = Found(conversation, row["conversation"], rules.marks_of(row), tally=row.get("tally", {}))
    (told,) = tallies.numbers(conversation.app_id, reader, [found], now_ms, tallies.deadline(), keeps=False)
    return not told or told == log.count(conversation, found.marks.floor, reader, now_ms)


def _caught_up(newest: Tip) -> News:
    """Moves a head past messages of which it was not told: the newest one's sum tells what does not count, before its chain the log."""
    uncounted, chain = (0, newest.msg_id + 1) if newest.uncounted is None else (newest.uncounted, newest.chain)
    return News(newest.msg_id, newest.sent_at, Skip(newest.msg_id, uncounted, chain), count_seq=chain - 1)


def _chunks(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[at : at + CHUNK] for at in range(0, len(items), CHUNK)]

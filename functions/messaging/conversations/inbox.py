"""The Inbox: one row per user and conversation, holding watermarks. A row only ever moves forward.

Row: `reader`, `conversation` (the number by which the reader knows it), `chat` (kind), the marks of `rules.Marks`, `device_sn` (which
device read last), `left_at` (ms: the membership is over, or the user is erased); for groups also `history_visible` and `by_head` (the
group's head carries the newest numbers). Where `skip_seq` has moved: `skip_sum` (the sum at it: `seq`, `uncounted`, `chain`) and `own`.
Where the log had to be asked: `tally`.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

from messaging.base import keys, store
from messaging.base.errors import ApiError, Code
from messaging.base.keys import Conversation
from messaging.base.settings import settings
from messaging.conversations import rules
from messaging.conversations.rules import Marks, News
from messaging.people import directory

Row: TypeAlias = dict[str, Any]
NO_GUESS: Mapping[str, int] = {}
ADVANCE_ROUNDS = 8  # times a write may find the row changed under it; each needs another writer to move the same row
GOES_ON = "attribute_not_exists(left_at)"
BELONGS = f"attribute_exists(reader) AND {GOES_ON}"


class Behind(Exception):
    """A row or a head was told up to `last_seq` only: what comes after is on its way still, or was given up."""

    def __init__(self, last_seq: int) -> None:
        super().__init__(f"told up to {last_seq}")
        self.last_seq = last_seq


def ref(app_id: str, reader: int, number: int) -> store.Ref:
    return settings().inbox_table, {"reader": keys.entity(app_id, reader), "conversation": number}


def belongs(row: Row | None) -> bool:
    """Whether this is the row of somebody who is in the group now."""
    return row is not None and row.get("chat") == "group" and "left_at" not in row


def rows(app_id: str, reader: int) -> list[Row]:
    """Every conversation of a user, those of groups they left included."""
    return list(map(store.unpack, packed(app_id, reader)))


def packed(app_id: str, reader: int) -> list[store.Item]:
    """The same, as DynamoDB writes it."""
    pages = store.query_pages(
        TableName=settings().inbox_table,
        KeyConditionExpression="reader = :r",
        ExpressionAttributeValues=store.pack({":r": keys.entity(app_id, reader)}),
    )
    return [row for page in pages for row in page["Items"]]


def heads(app_id: str, groups: Iterable[int]) -> dict[int, Marks]:
    """The marks of groups that are read by their head."""
    numbers = list(groups)
    found = store.get_many([directory.ref(app_id, number) for number in numbers])
    return {number: rules.marks_of(head) for number, head in zip(numbers, found, strict=True) if head}


def highest(conversation: Conversation) -> tuple[int, int]:
    """The highest number that any mark of the conversation names, and when the newest delivered message was sent.

    Marks may be ahead of `last_seq`: of a message that was read, and expired before it was delivered. Of a group only the head is asked.
    """
    if conversation.kind == "group":
        refs = [directory.ref(conversation.app_id, conversation.low)]
    else:
        refs = [ref(conversation.app_id, user, conversation.number_for(user)) for user in conversation.users()]
    marks = [rules.marks_of(row) for row in store.get_many(refs) if row]
    return max(map(_highest, marks), default=0), max((mark.last_at for mark in marks), default=0)


def highest_of_members(conversation: Conversation) -> int:
    """The same of every member's row of a group: a read unit for each, so this is only for who gives out the next number."""
    members = directory.members(conversation.app_id, conversation.low)
    rows = store.get_many([ref(conversation.app_id, user, conversation.low) for user in members])
    return max((_highest(rules.marks_of(row)) for row in rows if row), default=0)


def _highest(marks: Marks) -> int:
    return max(marks.last_seq, marks.read_seq, marks.fetched_seq, marks.skip_seq, marks.cut_seq, marks.join_seq)


def acknowledge(app_id: str, reader: int, number: int, msg_id: int, others: Mapping[str, int]) -> store.Outcome:
    """The usual read receipt in one call: of a message that the Inbox knows. Not applied: the row as it is tells why."""
    conditions = [BELONGS, "last_seq >= :read_seq"]
    return _move(ref(app_id, reader, number), Marks(), {"read_seq": msg_id}, others, conditions, remove="tally")


def keep(app_id: str, reader: int, number: int, tally: Mapping[str, int]) -> None:
    """Keeps what had to be read from the log, in a row that is there. Whatever it overwrites can only have to be read once more."""
    store.update(ref(app_id, reader, number), {"tally": tally}, BELONGS)


def advance(conversation: Conversation, reader: int, known: Marks, upto: Mapping[str, int], **others: object) -> bool:
    """Moves those of the marks `upto` that lie ahead; `known` is what was read of the row before. False: not in the group."""
    return _settle(conversation, reader, known, partial(rules.ahead, upto), others)


def apply(conversation: Conversation, reader: int, news: News, after: int | None = None) -> bool:
    """Moves one user's row as far as a delivery says; False where the user is not in the group (any more).

    `after`: what the row has to be told already, else it stays as it is, `Behind`. None: whatever it is told.
    """
    guess = {} if after is None else {"last_seq": after}
    if news.own:  # who writes has usually read what came before: one write where that holds
        guess["read_seq"] = news.own[0].seq - 1
    return _settle(conversation, reader, Marks(read_seq=guess.get("read_seq", 0)), partial(rules.moves, news), {}, guess)


def move_head(conversation: Conversation, news: News, after: int | None = None) -> Row | None:
    """Moves a group's head as far as a delivery says; returns the group's profile, None where there is no such group. `after`: as there."""
    known, place = Marks(), directory.ref(conversation.app_id, conversation.low)
    guess = {} if after is None else {"last_seq": after}
    for _ in range(ADVANCE_ROUNDS):
        outcome = _move(place, known, rules.moves(news, known), {}, ["attribute_exists(entity)"], guess)
        known = rules.marks_of(outcome.item)
        if not outcome.applied and outcome.item:
            _require_told(known, guess)
            guess = {}
        if outcome.applied or not outcome.item or not rules.moves(news, known):
            return outcome.item or None
    raise ApiError(Code.STORE_FAILED, "the group is changing too fast, try again")


def _settle(
    conversation: Conversation,
    reader: int,
    known: Marks,
    decide: Callable[[Marks], Mapping[str, Any]],
    others: Mapping[str, object],
    guess: Mapping[str, int] = NO_GUESS,
) -> bool:
    """Moves the marks that `decide` names; where the row is not as `known`, or a mark not as `guess`ed, it is decided upon anew.

    A missing row is created, except a group's, which only joining creates. One that is over (`left_at`) stays as it is: False.
    """
    is_group = conversation.kind == "group"
    place = ref(conversation.app_id, reader, conversation.number_for(reader))
    for _ in range(ADVANCE_ROUNDS):
        moved = decide(known)
        if not moved:
            return True
        conditions = [BELONGS if is_group else GOES_ON]
        outcome = _move(place, known, moved, {"chat": conversation.kind, **others}, conditions, guess)
        if outcome.applied:
            return True
        if "left_at" in outcome.item or (is_group and not belongs(outcome.item)):
            return False
        known = rules.marks_of(outcome.item)
        _require_told(known, guess)
        guess = NO_GUESS
    raise ApiError(Code.STORE_FAILED, "the conversation is changing too fast, try again")


def _require_told(known: Marks, guess: Mapping[str, int]) -> None:
    if known.last_seq < guess.get("last_seq", 0):
        raise Behind(known.last_seq)


def _move(
    place: store.Ref,
    known: Marks,
    moved: Mapping[str, Any],
    others: Mapping[str, object],
    conditions: list[str],
    guess: Mapping[str, int] = NO_GUESS,
    remove: str = "",
) -> store.Outcome:
    """One conditional write. Every mark must lie ahead of the stored one (`last_at` goes with `last_seq`, `skip_sum` with `skip_seq`)."""
    ahead = dict.fromkeys(rules.WATERMARKS, "<") | {"count_seq": "<="}  # `marks_of` may have taken it for further ahead
    del ahead["last_at"]
    conditions = conditions + [f"(attribute_not_exists({mark}) OR {mark} {ahead[mark]} :{mark})" for mark in moved if mark in ahead]
    seen: dict[str, object] = {}
    for mark, value in guess.items():
        conditions.append(f"{mark} = :{mark}_was" if value else f"attribute_not_exists({mark})")
        seen |= {f"{mark}_was": value} if value else {}
    if "own" in moved and known.own:
        conditions.append("own = :own_was")
        seen["own_was"] = list(known.own)
    elif "own" in moved:
        conditions.append("attribute_not_exists(own)")
    if "skip_sum" in moved and (not known.skip_seq or (known.is_explained and known.chain == moved["skip_sum"]["chain"])):
        conditions.append("(attribute_not_exists(skip_seq) OR (skip_sum.seq = skip_seq AND skip_sum.chain = :chain))")
        seen["chain"] = moved["skip_sum"]["chain"]
    elif "skip_sum" in moved:  # `count_seq` covers what the mark skipped without a word or in another chain, as far as it was seen
        conditions.append("skip_seq = :skip_was")
        seen["skip_was"] = known.skip_seq
    return store.update(place, {**moved, **others}, " AND ".join(conditions), seen, remove)

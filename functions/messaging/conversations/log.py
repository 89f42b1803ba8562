"""The conversation log: append-only, numbered 1, 2, 3, … without a gap. The truth; everything else is a watermark into it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple

from messaging.base import clock, keys, store
from messaging.base.keys import Conversation
from messaging.base.settings import settings
from messaging.conversations import inbox, pace, rules
from messaging.conversations.models import Message
from messaging.conversations.rules import COMMAND, PARTS

APPEND_ATTEMPTS = 12  # lost races for the next number before a send is refused: more would feed the storm
ERASED = "erased"  # `written_by` of an erased message: neither a Dedup record's key nor a nonce
IN_FLIGHT_S = 60  # longer than any function runs: no message expires under an attempt that still names its slot


class Tip(NamedTuple):
    """The newest message of a conversation: its number, when it was sent, until when it keeps the conversation busy (ms), and its place in
    a chain of sums (see `Message.uncounted`; None where only the number is known); whose the backlog is (`pace`). 0s before the first."""

    msg_id: int
    sent_at: int
    busy_until: int = 0
    uncounted: int | None = None
    chain: int = 1
    shares: pace.Shares = MappingProxyType({})


NOTHING = Tip(0, 0, uncounted=0)


def tip(conversation: Conversation, now_ms: int) -> Tip:
    """The newest number ever given out, read consistently.

    With retention on, expired messages may be gone in any order; the number then is the highest that a watermark names.
    """
    items, _ = store.query(
        TableName=settings().messages_table,
        KeyConditionExpression="conversation = :c",
        ExpressionAttributeValues=store.pack({":c": conversation.key}),
        ProjectionExpression="msg_id, sent_at, sender, busy_until, backlog, uncounted, chain",
        ScanIndexForward=False,
        Limit=1,
    )
    newest = _tip(items[0]) if items else NOTHING
    if settings().retention_s and (not items or expired(newest.sent_at, now_ms)):
        return max(newest, Tip(*inbox.highest(conversation)), key=attrgetter("msg_id"))
    return newest


def settled(conversation: Conversation, newest: Tip, now_ms: int) -> Tip:
    """The same for who gives out the next number, and may.

    Where every message of a group has expired, a member's mark may know of a later one than the head does.
    """
    if not settings().retention_s or conversation.kind != "group" or not expired(newest.sent_at, now_ms):
        return newest
    known = inbox.highest_of_members(conversation)
    return Tip(known, newest.sent_at) if known > newest.msg_id else newest


def _tip(item: store.Item) -> Tip:
    sent_at = item["sent_at"]
    busy_until = item.get("busy_until", sent_at + pace.interval(settings().conversation_rate_per_s))
    shares = {int(sender): ms for sender, ms in item["backlog"].items()} if "backlog" in item else {item["sender"]: busy_until - sent_at}
    return Tip(item["msg_id"], sent_at, busy_until, item.get("uncounted"), item.get("chain", 1), shares)


def overfull(newest: Tip, message: Message, now_ms: int) -> bool:
    """Whether the conversation is so far ahead of its rate that its sender has to wait: one message more would only feed the storm."""
    rate, burst = settings().conversation_rate_per_s, settings().conversation_burst
    return pace.refuses(_backlog(newest, now_ms), message.sender, pace.cost(message.text_bytes, rate), rate, burst)


def _backlog(newest: Tip, now_ms: int) -> pace.Backlog:
    return pace.backlog(newest.sent_at, newest.busy_until, newest.shares, now_ms)


def holders(conversations: Iterable[Conversation], slots: Iterable[int]) -> list[str | None]:
    """Whose append has taken each of these slots (`written_by`); None for one that is free."""
    table = settings().messages_table
    refs: list[store.Ref] = [(table, {"conversation": each.key, "msg_id": slot}) for each, slot in zip(conversations, slots, strict=True)]
    return [item["written_by"] if item else None for item in store.get_many(refs, ("conversation", "msg_id", "written_by"))]


def append(
    message: Message,
    newest: Tip,
    relocate: Callable[[int, int], int] | None = None,
    release: Callable[[int], None] = lambda taken: None,
) -> int | None:
    """Puts the message into the slot `message.msg_id`, or into the next free one, exactly once; returns its number.

    `relocate(old, new)` moves a reservation and returns the slot that it names now. A slot that holds this very message already
    (an earlier attempt, or a repeat by the SDK after a lost reply) counts as done. None when others keep winning the race: this
    attempt has written nothing then, and `release(taken)` is told the slot that it lost last.
    """
    conversation, slot, rate = keys.parse(message.conversation), message.msg_id, settings().conversation_rate_per_s
    put_ms, moved_ms = pace.cost(message.text_bytes, rate), pace.interval(rate) if relocate else 0
    for attempt in range(1, APPEND_ATTEMPTS + 1):
        if newest.msg_id < slot - 1:  # the slot was named by an attempt that had seen more: time, rate and sums go on from what it saw
            newest = tip(conversation, message.sent_at)
        # Later in the log is never earlier on the clock, whatever the clocks of two containers say.
        sent_at = max(message.sent_at, newest.sent_at)
        # Races that were lost count, too: each took a put, and a reservation that was moved.
        spent_ms = attempt * put_ms + (attempt - 1) * moved_ms
        busy = pace.added(_backlog(newest, message.sent_at), message.sender, spent_ms)
        uncounted, chain = rules.next_uncounted(newest.uncounted if newest.msg_id == slot - 1 else None, newest.chain, slot, message.ctype)
        changes = {"msg_id": slot, "sent_at": sent_at, "expires_at": _expiry(sent_at), **_told(message.sender, sent_at, busy)}
        item = message.model_copy(update=changes | {"uncounted": uncounted, "chain": chain})
        outcome = store.attempt(
            store.dynamodb().put_item,
            TableName=settings().messages_table,
            Item=store.pack(item.model_dump(exclude_defaults=True)),
            ConditionExpression="attribute_not_exists(conversation)",
        )
        if outcome.applied or outcome.item["written_by"] == message.written_by:
            return slot
        if attempt == APPEND_ATTEMPTS:
            break
        store.backoff(attempt)
        newest = tip(conversation, message.sent_at)
        if overfull(newest, message, clock.now_ms()):
            break
        slot = relocate(slot, newest.msg_id + 1) if relocate else newest.msg_id + 1
    release(slot)
    return None


def _told(sender: int, sent_at: int, busy: pace.Backlog) -> dict[str, object]:
    """What a message says of the backlog: nothing where it is the usual one."""
    rate = settings().conversation_rate_per_s
    if not rate or busy.until == sent_at + pace.interval(rate) == sent_at + sum(busy.shares.values()):
        return {}
    alone = busy.shares == {sender: busy.until - sent_at}
    return {"busy_until": busy.until, "backlog": None if alone else {str(each): ms for each, ms in busy.shares.items()}}


class Glimpse(NamedTuple):
    """Of a message: its number, when it was sent (ms), the sum before it (None: not known) and its chain."""

    msg_id: int
    sent_at: int
    before: int | None = None
    chain: int = 1


GLIMPSED = ("conversation", "msg_id", "sent_at", "ctype", "uncounted", "chain")


def glimpse(places: Sequence[tuple[Conversation, int]]) -> list[Glimpse | None]:
    """Messages by conversation and number, at half the price of a consistent read; None for one that is not there, which was made sure."""
    refs: list[store.Ref] = [
        (settings().messages_table, {"conversation": conversation.key, "msg_id": msg_id}) for conversation, msg_id in places
    ]
    items = store.get_many(refs, GLIMPSED, weak=True)
    missed = [ref for ref, item in zip(refs, items, strict=True) if item is None]
    again = iter(store.get_many(missed, GLIMPSED))
    return [_glimpse(item) if item else None for item in (item or next(again) for item in items)]


def _glimpse(item: store.Item) -> Glimpse:
    uncounted = item.get("uncounted")
    before = None if uncounted is None else uncounted - (item["ctype"] == COMMAND)
    return Glimpse(item["msg_id"], item["sent_at"], before, item.get("chain", 1))


def first(conversation: Conversation, after: int, newest: Glimpse) -> Glimpse:
    """The first message after this number that is there."""
    (found,) = glimpse([(conversation, after + 1)])
    if found:
        return found
    items, _ = store.query(
        TableName=settings().messages_table,
        KeyConditionExpression="conversation = :c AND msg_id > :after",
        ExpressionAttributeValues=store.pack({":c": conversation.key, ":after": after}),
        ProjectionExpression=", ".join(GLIMPSED),
        Limit=1,
    )
    return _glimpse(items[0]) if items else newest


def first_live(conversation: Conversation, after: int, newest: Glimpse, now_ms: int) -> Glimpse:
    """The first message after this number that has not expired; `newest` has not.

    Numbers are dense and times never go back: so it is found by its time, and by halves where messages did not come evenly.
    """
    gone, live, probes = first(conversation, after, newest), newest, 0
    if not expired(gone.sent_at, now_ms):
        return gone
    while live.msg_id - gone.msg_id > 1:
        gap = live.msg_id - gone.msg_id
        share = (_horizon(now_ms) - gone.sent_at) / (live.sent_at - gone.sent_at) if probes % 3 < 2 else 1 / 2
        at = gone.msg_id + min(max(round(gap * share), 1), gap - 1)
        (found,) = glimpse([(conversation, at)])
        if found and not expired(found.sent_at, now_ms):
            live = found
        else:
            gone = found or Glimpse(at, gone.sent_at)
        probes += 1
    return live


def counts(conversation: Conversation, after: int, upto: int, reader: int) -> Iterator[tuple[int, int]]:
    """Page by page: up to which message was counted, and how many on that page count for `reader`: not their own, no COMMAND."""
    pages = store.query_pages(
        TableName=settings().messages_table,
        KeyConditionExpression="conversation = :c AND msg_id BETWEEN :first AND :upto",
        FilterExpression="sender <> :me AND ctype <> :command",
        ExpressionAttributeValues=store.pack(
            {":c": conversation.key, ":first": after + 1, ":upto": upto, ":me": reader, ":command": COMMAND}
        ),
        Select="COUNT",
    )
    for page in pages:
        yield store.unpack(page["LastEvaluatedKey"])["msg_id"] if "LastEvaluatedKey" in page else upto, page["Count"]


def page(conversation: Conversation, oldest: int, newest: int, limit: int, now_ms: int) -> tuple[list[Message], bool]:
    """Up to `limit` messages between two numbers, newest first, and whether older ones may follow."""
    if newest < oldest:
        return [], False
    items, more = store.query(
        TableName=settings().messages_table,
        KeyConditionExpression="conversation = :c AND msg_id BETWEEN :oldest AND :newest",
        ExpressionAttributeValues=store.pack({":c": conversation.key, ":oldest": oldest, ":newest": newest}),
        ScanIndexForward=False,
        Limit=limit,
    )
    messages = [Message.model_validate(item) for item in items]
    for at, message in enumerate(messages):
        if expired(message.sent_at, now_ms):  # everything older has expired too
            return messages[:at], False
    return messages, more and messages[-1].msg_id > oldest


def count(conversation: Conversation, after: int, reader: int, now_ms: int) -> int:
    """How many messages after this number count as unread for `reader`: not their own, no COMMAND, not expired."""
    pages = store.query_pages(
        TableName=settings().messages_table,
        KeyConditionExpression="conversation = :c AND msg_id > :after",
        FilterExpression="sender <> :me AND ctype <> :command AND sent_at > :horizon",
        ExpressionAttributeValues=store.pack(
            {":c": conversation.key, ":after": after, ":me": reader, ":command": COMMAND, ":horizon": _horizon(now_ms)}
        ),
        Select="COUNT",
    )
    return sum(page["Count"] for page in pages)


def newest_of(conversation: Conversation, sender: int, until_ms: int) -> int:
    """The number of the newest message that `sender` had sent by then; 0 where there is none."""
    found = store.query_each(
        TableName=settings().messages_table,
        KeyConditionExpression="conversation = :c",
        FilterExpression="sender = :sender AND sent_at <= :until",
        ExpressionAttributeValues=store.pack({":c": conversation.key, ":sender": sender, ":until": until_ms}),
        ProjectionExpression="msg_id",
        ScanIndexForward=False,
    )
    return next((int(item["msg_id"]) for item in found), 0)


def erase(conversation: Conversation, msg_id: int, now_ms: int) -> bool:
    """Removes what a message says. Its number, sender and type stay: nobody's history gets a hole, nobody's unread number changes.

    False where it has expired meanwhile. Nothing of the sender's may be under way: their append no longer recognises its own message.
    """
    place: store.Ref = settings().messages_table, {"conversation": conversation.key, "msg_id": msg_id}
    return store.update(place, emptied({}, now_ms), "attribute_exists(conversation)", remove=", ".join(PARTS)).applied


def emptied(item: store.Item, now_ms: int) -> store.Item:
    """A message as it is once it is erased. Who wrote it stays known, under which `transaction_id` not: that may be any text."""
    left = {name: value for name, value in item.items() if name not in PARTS}
    return {**left, "erased_at": now_ms, "written_by": ERASED}


def expired(sent_at: int, now_ms: int) -> bool:
    """Whether a message sent then has expired. TTL deletion lags by up to days, so whoever reads compares."""
    expires_at = _expiry(sent_at)
    return expires_at is not None and expires_at * 1000 <= now_ms


def _expiry(sent_at: int) -> int | None:
    return sent_at // 1000 + settings().retention_s + IN_FLIGHT_S if settings().retention_s else None


def _horizon(now_ms: int) -> int:
    """What was sent up to here (ms) has expired."""
    return (now_ms // 1000 - settings().retention_s - IN_FLIGHT_S + 1) * 1000 - 1 if settings().retention_s else 0

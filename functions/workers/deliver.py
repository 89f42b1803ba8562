"""The stream of Messages: whatever is in the log reaches the Inbox of everybody entitled to it.

Applying a record twice, late or out of order leaves the same marks. Small groups are written member by member, over the queue; large
ones only at their head, which their members' unread lists read.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from operator import itemgetter
from typing import Any

from pydantic import ValidationError

from messaging.base import clock, keys, store
from messaging.base.keys import Conversation
from messaging.base.settings import settings
from messaging.base.telemetry import lag, logger
from messaging.base.wire import Stored
from messaging.conversations import inbox
from messaging.conversations.models import FanoutJob
from messaging.conversations.queue import enqueue, place_of, set_aside
from messaging.conversations.rules import COMMAND, News, Skip, newest_skip, skip_of
from messaging.people import directory

FIELDS = ("conversation", "msg_id", "sent_at", "sender", "ctype", "uncounted", "chain")  # of a message, that a delivery reads
MOST_BEFORE = 100  # messages that were not told yet, read beside those of a delivery: many more than lanes can be apart
MEMBERS_PER_JOB = 100  # one fan-out job takes well under a second, and a failed one repeats little


class Record(Stored):
    """What a delivery needs of a stream record."""

    sequence: str  # the record's place in the stream
    conversation: str
    msg_id: int
    sent_at: int
    sender: int
    ctype: int
    uncounted: int | None = None
    chain: int = 1

    @property
    def skip(self) -> Skip:
        return skip_of(self.msg_id, self.ctype, self.uncounted, self.chain)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Returns the records that failed (`batchItemFailures`); raises instead where the mapping does not honour that.

    A record that cannot be read would fail for ever: it goes to the dead letters alone, and its batch is done without it.
    """
    batches, unreadable = _sorted(event["Records"])
    conversations = _in_turn(batches)
    errors = store.parallel([partial(_try, conversation, batches[conversation]) for conversation in conversations])
    failed = {conversation: error for conversation, error in zip(conversations, errors, strict=True) if error}
    if failed:  # one line for them all: a throttled table fails every conversation
        conversation, error = next(iter(failed.items()))
        logger.exception(
            "delivery failed", exc_info=error, extra={"conversation": conversation.key, "failed": len(failed), "of": len(batches)}
        )
    delivered = [record.sent_at for conversation, records in batches.items() if conversation not in failed for record in records]
    if delivered:
        lag("deliver", clock.now_ms(), min(delivered), records=len(delivered))
    again = [record.sequence for conversation in failed for record in batches[conversation]]
    set_aside(_not_again(unreadable, event["Records"], set(again)))
    if again and not settings().partial_batches:
        raise RuntimeError(f"{len(again)} records failed")
    return {"batchItemFailures": [{"itemIdentifier": sequence} for sequence in again]}


def _sorted(records: list[dict[str, Any]]) -> tuple[dict[Conversation, list[Record]], list[dict[str, Any]]]:
    """The new messages by their conversation, and the records that cannot be read."""
    batches, unreadable, why = defaultdict[Conversation, list[Record]](list), list[dict[str, Any]](), None
    for record in records:
        try:
            if record["eventName"] == "INSERT":
                message = _read(record["dynamodb"])
                batches[keys.parse(message.conversation)].append(message)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            unreadable.append(record)
            why = error
    if why:
        logger.exception("records cannot be read", exc_info=why, extra={"records": len(unreadable), "of": len(records)})
    return batches, unreadable


def _read(change: dict[str, Any]) -> Record:
    image = store.unpack({name: change["NewImage"][name] for name in FIELDS if name in change["NewImage"]})
    return Record(sequence=change["SequenceNumber"], **image)


def _in_turn(conversations: Iterable[Conversation]) -> list[Conversation]:
    """One of each app, then a second of each: who sends to 500 at once is not served before everybody else."""
    before, turns = Counter[str](), list[tuple[int, Conversation]]()
    for conversation in conversations:
        turns.append((before[conversation.app_id], conversation))
        before[conversation.app_id] += 1
    return [conversation for _, conversation in sorted(turns, key=itemgetter(0))]


def _not_again(unreadable: list[dict[str, Any]], records: list[dict[str, Any]], again: set[str]) -> list[dict[str, Any]]:
    """Those of the unreadable records that Lambda will not bring again: it goes back to the first one that failed, or to the beginning."""
    if not again:
        return unreadable
    if not settings().partial_batches:
        return []
    places = [place_of(record).get("sequence") for record in records]
    return [record for record in unreadable if records.index(record) < min(map(places.index, again))]


def _try(conversation: Conversation, records: list[Record]) -> Exception | None:
    """Delivers one conversation's records."""
    try:
        _deliver(conversation, records)
    except Exception as error:  # whatever it is: they come again, and the other conversations of the batch are not held up
        return error
    return None


def _deliver(conversation: Conversation, records: list[Record]) -> None:
    """In order, though another lane may be first with a later message: what came before and was not told yet is read from the log."""
    first, last = min(record.msg_id for record in records), max(record.msg_id for record in records)
    if len({record.msg_id for record in records}) <= last - first:
        records = [*_logged(conversation, first + 1, last - 1), *records]
    try:
        _tell(conversation, records, first - 1)
    except inbox.Behind as behind:
        _tell(conversation, [*_logged(conversation, behind.last_seq + 1, first - 1), *records])


def _logged(conversation: Conversation, first: int, last: int) -> list[Record]:
    """The messages of the log with these numbers, the newest where they are many; without those that cannot be read."""
    items, _ = store.query(
        TableName=settings().messages_table,
        KeyConditionExpression="conversation = :c AND msg_id BETWEEN :first AND :last",
        ExpressionAttributeValues=store.pack({":c": conversation.key, ":first": first, ":last": last}),
        ProjectionExpression=", ".join(FIELDS),
        ScanIndexForward=False,
        Limit=MOST_BEFORE,
    )
    found = []
    for item in items:
        with suppress(ValidationError):  # their own records are set aside
            found.append(Record(sequence="", **item))
    return found


def _tell(conversation: Conversation, records: list[Record], after: int | None = None) -> None:
    """`after`: as `inbox.apply`."""
    writers = {record.sender for record in records if record.sender}
    # Of a group, who wrote moves before the head and the others: nobody's own message is counted, not even for a moment.
    readers = writers if conversation.kind == "group" else conversation.users()
    told = None if conversation.kind == "group" else after  # a member's row may wait for the queue; the head tells of a group
    for reader in readers:
        inbox.apply(conversation, reader, _news(records, reader), told)
    if conversation.kind == "group":
        news = _news(records, None)
        head = inbox.move_head(conversation, news, after)
        if head and not head.get("by_head") and not _told_by_later(news, head):
            members = [user for user in directory.members(conversation.app_id, conversation.low) if user not in writers]
            enqueue(conversation.app_id, _jobs(conversation, news, members))


def _told_by_later(news: News, head: inbox.Row) -> bool:
    """Whether a later message has moved the head further: its delivery, in another lane, tells the members all of this but a COMMAND."""
    return head["last_seq"] > news.last_seq and not news.skip.seq


def _news(records: list[Record], reader: int | None) -> News:
    newest = max(records, key=lambda record: record.msg_id)
    skip, count_seq = newest_skip([record.skip for record in records if record.ctype == COMMAND and record.sender != reader], 0)
    own = sorted({record.skip for record in records if record.sender == reader})
    return News(newest.msg_id, newest.sent_at, skip, tuple(own), count_seq)


def _jobs(conversation: Conversation, news: News, members: list[int]) -> Iterator[FanoutJob]:
    for at in range(0, len(members), MEMBERS_PER_JOB):
        yield FanoutJob(
            conversation=conversation.key,
            last_seq=news.last_seq,
            last_at=news.last_at,
            skip_seq=news.skip.seq,
            uncounted=news.skip.uncounted if news.skip.seq else None,
            chain=news.skip.chain,
            count_seq=news.count_seq,
            members=members[at : at + MEMBERS_PER_JOB],
        )

"""The stream of Messages: whatever is in the log reaches the Inbox of everybody entitled to it.

Applying a record twice, late or out of order leaves the same marks. Small groups are written member by member, over the queue; large
ones only at their head, which their members' unread lists read.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from messaging.base import clock, keys, store
from messaging.base.keys import Conversation
from messaging.base.settings import settings
from messaging.base.telemetry import lag, logger
from messaging.conversations import inbox
from messaging.conversations.models import FanoutJob
from messaging.conversations.queue import enqueue
from messaging.conversations.rules import COMMAND, News, Skip, newest_skip, skip_of
from messaging.people import directory

FIELDS = ("conversation", "msg_id", "sent_at", "sender", "ctype", "uncounted", "chain")  # of a message, that a delivery reads
MEMBERS_PER_JOB = 100  # one fan-out job takes well under a second, and a failed one repeats little


class Record(NamedTuple):
    """What a delivery needs of a stream record."""

    sequence: str  # the record's place in the stream
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
    """Returns the records that failed (`batchItemFailures`); raises instead where the mapping does not honour that."""
    batches = _by_conversation(event["Records"])
    failed = store.parallel([partial(_try, conversation, records) for conversation, records in batches.items()])
    identifiers = [sequence for sequences in failed for sequence in sequences]
    delivered = [record.sent_at for records, again in zip(batches.values(), failed, strict=True) if not again for record in records]
    if delivered:
        lag("deliver", clock.now_ms(), min(delivered), records=len(delivered))
    if identifiers and not settings().partial_batches:
        raise RuntimeError(f"{len(identifiers)} records failed")
    return {"batchItemFailures": [{"itemIdentifier": sequence} for sequence in identifiers]}


def _by_conversation(records: list[dict[str, Any]]) -> dict[str, list[Record]]:
    batches = defaultdict(list)
    for record in records:
        change = record["dynamodb"]
        if record["eventName"] == "INSERT":
            image = store.unpack({name: change["NewImage"][name] for name in FIELDS if name in change["NewImage"]})
            batches[image.pop("conversation")].append(Record(change["SequenceNumber"], **image))
    return batches


def _try(key: str, records: list[Record]) -> list[str]:
    """Delivers one conversation's records; returns the stream positions of those that have to come again."""
    try:
        _deliver(keys.parse(key), records)
    except Exception:  # whatever it is: it comes again, and the other conversations of the batch are not held up
        logger.exception("delivery failed", extra={"conversation": key, "records": len(records)})
        return [record.sequence for record in records]
    return []


def _deliver(conversation: Conversation, records: list[Record]) -> None:
    writers = {record.sender for record in records if record.sender}
    # Of a group, who wrote moves before the head and the others: nobody's own message is counted, not even for a moment.
    readers = writers if conversation.kind == "group" else conversation.users()
    for reader in readers:
        inbox.apply(conversation, reader, _news(records, reader))
    if conversation.kind == "group":
        news = _news(records, None)
        head = inbox.move_head(conversation, news)
        if head and not head.get("by_head"):
            members = [user for user in directory.members(conversation.app_id, conversation.low) if user not in writers]
            enqueue(conversation.app_id, list(_jobs(conversation, news, members)))


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

"""The fan-out queue: moves the watermark of each member of a group.

Jobs of one batch are merged per member, newest wins: a busy group costs each member less than one write per message.
"""

from functools import partial
from typing import Any

from pydantic import ValidationError

from messaging.base import clock, keys, store
from messaging.base.telemetry import lag, logger
from messaging.conversations import inbox, rules
from messaging.conversations.models import FanoutJob
from messaging.conversations.rules import News

Place = tuple[str, int]  # a conversation key and a member


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Returns the jobs that failed (`batchItemFailures`): they come again, and after five times go to the dead-letter queue."""
    jobs = {record["messageId"]: _parsed(record) for record in event["Records"]}
    news: dict[Place, News] = {}
    for job in filter(None, jobs.values()):
        skip = rules.skip_of(job.skip_seq, rules.COMMAND, job.uncounted, job.chain) if job.skip_seq else rules.NO_SKIP
        told = News(job.last_seq, job.last_at, skip, count_seq=job.count_seq)
        for member in job.members:
            place = (job.conversation, member)
            news[place] = news[place].merge(told) if place in news else told
    errors = store.parallel([partial(_try, place, told) for place, told in news.items()])
    failed = {place: error for place, error in zip(news, errors, strict=True) if error}
    if failed:  # one line for them all: a throttled table fails every member
        (conversation, _), error = next(iter(failed.items()))
        logger.exception("fan-out failed", exc_info=error, extra={"conversation": conversation, "members": len(failed), "of": len(news)})
    again = [id for id, job in jobs.items() if job is None or any((job.conversation, member) in failed for member in job.members)]
    moved = [job.last_at for id, job in jobs.items() if job and id not in again]
    if moved:
        lag("fanout", clock.now_ms(), min(moved), jobs=len(moved))
    return {"batchItemFailures": [{"itemIdentifier": id} for id in again]}


def _parsed(record: dict[str, Any]) -> FanoutJob | None:
    try:
        return FanoutJob.model_validate_json(record["body"])
    except ValidationError:
        logger.exception("not a fan-out job", extra={"message_id": record["messageId"]})
        return None


def _try(place: Place, news: News) -> Exception | None:
    conversation, member = place
    try:
        inbox.apply(keys.parse(conversation), member, news)  # who has left meanwhile is passed over
    except Exception as error:  # whatever it is: the job comes again, and the other members of the batch are not held up
        return error
    return None

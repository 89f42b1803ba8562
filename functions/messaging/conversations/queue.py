"""The fan-out queue, producer side. The app is the message group, so that one busy tenant does not starve the others.

And the dead letters of the stream: what `deliver` itself sets aside there.
"""

import json
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3

from messaging.base import store
from messaging.base.errors import ApiError, Code
from messaging.base.settings import settings
from messaging.conversations.models import FanoutJob

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

SQS_BATCH = 10  # entries per SendMessageBatch, AWS quota
SEND_ROUNDS = 5  # rounds for entries that SQS reports as failed


@cache
def _sqs() -> "SQSClient":
    return boto3.client("sqs", config=store.CONFIG)


store.at_start(_sqs)


def enqueue(app_id: str, jobs: Iterable[FanoutJob]) -> None:
    """Queues every job; ApiError STORE_FAILED where SQS keeps refusing one. Queueing a job twice is harmless."""
    _send(settings().fanout_queue_url, (job.model_dump_json(exclude_defaults=True) for job in jobs), {"MessageGroupId": app_id})


def set_aside(records: Iterable[dict[str, Any]]) -> None:
    """Leaves a dead letter for each of these stream records: where it stood, and the key of its message, never a content."""
    _send(settings().deliver_dead_queue_url, (json.dumps({"unreadable": place_of(record)}) for record in records), {})


def place_of(record: dict[str, Any]) -> dict[str, Any]:
    """Of a record that may lack anything: its place in the stream, and its message's key as the table has it."""
    change = record.get("dynamodb", {})
    return {"stream": record.get("eventSourceARN"), "sequence": change.get("SequenceNumber"), "keys": change.get("Keys")}


def _send(url: str, bodies: Iterable[str], options: dict[str, str]) -> None:
    waiting = list(bodies)
    for at in range(0, len(waiting), SQS_BATCH):
        pending = {str(n): body for n, body in enumerate(waiting[at : at + SQS_BATCH])}
        for round_ in range(SEND_ROUNDS):
            if round_:
                store.backoff(round_)
            entries: Any = [{"Id": n, "MessageBody": body, **options} for n, body in pending.items()]
            reply = _sqs().send_message_batch(QueueUrl=url, Entries=entries)
            pending = {failure["Id"]: pending[failure["Id"]] for failure in reply.get("Failed", [])}
            if not pending:
                break
        else:
            raise ApiError(Code.STORE_FAILED, f"{len(pending)} messages could not be queued")

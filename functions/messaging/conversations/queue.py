"""The fan-out queue, producer side. The app is the message group, so that one busy tenant does not starve the others."""

from functools import cache
from typing import TYPE_CHECKING

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


def enqueue(app_id: str, jobs: list[FanoutJob]) -> None:
    """Queues every job; ApiError STORE_FAILED where SQS keeps refusing one. Queueing a job twice is harmless."""
    for at in range(0, len(jobs), SQS_BATCH):
        pending = {str(n): job.model_dump_json(exclude_defaults=True) for n, job in enumerate(jobs[at : at + SQS_BATCH])}
        for round_ in range(SEND_ROUNDS):
            if round_:
                store.backoff(round_)
            reply = _sqs().send_message_batch(
                QueueUrl=settings().fanout_queue_url,
                Entries=[{"Id": n, "MessageBody": body, "MessageGroupId": app_id} for n, body in pending.items()],
            )
            pending = {failure["Id"]: pending[failure["Id"]] for failure in reply.get("Failed", [])}
            if not pending:
                break
        else:
            raise ApiError(Code.STORE_FAILED, f"{len(pending)} fan-out jobs could not be queued")

"""The fan-out queue, its dead-letter queue, and where stream records go that could not be delivered."""

from aws_cdk import Duration
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.catalog import KEPT_DEAD_DAYS, TIMEOUT_S

RECEIVES = 5  # attempts at a job before it is set aside
VISIBILITY_S = 6 * TIMEOUT_S  # AWS: at least six times the function's timeout, or a slow job is handed out twice
KEPT = Duration.days(4)
KEPT_DEAD = Duration.days(KEPT_DEAD_DAYS)  # counted from when a job was first queued: ten days are left to notice and redrive


class Queues(Construct):
    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id)
        self.fanout_dead = self._queue("FanoutDead", retention_period=KEPT_DEAD)
        self.deliver_dead = self._queue("DeliverDead", retention_period=KEPT_DEAD)
        self.fanout = self._queue(
            "Fanout",
            retention_period=KEPT,
            visibility_timeout=Duration.seconds(VISIBILITY_S),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.fanout_dead, max_receive_count=RECEIVES),
        )

    def _queue(self, id: str, **options: object) -> sqs.Queue:
        return sqs.Queue(
            self,
            id,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            **options,  # type: ignore[arg-type]
        )

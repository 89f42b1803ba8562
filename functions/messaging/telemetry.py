"""The log: one short JSON line a request or batch, at most 200 bytes where it succeeded. Never a token, never a content.

Alarms and the dashboard read their numbers from these lines (metric filters in `infra/monitoring.py`): a metric costs a function nothing.
"""

from logging import LogRecord
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter


class _Lines(LambdaPowertoolsFormatter):
    """Lambda takes a line without `level` for INFO, and a time only in RFC 3339; of an INFO line the message is the operation."""

    def formatTime(self, record: LogRecord, datefmt: str | None = None) -> str:
        return super().formatTime(record, datefmt).replace("+00:00", "Z")

    def serialize(self, log: Any) -> str:
        if log["level"] == "INFO":
            log = {"timestamp": log.pop("timestamp"), "op": log.pop("message"), **log}
            del log["level"]
        return super().serialize(log)


# The service is what the log group's name says; the trace is found by the request id.
logger = Logger(
    level="INFO",
    logger_formatter=_Lines(use_rfc3339=True, utc=True, location=None, xray_trace_id=None, serialize_stacktrace=False),
)
logger.remove_keys(["service"])


def lag(operation: str, now_ms: int, since_ms: int, **counts: int) -> None:
    """One line of a worker's batch: how long ago (ms) the oldest message of what it has moved was sent.

    Never negative, though clocks differ: CloudWatch has no percentiles of a metric that ever was.
    """
    logger.info(operation, extra={"lag_ms": max(0, now_ms - since_ms), **counts})

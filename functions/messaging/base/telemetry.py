"""The log: one short JSON line a request or batch, at most 200 bytes where it succeeded. Never a token, never a content.

Alarms and the dashboard read their numbers from these lines (metric filters in `infra/monitoring.py`): a metric costs a function nothing.
"""

import traceback
from hashlib import blake2b
from logging import LogRecord
from types import TracebackType
from typing import Any, TypeAlias

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from botocore.exceptions import ClientError

from messaging.base.errors import ApiError

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class Lines(LambdaPowertoolsFormatter):
    """Lambda takes a line without `level` for INFO, and a time only in RFC 3339; of an INFO line the message is the operation.

    Tracebacks come without what others wrote into their exceptions: boto3, pydantic and AWS quote the values that they refuse.
    """

    def formatTime(self, record: LogRecord, datefmt: str | None = None) -> str:
        return super().formatTime(record, datefmt).replace("+00:00", "Z")

    def serialize(self, log: Any) -> str:
        if log["level"] == "INFO":
            log = {"timestamp": log.pop("timestamp"), "op": log.pop("message"), **log}
            del log["level"]
        return super().serialize(log)

    def formatException(self, ei: ExcInfo) -> str:
        parts: list[str] = []
        error = ei[1]
        while error:
            parts = [*traceback.format_tb(error.__traceback__), f"{type(error).__name__}{_known(error)}\n", *parts]
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "".join(parts)


def _known(error: BaseException) -> str:
    """What an exception says that is of AWS's or our own making."""
    if isinstance(error, ClientError):
        return f": {error.response['Error']['Code']} when calling {error.operation_name}"
    return f": {error}" if isinstance(error, ApiError) else ""


# The service is what the log group's name says; the trace is found by the request id; an exception's notes are text of others, too.
_lines = Lines(use_rfc3339=True, utc=True, location=None, xray_trace_id=None, exception_notes=None, serialize_stacktrace=False)
logger = Logger(level="INFO", logger_formatter=_lines)
logger.remove_keys(["service"])


def alias(secret: str, user_id: int) -> str:
    """What a user is called in the log: always the same, and without the app's `secret` no way back to the number."""
    return blake2b(str(user_id).encode(), key=secret.encode(), digest_size=4).hexdigest()


def lag(operation: str, now_ms: int, since_ms: int, **counts: int) -> None:
    """One line of a worker's batch: how long ago (ms) the oldest message of what it has moved was sent.

    Never negative, though clocks differ: CloudWatch has no percentiles of a metric that ever was.
    """
    logger.info(operation, extra={"lag_ms": max(0, now_ms - since_ms), **counts})

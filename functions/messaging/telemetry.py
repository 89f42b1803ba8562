"""The log: one short JSON line a request. Never a token, never a content."""

import traceback
from types import TracebackType
from typing import TypeAlias

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from botocore.exceptions import ClientError

from messaging.errors import ApiError

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class Formatter(LambdaPowertoolsFormatter):
    """Tracebacks without what others wrote into their exceptions: boto3, pydantic and AWS quote the values that they refuse."""

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


# Lambda reads level and time from the line: the time has to be RFC 3339. An exception's notes are text of others, too.
_formatter = Formatter(location=None, exception_notes=None, use_rfc3339=True, utc=True, serialize_stacktrace=False)
logger = Logger(level="INFO", logger_formatter=_formatter)
logger.remove_keys(["service"])  # the log group says it

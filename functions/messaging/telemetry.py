"""The log: one short JSON line a request. Never a token, never a content."""

from aws_lambda_powertools import Logger

# Lambda reads level and time from the line: the time has to be RFC 3339.
logger = Logger(level="INFO", location=None, use_rfc3339=True, utc=True, serialize_stacktrace=False)
logger.remove_keys(["service"])  # the log group says it

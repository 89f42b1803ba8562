"""The log: one short JSON line a request. Never a token, never a content."""

from aws_lambda_powertools import Logger

logger = Logger(service="parley", level="INFO", location=None, use_rfc3339=True, utc=True)  # Lambda reads level and time from it

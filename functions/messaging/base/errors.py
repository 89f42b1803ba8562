"""The code table of the API, and the one error type that carries a code to the caller."""

from enum import IntEnum


class Code(IntEnum):
    """`code` of every reply. HTTP stays 200 except where `HTTP_STATUS` says otherwise."""

    OK = 200
    TOKEN_EXPIRED = 402
    UNKNOWN_USER = 10000
    BAD_PARAMETER = 10002
    TOKEN_MISSING = 10003
    USER_EXISTS = 10004
    TOKEN_INVALID = 10008
    NO_PERMISSION = 10010
    TOO_MANY_TARGETS = 12005
    STORE_FAILED = 20000
    UNKNOWN_GROUP = 20001
    NOT_A_MEMBER = 20002
    TOO_MANY_MEMBERS = 20010
    GROUP_ADMINISTRATOR_REQUIRED = 20012
    GROUP_OWNER_REQUIRED = 20013
    ALREADY_A_MEMBER = 20017
    UNKNOWN_APP = 40000
    INTERNAL = 50000
    UNKNOWN_MESSAGE = 50001
    TRANSACTION_ID_REUSED = 50002
    MESSAGE_TOO_LARGE = 50003
    TOO_MANY_REQUESTS = 50004
    TOO_LATE_TO_RECALL = 50005


HTTP_STATUS = {Code.STORE_FAILED: 503, Code.INTERNAL: 500, Code.TOO_MANY_REQUESTS: 429}


class ApiError(Exception):
    """A refusal: `code` and a `message` that names what is wrong. The edge turns it into a reply.

    `status` overrides the HTTP status where the code alone does not tell it (413 for an oversized body).
    """

    def __init__(self, code: Code, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or HTTP_STATUS.get(code, 200)

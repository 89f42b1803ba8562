"""Faults below boto3's clients: what the functions are told is bent, the functions themselves never are."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from botocore.client import BaseClient
from botocore.exceptions import ClientError

Answer = Callable[[str, dict[str, Any], Callable[[], Any]], Any]  # operation, request, what performs it → the reply
WRITES = ("PutItem", "UpdateItem", "DeleteItem")


@contextmanager
def tampered(answer: Answer) -> Iterator[None]:
    """Every AWS call made inside is answered by `answer(operation, request, perform)`, from whatever thread it comes."""
    original = BaseClient._make_api_call  # type: ignore[attr-defined]

    def bent(client: Any, operation: str, request: dict[str, Any]) -> Any:
        return answer(operation, request, partial(original, client, operation, request))

    BaseClient._make_api_call = bent  # type: ignore[attr-defined]
    try:
        yield
    finally:
        BaseClient._make_api_call = original  # type: ignore[attr-defined]


def error(code: str, status: int = 400, operation: str = "Any", message: str = "no") -> ClientError:
    """What boto3 raises for an error that AWS answers with."""
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}, operation)  # type: ignore[typeddict-item]


class Crash(BaseException):
    """The container is gone: nothing may catch this."""


class Crashing:
    """The container dies at its `at`-th AWS call, before the call takes effect or after; no later call gets through."""

    def __init__(self, at: int, effective: bool) -> None:
        self.at, self.effective, self.made = at, effective, 0
        self._lock = threading.Lock()

    @property
    def crashed(self) -> bool:
        return self.made >= self.at

    def __call__(self, operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        with self._lock:
            self.made += 1
            number = self.made
        if number == self.at and self.effective:
            perform()
        if number >= self.at:
            raise Crash
        return perform()


def lost_reply(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
    """Every write takes effect, its reply is lost, and the SDK repeats it: the caller sees the second reply."""
    if operation in WRITES:
        with_ignored_refusal(perform)
    return perform()


def with_ignored_refusal(perform: Callable[[], Any]) -> None:
    try:
        perform()
    except ClientError as refused:
        if refused.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise

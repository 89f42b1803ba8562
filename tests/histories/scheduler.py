"""Runs several requests of the real code side by side, one AWS call at a time, in any order, with crashes and lost replies.

No threads: a request is a function of the replies that it has been given so far. To take one more step it is run again from its
start, is told the replies that it was told before, and is stopped at the first call that is new.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import pytest

from messaging import posting, store
from messaging.models import Caller, SendRequest
from tests.faults.sdk import tampered

T = TypeVar("T")
NOW_MS = 1_795_425_121_123
WRITES = ("PutItem", "UpdateItem")


class Request(NamedTuple):
    """A send by `sender`; `name` is its content. Requests with the same `transaction_id` are attempts at one."""

    name: str
    sender: int
    targets: tuple[int, ...]
    transaction_id: int | None = None

    def run(self) -> list[int]:
        wire = {"type": 1, "targets": list(self.targets), "content": self.name, "transaction_id": self.transaction_id}
        caller = Caller("demo", self.sender, is_admin=False, vouched=True)
        return posting.post(caller, SendRequest.model_validate(wire), "send", self.sender, NOW_MS)


class Call(NamedTuple):
    """The AWS call at which a request waits."""

    operation: str
    request: dict[str, Any]


class Answer(NamedTuple):
    """How a request ended."""

    msg_ids: tuple[int, ...]


class _Waiting(BaseException):
    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call


Replies = tuple[Any, ...]  # what a request has been told: replies, and the errors that it was told instead


class Replay:
    """Steps requests while it is `installed`."""

    def __init__(self) -> None:
        self._told: Iterator[Any] = iter(())
        self._nonces: Iterator[int] = itertools.count()
        self._name = ""
        self._live: Callable[[], Any] | None = None

    def waits_at(self, request: Request, replies: Replies) -> Call | Answer:
        """Where a request that was told this waits, or how it ended."""
        self._told, self._nonces, self._name = iter(replies), itertools.count(), f"{request.name} of {request.sender}"
        try:
            return Answer(tuple(request.run()))
        except _Waiting as waiting:
            return waiting.call

    def _answer(self, operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        for reply in self._told:
            if isinstance(reply, Exception):
                raise reply.with_traceback(None)
            return reply
        raise _Waiting(Call(operation, request))

    def nonce(self) -> Any:
        class Nonce:
            hex = f"{self._name} #{next(self._nonces)}"

        return Nonce

    @contextmanager
    def installed(self, monkeypatch: pytest.MonkeyPatch, backwards: bool) -> Iterator[None]:
        """Independent calls are made one after the other here, forwards or backwards; a nonce is the same in every run."""

        def in_turn(calls: Sequence[Callable[[], T]]) -> list[T]:
            results = [call() for call in (reversed(calls) if backwards else calls)]
            return results[::-1] if backwards else results

        with monkeypatch.context() as patch, tampered(self._answer):
            patch.setattr(store, "parallel", in_turn)
            patch.setattr(store, "BACKOFF_S", (0, 0))
            patch.setattr("messaging.posting.uuid.uuid4", self.nonce)
            yield


def told(perform: Callable[[], Any]) -> Any:
    """The reply to a call, or the refusal that is told instead."""
    try:
        return perform()
    except store.dynamodb().exceptions.ConditionalCheckFailedException as refused:
        return refused

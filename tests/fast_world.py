"""The whole Parley on the fast AWS: the real handlers, a clock of its own, one thread, and nothing left to chance.

with fast_world() as world:
    world.injector = Injector({3: Fault.CRASH_AFTER})
    ...
    world.restore(before)   # a microsecond, and everything is as it was
"""

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any, NamedTuple, Protocol, TypeVar

import pytest

from messaging.base import clock, settings, store
from messaging.base.telemetry import logger
from messaging.conversations import rules
from tests import world as worlds
from tests.conftest import ENVIRONMENT
from tests.fast_aws import DEAD_QUEUE, FastAws, Item, Snapshot
from tests.faults.sdk import tampered
from tests.world import World

T = TypeVar("T")
START_MS = 1_795_425_121_123
STREAM_ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/Messages/stream/1"


class Interceptor(Protocol):
    """Stands between the functions and AWS: gets each call, and what performs it (a second time too)."""

    def __call__(self, operation: str, request: dict[str, Any], perform: Callable[..., Any]) -> Any: ...


class Moment(NamedTuple):
    """Everything there is, at one point in time."""

    aws: Snapshot
    streamed: int
    now_ms: int


class FastWorld(World):
    """`World`, without threads, waiting or emulators; `now_ms` moves only when it is moved.

    `frozen_ms`: how much of the time the container was frozen, its monotonic clock standing still.
    """

    def __init__(self) -> None:
        super().__init__()
        self.aws = FastAws(self.keys)
        self.now_ms, self.frozen_ms = START_MS, 0
        self.skew_ms = 0  # how far the containers' clocks are ahead of AWS's
        self.injector: Interceptor | None = None
        self.backwards = False  # independent calls are made in the reverse order
        self.caught: list[str] = []  # what the functions logged as an exception
        self.broken: list[str] = []  # writes that must never be
        self.aws.wrote = self._require_forward
        self.nonces: Iterator[int] = itertools.count()

    def freeze(self, seconds: float) -> None:
        """The time until the next request, in which the container does not run."""
        self.now_ms += round(seconds * 1000)
        self.frozen_ms += round(seconds * 1000)

    def moment(self) -> Moment:
        return Moment(self.aws.snapshot(), self.streamed, self.now_ms)

    def restore(self, moment: Moment) -> None:
        self.aws.restore(moment.aws)
        self.streamed, self.now_ms = moment.streamed, moment.now_ms

    def stream(self) -> list[dict[str, Any]]:
        records = self.aws.records[self.streamed :]
        self.streamed += len(records)
        return [{**record, "eventSourceARN": STREAM_ARN} for record in records]

    def jobs(self) -> list[dict[str, Any]]:
        bodies, self.aws.bodies = self.aws.bodies, []
        return [{"messageId": str(next(self.nonces)), "body": body, "attributes": {}} for body in bodies]

    def rows(self, table: str) -> list[dict[str, Any]]:
        return [store.unpack(item) for _, item in sorted(self.aws.tables[table].items())]

    def _require_forward(self, table: str, old: Item | None, new: Item | None) -> None:
        """What is in the log stays as it is; a mark never moves back, and not at all for somebody who has left."""
        if table == "Messages" and old is not None and old != new:
            self.broken.append(f"message changed: {old} → {new}")
        if table == "Inbox" and old is not None:
            before, after = rules.marks_of(store.unpack(old)), rules.marks_of(store.unpack(new or {}))
            back = [mark for mark in rules.WATERMARKS if getattr(after, mark) < getattr(before, mark)]
            if back:
                self.broken.append(f"marks moved back: {back} of {before} → {after}")
            if before != after and "left_at" in old and "left_at" in (new or {}):
                self.broken.append(f"marks moved after leaving: {before} → {after}")

    def _answer(self, operation: str, request: dict[str, Any], perform: object) -> Any:
        if not self.skew_ms:
            return self._reply(operation, request)
        began = self.now_ms + self.skew_ms
        try:
            return self._reply(operation, request)
        finally:
            clock.compare(began, formatdate(self.now_ms // 1000, usegmt=True), self.now_ms + self.skew_ms)

    def _reply(self, operation: str, request: dict[str, Any]) -> Any:
        if self.injector is None:
            return self.aws.perform(operation, request)
        return self.injector(operation, request, lambda stale=False, **changed: self.aws.perform(operation, request | changed, stale))

    def _in_turn(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """As `store.parallel`: every call is made, whatever becomes of the others, unless the container dies."""
        results: dict[int, T] = {}
        errors: dict[int, Exception] = {}
        order = range(len(calls))
        for at in reversed(order) if self.backwards else order:
            try:
                results[at] = calls[at]()
            except Exception as failed:
                errors[at] = failed
        if errors:
            raise errors[min(errors)]
        return [results[at] for at in order]

    def _uuid4(self) -> Any:
        class Nonce:
            hex = f"nonce-{next(self.nonces)}"

        return Nonce


class _Clock:
    """The `time` of the modules that ask for it."""

    def __init__(self, now_ms: Callable[[], int], frozen_ms: Callable[[], int] = lambda: 0) -> None:
        self.time_ns = lambda: now_ms() * 1_000_000
        self.time = lambda: now_ms() / 1000
        self.monotonic = self.perf_counter = lambda: (now_ms() - frozen_ms()) / 1000
        self.sleep = lambda seconds: None


@contextmanager
def fast_world(**environment: str) -> Iterator[FastWorld]:
    """An empty Parley with the app `demo`; `environment`: settings of the functions. No log lines: what is told counts here."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            **ENVIRONMENT,
            **{variable: table for table, variable in worlds.TABLES.items()},
            "FANOUT_QUEUE_URL": "https://queue",
            "DELIVER_DEAD_QUEUE_URL": DEAD_QUEUE,
            "TOKEN_SECRET": "TokenKeys",
            **environment,
        }.items():
            patch.setenv(name, value)
        settings.settings.cache_clear()
        world = FastWorld()
        time = _Clock(lambda: world.now_ms + world.skew_ms, lambda: world.frozen_ms)
        for module in ("base.clock", "base.memory", "edge", "base.store", "conversations.tallies"):
            patch.setattr(f"messaging.{module}.time", time)
        patch.setattr(worlds, "_now", lambda: world.now_ms)
        patch.setattr(worlds, "time", _Clock(lambda: world.now_ms))
        patch.setattr(store, "parallel", world._in_turn)
        patch.setattr("messaging.conversations.posting.uuid.uuid4", world._uuid4)
        patch.setattr(logger, "_logger", _Quiet(world))
        with tampered(world._answer):
            worlds.cold()
            world.app()
            yield world
    settings.settings.cache_clear()
    worlds.cold()


class _Quiet:
    """Takes log lines, and keeps what was caught where nobody expected it."""

    def __init__(self, world: FastWorld) -> None:
        self._world = world

    def info(self, *args: object, **kwargs: object) -> None:
        pass

    def exception(self, message: str, **kwargs: object) -> None:
        self._world.caught.append(f"{message}: {sys.exc_info()[1]!r}")

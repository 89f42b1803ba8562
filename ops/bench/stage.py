"""Where the benchmark measures: the real handlers on the fast AWS, every AWS call metered and put in its place in time.

with stage(progress) as here:
    alice, bob = here.acquainted()
    here.send(alice, [bob]).metered.writes    # of one request, warm
"""

import base64
import gzip
import heapq
import io
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import pytest

from messaging.base import keys, store
from messaging.base.telemetry import logger
from messaging.conversations import membership
from ops.bench import deployed
from ops.bench.figures import Progress
from ops.bench.meter import Meter, Metered
from ops.bench.progress import EVERY_S, while_waiting
from tests.fast_world import FastWorld, fast_world
from tests.world import APP

T = TypeVar("T")
CONTENT = "Shall we meet at the station at half past seven and walk to the theatre from it?"  # 80 characters
FIRST_COPY = 1_000_001  # of the members that are copies of others
THREADS = store.PARALLEL + 1  # of `store.parallel`: the pool's and the caller's own
# What API Gateway puts before the headers of a reply and adds to them, by length.
GATEWAY_HEADERS = (
    "HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 09:00:00 GMT\r\nContent-Length: 1000\r\nApigw-Requestid: JKJaXmPLvHcESHA=\r\n\r\n"
)


class Work(NamedTuple):
    """What one invocation took: what is billed, AWS calls one after another, bytes of the HTTP reply and of the log."""

    metered: Metered
    round_trips: int
    reply_bytes: int
    log_bytes: int


class Doing:
    """Tells what is being done, again and again while it lasts."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._what, self._said = progress, "", 0.0

    def __call__(self, what: str) -> None:
        self._what, self._said = what, time.monotonic()
        self._progress(what)

    def still(self) -> None:
        if time.monotonic() - self._said > EVERY_S:
            self(self._what)


class Group(NamedTuple):
    number: int
    members: list[int]  # whoever created it first


@dataclass
class Trips:
    """How many AWS calls lie one after another: independent ones run side by side, as on the threads of a function."""

    now: int = 0

    def side_by_side(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """In place of `store.parallel`; every thread takes the next call when it is free."""
        free = [self.now] * THREADS
        results = []
        for call in calls:
            self.now = heapq.heappop(free)
            results.append(call())
            heapq.heappush(free, self.now)
        self.now = max(free)
        return results


class Stage:
    """See the module. Whatever is refused, fails or logs an error raises: only success is measured."""

    def __init__(self, world: FastWorld, printed: io.StringIO, doing: Doing) -> None:
        self.world, self.doing = world, doing
        self.meter = Meter(world.aws.perform, deployed.tables())
        self.trips = Trips()
        self.call_ms = 0  # how long an AWS call takes by the functions' own clock
        self.cpu_ms = 0.0  # of what was observed last, above boto3; the making of its event is in it
        self._printed = printed
        self._below_s = 0.0  # CPU of the store and the meter

    def user(self) -> int:
        return self.world.user()

    def acquainted(self, messages: int = 4) -> tuple[int, int]:
        """Two users who have written to each other in turn, and read it all."""
        one, other = self.user(), self.user()
        for at in range(messages):
            self.doing.still()
            sender, reader = (other, one) if at % 2 else (one, other)
            number = self.world.send(sender, [reader], content=CONTENT)[0]
            self.world.drain()
            self.world.ack(reader, sender, msg_id=number)
        return one, other

    # --- work

    def send(self, sender: int, targets: list[int], **fields: Any) -> Work:
        return self.request("POST", "/message/send", sender, body={"type": 1, "targets": targets, "content": CONTENT, **fields})

    def say(self, sender: int, group: int, **fields: Any) -> Work:
        return self.send(sender, [group], type=2, **fields)

    def history(self, reader: int, number: int, **query: int) -> Work:
        return self.request("GET", "/message/conversation", reader, query={"opposite_id": number, **query})

    def ack(self, reader: int, number: int, msg_id: int) -> Work:
        return self.request("GET", "/message/ack", reader, query={"conversation_id": number, "msg_id": msg_id})

    def delete(self, reader: int, number: int) -> Work:
        return self.request("DELETE", "/message/conversation", reader, query={"conversation_id": number})

    def unread(self, reader: int) -> Work:
        return self.request("GET", "/message/unread", reader)

    def request(self, verb: str, path: str, user: int, **request: Any) -> Work:
        token = self.world.token(user)  # which also has the keys in memory
        headers = {"accept-encoding": "gzip"}  # as every client's library sends it
        reply, work = self.observe(lambda: self.world.http(verb, path, token, headers=headers, **request))
        body = base64.b64decode(reply["body"]) if reply.get("isBase64Encoded") else reply["body"].encode()
        envelope = json.loads(gzip.decompress(body) if "content-encoding" in reply["headers"] else body)
        if envelope["code"] != 200:
            raise RuntimeError(f"{verb} {path} was refused: {envelope}")
        head = sum(len(f"{name}: {value}\r\n") for name, value in reply["headers"].items())
        return work._replace(reply_bytes=len(GATEWAY_HEADERS) + head + len(body))

    def deliver(self, records: list[dict[str, Any]]) -> Work:
        return self._worker(lambda: self.world.deliver(records))

    def fan_out(self, jobs: list[dict[str, Any]]) -> Work:
        return self._worker(lambda: self.world.fan_out(jobs))

    def _worker(self, run: Callable[[], dict[str, Any]]) -> Work:
        done, work = self.observe(run)
        if done["batchItemFailures"]:
            raise RuntimeError(f"not everything was delivered: {done}")
        return work

    def observe(self, act: Callable[[], T]) -> tuple[T, Work]:
        """What it returns, and what it took."""
        self.meter.charges.clear()
        self.trips.now = 0
        self._printed.seek(0)
        self._printed.truncate()
        self._below_s = 0.0
        self.world.injector = self
        started = time.thread_time()
        try:
            done = act()
        finally:
            self.world.injector = None
        self.cpu_ms = (time.thread_time() - started - self._below_s) * 1000
        lines = self._printed.getvalue()
        if '"level":' in lines:  # INFO lines have none
            raise RuntimeError(f"something was logged: {lines}")
        return done, Work(self.meter.total, self.trips.now, 0, len(lines.rstrip("\n").encode()))

    def newest(self, one: int, other: int) -> int:
        """The number of the newest message of two users."""
        return int(self.world.aws.tables["Messages"].partition(keys.between(APP, one, other).key)[-1][1])

    def __call__(self, operation: str, request: dict[str, Any], perform: Callable[..., Any]) -> Any:
        """An `Interceptor`: of every AWS call."""
        started = time.thread_time()
        self.doing.still()
        self.trips.now += 1
        self.world.now_ms += self.call_ms
        try:
            return self.meter(operation, request, perform)
        finally:
            self._below_s += time.thread_time() - started

    # --- what is there

    def group(self, size: int) -> Group:
        """A group of three members or more, read by its head where it is above the push limit.

        All but three are copies of one who joined; beyond `membership.MAX_MEMBERS` it is as if the product let them in.
        """
        owner, other, last = self.user(), self.user(), self.user()
        group = self.world.group(owner, other)
        copies = range(FIRST_COPY, FIRST_COPY + size - 3)
        allowed = membership.MAX_MEMBERS - 3
        self._copy(group, other, copies[:allowed])
        self.world.join(group, last)  # which crosses the push limit as the product does
        self._copy(group, last, copies[allowed:])
        return Group(group, [owner, other, last, *copies])

    def _copy(self, group: int, member: int, copies: Iterable[int]) -> None:
        """Puts the profile, the listing and the row of more members, as joining leaves them."""
        entity, aws = keys.entity(APP, group), self.world.aws
        profile = aws.tables["Directory"][keys.entity(APP, member), keys.PROFILE]
        listing, row = aws.tables["Directory"][entity, keys.member(member)], aws.tables["Inbox"][keys.entity(APP, member), group]
        for copy in copies:
            self.doing.still()
            own = {"entity": {"S": keys.entity(APP, copy)}, "entity_id": {"N": str(copy)}}
            aws.tables["Directory"][keys.entity(APP, copy), keys.PROFILE] = {**profile, **own}
            aws.tables["Directory"][entity, keys.member(copy)] = {**listing, "facet": {"S": keys.member(copy)}}
            aws.tables["Inbox"][keys.entity(APP, copy), group] = {**row, "reader": {"S": keys.entity(APP, copy)}}


@contextmanager
def stage(progress: Progress, **environment: str) -> Iterator[Stage]:
    """An empty Parley to measure in; `environment`: settings of the functions."""
    doing = Doing(progress)
    with ThreadPoolExecutor(1) as pool:
        while_waiting(pool.submit(deployed.tables), progress, "synthesizing what is deployed")
    real, nonce = logger._logger, uuid.uuid4  # as long as they are: both are stood in for in the fast world
    with fast_world(**environment) as world, pytest.MonkeyPatch.context() as patch:
        printed = io.StringIO()
        patch.setattr(logger, "_logger", real)
        patch.setattr(uuid, "uuid4", nonce)
        for handler in real.handlers:
            patch.setattr(handler, "stream", printed)
        here = Stage(world, printed, doing)
        patch.setattr(store, "parallel", here.trips.side_by_side)
        here.unread(here.user())  # the app and the keys are in memory
        yield here

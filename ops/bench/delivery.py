"""Whether delivery keeps up: how many stream records a shard carries, and what one app's sends to 500 users do to the lag of another.

The real handlers of `deliver` and `fanout` run on the in-process AWS, in virtual time, behind a stand-in for Lambda's pollers. What is
assumed, beside what is deployed (lanes, batch, window, memory):

- A shard is polled every `POLL_S`. Each of its lanes gets the records that fall to it by their item's key, one batch after the other: a
  batch leaves when it is full, or when its first record has waited for the window.
- An AWS call takes `cost.CALL_MS`, uniform by ± 30 %, and `cost.CALL_CPU_MS` of a full core; an invocation `cost.REQUEST_CPU_MS`. A
  container has as much of a core as its memory buys, and its threads share it.
- Everything falls to one shard, though a new table has four. Every message goes to a conversation of its own: nothing is merged.
- Jobs reach a fan-out of their own `QUEUE_S` after they were queued.

python -m ops.bench.delivery --lanes 1 --memory 512    what another deployment would carry
"""

import json
import random
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import mean
from typing import Annotated, Any, TypeVar

import pytest
import typer
from rich.table import Table

from infra.settings import load as load_settings
from messaging.base import store
from ops import cost
from ops.bench.deployed import STAGE, Deployment, deployment
from ops.bench.figures import Figure, Line, Part, Progress
from ops.bench.virtual_time import Task, VirtualTime
from ops.console import err, out
from tests.fast_world import START_MS, FastWorld, fast_world
from tests.world import Context
from workers import deliver, fanout

T = TypeVar("T")
POLL_S = 0.25  # Lambda polls a shard of a DynamoDB stream at a base rate of four times a second
QUEUE_S = 0.02  # from a queue to the function that long polls it
SPREAD = 0.3  # of a call's time
THREADS = store.PARALLEL + 1  # of `store.parallel`: the pool's and the caller's own
RECORDS = 1_000  # behind which a shard is when it is measured how much it carries
SHARD_GOAL = 1.0  # s for a thousand records: a partition takes 1,000 writes a second, so no shard gets more
SECONDS, A_SECOND, MEMBERS = 6, 20, 10  # of the quiet app: one message in four goes to a group of so many
TARGETS = 500  # of one send of the busy app
LAG_GOAL = 2.0  # × the undisturbed lag
LANES = (1, 2, 10)
CHOSEN = load_settings(STAGE)
BUSY = {  # every so many seconds to 500 users, and who does that
    TARGETS / CHOSEN.user_rate_per_second: "a user at the limit",
    1: "an app that sends to 500 users a second",
}


def lane_of(record: dict[str, Any], lanes: int) -> int:
    """Lambda keeps the order of one item's records (partition and sort key), not that of a conversation's."""
    return zlib.crc32(json.dumps(record["dynamodb"]["Keys"]).encode()) % lanes


def by_lane(records: list[dict[str, Any]], lanes: int) -> list[list[dict[str, Any]]]:
    """The batches that records of one shard make that come together."""
    found = [[record for record in records if lane_of(record, lanes) == lane] for lane in range(lanes)]
    return list(filter(None, found))


@dataclass(frozen=True)
class Load:
    """What the two apps send. `every_s`: how often the busy one sends to `TARGETS` users, which takes it a second; 0: never."""

    deployed: Deployment
    every_s: float = 0
    seed: int = 1


@dataclass
class Container:
    """Where one invocation runs: as much of a core as its memory buys, which its threads share."""

    clock: VirtualTime
    memory_mb: int
    free_s: float = 0.0

    def compute(self, cpu_ms: float) -> None:
        self.free_s = max(self.free_s, self.clock.now_s) + cpu_ms / 1000 / min(1, self.memory_mb / cost.VCPU_MB)
        self.clock.sleep(self.free_s - self.clock.now_s)


class Running(threading.local):
    """Where this thread runs; None outside of an invocation, where nothing takes time."""

    container: Container | None = None


@dataclass
class Shard:
    """One shard and its pollers. `lags_s`: of the quiet app's messages, until everybody is told."""

    load: Load
    clock: VirtualTime
    world: FastWorld
    running: Running = field(default_factory=Running)
    tasks: list[Task] = field(default_factory=list)
    lanes: list[deque[tuple[float, dict[str, Any]]]] = field(default_factory=list)
    busy: set[int] = field(default_factory=set)
    waits: dict[tuple[str, int], tuple[int, float]] = field(default_factory=dict)  # a row → the number that it waits for, since when
    lags_s: dict[float, float] = field(default_factory=dict)  # by when the message was sent

    def __post_init__(self) -> None:
        self.lanes = [deque() for _ in range(self.load.deployed.lanes)]
        self.rng = random.Random(self.load.seed)

    # --- AWS

    def answer(self, operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        """An `Interceptor`: of every AWS call."""
        if not self.running.container:
            return perform()
        took_s = cost.CALL_MS / 1000 * self.rng.uniform(1 - SPREAD, 1 + SPREAD)
        self.running.container.compute(cost.CALL_CPU_MS)
        self.clock.sleep(took_s / 2)
        try:
            return perform()
        finally:
            self._note(operation, request)
            self.clock.sleep(took_s / 2)

    def _note(self, operation: str, request: dict[str, Any]) -> None:
        if operation == "SendMessageBatch" and (jobs := self.world.jobs()):
            self.start(partial(self._fan_out, jobs))
        if operation == "UpdateItem" and "reader" in request["Key"]:
            row = request["Key"]["reader"]["S"], int(request["Key"]["conversation"]["N"])
            if row in self.waits:
                since_s = self.waits.pop(row)[1]
                self.lags_s[since_s] = self.clock.now_s - since_s

    def parallel(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """As `store.parallel`: so many threads, each of which takes the next call when it is free."""
        if not (container := self.running.container):
            return [call() for call in calls]
        waiting, results = deque(enumerate(calls)), dict[int, T]()

        def work() -> None:
            self.running.container = container
            while waiting:
                at, call = waiting.popleft()
                results[at] = call()

        self.clock.join([self.clock.start(work) for _ in range(min(THREADS, len(calls)))])
        return [results[at] for at in range(len(calls))]

    # --- Lambda

    def put(self, record: dict[str, Any]) -> None:
        """A record of the stream, which is seen with the next poll."""
        seen_s = (self.clock.now_s // POLL_S + 1) * POLL_S
        lane = lane_of(record, len(self.lanes))
        self.lanes[lane].append((seen_s, record))
        if lane not in self.busy:
            self.busy.add(lane)
            self.start(partial(self._poll, lane))

    def start(self, call: Callable[[], None]) -> None:
        self.tasks.append(self.clock.start(call))

    def finish(self) -> None:
        """Goes on until everything is delivered and fanned out."""
        while self.tasks:
            self.clock.join([self.tasks.pop()])

    def _poll(self, lane: int) -> None:
        """Batches of one lane, until there is nothing more."""
        queue, deployed = self.lanes[lane], self.load.deployed
        while queue:
            leaves_s = max(queue[0][0] + deployed.window_s, self.clock.now_s)
            while self.clock.now_s < leaves_s and self._seen(queue) < deployed.stream_batch:
                self.clock.sleep(min(POLL_S, leaves_s - self.clock.now_s))
            batch = [queue.popleft()[1] for _ in range(min(self._seen(queue), deployed.stream_batch))]
            if batch:
                self._invoke(deliver.handler, batch)
        self.busy.discard(lane)

    def _seen(self, queue: deque[tuple[float, dict[str, Any]]]) -> int:
        return sum(seen_s <= self.clock.now_s + 1e-9 for seen_s, _ in queue)

    def _fan_out(self, jobs: list[dict[str, Any]]) -> None:
        self.clock.sleep(QUEUE_S)
        most = self.load.deployed.queue_batch
        for at in range(0, len(jobs), most):
            self._invoke(fanout.handler, jobs[at : at + most])

    def _invoke(self, handler: Callable[[dict[str, Any], Context], dict[str, Any]], records: list[dict[str, Any]]) -> None:
        self.running.container = container = Container(self.clock, self.load.deployed.worker_mb)
        container.compute(cost.REQUEST_CPU_MS)
        if failed := handler({"Records": records}, Context())["batchItemFailures"]:
            raise RuntimeError(f"not everything was delivered: {failed}")


@contextmanager
def _shard(load: Load) -> Iterator[Shard]:
    with fast_world() as world, pytest.MonkeyPatch.context() as patch:
        clock = VirtualTime()
        shard = Shard(load, clock, world)
        clock.moved = lambda now_s: setattr(world, "now_ms", START_MS + int(now_s * 1000))
        world.injector = shard.answer
        patch.setattr(store, "parallel", shard.parallel)
        patch.setattr("messaging.base.store.time.sleep", clock.sleep)
        yield shard


def _record(conversation: str, msg_id: int, sender: int, now_s: float) -> dict[str, Any]:
    """A message of the log as the stream hands it over."""
    key = {"conversation": {"S": conversation}, "msg_id": {"N": str(msg_id)}}
    numbers = {"sent_at": START_MS + int(now_s * 1000), "sender": sender, "ctype": 0, "uncounted": 0, "chain": 1}
    image = key | {name: {"N": str(value)} for name, value in numbers.items()}
    return {"eventName": "INSERT", "dynamodb": {"Keys": key, "NewImage": image, "SequenceNumber": str(msg_id)}}


def carried(load: Load) -> float:
    """Records a second of a shard that is behind."""
    with _shard(replace(load, deployed=replace(load.deployed, window_s=0))) as shard:  # what waits is more than a batch
        for user in range(RECORDS):
            shard.put(_record(f"busy#user#{user + 1}#{user + 1_000_001}", 1, user + 1, 0))
        shard.finish()
        if len(shard.world.aws.tables["Inbox"]) != 2 * RECORDS:
            raise RuntimeError("not everybody was told")
        return RECORDS / (shard.clock.now_s - POLL_S)  # the first batch was full then


def lags(load: Load) -> list[float]:
    """Seconds from a message of the quiet app to the last row that it moves, sorted."""
    with _shard(load) as shard:
        users = [shard.world.user() for _ in range(MEMBERS)]
        groups = [shard.world.group(*users) for _ in range(A_SECOND * SECONDS // 4)]
        rng, targets = random.Random(load.seed), 0
        agenda: list[tuple[float, bool]] = [(rng.uniform(0, SECONDS), False) for _ in range(A_SECOND * SECONDS)]
        if load.every_s:
            sends = range(int(SECONDS / load.every_s) + 1)
            agenda += [(at * load.every_s + target / TARGETS, True) for at in sends for target in range(TARGETS)]
        for serial, (at_s, is_busy) in enumerate(sorted(each for each in agenda if each[0] < SECONDS)):
            shard.clock.sleep(max(0, at_s - shard.clock.now_s))
            now_s, one, other = shard.clock.now_s, serial + 1, serial + 1_000_001
            if is_busy:
                targets += 1
                shard.put(_record(f"busy#user#{1}#{other}", 1, 1, now_s))
            elif serial % 4 == 0 and groups:
                group = groups.pop()
                shard.waits |= {(f"demo#{user}", group): (1, now_s) for user in users}
                shard.put(_record(f"demo#group#{group}", 1, users[0], now_s))
            else:
                shard.waits |= {(f"demo#{one}", other): (1, now_s), (f"demo#{other}", one): (1, now_s)}
                shard.put(_record(f"demo#user#{one}#{other}", 1, one, now_s))
        shard.finish()
        if shard.waits:
            raise RuntimeError(f"{len(shard.waits)} rows were not told")
        return sorted(shard.lags_s.values())


def _p99(found: Sequence[float]) -> float:
    return found[int(len(found) * 0.99)]


def measure(progress: Progress) -> Part:
    """What a shard carries by its lanes, and the quiet app's lag: alone, beside a user at the limit, and beside an app that has none."""
    deployed = deployment()
    by_lanes = {}
    for lanes in LANES:
        progress(f"what a shard with {lanes} lanes carries")
        by_lanes[lanes] = carried(Load(replace(deployed, lanes=lanes)))
    a_second = by_lanes[deployed.lanes]
    told = f"{a_second:,.0f} a second: {deployed.lanes} lanes of batches of {deployed.stream_batch} at {deployed.worker_mb} MB"
    figures = [Figure("A thousand stream records of one shard", 1000 / a_second, "s", SHARD_GOAL, note=told)]
    for window_s in dict.fromkeys((deployed.window_s, 0)):
        load, window = Load(replace(deployed, window_s=window_s)), f"a window of {window_s} s" if window_s else "no window"
        progress(f"lag, {window}")
        alone = lags(load)
        figures.append(Figure(f"Delivery lag of an app, {window}", mean(alone) * 1000, "ms", note=f"p99 {_p99(alone) * 1000:,.0f} ms"))
        for every_s, who in BUSY.items():
            progress(f"lag, {window}, beside {who}")
            beside = lags(replace(load, every_s=every_s))
            note = f"{mean(beside) * 1000:,.0f} ms, p99 {_p99(beside) * 1000:,.0f} ms"
            figures.append(Figure(f"Its lag beside {who}, to that, {window}", mean(beside) / mean(alone), "×", LAG_GOAL, note=note))
            p99 = Figure(f"Its p99 beside {who}, to that, {window}", _p99(beside) / _p99(alone), "×", LAG_GOAL)
            figures.append(p99)
    lines = {"delivery": [Line(f"records a second and shard, {deployed.worker_mb} MB", list(by_lanes), list(by_lanes.values()))]}
    return Part("delivery", figures, lines)


def main(
    lanes: Annotated[list[int] | None, typer.Option(help="Batches of a shard at the same time; may be repeated.")] = None,
    memory: Annotated[list[int] | None, typer.Option(help="MB of deliver and fanout; may be repeated.")] = None,
    window: Annotated[int | None, typer.Option(help="Seconds that a delivery gathers records.")] = None,
) -> None:
    """One line for each deployment: what a shard carries, and the quiet app's lag in ms (mean, p99), alone and beside a busy one."""
    usual = deployment()
    table = Table("lanes", "MB", "window s", "records a second", "alone", *(f"beside {who}" for who in BUSY.values()))
    for each in [replace(usual, lanes=count, worker_mb=mb) for count in lanes or LANES for mb in memory or [usual.worker_mb]]:
        load = Load(replace(each, window_s=usual.window_s if window is None else window))
        err.print(f"{each.lanes} lanes, {each.worker_mb} MB")
        a_second = carried(load)
        cells = []
        for every_s in (0, *BUSY):
            if every_s and TARGETS / every_s > a_second:
                cells.append("for ever later")
            else:
                found = lags(replace(load, every_s=every_s))
                cells.append(f"{mean(found) * 1000:.0f}, {_p99(found) * 1000:.0f}")
        table.add_row(f"{each.lanes}", f"{each.worker_mb}", f"{load.deployed.window_s}", f"{a_second:.0f}", *cells)
    out.print(table)


if __name__ == "__main__":
    typer.run(main)

"""Latency: the real handlers through boto3 to the stub, over TLS, every AWS call taking 5 ms; and how many calls wait for another.

What is above 5 ms for each call in sequence is ours and the SDK's: CPU, threads, connections, and what the stub takes beyond its 5 ms.
The calls are counted in the same requests: a call that starts after another has ended had to wait for it. A container is warm, the app's
item and the keys are in memory; `history` is told twice, because the first look at new messages writes down that they were fetched.
"""

import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from ops.bench import stub
from ops.bench.figures import Figure, Part, Progress
from ops.bench.progress import while_waiting
from ops.bench.warm import Context, become_a_function, handler_of, quieten
from tests.world import World, depth, forget_caches

DELAY_MS = 5.0
REQUESTS = 150  # of each operation; p99 is the second slowest
WARM_UP = 5
ABOVE_GOAL_MS = 5.0


@dataclass(frozen=True)
class Operation:
    """What is asked of an endpoint, and how many calls in sequence it may take (None: told only)."""

    name: str
    endpoint: str
    goal: float | None
    with_transaction: bool = False
    unfetched: bool = False  # a message that the caller has not fetched yet lies in the conversation


OPERATIONS = (
    Operation("send", "send", 2),
    Operation("send with transaction_id", "send", 3, with_transaction=True),
    Operation("notify", "notify", None),
    Operation("ack", "ack", 1),
    Operation("history", "history", 2),
    Operation("history with new messages", "history", None, unfetched=True),
    Operation("delete", "forget", 2),
    Operation("unread", "unread", 1),
)


@dataclass(frozen=True)
class Taken:
    """Of one operation: milliseconds of each request, and the calls of the usual one."""

    ms: list[float]
    sequential: int
    calls: int

    def quantile(self, share: float) -> float:
        return sorted(self.ms)[min(len(self.ms) - 1, int(share * len(self.ms)))]


def measure(progress: Progress) -> Part:
    """Sequential AWS calls and latency of every operation at 5 ms a call."""
    sequential, latency = [], []
    with stub.running(tls=True) as aws, ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=quieten) as process:
        for operation in OPERATIONS:
            taken = while_waiting(process.submit(take, operation, aws), progress, f"latency of {operation.name}")
            note = f"{taken.calls} calls in all"
            sequential.append(Figure(f"Sequential AWS calls of {operation.name}", taken.sequential, "calls", operation.goal, note=note))
            p50, p99 = statistics.median(taken.ms), taken.quantile(0.99)
            above = p50 - DELAY_MS * taken.sequential
            note = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, {taken.sequential} × {DELAY_MS:.0f} ms in sequence"
            latency.append(Figure(f"Latency of {operation.name} above 5 ms a sequential call, p50", above, "ms", ABOVE_GOAL_MS, note=note))
    return Part("latency", sequential + latency)


def take(operation: Operation, aws: stub.Stub) -> Taken:
    """Asks many times, each time of the same state; runs in a process of its own."""
    become_a_function(aws.environment)
    forget_caches()
    handler = handler_of(operation.endpoint)
    event = stub.event(operation.endpoint)
    if operation.with_transaction:
        event["body"] = json.dumps(json.loads(event["body"]) | {"transaction_id": 1})
    taken, depths, counts = [], Counter[int](), Counter[int]()
    for at in range(WARM_UP + REQUESTS):
        aws.restore()
        if operation.unfetched:
            handler_of("send")(stub.event("send"), Context)
        aws.delay(DELAY_MS)
        with World().calls() as calls:
            started = time.perf_counter()
            reply = handler(event, Context)
            ended = time.perf_counter()
        aws.delay(0)
        if (answer := stub.envelope(reply))["code"] != 200:
            raise RuntimeError(f"{operation.name} was refused: {answer}")
        if at >= WARM_UP:
            taken.append((ended - started) * 1000)
            depths[depth(calls)] += 1
            counts[len(calls)] += 1
    return Taken(taken, depths.most_common(1)[0][0], counts.most_common(1)[0][0])


def main() -> None:
    tell: Callable[[Any], None] = print
    for figure in measure(lambda doing: None).figures:
        tell(f"{figure.value:8.2f} {figure.unit}  (goal {figure.goal})  {figure.what}: {figure.note}")


if __name__ == "__main__":
    main()

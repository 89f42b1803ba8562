"""Warm CPU: what one request costs a container that has answered before, in CPU time of the whole process.

Outside AWS calls: the real handler on a real event, logger and threads included, its AWS calls answered below boto3's clients from plain
dicts, whose own CPU is subtracted. The yardstick is a bare function that parses the same event, validates the same part with the same
model and answers with the same envelope; a second one verifies the token and writes a log line too, which cannot be spared.

With AWS calls: the same handler through boto3 to the stub, to a raw HTTP client (`smallest.py`, warm) that makes the same calls.

python -m ops.bench.warm --profile [send]     where the CPU of a request goes, outside AWS calls
"""

import cProfile
import importlib
import json
import os
import pstats
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any

from infra.catalog import FUNCTIONS
from ops.bench import smallest, stub
from ops.bench.figures import Figure, Part, Progress
from ops.bench.progress import while_waiting

BLOCKS = 15  # of requests, the variants taking turns
REQUESTS = 60  # in a block; the CPU of a request is the block's average, so that collecting garbage is in it
WARM_UP = 20
SEND_GOAL = 4.0
ENDPOINTS = tuple(row.name for row in FUNCTIONS if row.is_endpoint)

Call = Callable[[], Any]
Variants = Mapping[str, Call]


def measure(progress: Progress) -> Part:
    """CPU of one warm request of every endpoint, as ratios to a bare function and to a raw HTTP client."""
    figures: list[Figure] = []
    # In a process of its own: nothing of the benchmark's is on its heap, and its environment is a function's.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=quieten) as process:
        for name in ENDPOINTS:
            doing = f"warm CPU of {name} outside AWS calls"
            figures += _outside(name, while_waiting(process.submit(outside_calls, name), progress, doing))
        with stub.running(tls=False) as aws:
            for name in ENDPOINTS:
                doing = f"warm CPU of {name} with AWS calls"
                figures.append(_with(name, while_waiting(process.submit(with_calls, name, aws), progress, doing)))
    return Part("warm", figures)


def _outside(name: str, cpu: dict[str, list[float]]) -> Iterator[Figure]:
    least = {variant: min(blocks) for variant, blocks in cpu.items()}
    medians = statistics.median(cpu["handler"]) / statistics.median(cpu["bare"])
    note = f"{least['handler']:.0f} to {least['bare']:.0f} µs (medians {medians:.1f} ×)"
    goal = SEND_GOAL if name == "send" else None
    yield Figure(
        f"Warm CPU of {name} outside AWS calls, to a bare validating function", least["handler"] / least["bare"], "×", goal, note=note
    )
    ratio = least["handler"] / least["spared"]
    note = f"{least['handler']:.0f} to {least['spared']:.0f} µs"
    yield Figure(f"Warm CPU of {name} outside AWS calls, to the same with token and log line", ratio, "×", note=note)


def _with(name: str, cpu: dict[str, list[float]]) -> Figure:
    ours, raw = min(cpu["handler"]), min(cpu["raw"])
    note = f"{ours:.0f} to {raw:.0f} µs"
    return Figure(f"Warm CPU of {name} with AWS calls, to a raw HTTP client making them", ours / raw, "×", note=note)


def quieten() -> None:
    """Log lines are written, to nowhere. The file is exchanged below Python: a logger keeps the stream that it found."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


# --- in the process that is measured


def outside_calls(name: str) -> dict[str, list[float]]:
    """CPU of a request, µs, block by block: `handler`, `bare`, and `spared` (bare, with the token verified and one log line)."""
    with _answered_at_once() as (spent, restore):
        return _taken(_variants(name), spent, restore)


def with_calls(name: str, aws: stub.Stub) -> dict[str, list[float]]:
    """The same of `handler` and `raw`, AWS calls included: they go to the stub."""
    from tests.world import forget_caches

    become_a_function(aws.environment)
    forget_caches()
    smallest.forget_caches()
    event = stub.event(name)
    variants = {"handler": partial(handler_of(name), event, Context), "raw": partial(getattr(smallest, name), event, Context)}
    return _taken(variants, lambda: 0.0, aws.restore)


class Context:
    """What Lambda hands to a handler beside the event."""

    aws_request_id = "11111111-2222-3333-4444-555555555555"


def handler_of(name: str) -> Callable[[Any, Any], Any]:
    handler: Callable[[Any, Any], Any] = importlib.import_module(f"endpoints.{name}").handler
    return handler


def become_a_function(environment: dict[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(environment)


@contextmanager
def _answered_at_once() -> Iterator[tuple[Callable[[], float], Callable[[], None]]]:
    """AWS calls are answered without boto3; yields what the answers have taken so far (s of CPU), and what winds everything back."""
    from tests.faults.sdk import tampered
    from tests.world import forget_caches

    with stub.filled() as aws:
        beginning = aws.snapshot()
    become_a_function(stub.ENVIRONMENT)
    forget_caches()
    spent: list[float] = []

    def answer(operation: str, request: dict[str, Any], perform: object) -> Any:
        started = time.thread_time()
        try:
            return aws.perform(operation, request)
        finally:
            spent.append(time.thread_time() - started)

    with tampered(answer):
        yield lambda: sum(spent), lambda: aws.restore(beginning)


def _variants(name: str) -> Variants:
    """The endpoint, a function that only validates, and that function with what cannot be spared."""
    from messaging.base.telemetry import logger
    from messaging.base.wire import Wire
    from messaging.conversations import models
    from messaging.people import directory, tokens

    event, handler = stub.event(name), handler_of(name)
    envelope = stub.envelope(handler(event, Context))
    validated: dict[str, type[Wire]] = {
        "send": models.SendRequest,
        "notify": models.SendRequest,
        "history": models.HistoryQuery,
        "forget": models.DeleteQuery,
        "ack": models.AckQuery,
        "unread": models.UnreadQuery,
    }
    model = validated[name]

    def bare(event: dict[str, Any], context: object) -> dict[str, Any]:
        if "body" in event:
            model.model_validate_json(event["body"])
        else:
            model.model_validate(event.get("queryStringParameters") or {})
        return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(envelope)}

    def spared(event: dict[str, Any], context: Any) -> dict[str, Any]:
        headers = event["headers"]
        tokens.verify(headers["access-token"], directory.app(headers["app_id"]), time.time_ns() // 1_000_000, {})
        reply = bare(event, context)
        logger.info(name, extra={"request_id": context.aws_request_id, "app": headers["app_id"], "code": 200, "ms": 1})
        return reply

    return {variant: partial(run, event, Context) for variant, run in (("handler", handler), ("bare", bare), ("spared", spared))}


def _taken(variants: Variants, spent: Callable[[], float], restore: Callable[[], None]) -> dict[str, list[float]]:
    """CPU of a request of each variant, µs: a number a block; what answering the AWS calls took is not in it, nor winding back."""
    taken: dict[str, list[float]] = {variant: [] for variant in variants}
    for block in range(BLOCKS + 1):
        for variant, call in variants.items():
            cpu = 0.0
            for _ in range(REQUESTS if block else WARM_UP):
                restore()
                answered, started = spent(), time.process_time()
                call()
                cpu += time.process_time() - started - (spent() - answered)
            if block:  # the first one warms up
                taken[variant].append(cpu / REQUESTS * 1e6)
    return taken


# --- where it goes


def profile(name: str) -> None:
    """Prints the functions in which a request spends its CPU outside AWS calls, by their own time."""
    requests = 500
    from messaging.base import store

    with _answered_at_once() as (_, restore):
        store.parallel = lambda calls: [call() for call in calls]  # cProfile sees one thread
        call = _variants(name)["handler"]
        profiler = cProfile.Profile()
        for at in range(requests + WARM_UP):
            restore()
            if at >= WARM_UP:
                profiler.enable()
            call()
            profiler.disable()
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(45)


def main() -> None:
    if "--profile" in sys.argv:
        quieten()
        profile(sys.argv[-1] if sys.argv[-1] in ENDPOINTS else "send")
        return
    for figure in measure(lambda doing: print(f"\r\033[K{doing}", end="", file=sys.stderr, flush=True)).figures:
        print(f"{figure.value:8.2f} {figure.unit}  (goal {figure.goal})  {figure.what}: {figure.note}")


if __name__ == "__main__":
    main()

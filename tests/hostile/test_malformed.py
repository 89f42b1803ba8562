"""20,000 malformed requests: each is refused with a code and the name of what is wrong, and none leaves a trace."""

import importlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from messaging import edge
from messaging.base.telemetry import logger
from tests.hostile import mutations
from tests.hostile.mutations import Malformed, Sample
from tests.world import Context, World, inflated

BATCHES = 8
BATCH = 2500
SHOWN = 4000  # characters of an event in a failure
NEVER = {200, 20000, 50000}


@pytest.fixture(autouse=True)
def _errors_only() -> Iterator[None]:
    """A failure shows its own log, not the lines of thousands of requests before it."""
    level = logger.log_level
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(level)


@pytest.fixture
def samples(world: World) -> list[Sample]:
    """The sample events, in a world where they work."""
    alice, bob, carol, dave = (world.user(name) for name in ("alice", "bob", "carol", "dave"))
    world.group(alice, bob, carol, dave, number=1005)
    world.send(alice, [bob], transaction_id=7)
    world.drain()

    def token(wanted: str) -> str:
        who = wanted.removeprefix("<token of ").removesuffix(">")
        return world.admin() if who == "admin" else world.token(int(who))

    return mutations.samples(token)


def _invoke(endpoint: str, event: Any) -> tuple[int, dict[str, Any]]:
    """HTTP status and envelope; of a direct event's reply 200."""
    reply = importlib.import_module(f"endpoints.{endpoint}").handler(event, Context())
    if not (isinstance(event, dict) and "routeKey" in event):
        return 200, json.loads(json.dumps(reply, ensure_ascii=False).encode())
    reply = inflated(reply)
    assert reply["headers"] == edge.HEADERS
    return reply["statusCode"], json.loads(reply["body"].encode())


def _complaint(request: Malformed) -> str | None:
    """What is wrong with the answer to a malformed request."""
    try:
        status, envelope = _invoke(request.endpoint, request.event)
    except Exception as error:
        return f"raised {error!r}"
    if (status, envelope.get("code")) != (request.status, request.code) or request.code in NEVER:
        return f"expected HTTP {request.status} and code {request.code:d}, got HTTP {status} and {envelope}"
    if envelope.keys() != {"code", "data", "message"} or envelope["data"] is not None:
        return f"no refusal: {envelope}"
    if not any(re.match(rf"{re.escape(name)}(\W|$)", envelope["message"]) for name in request.naming):
        return f"the message names none of {request.naming}: {envelope}"
    return None


@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_malformed_request_is_refused_and_leaves_no_trace(
    world: World, samples: list[Sample], caplog: pytest.LogCaptureFixture, batch: int, record_property: Callable[[str, object], None]
) -> None:
    before = world.snapshot()
    for index in range(BATCH):
        request = mutations.nth(samples, batch, index)
        complaint = _complaint(request)
        replay = f"mutations.nth(samples, {batch}, {index}), seed {mutations.SEED}: {request.what}, {request.endpoint}"
        assert complaint is None, f"{replay}\n{json.dumps(request.event)[:SHOWN]}\n{complaint}"
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert world.snapshot() == before
    record_property("malformed requests", BATCH)


def test_what_is_mutated_works_as_it_stands(samples: list[Sample]) -> None:
    for sample in samples:
        assert _invoke(sample.endpoint, sample.event)[1]["code"] == 200, sample.event


def test_a_batch_has_every_endpoint_every_refusal_and_few_repetitions(samples: list[Sample]) -> None:
    requests = [mutations.nth(samples, 0, index) for index in range(BATCH)]
    assert {request.endpoint for request in requests} == {sample.endpoint for sample in samples}
    assert {request.code for request in requests} == {10002, 10003, 10008, 12005, 50003}
    assert len({json.dumps(request.event) for request in requests}) > BATCH * 0.85


def test_a_request_can_be_made_again(samples: list[Sample]) -> None:
    assert mutations.nth(samples, 3, 33) == mutations.nth(samples, 3, 33) != mutations.nth(samples, 3, 34)

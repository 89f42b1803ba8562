"""A message gets its number once: the real code, stopped at every AWS call, through every interleaving.

Attempts carry the same `transaction_id`, rivals carry none. Crashes and lost replies may strike at any call, and nobody repeats what
a crash cut short. There is never a hole in the log and never a second message of the attempts; once an attempt was answered there is
exactly one.
"""

import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest

from messaging.base import keys
from tests.fast_world import FastWorld, fast_world
from tests.histories.interleave import Interleavings, Operation, State

ALICE, BOB, CAROL = USERS = (1001, 1002, 1003)
SCHEDULES = 150  # drawn at random, for each of the seeds
SEEDS = range(4)


class Case(NamedTuple):
    """How many of what there are."""

    attempts: int
    rivals: int
    crashes: int
    lost: int


# Every interleaving of these is explored: 200 billion, through 120,000 states.
CASES = [Case(2, 0, 2, 2), Case(2, 1, 1, 1), Case(1, 2, 1, 1), Case(2, 2, 0, 0), Case(3, 0, 1, 1), Case(3, 1, 0, 0), Case(2, 1, 2, 2)]


class Request(NamedTuple):
    """A send by `sender`; `name` is its content. Requests with the same `transaction_id` are attempts at one."""

    name: str
    sender: int
    targets: tuple[int, ...]
    transaction_id: int | None = None

    def operation(self, world: FastWorld) -> Operation:
        body = {"type": 1, "targets": self.targets, "content": self.name, "transaction_id": self.transaction_id}
        token = world.token(self.sender)
        return Operation(self.name, lambda: json.loads(world.http("POST", "/message/send", token, body=body)["body"]), repeats=False)


@pytest.fixture
def fast() -> Iterator[FastWorld]:
    with fast_world() as world:
        for user in USERS:
            world.user(number=user)
        yield world


def log(state: State, one: int, other: int) -> list[tuple[int, str]]:
    """The number and content of each message between two users."""
    between, items = keys.between("demo", one, other).key, state.moment.aws.tables["Messages"].items()
    return sorted((msg_id, item["content"]["S"]) for (conversation, msg_id), item in items if conversation == between)


def require_once(requests: list[Request], state: State) -> None:
    """No hole, nothing twice, and whoever was answered is where the answer says."""
    for other in USERS[1:]:
        there = log(state, ALICE, other)
        assert [number for number, _ in there] == list(range(1, len(there) + 1)), f"a hole: {there} after {state.path}"
        contents = [content for _, content in there]
        assert len(set(contents)) == len(contents), f"doubled: {there} after {state.path}"
        for request, answer in zip(requests, state.answers, strict=True):
            if answer and answer.value:
                told = dict(zip(request.targets, answer.value["msg_ids"], strict=True))
                number = told.get(ALICE if request.sender == other else other)
                assert number is None or (number, request.name) in there, (
                    f"lost: {request.name} was told {number}: {there} after {state.path}"
                )


def operations_of(world: FastWorld, requests: list[Request]) -> list[Operation]:
    """Attempts at one request are one operation, more than once."""
    different = {request: request.operation(world) for request in requests}
    return [different[request] for request in requests]


def explore(world: FastWorld, case: Case) -> tuple[int, int]:
    """Visits every state that these requests can lead to, and checks each; how many interleavings and states there are."""
    requests = [Request("T", ALICE, (BOB,), transaction_id=5)] * case.attempts
    requests += [Request(f"R{number}", BOB, (ALICE,)) for number in range(case.rivals)]
    operations = operations_of(world, requests)
    runs = Interleavings(world, world.moment(), operations, case.crashes, case.lost)
    return runs.explore(partial(require_once, requests), lambda state: None)


@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(f"{value} {name}" for name, value in case._asdict().items()))
def test_every_interleaving_stores_the_message_once(
    fast: FastWorld, case: Case, backwards: bool, record_property: Callable[[str, int], None]
) -> None:
    fast.backwards = backwards
    interleavings, states = explore(fast, case)
    assert interleavings > states > 1
    record_property("interleavings of appends", interleavings)
    record_property("states of appends", states)


@pytest.mark.parametrize("races", [1, 2])
@pytest.mark.parametrize("case", [Case(2, 1, 1, 0), Case(2, 1, 0, 1)], ids=["crash", "lost reply"])
def test_no_interleaving_with_reservations_that_are_removed_stores_it_twice(
    fast: FastWorld, monkeypatch: pytest.MonkeyPatch, case: Case, races: int
) -> None:
    """Who loses so many races is refused, which removes the reservation, and asks again; so do the others."""
    monkeypatch.setattr("messaging.conversations.log.APPEND_ATTEMPTS", races)
    interleavings, states = explore(fast, case)
    assert interleavings > states > 1


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("dedup.relocate", lambda request, digest, target, old, new: new),
        ("dedup.reserve", lambda request, digest, slots, now_ms: None),
    ],
    ids=["dedup.relocate", "dedup.reserve"],
)
def test_the_exploration_finds_a_step_that_was_left_out(fast: FastWorld, monkeypatch: pytest.MonkeyPatch, name: str, step: Any) -> None:
    monkeypatch.setattr(f"messaging.conversations.{name}", step)
    with pytest.raises(AssertionError, match=r"doubled|lost|a hole"):
        explore(fast, Case(2, 1, 1, 0))


@pytest.mark.parametrize("seed", SEEDS)
def test_more_requests_in_any_order_of_their_calls_are_stored_once_each(fast: FastWorld, seed: int) -> None:
    """Batches too, drawn at random."""
    rng, base = random.Random(seed), fast.moment()
    for _ in range(SCHEDULES):
        fast.restore(base)
        fast.backwards = rng.random() < 0.5
        requests = [Request("T", ALICE, (BOB, CAROL), transaction_id=5)] * rng.randint(2, 3)
        requests += [Request(f"R{number}", rng.choice((BOB, CAROL)), (ALICE,)) for number in range(rng.randint(0, 3))]
        operations = operations_of(fast, requests)
        runs = Interleavings(fast, base, operations, crashes=rng.randint(0, 2), lost=rng.randint(0, 2))
        runs.sample(rng, 1, partial(require_once, requests), lambda state: None)

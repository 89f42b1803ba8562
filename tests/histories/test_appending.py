"""A message gets its number once: the real code, stopped at every AWS call, through every interleaving.

Attempts carry the same `transaction_id`, rivals carry none. Crashes and lost replies may strike at any call. There is never a hole in
the log and never a second message of the attempts; once an attempt was answered there is exactly one.
"""

import random
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest

from messaging import keys, store
from tests import world as worlds
from tests.histories import small_store
from tests.histories.scheduler import WRITES, Answer, Call, Replay, Replies, Request, told
from tests.histories.small_store import Tables
from tests.world import World

ALICE, BOB, CAROL = 1, 2, 3
SCHEDULES = 40  # drawn at random on the in-process AWS, for each of the seeds
SEEDS = range(2)


class Case(NamedTuple):
    """How many of what there are."""

    attempts: int
    rivals: int
    crashes: int
    lost: int


# Every interleaving of these is explored: some 10,000 states in all.
CASES = [Case(2, 0, 2, 2), Case(2, 1, 1, 1), Case(1, 2, 1, 1), Case(2, 2, 0, 0), Case(3, 0, 1, 1), Case(3, 1, 0, 0), Case(2, 1, 2, 2)]


class State(NamedTuple):
    """What is stored, what each request was told (a place in `Tales`), which of them died, and how many faults may still strike."""

    tables: Tables
    tales: tuple[int, ...]
    dead: tuple[bool, ...]
    crashes: int
    lost: int

    def fingerprint(self) -> Hashable:
        return frozenset((place, repr(item)) for place, item in self.tables.items()), *self[1:]


class Tales:
    """What a request can have been told: each sequence of replies has one number, so that states are quickly compared."""

    def __init__(self, replay: Replay, requests: list[Request]) -> None:
        self._replay, self._requests = replay, requests
        self._replies: list[Replies] = [()]
        self._numbers: dict[tuple[int, str], int] = {}
        self._waiting: dict[tuple[int, int], Call | Answer] = {}

    def longer(self, tale: int, reply: Any) -> int:
        """The tale that goes on with this reply."""
        known = (tale, repr(item_of(reply) if isinstance(reply, Exception) else reply))
        if known not in self._numbers:
            self._numbers[known] = len(self._replies)
            self._replies.append((*self._replies[tale], reply))
        return self._numbers[known]

    def waits_at(self, index: int, tale: int) -> Call | Answer:
        if (index, tale) not in self._waiting:
            self._waiting[index, tale] = self._replay.waits_at(self._requests[index], self._replies[tale])
        return self._waiting[index, tale]


def item_of(refusal: Any) -> Any:
    """What was there instead, as a refused condition tells it."""
    return refusal.response["Item"]


def requests_of(case: Case) -> list[Request]:
    attempts = [Request("T", ALICE, (BOB,), transaction_id=5)] * case.attempts
    return attempts + [Request(f"R{number}", BOB, (ALICE,)) for number in range(case.rivals)]


def logs(tables: Tables) -> dict[str, list[tuple[int, str]]]:
    """The number and content of each message, by conversation."""
    found: dict[str, list[tuple[int, str]]] = {}
    for place, item in tables.items():
        if place[0] == "Messages":
            found.setdefault(item["conversation"]["S"], []).append((int(item["msg_id"]["N"]), item["content"]["S"]))
    return {conversation: sorted(log) for conversation, log in found.items()}


def require_once(log: list[tuple[int, str]], answers: list[tuple[str, int]]) -> None:
    """No hole, nothing twice, and whoever was answered is where the answer says."""
    assert [number for number, _ in log] == list(range(1, len(log) + 1)), f"a hole: {log}"
    contents = [content for _, content in log]
    assert len(set(contents)) == len(contents), f"doubled: {log}"
    for name, number in answers:
        assert (number, name) in log, f"lost: {name} was told {number}: {log}"


def directory_of(*users: int) -> Tables:
    items = [store.pack({"entity": keys.entity("demo", user), "facet": keys.PROFILE, "what": "user"}) for user in users]
    return {small_store.identity("Directory", item): item for item in items}


@pytest.fixture
def _names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tables by name only: no AWS is needed."""
    worlds.forget_caches()
    for table, variable in worlds.TABLES.items():
        monkeypatch.setenv(variable, table)
    yield
    worlds.forget_caches()


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(f"{value} {name}" for name, value in case._asdict().items()))
def test_every_interleaving_stores_the_message_once(monkeypatch: pytest.MonkeyPatch, case: Case, backwards: bool) -> None:
    assert explore(monkeypatch, case, backwards) > 1


def explore(monkeypatch: pytest.MonkeyPatch, case: Case, backwards: bool) -> int:
    """Visits every state that these requests can lead to, and checks each; how many states are ends."""
    replay, requests = Replay(), requests_of(case)
    tales = Tales(replay, requests)
    first = State(directory_of(ALICE, BOB), (0,) * len(requests), (False,) * len(requests), case.crashes, case.lost)
    seen, todo, ends = {first.fingerprint()}, [first], 0
    with replay.installed(monkeypatch, backwards):
        while todo:
            state = todo.pop()
            at = [tales.waits_at(index, tale) for index, tale in enumerate(state.tales)]
            answers = [(requests[index].name, where.msg_ids[0]) for index, where in enumerate(at) if isinstance(where, Answer)]
            require_once(logs(state.tables).get(keys.between("demo", ALICE, BOB).key, []), answers)
            successors = [next_ for index, where in enumerate(at) for next_ in after(state, tales, index, where)]
            ends += not successors
            for successor in successors:
                if (fingerprint := successor.fingerprint()) not in seen:
                    seen.add(fingerprint)
                    todo.append(successor)
    return ends


def after(state: State, tales: Tales, index: int, where: Call | Answer) -> Iterator[State]:
    """Every state that one step of this request may lead to."""
    if isinstance(where, Answer) or state.dead[index]:
        return
    tables, reply = small_store.perform(state.tables, where.operation, where.request)
    told_now = tales.longer(state.tales[index], reply)
    yield state._replace(tables=tables, tales=(*state.tales[:index], told_now, *state.tales[index + 1 :]))
    if state.lost and where.operation in WRITES and tables is not state.tables:  # it takes effect, and the SDK will repeat it
        yield state._replace(tables=tables, lost=state.lost - 1)
    if state.crashes:
        yield state._replace(dead=(*state.dead[:index], True, *state.dead[index + 1 :]), crashes=state.crashes - 1)


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize(
    "broken",
    [
        {"dedup.relocate": lambda request, digest, target, old, new: new},
        {"dedup.reserve": lambda request, digest, slots, now_ms: slots},
        {"dedup.slots_of": lambda record, digest, now_ms: None, "dedup.reserve": lambda request, digest, slots, now_ms: slots},
    ],
    ids=lambda broken: " and ".join(broken),
)
def test_the_exploration_finds_a_step_that_was_left_out(monkeypatch: pytest.MonkeyPatch, broken: dict[str, Any]) -> None:
    for name, step in broken.items():
        monkeypatch.setattr(f"messaging.{name}", step)
    with pytest.raises(AssertionError, match=r"doubled|lost|a hole"):
        explore(monkeypatch, Case(2, 1, 1, 0), backwards=False)


# --- the same on the in-process AWS, with more at once, drawn at random


@pytest.fixture
def small_world(world: World) -> World:
    """With as little in it as the small store has."""
    store.dynamodb().delete_item(TableName="Directory", Key=store.pack({"entity": "demo", "facet": keys.PROFILE}))
    for item in directory_of(ALICE, BOB, CAROL).values():
        store.dynamodb().put_item(TableName="Directory", Item=item)
    return world


def scanned(table: str) -> list[dict[str, Any]]:
    return store.dynamodb().scan(TableName=table, ConsistentRead=True)["Items"]


def empty(table: str, *names: str) -> None:
    for item in scanned(table):
        store.dynamodb().delete_item(TableName=table, Key={name: item[name] for name in names})


def told_alike(one: Any, other: Any) -> bool:
    """Whether two stores gave the same reply, as far as anybody looks."""
    if isinstance(one, Exception) or isinstance(other, Exception):
        return type(one) is type(other) and item_of(one) == item_of(other)
    found = [reply.get("Responses") or {"": reply.get("Items", [])} for reply in (one, other)]
    first, second = ({table: sorted(items, key=repr) for table, items in tables.items() if items} for tables in found)
    return first == second


def run_at_random(rng: random.Random, requests: list[Request], monkeypatch: pytest.MonkeyPatch) -> dict[int, list[int]]:
    """Runs the requests in a random order of their calls, with up to two crashes and two lost replies; returns the answers given."""
    replay = Replay()
    replies: list[Replies] = [()] * len(requests)
    alive, answers = set(range(len(requests))), dict[int, list[int]]()
    crashes, lost, backwards = rng.randint(0, 2), rng.randint(0, 2), rng.random() < 0.5
    tables = directory_of(ALICE, BOB, CAROL)
    client = store.dynamodb()
    methods: dict[str, Callable[..., Any]] = {
        "BatchGetItem": client.batch_get_item,
        "Query": client.query,
        "PutItem": client.put_item,
        "UpdateItem": client.update_item,
    }
    while alive:
        index = rng.choice(sorted(alive))
        with replay.installed(monkeypatch, backwards):
            where = replay.waits_at(requests[index], replies[index])
        if isinstance(where, Answer):
            answers[index] = list(where.msg_ids)
            alive.remove(index)
        elif crashes and rng.random() < 0.05:
            crashes -= 1
            alive.remove(index)
        else:
            reply = told(partial(methods[where.operation], **where.request))
            tables, small = small_store.perform(tables, where.operation, where.request)
            assert told_alike(small, reply), "the small store is not what it stands for"
            if lost and where.operation in WRITES and rng.random() < 0.2:
                lost -= 1
            else:
                replies[index] = (*replies[index], reply)
    return answers


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.usefixtures("small_world")
def test_requests_in_any_order_of_their_calls_are_stored_once_each(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    rng, targets = random.Random(seed), (BOB, CAROL)
    for _ in range(SCHEDULES):
        empty("Messages", "conversation", "msg_id")
        empty("Dedup", "dedup_key")
        requests = [Request("T", ALICE, targets, transaction_id=5)] * rng.randint(2, 3)
        requests += [Request(f"R{number}", rng.choice(targets), (ALICE,)) for number in range(rng.randint(0, 3))]
        answers = run_at_random(rng, requests, monkeypatch)
        stored = logs({small_store.identity("Messages", item): item for item in scanned("Messages")})
        for at, other in enumerate(targets):
            of_attempts = [("T", numbers[at]) for index, numbers in answers.items() if requests[index].name == "T"]
            of_rivals = [(requests[index].name, numbers[0]) for index, numbers in answers.items() if requests[index].sender == other]
            require_once(stored.get(keys.between("demo", ALICE, other).key, []), of_attempts + of_rivals)

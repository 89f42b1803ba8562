"""Every interleaving of a few operations: the real handlers on the fast AWS, stopped at each AWS call, with crashes and lost replies.

No threads: an operation is a function of the replies that it has been given so far. To take one more step it is run again from its
start, is told what it was told before, and is stopped at the first call that is new. States that are alike from there on are visited
once: all interleavings cost no more than the states they pass through.
"""

import itertools
import random
from collections.abc import Callable, Hashable, Iterator
from functools import cached_property
from typing import Any, Literal, NamedTuple

from botocore.exceptions import ClientError

from messaging.base.errors import Code
from tests.fast_world import FastWorld, Moment
from tests.faults.injector import WRITES

TAKE = "Take"  # not a call to AWS but its calling us: with stream records, or with messages of the queue
REPEATED = (Code.STORE_FAILED, Code.TOO_MANY_REQUESTS)  # a client repeats what is refused so
NONCES = 1000  # more than an attempt uses
ATTEMPTS = 100  # more than anybody makes


class Operation(NamedTuple):
    """Makes AWS calls and nothing else; returns its answer, `code` in it where it has one. Repeated after a crash, unless told not to."""

    name: str
    run: Callable[[], Any]
    repeats: bool = True


class Call(NamedTuple):
    """The AWS call at which an operation waits."""

    operation: str
    request: dict[str, Any]


class Answer(NamedTuple):
    """How an operation ended, and what it logged as an exception."""

    value: Any
    caught: tuple[str, ...] = ()


class _Waiting(BaseException):
    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call


class Taken(NamedTuple):
    """What a worker was called with: it is called with the same once more if it dies."""

    items: list[Any]


class Tale:
    """What one attempt at an operation was told so far. Of equal ones there is one, so that states are quickly compared."""

    def __init__(self, world: FastWorld, operation: Operation, serial: int, replies: tuple[Any, ...]) -> None:
        self.operation, self.replies = operation, replies
        self._world, self._serial = world, serial
        self._longer: dict[str, Tale] = {}

    @property
    def attempt(self) -> int:
        """1 for the first one."""
        return self._serial % ATTEMPTS + 1

    def longer(self, reply: Any) -> "Tale":
        """The tale that goes on with this reply."""
        known = repr(reply.response if isinstance(reply, ClientError) else reply)
        if known not in self._longer:
            self._longer[known] = Tale(self._world, self.operation, self._serial, (*self.replies, reply))
        return self._longer[known]

    @cached_property
    def again(self) -> "Tale":
        """The next attempt, which knows nothing of this one."""
        return Tale(self._world, self.operation, self._serial + 1, tuple(reply for reply in self.replies if isinstance(reply, Taken)))

    @cached_property
    def dead(self) -> "Tale":
        over = Tale(self._world, self.operation, self._serial, self.replies)
        over.at = Answer(None)
        return over

    @cached_property
    def at(self) -> Call | Answer:
        """Where an operation that was told this waits, or how it ended."""
        told, world = iter(self.replies), self._world

        def answer(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
            # The client's, for its token, and who calls: a function has the keys and the user in memory.
            if operation == "GetSecretValue" or (operation == "GetItem" and not request.get("ConsistentRead")):
                return perform()
            for reply in told:
                if isinstance(reply, Exception):
                    raise reply.with_traceback(None)
                return reply
            raise _Waiting(Call(operation, request))

        world.nonces, world.injector = itertools.count(self._serial * NONCES), answer
        world.caught.clear()
        try:
            return Answer(self.operation.run(), tuple(world.caught))
        except _Waiting as waiting:
            return waiting.call
        finally:
            world.injector = None


class State(NamedTuple):
    """What is stored, what each operation was told, how many faults may still strike, and which steps led here first."""

    moment: Moment
    tales: tuple[Tale, ...]
    crashes: int
    lost: int
    path: tuple[str, ...] = ()

    @property
    def answers(self) -> list[Answer | None]:
        """Of each operation; None for one that has not ended, or never had anything to do."""
        return [tale.at if isinstance(tale.at, Answer) else None for tale in self.tales]


class TooMany(Exception):
    """States."""


class Interleavings:
    """Of these operations, from `base` on. `crashes` and `lost` (replies): how many may strike, at any call.

    An operation that is there twice must ask for no nonce: which of the two has got how far makes no difference here.
    """

    def __init__(self, world: FastWorld, base: Moment, operations: list[Operation], crashes: int = 0, lost: int = 0) -> None:
        self._world, self._base = world, base
        self._texts: dict[int, tuple[dict[str, Any], str]] = {}  # by identity of the item, which is kept so that it stays one
        first = {operation: Tale(world, operation, number * ATTEMPTS, ()) for number, operation in enumerate(operations, 1)}
        tales = tuple(first[operation] for operation in operations)
        self._start = State(self._base, tales, crashes, lost)

    def explore(self, visit: Callable[[State], None], ended: Callable[[State], None], limit: int | None = None) -> tuple[int, int]:
        """Has every state visited, and those where nothing is left to be done; how many interleavings and how many states there are.

        TooMany as soon as there are more states than `limit`.
        """
        counted: dict[Hashable, int] = {}

        def count(state: State) -> int:
            place = self._place(state)
            if place not in counted:
                counted[place] = 0
                if limit and len(counted) > limit:
                    raise TooMany
                visit(state)
                following = [next_ for index in self._ready(state) for next_ in self._steps(state, index)]
                if not following:
                    ended(state)
                counted[place] = sum(map(count, following)) if following else 1
            return counted[place]

        return count(self._start), len(counted)

    def sample(self, rng: random.Random, size: int, visit: Callable[[State], None], ended: Callable[[State], None]) -> None:
        """The same for that many interleavings, drawn at random; a fault strikes one step in ten."""
        for _ in range(size):
            state = self._start
            while ready := self._ready(state):
                steps = self._steps(state, rng.choice(ready))
                state = rng.choice(list(steps)) if rng.random() < 0.1 else next(steps)
                visit(state)
            ended(state)

    def serial(self) -> Iterator[State]:
        """Where the orders of the operations, one after the other, end."""
        seen, todo = set[Hashable](), [self._start]
        while todo:
            state = todo.pop()
            place = self._place(state)
            if place in seen:
                continue
            seen.add(place)
            ready = self._ready(state)
            if not ready:
                yield state
            for index in ready:
                after = state
                while index in self._ready(after):
                    after = self._step(after, index)
                todo.append(after)

    def _place(self, state: State) -> Hashable:
        """Equal for states that are alike from here on."""
        return self.stored(state.moment), tuple(sorted(state.tales, key=id)), state.crashes, state.lost

    def stored(self, moment: Moment) -> Hashable:
        """What there is that was not there at first."""
        changed: list[Hashable] = []
        for name, items in moment.aws.tables.items():
            before = self._base.aws.tables[name]
            changed += [(name, place, self._text(item)) for place, item in items.items() if before.get(place) is not item]
            changed += [(name, place) for place in before.keys() - items.keys()]
        records = tuple(self._text(record["dynamodb"]["NewImage"]) for record in moment.aws.records[moment.streamed :])
        return frozenset(changed), records, tuple(moment.aws.bodies)

    def _text(self, item: dict[str, Any]) -> str:
        """Equal for equal items; made once for each, because most are met in thousands of states."""
        if id(item) not in self._texts:
            self._texts[id(item)] = item, repr(sorted(item.items()))
        return self._texts[id(item)][1]

    def _ready(self, state: State) -> list[int]:
        """Which operations can take a step."""
        aws = state.moment.aws
        there = {"records": len(aws.records) > state.moment.streamed, "jobs": bool(aws.bodies)}
        waiting = [(index, tale.at) for index, tale in enumerate(state.tales) if isinstance(tale.at, Call)]
        return [index for index, call in waiting if call.operation != TAKE or there[call.request["what"]]]

    def _steps(self, state: State, index: int) -> Iterator[State]:
        """Where one step of this operation may lead to: undisturbed first."""
        tale, call = state.tales[index], state.tales[index].at
        assert isinstance(call, Call)
        done = self._step(state, index)
        yield done
        if state.lost and call.operation in WRITES and done.moment.aws.tables != state.moment.aws.tables:
            # It has taken effect, and the SDK will repeat it.
            yield _with(done, index, tale, "its reply is lost")._replace(lost=state.lost - 1)
        if state.crashes:
            successor = tale.again if tale.operation.repeats else tale.dead
            yield _with(state, index, successor, f"{tale.operation.name}: crash")._replace(crashes=state.crashes - 1)
            if isinstance(done.tales[index].at, Answer):  # nobody was told
                yield _with(done, index, successor, "crash")._replace(crashes=state.crashes - 1)

    def _step(self, state: State, index: int) -> State:
        tale, world = state.tales[index], self._world
        call = tale.at
        assert isinstance(call, Call)
        world.restore(state.moment)
        longer = tale.longer(self._perform(call))
        if isinstance(longer.at, Answer) and isinstance(longer.at.value, dict) and longer.at.value.get("code") in REPEATED:
            longer = longer.again
        return _with(state, index, longer, f"{tale.operation.name}: {_words(call)}")._replace(moment=world.moment())

    def _perform(self, call: Call) -> Any:
        world = self._world
        if call.operation == TAKE:
            if call.request["what"] == "records":
                return Taken(world.stream())
            bodies, size = world.aws.bodies, call.request["most"]
            taken, world.aws.bodies = bodies[:size], bodies[size:]
            return Taken([{"messageId": str(number), "body": body, "attributes": {}} for number, body in enumerate(taken)])
        try:
            return world.aws.perform(call.operation, call.request)
        except ClientError as refused:
            return refused


def take(world: FastWorld, what: Literal["records", "jobs"], most: int = 1) -> list[Any]:
    """Waits until there are stream records, and takes them all, or messages on the queue, and takes as many as it may."""
    assert world.injector
    taken: Taken = world.injector(TAKE, {"what": what, "most": most}, lambda: None)
    return taken.items


def _with(state: State, index: int, tale: Tale, step: str) -> State:
    return state._replace(tales=(*state.tales[:index], tale, *state.tales[index + 1 :]), path=(*state.path, step))


def _words(call: Call) -> str:
    return " ".join(filter(None, (call.operation, call.request.get("TableName"))))

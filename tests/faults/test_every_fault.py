"""Every fault at every AWS call of every path: short scripts for the machine of the random histories, held to the same model.

What can strike is found by running: the calls of a script tell its schedules. Once the step that was struck has ended, the client asks
again until it is answered, or gives up; somebody else may have come in between. Pairs of faults are for histories and interleavings.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.injector import faults_of
from tests.histories.machine import CALM, Heads, Machine, Plan, stages
from tests.histories.model import COMMAND, TEXT

# By the machine's numbers. People: 0 and 1, who are the pair that it is mostly about, 10 and 11 two others. Places: 0 the partner,
# 1 the group that is written row by row, 13 the one that is read by its head, 10 the first of the two others, 14 the system.
Script = Callable[[Machine, Plan], None]


def past(on: Machine) -> None:
    """What some have read, and deleted, and what is on its way."""
    for who, act, to in ((0, on.send, 0), (1, on.send, 0), (0, on.say, 0), (1, on.say, 1), (0, on.say, 1), (10, on.send, 0)):
        act(who, (to,), TEXT, "none", CALM)
    on.arrive()
    on.acknowledge(1, 0, 0, CALM)
    on.acknowledge(0, 1, 0, CALM)
    on.delete(1, 10, CALM)
    on.send(10, (0,), TEXT, "none", CALM)
    on.arrive()
    on.send(0, (0,), TEXT, "none", CALM)


def rival(on: Machine) -> None:
    """Somebody else says something in every conversation, and everything is delivered."""
    on.send(1, (0,), TEXT, "none", CALM)
    on.say(1, (0, 1), COMMAND, "none", CALM)
    on.notify(1, None, None, TEXT, "none", CALM)
    on.arrive()


def deliver(on: Machine, plan: Plan) -> None:
    on.say(1, (0,), TEXT, "none", CALM)
    on.say(1, (0,), COMMAND, "none", CALM)
    on.say(1, (1,), TEXT, "none", CALM)
    on.deliver(0, plan)


def fan_out(on: Machine, plan: Plan) -> None:
    on.say(1, (0,), TEXT, "none", CALM)
    on.deliver(0, CALM)
    on.say(0, (0,), COMMAND, "none", CALM)
    on.deliver(0, CALM)
    on.fan_out(0, plan)


SCRIPTS: dict[str, Script] = {
    "send to one": lambda on, plan: on.send(0, (0,), TEXT, "fresh", plan),
    "send to one, no transaction_id": lambda on, plan: on.send(0, (0,), TEXT, "none", plan),
    "send to one, negative transaction_id": lambda on, plan: on.send(0, (0,), TEXT, "negative", plan),
    "send to many": lambda on, plan: on.send(0, (4, 0, 1, 3), TEXT, "fresh", plan),
    "send to many, no transaction_id": lambda on, plan: on.send(0, (3, 0), TEXT, "none", plan),
    "send to a group": lambda on, plan: on.say(0, (0,), TEXT, "fresh", plan),
    "send to two groups": lambda on, plan: on.say(0, (1, 0), COMMAND, "fresh", plan),
    "notify a user": lambda on, plan: on.notify(1, None, None, TEXT, "fresh", plan),
    "notify groups": lambda on, plan: on.notify(1, None, (0, 1), TEXT, "fresh", plan),
    "ack of what is delivered": lambda on, plan: on.acknowledge(1, 0, 1, plan),
    "ack of what is on its way": lambda on, plan: on.acknowledge(1, 0, 3, plan),
    "ack of everything": lambda on, plan: on.acknowledge(1, 10, 0, plan),
    "ack in a group": lambda on, plan: on.acknowledge(1, 1, 1, plan),
    "ack in a group read by its head": lambda on, plan: on.acknowledge(0, 13, 0, plan),
    "delete": lambda on, plan: on.delete(1, 0, plan),
    "delete in a group": lambda on, plan: on.delete(1, 1, plan),
    "delete in a group read by its head": lambda on, plan: on.delete(1, 13, plan),
    "history": lambda on, plan: on.page(1, 0, 0, 2, False, plan),
    "unread": lambda on, plan: on.look(1, 2, plan),
    "join": lambda on, plan: on.join(11, 1, plan),
    "join that crosses the limit": lambda on, plan: on.join(11, 0, plan),
    "leave": lambda on, plan: on.leave(1, 0, plan),
    "leave a group read by its head": lambda on, plan: on.leave(1, 1, plan),
    "deliver": deliver,
    "fan-out": fan_out,
}


class Programme:
    """The schedules of one script."""

    def __init__(self, script: Script, repeats: bool, rivalry: bool) -> None:
        self._script, self._repeats, self._rivalry = script, repeats, rivalry
        self._sound: set[str] = set()  # most schedules end alike: what was looked at once is not looked at again
        self.schedules = 0

    def run(self, plan: Plan) -> list[tuple[str, dict[str, Any]]]:
        """Carries it out, and checks everything; the calls of the step that was struck."""
        on, self.schedules = Heads(), self.schedules + 1
        on.begin(backwards=self._rivalry, cast=0)
        past(on)
        on.repeats = self._repeats
        on.world.aws.mark()
        try:
            self._script(on, plan)
            if self._rivalry:
                rival(on)
            state = ended(on)
            if state not in self._sound:
                on.teardown()
        except AssertionError as found:
            raise AssertionError(f"{plan}: {found}") from found
        self._sound.add(state)
        return [call for struck in on.performed if struck.plan is plan for call in struck.made]

    def singles(self) -> Iterator[str]:
        """Every fault at every call; which were there."""
        for at, (operation, request) in enumerate(self.run({})):
            for fault in faults_of(operation, request):
                self.run({at: fault.name})
                yield fault.name


def ended(on: Machine) -> str:
    """Equal where everything is alike from here on."""
    model, tables = on.model, on.world.aws.tables
    stored = [sorted((repr(place), sorted(item.items())) for place, item in tables[name].items()) for name in sorted(tables)]
    known = [(key, known.sure, known.numbers) for key, known in model.transactions.items()]
    waiting = [[(parcel.chat, parcel.seq, parcel.arrived) for parcel in lot] for lot in (on.records, on.jobs, on.dead, on.dead_jobs)]
    return repr((stored, on.world.aws.bodies, waiting, known, list(on.half), model.seen, on.disordered))


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    stages.close()


@pytest.mark.parametrize("rivalry", [False, True], ids=["alone", "with a rival"])
@pytest.mark.parametrize("repeats", [True, False], ids=["until answered", "gives up"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_no_single_fault_loses_doubles_or_halves_anything(
    name: str, repeats: bool, rivalry: bool, record_property: Callable[[str, object], None]
) -> None:
    programme = Programme(SCRIPTS[name], repeats, rivalry)
    struck = set(programme.singles())
    assert {"crash before", "throttled", "timed out"} <= struck
    record_property("single faults", programme.schedules)

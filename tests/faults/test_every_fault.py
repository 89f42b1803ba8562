"""Every single fault at every AWS call of every writing path, and every pair for send, deliver and fan-out, with three kinds of client.

A schedule is a plan of faults; the path is attempted under it as often as the client does; then the system drains, and what was
promised is checked against what every user sees. What can strike is found by running: the calls of one schedule tell the next ones.
"""

from collections.abc import Callable, Iterator

import pytest

from tests import world as worlds
from tests.faults.injector import Injector
from tests.faults.scenarios import ALL, PAIRED, Scenario
from tests.faults.sdk import Crash
from tests.faults.stage import Stage, stage

ATTEMPTS = 4  # more than two faults can spoil
Plan = dict[int, str]  # which fault strikes at which call
Attempt = Callable[[], bool]


def until_answered(attempt: Attempt, rival: Callable[[], None]) -> bool:
    for number in range(ATTEMPTS):
        if attempt():
            return True
        if number == 0:
            rival()
    pytest.fail("never answered")


def gives_up(attempt: Attempt, rival: Callable[[], None]) -> bool:
    answered = attempt()
    rival()
    return answered


def once_more(attempt: Attempt, rival: Callable[[], None]) -> bool:
    until_answered(attempt, rival)
    rival()
    return attempt()


CLIENTS = [until_answered, gives_up, once_more]


@pytest.fixture(scope="module")
def staged() -> Iterator[Stage]:
    with stage() as made:
        yield made


class Programme:
    """Runs schedules of one scenario with one client."""

    def __init__(self, stage: Stage, scenario: Scenario, client: Callable[..., bool], rivalry: bool, cold: bool) -> None:
        self.stage, self.scenario, self.client, self.rivalry, self.cold = stage, scenario, client, rivalry, cold
        stage.begin(stage.start)
        scenario.prepare(stage)
        self.start = stage.world.moment()
        self.schedules = 0
        if not cold:
            self.run({})  # from here on, what a container remembers is remembered

    def run(self, plan: Plan) -> Injector:
        stage, world, injector = self.stage, self.stage.world, Injector(plan)
        stage.begin(self.start)
        self.scenario.begin(stage)
        world.aws.mark()

        def attempt() -> bool:
            injector.revive()
            if self.cold:
                worlds.cold()
            world.injector = injector
            try:
                return self.scenario.attempt(stage)
            except Crash:
                return False
            finally:
                world.injector = None

        def rival() -> None:
            if self.rivalry:
                self.scenario.rival(stage)

        try:
            answered = self.client(attempt, rival)
            self.scenario.finish(stage)
            self.scenario.holds(stage, answered)
            stage.require_sound(self.scenario.asks)
        except (AssertionError, pytest.fail.Exception) as found:
            raise AssertionError(f"{self.scenario.name}, {self.client.__name__}, {plan} of {injector.calls}:\n{found}") from found
        self.schedules += 1
        return injector

    def singles(self) -> Iterator[tuple[Plan, Injector]]:
        """Every fault at every call that is made without one."""
        for plan in _longer({}, self.run({})):
            yield plan, self.run(plan)

    def pairs(self) -> None:
        for plan, injector in self.singles():
            for longer in _longer(plan, injector):
                self.run(longer)


def _longer(plan: Plan, injector: Injector) -> Iterator[Plan]:
    """The plans with one fault more, later than those of `plan`."""
    for at in range(max(plan, default=-1) + 1, len(injector.calls)):
        for fault in injector.calls[at].faults:
            yield {**plan, at: fault}


@pytest.mark.parametrize("rivalry", [False, True], ids=["alone", "with a rival"])
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_no_single_fault_loses_doubles_or_halves_anything(
    staged: Stage, scenario: Scenario, client: Callable[..., bool], rivalry: bool, record_property: Callable[[str, object], None]
) -> None:
    staged.world.backwards = not rivalry
    programme = Programme(staged, scenario, client, rivalry, cold=True)
    struck = {fault for plan, _ in programme.singles() for fault in plan.values()}
    assert {"crash before", "crash after", "throttled", "timed out", "lost reply"} <= struck
    record_property("single faults", programme.schedules)


@pytest.mark.parametrize("rivalry", [False, True], ids=["alone, forwards", "with a rival, backwards"])
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
@pytest.mark.parametrize("scenario", PAIRED, ids=lambda scenario: scenario.name)
def test_no_pair_of_faults_loses_doubles_or_halves_anything(
    staged: Stage, scenario: Scenario, client: Callable[..., bool], rivalry: bool, record_property: Callable[[str, object], None]
) -> None:
    staged.world.backwards = rivalry  # the order of independent calls
    programme = Programme(staged, scenario, client, rivalry, cold=False)
    programme.pairs()
    assert programme.schedules > 100
    record_property("pairs of faults", programme.schedules)

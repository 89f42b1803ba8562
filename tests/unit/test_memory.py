"""What a container remembers: for so long by the wall clock, and so many at most."""

from types import SimpleNamespace

import pytest

from messaging.base import memory
from messaging.base.memory import Memory


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The wall clock; the monotonic one stands still, as in a container that is frozen."""
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: 5.0)
    clock.time = lambda: clock.now
    monkeypatch.setattr(memory, "time", clock)
    return clock


@pytest.mark.parametrize(("passed", "held"), [(0, "one"), (29.9, "one"), (30, None), (10**5, None), (-0.1, None), (-(10**5), None)])
def test_a_value_is_remembered_for_its_time_by_the_wall_clock(clock: SimpleNamespace, passed: float, held: str | None) -> None:
    kept = Memory[int, str](30, 10)
    kept.put(1, "one")
    clock.now += passed
    assert kept.get(1) == held


def test_reading_a_value_does_not_make_it_younger(clock: SimpleNamespace) -> None:
    kept = Memory[int, str](30, 10)
    kept.put(1, "one")
    for _ in range(4):
        clock.now += 7
        assert kept.get(1) == "one"
    clock.now += 7
    assert kept.get(1) is None


def test_so_many_are_remembered_and_the_oldest_is_forgotten_first(clock: SimpleNamespace) -> None:
    kept = Memory[int, int](30, 3)
    for number in (1, 2, 3, 1, 4):
        kept.put(number, number)
    assert [kept.get(number) for number in (1, 2, 3, 4)] == [1, None, 3, 4]
    assert len(kept._held) == 3

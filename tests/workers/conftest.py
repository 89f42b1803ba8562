"""What the tests of both workers share."""

from collections.abc import Callable

import pytest

from messaging.base import settings, store
from tests.world import World


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BACKOFF_S", (0, 0))


@pytest.fixture
def push_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets from how many members on a group is read by its head."""

    def limit(members: int) -> None:
        monkeypatch.setenv("PUSH_LIMIT_MEMBERS", str(members))
        settings.settings.cache_clear()

    return limit


@pytest.fixture
def crowd(world: World) -> Callable[[int], list[int]]:
    """Makes so many users."""
    return lambda count: [world.user(f"user {number}") for number in range(count)]

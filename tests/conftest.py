"""Every test gets a Parley of its own, in process."""

import os
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings
from moto import mock_aws

from tests import world as worlds
from tests.world import World

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "POWERTOOLS_SERVICE_NAME": "parley",
}
OURS = (
    "_TABLE",
    "_URL",
    "TOKEN_SECRET",
    "_SECONDS",
    "_BYTES",
    "_MEMBERS",
    "_DAYS",
    "_PER_SECOND",
    "_MESSAGES",
    "_BURST",
    "PARTIAL_BATCHES",
)


# How long an example takes says something of the machine, and nothing of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No AWS setting of the machine gets in, none of a test gets out."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith("AWS_") or name.endswith(OURS):
            del os.environ[name]
    os.environ.update(ENVIRONMENT)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def world() -> Iterator[World]:
    """An empty Parley with the app `demo`."""
    with mock_aws(config={"core": {"reset_boto3_session": False}}):  # else boto3 loads its service models anew for each test
        worlds.forget_caches()
        world = worlds.create()
        world.app()
        yield world
    worlds.forget_caches()


@pytest.fixture
def alice(world: World) -> int:
    return world.user("alice")


@pytest.fixture
def bob(world: World) -> int:
    return world.user("bob")


@pytest.fixture
def carol(world: World) -> int:
    return world.user("carol")


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Moves the clock of everything in this process forward, in seconds; `frozen`: while the container does not run, so that its monotonic
    clock stands still."""
    seconds, nanoseconds, monotonic, moved, frozen_s = time.time, time.time_ns, time.monotonic, [0.0], [0.0]

    def move(by_s: float, frozen: bool = False) -> None:
        moved[0] += by_s
        frozen_s[0] += by_s if frozen else 0
        monkeypatch.setattr(time, "time", lambda: seconds() + moved[0])
        monkeypatch.setattr(time, "time_ns", lambda: nanoseconds() + int(moved[0] * 1e9))
        monkeypatch.setattr(time, "monotonic", lambda: monotonic() + moved[0] - frozen_s[0])

    return move

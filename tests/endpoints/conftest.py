"""What the tests of the endpoints share: a clock that can be moved."""

import time
from collections.abc import Callable

import pytest

pytest.register_assert_rewrite("tests.endpoints.refusals")


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock of everything in this process forward, in seconds."""
    seconds, nanoseconds, monotonic, moved = time.time, time.time_ns, time.monotonic, [0.0]

    def move(by_s: float) -> None:
        moved[0] += by_s
        monkeypatch.setattr(time, "time", lambda: seconds() + moved[0])
        monkeypatch.setattr(time, "time_ns", lambda: nanoseconds() + int(moved[0] * 1e9))
        monkeypatch.setattr(time, "monotonic", lambda: monotonic() + moved[0])

    return move

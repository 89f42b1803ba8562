"""What the tests of strangers share: no waiting, a clock that can be moved, and a network that nothing may touch."""

import socket
import time
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NoReturn

import pytest
from aws_lambda_powertools.utilities.parameters import base as parameters

from messaging import store


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BACKOFF_S", (0, 0))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves every clock forward by so many seconds, those of the caches included."""
    seconds, nanoseconds, monotonic, moved = time.time, time.time_ns, time.monotonic, [0.0]

    class Moved(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=moved[0])

    monkeypatch.setattr(parameters, "datetime", Moved)

    def move(by_s: float) -> None:
        moved[0] += by_s
        monkeypatch.setattr(time, "time", lambda: seconds() + moved[0])
        monkeypatch.setattr(time, "time_ns", lambda: nanoseconds() + int(moved[0] * 1e9))
        monkeypatch.setattr(time, "monotonic", lambda: monotonic() + moved[0])

    return move


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whatever reaches for the network is noted here, and gets nowhere."""
    reached: list[str] = []

    def refused(name: str) -> Callable[..., NoReturn]:
        def reach(*args: Any, **kwargs: Any) -> NoReturn:
            reached.append(f"{name}{args[-1:]}")
            raise OSError("there is no network")

        return reach

    monkeypatch.setattr(socket.socket, "connect", refused("connect"))
    monkeypatch.setattr(socket.socket, "connect_ex", refused("connect_ex"))
    monkeypatch.setattr(socket, "getaddrinfo", refused("getaddrinfo"))
    monkeypatch.setattr(urllib.request, "urlopen", refused("urlopen"))
    return reached

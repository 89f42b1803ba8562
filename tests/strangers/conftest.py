"""What the tests of strangers share: no waiting, and a network that nothing may touch."""

import socket
import urllib.request
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from messaging.base import store


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BACKOFF_S", (0, 0))


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

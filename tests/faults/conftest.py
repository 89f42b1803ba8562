"""What the tests of faults share: no waiting, and requests whose token is made beforehand."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from messaging.base import store
from tests.world import World

Ask = Callable[[], dict[str, Any]]  # sends one HTTP request; the gateway's reply


class Client(NamedTuple):
    """A user who is logged in already: nothing but the request itself happens when one is made."""

    world: World
    user: int
    token: str

    def post(self, targets: list[int], **fields: Any) -> dict[str, Any]:
        """The gateway's reply to a send."""
        body = {"type": 1, "targets": targets, "content_type": 0, "content": "hello"} | fields
        return self.world.http("POST", "/message/send", self.token, body=body)

    def send(self, targets: list[int], **fields: Any) -> list[int]:
        """The `msg_ids` of a send that succeeds."""
        envelope = json.loads(self.post(targets, **fields)["body"])
        assert envelope["code"] == 200, envelope
        return list(envelope["msg_ids"])


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BACKOFF_S", (0, 0))


@pytest.fixture
def client(world: World, alice: int) -> Client:
    return Client(world, alice, world.token(alice))


@pytest.fixture
def rival(world: World, bob: int) -> Client:
    return Client(world, bob, world.token(bob))

"""The whole stack over HTTP: the local AWS that `make test` has started and deployed to (or a `make up`, for whoever runs pytest)."""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
import urllib3

from ops import stack

ANSWERED_S = 120.0  # longest wait for a reply: a slow machine is no fault
DELIVERED_S = 300.0  # until a message is in the recipient's list, on the local AWS
FANNED_OUT_S = 300.0  # until it is in the list of every member of a group
T = TypeVar("T")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/e2e/" in item.path.as_posix():
            item.add_marker(pytest.mark.e2e)


@dataclass
class Api:
    """A client of the deployed API, as an app's own would be."""

    info: dict[str, Any]
    http: urllib3.PoolManager

    def app(self, app_id: str = "demo") -> dict[str, Any]:
        return next(app for app in self.info["apps"] if app["app_id"] == app_id)

    def raw(self, verb: str, path: str, **request: Any) -> urllib3.BaseHTTPResponse:
        return self.http.request(verb, self.info["api_url"] + path, timeout=ANSWERED_S, retries=False, **request)

    def call(
        self, verb: str, path: str, token: str, app: str = "demo", query: dict[str, Any] | None = None, body: Any = None
    ) -> dict[str, Any]:
        """The envelope of a request that ends with HTTP status 200."""
        headers = {"app_id": app, "access-token": token, "content-type": "application/json"}
        fields = {"body": json.dumps(body).encode()} if body is not None else {"fields": query or {}}
        reply = self.raw(verb, path, headers=headers, **fields)
        assert reply.status == 200, (reply.status, reply.data)
        return dict(json.loads(reply.data))

    def send(self, token: str, targets: list[int], **fields: Any) -> list[int]:
        body = {"type": 1, "targets": targets, "content_type": 0, "content": "hello"} | fields
        envelope = self.call("POST", "/message/send", token, body=body)
        assert envelope["code"] == 200, envelope
        return list(envelope["msg_ids"])

    def unread(self, token: str, app: str = "demo") -> dict[int, int]:
        data = self.call("GET", "/message/unread", token, app)["data"]
        return {entry["conversation_id"]["uid"]: entry["num"] for entry in data}

    def history(self, token: str, number: int) -> list[dict[str, Any]]:
        """Every message of a conversation, newest first, through all pages."""
        messages: list[dict[str, Any]] = []
        start = 0
        while True:
            query = {"opposite_id": number, "msg_id_start": start, "limit": 100}
            page = self.call("GET", "/message/conversation", token, query=query)["data"]
            messages += page["messages"]
            if page["is_last"]:
                return messages
            start = page["next_msg_id"]


def eventually(what: Callable[[], T], holds: Callable[[T], bool], seconds: float) -> T:
    """The first value of `what` for which `holds`; the last one, for the assertion to show, when time is up."""
    deadline = time.monotonic() + seconds
    while True:
        value = what()
        if holds(value) or time.monotonic() > deadline:
            return value
        time.sleep(0.1)


@pytest.fixture(autouse=True)
def _environment() -> None:
    """Takes the place of the in-process tests' environment: here AWS is the deployed one."""


@pytest.fixture(scope="session")
def api() -> Iterator[Api]:
    path = stack.home() / "parley.json"
    if not path.exists():
        pytest.fail(f"no local AWS: {path} is not there; `make up` starts one, `make test` brings its own")
    before = dict(os.environ)
    stack.connect(None)
    yield Api(json.loads(path.read_text()), urllib3.PoolManager(maxsize=16))
    os.environ.clear()
    os.environ.update(before)


@dataclass
class Person:
    user_id: int
    token: str


@pytest.fixture(scope="session")
def people(api: Api) -> Callable[[int], list[Person]]:
    """Makes users of `demo` that no other test knows."""
    from messaging.people import directory, tokens
    from messaging.people.models import USER

    def make(count: int) -> list[Person]:
        now_ms = time.time_ns() // 1_000_000
        made = [directory.create("demo", "user", now_ms, title="test")["entity_id"] for _ in range(count)]
        return [Person(user_id, tokens.issue("demo", user_id, USER, 3600, now_ms)) for user_id in made]

    return make

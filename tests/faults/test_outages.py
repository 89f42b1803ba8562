"""AWS refuses or does not answer: what a client is told, at whichever call it happens."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from messaging.conversations import rules
from tests import world as worlds
from tests.faults.sdk import error, tampered
from tests.world import Context, World

MOST_CALLS = 20  # more AWS calls than any request makes

OUTAGES = [
    error("ThrottlingException"),
    error("ProvisionedThroughputExceededException"),
    error("InternalServerError", 500),
    error("ServiceUnavailable", 503),
    ReadTimeoutError(endpoint_url="https://aws"),
    ConnectTimeoutError(endpoint_url="https://aws"),
    EndpointConnectionError(endpoint_url="https://aws"),
]
BUGS = [error("AccessDeniedException"), error("ValidationException"), error("ResourceNotFoundException")]


class FailingAt:
    """The `at`-th AWS call fails, before it takes effect."""

    def __init__(self, at: int, failure: Exception) -> None:
        self.at, self.failure, self.made = at, failure, 0

    def __call__(self, operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        self.made += 1
        if self.made == self.at:
            raise self.failure
        return perform()


@pytest.fixture
def requests(world: World, alice: int, bob: int) -> dict[str, Callable[[], dict[str, Any]]]:
    """One request to every endpoint, in a world where each has something to do."""
    world.send(alice, [bob], content_type=rules.COMMAND)
    world.send(alice, [bob])
    world.drain()
    world.send(alice, [bob])
    mine, admin = world.token(bob), world.admin()
    body = {"type": 1, "targets": [alice], "content": "hi", "transaction_id": 9}
    return {
        "send": lambda: world.http("POST", "/message/send", mine, body=body),
        "notify": lambda: world.http("PUT", "/message/notify", admin, body=body),
        "history": lambda: world.http("GET", "/message/conversation", mine, query={"opposite_id": alice}),
        "ack": lambda: world.http("GET", "/message/ack", mine, query={"conversation_id": alice}),
        "forget": lambda: world.http("DELETE", "/message/conversation", mine, query={"conversation_id": alice}),
        "unread": lambda: world.http("GET", "/message/unread", mine),
    }


ENDPOINTS = ["send", "notify", "history", "ack", "forget", "unread"]


def told(ask: Callable[[], dict[str, Any]], failure: Exception) -> list[tuple[int, dict[str, Any]]]:
    """The replies to a request when each of its calls fails in turn, from a container that knows nothing yet."""
    replies: list[tuple[int, dict[str, Any]]] = []
    for at in range(1, MOST_CALLS):
        worlds.cold()
        failing = FailingAt(at, failure)
        with tampered(failing):
            reply = ask()
        if failing.made < at:
            return replies
        replies.append((reply["statusCode"], json.loads(reply["body"])))
    raise AssertionError("a request makes more calls than expected")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    "failure", [error("ThrottlingException"), ReadTimeoutError(endpoint_url="https://aws")], ids=["throttle", "timeout"]
)
def test_an_outage_at_any_call_is_told_as_one(
    requests: dict[str, Callable[[], dict[str, Any]]], endpoint: str, failure: ClientError | BotoCoreError
) -> None:
    replies = told(requests[endpoint], failure)
    assert len(replies) >= 3
    for status, envelope in replies:
        assert (status, envelope["code"], envelope["data"]) == (503, 20000, None)
        assert "aws" not in envelope["message"].lower()


@pytest.mark.parametrize("failure", OUTAGES, ids=lambda failure: type(failure).__name__ + str(failure)[-60:])
def test_every_kind_of_outage_is_told_as_one(requests: dict[str, Callable[[], dict[str, Any]]], failure: Exception) -> None:
    def fails(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        raise failure

    with tampered(fails):
        reply = requests["unread"]()
    assert (reply["statusCode"], json.loads(reply["body"])["code"]) == (503, 20000)
    assert reply["headers"]["cache-control"] == "no-store"


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("failure", BUGS, ids=lambda failure: failure.response["Error"]["Code"])
def test_a_fault_of_ours_is_told_by_nothing_but_the_request_id(
    requests: dict[str, Callable[[], dict[str, Any]]], endpoint: str, failure: ClientError
) -> None:
    def fails(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        raise failure

    requests[endpoint]()  # the container knows its keys and the app
    with tampered(fails):
        reply = requests[endpoint]()
    assert reply["statusCode"] == 500
    assert json.loads(reply["body"]) == {"code": 50000, "data": None, "message": f"internal error, request {Context.aws_request_id}"}


def test_a_request_that_failed_can_be_repeated(
    world: World, alice: int, bob: int, requests: dict[str, Callable[[], dict[str, Any]]]
) -> None:
    told(requests["send"], error("InternalServerError", 500))
    assert world.contents(alice, bob)[-1:] == ["hi"]
    assert world.contents(alice, bob).count("hi") == 1


def test_a_direct_call_is_told_of_an_outage_by_its_code(world: World, alice: int) -> None:
    def fails(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        raise error("ThrottlingException")

    with tampered(fails):
        reply = world.direct("unread", {"app_id": "demo", "user_id": alice})
    assert (reply["code"], reply["data"]) == (20000, None)


def test_an_outage_is_logged_once_with_its_traceback_and_without_any_content(
    world: World, alice: int, bob: int, caplog: pytest.LogCaptureFixture
) -> None:
    token = world.token(alice)
    body = {"type": 1, "targets": [bob], "content": "very private"}

    def fails(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        if operation == "PutItem":
            raise error("ThrottlingException")
        return perform()

    with caplog.at_level("DEBUG", "parley"), tampered(fails):
        world.http("POST", "/message/send", token, body=body)
    [line] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert line.exc_info
    assert "ThrottlingException" in str(line.exc_info[1])
    assert line.__dict__["request_id"] == Context.aws_request_id
    everything = caplog.text + "".join(str(record.__dict__) for record in caplog.records if record.name == "parley")
    assert "very private" not in everything
    assert token not in everything

"""A round trip leaves nothing behind, and what cannot be looked at is red, not silent."""

import json
import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from infra.settings import ROOT
from messaging.people import directory
from ops import doctor, round_trip
from ops.doctor import Finding, Patient, Section
from tests.world import World

SECTIONS = set(re.findall(r"^#+ (.+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE))


class Caller:
    """The API as the round trip calls it; between two calls everything is delivered, or nothing is."""

    def __init__(self, world: World, delivers: bool = True, answers: dict[str, Any] | None = None) -> None:
        self.world, self.delivers, self.answers = world, delivers, answers

    def __call__(self, path: str, headers: dict[str, str], body: dict[str, Any] | None) -> dict[str, Any]:
        if self.answers:
            return self.answers
        if self.delivers:
            self.world.drain()
        verb = "POST" if body else "GET"
        return self.world.call(verb, path, headers["access-token"], body=body, app=headers["app_id"])


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round_trip, "POLL_S", 0.01)


def test_a_round_trip_leaves_nothing_behind(world: World, alice: int, bob: int) -> None:
    world.send(alice, [bob])
    world.drain()
    before = world.snapshot()
    why, delivered = round_trip.round_trip(Caller(world), 5)
    assert (why, delivered is not None) == ("", True)
    world.drain()
    assert world.snapshot() == before


def test_a_message_that_does_not_arrive_is_told_and_removed_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = world.snapshot()
    assert round_trip.round_trip(Caller(world, delivers=False), 0.05) == ("", None)
    assert round_trip.sweep() == 0  # it may still be under way
    world.drain()
    monkeypatch.setattr(round_trip, "ABANDONED_MS", -1)
    assert round_trip.sweep() == 1
    assert world.snapshot() == before


def test_an_app_of_somebody_else_is_not_swept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round_trip, "ABANDONED_MS", -1)
    directory.create_app("doctor-who", 1)
    assert round_trip.sweep() == 0


def test_a_refused_message_is_told_and_nothing_is_left(world: World) -> None:
    before = world.snapshot()
    refused = Caller(world, answers={"code": 503, "message": "HTTP 503"})
    assert round_trip.round_trip(refused, 5) == ("503 HTTP 503", None)
    assert world.snapshot() == before


def test_what_cannot_be_looked_at_is_red() -> None:
    def check(patient: Patient) -> Iterator[Finding]:
        yield Finding("ok", "half of it")
        raise OSError("no route")

    found = doctor.made(check, Patient("stack", {}, "", True, 1))
    assert [finding.state for finding in found] == ["ok", "red"]
    assert "no route" in found[1].told


def test_every_check_points_to_a_section_that_exists() -> None:
    assert set(Section) <= SECTIONS


@pytest.mark.parametrize(("free", "state"), [(1000, "ok"), (100, "note"), (58, "red")])
def test_what_the_workers_may_take_of_the_accounts_concurrency_is_told(monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    client = boto3.client("lambda")
    monkeypatch.setattr("ops.doctor.boto3.client", lambda name: client)
    with Stubber(client) as answers:
        for name, mapping in {"deliver": {"ParallelizationFactor": 2}, "fanout": {"ScalingConfig": {"MaximumConcurrency": 50}}}.items():
            answers.add_response("list_event_source_mappings", {"EventSourceMappings": [mapping]}, {"FunctionName": name})
        limit = {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": free}
        answers.add_response("get_account_settings", {"AccountLimit": limit})
        patient = Patient("stack", {"DeliverFunction": "deliver", "FanoutFunction": "fanout"}, "", False, 1)
        (found,) = doctor.made(doctor.checks()["concurrency"], patient)
    assert (found.state, "fan-out may take 50 and delivery 8" in found.told) == (state, True)
    assert (found.section is None) == (state == "ok")


def test_an_api_that_cannot_be_reached_is_an_envelope_that_says_so() -> None:
    reply = doctor._post("http://127.0.0.1:9")("/message/unread", {}, None)
    assert json.loads(json.dumps(reply))["code"] == 0

"""From append to inbox: one line a batch, of what was moved, with the age of its oldest message."""

import json
import time
from typing import Any

import pytest

from tests.faults.sdk import error, tampered
from tests.world import World

HOUR_MS = 3_600_000
SLACK_MS = 30_000  # what a test may take


def told(caplog: pytest.LogCaptureFixture, operation: str) -> list[dict[str, Any]]:
    return [record.__dict__ for record in caplog.records if record.getMessage() == operation]


def aged(record: dict[str, Any], hours: int) -> dict[str, Any]:
    """The stream record of a message that was sent so many hours ago."""
    sent_at = time.time_ns() // 1_000_000 - hours * HOUR_MS
    image = {**record["dynamodb"]["NewImage"], "sent_at": {"N": str(sent_at)}}
    return {**record, "dynamodb": {**record["dynamodb"], "NewImage": image}}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO")
    return caplog


def test_a_delivery_tells_how_old_its_oldest_message_is(world: World, alice: int, bob: int, log: pytest.LogCaptureFixture) -> None:
    world.send(alice, [bob])
    world.send(bob, [alice])
    first, second = world.stream()
    world.deliver([aged(first, 5), aged(second, 2)])
    (line,) = told(log, "deliver")
    assert line["records"] == 2
    assert 0 <= line["lag_ms"] - 5 * HOUR_MS < SLACK_MS


def test_what_is_not_delivered_yet_does_not_count_until_it_is(
    world: World, alice: int, bob: int, carol: int, log: pytest.LogCaptureFixture
) -> None:
    world.send(alice, [bob])
    world.send(alice, [carol])
    to_bob, to_carol = world.stream()

    def no_bob(operation: str, request: dict[str, Any], perform: Any) -> Any:
        if operation == "UpdateItem" and request["Key"]["conversation"]["N"] == str(bob):
            raise error("ThrottlingException")
        return perform()

    with tampered(no_bob):
        world.deliver([aged(to_bob, 5), aged(to_carol, 2)])
        world.deliver([aged(to_bob, 5)])
    (line,) = told(log, "deliver")
    assert (line["records"], line["lag_ms"] // HOUR_MS) == (1, 2)
    world.deliver([aged(to_bob, 5)])
    assert told(log, "deliver")[1]["lag_ms"] // HOUR_MS == 5


def test_a_fan_out_tells_how_old_the_oldest_job_is_that_it_has_done(
    world: World, alice: int, bob: int, log: pytest.LogCaptureFixture
) -> None:
    world.say(alice, world.group(alice, bob))
    world.deliver(world.stream())
    (job,) = world.jobs()
    now_ms = time.time_ns() // 1_000_000
    jobs = [
        {**job, "messageId": str(hours), "body": json.dumps(json.loads(job["body"]) | {"last_at": now_ms - hours * HOUR_MS})}
        for hours in (2, 5)
    ]
    world.fan_out([*jobs, {**job, "messageId": "none", "body": "{}"}])
    (line,) = told(log, "fanout")
    assert (line["jobs"], line["lag_ms"] // HOUR_MS) == (2, 5)
    world.fan_out([{**job, "body": "{}"}])
    assert len(told(log, "fanout")) == 1

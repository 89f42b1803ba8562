"""The queue worker: every member's marks move, once, whatever the queue does with its jobs."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from messaging.conversations import rules
from tests.faults.sdk import error, tampered
from tests.world import World

COMMAND = rules.COMMAND


def failing(*readers: int) -> Callable[..., Any]:
    """An Inbox that cannot be written for these readers."""
    places = {f"demo#{reader}" for reader in readers}

    def answer(operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        if operation == "UpdateItem" and request["Key"].get("reader", {}).get("S") in places:
            raise error("ThrottlingException")
        return perform()

    return answer


def failures(reply: dict[str, Any]) -> list[str]:
    return [failure["itemIdentifier"] for failure in reply["batchItemFailures"]]


def jobs_of(world: World) -> list[dict[str, Any]]:
    world.deliver(world.stream())
    return world.jobs()


def copy(job: dict[str, Any], message_id: str, **fields: Any) -> dict[str, Any]:
    return {**job, "messageId": message_id, "body": json.dumps(json.loads(job["body"]) | fields)}


@pytest.fixture
def group(world: World, alice: int, bob: int, carol: int) -> int:
    return world.group(alice, bob, carol)


def test_every_member_but_the_sender_has_one_more_unread(world: World, alice: int, bob: int, carol: int, group: int) -> None:
    world.say(alice, group)
    assert world.fan_out(jobs_of(world)) == {"batchItemFailures": []}
    assert [world.unread(user) for user in (alice, bob, carol)] == [{group: 0}, {group: 1}, {group: 1}]


def test_a_job_that_comes_again_changes_nothing(world: World, alice: int, bob: int, group: int) -> None:
    world.say(alice, group)
    world.say(alice, group, content_type=COMMAND)
    jobs = jobs_of(world)
    world.fan_out(jobs)
    before = world.rows("Inbox")
    world.fan_out(jobs)
    world.fan_out([*jobs, copy(jobs[0], "again")])
    assert world.rows("Inbox") == before


def test_a_late_job_never_moves_a_mark_back(world: World, alice: int, bob: int, group: int) -> None:
    world.say(alice, group)
    early = jobs_of(world)
    world.say(alice, group)
    world.fan_out(jobs_of(world))
    world.ack(bob, group)
    before = world.rows("Inbox")
    world.fan_out(early)
    assert world.rows("Inbox") == before
    assert world.num(bob, group) == 0


def test_a_late_job_may_still_tell_of_a_command(world: World, alice: int, bob: int, group: int) -> None:
    world.say(alice, group, content_type=COMMAND)
    early = jobs_of(world)
    world.say(alice, group)
    world.fan_out([copy(job, "newer", skip_seq=0) for job in jobs_of(world)])
    world.fan_out(early)
    assert world.num(bob, group) == 1


def test_jobs_of_one_group_are_one_write_a_member(world: World, alice: int, bob: int, carol: int, group: int) -> None:
    jobs = []
    for _ in range(3):
        world.say(alice, group)
        jobs += jobs_of(world)
    with world.calls() as calls:
        assert world.fan_out(jobs) == {"batchItemFailures": []}
    assert [call.operation for call in calls] == ["UpdateItem"] * 2
    assert world.num(bob, group) == world.num(carol, group) == 3


@pytest.mark.parametrize("order", [[0, 1], [1, 0]], ids=str)
def test_merging_keeps_the_newest_message_and_the_newest_command(world: World, alice: int, bob: int, group: int, order: list[int]) -> None:
    world.say(alice, group, content_type=COMMAND)
    jobs = jobs_of(world)
    world.say(alice, group)
    jobs += jobs_of(world)
    world.fan_out([jobs[at] for at in order])
    row = world.row(bob, group)
    assert row
    assert (row["last_seq"], row["skip_seq"]) == (2, 1)
    assert world.num(bob, group) == 1


def test_jobs_of_two_groups_do_not_mix(world: World, alice: int, bob: int, group: int) -> None:
    other = world.group(alice, bob)
    world.say(alice, group)
    world.say(alice, group)
    world.say(alice, other)
    world.fan_out(jobs_of(world))
    assert world.unread(bob) == {group: 2, other: 1}


def test_a_failed_member_has_its_job_come_again_and_no_other(world: World, alice: int, bob: int, carol: int, group: int) -> None:
    other = world.group(alice, carol)
    world.say(alice, group)
    world.say(alice, other)
    jobs = jobs_of(world)
    with tampered(failing(bob)):
        reply = world.fan_out(jobs)
    assert failures(reply) == [job["messageId"] for job in jobs if json.loads(job["body"])["conversation"].endswith(f"#{group}")]
    assert world.unread(carol) == {group: 1, other: 1}
    assert world.unread(bob) == {}

    assert world.fan_out([job for job in jobs if job["messageId"] in failures(reply)]) == {"batchItemFailures": []}
    assert world.unread(bob) == {group: 1}


def test_of_merged_jobs_those_of_a_failed_member_come_again_all(world: World, alice: int, bob: int, carol: int, group: int) -> None:
    world.say(alice, group)
    [job] = jobs_of(world)
    jobs = [copy(job, "bob", members=[bob]), copy(job, "carol", members=[carol]), copy(job, "both", members=[bob, carol])]
    with tampered(failing(bob)):
        assert failures(world.fan_out(jobs)) == ["bob", "both"]


@pytest.mark.parametrize(
    "body",
    ["", "nonsense", "{}", "[]", '{"conversation": "demo#group#1"}', "null", '{"conversation": 1}'],
    ids=lambda body: body or "empty",
)
def test_what_is_no_job_fails_alone(world: World, alice: int, bob: int, group: int, body: str) -> None:
    world.say(alice, group)
    [job] = jobs_of(world)
    assert failures(world.fan_out([{**job, "messageId": "bad", "body": body}, job])) == ["bad"]
    assert world.num(bob, group) == 1


def test_a_job_of_no_conversation_fails_alone(world: World, alice: int, bob: int, group: int) -> None:
    world.say(alice, group)
    [job] = jobs_of(world)
    assert failures(world.fan_out([copy(job, "bad", conversation="demo#room#1"), job])) == ["bad"]
    assert world.num(bob, group) == 1


def test_who_left_meanwhile_is_passed_over(world: World, alice: int, bob: int, carol: int, group: int) -> None:
    world.say(alice, group)
    jobs = jobs_of(world)
    world.leave(group, bob)
    before = world.row(bob, group)
    assert world.fan_out(jobs) == {"batchItemFailures": []}
    assert world.row(bob, group) == before
    assert world.unread(bob) == {}
    assert world.num(carol, group) == 1


def test_a_row_that_never_was_is_not_made(world: World, alice: int, group: int) -> None:
    stranger = world.user("stranger")
    world.say(alice, group)
    [job] = jobs_of(world)
    assert world.fan_out([copy(job, "odd", members=[stranger])]) == {"batchItemFailures": []}
    assert world.row(stranger, group) is None


def test_an_old_job_tells_nothing_to_who_came_back(world: World, alice: int, bob: int, group: int) -> None:
    world.say(alice, group)
    old = jobs_of(world)
    world.leave(group, bob)
    world.say(alice, group)
    world.drain()
    world.join(group, bob)
    before = world.row(bob, group)
    world.fan_out(old)
    assert world.row(bob, group) == before
    assert world.unread(bob) == {}


def test_a_batch_that_fails_for_many_members_is_one_line(
    world: World, alice: int, bob: int, carol: int, group: int, caplog: pytest.LogCaptureFixture
) -> None:
    world.say(alice, group)
    jobs = jobs_of(world)
    with tampered(failing(bob, carol)), caplog.at_level("DEBUG", "parley"):
        assert len(failures(world.fan_out(jobs))) == len(jobs)
    (line,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert (line.__dict__["members"], line.__dict__["of"]) == (2, 2)
    assert "ThrottlingException" in str(line.exc_info and line.exc_info[1])

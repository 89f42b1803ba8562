"""From a copy of an earlier time comes back what was lost, and nothing that is there changes."""

import pytest

from messaging.base import store
from messaging.people import directory
from tests.ops.conftest import Parley
from tests.ops.test_rebuild import recounted
from tests.world import World

COPY = "Copy"


def copied(world: World, table: str) -> None:
    """A copy of the table as it is now, as a restore to a point in time makes one."""
    found = store.dynamodb().describe_table(TableName=table)["Table"]
    used = {key["AttributeName"] for key in found["KeySchema"]}
    store.dynamodb().create_table(
        TableName=COPY,
        KeySchema=found["KeySchema"],
        AttributeDefinitions=[each for each in found["AttributeDefinitions"] if each["AttributeName"] in used],
        BillingMode="PAY_PER_REQUEST",
    )
    for row in world.rows(table):
        store.dynamodb().put_item(TableName=COPY, Item=store.pack(row))


def lose(world: World, table: str) -> None:
    keys = [key["AttributeName"] for key in store.dynamodb().describe_table(TableName=table)["Table"]["KeySchema"]]
    for row in world.rows(table):
        store.dynamodb().delete_item(TableName=table, Key=store.pack({name: row[name] for name in keys}))


@pytest.fixture
def group(world: World, alice: int, bob: int, carol: int) -> int:
    group = world.group(alice, bob, carol)
    world.send(alice, [bob], content="one")
    world.send(alice, [bob], content="two")
    world.say(alice, group)
    world.drain()
    world.ack(bob, alice, msg_id=1)
    return group


@pytest.mark.parametrize("table", ["Messages", "Inbox", "Directory"])
def test_what_was_lost_comes_back_as_it_was(world: World, group: int, parley: Parley, table: str) -> None:
    copied(world, table)
    before = world.rows(table)
    lose(world, table)
    assert parley("restore", table.lower(), "--from", COPY, "--yes", "--json").json == {"put": len(before), "moved": 0}
    assert world.rows(table) == before
    world.drain()
    assert world.rows("Inbox") == (before if table == "Inbox" else world.rows("Inbox"))
    assert parley("restore", table.lower(), "--from", COPY, "--yes", "--json").json == {"put": 0, "moved": 0}


def test_marks_that_were_lost_move_forward_again_and_newer_ones_stay(
    world: World, group: int, alice: int, bob: int, carol: int, parley: Parley
) -> None:
    copied(world, "Inbox")
    lose(world, "Inbox")
    world.send(alice, [bob], content="three")
    world.drain()  # makes the rows anew, without what was read
    assert parley("restore", "inbox", "--from", COPY, "--yes").code == 0
    assert world.num(bob, alice) == 2
    for user in (alice, bob, carol):
        assert world.unread(user) == recounted(world, user)
    world.ack(bob, alice)
    parley("restore", "inbox", "--from", COPY, "--yes")
    assert world.num(bob, alice) == 0


def test_who_has_left_since_stays_out(world: World, group: int, bob: int, parley: Parley) -> None:
    for table in ("Directory", "Inbox"):
        copied(world, table)
        world.leave(group, bob) if table == "Directory" else None
        parley("restore", table.lower(), "--from", COPY, "--yes")
        store.dynamodb().delete_table(TableName=COPY)
    assert bob not in directory.members("demo", group)
    assert world.unread(bob).keys() != {group}


def test_a_row_from_before_somebody_left_does_not_let_them_in(world: World, group: int, bob: int, parley: Parley) -> None:
    copied(world, "Inbox")
    world.leave(group, bob)
    lose(world, "Inbox")
    parley("restore", "inbox", "--from", COPY, "--yes")
    assert world.call("GET", "/message/conversation", world.token(bob), query={"opposite_id": group})["code"] == 20002


def test_a_table_that_is_no_copy_is_refused(world: World, group: int, parley: Parley) -> None:
    assert "no copy" in parley("restore", "messages", "--from", "Inbox", "--yes").err
    assert "no copy" in parley("restore", "messages", "--from", "Messages", "--yes").err

"""From a copy of an earlier time comes back what was lost, and nothing that is there changes."""

from collections.abc import Callable

import pytest

from messaging.base import keys, store
from messaging.conversations import membership
from messaging.people import directory
from ops import personal
from tests.ops.conftest import Parley
from tests.ops.test_rebuild import recounted
from tests.world import World, cold

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


@pytest.fixture
def erased(world: World, group: int, alice: int, bob: int, parley: Parley, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Copies a table, erases Alice, then the table loses everything but the profiles."""
    monkeypatch.setattr(personal, "SETTLED_S", 0)
    body = {"type": 1, "targets": [alice], "content_type": 0, "content": "from the system"}
    world.call("POST", "/message/notify", world.admin(), body=body)
    world.send(bob, [alice], content="from bob")
    world.drain()
    world.ack(alice, bob, device_sn=987)
    world.forget(alice, bob)
    membership.transfer("demo", group, bob)

    def erase(table: str) -> None:
        copied(world, table)
        assert parley("user", "erase", "--app", "demo", "--user", alice, "--yes").code == 0
        profiles = [row for row in world.rows(table) if row.get("facet") == keys.PROFILE]
        lose(world, table)
        for row in profiles:
            store.dynamodb().put_item(TableName=table, Item=store.pack(row))

    return erase


def test_messages_of_who_was_erased_since_come_back_empty(
    world: World, erased: Callable[[str], None], alice: int, bob: int, parley: Parley
) -> None:
    erased("Messages")
    assert parley("restore", "messages", "--from", COPY, "--yes", "--json").json["put"] == 5
    assert world.contents(bob, alice) == [None, None, "from bob"]
    said = {row.get("content") for row in world.rows("Messages") if row["sender"] != bob}
    assert said == {None}


def test_rows_of_who_was_erased_since_come_back_as_erasing_leaves_them(
    world: World, erased: Callable[[str], None], group: int, alice: int, bob: int, parley: Parley
) -> None:
    erased("Inbox")
    statuses = [message["status"] for message in world.history(bob, alice)["messages"]]
    assert statuses[0] == "UNREAD"
    parley("restore", "inbox", "--from", COPY, "--yes")
    row = world.row(alice, bob)
    assert row
    assert (row["read_seq"], {"device_sn", "cut_seq"} & row.keys()) == (3, set())
    assert [world.row(alice, number) for number in (0, alice, group)] == [None] * 3
    assert world.history(bob, alice)["messages"][0]["status"] == "READ"


def test_marks_of_who_was_erased_since_stay_gone(world: World, erased: Callable[[str], None], alice: int, bob: int, parley: Parley) -> None:
    copied(world, "Inbox")
    assert parley("user", "erase", "--app", "demo", "--user", alice, "--yes").code == 0
    before = world.rows("Inbox")
    assert parley("restore", "inbox", "--from", COPY, "--yes").code == 0
    assert world.rows("Inbox") == before


def test_who_was_erased_since_is_listed_in_no_group_again(
    world: World, erased: Callable[[str], None], group: int, alice: int, bob: int, carol: int, parley: Parley
) -> None:
    erased("Directory")
    parley("restore", "directory", "--from", COPY, "--yes")
    assert directory.members("demo", group) == [bob, carol]


def test_who_was_erased_since_stays_erased_though_the_directory_has_lost_it(
    world: World, erased: Callable[[str], None], alice: int, bob: int, parley: Parley
) -> None:
    erased("Directory")
    lose(world, "Directory")
    parley("restore", "directory", "--from", COPY, "--yes")
    cold()
    assert world.post(bob, [alice])["code"] == 10000
    assert "alice" not in [row.get("title") for row in world.rows("Directory")]
    assert world.call("GET", "/message/unread", world.token(alice))["code"] in (402, 10008)


def test_a_table_that_is_no_copy_is_refused(world: World, group: int, parley: Parley) -> None:
    assert "no copy" in parley("restore", "messages", "--from", "Inbox", "--yes").err
    assert "no copy" in parley("restore", "messages", "--from", "Messages", "--yes").err

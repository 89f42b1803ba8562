"""What is held about a user is handed out whole, and erasing it takes nothing from anybody else."""

import json
import stat
import time
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from messaging.base import keys, store
from messaging.conversations import inbox, log, membership, rules
from messaging.conversations.models import Message
from messaging.people import directory
from ops import personal
from tests.faults.sdk import Crashing, tampered
from tests.ops.conftest import Parley
from tests.ops.test_rebuild import recounted
from tests.world import APP, World, cold

CANARY = "canary"  # in everything that Alice writes
DAVE = 500
REQUESTS = 8_675_309_000  # Alice's transaction_ids


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is under way in these tests."""
    monkeypatch.setattr(personal, "SETTLED_S", 0)


@pytest.fixture
def group(world: World, alice: int, bob: int, carol: int) -> int:
    """A past: Alice writes to Bob, to herself and to a group, leaves another group, is written to by the system. The group."""
    group, left = world.group(bob, alice, carol), world.group(carol, alice)
    for said in ("one", "two"):
        world.send(alice, [bob], content=f"{CANARY} {said}", ext=CANARY, transaction_id=REQUESTS + ord(said[0]))
    world.send(bob, [alice], content="from bob")
    world.send(alice, [bob], content_type=rules.IMAGE, content=None, attachment=CANARY, config=CANARY)
    world.send(alice, [alice], content=f"{CANARY} note")
    world.say(alice, group, content=f"{CANARY} group")
    world.say(bob, group, content="bob to the group")
    world.say(alice, left, content=f"{CANARY} left")
    world.say(carol, left, content="carol to the other group")
    world.leave(left, alice)
    body = {"type": 1, "targets": [alice], "content_type": 0, "content": f"{CANARY} from the system"}
    world.call("POST", "/message/notify", world.admin(), body=body)
    world.drain()
    return group


@pytest.fixture
def scattered(world: World, group: int, alice: int, bob: int, carol: int) -> dict[str, int]:
    """More of Alice's past, which none of her rows tells. `strange`: a group where an administrator wrote in her name and she never was;
    `rowless`: one that lists her though her row was lost; `vanished`: one of which only her row is left; and what was never delivered.
    """
    strange, rowless, vanished = world.group(bob, carol), world.group(bob, alice), world.group(bob, alice)
    body = {"type": 2, "targets": [strange], "content_type": 0, "content": f"{CANARY} in her name", "from_user_id": alice}
    assert world.call("POST", "/message/send", world.admin(), body=body, headers={"group_id": str(strange)})["code"] == 200
    world.say(alice, vanished, content=f"{CANARY} vanished")
    world.drain()
    store.dynamodb().delete_item(TableName="Inbox", Key=store.pack({"reader": f"{APP}#{alice}", "conversation": rowless}))
    for facet in (keys.PROFILE, keys.member(alice), keys.member(bob)):
        store.dynamodb().delete_item(TableName="Directory", Key=store.pack({"entity": f"{APP}#{vanished}", "facet": facet}))
    world.send(alice, [carol], content=f"{CANARY} to carol", transaction_id=77)
    world.send(world.user("dave", number=DAVE), [alice], content="from dave")
    world.send(alice, [alice], content=f"{CANARY} second note")
    body = {"type": 1, "targets": [alice], "content_type": 0, "content": f"{CANARY} second from the system"}
    world.call("POST", "/message/notify", world.admin(), body=body)
    world.say(alice, group, content=f"{CANARY} last", transaction_id=78)
    return {"group": group, "strange": strange, "rowless": rowless, "vanished": vanished}


def exported(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines()]


def contents(lines: list[dict[str, Any]]) -> set[str]:
    return {line["content"] or line["attachment"] for line in lines if line["record"] == "message"}


def test_an_export_holds_what_the_user_wrote_and_what_they_may_see(world: World, group: int, alice: int, parley: Parley) -> None:
    lines = exported(parley("user", "export", "--app", APP, "--user", alice, "--yes").out)
    assert lines[0]["record"] == "user"
    assert lines[0]["name"] == "alice"
    said = {f"{CANARY} {each}" for each in ("one", "two", "note", "group", "left", "from the system")}
    assert contents(lines) == said | {CANARY, "from bob", "bob to the group"}
    kinds = [line["record"] for line in lines]
    assert (kinds.count("conversation"), kinds.count("request")) == (5, 2)


def test_an_export_holds_nothing_from_before_joining_and_nothing_deleted_but_the_users_own(
    world: World, alice: int, bob: int, carol: int, parley: Parley
) -> None:
    group = world.group(alice, bob)
    world.say(bob, group, content="before carol")
    world.join(group, carol)
    world.say(bob, group, content="after carol")
    world.send(bob, [carol], content="deleted")
    world.send(carol, [bob], content="own")
    world.drain()
    world.forget(carol, bob)
    lines = exported(parley("user", "export", "--app", APP, "--user", carol, "--yes").out)
    assert contents(lines) == {"after carol", "own"}


def test_an_export_goes_to_a_new_file_that_only_its_owner_reads(
    world: World, group: int, alice: int, parley: Parley, tmp_path: Path
) -> None:
    path = tmp_path / "alice.jsonl"
    assert "$0.01" in parley("user", "export", "--app", APP, "--user", alice, "--to", path, answer="n\n").err
    assert not path.exists()
    assert parley("user", "export", "--app", APP, "--user", alice, "--to", path, "--yes").code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert contents(exported(path.read_text()))
    assert "exists" in parley("user", "export", "--app", APP, "--user", alice, "--to", path, "--yes").err


def test_an_export_holds_what_was_never_delivered_and_what_no_row_tells(
    world: World, scattered: dict[str, int], alice: int, parley: Parley
) -> None:
    said = contents(exported(parley("user", "export", "--app", APP, "--user", alice, "--yes").out))
    undelivered = {f"{CANARY} {each}" for each in ("to carol", "second note", "second from the system", "last")} | {"from dave"}
    assert said >= undelivered | {f"{CANARY} in her name", f"{CANARY} vanished"}


def test_an_export_holds_nothing_of_who_has_a_longer_number(world: World, bob: int, carol: int, parley: Parley) -> None:
    short, long = world.user(number=77), world.user(number=777)
    world.send(long, [bob], content="of 777")
    world.send(carol, [short], content="to 77")
    assert contents(exported(parley("user", "export", "--app", APP, "--user", short, "--yes").out)) == {"to 77"}


def test_of_an_erased_user_nothing_is_left_but_numbers(world: World, group: int, alice: int, bob: int, parley: Parley) -> None:
    done = parley("user", "erase", "--app", APP, "--user", alice, "--yes", "--json").json
    assert done == {"user_id": alice, "messages": 7, "rows": 4, "requests": 2}
    stored = json.dumps(world.snapshot())
    assert CANARY not in stored
    assert str(REQUESTS // 1000) not in stored
    assert '"title": "alice"' not in stored
    assert world.rows("Dedup") == []
    rows = {row["conversation"]: row for row in world.rows("Inbox") if row["reader"] == f"{APP}#{alice}"}
    assert rows.keys() == {0, alice, bob}
    assert rows[0].keys() == rows[alice].keys() == {"reader", "conversation", "chat", "left_at"}
    assert alice not in directory.members(APP, group)
    assert "alice" not in parley("user", "list", "--app", APP).out


def test_what_others_have_stays_as_it_was(world: World, group: int, alice: int, bob: int, carol: int, parley: Parley) -> None:
    world.history(alice, bob)
    world.ack(alice, bob)
    before = {user: world.unread(user) for user in (bob, carol)}
    world.history(bob, alice)  # fetched, which the next page shows
    statuses = [message["status"] for message in world.history(bob, alice)["messages"]]
    parley("user", "erase", "--app", APP, "--user", alice, "--yes")
    world.drain()
    for user in (bob, carol):
        assert world.unread(user) == before[user] == recounted(world, user)
    page = world.history(bob, alice)["messages"]
    assert [message["msg_id"] for message in page] == [4, 3, 2, 1]
    assert [message["content"] for message in page] == [None, "from bob", None, None]
    assert [message["status"] for message in page] == statuses
    image, _, _, text = page
    assert (image["ctype"], text["ctype"]) == ("IMAGE", "TEXT")
    assert [text[f"set_{part}"] for part in rules.PARTS] == [False] * 4
    assert [message["content"] for message in world.history(bob, group)["messages"]] == ["bob to the group", None]


def test_an_erased_user_never_gets_in_again_and_gets_nothing(
    world: World, group: int, alice: int, bob: int, parley: Parley, monkeypatch: pytest.MonkeyPatch
) -> None:
    parley("user", "erase", "--app", APP, "--user", alice, "--yes")
    cold()
    later = world.token(alice, iat=2 * 10**9, exp=2 * 10**9 + 3600)  # as a backend of the customer's may do years later
    with monkeypatch.context() as patch:
        patch.setattr("messaging.edge.time.time_ns", lambda: 2 * 10**18 + 10**9)
        assert world.call("GET", "/message/unread", later)["code"] == 402
    assert world.post(bob, [alice])["code"] == 10000
    assert world.direct("unread", {"app_id": APP, "user_id": alice})["code"] == 10000
    assert "no user" in parley("group", "add", "--app", APP, "--group", group, "--member", alice).err
    assert "no user" in parley("token", "revoke", "--app", APP, "--user", alice).err
    assert "taken" in parley("user", "create", "--app", APP, "--id", alice, "alice").err


def test_erasing_again_changes_nothing(world: World, group: int, alice: int, parley: Parley) -> None:
    parley("user", "erase", "--app", APP, "--user", alice, "--yes")
    before = world.snapshot()
    again = parley("user", "erase", "--app", APP, "--user", alice, "--yes", "--json").json
    assert again == {"user_id": alice, "messages": 0, "rows": 0, "requests": 0}
    assert world.snapshot() == before


def nothing_left(world: World, alice: int, groups: dict[str, int]) -> bool:
    """Of what Alice wrote, of her requests, and of her memberships."""
    listed = [alice in directory.members(APP, group) for group in groups.values()]
    rows = {row["conversation"]: row for row in world.rows("Inbox") if row["reader"] == f"{APP}#{alice}"}
    requests = [row for row in world.rows("Dedup") if row["dedup_key"].startswith(f"{APP}#{alice}#")]
    return not (CANARY in json.dumps(world.snapshot()) or any(listed) or rows.keys() & groups.values() or requests)


def test_what_was_never_delivered_and_what_no_row_tells_is_erased_too(
    world: World, scattered: dict[str, int], alice: int, bob: int, carol: int, parley: Parley
) -> None:
    assert parley("user", "erase", "--app", APP, "--user", alice, "--yes", "--json").json["messages"] == 13
    assert nothing_left(world, alice, scattered)
    for reader, number in ((bob, scattered["strange"]), (bob, scattered["group"]), (carol, alice)):
        assert world.history(reader, number)["messages"][0]["content"] is None
    assert world.contents(DAVE, alice) == ["from dave"]  # history waits for no delivery


def test_what_is_delivered_after_erasing_is_empty_and_brings_nothing_back(
    world: World, scattered: dict[str, int], alice: int, bob: int, carol: int, parley: Parley
) -> None:
    parley("user", "erase", "--app", APP, "--user", alice, "--yes")
    late = {row["conversation"] for row in world.rows("Inbox") if row["reader"] == f"{APP}#{alice}" and "left_at" in row}
    world.drain()
    assert nothing_left(world, alice, scattered)
    assert late == {0, alice}
    assert [world.row(alice, number).keys() for number in late] == [{"reader", "conversation", "chat", "left_at"}] * 2  # type: ignore[union-attr]
    assert world.num(carol, alice) == 1
    for user in (bob, carol):
        assert world.unread(user) == recounted(world, user)


def test_after_a_crash_at_any_call_repeating_it_erases_the_rest(
    world: World, scattered: dict[str, int], alice: int, parley: Parley
) -> None:
    for at in range(1, 400):
        crash = Crashing(at, effective=at % 2 == 0)
        try:
            with tampered(crash):
                personal.require_erasable(APP, alice)
                personal.close(APP, alice, 1)
                personal.erase_messages(APP, alice, 1, lambda done: None)
                personal.erase_rows(APP, alice, inbox.rows(APP, alice), 1, lambda done: None)
                personal.forget_requests(APP, alice, lambda done: None)
        except BaseException as crashed:
            if not crash.crashed:
                raise crashed from None
            cold()
        else:
            break
    assert 40 < at < 399
    assert nothing_left(world, alice, scattered)


def test_who_was_being_added_to_a_group_while_they_were_closed_is_in_it_no_more(
    world: World, alice: int, bob: int, parley: Parley, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, close = world.group(bob), personal.close

    def closed(*given: Any) -> None:
        close(*given)
        membership._enter(keys.group(APP, group), alice, {"history_visible": False}, log.NOTHING)

    monkeypatch.setattr(personal, "close", closed)
    parley("user", "erase", "--app", APP, "--user", alice, "--yes")
    assert (world.row(alice, group), directory.members(APP, group)) == (None, [bob])


def test_a_user_is_asked_about_and_told_what_it_costs(world: World, group: int, alice: int, parley: Parley) -> None:
    before = world.snapshot()
    said = parley("user", "erase", "--app", APP, "--user", alice, answer="n\n")
    assert (said.code, "$0.01" in said.err) == (1, True)
    assert world.snapshot() == before


def test_who_cannot_be_erased_is_refused_before_anything_is_marked(world: World, group: int, alice: int, bob: int, parley: Parley) -> None:
    other = world.group(bob)
    before = world.snapshot()
    assert f"owns group {group}, {other}" in parley("user", "erase", "--app", APP, "--user", bob, "--yes").err
    assert "administrator" in parley("user", "erase", "--app", APP, "--user", directory.ADMINISTRATOR_ID, "--yes").err
    assert "no user 99" in parley("user", "erase", "--app", APP, "--user", 99, "--yes").err
    assert f"no user {group}" in parley("user", "erase", "--app", APP, "--user", group, "--yes").err
    assert world.snapshot() == before


def test_an_owner_who_has_handed_their_groups_over_is_erased(
    world: World, group: int, alice: int, bob: int, carol: int, parley: Parley
) -> None:
    assert "not in group" in parley("group", "transfer", "--app", APP, "--group", group, "--to", 99).err
    assert "no group" in parley("group", "transfer", "--app", APP, "--group", bob, "--to", carol).err
    assert parley("group", "transfer", "--app", APP, "--group", group, "--to", carol).code == 0
    assert parley("group", "show", group, "--app", APP, "--json").json["owner_id"] == carol
    assert bob in directory.members(APP, group)
    assert parley("user", "erase", "--app", APP, "--user", bob, "--yes").code == 0


def test_an_owner_who_was_erased_by_an_earlier_release_is_erased_again(world: World, group: int, bob: int, parley: Parley) -> None:
    personal.close(APP, bob, 1)
    assert parley("user", "erase", "--app", APP, "--user", bob, "--yes", "--json").json["messages"] == 2


def test_nothing_is_erased_while_a_request_of_the_users_may_be_under_way(
    world: World, group: int, alice: int, bob: int, parley: Parley, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when erasing is repeated, by somebody whose clock is an hour ahead of the one who marked the user."""
    personal.close(APP, alice, int(time.time() * 1000) - 3_600_000)
    monkeypatch.setattr(personal, "SETTLED_S", 1.5)
    under_way = Timer(1, lambda: append(alice, bob))
    under_way.start()
    assert parley("user", "erase", "--app", APP, "--user", alice, "--yes").code == 0
    under_way.join()
    assert world.contents(bob, alice)[-1] is None
    assert CANARY not in json.dumps(world.snapshot())


def append(alice: int, bob: int) -> None:
    """What a request that was let in before does at its end."""
    conversation, now_ms = keys.between(APP, alice, bob), int(time.time() * 1000)
    newest = log.tip(conversation, now_ms)
    message = Message(
        conversation=conversation.key, msg_id=newest.msg_id + 1, sent_at=now_ms, sender=alice, ctype=0, written_by="it", content=CANARY
    )
    log.append(message, newest)

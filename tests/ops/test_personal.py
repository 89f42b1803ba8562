"""What is held about a user is handed out whole, and erasing it takes nothing from anybody else."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from messaging.conversations import rules
from messaging.people import directory
from ops import personal
from tests.faults.sdk import Crashing, tampered
from tests.ops.conftest import Parley
from tests.ops.test_rebuild import recounted
from tests.world import APP, World, cold

CANARY = "canary"  # in everything that Alice writes


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is under way in these tests."""
    monkeypatch.setattr(personal, "SETTLED_MS", 0)


@pytest.fixture
def group(world: World, alice: int, bob: int, carol: int) -> int:
    """A past: Alice writes to Bob, to herself and to a group, leaves another group, is written to by the system. The group."""
    group, left = world.group(bob, alice, carol), world.group(alice, bob)
    for said in ("one", "two"):
        world.send(alice, [bob], content=f"{CANARY} {said}", ext=CANARY, transaction_id=len(said) * 10 + ord(said[0]))
    world.send(bob, [alice], content="from bob")
    world.send(alice, [bob], content_type=rules.IMAGE, content=None, attachment=CANARY, config=CANARY)
    world.send(alice, [alice], content=f"{CANARY} note")
    world.say(alice, group, content=f"{CANARY} group")
    world.say(bob, group, content="bob to the group")
    world.say(alice, left, content=f"{CANARY} left")
    world.say(bob, left, content="bob to the other group")
    world.leave(left, alice)
    body = {"type": 1, "targets": [alice], "content_type": 0, "content": f"{CANARY} from the system"}
    world.call("POST", "/message/notify", world.admin(), body=body)
    world.drain()
    return group


def exported(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines()]


def contents(lines: list[dict[str, Any]]) -> set[str]:
    return {line["content"] or line["attachment"] for line in lines if line["record"] == "message"}


def test_an_export_holds_what_the_user_wrote_and_what_they_may_see(world: World, group: int, alice: int, parley: Parley) -> None:
    lines = exported(parley("user", "export", "--app", APP, "--user", alice).out)
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
    lines = exported(parley("user", "export", "--app", APP, "--user", carol).out)
    assert contents(lines) == {"after carol", "own"}


def test_an_export_goes_to_a_new_file_that_only_its_owner_reads(
    world: World, group: int, alice: int, parley: Parley, tmp_path: Path
) -> None:
    path = tmp_path / "alice.jsonl"
    assert parley("user", "export", "--app", APP, "--user", alice, "--to", path).code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert contents(exported(path.read_text()))
    assert "exists" in parley("user", "export", "--app", APP, "--user", alice, "--to", path).err


def test_of_an_erased_user_nothing_is_left_but_numbers(world: World, group: int, alice: int, bob: int, parley: Parley) -> None:
    assert parley("user", "erase", "--app", APP, "--user", alice, "--yes", "--json").json["messages"] == 7
    stored = json.dumps(world.snapshot())
    assert CANARY not in stored
    assert '"title": "alice"' not in stored
    assert world.rows("Dedup") == []
    assert [row["conversation"] for row in world.rows("Inbox") if row["reader"] == f"{APP}#{alice}"] == [bob]
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
    assert parley("user", "erase", "--app", APP, "--user", alice, "--yes", "--json").json["messages"] == 0
    assert world.snapshot() == before


def test_after_a_crash_at_any_call_repeating_it_erases_the_rest(world: World, group: int, alice: int, parley: Parley) -> None:
    for at in range(1, 200):
        crash = Crashing(at, effective=at % 2 == 0)
        try:
            with tampered(crash):
                personal.close(APP, alice, 1)
                personal.erase(APP, alice, 1, lambda done: None)
                personal.forget_requests(APP, alice, lambda done: None)
        except BaseException as crashed:
            if not crash.crashed:
                raise crashed from None
        else:
            break
    assert at > 10
    stored = json.dumps(world.snapshot())
    assert CANARY not in stored
    assert "left_at" not in stored


def test_a_user_is_asked_about_and_the_administrator_is_never_erased(
    world: World, group: int, alice: int, bob: int, parley: Parley
) -> None:
    before = world.snapshot()
    said = parley("user", "erase", "--app", APP, "--user", alice, answer="n\n")
    assert (said.code, "5 conversations" in said.err) == (1, True)
    assert f"own group {group}" in parley("user", "erase", "--app", APP, "--user", bob, answer="n\n").err
    assert "administrator" in parley("user", "erase", "--app", APP, "--user", directory.ADMINISTRATOR_ID, "--yes").err
    assert "no user 99" in parley("user", "erase", "--app", APP, "--user", 99, "--yes").err
    assert world.snapshot() == before


def test_nothing_is_erased_while_a_request_of_the_users_may_be_under_way(
    world: World, group: int, alice: int, parley: Parley, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(personal, "SETTLED_MS", 1500)
    clock: list[int] = []
    close: Callable[..., int] = personal.close
    monkeypatch.setattr(personal, "close", lambda *given: clock.append(close(*given)) or clock[0])
    monkeypatch.setattr(personal, "erase", lambda app, user, now_ms, progress: clock.append(now_ms) or 0)
    assert parley("user", "erase", "--app", APP, "--user", alice, "--yes").code == 0
    assert clock[1] >= clock[0]

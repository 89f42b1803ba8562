"""The command line, direct invocation, and what survives a restart."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from infra.settings import ROOT
from messaging.conversations import membership
from messaging.people import directory
from tests.e2e.conftest import DELIVERED_S, FANNED_OUT_S, Api, Person, eventually

Make = Callable[[int], list[Person]]
EVENTS = ROOT / "events"
REVOKED_S = 60.0  # until a revocation takes effect


def parley(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "parley"), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=check)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("path", sorted(EVENTS.glob("*.direct.json")), ids=lambda path: path.name)
def test_another_service_gets_the_envelope_as_an_object(api: Api, path: Path) -> None:
    function = path.name.partition(".")[0]
    reply = boto3.client("lambda").invoke(FunctionName=api.info["functions"][function], Payload=path.read_bytes())
    envelope = json.load(reply["Payload"])
    assert (envelope["code"], envelope["message"]) == (200, None)


@pytest.mark.parametrize("path", sorted(EVENTS.glob("*.json")), ids=lambda path: path.name)
def test_every_sample_event_can_be_invoked(api: Api, path: Path) -> None:
    alice, bob = api.app()["users"][:2]
    api.send(alice["token"], [bob["user_id"]])  # there is a message to acknowledge
    reply = json.loads(parley("invoke", path.name.partition(".")[0], path).stdout)
    if "Records" in json.loads(path.read_text()):
        assert reply == {"batchItemFailures": []}
    else:
        envelope = json.loads(reply["body"]) if "body" in reply else reply
        assert (envelope["code"], envelope["message"]) == (200, None)


def test_an_app_is_made_from_the_command_line(api: Api) -> None:
    app = f"cli-{time.time_ns()}"
    parley("app", "create", app)
    alice, bob = (last_line(parley("user", "create", "--app", app, name)) for name in ("Alice", "Bob"))
    group = last_line(parley("group", "create", "--app", app, "--owner", alice, "--member", bob))
    assert json.loads(parley("group", "show", group, "--app", app, "--json").stdout)["members"] == [int(alice), int(bob)]
    taken = parley("user", "create", "--app", app, "--id", group, "Carol", check=False)
    assert (taken.returncode, "taken" in taken.stderr) == (1, True)

    tokens = {user: last_line(parley("token", "create", "--app", app, "--user", user)) for user in (alice, bob)}
    body = {"type": 2, "targets": [group], "content_type": 0, "content": "hi"}
    assert api.call("POST", "/message/send", tokens[alice], app, body=body)["msg_ids"] == [1]
    unread = eventually(lambda: api.unread(tokens[bob], app), bool, FANNED_OUT_S)
    assert unread == {int(group): 1}
    parley("group", "remove", "--app", app, "--group", group, "--member", bob)
    assert api.unread(tokens[bob], app) == {}
    assert api.call("GET", "/message/conversation", tokens[bob], app, query={"opposite_id": group})["code"] == 20002


def test_an_expired_or_revoked_token_is_402(api: Api, people: Make) -> None:
    (bob,) = people(1)
    expired = last_line(parley("token", "create", "--app", "demo", "--user", bob.user_id, "--expires-in", -5))
    assert api.call("GET", "/message/unread", expired)["code"] == 402
    assert api.call("GET", "/message/unread", bob.token)["code"] == 200
    parley("token", "revoke", "--app", "demo", "--user", bob.user_id)
    fresh = last_line(parley("token", "create", "--app", "demo", "--user", bob.user_id))
    assert eventually(lambda: api.call("GET", "/message/unread", bob.token)["code"], lambda code: code == 402, REVOKED_S) == 402
    assert api.call("GET", "/message/unread", fresh)["code"] == 200


def test_a_large_group_is_read_by_its_head(api: Api, people: Make) -> None:
    alice, bob, *others = people(520)
    members = [person.user_id for person in (alice, bob, *others)]
    now_ms = time.time_ns() // 1_000_000
    group = membership.create("demo", alice.user_id, members, False, now_ms, None, lambda done: None)
    assert directory.require("demo", group, "group", "group")["by_head"]
    assert api.send(alice.token, [group], type=2) == [1]
    for member in (bob, others[-1]):
        assert eventually(lambda: api.unread(member.token), bool, DELIVERED_S) == {group: 1}  # noqa: B023
    assert api.unread(alice.token) == {group: 0}


def test_messages_survive_a_restart_even_those_not_delivered_yet_and_delivery_goes_on(api: Api, people: Make) -> None:
    alice, bob = people(2)
    api.send(alice.token, [bob.user_id], content="before")
    _local("down")
    _local("up")
    api.http.clear()
    api.info.update(json.loads((Path(_home()) / "parley.json").read_text()))
    assert [message["content"] for message in api.history(bob.token, alice.user_id)] == ["before"]
    assert eventually(lambda: api.unread(bob.token), bool, DELIVERED_S) == {alice.user_id: 1}
    api.send(alice.token, [bob.user_id], content="after")
    assert eventually(lambda: api.unread(bob.token), lambda n: n == {alice.user_id: 2}, DELIVERED_S) == {alice.user_id: 2}


def test_neither_tokens_nor_contents_are_in_any_log(api: Api, people: Make) -> None:
    alice, bob = people(2)
    canaries = ["canary-content", "canary-attachment", "canary-config", "canary-ext"]
    fields: dict[str, Any] = dict(zip(("content", "attachment", "config", "ext"), canaries, strict=True))
    api.send(alice.token, [bob.user_id], **fields)
    api.call("POST", "/message/send", alice.token, body={"type": 9, "targets": "canary-content"})
    api.history(bob.token, alice.user_id)
    eventually(lambda: api.unread(bob.token), bool, DELIVERED_S)
    logs = parley("logs", "--no-follow", "--since", 60).stdout
    assert '"code":200' in logs.replace(" ", "")
    logs += (Path(_home()) / "logs" / "aws.log").read_text()
    assert not [secret for secret in (*canaries, alice.token, bob.token) if secret in logs]


def _local(command: str) -> None:
    subprocess.run([sys.executable, "-m", "ops.local", command], cwd=ROOT, capture_output=True, check=True)


def _home() -> str:
    from ops import stack

    return str(stack.home())

"""A stack of 0.1.0, upgraded in the middle of its work: every message, mark, token and revocation stays, and every number is right.

What it held was left by the handlers of 0.1.0 themselves (`tests/releases/fill_0_1_0.py`): messages, rows and heads, records that were not
delivered yet, jobs on the queue, keys, tokens, a revocation in the app's item, an erased user.
"""

import json
import random
from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from infra.settings import ROOT
from messaging.base import keys
from messaging.conversations import rules
from messaging.conversations.rules import COMMAND
from tests import world as worlds
from tests.fast_aws import Table
from tests.fast_world import FastWorld, fast_world

LEFT = json.loads((ROOT / "tests/releases/0.1.0.data.json").read_text())
USERS = tuple(map(int, LEFT["expected"]))
SMALL, LARGE = 2001, 2002
HISTORIES = 8
STEPS = 120


@pytest.fixture
def upgraded() -> Iterator[FastWorld]:
    with fast_world(**LEFT["settings"]) as world:
        for name, items in LEFT["tables"].items():
            world.aws.tables[name] = Table({world.aws._place(name, item): item for item in items})
        world.keys.clear()
        world.keys.update(LEFT["secret"])
        world.aws.records, world.aws.bodies = list(LEFT["records"]), list(LEFT["jobs"])
        world.streamed, world.now_ms = 0, LEFT["now_ms"] + 60_000
        worlds.cold()
        yield world


def signed(told: dict[str, Any]) -> str:
    return jwt.encode(told["claims"], LEFT["secret"][told["kid"]], "HS256", {"kid": told["kid"]})


def code(world: FastWorld, told: dict[str, Any]) -> int:
    """What the unread list answers to a token that 0.1.0 made."""
    return int(json.loads(world.http("GET", "/message/unread", signed(told), app=told["claims"]["app"])["body"])["code"])


def recount(world: FastWorld, user: int, number: int, delivered: bool = False) -> int:
    """The unread number from the log and the user's marks, message by message; of what has been delivered only, if asked for."""
    row, head = world.row(user, number) or {}, {}
    if row.get("by_head"):
        (head,) = (item for item in world.rows("Directory") if item["entity"] == f"demo#{number}" and item["facet"] == keys.PROFILE)
    names = {"user": keys.between("demo", user, number), "group": keys.group("demo", number), "system": keys.system("demo", user)}
    log = [item for item in world.rows("Messages") if item["conversation"] == names[row["chat"]].key]
    upto = max(row.get("last_seq", 0), head.get("last_seq", 0)) if delivered else keys.MAX_ID
    floor = rules.marks_of(row).floor
    return sum(floor < item["msg_id"] <= upto and item["sender"] != user and item["ctype"] != COMMAND for item in log)


def test_everybody_sees_what_the_previous_release_would_have_told(upgraded: FastWorld) -> None:
    upgraded.drain()
    for user in USERS:
        expected = LEFT["expected"][str(user)]
        assert {str(number): num for number, num in upgraded.unread(user).items()} == expected["unread"]
        assert {number: upgraded.contents(user, int(number)) for number in expected["unread"]} == expected["contents"]
    assert upgraded.broken == upgraded.caught == []


def test_what_the_previous_release_has_delivered_is_told_at_once(upgraded: FastWorld) -> None:
    for user in USERS:
        for number, num in upgraded.unread(user).items():
            assert recount(upgraded, user, number, delivered=True) <= num <= recount(upgraded, user, number)


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_life_goes_on_and_every_number_is_right(upgraded: FastWorld, seed: int) -> None:
    rng = random.Random(seed)
    for step in range(STEPS):
        upgraded.now_ms += rng.randint(1, 5_000)
        who, act = rng.choice(USERS), rng.random()
        group = rng.choice([SMALL, LARGE]) if who != 1004 else LARGE
        kind = {"content_type": COMMAND} if rng.random() < 0.2 else {"content": f"after the upgrade {step}"}
        if act < 0.3:
            upgraded.say(who, group, **kind)
        elif act < 0.5:
            upgraded.send(who, [rng.choice([user for user in USERS if user != who])], **kind)
        elif act < 0.7:
            upgraded.drain()
        elif act < 0.8:
            upgraded.ack(who, group, **({"msg_id": rng.randint(60, 100)} if rng.random() < 0.5 else {}))
        elif act < 0.85:
            upgraded.forget(who, group)
        else:
            upgraded.unread(who)
    upgraded.drain()
    for user in USERS:
        nums = upgraded.unread(user)
        assert nums == {number: recount(upgraded, user, number) for number in nums}
        assert {SMALL, LARGE} - ({SMALL} if user == 1004 else set()) >= {number for number in nums if number > 2000}
    assert upgraded.broken == upgraded.caught == []


def test_tokens_stay_good_and_revocations_hold(upgraded: FastWorld) -> None:
    told = LEFT["tokens"]
    good = [*told["first_key"].values(), *told["second_key"].values(), told["other_app"], told["revoked"]["after"]]
    assert {code(upgraded, each) for each in good} == {200}
    assert [code(upgraded, each) for each in (told["revoked"]["before"], told["erased"])] == [402, 402]
    foreign = {**told["other_app"], "claims": told["other_app"]["claims"] | {"app": "demo"}}
    assert code(upgraded, {**foreign, "kid": "k1"}) == 200  # of 0.1.0 every key signs for every app, until it is retired
    del upgraded.keys["k1"]
    worlds.cold()
    assert {code(upgraded, each) for each in told["first_key"].values()} == {10008}
    assert {code(upgraded, each) for each in told["second_key"].values()} == {200}


def test_a_request_of_before_is_answered_from_its_record(upgraded: FastWorld) -> None:
    before = upgraded.rows("Messages")
    for request in LEFT["requests"]:
        assert upgraded.send(request["sender"], **request["body"]) == request["msg_ids"]
    assert upgraded.rows("Messages") == before

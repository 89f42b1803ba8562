"""A refusal leaves nothing behind that lets anybody in later; a reservation protects a stored message and nothing else."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from messaging.conversations import log
from messaging.people import directory
from tests import world as worlds
from tests.fast_world import FastWorld, fast_world
from tests.faults.sdk import Crash


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[FastWorld]:
    monkeypatch.setattr(log, "APPEND_ATTEMPTS", 2)
    with fast_world() as world:
        for number in (1001, 1002, 1003, 1004):
            world.user(number=number)
        yield world


def ask(world: FastWorld, sender: int, targets: list[int], **fields: Any) -> dict[str, Any]:
    body = {"type": 1, "targets": targets, "content": "mine"} | fields
    return dict(json.loads(world.http("POST", "/message/send", world.token(sender), body=body)["body"]))


def overtaken(world: FastWorld, into: str, rival: Callable[[], Any]) -> None:
    """Whoever puts a message into this conversation comes too late, every time."""

    def strike(operation: str, request: dict[str, Any], perform: Callable[..., Any]) -> Any:
        if operation == "PutItem" and request["Item"].get("conversation", {}).get("S", "").endswith(into):
            world.injector = None
            rival()
            world.injector = strike
        return perform()

    world.injector = strike


def contents(world: FastWorld) -> list[str]:
    return [row["content"] for row in world.rows("Messages")]


def dies_before_the_put(fast: FastWorld, sender: int, group: int) -> None:
    """An attempt with the transaction_id 7 that leaves its reservation and nothing else."""

    def crash(operation: str, request: dict[str, Any], perform: Callable[..., Any]) -> Any:
        if operation == "PutItem" and request["TableName"] == "Messages":
            raise Crash
        return perform()

    fast.injector = crash
    with pytest.raises(Crash):
        ask(fast, sender, [group], type=2, transaction_id=7)
    fast.injector = None


def test_a_clean_refusal_leaves_no_reservation_and_the_same_id_takes_corrected_content(fast: FastWorld) -> None:
    overtaken(fast, "#1001#1002", lambda: fast.send(1002, [1001], content="rival"))
    assert ask(fast, 1001, [1002], content="tpyo", transaction_id=9)["code"] == 50004
    fast.injector = None
    assert fast.rows("Dedup") == []
    assert ask(fast, 1001, [1002], content="typo", transaction_id=9)["msg_ids"] == [3]


def test_who_was_removed_does_not_post_with_what_an_attempt_had_reserved(fast: FastWorld) -> None:
    group = fast.group(1001, 1002)
    dies_before_the_put(fast, 1002, group)
    assert len(fast.rows("Dedup")) == 1
    fast.leave(group, 1002)
    before = fast.snapshot()
    assert ask(fast, 1002, [group], type=2, transaction_id=7)["code"] == 20002
    assert ask(fast, 1002, [group], type=2, transaction_id=7, content="other")["code"] == 20002  # before 50002
    assert fast.snapshot() == before


def test_who_was_removed_is_not_answered_for_a_slot_that_somebody_else_has_filled(fast: FastWorld) -> None:
    group = fast.group(1001, 1002)
    dies_before_the_put(fast, 1002, group)
    fast.say(1001, group)
    fast.leave(group, 1002)
    assert ask(fast, 1002, [group], type=2, transaction_id=7)["code"] == 20002
    assert len(fast.rows("Messages")) == 1


def test_who_was_removed_still_gets_the_answer_to_what_is_stored(fast: FastWorld) -> None:
    group = fast.group(1001, 1002)
    told = ask(fast, 1002, [group], type=2, transaction_id=7)
    fast.leave(group, 1002)
    assert [ask(fast, 1002, [group], type=2, transaction_id=7) for _ in range(2)] == [told, told]


def test_of_several_targets_the_refusal_names_those_that_were_stored(fast: FastWorld) -> None:
    overtaken(fast, "#1001#1003", lambda: fast.send(1003, [1001], content="rival"))
    reply = ask(fast, 1001, [1002, 1003, 1004])
    fast.injector = None
    assert reply["code"] == 50004
    assert "to 1003; stored for 1002, 1004" in reply["message"]
    assert contents(fast).count("mine") == 2


def test_of_several_targets_with_a_transaction_id_repeating_does_the_rest(fast: FastWorld) -> None:
    overtaken(fast, "#1001#1003", lambda: fast.send(1003, [1001], content="rival"))
    assert ask(fast, 1001, [1002, 1003, 1004], transaction_id="t")["code"] == 50004
    fast.injector = None
    assert [ask(fast, 1001, [1002, 1003, 1004], transaction_id="t")["msg_ids"] for _ in range(3)] == [[1, 3, 1]] * 3
    assert contents(fast).count("mine") == 3


@pytest.mark.parametrize("targets", [[1002], [1002, 1003]], ids=["one", "several"])
def test_a_repeat_puts_nothing_and_from_the_third_on_looks_at_no_log(fast: FastWorld, targets: list[int]) -> None:
    ask(fast, 1001, targets, transaction_id=7)
    made: list[tuple[str, str]] = []

    def watch(operation: str, request: dict[str, Any], perform: Callable[..., Any]) -> Any:
        made.extend((operation, table) for table in ([request["TableName"]] if "TableName" in request else request.get("RequestItems", [])))
        return perform()

    fast.injector = watch
    for _ in range(2):
        made.clear()
        ask(fast, 1001, targets, transaction_id=7)
        assert ("PutItem", "Messages") not in made
    assert ("BatchGetItem", "Messages") not in made
    assert ("UpdateItem", "Dedup") not in made


def test_an_attempt_under_way_and_a_new_reservation_after_a_removal_store_it_once(fast: FastWorld) -> None:
    """The first attempt stands still before its put; its twin is refused and removes the reservation; a third makes a new one."""
    outer: list[int] = []

    def stand(operation: str, request: dict[str, Any], perform: Callable[..., Any]) -> Any:
        if operation == "PutItem" and request["TableName"] == "Messages" and not outer:
            outer.append(1)
            overtaken(fast, "#1001#1002", lambda: fast.send(1002, [1001], content="rival"))
            assert ask(fast, 1001, [1002], transaction_id=7)["code"] == 50004
            fast.injector = None
            assert ask(fast, 1001, [1002], transaction_id=7)["code"] == 200
        return perform()

    fast.injector = stand
    ask(fast, 1001, [1002], transaction_id=7)
    fast.injector = None
    assert contents(fast).count("mine") == 1


@pytest.mark.parametrize("mark", ["ack", "fetch", "forget"])
@pytest.mark.parametrize("kind", ["user", "group"])
def test_a_number_that_a_mark_knows_is_never_given_out_again(kind: str, mark: str) -> None:
    with fast_world(RETENTION_SECONDS="86400") as world:
        for number in (1001, 1002):
            world.user(number=number)
        group = world.group(1001, 1002, number=2001)
        to, seen = ({"targets": [1002]}, 1001) if kind == "user" else ({"targets": [group], "type": 2}, group)
        world.send(1001, **to)
        world.drain()
        world.send(1001, **to, content="two")  # while delivery stands still
        {"ack": world.ack, "fetch": world.history, "forget": world.forget}[mark](1002, seen)
        world.stream()  # and is given up
        world.now_ms += (86_400 + 61) * 1000
        for place in list(world.aws.tables["Messages"]):
            del world.aws.tables["Messages"][place]
        assert world.send(1001, **to, content="three") == [3]
        world.drain()
        assert world.num(1002, seen) == 1


def test_a_revoked_token_is_not_answered_for_what_it_has_stored(fast: FastWorld) -> None:
    """Not even where another refusal, here of a group that was left, would have been answered from the record."""
    group = fast.group(1001, 1002)
    token, body = fast.token(1002), {"type": 2, "targets": [group], "content": "hello", "transaction_id": 7}

    def code() -> int:
        return int(json.loads(fast.http("POST", "/message/send", token, body=body)["body"])["code"])

    assert code() == 200
    fast.leave(group, 1002)
    assert code() == 200
    directory.revoke("demo", 1002, fast.now_ms)
    worlds.cold()
    assert code() == 402

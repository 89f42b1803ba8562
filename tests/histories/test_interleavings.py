"""Operations that meet, at every AWS call: whatever the interleaving, everybody sees what some serial order would have shown them.

Every interleaving is run, equal states once; where there are too many states, a sample, drawn with the seed that a failure prints
(PARLEY_SEED sets it). Independent calls of one operation are made forwards, then backwards.
"""

import itertools
import os
import random
from collections.abc import Callable, Hashable, Iterator
from copy import deepcopy
from functools import cached_property
from typing import Any, NamedTuple

import pytest

from messaging.base import keys, store
from messaging.base.errors import ApiError, Code
from messaging.conversations import inbox, rules
from tests.checker import Ask, Seen, View, violations
from tests.fast_world import FastWorld, fast_world
from tests.histories.interleave import Interleavings, Operation, State, TooMany, take
from tests.world import ENDPOINTS
from workers import deliver

SEED = int(os.environ.get("PARLEY_SEED", "1"))
STATES, CRASHED_STATES = 2000, 400  # beyond, and with a crash beyond, a sample is run
SAMPLE, CRASHED_SAMPLE = 100, 25  # interleavings
PUSH_LIMIT = 4  # members
MEMBERS_PER_JOB = 2
ALICE, BOB, CAROL, DAVE, ERIN, FRANK = USERS = range(1001, 1007)
FEW, MANY = (ALICE, BOB, CAROL, DAVE), (ALICE, BOB, CAROL, DAVE, ERIN)  # members that are written one by one; that read the head
GROUP = 2001
MARKS = ("cut_seq", "join_seq", "left_at")

Outcome = dict[Hashable, Any]  # the answer of each operation, and what everybody sees of each conversation


class Request(NamedTuple):
    """What a send asks for, and the conversation of each target."""

    content: str
    logs: tuple[Hashable, ...]
    idempotent: bool


class Stage:
    """Some users, at most one group, and what was asked for."""

    def __init__(self, world: FastWorld) -> None:
        self.world = world
        self.idempotent = False  # every send has a `transaction_id`
        for user in USERS:
            world.user(number=user)
        self.numbers: dict[Hashable, dict[int, int]] = {}  # of each conversation: by what number each reader knows it
        self.requests: dict[str, Request] = {}  # by the name of the operation
        self.asks: dict[str, Ask] = {}  # beforehand, by content
        self._numbers = itertools.count(1)

    # --- beforehand

    def group(self, *members: int, history_visible: bool = False) -> None:
        self.world.group(*members, number=GROUP, history_visible=history_visible)
        self.numbers[GROUP] = dict.fromkeys(USERS, GROUP)

    def said(self, sender: int, target: int, times: int = 1, **fields: Any) -> list[dict[str, Any]]:
        """Sent, not delivered: the stream records."""
        for _ in range(times):
            operation = self.send(sender, target, **fields)
            _note(self.asks, self.requests[operation.name], operation.run(), 1)
        return self.world.stream()

    def heard(self, sender: int, target: int, times: int = 1, **fields: Any) -> None:
        """Sent and delivered."""
        self.world.deliver(self.said(sender, target, times, **fields))
        self.world.fan_out(self.world.jobs())

    def queued(self, sender: int, **fields: Any) -> list[dict[str, Any]]:
        """Sent to the group and on its way: the fan-out jobs."""
        self.world.deliver(self.said(sender, GROUP, **fields))
        return self.world.jobs()

    # --- operations

    def send(self, sender: int, *targets: int, content: str | None = None, kind: str = "send", **fields: Any) -> Operation:
        content = content or f"message {len(self.requests) + 1}"
        if self.idempotent:
            fields = {"transaction_id": len(self.requests) + 100, **fields}
        body = {"type": 2 if GROUP in targets else 1, "targets": targets, "content_type": 0, "content": content, **fields}
        operation = self._call(kind, self.world.admin() if kind == "notify" else self.world.token(sender), body=body)
        logs = tuple(self._log(sender, target) for target in targets)
        self.requests[operation.name] = Request(content, logs, "transaction_id" in fields)
        return operation

    def notify(self, *targets: int, sender: int = 0, **fields: Any) -> Operation:
        return self.send(sender, *targets, kind="notify", **fields | ({"from_user_id": sender} if sender else {}))

    def ack(self, reader: int, number: int, msg_id: int = 0) -> Operation:
        return self._call("ack", self.world.token(reader), query={"conversation_id": number, "msg_id": msg_id})

    def forget(self, reader: int, number: int) -> Operation:
        return self._call("forget", self.world.token(reader), query={"conversation_id": number})

    def history(self, reader: int, number: int) -> Operation:
        return self._call("history", self.world.token(reader), query={"opposite_id": number})

    def deliver(self, records: list[dict[str, Any]]) -> Operation:
        return self._operation("deliver", lambda: self.world.deliver(records))

    def deliver_next(self) -> Operation:
        """Of what has been sent meanwhile."""
        return self._operation("deliver", lambda: self.world.deliver(take(self.world, "records")))

    def fan_out(self, jobs: list[dict[str, Any]]) -> Operation:
        return self._operation("fan-out", lambda: self.world.fan_out(jobs))

    def fan_out_next(self, most: int = 1) -> Operation:
        """Of so many of the jobs that have been queued meanwhile."""
        return self._operation("fan-out", lambda: self.world.fan_out(take(self.world, "jobs", most)))

    def join(self, *users: int) -> Operation:
        return self._operation("join", lambda: _told(lambda: self.world.join(GROUP, *users)))

    def leave(self, *users: int) -> Operation:
        return self._operation("leave", lambda: _told(lambda: self.world.leave(GROUP, *users)))

    def _call(self, endpoint: str, token: str, **request: Any) -> Operation:
        verb, path = next(route for route, name in ENDPOINTS.items() if name == endpoint)

        def run() -> Any:
            envelope = self.world.call(verb, path, token, **request)
            return {part: envelope[part] for part in ("code", "data", "msg_ids") if part in envelope}

        return self._operation(endpoint, run)

    def _operation(self, kind: str, run: Callable[[], Any]) -> Operation:
        return Operation(f"{kind} {next(self._numbers)}", run)

    def _log(self, sender: int, target: int) -> Hashable:
        if target == GROUP:
            return GROUP
        log: Hashable = (min(sender, target), max(sender, target))
        self.numbers[log] = {target: sender, sender: target} if sender else {target: 0}
        return log

    # --- what comes out

    def outcome(self, state: State) -> Outcome:
        """What was answered, and what everybody sees once everything is delivered; and what after one more message to everybody."""
        world, asks, outcome = self.world, deepcopy(self.asks), Outcome()
        for tale, answer in zip(state.tales, state.answers, strict=True):
            operation = tale.operation
            assert not (answer and answer.caught), answer
            if answer is None or "batchItemFailures" in answer.value:
                assert answer is None or answer.value == {"batchItemFailures": []}
                continue
            outcome[operation.name] = value = dict(answer.value)
            if operation.name in self.requests:
                request = self.requests[operation.name]
                _note(asks, request, value, tale.attempt)
                msg_ids = value.pop("msg_ids", [None] * len(request.logs))
                outcome |= {(log, operation.name): msg_id for log, msg_id in zip(request.logs, msg_ids, strict=True)}
        world.restore(state.moment)
        world.nonces = itertools.count(10**9)
        self._look(asks, outcome, "seen")
        for log, numbers in self.numbers.items():
            somebody, number = next(iter(numbers.items()))
            fields = {"type": 2 if log == GROUP else 1, "targets": [number or somebody], "content": f"one more in {log}"}
            path, token = ("send", world.token(somebody)) if number else ("notify", world.admin())
            _note(asks, Request(f"one more in {log}", (log,), False), world.call("POST", f"/message/{path}", token, body=fields), 1)
        self._look(asks, outcome, "seen after one more")
        return outcome

    def _look(self, asks: dict[str, Ask], outcome: Outcome, name: str) -> None:
        self.world.drain()
        lists = {user: self.world.unread(user) for user in USERS}
        views = []
        before = self.world.moment()
        for log, numbers in self.numbers.items():
            for reader, number in numbers.items():
                row = self.world.row(reader, number) or {}
                num = lists[reader].pop(number, None)
                query = {"opposite_id": number}
                self.world.restore(before)  # fetching moves a mark
                envelope = self.world.call("GET", "/message/conversation", self.world.token(reader), query=query)
                messages = envelope["data"]["messages"] if envelope["data"] else None
                read = _read(reader, row.get("read_seq", 0), messages or [])
                seen = messages and [(each["msg_id"], each["from_xid"]["uid"], each["content"], each["status"]) for each in messages]
                outcome[log, name, reader] = num, envelope["code"], seen, read, [row.get(mark, 0) for mark in MARKS]
                if messages is None:
                    assert num is None, f"user {reader} has {log} in the list and may not see it"
                else:
                    views.append(_view(log, reader, messages, num, row))
        self.world.restore(before)
        assert not any(lists.values()), f"unknown conversations in a list: {lists}"
        found = violations(list(asks.values()), views)
        assert not found, found


def _view(log: Hashable, reader: int, messages: list[dict[str, Any]], num: int | None, row: dict[str, Any]) -> View:
    seen = [Seen(each["msg_id"], each["from_xid"]["uid"], each["content"], each["ctype"] != "COMMAND") for each in messages]
    marks = rules.marks_of(row)
    return View(log, reader, [seen], num, marks.floor, max(marks.cut_seq, 0 if row.get("history_visible") else marks.join_seq))


def _read(reader: int, mark: int, messages: list[dict[str, Any]]) -> int:
    """A read mark, as far as it can be told: before one's own messages it says the same as after them."""
    own = {message["msg_id"] for message in messages if message["from_xid"]["uid"] == reader}
    return next(seq for seq in itertools.count(mark) if seq + 1 not in own)


def _note(asks: dict[str, Ask], request: Request, reply: dict[str, Any], attempts: int) -> None:
    """One more time that this was asked for, and what was answered in the end."""
    ask = asks.setdefault(request.content, Ask(request.content, request.logs, idempotent=request.idempotent, attempts=0))
    ask.attempts += attempts
    if reply["code"] == Code.OK:
        ask.answers.append(tuple(reply["msg_ids"]))
    else:
        ask.refusals.append(reply["code"])


def _told(run: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"code": Code.OK, "data": run()}
    except ApiError as refused:
        return {"code": refused.code}


# --- the operations that meet


class Case(NamedTuple):
    """`apart`: each answer and each conversation has a serial order of its own."""

    prepare: "Prepare"
    apart: bool = False


Prepare = Callable[[Stage], list[Operation]]
CASES: dict[str, Case] = {}


def case(apart: bool = False) -> Callable[[Prepare], Prepare]:
    def register(prepare: Prepare) -> Prepare:
        CASES[prepare.__name__.replace("_", " ")] = Case(prepare, apart)
        return prepare

    return register


# --- one-to-one


@case()
def sends_in_both_directions(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB)
    return [on.send(ALICE, BOB), on.send(BOB, ALICE)]


@case()
def sends_by_one_user(on: Stage) -> list[Operation]:
    return [on.send(ALICE, BOB), on.send(ALICE, BOB)]


@case()
def sends_under_transaction_ids(on: Stage) -> list[Operation]:
    return [on.send(ALICE, BOB, transaction_id=5), on.send(BOB, ALICE, transaction_id=5)]


@case()
def sends_to_oneself(on: Stage) -> list[Operation]:
    return [on.send(ALICE, ALICE), on.send(ALICE, ALICE)]


@case()
def sends_and_their_delivery(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB)
    return [on.send(ALICE, BOB), on.send(BOB, ALICE), on.deliver_next(), on.deliver_next()]


@case()
def send_and_delivery_of_what_was_before(on: Stage) -> list[Operation]:
    return [on.send(BOB, ALICE), on.deliver(on.said(ALICE, BOB, 2))]


@case()
def notify_and_send(on: Stage) -> list[Operation]:
    on.heard(BOB, ALICE)
    return [on.notify(BOB, sender=ALICE, transaction_id=5), on.send(ALICE, BOB, transaction_id=5)]


@case()
def notifications_from_the_system(on: Stage) -> list[Operation]:
    on.heard(0, ALICE, kind="notify")
    return [on.notify(ALICE), on.notify(ALICE), on.ack(ALICE, 0)]


@case()
def one_transaction_id_twice(on: Stage) -> list[Operation]:
    return [on.send(ALICE, BOB, content="same", transaction_id=5) for _ in range(2)]


@case()
def one_transaction_id_twice_and_a_rival(on: Stage) -> list[Operation]:
    return [*one_transaction_id_twice(on), on.send(BOB, ALICE)]


@case()
def one_transaction_id_with_two_contents(on: Stage) -> list[Operation]:
    return [on.send(ALICE, BOB, transaction_id=5), on.send(ALICE, BOB, transaction_id=5)]


@case()
def one_transaction_id_for_a_batch_twice(on: Stage) -> list[Operation]:
    on.heard(CAROL, ALICE)
    return [on.send(ALICE, BOB, CAROL, DAVE, content="same", transaction_id=5) for _ in range(2)]


@case(apart=True)  # a batch is one append per target: rivals may come first in one conversation and second in another
def one_transaction_id_for_a_batch_twice_and_a_rival(on: Stage) -> list[Operation]:
    return [*(on.send(ALICE, BOB, CAROL, content="same", transaction_id=5) for _ in range(2)), on.send(CAROL, ALICE)]


@case(apart=True)  # as above
def batches_to_the_same_users(on: Stage) -> list[Operation]:
    return [on.send(ALICE, BOB, CAROL), on.send(ALICE, CAROL, BOB)]


# --- marks


@case()
def acks_of_two_numbers(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB, 3)
    return [on.ack(BOB, ALICE, 1), on.ack(BOB, ALICE, 2)]


@case()
def acks_of_one_and_of_all(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB, 3)
    return [on.ack(BOB, ALICE, 2), on.ack(BOB, ALICE)]


@case()
def acks_and_delivery(on: Stage) -> list[Operation]:
    return [on.ack(BOB, ALICE, 3), on.ack(BOB, ALICE, 2), on.deliver(on.said(ALICE, BOB, 3))]


@case()
def ack_of_all_and_delivery(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB)
    return [on.ack(BOB, ALICE), on.deliver(on.said(ALICE, BOB, 2))]


@case()
def ack_of_one_and_delivery(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB)
    return [on.ack(BOB, ALICE, 2), on.deliver(on.said(ALICE, BOB, 2))]


@case()
def ack_and_delivery_of_ones_own(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB)
    return [on.ack(BOB, ALICE, 1), on.deliver(on.said(BOB, ALICE) + on.said(ALICE, BOB) + on.said(BOB, ALICE))]


@case()
def acks_and_delivery_of_ones_own(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB)
    return [on.ack(BOB, ALICE, 1), on.deliver(on.said(BOB, ALICE)), on.ack(BOB, ALICE)]


@case()
def ack_of_what_is_being_sent(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB)
    return [on.ack(BOB, ALICE, 2), on.send(ALICE, BOB), on.deliver_next()]


@case()
def ack_of_all_and_send(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB)
    return [on.ack(BOB, ALICE), on.send(ALICE, BOB), on.deliver_next()]


@case()
def ack_of_all_and_ones_own_send(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB)
    return [on.ack(BOB, ALICE), on.send(BOB, ALICE), on.deliver_next()]


@case()
def ack_and_fan_out(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, CAROL)
    on.heard(ALICE, GROUP)
    return [on.ack(BOB, GROUP), on.fan_out(on.queued(CAROL))]


@case()
def ack_and_the_head_of_a_large_group(on: Stage) -> list[Operation]:
    on.group(*MANY)
    on.heard(ALICE, GROUP)
    return [on.ack(BOB, GROUP), on.ack(BOB, GROUP, 1), on.deliver(on.said(BOB, GROUP) + on.said(CAROL, GROUP))]


@case()
def fetch_and_ack(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB, 2)
    return [on.history(BOB, ALICE), on.ack(BOB, ALICE, 1)]


@case(apart=True)  # a reply shows the marks as they were: of two at once, both may find a message unread
def fetch_and_fetch(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB, 2)
    return [on.history(BOB, ALICE), on.history(BOB, ALICE)]


@case()
def fetch_and_delivery(on: Stage) -> list[Operation]:
    return [on.history(BOB, ALICE), on.deliver(on.said(ALICE, BOB) + on.said(BOB, ALICE))]


@case()
def fetch_and_send(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB)
    return [on.history(BOB, ALICE), on.send(ALICE, BOB)]


# --- deleting


@case()
def delete_and_delivery(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB)
    return [on.forget(BOB, ALICE), on.deliver(on.said(ALICE, BOB, 2))]


@case()
def delete_and_delivery_of_the_first_message(on: Stage) -> list[Operation]:
    return [on.forget(BOB, ALICE), on.deliver(on.said(ALICE, BOB))]


@case()
def delete_and_delivery_of_ones_own(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB)
    return [on.forget(BOB, ALICE), on.deliver(on.said(BOB, ALICE) + on.said(ALICE, BOB))]


@case()
def delete_and_fan_out(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, CAROL)
    on.heard(ALICE, GROUP)
    return [on.forget(BOB, GROUP), on.deliver(on.said(CAROL, GROUP)), on.fan_out_next()]


@case()
def delete_and_the_head_of_a_large_group(on: Stage) -> list[Operation]:
    on.group(*MANY)
    on.heard(ALICE, GROUP)
    return [on.forget(BOB, GROUP), on.deliver(on.said(CAROL, GROUP) + on.said(BOB, GROUP))]


@case()
def delete_and_send(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB)
    return [on.forget(BOB, ALICE), on.send(ALICE, BOB), on.deliver_next()]


@case()
def delete_and_ones_own_send(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB)
    return [on.forget(BOB, ALICE), on.send(BOB, ALICE), on.deliver_next()]


@case()
def delete_and_send_to_a_group(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB)
    on.heard(ALICE, GROUP)
    return [on.forget(BOB, GROUP), on.send(ALICE, GROUP), on.deliver_next(), on.fan_out_next()]


@case()
def delete_and_ack(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB, 2)
    return [on.forget(BOB, ALICE), on.ack(BOB, ALICE, 1)]


@case()
def delete_and_delete(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB)
    return [on.forget(BOB, ALICE), on.forget(BOB, ALICE), on.send(ALICE, BOB)]


@case()
def delete_and_fetch(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB, 2)
    return [on.forget(BOB, ALICE), on.history(BOB, ALICE)]


# --- delivering


@case()
def deliveries_that_overlap(on: Stage) -> list[Operation]:
    on.heard(ALICE, BOB)
    records = on.said(ALICE, BOB) + on.said(BOB, ALICE) + on.said(ALICE, BOB)
    return [on.deliver(records[:2]), on.deliver(records[1:])]


@case()
def deliveries_to_a_group_that_overlap(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, CAROL)
    records = on.said(ALICE, GROUP) + on.said(BOB, GROUP) + on.said(CAROL, GROUP, content_type=rules.COMMAND)
    return [on.deliver(records[:2]), on.deliver(records[1:])]


@case()
def fan_outs_of_one_group(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, CAROL, DAVE)
    return [on.fan_out(on.queued(ALICE)), on.fan_out(on.queued(BOB))]


@case()
def fan_outs_of_one_group_that_overlap(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, CAROL)
    first, second, third = on.queued(ALICE), on.queued(BOB, content_type=rules.COMMAND), on.queued(CAROL)
    return [on.fan_out(first + second), on.fan_out(third + second)]


@case()
def fan_out_of_an_earlier_message_and_delivery_of_a_later_one(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, CAROL)
    return [on.fan_out(on.queued(ALICE)), on.deliver(on.said(BOB, GROUP)), on.fan_out_next()]


# --- belonging


@case()
def sends_to_a_group(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, CAROL)
    return [on.send(ALICE, GROUP), on.send(BOB, GROUP)]


@case()
def join_and_send(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB)
    on.heard(ALICE, GROUP)
    return [on.join(CAROL), on.send(BOB, GROUP), on.deliver_next()]


@case()
def join_and_sends_by_the_new_member(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB)
    return [on.join(CAROL), on.send(CAROL, GROUP), on.send(ALICE, GROUP)]


@case()
def join_of_a_group_that_shows_its_past_and_send(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, history_visible=True)
    on.heard(ALICE, GROUP)
    return [on.join(CAROL), on.send(BOB, GROUP), on.deliver_next()]


@case()
def join_between_two_pages(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, CAROL)
    on.heard(ALICE, GROUP)
    return [on.join(DAVE), on.deliver(on.said(BOB, GROUP)), on.fan_out_next(), on.fan_out_next()]


@case()
def leave_between_two_pages(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, CAROL, DAVE)
    on.heard(ALICE, GROUP)
    return [on.leave(DAVE), on.deliver(on.said(BOB, GROUP)), on.fan_out_next(), on.fan_out_next()]


@case()
def leave_and_join_again_between_two_pages(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, CAROL, DAVE)
    on.heard(ALICE, GROUP)
    return [on.leave(DAVE), on.join(DAVE), on.deliver(on.said(BOB, GROUP)), on.fan_out_next(), on.fan_out_next()]


@case()
def leave_and_join_again_with_a_fan_out_under_way(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, CAROL)
    on.heard(ALICE, GROUP)
    return [on.leave(CAROL), on.join(CAROL), on.fan_out(on.queued(BOB))]


@case()
def join_again_and_send(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, CAROL)
    jobs = on.queued(BOB)
    on.world.leave(GROUP, CAROL)
    return [on.join(CAROL), on.send(BOB, GROUP), on.fan_out(jobs)]


@case()
def leave_and_fan_out(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, CAROL)
    return [on.leave(BOB), on.fan_out(on.queued(CAROL))]


@case()
def leave_and_send(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, CAROL)
    return [on.leave(BOB), on.send(ALICE, GROUP), on.deliver_next()]


@case()
def leave_and_ack(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB)
    on.heard(ALICE, GROUP)
    return [on.leave(BOB), on.ack(BOB, GROUP)]


@case()
def leave_and_delete(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB)
    on.heard(ALICE, GROUP)
    return [on.leave(BOB), on.forget(BOB, GROUP)]


@case()
def join_and_leave_of_a_stranger(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB)
    return [on.join(CAROL), on.leave(CAROL)]


@case()
def join_and_leave_of_a_member(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, CAROL)
    on.heard(ALICE, GROUP)
    return [on.join(CAROL), on.leave(CAROL)]


@case()
def join_and_join(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB)
    on.heard(ALICE, GROUP)
    return [on.join(CAROL), on.join(CAROL)]


@case()
def join_and_join_and_send(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB)
    return [on.join(CAROL), on.join(CAROL), on.send(ALICE, GROUP)]


@case()
def joins_and_a_leave_and_send(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, CAROL)
    on.world.leave(GROUP, CAROL)
    return [on.join(CAROL), on.join(CAROL), on.leave(CAROL), on.send(ALICE, GROUP)]


@case()
def joins_of_two(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB)
    return [on.join(CAROL), on.join(DAVE)]


@case(apart=True)  # both may find the member there, and tell that it is no longer
def leave_and_leave(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB)
    return [on.leave(BOB), on.leave(BOB)]


# --- growing past the limit, from where on the group is read by its head


@case()
def crossing_and_send(on: Stage) -> list[Operation]:
    on.group(*FEW)
    return [on.join(ERIN), on.send(BOB, GROUP)]


@case()
def crossing_and_delivery(on: Stage) -> list[Operation]:
    on.group(*FEW)
    return [on.join(ERIN), on.deliver(on.said(BOB, GROUP)), on.fan_out_next(2)]


@case()
def crossing_and_send_and_delivery(on: Stage) -> list[Operation]:
    on.group(*FEW)
    return [on.join(ERIN), on.send(BOB, GROUP), on.deliver_next(), on.fan_out_next(2)]


@case()
def crossing_and_fan_out(on: Stage) -> list[Operation]:
    on.group(*FEW)
    return [on.join(ERIN), on.fan_out(on.queued(BOB))]


@case()
def crossing_twice(on: Stage) -> list[Operation]:
    on.group(*FEW)
    return [on.join(ERIN), on.join(FRANK)]


@case()
def crossing_and_a_join_of_one_more(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, CAROL)
    return [on.join(DAVE), on.join(ERIN, FRANK)]


@case()
def crossing_and_a_join_of_one_more_and_delivery(on: Stage) -> list[Operation]:
    on.group(ALICE, BOB, CAROL)
    return [on.join(DAVE), on.join(ERIN, FRANK), on.deliver(on.said(BOB, GROUP))]


@case()
def crossing_and_leave(on: Stage) -> list[Operation]:
    on.group(*FEW)
    return [on.join(ERIN), on.leave(BOB)]


@case()
def crossing_and_leave_and_join_again(on: Stage) -> list[Operation]:
    on.group(*FEW)
    return [on.join(ERIN), on.leave(BOB), on.join(BOB)]


@case()
def crossing_and_ack(on: Stage) -> list[Operation]:
    on.group(*FEW)
    on.heard(ALICE, GROUP)
    return [on.join(ERIN), on.ack(BOB, GROUP)]


# --- the test


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(deliver, "MEMBERS_PER_JOB", MEMBERS_PER_JOB)
    with fast_world(PUSH_LIMIT_MEMBERS=str(PUSH_LIMIT)) as world:
        yield Stage(world)


class Run:
    """Of a case: every interleaving, or a sample of them, held to the serial orders."""

    def __init__(self, stage: Stage, case: Case, crashes: int) -> None:
        stage.idempotent = crashes > 0  # else a send may be stored once per attempt
        self.stage, self.case, self.crashes = stage, case, crashes
        self.operations = case.prepare(stage)
        self.base = stage.world.moment()
        self.interleavings = self.states = 0
        self._outcomes: dict[Hashable, Outcome] = {}
        self._found_serial: set[int] = set()  # of these, by identity

    def both_ways(self, rng: random.Random) -> None:
        for self.stage.world.backwards in (False, True):
            self._run(rng)

    def _run(self, rng: random.Random) -> None:
        self._all = Interleavings(self.stage.world, self.base, self.operations, self.crashes)
        # An attempt that nobody was told of may count as one of its own.
        orders = [[*self.operations, again] for again in self.operations] if self.crashes else [self.operations]
        self._serial = [self._outcome(state) for order in orders for state in Interleavings(self.stage.world, self.base, order).serial()]
        limit, size = (CRASHED_STATES, CRASHED_SAMPLE) if self.crashes else (STATES, SAMPLE)
        try:
            interleavings, states = self._all.explore(self._visit, self._require_serial, limit)
        except TooMany:
            interleavings, states = size, 0
            self._all.sample(rng, size, self._visit, self._require_serial)
        self.interleavings, self.states = self.interleavings + interleavings, self.states + states

    def _visit(self, state: State) -> None:
        assert not self.stage.world.broken, f"{self.stage.world.broken} after {_way(state)}"

    def _outcome(self, state: State) -> Outcome:
        stored = self._all.stored(state.moment), repr(state.answers), tuple(tale.attempt for tale in state.tales)
        if stored not in self._outcomes:
            self._outcomes[stored] = self.stage.outcome(state)
        return self._outcomes[stored]

    def _require_serial(self, state: State) -> None:
        try:
            outcome = self._outcome(state)
        except AssertionError as failed:
            raise AssertionError(f"{failed} after {_way(state)}") from failed
        if id(outcome) in self._found_serial:
            return
        parts = [part for part in outcome if not self.crashes or part not in self._names]  # who repeats is told what is so by then
        groups: dict[Hashable, list[Any]] = {}
        for part in parts:
            about = part[0] if isinstance(part, tuple) else part  # the conversation, or the operation
            groups.setdefault(self.case.apart and about, []).append(part)
        for some in groups.values():
            differences = [[(part, outcome[part], order[part]) for part in some if outcome[part] != order[part]] for order in self._serial]
            assert [] in differences, f"no serial order shows {min(differences, key=len)} after {_way(state)}"
        self._found_serial.add(id(outcome))

    @cached_property
    def _names(self) -> set[str]:
        return {operation.name for operation in self.operations}


def _way(state: State) -> str:
    return f"{', '.join(state.path)}; PARLEY_SEED={SEED}"


@pytest.mark.parametrize("crashes", [0, 1], ids=["undisturbed", "with a crash"])
@pytest.mark.parametrize("name", CASES)
def test_every_outcome_is_that_of_some_serial_order(
    stage: Stage, name: str, crashes: int, record_property: Callable[[str, int], None]
) -> None:
    run = Run(stage, CASES[name], crashes)
    run.both_ways(random.Random(f"{SEED} {name}"))
    record_property("interleavings of operations", run.interleavings)
    record_property("states of operations", run.states)


# --- what the test is good for


def without_conditions(place: store.Ref, _: rules.Marks, moved: dict[str, Any], others: dict[str, int], *__: Any, **___: Any) -> Any:
    return store.update(place, {**moved, **others}, "attribute_exists(reader) OR attribute_not_exists(reader)")


def listing_first(conversation: keys.Conversation, user: int, now_ms: int) -> None:
    store.update(inbox.ref(conversation.app_id, user, conversation.low), {"left_at": now_ms}, inbox.BELONGS)
    listing = {"entity": keys.entity(conversation.app_id, conversation.low), "facet": keys.member(user)}
    store.dynamodb().delete_item(TableName="Directory", Key=store.pack(listing))


LEFT_OUT: dict[str, tuple[str, Any, str, str]] = {  # what is put in the place of what, where it is found, and how it shows
    "the conditions of marks": ("messaging.conversations.inbox._move", without_conditions, "acks of two numbers", "moved back"),
    "the condition of belonging": (
        "messaging.conversations.inbox.BELONGS",
        "attribute_exists(reader)",
        "leave and fan out",
        "after leaving",
    ),
    "the second look of a join": ("messaging.conversations.membership.inbox.advance", lambda *_: True, "join and send", "undelivered"),
    "the order of leaving": ("messaging.conversations.membership.end", listing_first, "join and leave of a member", "undelivered"),
    "the flags of a crossing": ("messaging.conversations.membership._flag_rows", lambda *_: None, "crossing and send", "undelivered"),
    "the condition of moving a reservation": (
        "messaging.conversations.dedup.relocate",
        lambda request, digest, target, old, new: new,
        "one transaction id twice and a rival",
        "two answers",
    ),
    "the condition of a reservation": (
        "messaging.conversations.dedup.reserve",
        lambda request, digest, slots, now_ms: None,
        "one transaction id with two contents",
        "serial|lost",
    ),
}


@pytest.mark.parametrize("left_out", LEFT_OUT)
def test_a_step_that_was_left_out_is_found(stage: Stage, monkeypatch: pytest.MonkeyPatch, left_out: str) -> None:
    target, instead, name, shows = LEFT_OUT[left_out]
    run = Run(stage, CASES[name], 0)
    monkeypatch.setattr(target, instead)
    with pytest.raises(AssertionError, match=shows):
        run.both_ways(random.Random(SEED))

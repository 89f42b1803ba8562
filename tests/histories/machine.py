"""A state machine over the real handlers, with the model beside it: whatever users, operators, the stream, the queue and time do.

Each rule is one step of a history. Its `plan` says what happens at which AWS call of the step: a fault strikes there, or somebody else is
faster (`MEANWHILE`). After each step nothing may be broken that is promised at every moment; at a history's end everything is delivered
without faults, and every list, number, page and status has to be what the model says.

A history that fails is printed as a script. `python -m tests.histories.machine` runs histories until it is stopped.
"""

import argparse
import contextlib
import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import Any, ClassVar, NamedTuple, cast

import pytest
from botocore.exceptions import ReadTimeoutError
from hypothesis import HealthCheck, Phase, currently_in_test_context, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from endpoints import ack, forget, history, notify, send, unread
from messaging.base import store
from messaging.base.errors import HTTP_STATUS, ApiError, Code
from messaging.conversations import rules
from messaging.people import directory, tokens
from messaging.people.models import USER
from tests import world as worlds
from tests.fast_world import FastWorld, Moment, fast_world
from tests.faults.injector import WRITES, Fault, faults_of
from tests.faults.sdk import Crash, with_ignored_refusal
from tests.histories.model import COMMAND, IMAGE, TEXT, Chat, Model, Request, Seen, Transaction
from tests.world import APP, Context
from workers import deliver, fanout

STEPS = 40  # of a history, after `begin`
BATCH = 10  # histories from one seed: of more, hypothesis makes most by copying steps within those that it had before
OTHER = "other"
DAY_MS = 86_400_000
PAUSE_MS = 5_000  # of a function that is under way
LOCKED_OUT_MS = 60_001  # after a revocation
RETENTION_S = 2 * 86_400
RETENTION, RATE, BURST = "RETENTION_SECONDS", "CONVERSATION_RATE_PER_SECOND", "CONVERSATION_BURST_MESSAGES"
TRIES = 3  # deliveries that fail before a record or a job is set aside
LIVES_S = 3 * 10**7  # a token: longer than any history
ARRIVALS = 3  # deliveries of one record or job at most
PAGES = (1, 2, 3, 4, 5, 6, 7, 100)  # limits

# The other app has the same numbers, for something else: 1005 and 1006 are groups of the first app, 1002 to 1004 its users.
USERS = {APP: (1001, 1002, 1003, 1004, 1), OTHER: (1001, 1005, 1)}
GROUPS = {APP: {1005: False, 1006: True}, OTHER: {1002: False, 2002: True}}  # whether they show their past
MEMBERS = {APP: {1005: (1001, 1002), 1006: (1001, 1002, 1003)}, OTHER: {1002: (1001, 1005), 2002: (1001,)}}
PEOPLE = [(APP, user) for user in USERS[APP][:4]] + [(OTHER, user) for user in USERS[OTHER][:2]]
PLACES = {APP: (1002, 1001, 1003, 1004, 1005, 1006, 0, 2002), OTHER: (1005, 1001, 1002, 2002, 0, 1004)}  # what a caller may name

FAVOURED = 4  # times as often, each of the two users and the group that a history is mostly about

# --- what may happen at an AWS call

KILLED = ("crash before", "crash after")
LATE = "late"  # a write that nobody waits for any more takes effect when others have gone on
FAILING = ("throttled", "unavailable", "conflict", "timed out", LATE)  # the caller is told to ask again
HARMLESS = (
    "lost reply",
    "stale",
    "some keys unprocessed",
    "all keys unprocessed",
    "some entries failed",
    "all entries failed",
)  # nobody sees that it was there
MEANWHILE = {
    "say": "somebody else says something in the same conversation",
    "news": "the same, and everything is delivered",
    "arrive": "everything is delivered",
    "twin": "somebody else says something, then the same request is made again",
    "out": "the same user leaves the group, or deletes the conversation",
    "in": "the same user joins the group, or has read everything",
    "visit": "in, news, out",
    "pause": "seconds pass",
    "land": "what was given up takes effect",
    "lost twin": "the same request is made; seconds later it loses its place to somebody, and dies at the next call",
}
Plan = Mapping[int, str]
CALM: Plan = {}
STRIKES: list[Plan] = [{at: fault} for at in range(6) for fault in KILLED + FAILING + HARMLESS]
RACES: list[Plan] = [{at: what} for at in range(7) for what in MEANWHILE]
PAIRS: list[Plan] = [
    {at: one, then: other} for at, then in itertools.combinations(range(7), 2) for one, other in (("say", "twin"), ("out", "in"))
]
# Of what takes many calls. No write of a join or a leave comes late: it could undo a later command half.
LONG_STRIKES: list[Plan] = [{at: fault} for at in range(12) for fault in KILLED + FAILING[:-1] + HARMLESS[:1]]
LONG_RACES: list[Plan] = [{at: what} for at in range(2, 12) for what in MEANWHILE]
DYING: Plan = {3: "pause", 4: "say", 5: "crash before"}
plans = st.sampled_from([CALM] * 150 + STRIKES * 6 + RACES * 2 + PAIRS * 2)
long_plans = st.sampled_from([CALM] * 100 + LONG_STRIKES * 3 + LONG_RACES * 6 + PAIRS)
calm_or_struck = st.sampled_from([CALM] * 100 + STRIKES * 3)


@dataclass
class Tally:
    """What has been done so far, in histories of `STEPS` steps and more."""

    histories: int = 0
    steps: int = 0
    calls: int = 0  # to AWS, in steps
    faults: int = 0
    races: int = 0

    def add(self, history: "Tally") -> None:
        self.histories += history.histories
        self.steps += history.steps
        self.calls += history.calls
        self.faults += history.faults
        self.races += history.races


class Struck:
    """Carries out a plan: at each of its calls, or at the first one after it that the fault can strike."""

    def __init__(
        self, plan: Plan, meanwhile: Callable[[str], None], tally: Tally, late: Callable[[Callable[[], Any]], None] = lambda write: None
    ) -> None:
        self.plan, self._waiting, self._meanwhile, self._tally = plan, dict(plan), meanwhile, tally
        self.made: list[tuple[str, dict[str, Any]]] = []
        self._late = late
        self._dead = False
        self.harmed = self.raced = False

    def __call__(self, operation: str, request: dict[str, Any], perform: Callable[..., Any]) -> Any:
        if self._dead:
            raise Crash
        number = len(self.made)
        self.made.append((operation, request))
        self._tally.calls += 1
        if not self._waiting:
            return perform()
        faults = {fault.name: fault for fault in faults_of(operation, request)}
        if operation in WRITES:
            faults[LATE] = Fault(LATE, self._give_up)
        due = next((at for at, what in self._waiting.items() if at <= number and (what in MEANWHILE or what in faults)), None)
        if due is None:
            return perform()
        what = self._waiting.pop(due)
        if what in MEANWHILE:
            self.raced = True
            self._tally.races += 1
            self._meanwhile(what)
            return perform()
        self._tally.faults += 1
        self.harmed = self.harmed or what not in HARMLESS
        self._dead = faults[what].kills
        return faults[what].strike(request, perform)

    def _give_up(self, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        self._late(perform)
        raise ReadTimeoutError(endpoint_url="https://aws")


class Broken(BaseException):
    """Something was found while a request was under way: no handler may take it for its own."""


class Told(NamedTuple):
    """What a request was answered (`code` None: nothing), and what happened on the way; `also`: what it may be told because of that."""

    code: Code | None
    reply: dict[str, Any]
    harmed: bool
    raced: bool
    also: set[Code]


class Scene(NamedTuple):
    """Who does something, where, how the same is asked for again, and what it would be told now."""

    app: str
    user: int
    chat: Chat | None
    again: Callable[[Plan], object] = lambda plan: None
    verdicts: Callable[[], set[Code]] = set


@dataclass(eq=False)
class Parcel:
    """A record of the stream or a job of the queue, on its way."""

    item: dict[str, Any]
    id: str
    chat: str  # key of its conversation
    seq: int
    arrived: int = 0
    failed: int = 0


def step(**arguments: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A rule, after which nothing may be broken."""

    def decorate(act: Callable[..., None]) -> Callable[..., None]:
        @wraps(act)
        def acted(machine: "Machine", *given: Any, **drawn: Any) -> None:
            act(machine, *given, **drawn)
            machine.require_sound()
            machine.tally.steps += 1

        return cast(Callable[..., None], rule(**arguments)(acted))  # type: ignore[no-untyped-call]

    return decorate


people = st.sampled_from(range(FAVOURED * 2 + len(PEOPLE)))
places = st.sampled_from(range(FAVOURED * 2 + len(PLACES[APP])))
orders = st.sampled_from(range(40))  # 0: everything, as it comes; else some of it, shuffled
ctypes = st.sampled_from((TEXT, TEXT, TEXT, COMMAND, IMAGE))
transactions = st.sampled_from(("none", "fresh", "fresh", "negative", "zero"))
targets = st.sampled_from([(0,)] * 5 + [(1,), (2,), (3,), (0, 1), (2, 0, 2), (0, 1, 2, 3), (7,), (1, 7)])
groups = st.sampled_from([(0,)] * 5 + [(1,), (0, 1), (1, 0, 1), (2,)])
group = st.sampled_from((0, 0, 0, 1, 2))
sources = st.sampled_from((None, None, 1001, 1002, 1005))


class Machine(RuleBasedStateMachine):
    """Four users and two groups of one app, two and two of another with the same numbers."""

    environment: ClassVar[dict[str, str]] = {}
    page_items: ClassVar[int | None] = None  # of a query, before AWS ends the page
    own: ClassVar[int] = rules.MAX_OWN  # messages of its user's that a row remembers
    done: ClassVar[Tally] = Tally()  # by all histories of this kind

    def __init__(self) -> None:
        super().__init__()
        if currently_in_test_context():  # what is printed of a failing history is a script
            note(f"# PYTHONPATH=functions:. python <this>\nfrom tests.histories.machine import {type(self).__name__}\n")
        self.world, moment, made = stages.of(type(self))
        self.tokens = dict(made)
        self.world.restore(moment)
        worlds.cold()
        self.world.nonces = itertools.count()
        self.world.aws.release = None
        self.world.injector, self.world.backwards = None, False
        self.world.caught.clear()
        self.world.broken.clear()
        retention_s, rate, burst = (int(self.environment.get(name, "0")) for name in (RETENTION, RATE, BURST))
        self.model = Model(USERS, GROUPS, DAY_MS, retention_s, self.world.now_ms, rate, burst)
        for app, members in MEMBERS.items():
            for group, users in members.items():
                self.model.seen |= {(user, Chat(app, "group", (group,))): Seen() for user in users}
        self.told = len(self.world.aws.records)  # records that the model knows
        self.records: list[Parcel] = []
        self.jobs: list[Parcel] = []
        self.dead: list[Parcel] = []  # records set aside
        self.dead_jobs: list[Parcel] = []
        self.late: list[tuple[Callable[[], Any], Request | None]] = []  # writes that may still take effect, and of which request
        self.asking: Request | None = None
        self.disordered: set[str] = set()  # conversations of which something arrived before what was sent earlier
        self.half: dict[tuple[int, Chat], Callable[..., None]] = {}  # joins and leaves that were cut short
        self.before: dict[Chat, int] = {}  # how long the logs were when the step began
        self.performed: list[Struck] = []  # each step's calls
        self.repeats = True  # at the end, whatever has a transaction_id
        self.took = 0
        self.tally = Tally()

    # --- what users and operators do

    @initialize(backwards=st.booleans(), cast=st.sampled_from(range(24)))
    def begin(self, backwards: bool, cast: int) -> None:
        """`backwards`: calls that are independent are made in the reverse order. `cast`: whom and what it is mostly about."""
        self.world.backwards = backwards
        pair = list(itertools.permutations(USERS[APP][:4], 2))[cast % 12]
        self.people = [(APP, user) for user in pair] * FAVOURED + PEOPLE
        self.pairs = {APP: pair, OTHER: USERS[OTHER][:2]}
        self.groups = {app: [*groups][:: 1 if cast < 12 else -1] for app, groups in GROUPS.items()}

    def partner(self, app: str, user: int) -> int:
        """With whom a user mostly speaks."""
        one, other = self.pairs[app]
        return one if user == other else other

    def place(self, app: str, user: int, at: int) -> int:
        """A number that a caller may name."""
        favoured = [self.partner(app, user), self.groups[app][0]] * FAVOURED
        return (*favoured, *PLACES[app])[at % (len(favoured) + len(PLACES[app]))]

    @step(who=people, to=targets, ctype=ctypes, transaction=transactions, plan=plans)
    def send(self, who: int, to: tuple[int, ...], ctype: int, transaction: str, plan: Plan) -> None:
        app, user = self.people[who]
        others = (self.partner(app, user), *USERS[app], 2002)  # 2002: no user
        numbers = [others[min(at, len(others) - 1)] for at in to]
        self.post(self.asked(app, "send", user, 1, numbers, ctype, transaction), plan, user)

    @step(who=people, to=groups, ctype=ctypes, transaction=transactions, plan=plans)
    def say(self, who: int, to: tuple[int, ...], ctype: int, transaction: str, plan: Plan) -> None:
        app, user = self.people[who]
        numbers = [*self.groups[app], 1001]
        self.post(self.asked(app, "send", user, 2, [numbers[at] for at in to], ctype, transaction), plan, user)

    @step(who=people, source=sources, to=st.one_of(st.none(), groups), ctype=ctypes, transaction=transactions, plan=plans)
    def notify(self, who: int, source: int | None, to: tuple[int, ...] | None, ctype: int, transaction: str, plan: Plan) -> None:
        """To a person, or to groups; from the system, or as if from `source`."""
        app, user = self.people[who]
        numbers = [user] if to is None else [(*self.groups[app], 1001)[at] for at in to]
        self.post(self.asked(app, "notify", source or 0, 1 if to is None else 2, numbers, ctype, transaction), plan, user)

    @precondition(lambda self: self.remembered())
    @step(which=st.sampled_from(range(8)), same=st.sampled_from((True, True, False)), plan=plans)
    def repeat(self, which: int, same: bool, plan: Plan) -> None:
        """The last requests with a `transaction_id` once more, or others under their names."""
        known = self.remembered()
        request = known[-1 - which % len(known)]
        if not same:
            how = {"ctype": request.ctype, "transaction_id": request.transaction_id}
            request = self.model.request(request.app, request.operation, request.sender, request.type, request.targets, **how)
        self.post(request, plan, request.sender or PEOPLE[0][1], turned=True)

    @step(
        who=people,
        place=places,
        start=st.sampled_from((0, 0, 0, 1, 2, 3, 5, 50)),
        limit=st.sampled_from(PAGES),
        rights=st.booleans(),
        plan=calm_or_struck,
    )
    def page(self, who: int, place: int, start: int, limit: int, rights: bool, plan: Plan) -> None:
        """Through a history from `start` on; `rights`: with those of the group's administrator."""
        app, user = self.people[who]
        self.read(app, user, self.place(app, user, place), start, limit, rights, plan)

    @step(who=people, limit=st.sampled_from((1, 2, 1000)), plan=calm_or_struck)
    def look(self, who: int, limit: int, plan: Plan) -> None:
        """At the list, in pages of `limit`."""
        self.require_plausible(*self.people[who], limit, plan)

    @step(who=people, place=places, upto=st.sampled_from((0, 0, 1, 1, 2, 2, 3, 4, 6, 50)), plan=plans)
    def acknowledge(self, who: int, place: int, upto: int, plan: Plan) -> None:
        app, user = self.people[who]
        self.ack(app, user, self.place(app, user, place), upto, plan)

    @step(who=people, place=places, plan=plans)
    def delete(self, who: int, place: int, plan: Plan) -> None:
        app, user = self.people[who]
        self.forget(app, user, self.place(app, user, place), plan)

    @step(who=people, group=group, plan=long_plans)
    def join(self, who: int, group: int, plan: Plan) -> None:
        app, user = self.people[who]
        self.enter(app, user, [*self.groups[app], 1001][group], plan)
        self.require_plausible(app, user)  # the next message may hide what went wrong

    @step(who=people, group=group, plan=long_plans)
    def leave(self, who: int, group: int, plan: Plan) -> None:
        app, user = self.people[who]
        self.exit(app, user, [*self.groups[app], 1001][group], plan)

    # --- what the stream, the queue and time do

    @step(order=orders, plan=plans)
    def deliver(self, order: int, plan: Plan) -> None:
        self.collect()
        self.carry(deliver.handler, self.records, self.dead, order, plan, ordered=True)

    @step(order=orders, plan=plans)
    def fan_out(self, order: int, plan: Plan) -> None:
        self.collect()
        self.carry(fanout.handler, self.jobs, self.dead_jobs, order, plan, ordered=False)

    @precondition(lambda self: self.dead or self.dead_jobs)
    @step(records=st.booleans(), jobs=st.booleans())
    def redrive(self, records: bool, jobs: bool) -> None:
        """What was set aside comes again."""
        for wanted, lot, dead in ((records, self.records, self.dead), (jobs, self.jobs, self.dead_jobs)):
            if wanted:
                lot += dead
                dead.clear()
                for parcel in lot:
                    parcel.failed = 0

    @step()
    def land(self) -> None:
        """What was given up takes effect, whatever has happened since; it is no more than a request that got no answer."""
        late, self.late = self.late, []
        for write, request in late:
            with_ignored_refusal(write)
            row = request and self.reservation(request)
            if request and row and request.key not in self.model.transactions:
                self.model.transactions[request.key] = Transaction(request, int(row["expires_at"]["N"]) * 1000 - DAY_MS, sure=True)
            self.note_stored()
            if request and request.key and not row:
                self.model.transactions.pop(request.key, None)
        for user, chat in list(self.model.seen) if late else ():
            at, row = self.model.of(user, chat), self.row(user, chat)
            if chat.kind == "group":
                self.resolve_membership(user, chat)
            at.fetched, at.cut = max(at.fetched, row.get("fetched_seq", 0)), max(at.cut, row.get("cut_seq", 0))
            at.read = max(at.read, row.get("read_seq", 0))

    @step(who=people, frozen=st.booleans())
    def lock_out(self, who: int, frozen: bool) -> None:
        """Within a minute of a revocation nobody gets in by what was revoked, though the container was `frozen`; by a new token at once."""
        (app, user), query = self.people[who], {"query": {"limit": 1}}
        old = self.tokens[app, user]
        assert self.knock(unread, app, old, query)["code"] == Code.OK
        rev = directory.revoke(app, user, self.world.now_ms)
        self.tokens[app, user] = self.world.token(user, USER, app, lives_s=LIVES_S, rev=rev)
        assert self.knock(unread, app, self.tokens[app, user], query)["code"] == Code.OK
        self.pass_time(LOCKED_OUT_MS, frozen)
        before = self.state()
        assert self.knock(unread, app, old, query)["code"] == Code.TOKEN_EXPIRED, f"{user} gets in with a revoked token"
        assert self.state() == before, "a refusal has changed something"

    @step(ms=st.sampled_from((1, 1_000, DAY_MS // 2, DAY_MS, RETENTION_S * 1000 + 61_000)), swept=st.sampled_from(range(6)))
    def wait(self, ms: int, swept: int) -> None:
        """Time passes; then TTL deletes what has expired: nothing (0), all (1), or some of it."""
        if self.model.retention_s and ms > 1_000:  # nothing is on its way for as long as messages are kept
            self.arrive(all_of_it=True)
        self.pass_time(ms)
        rng = random.Random(swept)
        for table in ("Messages", "Dedup"):
            for place, item in list(self.world.aws.tables[table].items()):
                gone = "expires_at" in item and int(item["expires_at"]["N"]) * 1000 <= self.world.now_ms
                if gone and swept and (swept == 1 or rng.random() < 0.5):
                    del self.world.aws.tables[table][place]
                    if table == "Messages":
                        change = {"Keys": {name: item[name] for name in ("conversation", "msg_id")}, "SequenceNumber": f"ttl {place}"}
                        self.world.aws.records.append({"eventName": "REMOVE", "eventSource": "aws:dynamodb", "dynamodb": change})

    def pass_time(self, ms: int, frozen: bool = False) -> None:
        self.land()
        self.world.now_ms += ms
        self.world.frozen_ms += ms if frozen else 0
        self.model.now = self.world.now_ms

    # --- how it is done, and what has to be answered

    def asked(self, app: str, operation: Any, sender: int, type_: int, numbers: list[int], ctype: int, transaction: str) -> Request:
        self.took += 1
        ids = {"none": None, "zero": 0, "fresh": self.took, "negative": -self.took}
        return self.model.request(app, operation, sender, type_, numbers, ctype=ctype, transaction_id=ids[transaction])

    def remembered(self) -> list[Request]:
        return [request for request in self.model.requests.values() if request.key]

    def post(self, request: Request, plan: Plan = CALM, user: int = 1, turned: bool = False) -> None:
        """`turned`: names its targets in the reverse order, which asks for the same."""
        to = request.targets[::-1] if turned else request.targets
        body = {
            "type": request.type,
            "targets": list(to),
            "content_type": request.ctype,
            **request.parts,
            "transaction_id": request.transaction_id,
        }
        if request.operation == "notify":
            call = partial(self.call, notify, request.app, None, body=body | {"from_user_id": request.sender or None})
        else:
            call = partial(self.call, send, request.app, request.sender, body=body)
        allowed, unchanged = self.model.verdicts(request), self.state()
        begun, before, self.asking = self.model.begin(request), self.asking, request
        told = self.perform(
            call, plan, Scene(request.app, user, request.chat(to[0]), partial(self.post, request), lambda: {self.model.refusal(request)})
        )
        self.asking = before
        self.require_told(told, allowed, unchanged)
        row = self.reservation(request)
        reserved = row is not None and int(row["expires_at"]["N"]) == (self.world.now_ms + DAY_MS) // 1000
        numbers = dict(zip(to, told.reply.get("msg_ids", ()), strict=False))
        assert told.code != Code.OK or [numbers[target] for target in to] == told.reply["msg_ids"]
        self.model.answered(request, begun, told.code, numbers, reserved)
        if told.code == Code.TOO_MANY_REQUESTS and row is None and request.key and self.asking is not request:
            # What a storm refuses leaves no reservation behind; a twin of one that is on its way says nothing of that.
            self.model.transactions.pop(request.key, None)

    def reservation(self, request: Request) -> dict[str, Any] | None:
        return self.world.aws.tables["Dedup"].get(("#".join(map(str, request.key or ())), None))

    def read(self, app: str, user: int, number: int, start: int, limit: int, rights: bool = False, plan: Plan = CALM) -> None:
        """Fetches page after page to the end; only the first is struck."""
        chat = self.model.chat(app, user, number)
        if chat is None:
            call = partial(self.call, history, app, user, query={"opposite_id": number, "msg_id_start": start, "limit": limit})
            told = self.perform(call, plan, Scene(app, user, None))
            self.require_told(told, {Code.OK})
            assert told.code != Code.OK or (told.reply["data"]["messages"], told.reply["data"]["is_last"]) == ([], True)
            return
        at, group = self.model.of(user, chat), number if rights and chat.kind == "group" else None
        allowed, unchanged = {Code.OK if at.belongs or group else Code.NOT_A_MEMBER}, self.state()
        left = [seq for seq, _ in reversed(self.model.visible(user, chat, bool(group))) if not start or seq <= start]
        while True:
            query = {"opposite_id": number, "msg_id_start": start, "limit": limit}
            told = self.perform(partial(self.call, history, app, user, query=query, group=group), plan, Scene(app, user, chat))
            self.require_told(told, allowed, unchanged)
            if told.harmed:
                at.fetched = max(at.fetched, self.row(user, chat).get("fetched_seq", 0))
            if told.code != Code.OK:
                return
            page = told.reply["data"]
            size = page["messages_size"]
            assert size == len(page["messages"]) <= limit
            assert bool(page["messages"]) or page["is_last"], f"an empty page that is not the last of {chat}"
            if self.page_items is None:
                assert size == min(limit, len(left)), f"{user} in {chat}: {size} messages on a page of {limit}, there are {left}"
            for message, seq in itertools.zip_longest(page["messages"], left[:size]):
                assert seq, f"{user} may not see {message} of {chat}"
                shown = message | {side: message[side]["uid"] for side in ("from_xid", "to_xid")}
                wanted = self.model.view(user, chat, seq)
                assert {name: shown[name] for name in wanted} == wanted, f"{user} in {chat}: {shown} instead of {wanted}"
                statuses = self.model.statuses(user, chat, seq, at.belongs)
                assert message["status"] in statuses, f"{user} in {chat}: {seq} is {message['status']} instead of {statuses}"
            if at.belongs:
                at.fetched = max([at.fetched, *(seq for seq in left[:size] if self.model.logs[chat][seq - 1].sender != user)])
            left = left[size:]
            if page["is_last"]:
                assert not left, f"{user} in {chat}: the last page, and {left} not seen"
                assert page["next_msg_id"] == 0
                return
            start, plan = page["next_msg_id"], CALM

    def listing(self, app: str, user: int, limit: int, plan: Plan = CALM) -> tuple[Told, list[tuple[int, int | None]]]:
        """The whole list, page after page; only the first is struck. A number that the log could not tell is None."""
        listed: list[tuple[int, int | None]] = []
        query: dict[str, Any] = {"limit": limit}
        harmed = False
        while True:
            told = self.perform(partial(self.call, unread, app, user, query=query), plan, Scene(app, user, None))
            self.require_told(told, {Code.OK})
            harmed = harmed or told.harmed
            if told.code != Code.OK:
                return told, listed
            listed += [(entry["conversation_id"]["uid"], entry["num"]) for entry in told.reply["data"]]
            assert len(dict(listed)) == len(listed), f"{user} has a conversation twice: {listed}"
            query, plan = query | {"cursor": told.reply["next_cursor"]}, CALM
            if not told.reply["next_cursor"]:
                return told._replace(harmed=harmed), listed
            assert len(told.reply["data"]) == limit
            assert "list_changed" not in told.reply, f"{user}: nothing has happened between two pages"

    def ack(self, app: str, user: int, number: int, upto: int = 0, plan: Plan = CALM) -> None:
        chat = self.model.chat(app, user, number)
        allowed, unchanged, before = self.may_move(user, chat, upto), self.state(), self.model.newest(chat)
        call = partial(self.call, ack, app, user, query={"conversation_id": number, "msg_id": upto})
        told = self.perform(
            call, plan, Scene(app, user, chat, partial(self.ack, app, user, number, upto), partial(self.may_move, user, chat, upto))
        )
        self.require_told(told, allowed, unchanged)
        if chat:
            at, row = self.model.of(user, chat), self.row(user, chat)
            done = (upto or before) if told.code == Code.OK and not (told.raced and chat.kind == "group") else 0
            at.read = max(at.read, done, min(row.get("read_seq", 0), upto or self.model.newest(chat)))

    def forget(self, app: str, user: int, number: int, plan: Plan = CALM) -> None:
        chat = self.model.chat(app, user, number)
        allowed, unchanged, before = self.may_move(user, chat), self.state(), self.model.newest(chat)
        call = partial(self.call, forget, app, user, query={"conversation_id": number})
        told = self.perform(call, plan, Scene(app, user, chat, partial(self.forget, app, user, number), partial(self.may_move, user, chat)))
        self.require_told(told, allowed, unchanged)
        if chat:
            at, row = self.model.of(user, chat), self.row(user, chat)
            done = before if told.code == Code.OK and not (told.raced and chat.kind == "group") else 0
            cut = max(done, row.get("cut_seq", 0))
            if cut > at.cut:
                at.cut, at.read = cut, max(at.read, cut)

    def may_move(self, user: int, chat: Chat | None, upto: int = 0) -> set[Code]:
        if chat and not self.model.of(user, chat).belongs:
            return {Code.NOT_A_MEMBER}
        return {Code.UNKNOWN_MESSAGE if upto > self.model.newest(chat) else Code.OK}

    def enter(self, app: str, user: int, group: int, plan: Plan = CALM) -> None:
        if group not in GROUPS[app]:
            unchanged = self.state()
            return self.require_told(
                self.perform(partial(self.command, self.world.join, group, user, app=app), plan, Scene(app, user, None)),
                {Code.UNKNOWN_GROUP},
                unchanged,
            )
        chat = Chat(app, "group", (group,))
        at = self.model.of(user, chat)
        self.resolve_membership(user, chat)
        was = at.belongs
        call = partial(self.command, self.world.join, group, user, app=app)
        told = self.perform(call, plan, Scene(app, user, chat, partial(self.enter, app, user, group)))
        self.require_told(told, {Code.OK, Code.STORE_FAILED} if told.raced else {Code.OK})
        if not plan and self.world.injector is None:  # and nobody else is at it
            assert told.reply["data"] == ([] if was else [user])
        self.resolve_membership(user, chat)
        assert at.belongs or told.code != Code.OK or told.raced, f"{user} has joined {chat} and is not in it"
        self.note_half(user, chat, told, partial(self.enter, app, user, group))

    def exit(self, app: str, user: int, group: int, plan: Plan = CALM) -> None:
        if group not in GROUPS[app]:
            unchanged = self.state()
            return self.require_told(
                self.perform(partial(self.command, self.world.leave, group, user, app=app), plan, Scene(app, user, None)),
                {Code.UNKNOWN_GROUP},
                unchanged,
            )
        chat = Chat(app, "group", (group,))
        at, unchanged = self.model.of(user, chat), self.state()
        self.resolve_membership(user, chat)
        listing = (f"{app}#{group}", f"member#{user}")
        there = at.belongs or listing in self.world.aws.tables["Directory"]
        call = partial(self.command, self.world.leave, group, user, app=app)
        told = self.perform(call, plan, Scene(app, user, chat, partial(self.exit, app, user, group)))
        self.require_told(told, {Code.OK, Code.NOT_A_MEMBER} if told.raced else {Code.OK if there else Code.NOT_A_MEMBER}, unchanged)
        self.resolve_membership(user, chat)
        assert not at.belongs or told.code != Code.OK or told.raced, f"{user} has left {chat} and is in it"
        self.note_half(user, chat, told, partial(self.exit, app, user, group))

    def resolve_membership(self, user: int, chat: Chat) -> None:
        """The user's own row says whether a command that was cut short has got that far."""
        at, row = self.model.of(user, chat), self.row(user, chat)
        at.belongs = bool(row) and "left_at" not in row
        joined = row.get("join_seq", 0)
        if joined != at.joined:
            before, newest = self.before.get(chat, 0), self.model.newest(chat)
            assert before <= joined <= newest, f"{user} has joined {chat} after {joined}, there were {before} to {newest}"
            at.joined = joined

    def note_half(self, user: int, chat: Chat, told: Told, again: Callable[..., None]) -> None:
        if told.code in (Code.OK, Code.NOT_A_MEMBER):
            self.half.pop((user, chat), None)
        else:
            self.half[user, chat] = again

    def call(self, endpoint: Any, app: str, user: int | None, *, group: int | None = None, **part: dict[str, Any]) -> dict[str, Any]:
        """The envelope: of an HTTP request with the user's own token where the number is odd, else of a direct one."""
        if user is None or group is not None or user % 2 == 0:
            event: dict[str, Any] = {"app_id": app, "user_id": user, "group_id": group, **part}
            return dict(endpoint.handler(event, Context()))
        return self.knock(endpoint, app, self.tokens[app, user], part)

    def knock(self, endpoint: Any, app: str, token: str, part: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """The envelope of an HTTP request."""
        headers = {"app_id": app, "access-token": token}
        http = {"routeKey": "any", "headers": headers, "isBase64Encoded": False}
        if "body" in part:
            http["body"] = json.dumps(part["body"])
        else:
            http["queryStringParameters"] = {name: str(value) for name, value in part["query"].items() if value is not None}
        reply = endpoint.handler(http, Context())
        envelope: dict[str, Any] = json.loads(reply["body"])
        assert reply["statusCode"] == HTTP_STATUS.get(envelope["code"], 200), reply
        return envelope

    def command(self, act: Callable[..., Any], *about: Any, **more: Any) -> dict[str, Any]:
        """What an operator is told."""
        try:
            return {"code": Code.OK, "data": act(*about, **more)}
        except ApiError as refused:
            return {"code": refused.code}
        except Exception as failed:
            if not store.is_outage(failed):
                raise
            return {"code": Code.STORE_FAILED}

    def perform(self, act: Callable[[], dict[str, Any]], plan: Plan, scene: Scene) -> Told:
        """Does it, with what the plan has in store. Then the model is told what has been stored."""
        also: set[Code] = set()

        def meanwhile(what: str) -> None:
            try:
                self.meanwhile(scene, what)
            except Exception as found:
                raise Broken from found
            also.update(scene.verdicts())

        outer, struck = self.world.injector, Struck(plan, meanwhile, self.tally, self.give_up)
        if outer is None:
            self.performed.append(struck)
            self.before = {chat: len(log) for chat, log in self.model.logs.items()}
        self.world.injector = struck
        try:
            reply: dict[str, Any] = act()
        except Crash:
            reply = {"code": None}
            worlds.cold()
        except Broken as broken:
            raise cast(Exception, broken.__cause__) from None
        finally:
            self.world.injector = outer
            tokens._failed.clear()  # who asks again does so a little later
        self.note_stored()
        return Told(reply["code"] and Code(reply["code"]), reply, struck.harmed, struck.raced, also)

    def give_up(self, write: Callable[[], Any]) -> None:
        self.late.append((write, self.asking))

    def note_stored(self) -> None:
        for record in self.world.aws.records[self.told :]:
            assert record["eventName"] != "MODIFY", record
            if record["eventName"] == "INSERT":
                image = store.unpack(record["dynamodb"]["NewImage"])
                self.model.stored(image["conversation"], image["msg_id"], image)
        self.told = len(self.world.aws.records)

    def meanwhile(self, scene: Scene, what: str) -> None:
        """Somebody else is faster."""
        self.note_stored()
        chat = scene.chat
        if what == "visit":
            for each in ("in", "news", "out"):
                self.meanwhile(scene, each)
        if chat and what in ("say", "news", "twin"):
            sender = 0 if chat.kind != "user" else chat.recipient_of(scene.user)
            to = chat.ids[0] if chat.kind != "user" else scene.user
            ctype = COMMAND if self.took % 4 == 0 else TEXT
            self.post(self.asked(chat.app, "notify", sender, 2 if chat.kind == "group" else 1, [to], ctype, "none"))
        if what in ("news", "arrive"):
            self.arrive()
        if what in ("twin", "lost twin"):
            scene.again(CALM if what == "twin" else DYING)
        if what == "pause":
            self.world.now_ms = self.model.now = self.world.now_ms + PAUSE_MS
        if what == "land":
            self.land()
        if chat and what in ("out", "in") and scene.user in USERS[scene.app]:
            number = chat.ids[0] if chat.kind == "group" else chat.recipient_of(scene.user) if chat.kind == "user" else 0
            out, into = (self.exit, self.enter) if chat.kind == "group" else (self.forget, self.ack)
            (out if what == "out" else into)(scene.app, scene.user, number)

    def require_told(self, told: Told, allowed: set[Code], unchanged: Mapping[str, Any] | None = None) -> None:
        """One of these, or that the store has failed; and whoever is refused has changed nothing."""
        if self.model.rate_per_s and allowed & {Code.OK, Code.TOO_MANY_REQUESTS}:  # which of the two is for `test_pace.py` to say
            allowed = allowed | {Code.OK, Code.TOO_MANY_REQUESTS}
        known = allowed | told.also | ({Code.STORE_FAILED, None} if told.harmed else set())
        assert told.code in known, f"told {told.reply} instead of {allowed}"
        if unchanged is not None and Code.OK not in allowed and not told.raced:
            assert self.state() == unchanged, "a refusal has changed something"

    def state(self) -> dict[str, Any]:
        return {name: dict(items) for name, items in self.world.aws.tables.items()}

    def row(self, user: int, chat: Chat) -> dict[str, Any]:
        number = chat.ids[0] if chat.kind == "group" else chat.recipient_of(user) if chat.kind == "user" else 0
        return store.unpack(self.world.aws.tables["Inbox"].get((f"{chat.app}#{user}", number), {}))

    # --- deliveries

    def collect(self) -> None:
        """What has come out of the stream and the queue."""
        for record in self.world.stream():
            change = record["dynamodb"]
            place = store.unpack(change.get("NewImage") or change["Keys"])
            self.records.append(Parcel(record, change["SequenceNumber"], place["conversation"], place["msg_id"]))
        for job in self.world.jobs():
            told = json.loads(job["body"])
            self.jobs.append(Parcel(job, job["messageId"], told["conversation"], told["last_seq"]))

    def carry(self, handler: Callable[..., Any], lot: list[Parcel], dead: list[Parcel], order: int, plan: Plan, *, ordered: bool) -> None:
        """One batch. A stream's batch comes again from the first record that failed on (`ordered`), a queue's failed jobs one by one."""
        rng = random.Random(order)
        batch = rng.sample(lot, rng.randint(1, len(lot))) if order and lot else [parcel for parcel in lot if not parcel.arrived]
        if not batch:
            return
        for parcel in batch:
            if any(
                not other.arrived and other.chat == parcel.chat and other.seq < parcel.seq for other in lot + dead if other not in batch
            ):
                self.disordered.add(parcel.chat)
        chat = next((chat for chat in self.model.logs if chat.key == batch[0].chat), None)
        people = [user for app, user in PEOPLE if chat and app == chat.app and (chat.kind == "group" or user in chat.ids)]
        scene = Scene(chat.app, people[order % len(people)], chat) if chat and people else Scene(APP, 1, None)
        event = {"Records": [parcel.item for parcel in batch]}
        told = self.perform(lambda: {"code": Code.OK, **handler(event, Context())}, plan, scene)
        failed = {failure["itemIdentifier"] for failure in told.reply.get("batchItemFailures", ())}
        assert failed <= {parcel.id for parcel in batch}
        assert told.harmed or (told.code == Code.OK and not failed), f"{failed} failed, and nothing was wrong: {self.world.caught}"
        if told.code is None:
            failed = {parcel.id for parcel in batch}
        behind = False
        for parcel in batch:
            behind = behind or (ordered and parcel.id in failed)
            if parcel.id in failed:
                parcel.failed += 1
                if parcel.failed >= TRIES and parcel in lot:
                    lot.remove(parcel)
                    dead.append(parcel)
            else:
                parcel.arrived += 1
                if parcel in lot and not behind and (parcel.arrived >= ARRIVALS or not order or rng.random() < 0.6):
                    lot.remove(parcel)

    def arrive(self, all_of_it: bool = False) -> None:
        """Everything that is on its way is delivered, without a fault; `all_of_it`: what was set aside too."""
        if all_of_it:
            self.records, self.dead = self.records + self.dead, []
            self.jobs, self.dead_jobs = self.jobs + self.dead_jobs, []
        while True:
            self.collect()
            if not any(not parcel.arrived for parcel in self.records + self.jobs):
                return
            self.carry(deliver.handler, self.records, self.dead, 0, CALM, ordered=True)
            self.collect()
            self.carry(fanout.handler, self.jobs, self.dead_jobs, 0, CALM, ordered=False)

    def quiet(self, chat: Chat) -> bool:
        """Whether everything of a conversation has arrived."""
        ways = (self.records, self.jobs, self.dead, self.dead_jobs)
        return not any(parcel.chat == chat.key and not parcel.arrived for way in ways for parcel in way)

    # --- what has to hold

    def require_sound(self) -> None:
        """At every moment: what is stored stays, marks move forward, and nothing happens that nobody expected."""
        assert not self.world.broken, self.world.broken
        unexpected = [caught for caught in self.world.caught if caught.startswith("unexpected")]
        assert not unexpected, unexpected

    def require_plausible(self, app: str, user: int, limit: int = 1000, plan: Plan = CALM) -> None:
        """While messages are on their way a number may lag; it never says more than there is, and is exact where all has arrived."""
        told, listed = self.listing(app, user, limit, plan)
        if told.code != Code.OK:
            return
        assert told.harmed or all(num is not None for _, num in listed), f"{user} is not told every number: {self.world.caught}"
        self.collect()
        nums = dict(listed)
        for number in {*nums, *USERS[app], *GROUPS[app], 0}:
            chat = self.model.chat(app, user, number)
            assert chat, f"{user} has a conversation {number} of nobody"
            num, visible = nums.get(number), self.model.visible(user, chat)
            assert number not in nums or visible, f"{user} has {chat} in the list and nothing to see there"
            if (user, chat) in self.half or (number in nums and num is None):
                continue
            if self.quiet(chat):
                self.disordered.discard(chat.key)
                assert num == (self.model.num(user, chat) if visible else None), (
                    f"{user} is told {num} in {chat}: {self.model.num(user, chat)}"
                )
            elif num is not None:
                most = len(list(self.model.unread(user, chat))) if chat.key in self.disordered else self.model.num(user, chat)
                assert num <= most, f"{user} is told {num} in {chat}, there are {most}"

    def teardown(self) -> None:
        """Whatever was cut short is completed, everything is delivered, and everything has to be exact."""
        if sys.exc_info()[0]:  # the history has failed already, or is not to be finished
            return
        done = replace(self.tally, histories=1)
        self.land()
        for again in list(self.half.values()):
            again()
        for known in list(self.model.transactions.values()):
            if self.repeats and self.model.remembered(known.request) is known:
                self.post(known.request, turned=True)
        self.arrive(all_of_it=True)
        self.require_lists()
        for app, members in GROUPS.items():  # whoever belongs gets them, however joins and leaves have met
            self.post(self.asked(app, "notify", 0, 2, list(members), TEXT, "none"))
        self.arrive()
        self.require_lists()
        self.require_histories()
        self.require_sound()
        if done.steps >= STEPS and done.calls:  # hypothesis begins with a history in which nothing happens
            self.done.add(done)

    def require_lists(self) -> None:
        for nth, (app, user) in enumerate(PEOPLE):
            wanted = self.model.listed(app, user)
            for limit in (1000, 1 + (nth + self.took) % 3):
                _, listed = self.listing(app, user, limit)
                assert listed == wanted, f"{user} of {app} is told {listed} instead of {wanted}"

    def require_histories(self) -> None:
        for nth, (app, user) in enumerate(PEOPLE):
            for at, number in enumerate(PLACES[app]):
                self.read(app, user, number, 0, PAGES[(nth + at + self.took) % len(PAGES)])
        longest = max(self.model.logs, key=lambda chat: len(self.model.logs[chat]))
        user = next(user for app, user in PEOPLE if app == longest.app and (longest.kind == "group" or user in longest.ids))
        number = longest.ids[0] if longest.kind == "group" else longest.recipient_of(user) if longest.kind == "user" else 0
        for limit in PAGES:
            self.read(longest.app, user, number, 0, limit)


class Plain(Machine):
    """As it is deployed."""


class Retention(Machine):
    """Messages are kept for two days."""

    environment: ClassVar = {RETENTION: str(RETENTION_S)}


class Heads(Machine):
    """Groups of more than two are read by their head; one is from the beginning, others cross over."""

    environment: ClassVar = {"PUSH_LIMIT_MEMBERS": "2"}


class Paced(Machine):
    """A conversation takes a message a second, and two at once."""

    environment: ClassVar = {RATE: "1", BURST: "1"}


class Pages(Machine):
    """Queries come in pages of two."""

    page_items: ClassVar = 2


class Talkative(Machine):
    """A row remembers three of its user's own messages; queries come in pages of two."""

    page_items: ClassVar = 2
    own: ClassVar = 3


class Releases(Machine):
    """The functions are of 0.1.0 for some of the time; groups of more than two are read by their head."""

    environment: ClassVar = {"PUSH_LIMIT_MEMBERS": "2"}
    own: ClassVar = 3

    @step(kept=st.booleans())
    def upgrade(self, kept: bool) -> None:
        """What there is was written by 0.1.0, or (`kept`) only what was written since the roll-back."""
        self.world.aws.release = None
        if not kept:
            self.world.aws.rewrite()

    @step()
    def roll_back(self) -> None:
        self.world.aws.release = "0.1.0"


class Leftovers(Releases):
    """The same where messages expire, and rows are written one by one."""

    environment: ClassVar = {RETENTION: str(RETENTION_S)}


KINDS = (Plain, Retention, Heads, Paced, Pages, Talkative, Releases, Leftovers)


class Stage(NamedTuple):
    """A world with its apps, users and groups, and how it was then."""

    world: FastWorld
    start: Moment
    tokens: dict[tuple[str, int], str]


class Stages:
    """One world at a time: the one whose histories are run."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._kind: type[Machine] | None = None
        self._stage: Stage | None = None

    def of(self, kind: type[Machine]) -> Stage:
        if self._stage is None or self._kind is not kind:
            self.close()
            self._stage, self._kind = self._open.enter_context(_stage(kind)), kind
        return self._stage

    def close(self) -> None:
        self._open.close()
        self._stage = None


stages = Stages()


@contextmanager
def _stage(kind: type[Machine]) -> Iterator[Stage]:
    with fast_world(**kind.environment) as world, pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "MAX_OWN", kind.own)
        world.app(OTHER)
        for app, users in USERS.items():
            for user in users:
                if user != directory.ADMINISTRATOR_ID:
                    world.user(app=app, number=user)
            for group, visible in GROUPS[app].items():
                world.group(*MEMBERS[app][group], app=app, history_visible=visible, number=group)
        tokens = {(app, user): world.token(user, USER, app, lives_s=LIVES_S) for app, user in PEOPLE}
        require_forward = world.aws.wrote

        def watched(table: str, old: Any, new: Any) -> None:
            require_forward(table, old, new)
            if table == "Inbox" and new and not old and new["chat"]["S"] == "group" and "join_seq" not in new:
                world.broken.append(f"a row for somebody who never joined: {new}")

        world.aws.wrote = watched
        world.aws.page_items = kind.page_items
        yield Stage(world, world.moment(), tokens)


def run(kind: type[Machine], histories: int, number: int, phases: Sequence[Phase] = (Phase.generate, Phase.shrink)) -> Tally:
    """So many histories from this seed; raises what the shortest one that fails raises, its script in the notes."""
    kind.done = Tally()
    how = settings(
        max_examples=BATCH,
        stateful_step_count=STEPS + 1,  # and `begin`
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
    )
    try:
        for nth in itertools.count():
            run_state_machine_as_test(seed(number * 1_000_000 + nth)(kind), settings=how)
            if kind.done.histories >= histories:
                return kind.done
    finally:
        stages.close()
    return kind.done


def soak(minutes: float, number: int) -> int:
    """Runs histories of every kind until the time is over; 1 with the script as soon as one fails."""
    started, done = time.monotonic(), Tally()
    for nth in itertools.count():
        kind = KINDS[nth % len(KINDS)]
        try:
            run(kind, 100, number + nth)
        except Exception as failed:
            sys.stdout.write(f"\n{kind.__name__}, seed {number + nth}: {failed!r}\n" + "\n".join(getattr(failed, "__notes__", [])) + "\n")
            return 1
        done.add(kind.done)
        seconds = time.monotonic() - started
        sys.stdout.write(f"\r{done.histories} histories, {done.steps} steps, {done.faults} faults, {done.races} races, {seconds:.0f} s ")
        sys.stdout.flush()
        if seconds >= minutes * 60:
            sys.stdout.write("\n")
            return 0
    return 0


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Histories against the model, until stopped.")
    arguments.add_argument("--minutes", type=float, default=float("inf"))
    arguments.add_argument("--seed", type=int, default=None)
    given = arguments.parse_args()
    chosen = random.randrange(10**9) if given.seed is None else given.seed
    sys.stdout.write(f"seed {chosen}\n")
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(soak(given.minutes, chosen))

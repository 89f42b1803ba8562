"""Operations that meet, at every AWS call: whatever the interleaving, everybody sees what some serial order would have shown them.

Every interleaving is run, equal states once; where there are too many states, a sample, drawn with the seed that a failure prints
(PARLEY_SEED sets it). Independent calls of one operation are made forwards, then backwards.

A case is a line: what there was beforehand | what meets. People are a to f, g is the group, 0 the system.

    a>bc         a sends to b and c; `a~b`: b is notified, in a's name; `!`: a COMMAND; `5`: under that transaction_id; `same`: same content
    2(a>b)       twice, beforehand, where what is sent is delivered, too, but for this:
    said a>b     sent and not delivered: `deliver 1 2` is of the first and the second that were kept so; `deliver` of what is sent meanwhile
    queued a>g   delivered, the jobs not carried out: `fan-out 1` is of these, `fan-out` of one job (`fan-out of 2`) queued meanwhile
    group abc    beforehand; `shown`: with its past
    ack b a 2, delete b a, fetch b a, join c, leave c
"""

import itertools
import json
import os
import random
import re
from collections.abc import Callable, Hashable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import pytest

from messaging.base import keys, store
from messaging.base.errors import ApiError, Code
from messaging.conversations import inbox, rules
from tests.fast_world import FastWorld, fast_world
from tests.histories.interleave import Interleavings, Operation, State, TooMany, take
from tests.world import ENDPOINTS
from workers import deliver

SEED = int(os.environ.get("PARLEY_SEED", "1"))
STATES, CRASHED_STATES = 2000, 400  # beyond, and with a crash beyond, a sample is run
SAMPLE, CRASHED_SAMPLE = 100, 25  # interleavings
PUSH_LIMIT = 4  # members; more are not written one by one, they read the head
MEMBERS_PER_JOB = 2
GROUP = 2001
WHO = {"0": 0, **{letter: 1001 + at for at, letter in enumerate("abcdef")}, "g": GROUP}
USERS = [number for number in WHO.values() if number not in (0, GROUP)]
MARKS = ("cut_seq", "join_seq", "left_at")

CASES = """
a>b | a>b; b>a
| a>b; a>b
| a>b 5; b>a 5
| a>a; a>a
a>b | a>b; b>a; deliver; deliver
said a>b; said a>b | b>a; deliver 1 2
b>a | a~b 5; a>b 5
0~a | 0~a; 0~a; ack a 0
| a>b 5 same; a>b 5 same
| a>b 5 same; a>b 5 same; b>a
| a>b 5; a>b 5
c>a | a>bcd 5 same; a>bcd 5 same
| a>bc 5 same; a>bc 5 same; c>a
| a>bc; a>cb
3(a>b) | ack b a 1; ack b a 2
3(a>b) | ack b a 2; ack b a
said a>b; said a>b; said a>b | ack b a 3; ack b a 2; deliver 1 2 3
a>b; said a>b; said a>b | ack b a; deliver 1 2
a>b; said a>b; said a>b | ack b a 2; deliver 1 2
a>b; said b>a; said a>b; said b>a | ack b a 1; deliver 1 2 3
a>b; said b>a | ack b a 1; deliver 1; ack b a
a>b | ack b a 2; a>b; deliver
a>b | ack b a; a>b; deliver
a>b | ack b a; b>a; deliver
group abc; a>g; queued c>g | ack b g; fan-out 1
group abcde; a>g; said b>g; said c>g | ack b g; ack b g 1; deliver 1 2
2(a>b) | fetch b a; ack b a 1
2(a>b) | fetch b a; fetch b a
said a>b; said b>a | fetch b a; deliver 1 2
a>b | fetch b a; a>b
a>b; said a>b; said a>b | delete b a; deliver 1 2
said a>b | delete b a; deliver 1
a>b; said b>a; said a>b | delete b a; deliver 1 2
group abc; a>g; said c>g | delete b g; deliver 1; fan-out
group abcde; a>g; said c>g; said b>g | delete b g; deliver 1 2
a>b | delete b a; a>b; deliver
a>b | delete b a; b>a; deliver
group ab; a>g | delete b g; a>g; deliver; fan-out
2(a>b) | delete b a; ack b a 1
a>b | delete b a; delete b a; a>b
2(a>b) | delete b a; fetch b a
a>b; said a>b; said b>a; said a>b | deliver 1 2; deliver 2 3
group abc; said a>g; said b>g; said c>g ! | deliver 1 2; deliver 2 3
group abcd; queued a>g; queued b>g | fan-out 1; fan-out 2
group abc; queued a>g; queued b>g !; queued c>g | fan-out 1 2; fan-out 3 2
group abc; queued a>g; said b>g | fan-out 1; deliver 2; fan-out
group abc | a>g; b>g
group ab; a>g | join c; b>g; deliver
group ab | join c; c>g; a>g
group ab shown; a>g | join c; b>g; deliver
group abc; a>g; said b>g | join d; deliver 1; fan-out; fan-out
group abcd; a>g; said b>g | leave d; deliver 1; fan-out; fan-out
group abcd; a>g; said b>g | leave d; join d; deliver 1; fan-out; fan-out
group abc; a>g; queued b>g | leave c; join c; fan-out 1
group abc; queued b>g; leave c | join c; b>g; fan-out 1
group abc; queued c>g | leave b; fan-out 1
group abc | leave b; a>g; deliver
group ab; a>g | leave b; ack b g
group ab; a>g | leave b; delete b g
group ab | join c; leave c
group abc; a>g | join c; leave c
group ab; a>g | join c; join c
group ab | join c; join c; a>g
group abc; leave c | join c; join c; leave c; a>g
group ab | join c; join d
group ab | leave b; leave b
group abcd | join e; b>g
group abcd; said b>g | join e; deliver 1; fan-out of 2
group abcd | join e; b>g; deliver; fan-out of 2
group abcd; queued b>g | join e; fan-out 1
group abcd | join e; join f
group abc | join d; join ef
group abc; said b>g | join d; join ef; deliver 1
group abcd | join e; leave b
group abcd | join e; leave b; join b
group abcd; a>g | join e; ack b g
""".strip().splitlines()

# Each answer and each conversation has a serial order of its own: a batch is one append per target, of which rivals may be first in one
# and second in another; and who looks is told of marks as they were then, so that two may both find a message unread, or a member there.
APART = {"| a>bc 5 same; a>bc 5 same; c>a", "| a>bc; a>cb", "2(a>b) | fetch b a; fetch b a", "group ab | leave b; leave b"}


class Appends(NamedTuple):
    """Sends that meet while faults strike; what a crash cut short is repeated by nobody. `races`: as many are lost before a refusal."""

    case: str
    crashes: int = 0
    lost: int = 0
    races: int = 12


APPENDS = [
    Appends("| a>b 5 same; a>b 5 same", 2, 2),
    Appends("| a>b 5 same; a>b 5 same; b>a", 1, 1),
    Appends("| a>b 5 same; b>a; b>a", 1, 1),
    Appends("| a>b 5 same; a>b 5 same; a>b 5 same; b>a"),
    *(Appends("| a>b 5 same; a>b 5 same; b>a", crashes, 1 - crashes, races) for crashes in (0, 1) for races in (1, 2)),
]
Outcome = dict[Hashable, Any]  # the answer of each operation, and what everybody sees of each conversation


class Stage:
    """What a case says. `idempotent`: every send has a `transaction_id`; `repeats`: what was cut short is asked for again."""

    def __init__(self, world: FastWorld, case: str, idempotent: bool = False, repeats: bool = True) -> None:
        self.world, self.idempotent, self.repeats = world, idempotent, repeats
        for user in USERS:
            world.user(number=user)
        self.numbers: dict[Hashable, dict[int, int]] = {}  # of each conversation: by what number each reader knows it
        self.logs: dict[str, list[Hashable]] = {}  # of each send, by the operation's name
        self._kept: list[list[dict[str, Any]]] = []  # records and jobs on their way
        self._taken = itertools.count(1)
        past, _, meeting = case.partition("|")
        for words in filter(None, map(str.strip, past.split(";"))):
            self._prepare(words)
        texts = [text.strip() for text in meeting.split(";")]
        # An operation that can be told from its twin by nothing is the same one, which halves the states.
        alike = {text: self.operation(text) for text in texts}
        self.operations = [self.operation(text) if repeats else alike[text] for text in texts]
        self.base = world.moment()

    def _prepare(self, words: str) -> None:
        kind, _, rest = words.partition(" ")
        if times := re.fullmatch(r"(\d)\((.+)\)", words):
            for _ in range(int(times[1])):
                self._prepare(times[2])
        elif kind == "group":
            members = [WHO[letter] for letter in rest.split()[0]]
            self.world.group(*members, number=GROUP, history_visible="shown" in rest)
            self.numbers[GROUP] = dict.fromkeys(USERS, GROUP)
        elif kind == "leave":
            self.operation(words).run()
        else:
            self.operation(rest if kind in ("said", "queued") else words).run()
            records = self.world.stream()
            if kind == "said":
                self._kept.append(records)
                return
            self.world.deliver(records)
            jobs = self.world.jobs()
            if kind == "queued":
                self._kept.append(jobs)
            else:
                self.world.fan_out(jobs)

    def operation(self, words: str) -> Operation:
        kind, *rest = words.split()
        name = f"{next(self._taken)}: {words}"
        named = getattr(self, f"_{kind.replace('-', '_')}", None)
        return Operation(name, named(*rest) if named else self._send(name, kind, *rest), self.repeats)

    def _deliver(self, *kept: str) -> Callable[[], Any]:
        records = [record for at in kept for record in self._kept[int(at) - 1]]
        return lambda: self.world.deliver(records if kept else take(self.world, "records"))

    def _fan_out(self, *kept: str) -> Callable[[], Any]:
        if kept and kept[0] != "of":
            jobs = [job for at in kept for job in self._kept[int(at) - 1]]
            return lambda: self.world.fan_out(jobs)
        return lambda: self.world.fan_out(take(self.world, "jobs", int(kept[1]) if kept else 1))

    def _ack(self, reader: str, number: str, msg_id: str = "0") -> Callable[[], Any]:
        return self._call("ack", self.world.token(WHO[reader]), query={"conversation_id": WHO[number], "msg_id": msg_id})

    def _delete(self, reader: str, number: str) -> Callable[[], Any]:
        return self._call("forget", self.world.token(WHO[reader]), query={"conversation_id": WHO[number]})

    def _fetch(self, reader: str, number: str) -> Callable[[], Any]:
        return self._call("history", self.world.token(WHO[reader]), query={"opposite_id": WHO[number]})

    def _join(self, users: str) -> Callable[[], Any]:
        return lambda: _told(lambda: self.world.join(GROUP, *(WHO[user] for user in users)))

    def _leave(self, users: str) -> Callable[[], Any]:
        return lambda: _told(lambda: self.world.leave(GROUP, *(WHO[user] for user in users)))

    def _send(self, name: str, whom: str, *how: str) -> Callable[[], Any]:
        sender, targets = WHO[whom[0]], [WHO[letter] for letter in whom[2:]]
        transaction = next((int(each) for each in how if each.isdigit()), int(name.partition(":")[0]) + 100 if self.idempotent else None)
        body = {
            "type": 2 if GROUP in targets else 1,
            "targets": targets,
            "content": "same" if "same" in how else name,
            "content_type": rules.COMMAND if "!" in how else rules.TEXT,
            "transaction_id": transaction,
        }
        self.logs[name] = [self._log(sender, target) for target in targets]
        if whom[1] == "~":
            return self._call("notify", self.world.admin(), body=body | ({"from_user_id": sender} if sender else {}))
        return self._call("send", self.world.token(sender), body=body)

    def _call(self, endpoint: str, token: str, **request: Any) -> Callable[[], Any]:
        verb, path = next(route for route, name in ENDPOINTS.items() if name == endpoint)

        def run() -> Any:
            envelope = json.loads(self.world.http(verb, path, token, **request)["body"])
            return {part: envelope[part] for part in ("code", "data", "msg_ids") if part in envelope}

        return run

    def _log(self, sender: int, target: int) -> Hashable:
        if target == GROUP:
            return GROUP
        log: Hashable = keys.between("demo", sender, target).key if sender else keys.system("demo", target).key
        self.numbers[log] = {target: sender, sender: target} if sender else {target: 0}
        return log

    # --- what comes out

    def outcome(self, state: State) -> Outcome:
        """What was answered, and what everybody sees once everything is delivered; and what after one more message to everybody."""
        world, outcome = self.world, Outcome()
        for tale, answer in zip(state.tales, state.answers, strict=True):
            name = tale.operation.name
            assert not (answer and answer.caught), answer
            if answer is None or "batchItemFailures" in answer.value:
                assert answer is None or answer.value == {"batchItemFailures": []}
                continue
            outcome[name] = value = dict(answer.value)
            if name in self.logs:
                msg_ids = value.pop("msg_ids", [None] * len(self.logs[name]))
                outcome |= {(log, name): msg_id for log, msg_id in zip(self.logs[name], msg_ids, strict=True)}
        world.restore(state.moment)
        world.nonces = itertools.count(10**9)
        self._look(outcome, "seen")
        for log, numbers in self.numbers.items():
            somebody, number = next(iter(numbers.items()))
            body = {"type": 2 if log == GROUP else 1, "targets": [number or somebody], "content": f"one more in {log}"}
            path, token = ("send", world.token(somebody)) if number else ("notify", world.admin())
            world.call("POST", f"/message/{path}", token, body=body)
        self._look(outcome, "seen after one more")
        return outcome

    def _look(self, outcome: Outcome, name: str) -> None:
        self.world.drain()
        lists = {user: self.world.unread(user) for user in USERS}
        before = self.world.moment()
        for log, numbers in self.numbers.items():
            for reader, number in numbers.items():
                row = self.world.row(reader, number) or {}
                num = lists[reader].pop(number, None)
                self.world.restore(before)  # fetching moves a mark
                envelope = self._call("history", self.world.token(reader), query={"opposite_id": number})()
                messages = envelope["data"]["messages"] if envelope["data"] else None
                read = max(row.get("read_seq", 0), row.get("join_seq", 0))
                unread = [each for each in messages or [] if each["msg_id"] > read and each["from_xid"]["uid"] != reader]
                recount = sum(each["ctype"] != "COMMAND" for each in unread) if messages else None
                assert num == recount, f"miscounted: user {reader} is told {num} of {log}, a recount says {recount}"
                seen = messages and [(each["msg_id"], each["from_xid"]["uid"], each["content"], each["status"]) for each in messages]
                marks = [_read(reader, row.get("read_seq", 0), messages or []), *(row.get(mark, 0) for mark in MARKS)]
                outcome[log, name, reader] = num, envelope["code"], seen, marks
        self.world.restore(before)
        assert not any(lists.values()), f"unknown conversations in a list: {lists}"


def _read(reader: int, mark: int, messages: list[dict[str, Any]]) -> int:
    """A read mark, as far as it can be told: before one's own messages it says the same as after them."""
    own = {message["msg_id"] for message in messages if message["from_xid"]["uid"] == reader}
    return next(seq for seq in itertools.count(mark) if seq + 1 not in own)


def _told(run: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"code": Code.OK, "data": run()}
    except ApiError as refused:
        return {"code": refused.code}


def _way(state: State) -> str:
    return f"{', '.join(state.path)}; PARLEY_SEED={SEED}"


def require_once(stage: Stage, state: State) -> None:
    """No hole, what has a `transaction_id` not twice, and what was answered is where the answer says."""
    assert not stage.world.broken, f"{stage.world.broken} after {_way(state)}"
    logs: dict[str, list[tuple[int, str, bool]]] = {}
    for (conversation, number), item in state.moment.aws.tables["Messages"].items():
        once = "#" in item["written_by"]["S"]  # the key of a reservation, not a nonce
        logs.setdefault(conversation, []).append((number, item["content"]["S"], once))
    for there in logs.values():
        assert sorted(number for number, *_ in there) == list(range(1, len(there) + 1)), f"a hole: {there} after {_way(state)}"
        contents = [content for _, content, once in there if once]
        assert len(set(contents)) == len(contents), f"doubled: {there} after {_way(state)}"
    for tale, answer in zip(state.tales, state.answers, strict=True):
        name, told = tale.operation.name, answer.value if answer else None
        for log, number in zip(stage.logs.get(name, ()), (told or {}).get("msg_ids", ()), strict=False):
            there = logs.get(str(keys.group("demo", GROUP).key if log == GROUP else log), [])
            content = "same" if "same" in name.split() else name
            assert (number, content) in [each[:2] for each in there], f"lost: {name} was told {number}: {there} after {_way(state)}"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[FastWorld]:
    monkeypatch.setattr(deliver, "MEMBERS_PER_JOB", MEMBERS_PER_JOB)
    with fast_world(PUSH_LIMIT_MEMBERS=str(PUSH_LIMIT)) as world:
        yield world


class Run:
    """Of a case: every interleaving, or a sample of them, held to the serial orders."""

    def __init__(self, world: FastWorld, case: str, crashes: int) -> None:
        self.stage = Stage(world, case, idempotent=crashes > 0)  # else a send may be stored once per attempt
        self.apart, self.crashes = case in APART, crashes
        self.interleavings = self.states = 0
        self._outcomes: dict[Hashable, Outcome] = {}
        self._found_serial: set[int] = set()  # of these, by identity

    def both_ways(self, rng: random.Random) -> None:
        for self.stage.world.backwards in (False, True):
            self._run(rng)

    def _run(self, rng: random.Random) -> None:
        stage, operations = self.stage, self.stage.operations
        self._all = Interleavings(stage.world, stage.base, operations, self.crashes)
        # An attempt that nobody was told of may count as one of its own.
        orders = [[*operations, again] for again in operations] if self.crashes else [operations]
        self._serial = [self._outcome(state) for order in orders for state in Interleavings(stage.world, stage.base, order).serial()]
        limit, size = (CRASHED_STATES, CRASHED_SAMPLE) if self.crashes else (STATES, SAMPLE)
        try:
            interleavings, states = self._all.explore(self._visit, self._require_serial, limit)
        except TooMany:
            interleavings, states = size, 0
            self._all.sample(rng, size, self._visit, self._require_serial)
        self.interleavings, self.states = self.interleavings + interleavings, self.states + states

    def _visit(self, state: State) -> None:
        require_once(self.stage, state)

    def _outcome(self, state: State) -> Outcome:
        stored = self._all.stored(state.moment), repr(state.answers)
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
            groups.setdefault(self.apart and about, []).append(part)
        for some in groups.values():
            differences = [[(part, outcome[part], order[part]) for part in some if outcome[part] != order[part]] for order in self._serial]
            assert [] in differences, f"no serial order shows {min(differences, key=len)} after {_way(state)}"
        self._found_serial.add(id(outcome))

    @cached_property
    def _names(self) -> set[str]:
        return {operation.name for operation in self.stage.operations}


@pytest.mark.parametrize("crashes", [0, 1], ids=["undisturbed", "with a crash"])
@pytest.mark.parametrize("case", CASES)
def test_every_outcome_is_that_of_some_serial_order(
    world: FastWorld, case: str, crashes: int, record_property: Callable[[str, int], None]
) -> None:
    run = Run(world, case, crashes)
    run.both_ways(random.Random(f"{SEED} {case}"))
    record_property("interleavings of operations", run.interleavings)
    record_property("states of operations", run.states)


@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("appends", APPENDS, ids=lambda appends: "-".join(map(str, appends)))
def test_every_interleaving_stores_a_message_once(
    world: FastWorld, monkeypatch: pytest.MonkeyPatch, appends: Appends, backwards: bool, record_property: Callable[[str, int], None]
) -> None:
    """Who loses too many races is refused, which removes the reservation, and asks again; so do the others."""
    monkeypatch.setattr("messaging.conversations.log.APPEND_ATTEMPTS", appends.races)
    world.backwards = backwards
    interleavings, states = appended(world, appends)
    assert interleavings > states > 1
    record_property("interleavings of appends", interleavings)
    record_property("states of appends", states)


def appended(world: FastWorld, appends: Appends) -> tuple[int, int]:
    """Checks every state to which these appends can lead; how many interleavings and how many states there are."""
    stage = Stage(world, appends.case, repeats=False)
    every = Interleavings(world, stage.base, stage.operations, appends.crashes, appends.lost)
    return every.explore(lambda state: require_once(stage, state), lambda state: None)


# --- what the test is good for


def without_conditions(place: store.Ref, _: rules.Marks, moved: dict[str, Any], others: dict[str, int], *__: Any, **___: Any) -> Any:
    return store.update(place, {**moved, **others}, "attribute_exists(reader) OR attribute_not_exists(reader)")


def listing_first(conversation: keys.Conversation, user: int, now_ms: int) -> None:
    store.update(inbox.ref(conversation.app_id, user, conversation.low), {"left_at": now_ms}, inbox.BELONGS)
    listing = {"entity": keys.entity(conversation.app_id, conversation.low), "facet": keys.member(user)}
    store.dynamodb().delete_item(TableName="Directory", Key=store.pack(listing))


LEFT_OUT: dict[str, tuple[str, Any, str, str]] = {  # what is put in the place of what, where it is found, and how it shows
    "the conditions of marks": (
        "messaging.conversations.inbox._move",
        without_conditions,
        "3(a>b) | ack b a 1; ack b a 2",
        "moved back",
    ),
    "the condition of belonging": (
        "messaging.conversations.inbox.BELONGS",
        "attribute_exists(reader)",
        "group abc; queued c>g | leave b; fan-out 1",
        "after leaving",
    ),
    "the second look of a join": (
        "messaging.conversations.membership.inbox.advance",
        lambda *_: True,
        "group ab; a>g | join c; b>g; deliver",
        "miscounted",
    ),
    "the order of leaving": (
        "messaging.conversations.membership.end",
        listing_first,
        "group abc; a>g | join c; leave c",
        "miscounted",
    ),
    "the flags of a crossing": (
        "messaging.conversations.membership._flag_rows",
        lambda *_: None,
        "group abcd | join e; b>g",
        "miscounted",
    ),
    "the condition of moving a reservation": (
        "messaging.conversations.dedup.relocate",
        lambda request, digest, target, old, new: new,
        "| a>b 5 same; a>b 5 same; b>a",
        "doubled|lost",
    ),
    "the condition of a reservation": (
        "messaging.conversations.dedup.reserve",
        lambda request, digest, slots, now_ms: None,
        "| a>b 5; a>b 5",
        "serial|lost|doubled",
    ),
}


@pytest.mark.parametrize("left_out", LEFT_OUT)
def test_a_step_that_was_left_out_is_found(world: FastWorld, monkeypatch: pytest.MonkeyPatch, left_out: str) -> None:
    target, instead, case, shows = LEFT_OUT[left_out]
    run = Run(world, case, 0)
    monkeypatch.setattr(target, instead)
    with pytest.raises(AssertionError, match=shows):
        run.both_ways(random.Random(SEED))

"""Eight clients at once over HTTP, some impatient, while containers are killed: afterwards everything that was answered is there, once.

`PARLEY_SOAK_SECONDS` says for how long (60), `PARLEY_SOAK_SEED` with which choices of the clients. What happened is left in
`last-soak.json` beside `parley.json`.
"""

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import combinations
from random import Random
from threading import Event
from typing import Any

import boto3
import pytest

from messaging.base import keys
from messaging.base.keys import Conversation
from messaging.conversations import inbox, log, membership, rules
from messaging.conversations.rules import Marks
from ops import stack
from tests.checker import Seen, View, violations
from tests.clients import APP, FIGURES, Client
from tests.e2e import containers
from tests.e2e.conftest import Api, Person

Make = Callable[[int], list[Person]]
Rows = dict[int, dict[int, Marks]]  # reader → conversation → marks

CLIENTS = 8
DELETING = 2  # clients that also delete conversations
ROUND_S = 300.0  # a longer run is made of rounds, each with new users, and checked after each
KILL_S = (2.0, 4.0)  # between two kills
STARTED_S = 10.0  # after which a container has surely started: one that dies before takes all others of its function along, here
LOOKS = 20  # for a container that is at work, before an idle one is killed
WATCH_S = 0.5  # between two looks at the stored marks
VISIBILITY_S = 5  # of a job whose container was killed, instead of minutes
DELIVERED_S = 600.0  # until everything is delivered, after the last client has ended
SHOWN = 30  # violations
READS = 5  # attempts to read everything while nothing moves: what a client no longer waits for may still be done


@dataclass
class Round:
    """Users and groups that nobody else knows, and the clients that play them."""

    people: list[Person]
    groups: dict[int, list[int]]  # group → members
    clients: list[Client]

    @property
    def conversations(self) -> list[Conversation]:
        users = sorted(person.user_id for person in self.people)
        pairs = [keys.between(APP, one, other) for one, other in combinations(users, 2)]
        return [*pairs, *(keys.group(APP, group) for group in self.groups), *(keys.system(APP, user) for user in users)]

    def readers(self, conversation: Conversation) -> tuple[int, ...]:
        return conversation.users() or tuple(self.groups[conversation.low])

    def tips(self) -> dict[str, int]:
        return {conversation.key: log.tip(conversation, 0).msg_id for conversation in self.conversations}

    def rows(self) -> Rows:
        found = {person.user_id: inbox.rows(APP, person.user_id) for person in self.people}
        return {reader: {row["conversation"]: rules.marks_of(row) for row in rows} for reader, rows in found.items()}


@dataclass
class Disturbance:
    """Kills a container every few seconds, and watches the stored marks, which only ever grow."""

    round: Round
    random: Random
    kills: int = 0
    wrong: list[str] = field(default_factory=list)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        over = Event()
        with ThreadPoolExecutor(2) as pool:
            at_work = [pool.submit(work, over) for work in (self._kill, self._watch)]
            try:
                yield
            finally:
                over.set()
        for future in at_work:
            future.result()

    def _kill(self, over: Event) -> None:
        since: dict[int, float] = {}
        while not over.wait(self.random.uniform(*KILL_S)):
            for _ in range(LOOKS):
                there, now = containers.running(), time.monotonic()
                since = {pid: since.get(pid, now) for pid in there}
                started = [pid for pid in there if now - since[pid] > STARTED_S]
                at_work = [pid for pid in started if there[pid]]
                if at_work:
                    break
            if started:
                self.kills += containers.kill(self.random.choice(at_work or started))

    def _watch(self, over: Event) -> None:
        before: Rows = {}
        while not over.wait(WATCH_S):
            now = self.round.rows()
            for reader, rows in before.items():
                for number, marks in rows.items():
                    after = now[reader].get(number, Marks())
                    if moved_back(marks, after):
                        self.wrong.append(f"moved back: user {reader} in {number} from {marks} to {after}")
            before = now


def moved_back(before: Marks, after: Marks) -> bool:
    return any(getattr(after, name) < getattr(before, name) for name in Marks.__slots__)


@pytest.fixture
def jobs_come_back_soon(api: Api) -> Iterator[Callable[[], bool]]:
    """A job that died with its container is seen again in this run, not minutes later; returns whether the queue is empty."""
    sqs, queue = boto3.client("sqs"), stack.read_outputs(api.info["stack"])["FanoutQueueUrl"]
    usual = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": str(VISIBILITY_S)})

    def idle() -> bool:
        there = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
        return there["ApproximateNumberOfMessages"] == there["ApproximateNumberOfMessagesNotVisible"] == "0"

    yield idle
    sqs.set_queue_attributes(QueueUrl=queue, Attributes=usual)


def test_clients_that_give_up_and_containers_that_die_leave_a_good_history(
    api: Api, people: Make, jobs_come_back_soon: Callable[[], bool], record_property: Callable[[str, object], None]
) -> None:
    seconds = float(os.environ.get("PARLEY_SOAK_SECONDS", "60"))
    seed = os.environ.get("PARLEY_SOAK_SEED") or str(time.time_ns())
    random, figures, wrong = Random(seed), Counter[str](), list[str]()
    left = seconds
    while left > 0 and not wrong:
        round_ = new_round(api, people, random)
        disturbance = Disturbance(round_, random)
        until = time.monotonic() + min(left, ROUND_S)
        with disturbance(), ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda client: client.run(until), round_.clients))  # noqa: B023
        views = everything(api, round_, jobs_come_back_soon, random)
        asks = [ask for client in round_.clients for ask in client.asks]
        wrong += [what for client in round_.clients for what in client.wrong] + disturbance.wrong
        wrong += [*violations(asks, views), *forgotten(round_.clients, round_.rows())]
        for client in round_.clients:
            figures += client.figures
        figures.update(sends=len(asks), kills=disturbance.kills, messages=sum(round_.tips().values()), views=len(views))
        left -= ROUND_S
    record(seconds, seed, figures, wrong)
    for name, number in figures.items():
        record_property(f"over HTTP: {name}", number)
    assert not wrong, "\n".join([f"PARLEY_SOAK_SEED={seed}", *wrong[:SHOWN]])
    assert figures["kills"] >= (seconds - 2 * STARTED_S) / (2 * KILL_S[1])
    assert figures["answered"] > figures["sends"] / 2


def new_round(api: Api, people: Make, random: Random) -> Round:
    crowd = people(CLIENTS)
    users, now_ms = [person.user_id for person in crowd], time.time_ns() // 1_000_000
    memberships = [users, users[: CLIENTS // 2]]
    made = {membership.create(APP, members[0], members, False, now_ms, None, lambda done: None): members for members in memberships}
    clients = [
        Client(
            url=api.info["api_url"],
            user_id=person.user_id,
            token=person.token,
            admin_token=api.app(APP)["admin_token"],
            users=[user for user in users if user != person.user_id],
            groups=[group for group, members in made.items() if person.user_id in members],
            random=Random(random.random()),
            deletes=at < DELETING,
        )
        for at, person in enumerate(crowd)
    ]
    return Round(crowd, made, clients)


def everything(api: Api, round_: Round, idle: Callable[[], bool], random: Random) -> list[View]:
    """What each reader sees of each conversation, read through while nothing moves."""
    for _ in range(READS):
        deadline = time.monotonic() + DELIVERED_S
        while True:
            tips, rows = round_.tips(), round_.rows()
            if (idle() and delivered(round_, tips, rows)) or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        with ThreadPoolExecutor(4) as pool:
            read = [pool.submit(views_of, api, round_, person, rows, Random(random.random())) for person in round_.people]
            views = [view for future in read for view in future.result()]
        if (round_.tips(), standing(round_.rows())) == (tips, standing(rows)):
            return views
    pytest.fail(f"messages still come {READS * DELIVERED_S:.0f} s after the last client has ended")


def delivered(round_: Round, tips: dict[str, int], rows: Rows) -> bool:
    return all(
        rows[reader].get(conversation.number_for(reader), Marks()).last_seq == tips[conversation.key]
        for conversation in round_.conversations
        for reader in round_.readers(conversation)
    )


def standing(rows: Rows) -> dict[int, dict[int, tuple[int, ...]]]:
    """The marks that reading leaves as they are."""
    return {
        reader: {number: (marks.last_seq, marks.read_seq, marks.skip_seq, marks.cut_seq) for number, marks in each.items()}
        for reader, each in rows.items()
    }


def views_of(api: Api, round_: Round, person: Person, rows: Rows, random: Random) -> list[View]:
    listed = unread(api, person, random.choice([1, 3, 100]))
    views = []
    for conversation in round_.conversations:
        if person.user_id in round_.readers(conversation):
            number = conversation.number_for(person.user_id)
            marks = rows[person.user_id].get(number, Marks())
            found = list(pages(api, person, number, random.choice([7, 20, 33, 100] if marks.last_seq > 40 else [1, 2, 5])))
            after = max(marks.cut_seq, marks.join_seq)
            views.append(View(conversation.key, person.user_id, found, listed.pop(number, None), marks.read_seq, after))
    assert not listed, f"user {person.user_id} is listed conversations that are not theirs: {listed}"
    return views


def unread(api: Api, person: Person, limit: int) -> dict[int, int]:
    """The whole list, page by page."""
    listed: list[tuple[int, int]] = []
    query: dict[str, Any] = {"limit": limit}
    while True:
        page = api.call("GET", "/message/unread", person.token, query=query)
        listed += [(entry["conversation_id"]["uid"], entry["num"]) for entry in page["data"]]
        if page["next_cursor"] is None:
            assert len(dict(listed)) == len(listed), listed
            return dict(listed)
        query["cursor"] = page["next_cursor"]


def pages(api: Api, person: Person, number: int, limit: int) -> Iterator[list[Seen]]:
    start = 0
    while True:
        query = {"opposite_id": number, "msg_id_start": start, "limit": limit}
        page = api.call("GET", "/message/conversation", person.token, query=query)["data"]
        yield [
            Seen(message["msg_id"], message["from_xid"]["uid"], message["content"], message["ctype"] != "COMMAND")
            for message in page["messages"]
        ]
        if page["is_last"]:
            return
        start = page["next_msg_id"]


def forgotten(clients: list[Client], rows: Rows) -> Iterator[str]:
    """Acknowledgements and deletes that were answered with 200 and are not in the marks."""
    for client in clients:
        marks = defaultdict(Marks, rows[client.user_id])
        for number, upto in client.acked.items():
            if upto > marks[number].read_seq:
                yield f"forgotten: user {client.user_id} has read {number} up to {upto}"
        for number, upto in client.cut.items():
            if upto > marks[number].cut_seq:
                yield f"forgotten: user {client.user_id} has deleted {number} up to {upto}"


def record(seconds: float, seed: str, figures: Counter[str], wrong: list[str]) -> None:
    told = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": seconds, "clients": CLIENTS, "seed": seed}
    told |= {name: figures[name] for name in ("sends", *FIGURES, "kills", "messages", "views")} | {"violations": len(wrong)}
    (stack.home() / "last-soak.json").write_text(json.dumps(told, indent=2) + "\n")
    print("\n" + ", ".join(f"{name} {value}" for name, value in told.items()))  # noqa: T201

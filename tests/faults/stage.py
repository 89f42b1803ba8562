"""A small Parley with a past, and what its users see of it: the stage on which single faults and pairs of faults are enumerated."""

import itertools
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from messaging.base import store
from messaging.conversations import rules
from messaging.people import directory
from messaging.people.models import USER
from tests.checker import Ask, Seen, View, violations
from tests.fast_world import FastWorld, Moment, fast_world
from tests.world import APP

PUSH_LIMIT = 3  # members; the larger of the two groups is read by its head
PAGE = 2  # messages, so that every history has several pages


@dataclass
class Stage:
    """Four users; a group that is written member by member and one that is read by its head; a past that some have read."""

    world: FastWorld
    alice: int = 0
    bob: int = 0
    carol: int = 0
    dave: int = 0
    small: int = 0
    large: int = 0
    past: tuple[Ask, ...] = ()
    tokens: dict[int, str] = field(default_factory=dict)
    admin: str = ""
    sound: set[str] = field(default_factory=set)  # states at the end in which nothing was wrong

    def __post_init__(self) -> None:
        world = self.world
        self.alice, self.bob, self.carol, self.dave = (world.user(name) for name in ("alice", "bob", "carol", "dave"))
        self.small = world.group(self.alice, self.bob, self.carol)
        self.large = world.group(self.alice, self.bob, self.carol, self.dave)
        self.tokens = {user: world.token(user, USER, lives_s=10**7) for user in self.users}
        self.admin = world.admin()
        pairs = ((self.alice, self.bob), (self.bob, self.alice), (self.alice, self.small), (self.bob, self.large), (self.alice, self.large))
        past = [self.say(sender, target, f"past {sender} to {target}") for sender, target in pairs]
        world.drain()
        world.ack(self.bob, self.alice)
        world.ack(self.carol, self.small)
        past.append(self.say(self.carol, self.bob, "deleted"))
        world.drain()
        world.forget(self.bob, self.carol)
        past.append(self.say(self.carol, self.bob, "after the deletion"))
        world.drain()
        past.append(self.say(self.alice, self.bob, "on its way"))  # in the log, not delivered yet
        self.past, self.start = tuple(past), world.moment()

    @property
    def users(self) -> tuple[int, ...]:
        return self.alice, self.bob, self.carol, self.dave

    def log(self, one: int, other: int) -> Hashable:
        """The conversation's name in the checker's books."""
        return (other,) if other in (self.small, self.large) else (min(one, other), max(one, other))

    def say(self, sender: int, target: int, content: str, **fields: Any) -> Ask:
        """A message without any fault."""
        group = target in (self.small, self.large)
        numbers = self.world.send(sender, [target], type=2 if group else 1, content=content, **fields)
        return Ask(content, (self.log(sender, target),), [tuple(numbers)], idempotent=False)

    def begin(self, moment: Moment) -> None:
        """Everything as it was then; what is called by chance is called the same in every schedule."""
        self.world.restore(moment)
        self.world.nonces = itertools.count(len(moment.aws.records) * 1000)
        self.world.injector = None
        self.world.caught.clear()
        self.world.broken.clear()

    def views(self) -> Iterator[View]:
        """What every user sees of every conversation, through the API, page by page."""
        for user in self.users:
            listed = self.world.unread(user)
            rows = {row["conversation"]: row for row in self.world.rows("Inbox") if row["reader"] == f"{APP}#{user}"}
            groups = [self.small, self.large] if user != self.dave else [self.large]
            for number in [*self.users, *groups, 0]:
                row = rows.get(number, {})
                marks = rules.marks_of(row)
                head = rules.marks_of(store.get(directory.ref(APP, number)) or {}) if row.get("by_head") else marks
                yield View(
                    log=self.log(user, number) if number else ("system", user),
                    reader=user,
                    pages=list(self.pages(user, number)),
                    num=listed.pop(number, None),
                    read=marks.read_seq,
                    after=max(marks.cut_seq, marks.join_seq),
                    delivered=max(marks.last_seq, head.last_seq),
                )
            assert listed == {}, f"user {user} has conversations of strangers: {listed}"

    def pages(self, user: int, number: int) -> Iterator[list[Seen]]:
        start = 0
        while True:
            event = {"app_id": APP, "user_id": user, "query": {"opposite_id": number, "msg_id_start": start, "limit": PAGE}}
            reply = self.world.direct("history", event)
            assert reply["code"] == 200, reply
            page = reply["data"]
            yield [Seen(each["msg_id"], each["from_xid"]["uid"], each["content"], each["ctype"] != "COMMAND") for each in page["messages"]]
            if page["is_last"]:
                return
            start = page["next_msg_id"]

    def require_sound(self, asks: list[Ask]) -> None:
        """Everything has arrived, and nothing is wrong. Most schedules end alike: what was looked at once is not looked at again."""
        found = self.world.broken + [caught for caught in self.world.caught if caught.startswith("unexpected")]
        tables = self.world.aws.tables
        state = repr(([sorted((place, sorted(item.items())) for place, item in tables[name].items()) for name in tables], asks))
        if state not in self.sound:
            found += violations([*self.past, *asks], list(self.views()))
        assert not found, "\n".join(found)
        self.sound.add(state)


@contextmanager
def stage() -> Iterator[Stage]:
    with fast_world(PUSH_LIMIT_MEMBERS=str(PUSH_LIMIT)) as world:
        yield Stage(world)

"""Random histories over the real handlers, held to a small model: the log, and where each user has read, deleted and joined.

Records and jobs are delivered up to three times, in any order, merged or late. Once everything has arrived, every user's list, unread
numbers and histories are what the model says.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from messaging.base import settings
from messaging.base.errors import Code
from messaging.conversations import rules
from tests.world import World

SEEDS = range(3)
STEPS = 70
USERS = 4
PUSH_LIMIT = 3  # members; the larger of the two groups crosses it on the way


class Sent(NamedTuple):
    sender: int
    command: bool
    content: str


@dataclass
class Seen:
    """How far one user is in one conversation."""

    read: int = 0
    cut: int = 0
    joined: int = 0
    belongs: bool = True


@dataclass
class Model:
    """What there is to be seen, by a conversation's name: two users, or a group."""

    logs: dict[tuple[int, ...], list[Sent]] = field(default_factory=dict)
    seen: dict[tuple[int, tuple[int, ...]], Seen] = field(default_factory=dict)

    def log(self, name: tuple[int, ...]) -> list[Sent]:
        return self.logs.setdefault(name, [])

    def of(self, user: int, name: tuple[int, ...]) -> Seen:
        return self.seen.setdefault((user, name), Seen(belongs=len(name) == 2))

    def visible(self, user: int, name: tuple[int, ...]) -> list[tuple[int, Sent]]:
        at = self.of(user, name)
        after = max(at.cut, at.joined)
        return list(enumerate(self.log(name), 1))[after:] if at.belongs else []

    def num(self, user: int, name: tuple[int, ...]) -> int:
        read = self.of(user, name).read
        return sum(1 for seq, sent in self.visible(user, name) if seq > read and sent.sender != user and not sent.command)


class Story:
    """One history: what happens in the world happens in the model."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world, self.rng, self.model = world, rng, Model()
        self.users = [world.user(f"user {number}") for number in range(USERS)]
        self.groups = [self.new_group(2), self.new_group(3)]
        self.records: list[dict[str, Any]] = []  # each to be delivered once more at least
        self.jobs: list[dict[str, Any]] = []
        self.sent = 0

    def new_group(self, size: int) -> int:
        members = self.users[:size]
        group = self.world.group(*members)
        for member in members:
            self.model.seen[member, (group,)] = Seen()
        return group

    # --- what users do

    def send(self) -> None:
        sender, *targets = self.rng.sample(self.users, self.rng.choice((2, 2, 3)))
        if self.rng.random() < 0.1:
            targets = [sender]
        names = [self.between(sender, target) for target in targets]
        self.post(sender, targets, names, type=1)

    def say(self) -> None:
        sender, group = self.rng.choice(self.users), self.rng.choice(self.groups)
        if self.model.of(sender, (group,)).belongs:
            self.post(sender, [group], [(group,)], type=2)
        else:
            assert self.world.post(sender, [group], type=2)["code"] == Code.NOT_A_MEMBER

    def post(self, sender: int, targets: list[int], names: list[tuple[int, ...]], **fields: Any) -> None:
        self.sent += 1
        message = Sent(sender, self.rng.random() < 0.2, f"message {self.sent}")
        content_type = rules.COMMAND if message.command else rules.TEXT
        transaction_id = self.sent if self.rng.random() < 0.5 else None
        for _ in range(self.rng.choice((1, 2)) if transaction_id else 1):
            msg_ids = self.world.send(
                sender, targets, content=message.content, content_type=content_type, transaction_id=transaction_id, **fields
            )
        for name, msg_id in zip(names, msg_ids, strict=True):
            self.model.log(name).append(message)
            assert msg_id == len(self.model.log(name))

    def acknowledge(self) -> None:
        user, number, name = self.any_conversation()
        at, there = self.model.of(user, name), len(self.model.log(name))
        msg_id = self.rng.randint(0, there + 1)
        code = (self.world.ack(user, number, msg_id=msg_id) if msg_id else self.world.ack(user, number))["code"]
        if not at.belongs:
            assert code == Code.NOT_A_MEMBER
        elif msg_id > there:
            assert code == Code.UNKNOWN_MESSAGE
        else:
            assert code == 200
            at.read = max(at.read, msg_id or there)

    def delete(self) -> None:
        user, number, name = self.any_conversation()
        at, there = self.model.of(user, name), len(self.model.log(name))
        code = self.world.forget(user, number)["code"]
        assert code == (200 if at.belongs else Code.NOT_A_MEMBER)
        if at.belongs:
            at.cut, at.read = there, max(at.read, there)

    def read(self) -> None:
        user, number, name = self.any_conversation()
        if self.model.of(user, name).belongs:
            self.require_history(user, number, name)

    def join(self) -> None:
        user, group = self.rng.choice(self.users), self.rng.choice(self.groups)
        at = self.model.of(user, (group,))
        assert self.world.join(group, user) == ([] if at.belongs else [user])
        if not at.belongs:
            at.belongs, at.joined = True, len(self.model.log((group,)))

    def leave(self) -> None:
        user, group = self.rng.choice(self.users), self.rng.choice(self.groups)
        if self.model.of(user, (group,)).belongs:
            self.world.leave(group, user)
            self.model.of(user, (group,)).belongs = False

    def any_conversation(self) -> tuple[int, int, tuple[int, ...]]:
        """A user, and a conversation by the number and by the name."""
        user = self.rng.choice(self.users)
        number = self.rng.choice([*self.users, *self.groups])
        return user, number, (number,) if number in self.groups else self.between(user, number)

    @staticmethod
    def between(one: int, other: int) -> tuple[int, ...]:
        return min(one, other), max(one, other)

    # --- what the stream and the queue do

    def deliver(self) -> None:
        self.records += self.world.stream()
        batch = self.some(self.records)
        assert self.world.deliver(batch) == {"batchItemFailures": []}
        self.jobs += self.world.jobs()
        self.records = self.without(self.records, batch)

    def fan_out(self) -> None:
        batch = self.some(self.jobs)
        assert self.world.fan_out(batch) == {"batchItemFailures": []}
        self.jobs = self.without(self.jobs, batch)

    def some(self, pending: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return self.rng.sample(pending, self.rng.randint(0, len(pending)))

    def without(self, pending: list[dict[str, Any]], done: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One time in four, what was done comes again."""
        return pending if self.rng.random() < 0.25 else [each for each in pending if each not in done]

    # --- what comes out

    def require_history(self, user: int, number: int, name: tuple[int, ...]) -> None:
        limit, start, found = self.rng.randint(1, 7), 0, []
        while True:
            page = self.world.history(user, number, limit=limit, msg_id_start=start)
            found += [(message["msg_id"], message["content"]) for message in page["messages"]]
            start = page["next_msg_id"]
            if page["is_last"]:
                break
        assert found[::-1] == [(seq, sent.content) for seq, sent in self.model.visible(user, name)]

    def require_exact(self) -> None:
        for user in self.users:
            names = {other: self.between(user, other) for other in self.users} | {group: (group,) for group in self.groups}
            listed = {number: self.model.num(user, name) for number, name in names.items() if self.model.visible(user, name)}
            assert self.world.unread(user) == listed
            for number, name in names.items():
                if self.model.of(user, name).belongs:
                    self.require_history(user, number, name)

    def drain(self) -> None:
        self.records += self.world.stream()
        self.rng.shuffle(self.records)
        assert self.world.deliver(self.records) == {"batchItemFailures": []}
        self.jobs += self.world.jobs()
        self.rng.shuffle(self.jobs)
        assert self.world.fan_out(self.jobs) == {"batchItemFailures": []}


ACTIONS: dict[Callable[[Story], None], int] = {
    Story.send: 18,
    Story.say: 22,
    Story.acknowledge: 10,
    Story.delete: 4,
    Story.read: 4,
    Story.join: 7,
    Story.leave: 5,
    Story.deliver: 16,
    Story.fan_out: 14,
}


@pytest.mark.parametrize("seed", SEEDS)
def test_once_everything_has_arrived_every_list_number_and_history_is_exact(
    world: World, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setenv("PUSH_LIMIT_MEMBERS", str(PUSH_LIMIT))
    settings.settings.cache_clear()
    rng = random.Random(seed)
    story = Story(world, rng)
    for act in rng.choices(list(ACTIONS), list(ACTIONS.values()), k=STEPS):
        act(story)
    story.drain()
    story.require_exact()

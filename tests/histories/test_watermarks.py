"""The unread number derived from watermarks is a plain recount, however deliveries are merged, repeated, delayed or reordered.

Pure rules over random histories of one group: members send, acknowledge, delete, join and leave while fan-outs are under way; a join
is split into its store calls, so that messages slip in between.
"""

import random
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, NamedTuple

import pytest

from messaging.conversations import rules
from messaging.conversations.rules import COMMAND, TEXT, Marks, News, Skip, Tally

HISTORIES = 1500  # for each of the seeds
SEEDS = range(4)
STEPS = 60
MEMBERS = 4
OWN = 2  # messages of its member's that a row remembers
CHAINS = (8, 20, 24)  # the messages at which a chain of sums begins; what came before the first is of 0.1.0, and has none


class Sent(NamedTuple):
    sender: int
    command: bool


class Joining(NamedTuple):
    """A join under way: the newest number that it read, and whether it has made the row."""

    member: int
    tip: int
    entered: bool


@dataclass
class Group:
    """The log, the rows, and what is under way between them."""

    rng: random.Random
    log: list[Sent] = field(default_factory=list)
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)  # as they are stored
    gone: set[int] = field(default_factory=set)  # members whose row has ended
    floors: dict[int, int] = field(default_factory=dict)  # up to where each member knows to have read, deleted or not belonged
    jobs: list[News] = field(default_factory=list)
    joins: list[Joining] = field(default_factory=list)
    undelivered: list[int] = field(default_factory=list)

    def belongs(self, member: int) -> bool:
        return member in self.rows and member not in self.gone

    def marks(self, member: int) -> Marks:
        return rules.marks_of(self.rows[member])

    def move(self, member: int, **upto: int) -> None:
        self.rows[member] |= rules.ahead(upto, self.marks(member))

    def apply(self, member: int, news: News) -> None:
        if self.belongs(member):
            self.rows[member] |= rules.moves(news, self.marks(member))

    # --- what happens

    def send(self, member: int) -> None:
        if self.belongs(member):
            self.log.append(Sent(member, self.rng.random() < 0.2))
            self.undelivered.append(len(self.log))

    def deliver(self, member: int) -> None:
        """Some of the records, in any order, some of them not for the last time."""
        if not self.undelivered:
            return
        batch = self.rng.sample(self.undelivered, self.rng.randint(1, len(self.undelivered)))
        for sender in {self.log[seq - 1].sender for seq in batch}:
            self.apply(sender, self.news(batch, sender))
        self.jobs.append(self.news(batch, None))
        if self.rng.random() > 0.2:  # else the stream does not learn of it
            self.undelivered = [seq for seq in self.undelivered if seq not in batch]

    def news(self, batch: list[int], reader: int | None) -> News:
        commands = [self.skip(seq) for seq in batch if self.log[seq - 1].command and self.log[seq - 1].sender != reader]
        own = sorted(self.skip(seq) for seq in batch if self.log[seq - 1].sender == reader)
        skip, count_seq = rules.newest_skip(commands, 0)
        return News(max(batch), max(batch), skip, tuple(own), count_seq)

    def sum(self, upto: int) -> tuple[int | None, int]:
        """How many COMMANDs there are up to here of the chain, and its first message."""
        begun = [chain for chain in CHAINS if chain <= upto]
        return (sum(sent.command for sent in self.log[begun[-1] - 1 : upto]), begun[-1]) if begun else (None, 1)

    def skip(self, seq: int) -> Skip:
        return rules.skip_of(seq, COMMAND if self.log[seq - 1].command else TEXT, *self.sum(seq))

    def fan_out(self, member: int) -> None:
        """Some of the jobs, merged; a member whose write fails has them come again."""
        if not self.jobs:
            return
        picked = self.rng.sample(range(len(self.jobs)), self.rng.randint(1, len(self.jobs)))
        merged = reduce(News.merge, [self.jobs[at] for at in picked])
        for reader in self.rows:
            if self.rng.random() < 0.1:
                return
            self.apply(reader, merged)
        if self.rng.random() > 0.2:  # else the queue does not learn of it
            self.jobs = [job for at, job in enumerate(self.jobs) if at not in picked]

    def acknowledge(self, member: int) -> None:
        if self.belongs(member) and self.log:
            seq = self.rng.randint(1, len(self.log))
            self.move(member, read_seq=seq)
            self.floors[member] = max(self.floors[member], seq)

    def delete(self, member: int) -> None:
        if self.belongs(member):
            self.move(member, cut_seq=len(self.log), read_seq=len(self.log))
            self.floors[member] = max(self.floors[member], len(self.log))

    def leave(self, member: int) -> None:
        if self.belongs(member):
            self.gone.add(member)

    def join(self, member: int) -> None:
        if not self.belongs(member) and all(joining.member != member for joining in self.joins):
            self.joins.append(Joining(member, len(self.log), entered=False))

    def go_on_joining(self, member: int) -> None:
        if not self.joins:
            return
        joining = self.joins.pop(self.rng.randrange(len(self.joins)))
        if joining.entered:
            if len(self.log) > joining.tip:
                self.move(joining.member, last_seq=len(self.log), skip_seq=len(self.log), count_seq=len(self.log))
            return
        self.rows[joining.member] = {**self.rows.get(joining.member, {}), "join_seq": joining.tip, "last_seq": joining.tip}
        self.gone.discard(joining.member)
        self.floors[joining.member] = max(self.floors.get(joining.member, 0), joining.tip)
        self.joins.append(joining._replace(entered=True))

    def drain(self) -> None:
        while self.joins:
            self.go_on_joining(0)
        while self.undelivered:
            self.deliver(0)
        while self.jobs:
            self.fan_out(0)

    # --- what comes out

    def counted(self, member: int, after: int) -> int:
        return sum(1 for sent in self.log[after:] if sent.sender != member and not sent.command)

    def told(self, member: int) -> int:
        """By the row, with what the log says of the floor and of what has to be counted."""
        marks = self.marks(member)
        upto = max(marks.floor, marks.count_seq)
        skipped = upto - marks.floor - (self.counted(member, marks.floor) - self.counted(member, upto))
        number = rules.number(marks, Tally(marks.floor, marks.floor, upto, skipped, *self.sum(upto)))
        assert number is not None, f"not told for {member}: {marks}"
        return number

    def require_exact(self) -> None:
        for member in self.rows:
            if self.belongs(member):
                marks, recount = self.marks(member), self.counted(member, self.floors[member])
                assert self.counted(member, marks.floor) == recount, f"counting the log is wrong for {member}: {marks}"
                derived = rules.unread(marks)
                assert derived in (None, recount), f"subtracting is wrong for {member}: {marks} {derived} {recount}"
                assert self.told(member) == recount, f"subtracting is wrong for {member}: {marks} {self.told(member)} {recount}"


ACTIONS = {
    Group.send: 35,
    Group.deliver: 20,
    Group.fan_out: 15,
    Group.acknowledge: 10,
    Group.delete: 4,
    Group.leave: 4,
    Group.join: 6,
    Group.go_on_joining: 8,
}


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_OWN", OWN)


def play(rng: random.Random) -> Group:
    group = Group(rng)
    for act in rng.choices(list(ACTIONS), list(ACTIONS.values()), k=STEPS):
        act(group, rng.randrange(MEMBERS))
    group.drain()
    return group


def play_many() -> None:
    for seed in range(HISTORIES):
        play(random.Random(seed)).require_exact()


@pytest.mark.parametrize("seed", SEEDS)
def test_both_ways_of_counting_are_a_plain_recount(seed: int) -> None:
    rng = random.Random(seed)
    subtracted = 0
    for _ in range(HISTORIES):
        group = play(rng)
        group.require_exact()
        subtracted += sum(rules.unread(group.marks(member)) is not None for member in group.rows)
    assert subtracted > HISTORIES  # one subtraction is the usual way


@pytest.mark.parametrize("forgotten", ["skip_seq", "own", "last_seq"])
def test_a_mark_that_does_not_move_is_noticed(monkeypatch: pytest.MonkeyPatch, forgotten: str) -> None:
    whole = rules.moves

    def without(news: News, marks: Marks) -> dict[str, Any]:
        return {name: value for name, value in whole(news, marks).items() if name != forgotten}

    monkeypatch.setattr(rules, "moves", without)
    with pytest.raises(AssertionError, match="subtracting is wrong"):
        play_many()


def test_a_merge_that_forgets_the_older_jobs_command_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(News, "merge", lambda one, other: max(one, other, key=lambda news: news.last_seq))
    with pytest.raises(AssertionError, match="subtracting is wrong"):
        play_many()

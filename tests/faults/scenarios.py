"""Every writing path, as something that a client attempts and repeats while faults strike."""

import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import pytest

from messaging.base.errors import Code
from messaging.conversations import rules
from tests.checker import Ask
from tests.faults.stage import Stage
from tests.world import APP


class Scenario:
    """One path. `prepare` runs once; `begin` before each schedule; `attempt` may meet faults and says whether it was answered."""

    name: str

    def prepare(self, stage: Stage) -> None: ...

    def begin(self, stage: Stage) -> None:
        self.asks: list[Ask] = []

    def attempt(self, stage: Stage) -> bool:
        raise AssertionError(f"{self.name} has nothing to attempt")

    def rival(self, stage: Stage) -> None:
        """Somebody else does something that stands in the way, between two attempts."""

    def finish(self, stage: Stage) -> None:
        """What the system does by itself afterwards, without faults."""
        stage.world.drain()

    def holds(self, stage: Stage, answered: bool) -> None:
        """What an answer promises beside the messages."""


def call(stage: Stage, ask: Ask | None, verb: str, path: str, token: str, **request: Any) -> bool:
    """One attempt over HTTP. Beside success there is only what tells a client to try again."""
    if ask:
        ask.attempts += 1
    reply = stage.world.http(verb, path, token, **request)
    envelope = json.loads(reply["body"])
    if envelope["code"] == Code.OK:
        if ask:
            ask.answers.append(tuple(envelope["msg_ids"]))
        return True
    assert (reply["statusCode"], envelope["code"]) in ((503, Code.STORE_FAILED), (429, Code.TOO_MANY_REQUESTS)), reply
    if ask:
        ask.refusals.append(envelope["code"])
    return False


@dataclass
class Post(Scenario):
    """A send or a notification."""

    name: str
    to: Callable[[Stage], list[int]]
    type_: int = 1
    transaction_id: int | None = 7
    operation: str = "send"
    content_type: int = rules.TEXT
    sender: str = "alice"

    def begin(self, stage: Stage) -> None:
        sender, targets = getattr(stage, self.sender), self.to(stage)
        if self.operation == "notify":
            logs: list[Hashable] = [("system", target) if self.type_ == 1 else stage.log(0, target) for target in targets]
        else:
            logs = [stage.log(sender, target) for target in targets]
        self.ask = Ask("the message", tuple(logs), idempotent=self.transaction_id is not None, attempts=0)
        self.asks = [self.ask]

    def attempt(self, stage: Stage) -> bool:
        body = {"type": self.type_, "targets": self.to(stage), "content": "the message", "content_type": self.content_type}
        if self.transaction_id is not None:
            body["transaction_id"] = self.transaction_id
        token = stage.admin if self.operation == "notify" else stage.tokens[getattr(stage, self.sender)]
        return call(stage, self.ask, "POST", f"/message/{self.operation}", token, body=body)

    def rival(self, stage: Stage) -> None:
        sender = getattr(stage, self.sender)
        for target in dict.fromkeys(self.to(stage)):
            if self.type_ == 2:
                self.asks.append(stage.say(stage.bob, target, f"rival in {target}"))
            elif self.operation == "send":
                self.asks.append(stage.say(target, sender, f"rival of {target}"))
            else:
                body = {"type": 1, "targets": [target], "content": f"rival for {target}"}
                numbers = stage.world.direct("notify", {"app_id": APP, "body": body})["msg_ids"]
                self.asks.append(Ask(f"rival for {target}", (("system", target),), [tuple(numbers)], idempotent=False))


@dataclass
class Marking(Scenario):
    """A read receipt, a deletion, or a page of history: moves marks of Bob's."""

    name: str
    verb: str
    path: str
    to: Callable[[Stage], int]
    mark: str
    msg_id: int = 0

    def begin(self, stage: Stage) -> None:
        self.asks = []
        self.newest = len([each for each in stage.world.aws.records if self._about(stage, each)])

    def _about(self, stage: Stage, record: Any) -> bool:
        number = self.to(stage)
        group = number in (stage.small, stage.large)
        key = f"{APP}#group#{number}" if group else f"{APP}#user#{min(stage.bob, number)}#{max(stage.bob, number)}"
        return bool(record["dynamodb"]["NewImage"]["conversation"]["S"] == key)

    def attempt(self, stage: Stage) -> bool:
        names = "opposite_id" if self.path.endswith("conversation") and self.verb == "GET" else "conversation_id"
        query = {names: self.to(stage)} | ({"msg_id": self.msg_id} if self.msg_id else {})
        return call(stage, None, self.verb, self.path, stage.tokens[stage.bob], query=query)

    def rival(self, stage: Stage) -> None:
        self.asks.append(stage.say(stage.alice, self.to(stage), "rival"))
        stage.world.drain()

    def holds(self, stage: Stage, answered: bool) -> None:
        if answered:
            row = stage.world.row(stage.bob, self.to(stage))
            assert row, "answered, and nothing is there"
            assert row[self.mark] >= (self.msg_id or self.newest), f"answered, and {self.mark} is behind: {row}"


class Deliver(Scenario):
    """A batch of the stream: a one-to-one conversation, a group that is written and one that is read by its head."""

    name = "deliver"

    def prepare(self, stage: Stage) -> None:
        self.said = [
            stage.say(stage.bob, stage.small, "to the small group"),
            stage.say(stage.bob, stage.small, "a command", content_type=rules.COMMAND),
            stage.say(stage.carol, stage.large, "to the large group"),
        ]

    def begin(self, stage: Stage) -> None:
        self.asks = list(self.said)
        self.batch = self.pending = stage.world.stream()

    def attempt(self, stage: Stage) -> bool:
        pending = self.pending or self.batch  # after success: once more
        failed = {failure["itemIdentifier"] for failure in stage.world.deliver(pending)["batchItemFailures"]}
        places = [at for at, record in enumerate(pending) if record["dynamodb"]["SequenceNumber"] in failed]
        self.pending = pending[min(places) :] if places else []  # Lambda goes on from the first that failed
        return not self.pending

    def rival(self, stage: Stage) -> None:
        self.asks.append(stage.say(stage.alice, stage.small, "a later one"))
        stage.world.drain()

    def finish(self, stage: Stage) -> None:
        assert stage.world.deliver(self.pending) == {"batchItemFailures": []}  # what was given up is redriven
        stage.world.drain()


class Fanout(Scenario):
    """A batch of jobs: two messages of one group, a page for each member."""

    name = "fanout"

    def prepare(self, stage: Stage) -> None:
        self.said = [stage.say(stage.bob, stage.small, "first"), stage.say(stage.alice, stage.small, "second", content_type=rules.COMMAND)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("workers.deliver.MEMBERS_PER_JOB", 1)
            for record in stage.world.stream():
                stage.world.deliver([record])

    def begin(self, stage: Stage) -> None:
        self.asks = list(self.said)
        self.batch = self.pending = stage.world.jobs()

    def attempt(self, stage: Stage) -> bool:
        pending = self.pending or self.batch
        failed = {failure["itemIdentifier"] for failure in stage.world.fan_out(pending)["batchItemFailures"]}
        self.pending = [job for job in pending if job["messageId"] in failed]
        return not self.pending

    def rival(self, stage: Stage) -> None:
        self.asks.append(stage.say(stage.carol, stage.small, "a later one"))
        stage.world.drain()

    def finish(self, stage: Stage) -> None:
        assert stage.world.fan_out(self.pending) == {"batchItemFailures": []}
        stage.world.drain()


POSTS = [
    Post("send to one", lambda stage: [stage.bob]),
    Post("send to one, no transaction_id", lambda stage: [stage.bob], transaction_id=None),
    Post("send to one, negative transaction_id", lambda stage: [stage.bob], transaction_id=-7),
    Post("send to many", lambda stage: [stage.dave, stage.bob, stage.alice, stage.carol]),
    Post("send to many, no transaction_id", lambda stage: [stage.carol, stage.bob], transaction_id=None),
    Post("send to a group", lambda stage: [stage.small], type_=2),
    Post("send to two groups", lambda stage: [stage.large, stage.small], type_=2, content_type=rules.COMMAND),
]
NOTIFICATIONS = [
    Post("notify users", lambda stage: [stage.bob, stage.dave], operation="notify"),
    Post("notify groups", lambda stage: [stage.small, stage.large], type_=2, operation="notify"),
]
MARKINGS = [
    Marking("ack of what is delivered", "GET", "/message/ack", lambda stage: stage.alice, "read_seq", msg_id=2),
    Marking("ack of what is on its way", "GET", "/message/ack", lambda stage: stage.alice, "read_seq", msg_id=3),
    Marking("ack of everything", "GET", "/message/ack", lambda stage: stage.carol, "read_seq"),
    Marking("ack in a group", "GET", "/message/ack", lambda stage: stage.small, "read_seq", msg_id=1),
    Marking("ack in a group read by its head", "GET", "/message/ack", lambda stage: stage.large, "read_seq"),
    Marking("delete", "DELETE", "/message/conversation", lambda stage: stage.alice, "cut_seq"),
    Marking("delete in a group", "DELETE", "/message/conversation", lambda stage: stage.small, "cut_seq"),
    Marking("delete in a group read by its head", "DELETE", "/message/conversation", lambda stage: stage.large, "cut_seq"),
    Marking("history", "GET", "/message/conversation", lambda stage: stage.alice, "fetched_seq", msg_id=0),
]
WORKERS: list[Scenario] = [Deliver(), Fanout()]
ALL: list[Scenario] = [*POSTS, *NOTIFICATIONS, *MARKINGS, *WORKERS]
PAIRED: list[Scenario] = [POSTS[0], Post("send to two", lambda stage: [stage.dave, stage.bob]), POSTS[5], *WORKERS]

"""The clients are checked themselves: they find nothing wrong with a good server, and see each kind of bad reply."""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from messaging.conversations.rules import Marks
from tests.clients import COMMAND, Client
from tests.e2e.test_soak import forgotten, moved_back

ME, OTHERS, GROUP = 1001, [1002, 1003], 1004
STEPS = 400
Reply = dict[str, Any]


@dataclass
class Server:
    """Parley with a single client, in memory; `spoil` may change a reply."""

    spoil: Callable[[str, Reply], object] = lambda path, reply: None
    logs: dict[int, list[tuple[int, str, int]]] = field(default_factory=lambda: defaultdict(list))  # sender, content, content type
    read: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    cut: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    done: dict[int, list[int]] = field(default_factory=dict)  # transaction_id → msg_ids

    def request(self, verb: str, url: str, fields: dict[str, int] | None = None, body: bytes = b"", **_: object) -> SimpleNamespace:
        path = f"{verb} {url}"
        reply: Reply = {"code": 200, "message": None}
        if body:
            reply["msg_ids"] = self._post(url, json.loads(body))
        elif url == "/message/unread":
            reply["data"] = [
                {"conversation_id": {"uid": number}, "num": self._num(number)}
                for number, log in self.logs.items()
                if len(log) > self.cut[number]
            ]
        elif verb == "DELETE":
            number = (fields or {})["conversation_id"]
            self.cut[number] = self.read[number] = len(self.logs[number])
        elif url == "/message/ack":
            number, msg_id = (fields or {})["conversation_id"], (fields or {})["msg_id"]
            self.read[number] = max(self.read[number], msg_id or len(self.logs[number]))
        else:
            reply["data"] = {"messages": self._page(**(fields or {}))}
        self.spoil(path, reply)
        return SimpleNamespace(status=200, data=json.dumps(reply).encode())

    def _post(self, url: str, body: dict[str, Any]) -> list[int]:
        once = body.get("transaction_id", -len(self.done) - 1)
        if once not in self.done:
            self.done[once] = [self._append(url, body, target) for target in body["targets"]]
        return self.done[once]

    def _append(self, url: str, body: dict[str, Any], target: int) -> int:
        sender = ME if url == "/message/send" else 0
        # What the system says to others is in logs that this client does not see.
        number = target if sender or target == GROUP else 0 if target == ME else -target
        self.logs[number].append((sender, body["content"], body["content_type"]))
        return len(self.logs[number])

    def _num(self, number: int) -> int:
        log = self.logs[number][self.read[number] :]
        return sum(sender != ME and ctype != COMMAND for sender, _, ctype in log)

    def _page(self, opposite_id: int, msg_id_start: int, limit: int) -> list[Reply]:
        log = list(enumerate(self.logs[opposite_id], 1))[self.cut[opposite_id] : msg_id_start or None]
        return [
            {
                "msg_id": msg_id,
                "content": content,
                "from_xid": {"uid": sender},
                "status": "READ" if msg_id <= self.read[opposite_id] else "UNREAD",
            }
            for msg_id, (sender, content, _) in log[::-1][:limit]
        ]


def found_by(server: Server, deletes: bool = False) -> list[str]:
    client = Client("", ME, "token", "admin token", OTHERS, [GROUP], Random(7), deletes)
    client.http = server
    for _ in range(STEPS):
        client.do_something()
    assert client.figures["answered"] > STEPS / 4
    return client.wrong


@pytest.mark.parametrize("deletes", [False, True])
def test_there_is_nothing_wrong_with_a_good_server(deletes: bool) -> None:
    assert found_by(Server(), deletes) == []


def messages(reply: Reply) -> list[Reply]:
    """Of a page of history; of any other reply none."""
    data = reply.get("data")
    return list(data["messages"]) if isinstance(data, dict) else []


def a_number_again(path: str, reply: Reply) -> None:
    if "msg_ids" in reply:
        reply["msg_ids"] = [1 for _ in reply["msg_ids"]]


def another_content(path: str, reply: Reply) -> None:
    for message in messages(reply):
        message["content"] = "something else"


def nothing(path: str, reply: Reply) -> None:
    if messages(reply):
        reply["data"]["messages"] = []


def a_hole(path: str, reply: Reply) -> None:
    if len(messages(reply)) > 2:
        del reply["data"]["messages"][1]


def unread_again(path: str, reply: Reply, random: Random = Random(7)) -> None:  # noqa: B008
    for message in messages(reply):
        message["status"] = random.choice(["UNREAD", message["status"]])


def never_read(path: str, reply: Reply) -> None:
    for message in messages(reply):
        message["status"] = "UNREAD"


def too_many(path: str, reply: Reply) -> None:
    if path == "GET /message/unread":
        for entry in reply["data"]:
            entry["num"] += STEPS


def twice(path: str, reply: Reply) -> None:
    if path == "GET /message/unread":
        reply["data"] *= 2


def refused(path: str, reply: Reply) -> None:
    if path == "GET /message/ack":
        reply["code"] = 50001


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (a_number_again, "after number"),
        (another_content, "for '1001: "),
        (nothing, "and is shown []"),
        (a_hole, "with holes"),
        (unread_again, "it was READ"),
        (never_read, "which is shown as UNREAD"),
        (too_many, "is told"),
        (twice, "listed a conversation twice"),
        (refused, "is answered 50001"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_bad_reply_is_seen(spoil: Callable[[str, Reply], object], what: str) -> None:
    assert [wrong for wrong in found_by(Server(spoil)) if what in wrong]


def test_a_mark_that_moves_back_is_seen() -> None:
    assert moved_back(Marks(last_seq=3, read_seq=2), Marks(last_seq=4, read_seq=1))
    assert not moved_back(Marks(last_seq=3, read_seq=2), Marks(last_seq=3, read_seq=3))


def test_an_acknowledgement_and_a_delete_that_are_not_in_the_marks_are_seen() -> None:
    client = Client("", ME, "token", "admin token", OTHERS, [GROUP], Random(7), deletes=True)
    client.acked, client.cut = {1002: 3, 1003: 1}, {1002: 2, 1003: 1}
    kept = {1002: Marks(read_seq=3, cut_seq=2), 1003: Marks(read_seq=1, cut_seq=1)}
    assert list(forgotten([client], {ME: kept})) == []
    assert len(list(forgotten([client], {ME: kept | {1002: Marks(read_seq=2, cut_seq=1)}}))) == 2

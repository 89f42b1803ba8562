"""Clients of a deployed Parley as apps are in the field: impatient, repeating what was not answered, sometimes giving up.

A client notes what it asked and what it was told, for `tests/checker.py` to hold against what is there in the end. What it can see by
itself it checks at once: nothing that it was told or shown is ever taken back.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

import urllib3

from messaging.base import keys
from messaging.base.errors import Code
from messaging.base.keys import Conversation
from tests.checker import RETRYABLE, Ask

APP = "demo"
# Timeouts in seconds, and of ten requests how many have them. Below a second, or without a pause that grows before asking again, cold
# starts pile up on the local AWS until nothing is answered any more.
TIMEOUTS_S = {1.0: 2, 3.0: 3, 10.0: 5}
PAUSE_S = (0.1, 2.0)  # before asking again: the first and the longest, before jitter
PATIENCE_S = 40.0  # after the end of the run, for what is still to be answered
TEXT, COMMAND = 0, 6
USERS, GROUPS = 1, 2
STATUS = ("UNREAD", "DELIVERED", "READ")
FIGURES = ("requests", "timeouts", "broken", "cut_short", "retryable", "answered", "repeats", "given_up")  # what a client counts

Envelope = dict[str, Any]
_transactions = count(time.time_ns() // 1000 % keys.MAX_ID)  # the system is one sender, whoever lets it speak


@dataclass
class Client:
    """One user's app. `wrong` says in words what it was told or shown and should not have been."""

    url: str
    user_id: int
    token: str
    admin_token: str
    users: Sequence[int]  # everybody but this one
    groups: Sequence[int]  # those that this user is in
    random: Random
    deletes: bool
    asks: list[Ask] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)
    acked: dict[int, int] = field(default_factory=dict)  # conversation → answered with 200: read up to here
    cut: dict[int, int] = field(default_factory=dict)  # conversation → answered with 200: deleted at least up to here

    def __post_init__(self) -> None:
        self.http: Any = urllib3.PoolManager(maxsize=2)
        self.until = 0.0
        self.newest = Counter[int]()  # conversation → the newest number that this client knows of
        self.told = Counter[tuple[int, str]]()  # operation and log → the highest number that this client was told
        self.deleted: set[int] = set()  # conversations in which a delete was tried, answered or not
        self.shown: dict[tuple[int, int], int] = {}  # conversation and number → how far its status was

    def run(self, until: float) -> None:
        """One thing after the other until then (`time.monotonic`)."""
        self.until = until
        while time.monotonic() < until:
            self.do_something()

    def do_something(self) -> None:
        moves: dict[Callable[[], None], float] = {self.send: 10, self.notify: 2, self.read: 4, self.look: 3, self.poll: 3}
        if self.deletes:
            moves[self.delete] = 0.5
        self.random.choices(list(moves), list(moves.values()))[0]()

    def send(self) -> None:
        if self.random.random() < 0.3:
            self._post("/message/send", GROUPS, self._some(self.groups))
        else:
            self._post("/message/send", USERS, self._some(self.users))

    def notify(self) -> None:
        if self.random.random() < 0.3:
            self._post("/message/notify", GROUPS, self._some(self.groups))
        else:
            self._post("/message/notify", USERS, self._some([self.user_id, *self.users]))

    def read(self) -> None:
        """Acknowledges, everything or up to a message; then that message is shown as read."""
        number = self._conversation()
        known = self.newest[number]
        msg_id = self.random.choice([0, known, self.random.randint(0, known)])
        reply = self._call("GET", "/message/ack", {"conversation_id": number, "msg_id": msg_id})
        if reply and reply["code"] == Code.OK:
            upto = msg_id or known
            self.acked[number] = max(self.acked.get(number, 0), upto)
            if upto and number not in self.deleted and self.random.random() < 0.5:
                for message in self._page(number, upto, 1) or []:
                    if message["from_xid"]["uid"] != self.user_id and message["status"] != "READ":
                        self._wrong(f"acknowledged up to {upto} in {number}, which is shown as {message['status']}")

    def look(self) -> None:
        """The newest page: it does not end before what this client knows of."""
        number = self._conversation()
        known = self.newest[number]
        page = self._page(number, 0, self.random.choice([1, 5, 20, 100]))
        if page is not None and number not in self.deleted and (page[0]["msg_id"] if page else 0) < known:
            self._wrong(f"knows of message {known} in {number} and is shown {[message['msg_id'] for message in page]}")

    def poll(self) -> None:
        """The unread list: no number is larger than what can have come since the last acknowledgement."""
        reply = self._call("GET", "/message/unread")
        if not reply or reply["code"] != Code.OK:
            return
        listed = {entry["conversation_id"]["uid"]: entry["num"] for entry in reply["data"]}
        if len(listed) < len(reply["data"]):
            self._wrong(f"is listed a conversation twice: {reply['data']}")
        for number in self.random.sample(sorted(listed), min(2, len(listed))):
            read = self.acked.get(number, 0)
            page = self._page(number, 0, 1)
            if page and not 0 <= listed[number] <= page[0]["msg_id"] - read:
                self._wrong(f"has read up to {read} in {number}, {page[0]['msg_id']} is the newest, and is told {listed[number]} unread")

    def delete(self) -> None:
        number = self._conversation()
        known = self.newest[number]
        self.deleted.add(number)
        reply = self._call("DELETE", "/message/conversation", {"conversation_id": number})
        if reply and reply["code"] == Code.OK:
            self.cut[number] = max(self.cut.get(number, 0), known)

    def _post(self, path: str, type_: int, targets: Sequence[int]) -> None:
        """Sends until it is answered, unless this client gives up before; what was answered it sometimes sends once more."""
        sender = 0 if path == "/message/notify" else self.user_id
        logs = [_log(type_, sender, target) for target in targets]
        content = f"{self.user_id}: {len(self.asks)} {self.random.random()}"
        ctype = COMMAND if self.random.random() < 0.1 else TEXT
        body = {"type": type_, "targets": targets, "content_type": ctype, "content": content}
        ask = Ask(content, tuple(log.key for log in logs), idempotent=self.random.random() < 0.7, attempts=0)
        if ask.idempotent:
            body["transaction_id"] = next(_transactions)
        self.asks.append(ask)
        told = [self.told[sender, log.key] for log in logs]
        gives_up, once_more = self.random.random() < 0.15, ask.idempotent and self.random.random() < 0.15
        token = self.token if sender else self.admin_token
        while True:
            ask.attempts += 1
            reply = self._call(self.random.choice(["POST", "PUT"]), path, body=body, token=token)
            if reply and reply["code"] == Code.OK:
                ask.answers.append(tuple(reply["msg_ids"]))
                if not once_more:
                    break
                once_more = False
            elif reply:
                ask.refusals.append(reply["code"])
            if not ask.answers and (gives_up or time.monotonic() > self.until + PATIENCE_S):
                self.figures["given_up"] += 1
                return
            self.figures["repeats"] += 1
            first, longest = PAUSE_S
            time.sleep(self.random.uniform(0, min(longest, first * 2**ask.attempts)))
        self.figures["answered"] += 1
        for log, before, msg_id in zip(logs, told, ask.answers[0], strict=True):
            self.told[sender, log.key] = max(before, msg_id)
            if msg_id <= before:
                self._wrong(f"{content!r} is number {msg_id} in {log.key}, after number {before} was answered")
        self._find(path, type_, list(zip(targets, ask.answers[0], strict=True)), content)

    def _find(self, path: str, type_: int, told: list[tuple[int, int]], content: str) -> None:
        """A message that was answered is in history at once."""
        target, msg_id = self.random.choice(told)
        if type_ == USERS and path == "/message/notify":
            if target != self.user_id:
                return
            target = 0
        self.newest[target] = max(self.newest[target], msg_id)
        if self.random.random() < 0.5 and target not in self.deleted:
            page = self._page(target, msg_id, 1)
            if page is not None and [(message["msg_id"], message["content"]) for message in page] != [(msg_id, content)]:
                self._wrong(f"was answered {msg_id} in {target} for {content!r}, where there is {page}")

    def _page(self, number: int, start: int, limit: int) -> list[dict[str, Any]] | None:
        """A page of history, looked through for holes and for a status that goes back; None where there was no answer."""
        reply = self._call("GET", "/message/conversation", {"opposite_id": number, "msg_id_start": start, "limit": limit})
        if not reply or reply["code"] != Code.OK:
            return None
        messages: list[dict[str, Any]] = reply["data"]["messages"]
        numbers = [message["msg_id"] for message in messages]
        if numbers and numbers != list(range(numbers[0], numbers[0] - len(numbers), -1)):
            self._wrong(f"is shown a page of {number} with holes: {numbers}")
        for message in messages:
            key, rank = (number, message["msg_id"]), STATUS.index(message["status"])
            if rank < self.shown.get(key, 0):
                self._wrong(f"message {message['msg_id']} in {number} is {message['status']} again, it was {STATUS[self.shown[key]]}")
            self.shown[key] = rank
        self.newest[number] = max(self.newest[number], *numbers, 0)
        return messages

    def _call(
        self, verb: str, path: str, query: dict[str, int] | None = None, body: object = None, token: str | None = None
    ) -> Envelope | None:
        """The envelope; None where there was none in time: what was asked for may have been done, or may still be."""
        headers = {"app_id": APP, "access-token": token or self.token, "content-type": "application/json"}
        fields: dict[str, Any] = {"fields": query or {}} if body is None else {"body": json.dumps(body).encode()}
        self.figures["requests"] += 1
        try:
            (timeout,) = self.random.choices(list(TIMEOUTS_S), list(TIMEOUTS_S.values()))
            reply = self.http.request(verb, self.url + path, headers=headers, timeout=timeout, retries=False, **fields)
        except urllib3.exceptions.TimeoutError:
            self.figures["timeouts"] += 1
            return None
        except urllib3.exceptions.HTTPError:
            self.figures["broken"] += 1
            return None
        envelope: Envelope = json.loads(reply.data) if reply.status in (200, 429, 500, 503) else {}
        if "code" not in envelope:
            self.figures["cut_short"] += 1  # the gateway's own answer, for a container that is no more
            return None
        if envelope["code"] in RETRYABLE:
            self.figures["retryable"] += 1
        if envelope["code"] not in {Code.OK, Code.STORE_FAILED, Code.TOO_MANY_REQUESTS}:
            self._wrong(f"{verb} {path} {query or body} is answered {envelope['code']} {envelope['message']}")
        return envelope

    def _conversation(self) -> int:
        return self.random.choice([0, *self.groups, *self.users])

    def _some(self, numbers: Sequence[int]) -> list[int]:
        """One, or several."""
        return self.random.sample(list(numbers), 1 if self.random.random() < 0.7 else self.random.randint(1, min(4, len(numbers))))

    def _wrong(self, what: str) -> None:
        self.wrong.append(f"user {self.user_id}: {what}")


def _log(type_: int, sender: int, target: int) -> Conversation:
    if type_ == GROUPS:
        return keys.group(APP, target)
    return keys.between(APP, sender, target) if sender else keys.system(APP, target)

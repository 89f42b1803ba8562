"""What Parley promises, on plain data: the logs, how far each user is in each, and which requests are remembered.

No call, no clock, no delivery: what was stored is told (`stored`), what was answered is held against it (`answered`), and what a reader
has to see follows (`visible`, `num`, `listed`, `statuses`). A request that was cut short may or may not have been done: whatever it
stored is told too, and held to the same rules.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from messaging.base.errors import Code

TEXT, IMAGE, COMMAND = 0, 1, 6
TYPES = {TEXT: "TEXT", IMAGE: "IMAGE", COMMAND: "COMMAND"}
IN_FLIGHT_S = 60  # what a message is kept beyond its retention
MOST_WRITES = 24  # for a message: twelve attempts, and a reservation moved before each but the first
UNSURE = {Code.STORE_FAILED, Code.TOO_MANY_REQUESTS, None}  # these may have been done, or not; None: nobody answered


class Chat(NamedTuple):
    """A conversation: of two users (ascending), of a group, or a user's own with the system."""

    app: str
    kind: Literal["user", "group", "system"]
    ids: tuple[int, ...]

    @property
    def key(self) -> str:
        """What the stored log is called."""
        return "#".join((self.app, self.kind, *map(str, self.ids)))

    def recipient_of(self, sender: int) -> int:
        return self.ids[-1] if sender == self.ids[0] else self.ids[0]


def between(app: str, one: int, other: int) -> Chat:
    return Chat(app, "user", (min(one, other), max(one, other)))


@dataclass(eq=False)
class Request:
    """One request to send or notify, however often it is repeated. Its `content` is like no other request's."""

    app: str
    operation: Literal["send", "notify"]
    sender: int  # 0: the system
    type: int  # 1: to users, 2: to groups
    targets: tuple[int, ...]
    ctype: int
    content: str
    transaction_id: int | None = None
    attempts: int = 0  # those that may have stored something
    times: Counter[Chat] = field(default_factory=Counter)  # how often it is in each log
    told: set[tuple[Chat, int]] = field(default_factory=set)  # numbers that were answered

    @property
    def key(self) -> tuple[str, int, str, int] | None:
        """Under which it is remembered; `transaction_id` 0 is none."""
        return (self.app, self.sender, self.operation, self.transaction_id) if self.transaction_id else None

    def chat(self, target: int) -> Chat:
        if self.type == 2:
            return Chat(self.app, "group", (target,))
        return between(self.app, self.sender, target) if self.sender else Chat(self.app, "system", (target,))

    @property
    def parts(self) -> dict[str, str]:
        """The strings of its message; not only the content comes back byte for byte."""
        attachment = {"attachment": f'{{"of":  "{self.content}"}}'} if self.ctype == IMAGE else {}
        return {"content": self.content, "ext": f"[ {len(self.content)}]", **attachment}


class Sent(NamedTuple):
    """A message of a log; its number is its place, from 1 on."""

    request: Request
    at: int  # ms

    @property
    def sender(self) -> int:
        return self.request.sender


@dataclass
class Transaction:
    """A request that is remembered, and what it has stored since."""

    request: Request
    since: int  # ms
    sure: bool = False  # that it is remembered; until its first attempt has ended nobody knows
    numbers: dict[Chat, int] = field(default_factory=dict)


@dataclass
class Seen:
    """How far one user is in one conversation."""

    read: int = 0
    fetched: int = 0
    cut: int = 0
    joined: int = 0
    belongs: bool = True


@dataclass
class Model:
    """See the module. `groups`: whether each shows its past to who joins."""

    users: Mapping[str, Sequence[int]]
    groups: Mapping[str, Mapping[int, bool]]
    window_ms: int
    retention_s: int
    now: int  # ms
    rate_per_s: int = 0  # messages into one conversation; 0: there is no limit
    burst: int = 0
    logs: dict[Chat, list[Sent]] = field(default_factory=lambda: defaultdict(list))
    seen: dict[tuple[int, Chat], Seen] = field(default_factory=dict)
    requests: dict[str, Request] = field(default_factory=dict)  # by content
    transactions: dict[Any, Transaction] = field(default_factory=dict)
    busy: dict[Chat, int] = field(default_factory=dict)  # until when, ms

    def chat(self, app: str, user: int, number: int) -> Chat | None:
        """What `user` means by a number; None where it names nothing in this app."""
        if number == 0:
            return Chat(app, "system", (user,))
        if number in self.groups[app]:
            return Chat(app, "group", (number,))
        return between(app, user, number) if number in self.users[app] else None

    def of(self, user: int, chat: Chat) -> Seen:
        return self.seen.setdefault((user, chat), Seen(belongs=chat.kind != "group"))

    def newest(self, chat: Chat | None) -> int:
        return len(self.logs[chat]) if chat else 0

    # --- sending

    def request(
        self, app: str, operation: Literal["send", "notify"], sender: int, type_: int, targets: Sequence[int], **how: Any
    ) -> Request:
        request = Request(app, operation, sender, type_, tuple(targets), content=f"{app} {len(self.requests) + 1}", **how)
        self.requests[request.content] = request
        return request

    def refusal(self, request: Request) -> Code:
        """What a request is told that nobody remembers; OK where nothing stands in its way."""
        forbidden = self._forbidden(request)
        return Code.TOO_MANY_REQUESTS if forbidden == Code.OK and self._storm(request) else forbidden

    def _storm(self, request: Request) -> bool:
        """Whether what was written for a target would need more time than has passed, by more than a burst, at the rate."""
        return any(self._ahead(chat) > self.burst * self._each for chat in map(request.chat, request.targets))

    @property
    def _each(self) -> int:
        """Time (ms) that a write takes at the rate."""
        return 1000 // self.rate_per_s if self.rate_per_s else 0

    def _ahead(self, chat: Chat) -> int:
        """How much of the time (ms) that its writes need has not passed yet; 0 where there is no limit."""
        return self.busy.get(chat, 0) - self.now if self.rate_per_s else 0

    def _forbidden(self, request: Request) -> Code:
        app, sender, targets = request.app, request.sender, request.targets
        if sender and sender not in self.users[app]:
            return Code.UNKNOWN_USER
        if request.type == 1:
            return Code.OK if all(target in self.users[app] for target in targets) else Code.UNKNOWN_USER
        if not all(target in self.groups[app] for target in targets):
            return Code.UNKNOWN_GROUP
        return Code.OK if not sender or all(self.of(sender, request.chat(target)).belongs for target in targets) else Code.NOT_A_MEMBER

    def verdicts(self, request: Request) -> set[Code]:
        """What it may be told now."""
        known = self.remembered(request)
        if not known:
            return {self.refusal(request)}
        if known.request is request and all(request.chat(target) in known.numbers for target in request.targets):
            return {Code.OK}  # what is stored is answered, whatever holds now
        forbidden, refusal = self._forbidden(request), self.refusal(request)
        if forbidden != Code.OK:
            return {forbidden}  # and comes before everything that is said of the transaction_id
        if known.request is not request:
            return {Code.TRANSACTION_ID_REUSED} | ({Code.TOO_MANY_REQUESTS} if self.rate_per_s else set())
        # What is remembered is carried out; into a slot that somebody else has taken, not in a storm.
        return {Code.OK, refusal}

    def remembered(self, request: Request) -> Transaction | None:
        known = self.transactions.get(request.key)
        return known if known and self.now - known.since < self.window_ms else None

    def begin(self, request: Request) -> Transaction | None:
        """An attempt starts; returns what it may make remembered."""
        request.attempts += 1
        if not request.key or self.remembered(request):
            return None
        self.transactions[request.key] = Transaction(request, self.now)
        return self.transactions[request.key]

    def stored(self, key: str, number: int, image: Mapping[str, Any]) -> None:
        """A message has appeared in a log: the next number, as it was asked for, and not once too often."""
        request = self.requests.get(image["content"])
        assert request, f"{key} {number}: nobody asked for {image}"
        chat = next((chat for chat in map(request.chat, request.targets) if chat.key == key), None)
        assert chat, f"{request} went to {key}"
        assert number == self.newest(chat) + 1, f"{key}: number {number} after {self.newest(chat)}"
        asked = {"sender": request.sender, "ctype": request.ctype, "is_system": request.operation == "notify", **request.parts}
        kept = {name: image.get(name, False if name == "is_system" else None) for name in asked}
        assert kept == asked, f"{key} {number}: {kept} instead of {asked}"
        at, before = image["sent_at"], self.logs[chat][-1].at if self.logs[chat] else 0
        assert max(before, self.now - IN_FLIGHT_S * 1000) <= at <= max(before, self.now), f"{key} {number}: sent at {at}, now is {self.now}"
        self.logs[chat].append(Sent(request, at))
        at_least = max(self.busy.get(chat, 0), at) + self._each
        self.busy[chat] = image.get("busy_until", at + self._each)
        lost = self.busy[chat] - at_least  # the time of the races that were lost for it
        assert 0 <= lost <= MOST_WRITES * self._each, f"{key} {number}: busy until {self.busy[chat]}, at least {at_least}"
        assert not self._each or lost % self._each == 0, f"{key} {number}: busy until {self.busy[chat]}, at least {at_least}"
        request.times[chat] += 1
        if not request.key:
            assert request.times[chat] <= request.attempts, f"doubled: {request} is in {key} {request.times[chat]} times"
            return
        known = self.remembered(request)
        assert known, f"{key} {number}: stored without being remembered: {request}"
        assert known.request is request, f"{key} {number}: stored, and another request has its transaction_id: {request}"
        assert chat not in known.numbers, f"doubled: {request} is in {key} at {known.numbers[chat]} and at {number}"
        known.numbers[chat] = number

    def answered(self, request: Request, begun: Transaction | None, code: Code | None, numbers: Mapping[int, int], reserved: bool) -> None:
        """An attempt has ended. `numbers`: by target, of a success; `reserved`: whether one that was cut short is remembered."""
        if code == Code.OK:
            known = self.remembered(request)
            assert not request.key or (known and known.request is request)
            if known:
                known.sure = True
            assert set(numbers) == set(request.targets)
            for chat, number in ((request.chat(target), number) for target, number in numbers.items()):
                there = [sent.request for sent in self.logs[chat][number - 1 : number]]
                assert there == [request], f"lost: {request} was answered {number}, there is {there}"
                if known:
                    assert known.numbers.get(chat) == number, f"two answers: {number} for {request}, it has {known.numbers}"
                else:
                    assert (chat, number) not in request.told, f"lost: {number} was answered before for {request}"
                request.told.add((chat, number))
        elif code in UNSURE:
            if begun:
                begun.sure = begun.sure or reserved or bool(begun.numbers)
        else:
            request.attempts -= 1
            assert request.key or all(times <= request.attempts for times in request.times.values()), f"refused and stored: {request}"
        if begun and not begun.sure:
            assert not begun.numbers, f"refused and stored: {request}"
            if self.transactions.get(request.key) is begun:  # else: a twin began later, when this one had run out
                del self.transactions[request.key]

    # --- what a reader sees

    def expired(self, sent: Sent) -> bool:
        return bool(self.retention_s) and (sent.at // 1000 + self.retention_s + IN_FLIGHT_S) * 1000 <= self.now

    def visible(self, user: int, chat: Chat, everything: bool = False) -> list[tuple[int, Sent]]:
        """The messages that `user` may see, oldest first; `everything`: as an administrator who is no member."""
        at = self.of(user, chat)
        if everything and not at.belongs:
            after = 0
        elif not at.belongs:
            return []
        else:
            shows_past = chat.kind == "group" and self.groups[chat.app][chat.ids[0]]
            after = max(at.cut, 0 if shows_past else at.joined)
        return [(seq, sent) for seq, sent in enumerate(self.logs[chat][after:], after + 1) if not self.expired(sent)]

    def unread(self, user: int, chat: Chat) -> Iterator[Sent]:
        """Everything after the user's marks, what does not count included."""
        at = self.of(user, chat)
        return (sent for seq, sent in self.visible(user, chat) if seq > max(at.read, at.joined))

    def num(self, user: int, chat: Chat) -> int:
        return sum(sent.sender != user and sent.request.ctype != COMMAND for sent in self.unread(user, chat))

    def listed(self, app: str, user: int) -> list[tuple[int, int]]:
        """The conversations of a user once everything has been delivered, with their unread numbers, newest activity first."""
        chats = {number: self.chat(app, user, number) for number in (*self.users[app], *self.groups[app], 0)}
        active = {number: chat for number, chat in chats.items() if chat and self.visible(user, chat)}
        order = sorted(active, key=lambda number: (self.logs[active[number]][-1].at, number), reverse=True)
        return [(number, self.num(user, active[number])) for number in order]

    def statuses(self, reader: int, chat: Chat, seq: int, as_member: bool = True) -> set[str]:
        """What `status` of a message may be. One only, but where a read mark may have followed the reader's own messages or not."""
        sender = self.logs[chat][seq - 1].sender
        to_self = sender == chat.recipient_of(sender)
        if sender == reader and chat.kind == "group":
            return {"DELIVERED"}
        at = self.of(chat.recipient_of(reader) if sender == reader and chat.kind == "user" else reader, chat) if as_member else Seen()
        if at.read >= seq:
            return {"READ"}
        follows = {"READ"} if to_self or at.joined >= seq else set()
        return {"DELIVERED" if at.fetched >= seq else "UNREAD"} | follows

    def view(self, reader: int, chat: Chat, seq: int) -> dict[str, Any]:
        """A message as history shows it, but for its status."""
        request, at = self.logs[chat][seq - 1]
        return {
            "msg_id": seq,
            "content": request.content,
            "attachment": request.parts.get("attachment"),
            "ext": request.parts["ext"],
            "config": None,
            "ctype": TYPES[request.ctype],
            "from_xid": request.sender,
            "to_xid": chat.recipient_of(request.sender) if chat.kind == "user" else chat.ids[0],
            "timestamp": at,
            "is_system": request.operation == "notify",
        }

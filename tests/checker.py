"""What a history may never show, whoever made it: an enumerated fault, a random history, or clients over HTTP with processes killed.

A run notes what was asked and what was answered (`Ask`), and, once everything has been delivered, what each reader sees (`View`).
`violations` holds the two against each other: an empty list means that nothing was lost, doubled, half done, misnumbered or miscounted.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from messaging.base.errors import Code

RETRYABLE = {Code.STORE_FAILED, Code.TOO_MANY_REQUESTS, Code.INTERNAL}  # these may have been stored in part: the client asks again


@dataclass
class Ask:
    """One request to send or notify, however often it was repeated. Its `content` is like no other request's."""

    content: str
    logs: tuple[Hashable, ...]  # the conversation of each target
    answers: list[tuple[int, ...]] = field(default_factory=list)  # the `msg_ids` of every 200
    refusals: list[int] = field(default_factory=list)  # every other code
    idempotent: bool = True  # has a `transaction_id`; without one each attempt may store a message of its own
    attempts: int = 1


class Seen(NamedTuple):
    """A message as a reader sees it."""

    msg_id: int
    sender: int
    content: str
    counts: bool = True  # for an unread number: not a COMMAND


@dataclass
class View:
    """What one reader sees of one conversation."""

    log: Hashable
    reader: int
    pages: list[list[Seen]]  # as fetched, newest first, by following `next_msg_id` to the end
    num: int | None  # the unread number in the list; None: not in the list
    read: int = 0  # the reader's read mark
    after: int = 0  # messages up to here are not for this reader: joined or deleted later
    delivered: int | None = None  # the newest message that the reader's row, or the group's head, knows; None: not looked at

    @property
    def messages(self) -> list[Seen]:
        return [message for page in self.pages for message in page]


def violations(asks: Sequence[Ask], views: Sequence[View]) -> list[str]:
    """Everything that is wrong, in words; the first of them names the kind."""
    return [*_numbering(views), *_lists(views), *_agreement(views), *_answers(asks, views)]


def _numbering(views: Iterable[View]) -> Iterable[str]:
    """Dense from the first entitled message to the newest, newest first, no page skips or repeats one."""
    for view in views:
        numbers = [message.msg_id for message in view.messages]
        if len(set(numbers)) < len(numbers):
            yield f"repeated: {_who(view)} gets a number twice: {numbers}"
        elif numbers != sorted(numbers, reverse=True):
            yield f"disordered: {_who(view)} gets {numbers}"
        elif numbers[::-1] != list(range(view.after + 1, view.after + 1 + len(numbers))):
            yield f"hole: {_who(view)} may see all after {view.after} and gets {numbers}"
        if any(not page for page in view.pages[1:]):
            yield f"empty page: {_who(view)} is sent on to a page without a message"


def _lists(views: Iterable[View]) -> Iterable[str]:
    """What is in history was delivered, the reverse, and the unread number is a plain recount."""
    for view in views:
        if view.messages and view.num is None:
            yield f"undelivered: {_who(view)} has {len(view.messages)} messages and no entry in the list"
        if not view.messages and view.num is not None:
            yield f"ghost: {_who(view)} has an entry in the list and no message"
        if view.messages and view.delivered not in (None, view.messages[0].msg_id):
            yield f"half delivered: {_who(view)} has messages up to {view.messages[0].msg_id}, the list knows {view.delivered}"
        recount = sum(message.counts and message.msg_id > view.read and message.sender != view.reader for message in view.messages)
        if view.num is not None and view.num != recount:
            yield f"miscounted: {_who(view)} is told {view.num} unread, a recount says {recount}"


def _agreement(views: Iterable[View]) -> Iterable[str]:
    """A number is the same message for everybody, and everybody sees as far as anybody."""
    first: dict[tuple[Hashable, int], tuple[View, Seen]] = {}
    newest: dict[Hashable, int] = {}
    for view in views:
        for message in view.messages:
            other, same = first.setdefault((view.log, message.msg_id), (view, message))
            if message != same:
                yield f"divided: number {message.msg_id} is {same} for {_who(other)} and {message} for {_who(view)}"
        newest[view.log] = max(newest.get(view.log, 0), view.after, *(message.msg_id for message in view.messages))
    for view in views:
        sees = max((message.msg_id for message in view.messages), default=view.after)
        if sees < newest[view.log]:
            yield f"behind: {_who(view)} sees up to {sees}, others up to {newest[view.log]}"


def _answers(asks: Iterable[Ask], views: Iterable[View]) -> Iterable[str]:
    """Answered with 200 means there, at that number, for every entitled reader; refused means not there; nobody asked for the rest."""
    by_log: dict[Hashable, list[View]] = {}
    for view in views:
        by_log.setdefault(view.log, []).append(view)
    asked = Counter[tuple[Hashable, str]]()
    for ask in asks:
        if ask.idempotent and len(set(ask.answers)) > 1:
            yield f"two answers: {ask.content!r} was answered {ask.answers}"
        if not ask.answers and ask.refusals and not RETRYABLE.intersection(ask.refusals) and len(ask.refusals) == ask.attempts:
            allowed = 0
        else:
            allowed = 1 if ask.idempotent else ask.attempts
        for at, log in enumerate(ask.logs):
            asked[log, ask.content] += allowed
            for view in by_log.get(log, []):
                there = {message.msg_id for message in view.messages if message.content == ask.content}
                told = {answer[at] for answer in ask.answers}
                for number in sorted(told - there):
                    if number > view.after:
                        yield f"lost: {ask.content!r} was answered {number} and {_who(view)} has it at {sorted(there) or 'no number'}"
    for view in views:
        for content, times in Counter(message.content for message in view.messages).items():
            if not asked[view.log, content]:
                yield f"phantom: {_who(view)} sees {content!r}, which was refused or never asked for"
            elif times > asked[view.log, content]:
                yield f"doubled: {_who(view)} sees {content!r} {times} times, asked for {asked[view.log, content]}"


def _who(view: View) -> str:
    return f"user {view.reader} in {view.log}"

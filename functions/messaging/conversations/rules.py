"""Decisions that need no store: pure functions of what was read, what was asked and the time."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from messaging.base.errors import ApiError, Code

TEXT, IMAGE, AUDIO, VIDEO, FILE, LOCATION, COMMAND, FORWARD = range(8)
CONTENT_TYPES = ("TEXT", "IMAGE", "AUDIO", "VIDEO", "FILE", "LOCATION", "COMMAND", "FORWARD")
WITH_ATTACHMENT = (IMAGE, AUDIO, VIDEO, FILE)
PARTS = ("content", "attachment", "config", "ext")  # the strings of a message; together at most MESSAGE_LIMIT_BYTES

# A reply may hold 6 MB (Lambda quota). A control character takes one byte stored, six in JSON, and seven in the JSON string that
# carries the reply to API Gateway: 800 KB of stored text always fits.
PAGE_BYTES = 800_000


@dataclass(frozen=True, slots=True)
class Marks:
    """Watermarks of one user in one conversation: all only ever grow. Names and meaning: the stored Inbox row."""

    last_seq: int = 0  # the newest message delivered
    last_at: int = 0  # when it was sent, ms; goes with last_seq
    read_seq: int = 0  # the user has read up to here
    fetched_seq: int = 0  # the user has fetched up to here
    skip_seq: int = 0  # the newest message that does not count for this user and that no read mark covered when it came
    cut_seq: int = 0  # the user deleted the conversation up to here
    join_seq: int = 0  # the user joined the group after this message

    @property
    def floor(self) -> int:
        """Messages up to here are not unread."""
        return max(self.read_seq, self.cut_seq, self.join_seq)


@dataclass(frozen=True, slots=True)
class News:
    """What a delivery tells one user about one conversation."""

    last_seq: int
    last_at: int
    skip_seq: int = 0  # the newest COMMAND of somebody else
    own: tuple[int, ...] = ()  # the user's own messages, ascending

    def merge(self, other: "News") -> "News":
        """Watermarks are maxima: of two fan-outs nothing is lost by applying both at once. (Nobody's own message is in one.)"""
        newest = max(self, other, key=lambda news: news.last_seq)
        return News(newest.last_seq, newest.last_at, max(self.skip_seq, other.skip_seq))


def moves(news: News, marks: Marks) -> dict[str, int]:
    """Which marks a delivery moves, and where to. What is not in the result stays, so repeating or reordering changes nothing."""
    read, skip = marks.read_seq, max(marks.skip_seq, news.skip_seq)
    for seq in news.own:
        if max(read, marks.join_seq) == seq - 1:  # nothing unread before it: the user has read as far as their own message
            read = seq
        elif seq > read:
            skip = max(skip, seq)
    moved = {"read_seq": read, "skip_seq": skip}
    if news.last_seq > marks.last_seq:
        moved |= {"last_seq": news.last_seq, "last_at": news.last_at}
    return {name: value for name, value in moved.items() if value != getattr(marks, name)}


def unread(marks: Marks) -> int | None:
    """The unread number where one subtraction tells it; None where the log has to be counted."""
    if marks.last_seq <= marks.floor:
        return 0
    return marks.last_seq - marks.floor if marks.skip_seq <= marks.floor else None


def status(msg_id: int, marks: Marks) -> str:
    """Of a message, by the marks of who was to read it."""
    if marks.read_seq >= msg_id:
        return "READ"
    return "DELIVERED" if marks.fetched_seq >= msg_id else "UNREAD"


def ahead(upto: Mapping[str, int], marks: Marks) -> dict[str, int]:
    """Those of the marks `upto` that lie ahead of where they are."""
    return {name: value for name, value in upto.items() if value > getattr(marks, name)}


def marks_of(row: Mapping[str, object]) -> Marks:
    """The marks of a stored Inbox row."""
    return replace(Marks(), **{f.name: row[f.name] for f in fields(Marks) if f.name in row})  # type: ignore[arg-type]


def next_uncounted(before: int | None, chain: int, msg_id: int, ctype: int) -> tuple[int, int]:
    """`uncounted` and `chain` of message `msg_id`, which follows one with these (`before` None: of that one the sum is not known)."""
    counts_not = int(ctype == COMMAND)
    return (counts_not, msg_id) if before is None else (before + counts_not, chain)


def digest(what: Mapping[str, object]) -> str:
    """Of a request's meaning: equal exactly for requests that ask for the same."""
    return hashlib.sha256(json.dumps(what, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def require_sendable(ctype: int, parts: Mapping[str, str | None], limit: int) -> None:
    """ApiError unless a message of this type may have these parts: BAD_PARAMETER, MESSAGE_TOO_LARGE."""
    if ctype == TEXT and not parts["content"]:
        raise ApiError(Code.BAD_PARAMETER, "content: a TEXT message needs a non-empty string")
    if ctype in WITH_ATTACHMENT and not parts["attachment"]:
        raise ApiError(Code.BAD_PARAMETER, f"attachment: {CONTENT_TYPES[ctype]} messages need a non-empty string")
    size = text_bytes(parts)
    if size > limit:
        raise ApiError(Code.MESSAGE_TOO_LARGE, f"content, attachment, config and ext are {size} bytes together, the limit is {limit}")


def require_request_size(text_bytes: int, targets: int, limit: int) -> None:
    """ApiError MESSAGE_TOO_LARGE for more than a request may write over all its targets."""
    if text_bytes * targets > limit:
        raise ApiError(Code.MESSAGE_TOO_LARGE, f"targets: {text_bytes} bytes to each of {targets} are too many, the limit is {limit}")


def text_bytes(parts: Mapping[str, str | None]) -> int:
    """The size of a message's strings in UTF-8."""
    return sum(len((parts[name] or "").encode()) for name in PARTS)


def fitting(sizes: Sequence[int], budget: int = PAGE_BYTES) -> int:
    """How many messages of these sizes fit one reply: at least one."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if count and total > budget:
            return count
    return len(sizes)

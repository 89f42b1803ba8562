"""Decisions that need no store: pure functions of what was read, what was asked and the time."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from messaging.base.errors import ApiError, Code

TEXT, IMAGE, AUDIO, VIDEO, FILE, LOCATION, COMMAND, FORWARD = range(8)
CONTENT_TYPES = ("TEXT", "IMAGE", "AUDIO", "VIDEO", "FILE", "LOCATION", "COMMAND", "FORWARD")
WITH_ATTACHMENT = (IMAGE, AUDIO, VIDEO, FILE)
PARTS = ("content", "attachment", "config", "ext")  # the strings of a message; together at most MESSAGE_LIMIT_BYTES

# A reply may hold 6 MB (Lambda quota). A control character takes one byte stored, six in JSON, and seven in the JSON string that
# carries the reply to API Gateway: 800 KB of stored text always fits.
PAGE_BYTES = 800_000

MAX_OWN = 200  # of a user's own messages that a row remembers: about a kilobyte, the unit of a write


class Skip(NamedTuple):
    """A message that does not count for somebody; and the sum at it and its chain, as `Message` has them."""

    seq: int = 0
    uncounted: int = 0
    chain: int = 1
    is_command: bool = False


NO_SKIP = Skip()


def newest_skip(skips: Sequence[Skip], count_seq: int) -> tuple[Skip, int]:
    """The newest of these, and up to where only the log tells what does not count: its sum says nothing of what an older chain skipped.

    In whatever order and groups skips come together, the result is the same.
    """
    newest = max(skips, default=NO_SKIP)
    return newest, max([count_seq, *(skip.seq for skip in skips if skip.chain != newest.chain)])


@dataclass(frozen=True, slots=True)
class Marks:
    """How far one user is in one conversation: watermarks, which only ever grow, and what a row remembers of what `skip_seq` passed.

    Names and meaning: the stored Inbox row, but for `uncounted` and `chain` (see `marks_of`).
    """

    last_seq: int = 0  # the newest message delivered
    last_at: int = 0  # when it was sent, ms; goes with last_seq
    read_seq: int = 0  # the user has read up to here
    fetched_seq: int = 0  # the user has fetched up to here
    skip_seq: int = 0  # the newest message that does not count for this user and that no read mark covered when it came
    cut_seq: int = 0  # the user deleted the conversation up to here
    join_seq: int = 0  # the user joined the group after this message
    count_seq: int = 0  # up to here only the log tells what does not count
    uncounted: int = 0  # the sum at skip_seq
    chain: int = 1  # its chain
    own: tuple[int, ...] = ()  # the user's own messages that count for others, ascending: all that no mark covered when they came

    @property
    def floor(self) -> int:
        """Messages up to here are not unread."""
        return max(self.read_seq, self.cut_seq, self.join_seq)

    @property
    def skip(self) -> Skip:
        return Skip(self.skip_seq, self.uncounted, self.chain)

    @property
    def is_explained(self) -> bool:
        """Whether what moved `skip_seq` said what it skipped. Joining, a rebuild and a delivery by 0.1.0 do not."""
        return not self.skip_seq or self.chain <= self.skip_seq


WATERMARKS = tuple(field.name for field in fields(Marks) if field.name not in ("uncounted", "chain", "own"))


@dataclass(frozen=True, slots=True)
class News:
    """What a delivery tells one user about one conversation."""

    last_seq: int
    last_at: int
    skip: Skip = NO_SKIP  # the newest COMMAND of somebody else
    own: tuple[Skip, ...] = ()  # the user's own messages, ascending
    count_seq: int = 0  # see `newest_skip`

    def merge(self, other: "News") -> "News":
        """Watermarks are maxima: of two fan-outs nothing is lost by applying both at once. (Nobody's own message is in one.)"""
        newest = max(self, other, key=lambda news: news.last_seq)
        skip, count_seq = newest_skip([self.skip, other.skip], max(self.count_seq, other.count_seq))
        return News(newest.last_seq, newest.last_at, skip, count_seq=count_seq)


def moves(news: News, marks: Marks) -> dict[str, Any]:
    """What a delivery changes of a row. What is not in the result stays, so repeating or reordering changes nothing."""
    read, own, skipped = marks.read_seq, set[int](), [marks.skip, news.skip]
    for sent in news.own:
        if max(read, marks.join_seq) == sent.seq - 1:  # nothing unread before it: the user has read as far as their own message
            read = sent.seq
        elif sent.seq > read:
            skipped.append(sent)
            if not sent.is_command:
                own.add(sent.seq)
    moved: dict[str, Any] = {"read_seq": read} if read != marks.read_seq else {}
    newest, count_seq = newest_skip(skipped, max(marks.count_seq, news.count_seq))
    if newest.seq > marks.skip_seq:
        moved |= {"skip_seq": newest.seq, "skip_sum": {"seq": newest.seq, "uncounted": newest.uncounted, "chain": newest.chain}}
    if count_seq > marks.count_seq or ("skip_sum" in moved and not marks.is_explained):
        moved["count_seq"] = count_seq
    moved |= _remembered(own, replace(marks, read_seq=read, count_seq=count_seq))
    if news.last_seq > marks.last_seq:
        moved |= {"last_seq": news.last_seq, "last_at": news.last_at}
    return moved


def _remembered(own: set[int], marks: Marks) -> dict[str, Any]:
    """The user's own messages with these among them: those that a row has to know. Of too many the older half is left to the log."""
    covered = max(marks.floor, marks.count_seq)
    if all(seq <= covered or seq in marks.own for seq in own):
        return {}
    kept = sorted(seq for seq in own.union(marks.own) if seq > covered)
    if len(kept) <= MAX_OWN:
        return {"own": kept}
    newer = len(kept) - MAX_OWN // 2
    return {"own": kept[newer:], "count_seq": kept[newer - 1]}


def unread(marks: Marks) -> int | None:
    """The unread number where one subtraction tells it; None where something after the floor does not count."""
    if marks.last_seq <= marks.floor:
        return 0
    return marks.last_seq - marks.floor if marks.skip_seq <= marks.floor else None


@dataclass(frozen=True, slots=True)
class Tally:
    """What the log said of the messages after `floor`. Kept in the row it is right as long as its floor is the row's.

    Up to `after` they have expired. Of those after it and up to `upto`, `skipped` do not count. `uncounted`: the sum at `upto`, and its
    chain; None where it is not known. `live_at` (ms): when the message after `after` was sent; 0 where nobody looked. `retention_s`:
    what the setting was.
    """

    floor: int
    after: int
    upto: int
    skipped: int = 0
    uncounted: int | None = None
    chain: int = 1
    live_at: int = 0
    retention_s: int = 0


def number(marks: Marks, tally: Tally) -> int | None:
    """The unread number; None where `tally` does not reach far enough."""
    if marks.last_seq <= tally.after:
        return 0
    if tally.retention_s and not tally.live_at:
        return None
    if marks.skip_seq <= tally.upto:
        commands = 0
    elif tally.upto < marks.count_seq:
        return None
    elif tally.upto < marks.chain or not marks.uncounted:
        commands = marks.uncounted
    elif tally.uncounted is None or tally.chain != marks.chain:
        return None
    else:
        commands = marks.uncounted - tally.uncounted
    own = sum(seq > tally.upto for seq in marks.own)
    return marks.last_seq - tally.after - tally.skipped - commands - own


def status(msg_id: int, marks: Marks) -> str:
    """Of a message, by the marks of who was to read it."""
    if marks.read_seq >= msg_id:
        return "READ"
    return "DELIVERED" if marks.fetched_seq >= msg_id else "UNREAD"


def ahead(upto: Mapping[str, int], marks: Marks) -> dict[str, int]:
    """Those of the marks `upto` that lie ahead of where they are."""
    return {name: value for name, value in upto.items() if value > getattr(marks, name)}


def marks_of(row: Mapping[str, Any]) -> Marks:
    """The marks of a stored Inbox row, or of a group's head.

    `skip_sum` of the row says what the sum was at the number that it names. Where that is not `skip_seq`, the mark was moved without a
    word of what it skipped: then all up to there is left to the log.
    """
    marks = Marks(**{name: row[name] for name in WATERMARKS if name in row}, own=tuple(row.get("own", ())))
    told = row.get("skip_sum", {})
    if told.get("seq") == marks.skip_seq:
        return replace(marks, uncounted=told["uncounted"], chain=told["chain"])
    return replace(marks, chain=marks.skip_seq + 1, count_seq=max(marks.count_seq, marks.skip_seq))


def with_head(marks: Marks, head: Marks) -> Marks:
    """The marks of a member of a group that is read by its head."""
    if head.last_seq > marks.last_seq:
        marks = replace(marks, last_seq=head.last_seq, last_at=head.last_at)
    skip, count_seq = newest_skip([marks.skip, head.skip], max(marks.count_seq, head.count_seq))
    return replace(marks, skip_seq=skip.seq, uncounted=skip.uncounted, chain=skip.chain, count_seq=count_seq)


def next_uncounted(before: int | None, chain: int, msg_id: int, ctype: int) -> tuple[int, int]:
    """`uncounted` and `chain` of message `msg_id`, which follows one with these (`before` None: of that one the sum is not known)."""
    counts_not = int(ctype == COMMAND)
    return (counts_not, msg_id) if before is None else (before + counts_not, chain)


def skip_of(seq: int, ctype: int, uncounted: int | None, chain: int) -> Skip:
    """A message as one that is skipped. One of 0.1.0 has no sum: it is a chain of its own."""
    told = next_uncounted(None, 1, seq, ctype) if uncounted is None else (uncounted, chain)
    return Skip(seq, *told, ctype == COMMAND)


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

"""How many messages are unread: told from the rows, and where a row cannot tell, from as little of the log as possible.

A row knows what of it does not count: the user's own messages, and the sum of COMMANDs at `skip_seq`. To that the log adds the sum at
the floor, which is one message; where messages expire, which is the first that is left; and up to `count_seq` it has to be counted.
What it said is kept in the row, so that the next list asks for none of it again.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from typing import NamedTuple

from messaging.base import store
from messaging.base.settings import settings
from messaging.base.telemetry import logger
from messaging.conversations import inbox, log, rules
from messaging.conversations.log import Glimpse
from messaging.conversations.lookup import Found
from messaging.conversations.rules import Marks, Tally

COUNTING_S = 8  # seconds after which no page is begun: one that then times out three times over still ends before the function does
FIELDS = {field.name for field in fields(Tally)}
KEPT = 100  # tallies that one list writes; the others are read once more


class Told(NamedTuple):
    """The unread number (None: not told this time), and what the log has said for it so far."""

    num: int | None
    tally: Tally


def deadline() -> float:
    """Until when a request that begins now may ask the log, by the monotonic clock."""
    return time.monotonic() + COUNTING_S


def numbers(app_id: str, reader: int, listed: Sequence[Found], now_ms: int, until: float, *, keeps: bool = True) -> list[int | None]:
    """The unread number of each conversation, exact; None where the log could not tell it until then, or not at all.

    A number that is missing fails no other. What was counted for it is kept, and the next list goes on from there.
    """
    nums = [_subtracted(found.marks) for found in listed]
    asked = [at for at, num in enumerate(nums) if num is None]
    before = {at: _begun(listed[at], now_ms) for at in asked}
    told = {at: Told(rules.number(listed[at].marks, tally), tally) for at, tally in before.items()}
    try:
        told |= _glimpsed(listed, {at: each.tally for at, each in told.items() if each.num is None}, now_ms)
    except Exception:  # whatever it is: the numbers that need nothing of the log are told
        logger.exception("unread numbers not told")
        until = 0
    rest = [at for at, each in told.items() if each.num is None]
    counted = store.parallel([partial(_counted, reader, listed[at], told[at].tally, now_ms, until) for at in rest])
    told |= dict(zip(rest, counted, strict=True))
    changed = [at for at in dict.fromkeys([*rest, *told]) if keeps and told[at].tally != before[at]]  # what was dearest first
    store.parallel([partial(_keep, app_id, reader, listed[at], told[at].tally) for at in changed[:KEPT]])
    return [told[at].num if at in told else num for at, num in enumerate(nums)]


def _subtracted(marks: Marks) -> int | None:
    """The number where the row alone tells it. Where messages expire, the only one after the floor is the newest, which is there."""
    num = rules.unread(marks)
    return num if not num or num == 1 or not settings().retention_s else None


def _begun(found: Found, now_ms: int) -> Tally:
    """Where an earlier list stopped, or the floor."""
    marks, retention_s = found.marks, settings().retention_s
    floor = marks.floor
    kept = Tally(**found.tally) if found.tally and found.tally.keys() <= FIELDS else None  # a later release may keep more
    if kept is None or (kept.floor, kept.retention_s) != (floor, retention_s):
        kept = Tally(floor, floor, floor, retention_s=retention_s)
    elif kept.live_at and log.expired(kept.live_at, now_ms):
        kept = Tally(floor, kept.after + 1, kept.after + 1, retention_s=retention_s)
    if retention_s and not kept.live_at and marks.last_seq == kept.after + 1:
        kept = replace(kept, live_at=marks.last_at)
    return kept


def _with(tally: Tally, glimpse: Glimpse) -> Tally:
    """What the message after `upto` says."""
    live = {"live_at": glimpse.sent_at} if tally.retention_s and not tally.live_at else {}
    return replace(tally, uncounted=glimpse.before, chain=glimpse.chain, **live)


def _glimpsed(listed: Sequence[Found], tallies: dict[int, Tally], now_ms: int) -> dict[int, Told]:
    """One message each, of all conversations at once, tells most of them."""
    wanted = [at for at, tally in tallies.items() if _is_one_short(listed[at].marks, tally)]
    glimpses = log.glimpse([(listed[at].conversation, tallies[at].upto + 1) for at in wanted])
    told = {}
    for at, glimpse in zip(wanted, glimpses, strict=True):
        tally = tallies[at]
        if glimpse and log.expired(glimpse.sent_at, now_ms):
            told[at] = Told(None, replace(tally, after=glimpse.msg_id, upto=glimpse.msg_id))
        elif glimpse:
            tally = _with(tally, glimpse)
            told[at] = Told(rules.number(listed[at].marks, tally), tally)
    return told


def _is_one_short(marks: Marks, tally: Tally) -> bool:
    """Whether it is the message after `upto` that is asked for, and nothing has to be counted before."""
    return bool(tally.retention_s and not tally.live_at) or tally.upto >= marks.count_seq


def _counted(reader: int, found: Found, tally: Tally, now_ms: int, until: float) -> Told:
    """As far as the log can be asked in time."""
    steps = _steps(reader, found, tally, now_ms)
    try:
        while time.monotonic() < until and (further := next(steps, None)):
            tally = further
    except Exception:  # whatever it is: this number is left out, and the list is told
        logger.exception("unread number not told", extra={"conversation": found.conversation.key})
    return Told(rules.number(found.marks, tally), tally)


def _steps(reader: int, found: Found, tally: Tally, now_ms: int) -> Iterator[Tally]:
    """What the log says, a call at a time, until it is enough."""
    conversation, marks = found.conversation, found.marks
    newest = Glimpse(marks.last_seq, marks.last_at)
    if tally.retention_s and not tally.live_at:
        first = log.first_live(conversation, tally.after, newest, now_ms)
        after = first.msg_id - 1
        yield (tally := _with(replace(tally, after=after, upto=after), first))
    if tally.upto < marks.count_seq:
        for further in _pages(reader, found, tally, marks.count_seq):
            yield (tally := further)
    if rules.number(marks, tally) is None:
        first = log.first(conversation, tally.upto, newest)  # what is not there counts for nobody
        skipped = tally.skipped + first.msg_id - 1 - tally.upto
        yield (tally := _with(replace(tally, upto=first.msg_id - 1, skipped=skipped), first))
    if rules.number(marks, tally) is None:  # that message has no sum, or one of another chain
        yield from _pages(reader, found, tally, marks.skip_seq)


def _pages(reader: int, found: Found, tally: Tally, upto: int) -> Iterator[Tally]:
    """Counts the log up to a message."""
    for reached, counting in log.counts(found.conversation, tally.upto, upto, reader):
        skipped = tally.skipped + reached - tally.upto - counting
        tally = replace(tally, upto=reached, skipped=skipped, uncounted=None, chain=1)
        yield tally


def _keep(app_id: str, reader: int, found: Found, tally: Tally) -> None:
    kept = {name: value for name, value in asdict(tally).items() if value is not None}
    try:
        inbox.keep(app_id, reader, found.number, kept)
    except Exception:  # whatever it is: the number has been told, and will only have to be asked for once more
        logger.exception("tally not kept", extra={"conversation": found.conversation.key})

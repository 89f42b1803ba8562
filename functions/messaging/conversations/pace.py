"""How fast a conversation may be written into, and by whom: the generic cell rate algorithm, with a share for each sender. Pure rules.

A message takes its conversation an interval (1000 ms / the rate), and a large one as long as its write units take a partition. While
that is more than has passed, the conversation has a backlog, ms, and the newest message says so, and whose it is. It drains by itself,
everybody's share in proportion. One sender may have `burst` intervals of it alone, k of them together two bursts, of which each has
1 / (k + 1); and there is room for a third, which they never reach: whoever has less than that share always gets in.
"""

from collections.abc import Mapping
from math import ceil
from typing import NamedTuple

UNIT_MS = 1  # a partition takes 1,000 write units a second, AWS limit
UNIT_BYTES = 1024  # of a write unit, AWS
ITEM_BYTES = 200  # of a message beside what it says
LEAD_MS = 5_000  # what is further ahead than that is a wrong clock's and counts for nothing
SHARES = 40  # senders whose shares are told apart, the largest: half a kilobyte. Of 60 at once everybody's share is a message a second

Shares = Mapping[int, int]  # sender → ms of the backlog


class Backlog(NamedTuple):
    """At the moment `at` (ms), until when a conversation is busy, and with whose messages."""

    at: int
    until: int
    shares: Shares

    @property
    def ms(self) -> int:
        return max(0, self.until - self.at)


def interval(rate_per_s: int) -> int:
    """What a small message takes, ms; 0: there is no limit."""
    return 1000 // rate_per_s if rate_per_s else 0


def cost(text_bytes: int, rate_per_s: int) -> int:
    """What putting a message takes, ms."""
    return max(interval(rate_per_s), ceil((text_bytes + ITEM_BYTES) / UNIT_BYTES) * UNIT_MS) if rate_per_s else 0


def backlog(sent_at: int, busy_until: int, shares: Shares, now_ms: int) -> Backlog:
    """What is left now of what the newest message said when it was sent.

    It is as late as the newest message says, or as it is now. A message from further ahead than `LEAD_MS` tells nothing of the time:
    what it says itself is believed only where somebody with a right clock has written it, which then is before `sent_at`.
    """
    wrong_clock = sent_at > now_ms + LEAD_MS
    at = now_ms if wrong_clock else max(now_ms, sent_at)
    if busy_until <= at or (wrong_clock and busy_until >= sent_at):
        return Backlog(at, at, {})
    # Rounded up: together the shares are never less than the part of the backlog that they are of, so nobody's is forgotten.
    before = max(busy_until - sent_at, sum(shares.values()))
    left = {sender: ceil(share * (busy_until - at) / before) for sender, share in shares.items()}
    return Backlog(at, busy_until, left)


def refuses(waiting: Backlog, sender: int, cost_ms: int, rate_per_s: int, burst: int) -> bool:
    """Whether this sender has to wait: for their own share, which is smaller the more senders have one, or because it is full.

    A share goes up by a message and drains between two of them; it is its middle that is compared.
    """
    one = interval(rate_per_s)
    own, sharing = waiting.shares.get(sender, 0), 1 + sum(share >= one for each, share in waiting.shares.items() if each != sender)
    middle, fair = own + cost_ms / 2, 2 * burst * one / (sharing + 1) + one / 2
    return waiting.ms > 3 * burst * one or (own > 0 and middle > fair)


def added(waiting: Backlog, sender: int, cost_ms: int) -> Backlog:
    """With one message more."""
    shares = {**waiting.shares, sender: waiting.shares.get(sender, 0) + cost_ms}
    largest = sorted(shares, key=lambda each: (-shares[each], each))[:SHARES]
    return Backlog(waiting.at, waiting.at + waiting.ms + cost_ms, {each: shares[each] for each in largest})

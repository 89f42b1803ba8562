"""What time it is: the container's own clock, and AWS's where the container's is off.

Every reply of AWS carries the time at which it was written. It is compared with the container's clock at that moment, every few seconds at
most, and costs no call. A container that was frozen keeps what was found, for both clocks went on meanwhile.
"""

import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

TOLERATED_MS = 2_000  # clocks that NTP keeps differ by milliseconds; a `Date` has whole seconds
LOOK_EVERY_MS = 5_000
WIDEST_MS = 4_000  # a call that took longer says too little of when its reply was written
SENT_AT = "parley_sent_at"  # in botocore's context of a call: when it began, ms


@dataclass
class _Known:
    ahead_ms: int = 0  # AWS's clock before the container's; 0 where they agree
    looked_at_ms: int = 0


_known = _Known()


def now_ms() -> int:
    """Milliseconds since the epoch: what decides about rights, expiry and when a message was sent."""
    return _own_ms() + _known.ahead_ms


def forget() -> None:
    """As in a new container."""
    _known.ahead_ms = _known.looked_at_ms = 0


def watch(events: Any) -> None:
    """Compares clocks with every reply that a client (its `meta.events`) gets."""
    events.register("before-call", begin)
    events.register("after-call", end)


def begin(context: MutableMapping[str, Any], **_: object) -> None:
    now = _own_ms()
    if abs(now - _known.looked_at_ms) >= LOOK_EVERY_MS:
        context[SENT_AT] = now


def end(context: MutableMapping[str, Any], parsed: MutableMapping[str, Any], **_: object) -> None:
    date = parsed.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if SENT_AT in context and date:
        compare(context[SENT_AT], date, _own_ms())


def compare(sent_ms: int, date: str, received_ms: int) -> None:
    """AWS wrote `date` between these two moments of the container's clock: what it is ahead by lies in between, too."""
    try:
        aws_ms = int(parsedate_to_datetime(date).timestamp()) * 1000
    except ValueError:
        return
    least, most = aws_ms - received_ms, aws_ms + 1000 - sent_ms
    if not 0 < most - least <= WIDEST_MS:
        return
    off = least > TOLERATED_MS or most < -TOLERATED_MS
    _known.ahead_ms, _known.looked_at_ms = (least + most) // 2 if off else 0, received_ms


def _own_ms() -> int:
    return time.time_ns() // 1_000_000

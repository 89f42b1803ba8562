"""How much one sender may send, wherever they write, and an app's administrators where its operator said so.

A unit is one target and started 4 KiB of text. The generic cell rate algorithm, its one number (until when the sender is busy) in an item
that all containers share. Ordinary senders pay nothing for it: a container adds up what it has let through, and only once that is a good
part of a burst does it add it to the item and learn what the others have added. What it has not added is forgotten so slowly that who
types never gets there, and so quickly that a hundred containers forget no more than the rate.

Item, in Dedup: `dedup_key` (the user, 0 for the app), `busy_until` (µs since the epoch), `expires_at` (s, TTL).
"""

from collections import OrderedDict
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from messaging.base import keys, store
from messaging.base.errors import ApiError, Code
from messaging.base.settings import settings
from messaging.conversations import dedup
from messaging.people import directory
from messaging.people.models import Caller

UNIT_BYTES = 4096  # of text to one target
OWED_SHARE = 20  # a container adds to the item what is more than this part of a burst
FORGOTTEN_SHARE = 100  # what it has not added, it forgets at this part of the rate
EXCHANGE_MS = 1_000  # and where it is an app that is limited, it waits no longer than this
REMEMBERED = 4096  # senders of whom a container knows something
ROUNDS = 4  # times an item may change under a write
KEPT_S = 86_400  # longer than anybody is busy
SECOND_US = 1_000_000


class Limit(NamedTuple):
    """Of whom (the key of the item), and how much."""

    key: str
    rate: int  # units a second
    burst: int  # units at once
    waits_ms: int | None = None  # how long what was let through may be kept from the other containers; None: as long as it is little

    def us(self, units: int) -> int:
        """How long so many units keep a sender busy."""
        return units * SECOND_US // self.rate

    def latest(self, units: int, now_us: int) -> int:
        """Who is busy no longer than until then may send so many units: what is left of the burst, or all of it, if they are more."""
        return now_us + self.us(max(0, self.burst - units))


@dataclass
class Account:
    """What a container knows of a sender. Times in µs."""

    busy_until: int = 0  # as the item last said, and what was let through here since
    owed: int = 0  # let through here, and not in the item
    forgotten_at: int = 0
    added_at: int = 0


_accounts: OrderedDict[str, Account] = OrderedDict()


def units(targets: int, text_bytes: int) -> int:
    return targets * max(1, ceil(text_bytes / UNIT_BYTES))


def of(caller: Caller) -> Limit | None:
    """A user's own limit; an app's for its administrators and for other AWS services, where the operator has set one."""
    if caller.is_admin:
        app = directory.app(caller.app_id)
        rate, burst = app.get("send_rate", 0), app.get("send_burst", 0)
        return Limit(keys.limited(caller.app_id, 0), rate, burst, EXCHANGE_MS) if rate else None
    rate, burst = settings().user_rate_per_s, settings().user_burst
    return Limit(keys.limited(caller.app_id, caller.user_id), rate, burst) if rate else None


def require_room(limit: Limit, amount: int, now_ms: int) -> None:
    """ApiError TOO_MANY_REQUESTS where this container knows that it is too much. No call."""
    now_us = now_ms * 1000
    _require(limit, amount, _account(limit, now_us).busy_until, now_us)


def spend(limit: Limit, amount: int, now_ms: int) -> None:
    """Lets so many units through, or ApiError TOO_MANY_REQUESTS; one write where the sender is heavy, else none."""
    now_us = now_ms * 1000
    account = _account(limit, now_us)
    _require(limit, amount, account.busy_until, now_us)
    owed = account.owed + limit.us(amount)
    waited = owed > 0 and limit.waits_ms is not None and now_us - account.added_at >= limit.waits_ms * 1000
    if owed * OWED_SHARE > limit.us(limit.burst) or waited:
        account.busy_until = _add(limit, amount, owed, account, now_us)
        account.owed, account.added_at = 0, now_us
    else:
        account.busy_until = max(account.busy_until, now_us) + limit.us(amount)
        account.owed = owed


def give_back(limit: Limit, amount: int) -> None:
    """What was let through was refused after all. What is in the item already is made up for by what comes next."""
    account = _account(limit, 0)
    account.busy_until -= limit.us(amount)
    account.owed -= limit.us(amount)


def forget() -> None:
    """As in a new container."""
    _accounts.clear()


def _account(limit: Limit, now_us: int) -> Account:
    account = _accounts.setdefault(limit.key, Account())
    _accounts.move_to_end(limit.key)
    if len(_accounts) > REMEMBERED:
        _accounts.popitem(last=False)
    passed = max(0, now_us - account.forgotten_at)
    account.owed = max(min(account.owed, 0), account.owed - passed // FORGOTTEN_SHARE)
    account.forgotten_at = max(now_us, account.forgotten_at)
    return account


def _require(limit: Limit, amount: int, busy_until: int, now_us: int) -> None:
    early_us = busy_until - limit.latest(amount, now_us)
    if early_us > 0:
        whose = "of this user" if limit.waits_ms is None else "of this app"
        raise ApiError(Code.TOO_MANY_REQUESTS, f"too many messages {whose}: send again in {ceil(early_us / SECOND_US)} s")


def _add(limit: Limit, amount: int, owed: int, account: Account, now_us: int) -> int:
    """Adds what is owed to the item, if that lets this request in; until when the sender is busy then.

    A repeat by the SDK after a lost reply adds it twice: a moment's wait more, not worth a nonce.
    """
    latest, table = limit.latest(amount, now_us), settings().dedup_table
    busy = account.busy_until > now_us
    for _ in range(ROUNDS):
        values = {":now": now_us, ":expires": now_us // SECOND_US + KEPT_S}
        if busy:
            change, condition = "busy_until + :owed", "busy_until > :now AND busy_until <= :latest"
            values |= {":owed": owed, ":latest": latest}
        else:
            change, condition = ":then", "attribute_not_exists(busy_until) OR busy_until <= :now"
            values |= {":then": now_us + owed}
        outcome = store.attempt(
            store.dynamodb().update_item,
            TableName=table,
            Key=store.pack(dedup.ref(limit.key)[1]),
            UpdateExpression=f"SET busy_until = {change}, expires_at = :expires",
            ConditionExpression=condition,
            ExpressionAttributeValues=store.pack(values),
            ReturnValues="UPDATED_NEW",
        )
        until: int = outcome.item.get("busy_until", 0)
        if outcome.applied:
            return until
        account.busy_until = max(account.busy_until, until)
        _require(limit, amount, until, now_us)
        busy = until > now_us
    raise ApiError(Code.TOO_MANY_REQUESTS, "too many messages at once, send again")

"""Sending, to users and to groups: what send and notify have in common. The promise: stored once, in order, or refused as a whole.

Round trips to the store: the checks and the newest number side by side; the reservation, where there is a `transaction_id`; the message.
So two, or three, whatever the size of a group. With several targets the newest numbers wait for the checks, so that a refused batch has
read no log: three, or four, whatever their number. One more for a sender who is heavy (`limits`).
"""

import uuid
from functools import partial
from typing import Any, Literal, NamedTuple

from messaging.base import keys, store
from messaging.base.errors import ApiError, Code
from messaging.base.keys import Conversation
from messaging.base.settings import settings
from messaging.conversations import dedup, inbox, limits, log, rules
from messaging.conversations.dedup import Reservation, Slots
from messaging.conversations.log import Tip
from messaging.conversations.models import Message, SendRequest
from messaging.people import directory
from messaging.people.models import Caller

SYSTEM = 0  # the sender of a notification that names none
USERS, GROUPS = 1, 2  # SendRequest.type
Operation = Literal["send", "notify"]


class _Post(NamedTuple):
    """A request, and what follows from it alone. `logs` by target; without a `transaction`, `written_by` is a nonce."""

    caller: Caller
    request: SendRequest
    sender: int
    now_ms: int
    message: Message  # but for its place
    logs: dict[int, Conversation]
    transaction: str | None
    digest: str
    written_by: str


def post(caller: Caller, request: SendRequest, operation: Operation, sender: int, now_ms: int) -> list[int]:
    """Stores the message for every target and returns its number in each one's conversation, in the order of `targets`.

    ApiError with nothing written: BAD_PARAMETER, MESSAGE_TOO_LARGE, UNKNOWN_USER, UNKNOWN_GROUP, NOT_A_MEMBER,
    TRANSACTION_ID_REUSED. TOO_MANY_REQUESTS and STORE_FAILED may leave some of several targets done: repeating the request with
    the same `transaction_id` does the rest; without one, TOO_MANY_REQUESTS names those that are done.
    """
    this = _understood(caller, request, operation, sender, now_ms)
    limit, amount = limits.of(caller), limits.units(len(this.logs), this.message.text_bytes)
    try:
        if limit:
            limits.require_room(limit, amount, now_ms)
        earlier, tips = _allowed(this)
        spends = limit if not earlier else None
        if spends:
            limits.spend(spends, amount, now_ms)
    except ApiError:
        # Who may not send, or not now, still gets the answer to what is stored already, and to nothing else. Not so whose token is refused.
        this.caller.confirmed()
        stored = _stored(this)
        if stored is None:
            raise
        return [stored[target] for target in request.targets]

    free = {target: tip.msg_id + 1 for target, tip in tips.items()}
    if this.transaction and not earlier:
        earlier = dedup.reserve(this.transaction, this.digest, free, now_ms)
    slots = earlier.slots if earlier else free
    missing = _missing(this, earlier) if earlier else list(free)
    found = store.parallel([partial(_append, this, target, slots[target], tips.get(target, log.NOTHING)) for target in missing])
    numbers = slots | {target: number for target, number in zip(missing, found, strict=True) if number}
    refused = [target for target, number in zip(missing, found, strict=True) if not number]
    if spends and len(missing) - len(refused) < len(this.logs):  # a repeat wrote less, or nothing
        limits.give_back(spends, amount - limits.units(len(missing) - len(refused), this.message.text_bytes))
    if refused:
        raise _crowded(this, refused)
    return [numbers[target] for target in request.targets]


def _understood(caller: Caller, request: SendRequest, operation: Operation, sender: int, now_ms: int) -> _Post:
    """ApiError BAD_PARAMETER, MESSAGE_TOO_LARGE."""
    parts = {name: getattr(request, name) for name in rules.PARTS}
    rules.require_sendable(request.content_type, parts, settings().message_limit_bytes)
    targets = sorted(set(request.targets))
    rules.require_request_size(rules.text_bytes(parts), len(targets), settings().request_limit_bytes)
    transaction = keys.request(caller.app_id, sender, operation, request.transaction_id) if request.transaction_id else None
    meaning = {"type": request.type, "targets": targets, "content_type": request.content_type, **parts}
    written_by = transaction or uuid.uuid4().hex
    message = Message(
        conversation="",
        msg_id=0,
        sent_at=now_ms,
        sender=sender,
        ctype=request.content_type,
        written_by=written_by,
        is_system=operation == "notify",
        **parts,
    )
    logs = {target: _conversation(caller.app_id, request.type, sender, target) for target in targets}
    return _Post(caller, request, sender, now_ms, message, logs, transaction, rules.digest(meaning) if transaction else "", written_by)


def _allowed(this: _Post) -> tuple[Reservation | None, dict[int, Tip]]:
    """What an earlier attempt has reserved, as far as that was looked for, and where there is nothing the newest message for each target.

    ApiError UNKNOWN_USER, UNKNOWN_GROUP, NOT_A_MEMBER, TRANSACTION_ID_REUSED, TOO_MANY_REQUESTS.
    """
    checks, targets, now_ms = _checks(this.caller, this.request.type, this.sender, list(this.logs)), list(this.logs), this.now_ms
    refs, reads = [check.ref for check in checks], [partial(log.tip, each, now_ms) for each in this.logs.values()]
    batch, record = len(targets) > 1, None
    if batch:
        # A batch's record may be large, and so are its reads: it is looked for along with the checks, and what it names is not read again.
        (found,) = this.caller.alongside(partial(store.get_many, [*refs, dedup.ref(this.transaction)] if this.transaction else refs))
        record = found.pop() if this.transaction else None
    else:
        found, *tips = this.caller.alongside(partial(store.get_many, refs), *reads)
    refusal = _refusal(this.caller.app_id, this.request, this.sender, list(zip(checks, found, strict=True)))
    if refusal:
        raise refusal
    earlier = dedup.claimed(record, this.digest, now_ms)
    if earlier:
        return earlier, {}
    if batch:
        tips = store.parallel(reads)
    newest = {target: log.settled(this.logs[target], tip, now_ms) for target, tip in zip(targets, tips, strict=True)}
    busy = [target for target, tip in newest.items() if log.overfull(tip, this.message, now_ms)]
    if busy:
        raise ApiError(Code.TOO_MANY_REQUESTS, f"targets: too many messages a second to {_named(busy)}, send again")
    return None, newest


def _stored(this: _Post) -> Slots | None:
    """The numbers of an earlier attempt at the same request, if it has stored the message for every target."""
    (record,) = store.get_many([dedup.ref(this.transaction)]) if this.transaction else [None]
    if not record or record["digest"] != this.digest:
        return None
    earlier = dedup.claimed(record, this.digest, this.now_ms)
    return earlier.slots if earlier and not _missing(this, earlier) else None


def _missing(this: _Post, earlier: Reservation) -> list[int]:
    """The targets whose slots do not hold the message yet; where none is left, the record is told so."""
    if earlier.finished:
        return []
    targets = list(earlier.slots)
    holders = log.holders([this.logs[target] for target in targets], earlier.slots.values())
    missing = [target for target, holder in zip(targets, holders, strict=True) if holder != this.written_by]
    if this.transaction and not missing:
        dedup.finish(this.transaction, this.digest)
    return missing


def _append(this: _Post, target: int, slot: int, newest: Tip) -> int | None:
    """The message's number; None where it lost too many races, or the conversation is too far ahead of its rate."""
    message = this.message.model_copy(update={"conversation": this.logs[target].key, "msg_id": slot})
    reserved: dict[str, Any] = {}
    if this.transaction:
        reserved["relocate"] = partial(dedup.relocate, this.transaction, this.digest, target)
    if this.transaction and len(this.logs) == 1:
        reserved["release"] = partial(dedup.release, this.transaction, this.digest, target)
    return log.append(message, newest, **reserved)


def _crowded(this: _Post, refused: list[int]) -> ApiError:
    """Of several targets some of which may be stored; of one nothing is."""
    stored = [target for target in this.logs if target not in refused]
    what = f"targets: too many messages at once to {_named(refused)}"
    if this.transaction or len(this.logs) == 1:
        return ApiError(Code.TOO_MANY_REQUESTS, f"{what}, send again")
    return ApiError(Code.TOO_MANY_REQUESTS, f"{what}; stored for {_named(stored) or 'nobody'}: send again to the others only")


def _named(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


class _Check(NamedTuple):
    """An item to be read, and what it has to be for the send to be allowed."""

    must_be: Literal["actor", "user", "group", "membership"]
    number: int
    ref: store.Ref

    def passed(self, item: store.Item | None) -> bool:
        if self.must_be == "membership":
            return inbox.belongs(item)
        return item is not None and item["what"] == ("group" if self.must_be == "group" else "user")


def _checks(caller: Caller, type_: int, sender: int, targets: list[int]) -> list[_Check]:
    named = [] if caller.vouched else [caller.user_id]
    if sender not in (SYSTEM, caller.user_id):
        named.append(sender)
    checks = [_Check("actor", number, directory.ref(caller.app_id, number)) for number in named]
    for target in targets:
        if type_ == USERS:
            checks.append(_Check("user", target, directory.ref(caller.app_id, target)))
        elif sender == SYSTEM:
            checks.append(_Check("group", target, directory.ref(caller.app_id, target)))
        elif target != caller.group_id:
            checks.append(_Check("membership", target, inbox.ref(caller.app_id, sender, target)))
    return checks


def _refusal(app_id: str, request: SendRequest, sender: int, checked: list[tuple[_Check, store.Item | None]]) -> ApiError | None:
    """Names every id that stands in the way: UNKNOWN_USER, UNKNOWN_GROUP, NOT_A_MEMBER."""
    failed = [check for check, item in checked if not check.passed(item)]
    if not failed:
        return None
    numbers = [check.number for check in failed]
    if failed[0].must_be == "actor":
        return directory.missing("user", "from_user_id" if numbers[0] == request.from_user_id else "user_id", numbers[:1])
    if request.type == USERS:
        return directory.missing("user", "targets", numbers)
    profiles = store.get_many([directory.ref(app_id, number) for number in numbers])
    unknown = [number for number, item in zip(numbers, profiles, strict=True) if not item or item["what"] != "group"]
    if unknown:
        return directory.missing("group", "targets", unknown)
    return ApiError(Code.NOT_A_MEMBER, f"targets: user {sender} is not in group {', '.join(map(str, numbers))}")


def _conversation(app_id: str, type_: int, sender: int, target: int) -> Conversation:
    if type_ == GROUPS:
        return keys.group(app_id, target)
    return keys.system(app_id, target) if sender == SYSTEM else keys.between(app_id, sender, target)

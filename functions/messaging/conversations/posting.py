"""Sending, to users and to groups: what send and notify have in common. The promise: stored once, in order, or refused as a whole.

Round trips to the store: the checks and the newest numbers side by side; the reservation, where there is a `transaction_id`; the
messages. So two, or three, whatever the number of targets or the size of a group.
"""

import uuid
from functools import partial
from typing import Literal, NamedTuple

from messaging.base import keys, store
from messaging.base.errors import ApiError, Code
from messaging.base.keys import Conversation
from messaging.base.settings import settings
from messaging.conversations import dedup, inbox, log, rules
from messaging.conversations.models import Message, SendRequest
from messaging.people import directory
from messaging.people.models import Caller

SYSTEM = 0  # the sender of a notification that names none
USERS, GROUPS = 1, 2  # SendRequest.type


def post(caller: Caller, request: SendRequest, operation: Literal["send", "notify"], sender: int, now_ms: int) -> list[int]:
    """Stores the message for every target and returns its number in each one's conversation, in the order of `targets`.

    ApiError with nothing written: BAD_PARAMETER, MESSAGE_TOO_LARGE, UNKNOWN_USER, UNKNOWN_GROUP, NOT_A_MEMBER,
    TRANSACTION_ID_REUSED. TOO_MANY_REQUESTS and STORE_FAILED may leave some of several targets done: repeating the request with
    the same `transaction_id` does the rest.
    """
    parts = {name: getattr(request, name) for name in rules.PARTS}
    rules.require_sendable(request.content_type, parts, settings().message_limit_bytes)
    targets = sorted(set(request.targets))
    logs = [_conversation(caller.app_id, request.type, sender, target) for target in targets]
    transaction = keys.request(caller.app_id, sender, operation, request.transaction_id) if request.transaction_id else None
    meaning = {"type": request.type, "targets": targets, "content_type": request.content_type, **parts}
    digest = rules.digest(meaning) if transaction else ""

    checks = _checks(caller, request.type, sender, targets)
    asked = partial(store.get_many, [check.ref for check in checks])
    found, *tips = caller.alongside(asked, *(partial(log.tip, conversation, now_ms) for conversation in logs))

    refusal = _refusal(caller.app_id, request, sender, list(zip(checks, found, strict=True))) or _storm(targets, tips, now_ms)
    # What was reserved when it was allowed is carried out, and answered the same.
    earlier = dedup.find(transaction, digest, now_ms) if transaction and refusal else None
    if refusal and earlier is None:
        raise refusal
    free = {target: tip.msg_id + 1 for target, tip in zip(targets, tips, strict=True)}
    slots = earlier or (dedup.reserve(transaction, digest, free, now_ms) if transaction else free)

    written_by = transaction or uuid.uuid4().hex
    appends = []
    for target, conversation, tip in zip(targets, logs, tips, strict=True):
        message = Message(
            conversation=conversation.key,
            msg_id=slots[target],
            sent_at=now_ms,
            sender=sender,
            ctype=request.content_type,
            written_by=written_by,
            is_system=operation == "notify",
            **parts,
        )
        relocate = partial(dedup.relocate, transaction, digest, target) if transaction else None
        appends.append(partial(log.append, message, tip, relocate))
    numbers = dict(zip(targets, store.parallel(appends), strict=True))
    return [numbers[target] for target in request.targets]


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


def _storm(targets: list[int], tips: list[log.Tip], now_ms: int) -> ApiError | None:
    """Names every target whose conversation is ahead of its rate: TOO_MANY_REQUESTS."""
    busy = [target for target, tip in zip(targets, tips, strict=True) if log.overfull(tip, now_ms)]
    if not busy:
        return None
    return ApiError(Code.TOO_MANY_REQUESTS, f"targets: too many messages a second to {', '.join(map(str, busy))}, send again")


def _conversation(app_id: str, type_: int, sender: int, target: int) -> Conversation:
    if type_ == GROUPS:
        return keys.group(app_id, target)
    return keys.system(app_id, target) if sender == SYSTEM else keys.between(app_id, sender, target)

"""Which slots a `transaction_id` has reserved, for 24 hours (a setting): what makes repeating a request harmless.

Record: `dedup_key`, `digest` of the request, `slots` (target as a string → msg_id), `expires_at` (s, TTL), and `finished` once somebody has
seen every slot hold its message. TTL deletion lags by up to days, so every reader compares `expires_at` itself.

A reservation protects a message that may be stored, or about to be. It moves on, or goes, only on the condition that it names a slot that
somebody else's message is known to hold: no attempt can fill that any more, and an attempt that holds a later one has it from the record.
"""

from typing import NamedTuple

from messaging.base import keys, store
from messaging.base.errors import ApiError, Code
from messaging.base.settings import settings

Slots = dict[int, int]  # target → msg_id


class Reservation(NamedTuple):
    """Of an earlier attempt at the same request."""

    slots: Slots
    finished: bool  # every slot holds its message


def ref(request: str) -> store.Ref:
    return settings().dedup_table, {"dedup_key": request}


def claimed(record: store.Item | None, digest: str, now_ms: int) -> Reservation | None:
    """What a record says; None where there is none within the window.

    ApiError TRANSACTION_ID_REUSED where the earlier request asked for something else.
    """
    if not record or record[keys.EXPIRES_AT] * 1000 <= now_ms:
        return None
    if record["digest"] != digest:
        raise ApiError(Code.TRANSACTION_ID_REUSED, "transaction_id: already used for a request with other content")
    return Reservation({int(target): slot for target, slot in record["slots"].items()}, record.get("finished", False))


def reserve(request: str, digest: str, slots: Slots, now_ms: int) -> Reservation | None:
    """Writes the reservation, on the condition that there is none; else returns the one that there is."""
    outcome = store.attempt(
        store.dynamodb().put_item,
        TableName=settings().dedup_table,
        Item=store.pack(
            {
                "dedup_key": request,
                "digest": digest,
                "slots": {str(target): slot for target, slot in slots.items()},
                keys.EXPIRES_AT: now_ms // 1000 + settings().dedup_window_s,
            }
        ),
        ConditionExpression="attribute_not_exists(dedup_key) OR expires_at <= :now",
        ExpressionAttributeValues=store.pack({":now": now_ms // 1000}),
    )
    return None if outcome.applied else claimed(outcome.item, digest, now_ms)


def relocate(request: str, digest: str, target: int, old: int, new: int) -> int:
    """Moves the reservation of one target, on the condition that it still names the old slot; returns the slot that it names now."""
    outcome = store.attempt(
        store.dynamodb().update_item,
        TableName=settings().dedup_table,
        Key=store.pack({"dedup_key": request}),
        UpdateExpression="SET slots.#target = :new",
        ConditionExpression="digest = :digest AND slots.#target = :old",
        ExpressionAttributeNames={"#target": str(target)},
        ExpressionAttributeValues=store.pack({":digest": digest, ":old": old, ":new": new}),
    )
    if outcome.applied:
        return new
    if outcome.item.get("digest") != digest:  # refused in another attempt meanwhile, or its window has ended
        raise ApiError(Code.STORE_FAILED, "transaction_id: the reservation has ended during the request, send again")
    return int(outcome.item["slots"][str(target)])


def release(request: str, digest: str, target: int, taken: int) -> None:
    """Removes the reservation, on the condition that it still names a slot that somebody else's message is known to hold."""
    store.attempt(
        store.dynamodb().delete_item,
        TableName=settings().dedup_table,
        Key=store.pack({"dedup_key": request}),
        ConditionExpression="digest = :digest AND slots.#target = :taken",
        ExpressionAttributeNames={"#target": str(target)},
        ExpressionAttributeValues=store.pack({":digest": digest, ":taken": taken}),
    )


def finish(request: str, digest: str) -> None:
    """Notes that every slot holds its message, so that the next repeat need not look."""
    store.update(ref(request), {"finished": True}, "digest = :digest", {"digest": digest})

"""Which slots a `transaction_id` has reserved, for 24 hours (a setting): what makes repeating a request harmless.

Record: `dedup_key`, `digest` of the request, `slots` (target as a string → msg_id), `expires_at` (s, TTL). TTL deletion lags by up to
days, so every reader compares `expires_at` itself.
"""

from messaging.base import keys, store
from messaging.base.errors import ApiError, Code
from messaging.base.settings import settings

Slots = dict[int, int]  # target → msg_id


def ref(request: str) -> store.Ref:
    return settings().dedup_table, {"dedup_key": request}


def find(request: str, digest: str, now_ms: int) -> Slots | None:
    """The slots of an earlier attempt at the same request; None where there was none within the window.

    ApiError TRANSACTION_ID_REUSED where the earlier request asked for something else.
    """
    (record,) = store.get_many([ref(request)])
    if not record or record[keys.EXPIRES_AT] * 1000 <= now_ms:
        return None
    return _claimed(record, digest)


def _claimed(record: store.Item, digest: str) -> Slots:
    if record["digest"] != digest:
        raise ApiError(Code.TRANSACTION_ID_REUSED, "transaction_id: already used for a request with other content")
    return {int(target): slot for target, slot in record["slots"].items()}


def reserve(request: str, digest: str, slots: Slots, now_ms: int) -> Slots:
    """Writes the reservation, on the condition that there is none; returns the slots that count, ours or an earlier attempt's."""
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
    return slots if outcome.applied else _claimed(outcome.item, digest)


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
    if outcome.item.get("digest") != digest:
        raise ApiError(Code.STORE_FAILED, "transaction_id: the dedup window ended during the request, send again")
    return int(outcome.item["slots"][str(target)])

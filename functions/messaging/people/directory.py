"""Who exists: apps, users, groups. Read by the endpoints, written by the command line.

Items: an app (`entity` = app: `admin_id`, `last_id`, which generations of its key are good, `send_rate` and `send_burst` where its sends
are limited), a user or a group (`entity` = app # number, `facet` = profile, `what`), and a group's members (`facet` = member # user). A
group's profile is its head too: `last_seq`, `last_at`, `skip_seq`, `skip_sum`. A user's may carry `revoked_at` (ms: older tokens are
refused; it only moves forward; `revoked_by` is a nonce) and `disabled`.
Apps, users and groups carry `listing`, the partition of the index that lists them. Of a user who was erased nothing is left but the
number (`what` = erased, `erased_at`), which nobody else ever gets.

An app of 0.1.0 has no generations, and may have a map of revocations (`revoked`: user id → ms): it is read and never written.
"""

import re
import uuid
from collections.abc import Iterable
from functools import partial
from typing import Literal

from messaging.base import keys, store
from messaging.base.errors import ApiError, Code
from messaging.base.memory import Memory
from messaging.base.settings import settings

CACHE_S = 30  # how long an app item is taken from memory: a change of an app's keys takes effect within a minute
CACHED_APPS = 256
ATTEMPTS = 100  # ids tried until a free one is found; ids chosen by hand may lie in the way
REVOKE_ROUNDS = 8  # times that somebody else may revoke the same user in between
ADMINISTRATOR_ID = 1
NAMED: dict[str, Literal["user", "group"]] = {"user": "user", "erased": "user", "group": "group"}  # by a number: `what`, of what kind
FIRST_ID = 1001  # of the users and groups whose number is not chosen by hand
NEWEST_KEY, OLDEST_KEY = "newest_key", "oldest_key"  # of an app's item: the generation that signs, and the oldest that is still good

_apps: Memory[str, store.Item] = Memory(CACHE_S, CACHED_APPS)


def ref(app_id: str, number: int) -> store.Ref:
    return settings().directory_table, {"entity": keys.entity(app_id, number), "facet": keys.PROFILE}


def app_ref(app_id: str) -> store.Ref:
    return settings().directory_table, {"entity": app_id, "facet": keys.PROFILE}


def app(app_id: str) -> store.Item:
    """The app's item, at most `CACHE_S` old; ApiError UNKNOWN_APP."""
    item = _apps.get(app_id)
    if item is None:
        item = store.get(app_ref(app_id))
        if item is None:
            raise no_app(app_id)
        _apps.put(app_id, item)
    return item


def no_app(app_id: str) -> ApiError:
    return ApiError(Code.UNKNOWN_APP, f"app_id: app {app_id} does not exist")


def what_is(app_id: str, number: int) -> Literal["user", "group"] | None:
    """`user`, `group`, or None where the number is not taken. One who was erased still is a user: what was said to them is their
    partners' to read, delivered or not."""
    item = store.get(ref(app_id, number))
    return NAMED.get(item["what"]) if item else None


def require(app_id: str, number: int, what: Literal["user", "group"], name: str) -> store.Item:
    """The profile of a user or group; ApiError UNKNOWN_USER or UNKNOWN_GROUP naming the parameter `name`."""
    item = store.get(ref(app_id, number))
    if not item or item["what"] != what:
        raise missing(what, name, [number])
    return item


def missing(what: str, name: str, numbers: Iterable[int]) -> ApiError:
    code = Code.UNKNOWN_USER if what == "user" else Code.UNKNOWN_GROUP
    return ApiError(code, f"{name}: no {what} {', '.join(map(str, numbers))}")


def members(app_id: str, group_id: int) -> list[int]:
    """Everybody in a group, read consistently."""
    items = store.query_all(
        TableName=settings().directory_table,
        KeyConditionExpression="entity = :g AND begins_with(facet, :m)",
        ExpressionAttributeValues=store.pack({":g": keys.entity(app_id, group_id), ":m": keys.MEMBER}),
        ProjectionExpression="facet",
    )
    return sorted(int(item["facet"].removeprefix(keys.MEMBER)) for item in items)


def create_app(app_id: str, now_ms: int) -> store.Item:
    """The app and its administrator; ApiError BAD_PARAMETER where the name is taken or cannot be one."""
    if not re.fullmatch(keys.APP_ID, app_id):
        raise ApiError(Code.BAD_PARAMETER, "app_id: 1 to 64 of A-Z a-z 0-9 _ -")
    _put(_profile(app_id, ADMINISTRATOR_ID, "user", now_ms) | {"title": "administrator"})  # there already after a crash in between
    item = {
        "entity": app_id,
        "facet": keys.PROFILE,
        "what": "app",
        "created_at": now_ms,
        "admin_id": ADMINISTRATOR_ID,
        "last_id": FIRST_ID - 1,
        NEWEST_KEY: 1,
        OLDEST_KEY: 1,
        "listing": keys.APPS,
        "entity_id": now_ms,
    }
    if not _put(item):
        raise ApiError(Code.BAD_PARAMETER, f"app_id: app {app_id} exists already")
    return item


def limit_sends(app_id: str, rate: int, burst: int) -> None:
    """How many units a second, and at once, the app's administrators may send; rate 0: no limit. ApiError UNKNOWN_APP."""
    place: store.Ref = (settings().directory_table, {"entity": app_id, "facet": keys.PROFILE})
    if not store.update(place, {"send_rate": rate, "send_burst": burst}, "attribute_exists(entity)").applied:
        raise ApiError(Code.UNKNOWN_APP, f"app_id: app {app_id} does not exist")


def create(app_id: str, what: Literal["user", "group"], now_ms: int, number: int | None = None, **profile: object) -> store.Item:
    """A user or a group under the given number or the next free one; ApiError UNKNOWN_APP, USER_EXISTS for a taken number."""
    app(app_id)
    for _ in range(ATTEMPTS):
        item = _profile(app_id, number or _next_id(app_id), what, now_ms) | profile
        if _put(item):
            return item
        if number:
            raise ApiError(Code.USER_EXISTS, f"id: {number} is taken, users and groups of an app share one number space")
    raise ApiError(Code.USER_EXISTS, f"id: no free number among the next {ATTEMPTS}, choose one")


def _profile(app_id: str, number: int, what: str, now_ms: int) -> store.Item:
    return {
        "entity": keys.entity(app_id, number),
        "facet": keys.PROFILE,
        "what": what,
        "created_at": now_ms,
        "listing": keys.listing(app_id, what, number),
        "entity_id": number,
    }


def _put(item: store.Item) -> bool:
    """Whether the item was put: not where there is another one under its key. A nonce tells a repeat by the SDK from another one."""
    put, table = store.dynamodb().put_item, settings().directory_table
    item = {**item, "nonce": uuid.uuid4().hex}
    outcome = store.attempt(put, TableName=table, Item=store.pack(item), ConditionExpression="attribute_not_exists(entity)")
    return outcome.applied or outcome.item["nonce"] == item["nonce"]


def _next_id(app_id: str) -> int:
    reply = store.dynamodb().update_item(
        TableName=settings().directory_table,
        Key=store.pack(app_ref(app_id)[1]),
        UpdateExpression="ADD last_id :one",
        ConditionExpression="attribute_exists(entity)",
        ExpressionAttributeValues=store.pack({":one": 1}),
        ReturnValues="UPDATED_NEW",
    )
    return int(store.unpack(reply["Attributes"])["last_id"])


def listed(app_id: str | None, what: str) -> list[store.Item]:
    """Every user or group of an app by number, or every app; from the index, so seconds behind at most."""
    partitions = [keys.APPS] if app_id is None else [keys.listing(app_id, what, shard) for shard in range(keys.LISTING_SHARDS)]
    queries = [partial(_listed, partition) for partition in partitions]
    return sorted((item for items in store.parallel(queries) for item in items), key=lambda item: item["entity_id"])


def _listed(partition: str) -> list[store.Item]:
    pages = (
        store.dynamodb()
        .get_paginator("query")
        .paginate(
            TableName=settings().directory_table,
            IndexName="listing",
            KeyConditionExpression="listing = :l",
            ExpressionAttributeValues=store.pack({":l": partition}),
        )
    )
    return [store.unpack(item) for page in pages for item in page["Items"]]


def revoked_ms(app: store.Item, profile: store.Item, user_id: int) -> int:
    """Since when older tokens of this user are refused, ms; 0 where none was ever revoked."""
    return int(max(profile.get("revoked_at", 0), app.get("revoked", {}).get(str(user_id), 0)))


def revoke(app_id: str, user_id: int, now_ms: int) -> int:
    """From within a minute on, every token that this user was given before now is refused; returns since when, ms.

    That is later than every revocation before, whatever the operator's clock says: who has a token from before can tell by that. Repeating
    it revokes again. ApiError UNKNOWN_USER.
    """
    profile, nonce = require(app_id, user_id, "user", "user"), uuid.uuid4().hex
    for _ in range(REVOKE_ROUNDS):
        since_ms = max(now_ms, revoked_ms(app(app_id), profile, user_id) + 1)
        forward = "what = :user AND (attribute_not_exists(revoked_at) OR revoked_at < :revoked_at)"
        outcome = store.update(ref(app_id, user_id), {"revoked_at": since_ms, "revoked_by": nonce}, forward, {"user": "user"})
        if outcome.applied or outcome.item.get("revoked_by") == nonce:
            return since_ms
        profile = outcome.item
        if profile.get("what") != "user":
            raise missing("user", "user", [user_id])
    raise ApiError(Code.STORE_FAILED, "somebody else keeps revoking this user's tokens, try again")


def erase(app_id: str, user_id: int, now_ms: int) -> int:
    """The user no longer exists, and within a minute no token of theirs is taken again; returns since when, ms. Repeating it is harmless.

    ApiError UNKNOWN_USER, NO_PERMISSION for the app's administrator.
    """
    if user_id == app(app_id)["admin_id"]:
        raise ApiError(Code.NO_PERMISSION, f"user: {user_id} is the administrator of {app_id}")
    sets = {"what": "erased", "erased_at": now_ms}
    outcome = store.update(ref(app_id, user_id), sets, "what = :user", {"user": "user"}, remove="title, listing, revoked_at, revoked_by")
    if not outcome.applied and outcome.item.get("what") != "erased":
        raise missing("user", "user", [user_id])
    return int(outcome.item["erased_at"])

"""How we talk to DynamoDB: one client per container, plain Python values, conditional writes that say what was there."""

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from messaging.base import clock
from messaging.base.errors import ApiError, Code

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CALLS = 3  # attempts at one AWS call, the SDK's repeats included
CONFIG = Config(
    connect_timeout=1,  # seconds
    read_timeout=3,  # seconds; two calls in a row that time out to the last still end before the function's own timeout
    retries={"mode": "standard", "total_max_attempts": CALLS},
    max_pool_connections=32,
    user_agent="parley",  # the SDK builds its own anew for each call: a quarter of a call's CPU
)
PARALLEL = 16  # threads for independent calls; one Lambda CPU keeps about that many calls in flight
BATCH_GET = 100  # keys per BatchGetItem, AWS limit
BATCH_GET_ROUNDS = 8  # rounds until unprocessed keys are reported as a failure, some 4 s of backoff
BACKOFF_S = (0.03, 1.0)  # first and longest pause between two attempts, before jitter

T = TypeVar("T")
Key = Mapping[str, str | int]
Item = dict[str, Any]
Ref = tuple[str, Key]  # a table and the key of one item in it

THROTTLES = {
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
    "ReplicatedWriteConflictException",
}


def at_start(make_client: Callable[[], object]) -> None:
    """Makes a client while Lambda starts the container: that has a whole core for it, a request at 512 MB less than a third of one."""
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        make_client()


@cache
def dynamodb() -> "DynamoDBClient":
    client = boto3.client("dynamodb", config=CONFIG)
    clock.watch(client.meta.events)
    return client


at_start(dynamodb)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(PARALLEL)


def is_outage(error: Exception) -> bool:
    """Whether an AWS error is the store's (throttled, unreachable, 5xx: the caller may retry) and not a bug of ours."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or error.response["Error"]["Code"] in THROTTLES
    return isinstance(error, (HTTPClientError, ConnectionError))


def backoff(attempt: int) -> None:
    """Waits before attempt number `attempt` (1, 2, …): exponential, with full jitter."""
    first, longest = BACKOFF_S
    time.sleep(random.uniform(0, min(longest, first * 2**attempt)))


def parallel(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Runs independent calls side by side and returns their results in order.

    Returns or raises only when all have ended, so that no write goes on behind a reply; of several errors the first one counts. Calls
    must not run more than one call in parallel themselves: the threads are shared.
    """
    if not calls:
        return []
    others = [_pool().submit(call) for call in calls[1:]]
    try:
        return [calls[0](), *(other.result() for other in others)]
    finally:
        wait(others)


class _Integers(TypeDeserializer):
    """Every number that we store is an integer."""

    def _deserialize_n(self, value: str) -> int:
        return int(value)


_serialize = TypeSerializer().serialize
_deserialize = _Integers().deserialize


def pack(values: Mapping[str, object]) -> Item:
    """Plain values to DynamoDB's; what is None is left out."""
    return {name: _serialize(value) for name, value in values.items() if value is not None}


def unpack(item: Mapping[str, Any]) -> Item:
    return {name: _deserialize(value) for name, value in item.items()}


class Outcome(NamedTuple):
    """Of a conditional write: whether it was applied; the item that it returned, or the one that was there instead (empty: none)."""

    applied: bool
    item: Item


def attempt(write: Callable[..., Any], **call: Any) -> Outcome:
    """A conditional write whose condition may fail: then the item that was there says why."""
    try:
        reply = write(**call, ReturnValuesOnConditionCheckFailure="ALL_OLD")
    except dynamodb().exceptions.ConditionalCheckFailedException as refused:
        item: Any = refused.response.get("Item", {})
        return Outcome(False, unpack(item))
    return Outcome(True, unpack(reply.get("Attributes", {})))


def update(ref: Ref, sets: Mapping[str, object], condition: str, values: Mapping[str, object] | None = None, remove: str = "") -> Outcome:
    """Sets attributes of one item where `condition` holds; it may use each of the values as `:name`, and those of `values`."""
    table, key = ref
    return attempt(
        dynamodb().update_item,
        TableName=table,
        Key=pack(key),
        UpdateExpression="SET " + ", ".join(f"{name} = :{name}" for name in sets) + (f" REMOVE {remove}" if remove else ""),
        ConditionExpression=condition,
        ExpressionAttributeValues=pack({f":{name}": value for name, value in {**sets, **(values or {})}.items()}),
        ReturnValues="ALL_NEW",
    )


def get(ref: Ref) -> Item | None:
    """One item, read consistently."""
    table, key = ref
    item = dynamodb().get_item(TableName=table, Key=pack(key), ConsistentRead=True).get("Item")
    return unpack(item) if item else None


def get_weakly(ref: Ref) -> Item | None:
    """One item as some replica has it, usually less than a second old, for half the price."""
    table, key = ref
    item = dynamodb().get_item(TableName=table, Key=pack(key)).get("Item")
    return unpack(item) if item else None


def get_many(refs: Sequence[Ref], only: Sequence[str] = (), *, weak: bool = False) -> list[Item | None]:
    """Many items in one call a hundred, in the order asked for; None for what does not exist.

    `only`: the attributes that are wanted, those of the key included; reading all of them costs the same. `weak`: at half the price, and
    what was written just now may be missing.

    `only`: the attributes that are wanted, those of the key included; reading all of them costs the same.
    Keys that DynamoDB left unprocessed are asked for again; ApiError STORE_FAILED when it keeps leaving them.
    """
    wanted = list({_identity(table, key): (table, key) for table, key in refs}.values())
    chunks = [wanted[at : at + BATCH_GET] for at in range(0, len(wanted), BATCH_GET)]
    found: dict[tuple[object, ...], Item] = {}
    how = {"ConsistentRead": not weak} | ({"ProjectionExpression": ", ".join(only)} if only else {})
    for items in parallel([partial(_get_batch, chunk, how) for chunk in chunks]):
        found.update(items)
    return [found.get(_identity(table, key)) for table, key in refs]


def _identity(table: str, key: Mapping[str, object]) -> tuple[object, ...]:
    return (table, *sorted(key.items()))


def _get_batch(refs: list[Ref], how: Mapping[str, object]) -> dict[tuple[object, ...], Item]:
    pending: Any = {}
    for table, key in refs:
        pending.setdefault(table, {"Keys": [], **how})["Keys"].append(pack(key))
    names = {table: tuple(key) for table, key in refs}
    found = {}
    for round_ in range(BATCH_GET_ROUNDS):
        if round_:
            backoff(round_)
        reply = dynamodb().batch_get_item(RequestItems=pending)
        for table, items in reply["Responses"].items():
            for item in map(unpack, items):
                found[_identity(table, {name: item[name] for name in names[table]})] = item
        pending = reply.get("UnprocessedKeys")
        if not pending:
            return found
    raise ApiError(Code.STORE_FAILED, "the store is overloaded, try again")


def query(**call: Any) -> tuple[list[Item], bool]:
    """One page of a query, read consistently: the items, and whether there are more."""
    page = dynamodb().query(ConsistentRead=True, **call)
    return [unpack(item) for item in page["Items"]], "LastEvaluatedKey" in page


def query_all(**call: Any) -> list[Item]:
    """Every item of a query."""
    return list(query_each(**call))


def query_each(**call: Any) -> Iterator[Item]:
    """The items of a query as its pages come, read consistently."""
    return (unpack(item) for page in query_pages(**call) for item in page["Items"])


def query_pages(**call: Any) -> Iterable[Mapping[str, Any]]:
    """Every page of a query as it comes, read consistently."""
    return dynamodb().get_paginator("query").paginate(ConsistentRead=True, **call)

"""The fast AWS is what it stands for: the same calls get the same replies as from the full in-process AWS, through whole histories."""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError

from messaging.base import keys, settings, store
from messaging.conversations.rules import COMMAND
from messaging.people import directory
from tests.fast_aws import SCHEMAS, FastAws
from tests.faults.sdk import tampered
from tests.world import World

SEEDS = range(100, 104)
STEPS = 60
PUSH_LIMIT = 3  # members; the larger of the two groups crosses it on the way


def told(perform: Callable[[], Any]) -> Any:
    """The part of a reply, or of a refusal, that the functions may look at."""
    try:
        reply = perform()
    except ClientError as refused:
        return refused.response["Error"]["Code"], refused.response.get("Item")
    if "Responses" in reply:
        return {table: sorted(map(repr, items)) for table, items in reply["Responses"].items() if items}, reply["UnprocessedKeys"]
    return {part: reply[part] for part in ("Item", "Items", "Count", "Attributes", "Successful", "SecretString") if part in reply}


class Both:
    """Asks both, and compares."""

    def __init__(self, fast: FastAws) -> None:
        self.fast = fast
        self.compared: dict[str, int] = {}

    def __call__(self, operation: str, request: dict[str, Any], perform: Callable[[], Any]) -> Any:
        if not hasattr(self.fast, f"_{operation}"):
            return perform()  # what the tests themselves ask: the stream, the queue's messages
        ours = told(lambda: self.fast.perform(operation, request))
        replies: list[Any] = []

        def real() -> Any:
            replies.append(perform())
            return replies[0]

        theirs = told(real)
        if operation == "SendMessageBatch":
            ours = theirs = None  # message ids are the queue's own; bodies are compared at the end
        if operation == "Query" and request.get("Select") == "COUNT":
            theirs.pop("Items", None)
        assert ours == theirs, f"{operation} {request}"
        self.compared[operation] = self.compared.get(operation, 0) + 1
        return replies[0] if replies else perform()  # a refused write is refused again


def live(world: World, rng: random.Random) -> None:
    """Makes every kind of call, in any order; whether what is answered is right is for the histories to say."""
    users = [world.user(f"user {number}") for number in range(4)]
    groups = [world.group(*users[:size]) for size in (2, PUSH_LIMIT)]
    for group in groups:
        world.say(users[0], group)
    world.drain()
    for step in range(STEPS):
        user, other, group = rng.choice(users), rng.choice(users), rng.choice(groups)
        how: dict[str, Any] = {
            "content": f"message {step}",
            "content_type": rng.choice((0, COMMAND)),
            "transaction_id": rng.choice((None, step, 1 + step // 3)),
        }
        acts: list[Callable[[], Any]] = [
            partial(world.post, user, rng.sample(users, 2), **how),
            partial(world.post, user, [group], type=2, **how),
            partial(world.ack, user, rng.choice((other, group)), msg_id=rng.randint(0, 3)),
            partial(world.forget, user, rng.choice((other, group))),
            partial(world.history, user, other, limit=rng.randint(1, 3)),
            partial(world.unread, user),
            partial(world.join, group, user),
            *([partial(world.leave, group, user)] if user in directory.members("demo", group) else []),
            world.drain,
        ]
        rng.choice(acts)()
    world.drain()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_history_gets_the_same_replies(world: World, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setenv("PUSH_LIMIT_MEMBERS", str(PUSH_LIMIT))
    settings.settings.cache_clear()
    both = Both(FastAws(world.keys))
    for name in SCHEMAS:
        for page in store.dynamodb().get_paginator("scan").paginate(TableName=name):
            for item in page["Items"]:
                both.fast.perform("PutItem", {"TableName": name, "Item": item})
    with tampered(both):
        live(world, random.Random(seed))
    assert {"GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "SendMessageBatch"} <= set(both.compared)
    for name in SCHEMAS:
        assert [store.unpack(item) for item in both.fast.perform("Scan", {"TableName": name})["Items"]] != []
        ours = sorted(repr(sorted(item.items())) for item in map(store.unpack, both.fast.tables[name].values()))
        assert ours == sorted(repr(sorted(item.items())) for item in world.rows(name))


def put(fast: FastAws, seq: int) -> None:
    fast.perform("PutItem", {"TableName": "Messages", "Item": store.pack({"conversation": "c", "msg_id": seq})})


@pytest.mark.usefixtures("world")
def test_a_read_that_is_not_consistent_may_be_stale_and_a_consistent_one_never_is() -> None:
    fast = FastAws({})
    put(fast, 1)
    fast.mark()
    put(fast, 2)
    key = store.pack({"conversation": "c", "msg_id": 2})
    query = {"KeyConditionExpression": "conversation = :c", "ExpressionAttributeValues": store.pack({":c": "c"})}
    for consistent, found in ((False, 1), (True, 2)):
        asked = {"TableName": "Messages", "ConsistentRead": consistent}
        assert fast.perform("Query", {**asked, **query}, stale=True)["Count"] == found
        assert ("Item" in fast.perform("GetItem", {**asked, "Key": key}, stale=True)) is consistent
        batch = fast.perform("BatchGetItem", {"RequestItems": {"Messages": {"Keys": [key], "ConsistentRead": consistent}}}, stale=True)
        assert len(batch["Responses"]["Messages"]) == found - 1


@pytest.mark.usefixtures("world")
def test_a_page_that_ends_at_its_limit_names_a_next_one_even_if_nothing_follows() -> None:
    fast = FastAws({})
    put(fast, 1)
    query = {
        "TableName": "Messages",
        "KeyConditionExpression": "conversation = :c",
        "ExpressionAttributeValues": store.pack({":c": "c"}),
    }
    page = fast.perform("Query", {**query, "Limit": 1})
    assert store.unpack(page["LastEvaluatedKey"]) == {keys.MESSAGES.partition: "c", "msg_id": 1}
    assert fast.perform("Query", {**query, "ExclusiveStartKey": page["LastEvaluatedKey"]}) == {"Count": 0, "Items": []}


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize(
    ("condition", "within"),
    [
        ("", range(50)),
        (" AND msg_id > :low", range(11, 50)),
        (" AND msg_id <= :low", range(11)),
        (" AND msg_id = :low", range(10, 11)),
        (" AND msg_id BETWEEN :low AND :high", range(10, 31)),
    ],
)
@pytest.mark.usefixtures("world")
def test_a_query_finds_what_lies_within_its_bounds_whatever_came_and_went_before(condition: str, within: range, forward: bool) -> None:
    fast, rng = FastAws({}), random.Random(7)
    values = {":c": "c", **{name: number for name, number in ((":low", 10), (":high", 30)) if name in condition}}
    there: set[int] = set()
    for _ in range(200):
        seq = rng.randrange(50)
        if seq in there:
            fast.perform("DeleteItem", {"TableName": "Messages", "Key": store.pack({"conversation": "c", "msg_id": seq})})
        else:
            put(fast, seq)
        there ^= {seq}
        found = fast.perform(
            "Query",
            {
                "TableName": "Messages",
                "KeyConditionExpression": "conversation = :c" + condition,
                "ExpressionAttributeValues": store.pack(values),
                "ScanIndexForward": forward,
            },
        )
        assert [store.unpack(item)["msg_id"] for item in found["Items"]] == sorted(there & set(within), reverse=not forward)


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("UpdateItem", {"UpdateExpression": "SET a = :a", "ExpressionAttributeValues": {":a": {"N": "1"}, ":b": {"N": "1"}}}),
        ("UpdateItem", {"UpdateExpression": "SET a.b = :a", "ExpressionAttributeValues": {":a": {"N": "1"}}}),
        ("BatchGetItem", {"RequestItems": {"Dedup": {"Keys": [{"dedup_key": {"S": "1"}}] * 2}}}),
        ("BatchGetItem", {"RequestItems": {"Dedup": {"Keys": [{"dedup_key": {"S": str(n)}} for n in range(101)]}}}),
        ("PutItem", {"Item": {"dedup_key": {"S": "1"}, "big": {"S": "x" * 410_000}}}),
    ],
    ids=["unused value", "no such path", "a key twice", "101 keys", "400 KB"],
)
@pytest.mark.usefixtures("world")
def test_what_aws_refuses_is_refused(operation: str, request_: dict[str, Any]) -> None:
    place = {"TableName": "Dedup", "Key": {"dedup_key": {"S": "1"}}} if operation == "UpdateItem" else {"TableName": "Dedup"}
    with pytest.raises(ClientError, match="ValidationException"):
        FastAws({}).perform(operation, {**place, **request_})

"""The meter bills what AWS's documentation says that these calls are billed: its own worked examples, each with where it stands.

READING, WRITING: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
"""

from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from messaging.base import store
from ops.bench.meter import Index, Meter, Metered, Table, size
from tests.fast_aws import FastAws
from tests.faults.sdk import error

KB = 1024
INDEX = Index(("listing",), ("entity", "facet", "listing", "title"))
TABLES = {"Messages": Table(("conversation", "msg_id")), "Dedup": Table(("dedup_key",)), "Directory": Table(("entity", "facet"), (INDEX,))}

pytestmark = pytest.mark.usefixtures("world")  # for boto3's exceptions


class Metering:
    """The meter, on an AWS of its own."""

    def __init__(self) -> None:
        self.aws = FastAws({})
        self.meter = Meter(self.aws.perform, TABLES)

    def bill(self, operation: str, **request: Any) -> Metered:
        """Of one call, refused or not."""
        self.meter.charges.clear()
        with suppress(store.dynamodb().exceptions.ConditionalCheckFailedException):
            self.meter(operation, request, lambda: self.aws.perform(operation, request))
        return self.meter.total

    def reads(self, operation: str, **request: Any) -> float:
        metered = self.bill(operation, **request)
        assert metered == Metered(reads=metered.reads, calls=1)
        return metered.reads

    def writes(self, operation: str, **request: Any) -> float:
        metered = self.bill(operation, **request)
        assert metered == Metered(writes=metered.writes, calls=1)
        return metered.writes

    def put(self, key: str, bytes: float) -> dict[str, Any]:
        """An item of exactly this size, and the request that put it."""
        request = {"TableName": "Dedup", "Item": sized({"dedup_key": key}, bytes)}
        self.aws.perform("PutItem", request)
        return request

    def log(self, messages: int, bytes: float) -> None:
        """So many messages, of so many bytes together; at most one byte off for each."""
        for seq in range(1, messages + 1):
            each = round(bytes * seq / messages) - round(bytes * (seq - 1) / messages)
            self.aws.perform("PutItem", {"TableName": "Messages", "Item": sized({"conversation": "c", "msg_id": seq}, each)})


def sized(key: dict[str, Any], bytes: float) -> dict[str, Any]:
    item = store.pack({**key, "pad": ""})
    item["pad"]["S"] = "x" * (round(bytes) - size(item))
    assert size(item) == round(bytes)
    return item


@pytest.fixture
def metering() -> Metering:
    return Metering()


def key(name: str) -> dict[str, Any]:
    return store.pack({"dedup_key": name})


# --- reading


# "An item up to 4 KB: strongly consistent one read unit, eventually consistent one half, transactional two." "If your item size is 8 KB,
# you require 2 read units to sustain one strongly consistent read, 1 [...] eventually consistent, or 4 [...] transactional." "If you read
# an item that is 3.5 KB, DynamoDB rounds the item size to 4 KB. If you read an item of 10 KB, [...] to 12 KB." [READING]
@pytest.mark.parametrize(
    ("bytes", "consistent", "eventual", "transactional"),
    [(3.5 * KB, 1, 0.5, 2), (3500, 1, 0.5, 2), (4 * KB, 1, 0.5, 2), (4 * KB + 1, 2, 1, 4), (8 * KB, 2, 1, 4), (10 * KB, 3, 1.5, 6)],
)
def test_an_item_is_read_by_started_4_kb_and_by_consistency(
    metering: Metering, bytes: float, consistent: float, eventual: float, transactional: float
) -> None:
    metering.put("a", bytes)
    assert metering.reads("GetItem", TableName="Dedup", Key=key("a"), ConsistentRead=True) == consistent
    assert metering.reads("GetItem", TableName="Dedup", Key=key("a")) == eventual
    asked: dict[str, Any] = {"TransactItems": [{"Get": {"TableName": "Dedup", "Key": key("a")}}]}
    metering.meter.charges.clear()
    metering.meter("TransactGetItems", asked, dict)
    assert metering.meter.total.reads == transactional


# "If BatchGetItem reads a 1.5 KB item and a 6.5 KB item, DynamoDB calculates the size as 12 KB (4 KB + 8 KB), not 8 KB." [READING]
def test_the_items_of_a_batch_are_read_one_by_one(metering: Metering) -> None:
    metering.put("a", 1.5 * KB)
    metering.put("b", 6.5 * KB)
    wanted = {"Keys": [key("a"), key("b")], "ConsistentRead": True}
    assert metering.reads("BatchGetItem", RequestItems={"Dedup": wanted}) == 12 / 4


# "If you perform a read operation on an item that does not exist, [...] A strongly consistent read request consumes one read capacity
# unit, while an eventually consistent read request consumes 0.5 of a read capacity unit." [READING]
def test_what_is_not_there_is_read_as_the_smallest_item(metering: Metering) -> None:
    assert metering.reads("GetItem", TableName="Dedup", Key=key("a"), ConsistentRead=True) == 1
    assert metering.reads("GetItem", TableName="Dedup", Key=key("a")) == 0.5
    metering.put("b", 100)
    assert metering.reads("BatchGetItem", RequestItems={"Dedup": {"Keys": [key("a"), key("b")], "ConsistentRead": True}}) == 2


QUERY = {"TableName": "Messages", "KeyConditionExpression": "conversation = :c", "ConsistentRead": True}


# "Suppose your query returns 10 items whose combined size is 40.8 KB. DynamoDB rounds the item size for the operation to 44 KB. If a query
# returns 1500 items of 64 bytes each, the cumulative size is 96 KB." [READING] And by half where it is not consistent: "if the total item
# size is 80 KB, the operation consumes only 10 capacity units".
@pytest.mark.parametrize(("messages", "bytes", "units"), [(10, 40.8 * KB, 11), (1500, 1500 * 64, 24), (20, 80 * KB, 20), (3, 6.1 * KB, 2)])
def test_the_items_of_a_query_are_added_up_before_rounding(metering: Metering, messages: int, bytes: float, units: int) -> None:
    metering.log(messages, bytes)
    values = {"ExpressionAttributeValues": store.pack({":c": "c"})}
    assert metering.reads("Query", **QUERY, **values) == units
    assert metering.reads("Query", **{**QUERY, "ConsistentRead": False}, **values) == units / 2


# "You can request a subset of attributes to retrieve; however, doing so has no impact on the item size calculations. [...] Getting the
# count of items uses the same quantity of read units." [READING] And what a filter leaves out was read before: "A filter expression is
# applied after a Query finishes, but before the results are returned. Therefore, a Query consumes the same amount of read capacity,
# regardless of whether a filter expression is present."
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.FilterExpression.html
@pytest.mark.parametrize(
    ("shape", "values"),
    [
        ({"ProjectionExpression": "msg_id"}, {}),
        ({"Select": "COUNT"}, {}),
        ({"Select": "COUNT", "FilterExpression": "msg_id > :none"}, {":none": 99}),
    ],
)
def test_a_query_is_billed_by_what_it_reads_not_by_what_it_returns(
    metering: Metering, shape: dict[str, Any], values: dict[str, Any]
) -> None:
    metering.log(10, 40.8 * KB)
    assert metering.reads("Query", **QUERY, **shape, ExpressionAttributeValues=store.pack({":c": "c", **values})) == 11


def test_a_query_with_a_limit_reads_no_further(metering: Metering) -> None:
    metering.log(10, 40.8 * KB)
    assert metering.reads("Query", **QUERY, Limit=1, ExpressionAttributeValues=store.pack({":c": "c"})) == 2  # 4.08 KB


# "For Query/Scan operations, you'll still be charged additional read throughput based on read consistency [...] even if no data exists."
def test_a_query_that_finds_nothing_is_billed_one_unit(metering: Metering) -> None:
    assert metering.reads("Query", **QUERY, ExpressionAttributeValues=store.pack({":c": "c"})) == 1


# --- writing


# "Writing a 500-byte item consumes the same throughput as writing a 1 KB item. [...] If you put or delete an item of 1.6 KB, DynamoDB
# rounds the item size up to 2 KB." [WRITING]
@pytest.mark.parametrize(("bytes", "units"), [(500, 1), (512, 1), (KB, 1), (KB + 1, 2), (1.5 * KB, 2), (1.6 * KB, 2), (3.5 * KB, 4)])
def test_an_item_is_written_and_deleted_by_started_kb(metering: Metering, bytes: float, units: int) -> None:
    assert metering.writes("PutItem", TableName="Dedup", Item=sized({"dedup_key": "a"}, bytes)) == units
    assert metering.writes("DeleteItem", TableName="Dedup", Key=key("a")) == units
    assert metering.writes("DeleteItem", TableName="Dedup", Key=key("a")) == 1  # nothing is there any more


# "If an item with the same primary key exists in the table, the operation replaces the item. For calculating provisioned throughput
# consumption, the item size that matters is the larger of the two." [WRITING]
@pytest.mark.parametrize(("old", "new"), [(3.5 * KB, 500), (500, 3.5 * KB)])
def test_a_put_over_an_item_is_billed_by_the_larger_one(metering: Metering, old: float, new: float) -> None:
    metering.put("a", old)
    assert metering.writes("PutItem", TableName="Dedup", Item=sized({"dedup_key": "a"}, new)) == 4


# "Even if you update just a subset of the item's attributes, UpdateItem will still consume the full amount of provisioned throughput (the
# larger of the "before" and "after" item sizes)." [WRITING]
@pytest.mark.parametrize(("change", "units"), [("SET pad = :new", 4), ("SET other = :new", 4)])
def test_an_update_is_billed_by_the_whole_item_before_or_after(metering: Metering, change: str, units: int) -> None:
    metering.put("a", 3.5 * KB)
    values = {":new": {"S": "small"}}
    assert (
        metering.writes("UpdateItem", TableName="Dedup", Key=key("a"), UpdateExpression=change, ExpressionAttributeValues=values) == units
    )


# A failed condition is billed by the size of the existing item, at least 1 KB: with an existing item of 300 KB and a new one of 310 KB,
# 310 where it holds and 300 where it fails; with no existing item, 310 and 1. (An earlier page billed it by the new item.)
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/WorkingWithItems.html#WorkingWithItems.ConditionalUpdate
@pytest.mark.parametrize(
    ("exists", "condition", "units"),
    [
        (True, "attribute_exists(dedup_key)", 310),
        (True, "attribute_not_exists(dedup_key)", 300),
        (False, "attribute_not_exists(dedup_key)", 310),
        (False, "attribute_exists(dedup_key)", 1),
    ],
)
def test_a_failed_condition_is_billed_by_what_is_there(metering: Metering, exists: bool, condition: str, units: int) -> None:
    if exists:
        metering.put("a", 300 * KB)
    item = sized({"dedup_key": "a"}, 310 * KB)
    assert metering.writes("PutItem", TableName="Dedup", Item=item, ConditionExpression=condition) == units


# "Transactional write requests require 2 write request units to perform one write for items up to 1 KB. [...] If your item size is 2 KB,
# you require 2 write request units to sustain one write request or 4 write request units for a transactional write request."
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html
@pytest.mark.parametrize(("bytes", "units"), [(500, 2), (KB, 2), (2 * KB, 4)])
@pytest.mark.parametrize("cancelled", [False, True])
def test_each_write_of_a_transaction_is_billed_twice_even_if_it_is_cancelled(
    metering: Metering, bytes: float, units: int, cancelled: bool
) -> None:
    puts = [{"TableName": "Dedup", "Item": sized({"dedup_key": name}, bytes)} for name in "abc"]

    def perform() -> None:
        if cancelled:
            raise error("TransactionCanceledException")
        for put in puts:
            metering.aws.perform("PutItem", put)

    if cancelled:
        for put in puts:
            metering.aws.perform("PutItem", put)
        with pytest.raises(ClientError):
            metering.meter("TransactWriteItems", {"TransactItems": [{"Put": put} for put in puts]}, perform)
    else:
        metering.meter("TransactWriteItems", {"TransactItems": [{"Put": put} for put in puts]}, perform)
    assert metering.meter.total == Metered(writes=3 * units, calls=1)


def test_a_write_that_was_throttled_is_not_billed(metering: Metering) -> None:
    def throttled() -> None:
        raise error("ProvisionedThroughputExceededException")

    with pytest.raises(ClientError):
        metering.meter("PutItem", {"TableName": "Dedup", "Item": key("a")}, throttled)
    assert metering.meter.total == Metered(calls=1)


# The five cases of https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html#GSI.ThroughputConsiderations.Writes
@pytest.mark.parametrize(
    ("old", "new", "units"),
    [
        ({}, {"listing": "l"}, 2),  # "you write a new item [...] that defines an indexed attribute": one for the index
        ({"listing": "l"}, {"listing": "m"}, 3),  # "changes the value of an indexed key attribute [...], two writes are required"
        ({"listing": "l"}, {}, 2),  # "the indexed attribute to be deleted, one write is required"
        ({"title": "t"}, {"title": "u"}, 1),  # "not present in the index before or after [...], there is no additional write cost"
        ({"listing": "l", "title": "t"}, {"listing": "l", "title": "u"}, 2),  # "only changes the value of projected attributes [...], one"
        ({"listing": "l", "head": 1}, {"listing": "l", "head": 2}, 1),  # not projected: "no write capacity is consumed from the index"
    ],
)
def test_an_index_is_billed_where_its_entry_changes(metering: Metering, old: dict[str, Any], new: dict[str, Any], units: int) -> None:
    place = {"entity": "e", "facet": "f"}
    metering.aws.perform("PutItem", {"TableName": "Directory", "Item": store.pack({**place, **old})})
    assert metering.writes("PutItem", TableName="Directory", Item=store.pack({**place, **new})) == units


# --- sizes: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html


@pytest.mark.parametrize(
    ("value", "bytes"),
    [
        ({"S": "abc"}, 3),
        ({"S": "ü€"}, 5),  # "Strings are Unicode with UTF-8 binary encoding"
        ({"N": "27"}, 2),  # "(1 byte per two significant digits) + (1 byte)"
        ({"N": "-123"}, 3),
        ({"N": "1795425121123"}, 8),
        ({"N": "0"}, 2),
        ({"N": "12300"}, 3),  # "Leading and trailing zeroes are trimmed"
        ({"N": "0.0012"}, 2),
        ({"N": "1.2E+10"}, 2),
        ({"B": b"abc"}, 3),  # "the value's raw byte length is used"
        ({"BOOL": True}, 1),  # "a null attribute or a Boolean attribute [...] (1 byte)"
        ({"NULL": True}, 1),
        ({"M": {}}, 3),  # "The size of an empty List or Map is [...] (3 bytes)"
        ({"L": []}, 3),
        ({"L": [{"S": "a"}, {"S": "bc"}]}, 3 + 3 + 2),  # "Each List or Map element also requires 1 byte of overhead"
        ({"M": {"ab": {"S": "c"}}}, 3 + 2 + 1 + 1),
    ],
)
def test_an_attribute_takes_its_name_and_its_value(value: dict[str, Any], bytes: int) -> None:
    assert size({"name": value}) == len("name") + bytes
    assert size({"größe": value}) == 7 + bytes


# --- the others


# "Every 64 KB chunk of a payload is billed as 1 request (for example, an API action with a 256 KB payload is billed as 4 requests)."
# "A single request can have from 1 to 10 messages." https://aws.amazon.com/sqs/pricing/
@pytest.mark.parametrize(
    ("sizes", "requests"),
    [([100], 1), ([64 * KB], 1), ([64 * KB + 1], 2), ([256 * KB], 4), ([100] * 10, 1), ([32 * KB, 32 * KB], 1), ([32 * KB] * 3, 2)],
)
def test_the_queue_is_billed_by_call_and_64_kb_not_by_message(metering: Metering, sizes: list[int], requests: int) -> None:
    entries = [{"Id": str(at), "MessageBody": "x" * size} for at, size in enumerate(sizes)]
    assert metering.bill("SendMessageBatch", QueueUrl="q", Entries=entries) == Metered(sqs_requests=requests, calls=1)


def test_reading_a_secret_is_one_call(metering: Metering) -> None:
    assert metering.bill("GetSecretValue", SecretId="s") == Metered(secret_calls=1, calls=1)


def test_a_call_without_a_rule_is_refused(metering: Metering) -> None:
    with pytest.raises(ValueError, match="PublishBatch"):
        metering.meter("PublishBatch", {}, dict)

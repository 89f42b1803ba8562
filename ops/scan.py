"""Reading a whole table: what it will cost, and how far it is."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from infra.prices import usd
from messaging.base import store

READ_UNIT = 4096  # bytes of a consistent read, AWS
SEGMENTS = 8  # read side by side


class Size(NamedTuple):
    """Of a table, as DynamoDB says: at most six hours old."""

    items: int
    bytes: int

    @property
    def dollars(self) -> float:
        """What reading all of it consistently costs; leaving out attributes or items makes it no cheaper."""
        return self.bytes / READ_UNIT * usd("read_unit_million") / 1e6

    def __str__(self) -> str:
        return f"about {self.items:,} items, {self.bytes / 1e9:.2f} GB, ${max(self.dollars, 0.01):.2f}"


def size(table: str) -> Size:
    found = store.dynamodb().describe_table(TableName=table)["Table"]
    return Size(found["ItemCount"], found["TableSizeBytes"])


class Page(NamedTuple):
    items: list[store.Item]
    read: int  # items, those left out included


def pages(table: str, names: Sequence[str] = (), condition: str = "", values: dict[str, object] | None = None) -> Iterator[Page]:
    """Every item for which `condition` holds, read consistently, with the attributes `names` or all; those of one partition together."""
    call: dict[str, Any] = {"TableName": table, "ConsistentRead": True, "TotalSegments": SEGMENTS}
    if names:
        call["ProjectionExpression"] = ", ".join(names)
    if condition:
        call |= {"FilterExpression": condition, "ExpressionAttributeValues": store.pack(values or {})}
    starts: dict[int, Any] = dict.fromkeys(range(SEGMENTS))
    while starts:
        replies = store.parallel([partial(_page, call, segment, start) for segment, start in starts.items()])
        following = {}
        for segment, reply in zip(starts, replies, strict=True):
            yield Page([store.unpack(item) for item in reply["Items"]], reply["ScannedCount"])
            if "LastEvaluatedKey" in reply:
                following[segment] = reply["LastEvaluatedKey"]
        starts = following


def _page(call: dict[str, Any], segment: int, start: Any) -> Any:
    return store.dynamodb().scan(**call, Segment=segment, **({"ExclusiveStartKey": start} if start else {}))

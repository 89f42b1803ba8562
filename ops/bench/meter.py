"""What AWS bills for calls: its published rules, applied to the calls that a function makes, below boto3.

Emulators count otherwise (one reports a constant, another too little above 4 KB). What a call finds and leaves is asked of the store
itself, beside the call. The rules and where AWS publishes them:

sizes        https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
units        https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
conditions   https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/WorkingWithItems.html#WorkingWithItems.ConditionalUpdate
transactions https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html
indexes      https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html#GSI.ThroughputConsiderations
SQS          https://aws.amazon.com/sqs/pricing/
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

READ_UNIT = 4 * 1024  # bytes
WRITE_UNIT = 1024  # bytes
SQS_CHUNK = 64 * 1024  # bytes that are billed as one request
TRANSACTION = 2  # each item is prepared and committed
EVENTUAL = 0.5  # a read that is not consistent, to one that is
LIST_BYTES, ELEMENT_BYTES = 3, 1  # of a list or map, and for each element of it
SHAPES = ("FilterExpression", "ProjectionExpression", "Select")  # of a query: what it returns, not what it reads
REFUSED = ("ConditionalCheckFailedException", "TransactionCanceledException")

Request = dict[str, Any]
Ask = Callable[[str, Request], Any]  # operation, request → the store's reply
Value = Mapping[str, Any]  # as DynamoDB writes it: {"S": "text"}
Item = Mapping[str, Value]


class Index(NamedTuple):
    """A secondary index: the attributes that make an item appear in it, and all that its entries hold (keys included)."""

    keys: tuple[str, ...]
    holds: tuple[str, ...]

    def entry(self, item: Item) -> Item:
        """The entry of an item; empty where it has none."""
        return {name: item[name] for name in self.holds if name in item} if all(key in item for key in self.keys) else {}


class Table(NamedTuple):
    """What the bill of a write depends on, beside the item."""

    keys: tuple[str, ...]
    indexes: tuple[Index, ...] = ()


@dataclass(frozen=True)
class Metered:
    """What is billed: DynamoDB read and write units, SQS requests, Secrets Manager calls; and how many AWS calls were made."""

    reads: float = 0
    writes: float = 0
    sqs_requests: int = 0
    secret_calls: int = 0
    calls: int = 0

    def __add__(self, other: "Metered") -> "Metered":
        return Metered(
            self.reads + other.reads,
            self.writes + other.writes,
            self.sqs_requests + other.sqs_requests,
            self.secret_calls + other.secret_calls,
            self.calls + other.calls,
        )


class Charge(NamedTuple):
    """One call, the table that it named (of several the first one, of none: empty), and what is billed for it."""

    operation: str
    table: str
    metered: Metered


class Meter:
    """Stands between the functions and AWS (an `Interceptor`), and notes what each call is billed.

    `ask` reads the store without being metered.
    """

    def __init__(self, ask: Ask, tables: Mapping[str, Table]) -> None:
        self._ask, self._tables = ask, tables
        self.charges: list[Charge] = []

    @property
    def total(self) -> Metered:
        return sum((charge.metered for charge in self.charges), Metered())

    def __call__(self, operation: str, request: dict[str, Any], perform: Callable[..., Any]) -> Any:
        if operation in ("PutItem", "UpdateItem", "DeleteItem"):
            return self._write(operation, [request], perform)
        if operation == "TransactWriteItems":
            return self._write(operation, [action for each in request["TransactItems"] for action in each.values()], perform)
        if operation in ("GetItem", "BatchGetItem", "TransactGetItems"):
            share = TRANSACTION if operation == "TransactGetItems" else 1
            metered = Metered(share * sum(self._read(*wanted) for wanted in _wanted(operation, request)))
        elif operation in ("Query", "Scan") and "IndexName" not in request:
            metered = Metered(self._range(operation, request))
        elif operation in ("SendMessage", "SendMessageBatch"):
            metered = Metered(sqs_requests=sqs_requests([entry["MessageBody"] for entry in request.get("Entries", [request])]))
        elif operation == "GetSecretValue":
            metered = Metered(secret_calls=1)
        else:
            raise ValueError(f"no rule for what {operation} is billed")
        tables = [request["TableName"]] if "TableName" in request else list(request.get("RequestItems", ()))
        self._note(operation, tables, metered)
        return perform()

    def _note(self, operation: str, tables: Sequence[str], metered: Metered) -> None:
        self.charges.append(Charge(operation, tables[0] if tables else "", replace(metered, calls=1)))

    def _write(self, operation: str, actions: Sequence[Request], perform: Callable[..., Any]) -> Any:
        """One write, or all those of a transaction. One that was throttled, or not understood, is not billed."""
        before = [self._item(action) for action in actions]
        billed = True
        try:
            return perform()
        except ClientError as refused:
            billed = refused.response["Error"]["Code"] in REFUSED
            raise
        finally:
            share = TRANSACTION if operation == "TransactWriteItems" else 1
            units = sum(self._units(action, old, self._item(action)) for action, old in zip(actions, before, strict=True))
            self._note(operation, [action["TableName"] for action in actions], Metered(writes=share * units if billed else 0))

    def _item(self, action: Request) -> Item:
        """What lies where a write goes to; empty: nothing."""
        table = action["TableName"]
        return self._stored(table, action.get("Key") or {name: action["Item"][name] for name in self._tables[table].keys})

    def _stored(self, table: str, key: Item) -> Item:
        item: Item = self._ask("GetItem", {"TableName": table, "Key": key, "ConsistentRead": True}).get("Item", {})
        return item

    def _units(self, action: Request, old: Item, new: Item) -> int:
        """A failed condition is billed by what was there: it is what there still is."""
        units = write_units(max(size(old), size(new)))
        for index in self._tables[action["TableName"]].indexes:
            before, after = index.entry(old), index.entry(new)
            if before == after:
                continue
            if before and after and all(before[key] == after[key] for key in index.keys):
                units += write_units(max(size(before), size(after)))
            else:  # another place in the index: the one entry is deleted, the other one put
                units += sum(write_units(size(entry)) for entry in (before, after) if entry)
        return units

    def _read(self, table: str, key: Item, consistent: bool) -> float:
        return read_units(size(self._stored(table, key)), consistent)

    def _range(self, operation: str, request: Request) -> float:
        """What is read is billed, whatever of it is filtered out, projected or only counted."""
        items = self._ask(operation, {name: value for name, value in request.items() if name not in SHAPES})["Items"]
        return read_units(sum(map(size, items)), request.get("ConsistentRead", False))


def size(item: Item) -> int:
    """An item's bytes: names and values. Of nothing: 0."""
    return sum(len(name.encode()) + _bytes(value) for name, value in item.items())


def _bytes(value: Value) -> int:
    ((kind, held),) = value.items()
    if kind == "S":
        return len(held.encode())
    if kind == "N":
        return ceil(max(1, len(_significant(held))) / 2) + 1
    if kind == "B":
        return len(held)
    if kind in ("BOOL", "NULL"):
        return 1
    if kind == "L":
        return LIST_BYTES + sum(ELEMENT_BYTES + _bytes(element) for element in held)
    if kind == "M":
        return LIST_BYTES + sum(ELEMENT_BYTES + len(name.encode()) + _bytes(element) for name, element in held.items())
    raise ValueError(f"no rule for the size of {kind}")


def _significant(number: str) -> str:
    """The digits that count: zeroes before and after them are not stored."""
    mantissa = number.lower().lstrip("+-").partition("e")[0]
    return mantissa.replace(".", "").strip("0")


def read_units(size: int, consistent: bool) -> float:
    """Of one item, or of everything that a page of a query reads; of nothing, as of the smallest item."""
    return max(1, ceil(size / READ_UNIT)) * (1 if consistent else EVENTUAL)


def write_units(size: int) -> int:
    return max(1, ceil(size / WRITE_UNIT))


def sqs_requests(bodies: Sequence[str]) -> int:
    """Of one call, whatever the number of its messages."""
    return max(1, ceil(sum(len(body.encode()) for body in bodies) / SQS_CHUNK))


def _wanted(operation: str, request: Request) -> Iterator[tuple[str, Item, bool]]:
    """Table, key and consistency of each item that is asked for."""
    if operation == "GetItem":
        yield request["TableName"], request["Key"], request.get("ConsistentRead", False)
    elif operation == "BatchGetItem":
        for table, wanted in request["RequestItems"].items():
            for key in wanted["Keys"]:
                yield table, key, wanted.get("ConsistentRead", False)
    else:
        for action in request["TransactItems"]:
            yield action["Get"]["TableName"], action["Get"]["Key"], True

"""DynamoDB, SQS and the secret on plain dicts, at the API call below boto3: a thousand times cheaper to run, to copy and to wind back
than an emulator, and as strict as AWS where emulators are lenient.

A stale read is what the tables held at the last `mark`; a page of a query ends where AWS may end it (`page_items`); and whatever is
written may be watched (`wrote`). Held to the full in-process AWS, reply by reply, in `test_fast_aws.py`.
"""

import json
import re
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from messaging.base import keys, store
from tests.faults.sdk import error

Value = dict[str, Any]  # as DynamoDB writes it: {"S": "text"}
Item = dict[str, Value]
Place = tuple[Any, Any]  # the values of the partition key and of the sort key (None where the table has none)
Test = Callable[[Item, dict[str, str], dict[str, Value]], bool]  # item, names, values

SCHEMAS = {"Messages": keys.MESSAGES, "Inbox": keys.INBOX, "Dedup": keys.DEDUP, "Directory": keys.DIRECTORY}
NEW = {"uncounted", "chain", "skip_sum", "own", "count_seq", "tally"}  # attributes that 0.1.0 does not know
ITEM_BYTES = 400 * 1024  # AWS limit
GET_KEYS = 100  # keys per BatchGetItem, AWS limit
DEAD_QUEUE = "https://dead"  # the stream's dead letters
SQS_ENTRIES = 10  # per SendMessageBatch, AWS quota
SQS_BYTES = 1024 * 1024  # per message and per batch, AWS quota


class Table(dict[Place, Item]):
    """A table. Its partitions are ordered when the first one is asked for, and stay in order from then on."""

    _partitions: dict[Any, list[Place]] | None = None

    def partition(self, key: Any) -> list[Place]:
        """The places of one partition, by their sort keys."""
        if self._partitions is None:
            self._partitions = defaultdict(list)
            for place in sorted(self):
                self._partitions[place[0]].append(place)
        return self._partitions.get(key, [])

    def __setitem__(self, place: Place, item: Item) -> None:
        if self._partitions is not None and place not in self:
            insort(self._partitions[place[0]], place)
        super().__setitem__(place, item)

    def __delitem__(self, place: Place) -> None:
        super().__delitem__(place)
        if self._partitions is not None:
            self._partitions[place[0]].remove(place)


class Snapshot(NamedTuple):
    tables: dict[str, Table]
    records: list[dict[str, Any]]
    bodies: list[str]


class FastAws:
    """See the module. Items are never changed in place, so that a snapshot is a copy of a few dicts."""

    def __init__(self, secret: dict[str, str], schemas: Mapping[str, keys.Table] = SCHEMAS) -> None:
        self.schemas = schemas
        self.tables: dict[str, Table] = {name: Table() for name in schemas}
        self.records: list[dict[str, Any]] = []  # of the Messages stream
        self.bodies: list[str] = []  # on the queue
        self.letters: list[str] = []  # dead ones that deliver has set aside
        self.secret = secret
        self.marked = self.tables
        self.page_items: int | None = None
        self.wrote: Callable[[str, Item | None, Item | None], None] = lambda table, old, new: None
        self.release: str | None = None  # "0.1.0": what that release does not know is not written

    def snapshot(self) -> Snapshot:
        return Snapshot({name: Table(items) for name, items in self.tables.items()}, list(self.records), list(self.bodies))

    def restore(self, snapshot: Snapshot) -> None:
        self.tables = {name: Table(items) for name, items in snapshot.tables.items()}
        self.records, self.bodies = list(snapshot.records), list(snapshot.bodies)
        self.marked = snapshot.tables

    def mark(self) -> None:
        """From here on, a stale read tells what the tables hold now."""
        self.marked = self.snapshot().tables

    def rewrite(self) -> None:
        """Everything is as 0.1.0 would have left it."""
        for table in self.tables.values():
            for place, item in list(table.items()):
                table[place] = _known(item)
        self.records = [{**record, "dynamodb": _known_image(record["dynamodb"])} for record in self.records]
        self.bodies = [_known_job(body) for body in self.bodies]

    # --- what is answered

    def perform(self, operation: str, request: dict[str, Any], stale: bool = False) -> Any:
        """The reply to an API call; ClientError as boto3 raises it. `stale`: reads that are not consistent see the last `mark`."""
        return getattr(self, f"_{operation}")(request, self.marked if stale and not request.get("ConsistentRead") else self.tables)

    def _GetItem(self, request: dict[str, Any], tables: dict[str, Table]) -> Any:
        item = tables[request["TableName"]].get(self._place(request["TableName"], request["Key"]))
        return {"Item": item} if item else {}

    def _BatchGetItem(self, request: dict[str, Any], tables: dict[str, Table]) -> Any:
        responses = {}
        for table, wanted in request["RequestItems"].items():
            places = [self._place(table, key) for key in wanted["Keys"]]
            if len(set(places)) < len(places):
                raise invalid("Provided list of item keys contains duplicates")
            source = self.tables if wanted.get("ConsistentRead") else tables
            only = wanted.get("ProjectionExpression")
            responses[table] = [_projected(source[table][place], only) for place in places if place in source[table]]
        if not 0 < sum(len(wanted["Keys"]) for wanted in request["RequestItems"].values()) <= GET_KEYS:
            raise invalid("Too many items requested for the BatchGetItem call")
        return {"Responses": responses, "UnprocessedKeys": {}}

    def _Query(self, request: dict[str, Any], tables: dict[str, Table]) -> Any:
        table, values, names = request["TableName"], request["ExpressionAttributeValues"], request.get("ExpressionAttributeNames", {})
        schema, matches = self.schemas[table], _condition(request["KeyConditionExpression"])
        partition, low, high = _key_range(schema, request["KeyConditionExpression"], names, values)
        places, forward = tables[table].partition(partition), request.get("ScanIndexForward", True)
        first = 0 if low is None else bisect_left(places, low, key=_sort_key)
        end = len(places) if high is None else bisect_right(places, high, key=_sort_key)
        if "ExclusiveStartKey" in request:
            start = self._place(table, request["ExclusiveStartKey"])[1]
            first, end = (
                (bisect_right(places, start, key=_sort_key), end) if forward else (first, bisect_left(places, start, key=_sort_key))
            )
        order = range(first, end) if forward else range(end - 1, first - 1, -1)
        found = (places[at] for at in order if matches(tables[table][places[at]], names, values))
        size = min(filter(None, (request.get("Limit"), self.page_items)), default=None)
        page = [tables[table][place] for place in islice(found, size)]
        reply: dict[str, Any] = {}
        if page and len(page) == size:  # as AWS: also where nothing follows
            names_of_key = (schema.partition, *(schema.sort or ())[:1])
            reply["LastEvaluatedKey"] = {name: page[-1][name] for name in names_of_key}
        if "FilterExpression" in request:
            page = [item for item in page if _condition(request["FilterExpression"])(item, names, values)]
        reply["Count"] = len(page)
        if request.get("Select") != "COUNT":
            reply["Items"] = [_projected(item, request.get("ProjectionExpression")) for item in page]
        return reply

    def _Scan(self, request: dict[str, Any], tables: dict[str, Table]) -> Any:
        return {"Items": [item for _, item in sorted(tables[request["TableName"]].items())]}

    def _place(self, table: str, item: Item) -> Place:
        schema = self.schemas[table]
        return plain(item[schema.partition]), plain(item[schema.sort[0]]) if schema.sort else None

    def _PutItem(self, request: dict[str, Any], _: object) -> Any:
        self._write(request, lambda old: request["Item"], request["Item"])
        return {}

    def _UpdateItem(self, request: dict[str, Any], _: object) -> Any:
        values, names = request.get("ExpressionAttributeValues", {}), request.get("ExpressionAttributeNames", {})
        old = self.tables[request["TableName"]].get(self._place(request["TableName"], request["Key"]), {})
        new = self._write(request, lambda _: _updated({**request["Key"], **old}, request["UpdateExpression"], names, values)) or {}
        changed = {name: value for name, value in new.items() if old.get(name) != value}
        return {"NONE": {}, "ALL_NEW": {"Attributes": new}, "UPDATED_NEW": {"Attributes": changed}}[request.get("ReturnValues", "NONE")]

    def _DeleteItem(self, request: dict[str, Any], _: object) -> Any:
        self._write(request, lambda old: None)
        return {}

    def _write(self, request: dict[str, Any], change: Callable[[Item | None], Item | None], key: Item | None = None) -> Item | None:
        table = request["TableName"]
        place = self._place(table, key or request["Key"])
        old = self.tables[table].get(place)
        names, values = request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {})
        used = " ".join(request.get(part, "") for part in ("ConditionExpression", "UpdateExpression"))
        if unused := {name for name in (*names, *values) if not re.search(rf"{re.escape(name)}\b", used)}:
            raise invalid(f"Value unused in expressions: {unused}")
        if "ConditionExpression" in request and not _condition(request["ConditionExpression"])(old or {}, names, values):
            raise refused(old if request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" else None)
        new = change(old)
        if self.release and new is not None:
            new = {name: value for name, value in new.items() if name not in NEW or name in (old or {})}
            new |= {name: value for name, value in (old or {}).items() if name in NEW}
        if new is not None and len(json.dumps(new, ensure_ascii=False).encode()) > ITEM_BYTES:
            raise invalid("Item size has exceeded the maximum allowed size")
        if new is None:
            if old is not None:
                del self.tables[table][place]
        else:
            self.tables[table][place] = new
        self.wrote(table, old, new)
        if table == "Messages" and new is not None and new != old:
            keys_ = {name: new[name] for name in ("conversation", "msg_id")}
            change_ = {"Keys": keys_, "NewImage": new, "SequenceNumber": str(len(self.records) + 1), "StreamViewType": "NEW_IMAGE"}
            self.records.append({"eventName": "MODIFY" if old else "INSERT", "eventSource": "aws:dynamodb", "dynamodb": change_})
        return new

    def _SendMessageBatch(self, request: dict[str, Any], _: object) -> Any:
        entries = request["Entries"]
        if not 0 < len(entries) <= SQS_ENTRIES or len({entry["Id"] for entry in entries}) < len(entries):
            raise error("AWS.SimpleQueueService.TooManyEntriesInBatchRequest")
        if sum(len(entry["MessageBody"].encode()) for entry in entries) > SQS_BYTES:
            raise error("AWS.SimpleQueueService.BatchRequestTooLong")
        if request["QueueUrl"] == DEAD_QUEUE:
            self.letters += [entry["MessageBody"] for entry in entries]
        else:
            self.bodies += [_known_job(entry["MessageBody"]) if self.release else entry["MessageBody"] for entry in entries]
        return {"Successful": [{"Id": entry["Id"]} for entry in entries]}

    def _GetSecretValue(self, request: dict[str, Any], _: object) -> Any:
        return {"SecretString": json.dumps(self.secret)}


def invalid(message: str) -> ClientError:
    return error("ValidationException", message=message)


def refused(item: Item | None) -> Exception:
    answer: Any = {"Error": {"Code": "ConditionalCheckFailedException", "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return store.dynamodb().exceptions.ConditionalCheckFailedException(answer | ({"Item": item} if item else {}), "")


def _known(item: Item) -> Item:
    """What 0.1.0 knows of an item."""
    return {name: value for name, value in item.items() if name not in NEW}


def _known_image(change: dict[str, Any]) -> dict[str, Any]:
    return {**change, "NewImage": _known(change["NewImage"])} if "NewImage" in change else change


def _known_job(body: str) -> str:
    return json.dumps(_known(json.loads(body)))


def _projected(item: Item, expression: str | None) -> Item:
    """Those of its attributes that are asked for."""
    return {name: item[name] for name in expression.split(", ") if name in item} if expression else item


def plain(value: Value) -> Any:
    ((kind, held),) = value.items()
    return int(held) if kind == "N" else held


@cache
def _comparisons(text: str) -> list[tuple[str, str, str, str]]:
    return re.findall(r"([#\w]+) (=|<=?|>=?|BETWEEN) (:\w+)(?: AND (:\w+))?", text)


_sort_key = itemgetter(1)  # of a place


def _key_range(schema: keys.Table, text: str, names: dict[str, str], values: dict[str, Value]) -> tuple[Any, Any, Any]:
    """Of a key condition: the partition, and the least and the greatest sort key that it may let through (None: any)."""
    partition = low = high = None
    for attribute, operator, operand, other in _comparisons(text):
        value = plain(values[operand])
        if names.get(attribute, attribute) == schema.partition:
            partition = value
        elif operator == "BETWEEN":
            low, high = value, plain(values[other])
        else:
            low, high = None if "<" in operator else value, None if ">" in operator else value
    return partition, low, high


# --- expressions: the part of DynamoDB's grammar that a condition, filter or key condition of ours may use


@cache
def _condition(text: str) -> Test:
    tokens = re.findall(r"[#:]?[A-Za-z_][\w.#]*|<>|<=|>=|[<>=(),]", text)
    test, rest = _or(tokens)
    if rest:
        raise invalid(f"cannot read {text!r} from {rest}")
    return test


def _or(tokens: list[str]) -> tuple[Test, list[str]]:
    left, rest = _and(tokens)
    while rest[:1] == ["OR"]:
        right, rest = _and(rest[1:])
        left = _either(left, right)
    return left, rest


def _and(tokens: list[str]) -> tuple[Test, list[str]]:
    left, rest = _term(tokens)
    while rest[:1] == ["AND"]:
        right, rest = _term(rest[1:])
        left = _both(left, right)
    return left, rest


def _either(left: Test, right: Test) -> Test:
    return lambda *about: left(*about) or right(*about)


def _both(left: Test, right: Test) -> Test:
    return lambda *about: left(*about) and right(*about)


def _term(tokens: list[str]) -> tuple[Test, list[str]]:
    if tokens[0] == "(":
        test, rest = _or(tokens[1:])
        if rest[:1] != [")"]:
            raise invalid("unbalanced parentheses")
        return test, rest[1:]
    if tokens[1] == "(":
        name, operands = tokens[0], tokens[2 : tokens.index(")")]
        return _function(name, [each for each in operands if each != ","]), tokens[tokens.index(")") + 1 :]
    if tokens[1] == "BETWEEN":
        return _compare(tokens[0], lambda value, low, high: bool(low <= value <= high), tokens[2], tokens[4]), tokens[5:]
    return _compare(tokens[0], OPERATORS[tokens[1]], tokens[2]), tokens[3:]


OPERATORS: dict[str, Callable[..., bool]] = {
    "=": lambda one, other: bool(one == other),
    "<>": lambda one, other: bool(one != other),
    "<": lambda one, other: bool(one < other),
    "<=": lambda one, other: bool(one <= other),
    ">": lambda one, other: bool(one > other),
    ">=": lambda one, other: bool(one >= other),
}


def _compare(attribute: str, holds: Callable[..., bool], *operands: str) -> Test:
    def test(item: Item, names: dict[str, str], values: dict[str, Value]) -> bool:
        held = [_at(item, attribute, names), *(values.get(each) or _at(item, each, names) for each in operands)]
        return None not in held and holds(*(plain(value) for value in held if value))

    return test


def _function(name: str, operands: list[str]) -> Test:
    if name == "attribute_exists":
        return lambda item, names, values: _at(item, operands[0], names) is not None
    if name == "attribute_not_exists":
        return lambda item, names, values: _at(item, operands[0], names) is None
    if name == "begins_with":
        return lambda item, names, values: str(plain(item[operands[0]])).startswith(plain(values[operands[1]]))
    raise invalid(f"function {name}")


def _at(item: Item, path: str, names: dict[str, str]) -> Value | None:
    value: Value | None = {"M": item}
    for step in path.split("."):
        value = value["M"].get(names.get(step, step)) if value else None
    return value


def _updated(item: Item, expression: str, names: dict[str, str], values: dict[str, Value]) -> Item:
    """The item after `SET a = :a, m.#k = :v, n = n + :more REMOVE b` or `ADD n :one`."""
    for clause, body in _clauses(expression):
        for part in body.split(","):
            path, _, operand = part.strip().partition(" = " if clause == "SET" else " ")
            steps = [names.get(step, step) for step in path.split(".")]
            if clause == "REMOVE":
                item = {name: value for name, value in item.items() if name != steps[0]}
            elif clause == "ADD":
                held = plain(item.get(steps[0], {"N": "0"}))
                item = {**item, steps[0]: {"N": str(held + plain(values[operand]))}}
            else:
                item = _set(item, steps, _operand(item, operand, values))
    return item


def _operand(item: Item, text: str, values: dict[str, Value]) -> Value:
    """`:value`, or `attribute + :value`."""
    attribute, _, added = text.rpartition(" + ")
    if not attribute:
        return values[text]
    if attribute not in item:
        raise invalid("The provided expression refers to an attribute that does not exist in the item")
    return {"N": str(plain(item[attribute]) + plain(values[added]))}


def _clauses(expression: str) -> Iterator[tuple[str, str]]:
    parts = re.split(r"\b(SET|REMOVE|ADD)\b", expression)[1:]
    return zip(parts[::2], parts[1::2], strict=True)


def _set(item: Item, steps: list[str], value: Value) -> Item:
    if len(steps) == 1:
        return {**item, steps[0]: value}
    if "M" not in item.get(steps[0], {}):
        raise invalid("The document path provided in the update expression is invalid for update")
    return {**item, steps[0]: {"M": _set(item[steps[0]]["M"], steps[1:], value)}}

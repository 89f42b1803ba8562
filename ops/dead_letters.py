"""What could not be delivered: what it is, and delivering it once more, which is harmless at any time.

Of a fan-out job the whole job is kept. Of stream records only their place in the stream is kept: they are read from it while it has them,
which is a day, and from the log after that. Of a record that could not be read there is its message's key: the log has the message.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from messaging.base import clock, keys, store
from messaging.base.settings import settings
from messaging.conversations.models import FanoutJob, Message
from messaging.conversations.rules import PARTS
from ops import scan

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sqs import SQSClient

SQS_BATCH = 10  # entries per call, AWS quota
HELD_S = 120  # how long nobody else gets a letter that is being worked on
EMPTY_REPLIES = 3  # in a row until a queue counts as empty: SQS asks only some of its servers each time
EMPTY_PAGES = 50  # of a stream in a row; pages without records are usual, a whole shard of them is not
DELIVER_BATCH = 100  # records per invocation of deliver, as the stream's own
CLOCKS_MS = 300_000  # how far apart a message's time and its arrival in the stream may be
GONE = ("TrimmedDataAccessException", "ResourceNotFoundException", "ExpiredIteratorException")
FIELDS = [name for name in Message.model_fields if name not in PARTS]  # delivery reads no contents

Progress = Callable[[int], None]
Record = dict[str, Any]


class Place(BaseModel):
    """`DDBStreamBatchInfo`: which records of the stream were given up."""

    model_config = ConfigDict(extra="ignore")

    stream: str = Field(alias="streamArn")
    shard: str = Field(alias="shardId")
    first: str = Field(alias="startSequenceNumber")
    last: str = Field(alias="endSequenceNumber")
    first_at: datetime = Field(alias="approximateArrivalOfFirstRecord")
    last_at: datetime = Field(alias="approximateArrivalOfLastRecord")
    records: int = Field(alias="batchSize")


class Spoiled(BaseModel):
    """What `messaging.conversations.queue.place_of` tells of a record."""

    sequence: str | None
    keys: dict[str, dict[str, str]] | None

    @property
    def message(self) -> tuple[str, int] | None:
        """Its conversation and number."""
        return _key(self.keys) if self.keys else None


class Letter(NamedTuple):
    """A message of a dead-letter queue; `sent_ms`: when it was first queued."""

    body: str
    receipt: str
    sent_ms: int

    @property
    def job(self) -> FanoutJob | None:
        """None for what is no fan-out job."""
        try:
            job = FanoutJob.model_validate_json(self.body)
            keys.parse(job.conversation)
        except ValueError:
            return None
        return job

    @property
    def place(self) -> Place | None:
        """None for what is no place in a stream."""
        try:
            return Place.model_validate(json.loads(self.body)["DDBStreamBatchInfo"])
        except (ValueError, KeyError, TypeError, ValidationError):
            return None

    @property
    def unreadable(self) -> "Spoiled | None":
        """None for what is no record that `deliver` could not read."""
        try:
            return Spoiled.model_validate(json.loads(self.body)["unreadable"])
        except (ValueError, KeyError, TypeError):
            return None


class Done(NamedTuple):
    """Of a redrive: how many letters were dealt with, how many were left and why, and those whose records only the log has."""

    redriven: int
    left: list[str]
    trimmed: list[Letter]


@cache
def _sqs() -> "SQSClient":
    return boto3.client("sqs", config=store.CONFIG)


@cache
def _streams() -> Any:
    return boto3.client("dynamodbstreams", config=store.CONFIG)


@cache
def _lambda() -> "LambdaClient":
    return boto3.client("lambda")  # its answer may take as long as the function does


def count(queue: str) -> int:
    """About how many there are, those somebody is working on included."""
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    return sum(map(int, _sqs().get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"].values()))


def look(queue: str, most: int, progress: Progress = lambda done: None) -> list[Letter]:
    """Up to `most` letters, oldest first; they stay where they are."""
    found: list[Letter] = []
    try:
        for letters in _take(queue):
            found += letters
            progress(len(letters))
            if len(found) >= most:
                break
    finally:
        _release(queue, found)
    return sorted(found, key=lambda letter: letter.sent_ms)[:most]


def redrive_jobs(dead: str, queue: str, most: int, progress: Progress) -> Done:
    """Moves fan-out jobs back to their queue. Sent first, then deleted: a crash in between doubles a job, and that changes nothing."""
    redriven, left, started_ms = 0, [], clock.now_ms()
    kept: list[Letter] = []
    for letters in _take(dead):
        entries: Any = []
        for n, letter in enumerate(letters):
            job = letter.job
            if job is None:
                left.append("no fan-out job")
            elif letter.sent_ms < started_ms:  # what has failed again meanwhile comes with the next redrive
                app_id = keys.parse(job.conversation).app_id
                entries.append({"Id": str(n), "MessageBody": letter.body, "MessageGroupId": app_id})
        reply: Any = _sqs().send_message_batch(QueueUrl=queue, Entries=entries) if entries else {"Successful": []}
        left += [failure["Code"] for failure in reply.get("Failed", [])]
        sent = [letters[int(each["Id"])] for each in reply["Successful"]]
        _delete(dead, sent)
        kept += [letter for letter in letters if letter not in sent]
        redriven += len(sent)
        progress(len(letters))
        if redriven + len(left) >= most:
            break
    _release(dead, kept)
    return Done(redriven, left, [])


def redrive_records(dead: str, deliver: str, most: int, progress: Progress) -> Done:
    """Delivers the stream's records once more while the stream has them, by the deployed function."""
    redriven, left, trimmed = 0, [], []
    kept: list[Letter] = []
    for letters in _take(dead):
        for letter in letters:
            place, spoiled = letter.place, letter.unreadable
            records = _read(place) if place else _logged(spoiled) if spoiled else []
            if place is None and spoiled is None:
                left.append("no place in a stream")
            elif spoiled and records is None:
                left.append("a message that cannot be read")
            elif records is None:
                trimmed.append(letter)
            elif told := _deliver(deliver, records):
                left.append(told)
            else:
                _delete(dead, [letter])
                redriven += 1
                continue
            kept.append(letter)
        progress(len(letters))
        if redriven + len(kept) >= most:
            break
    _release(dead, kept)
    return Done(redriven, left, trimmed)


def redrive_from_log(dead: str, deliver: str, letters: list[Letter], progress: Progress) -> Done:
    """Delivers every message of the log that was sent around the time of records that the stream no longer has."""
    places = [(letter, place) for letter in letters if (place := letter.place)]
    times = [(_ms(place.first_at) - CLOCKS_MS, _ms(place.last_at) + CLOCKS_MS) for _, place in places]
    span: dict[str, object] = {":since": min(since for since, _ in times), ":until": max(until for _, until in times)}
    for page in scan.pages(settings().messages_table, FIELDS, "sent_at BETWEEN :since AND :until", span):
        found = [_record(item) for item in page.items if any(since <= item["sent_at"] <= until for since, until in times)]
        if told := _deliver(deliver, found):
            return Done(0, [told], [])
        progress(page.read)
    _delete(dead, [letter for letter, _ in places])
    return Done(len(places), [], [])


def messages_at(place: Place) -> list[tuple[str, int]] | None:
    """Conversation and number of each message at that place; None where the stream no longer has them."""
    records = _read(place)
    if records is None:
        return None
    return [_key(record["dynamodb"]["Keys"]) for record in records]


def _key(keys: dict[str, Any]) -> tuple[str, int]:
    return keys["conversation"]["S"], int(keys["msg_id"]["N"])


def _logged(spoiled: Spoiled) -> list[Record] | None:
    """The message of a record that could not be read, as the log has it; None where that cannot be read either."""
    if not spoiled.message:
        return None
    conversation, msg_id = spoiled.message
    item = store.get((settings().messages_table, {"conversation": conversation, "msg_id": msg_id}))
    if item is None:  # it has expired: nobody is to be told of it
        return []
    try:
        keys.parse(Message.model_validate(item).conversation)
    except ValueError:
        return None
    return [_record({name: item[name] for name in FIELDS if name in item})]


def _take(queue: str) -> Iterator[list[Letter]]:
    """Batches of letters, each for a while ours alone, until there are none."""
    empty = 0
    while empty < EMPTY_REPLIES:
        reply = _sqs().receive_message(
            QueueUrl=queue,
            MaxNumberOfMessages=SQS_BATCH,
            VisibilityTimeout=HELD_S,
            WaitTimeSeconds=1,
            MessageSystemAttributeNames=["SentTimestamp"],
        )
        messages = reply.get("Messages", [])
        empty = 0 if messages else empty + 1
        if messages:
            yield [Letter(each["Body"], each["ReceiptHandle"], int(each["Attributes"]["SentTimestamp"])) for each in messages]


def _release(queue: str, letters: list[Letter]) -> None:
    """Whoever asks next gets them."""
    for at in range(0, len(letters), SQS_BATCH):
        entries: Any = [
            {"Id": str(n), "ReceiptHandle": letter.receipt, "VisibilityTimeout": 0} for n, letter in enumerate(letters[at : at + SQS_BATCH])
        ]
        _sqs().change_message_visibility_batch(QueueUrl=queue, Entries=entries)


def _delete(queue: str, letters: list[Letter]) -> None:
    for at in range(0, len(letters), SQS_BATCH):
        entries: Any = [{"Id": str(n), "ReceiptHandle": letter.receipt} for n, letter in enumerate(letters[at : at + SQS_BATCH])]
        _sqs().delete_message_batch(QueueUrl=queue, Entries=entries)


def _read(place: Place) -> list[Record] | None:
    """The messages at that place, as the stream hands them to deliver, without their contents; None where some have left the stream."""
    found: list[Record] = []
    client, empty = _streams(), 0
    try:
        iterator: str | None = client.get_shard_iterator(
            StreamArn=place.stream, ShardId=place.shard, ShardIteratorType="AT_SEQUENCE_NUMBER", SequenceNumber=place.first
        )["ShardIterator"]
        while iterator and empty < EMPTY_PAGES:
            reply = client.get_records(ShardIterator=iterator)
            records: Any = reply["Records"]
            empty = 0 if records else empty + 1
            within = [record for record in records if int(record["dynamodb"]["SequenceNumber"]) <= int(place.last)]
            found += [_as_invoked(record) for record in within if record["eventName"] == "INSERT"]
            if len(within) < len(records) or (within and within[-1]["dynamodb"]["SequenceNumber"] == place.last):
                return found
            iterator = reply.get("NextShardIterator")
    except ClientError as error:
        if error.response["Error"]["Code"] not in GONE:
            raise
        return None
    return found


def _as_invoked(record: Record) -> Record:
    change = record["dynamodb"]
    image = {name: value for name, value in change.get("NewImage", {}).items() if name not in PARTS}
    created = change["ApproximateCreationDateTime"]
    return _event(change["Keys"], image, change["SequenceNumber"], created.timestamp() if isinstance(created, datetime) else created)


def _record(item: store.Item) -> Record:
    """A message of the log as the stream would hand it to deliver."""
    image = store.pack(item)
    return _event({name: image[name] for name in ("conversation", "msg_id")}, image, str(item["msg_id"]), item["sent_at"] / 1000)


def _event(keys: dict[str, Any], image: dict[str, Any], sequence: str, created_s: float) -> Record:
    change = {"ApproximateCreationDateTime": created_s, "Keys": keys, "NewImage": image, "SequenceNumber": sequence}
    return {"eventName": "INSERT", "eventSource": "aws:dynamodb", "dynamodb": change}


def _deliver(function: str, records: list[Record]) -> str:
    """Invokes deliver with all of them; empty where it has done everything, else what went wrong."""
    batches = [records[at : at + DELIVER_BATCH] for at in range(0, len(records), DELIVER_BATCH)]
    return next(filter(None, map(partial(_invoke, function), batches)), "")


def _invoke(function: str, records: Iterable[Record]) -> str:
    reply = _lambda().invoke(FunctionName=function, Payload=json.dumps({"Records": list(records)}).encode())
    result = json.load(reply["Payload"])
    if "FunctionError" in reply:
        return str(result.get("errorMessage", "deliver failed"))
    failed = len(result["batchItemFailures"])
    return f"{failed} records failed again" if failed else ""


def _ms(at: datetime) -> int:
    return int(at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 1000)

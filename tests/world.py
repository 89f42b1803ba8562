"""A whole Parley in one process: the real handlers, moto's AWS, tables made from the synthesized template.

world.send(alice, [bob], content="Hi")   # an HTTP event in, the whole envelope out
world.drain()                            # stream → deliver → queue → fanout, until nothing is left
world.num(bob, alice)                    # the unread number that the API tells
"""

import gzip
import importlib
import json
import os
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.client import BaseClient

from infra.settings import ROOT
from messaging.base import clock, settings, store
from messaging.conversations import limits, membership, queue
from messaging.people import directory, standing, tokens
from messaging.people.models import ADMIN, USER, Claims
from tests.synthesized import resources

EVENTS = ROOT / "events"
TABLES = {"Messages": "MESSAGES_TABLE", "Inbox": "INBOX_TABLE", "Dedup": "DEDUP_TABLE", "Directory": "DIRECTORY_TABLE"}
ENDPOINTS = {
    ("POST", "/message/send"): "send",
    ("PUT", "/message/send"): "send",
    ("POST", "/message/notify"): "notify",
    ("PUT", "/message/notify"): "notify",
    ("GET", "/message/conversation"): "history",
    ("DELETE", "/message/conversation"): "forget",
    ("GET", "/message/ack"): "ack",
    ("GET", "/message/unread"): "unread",
}
APP = "demo"


class Context:
    """What Lambda hands to a handler beside the event."""

    aws_request_id = "11111111-2222-3333-4444-555555555555"
    function_name = "parley-test"


@dataclass
class Call:
    """One AWS call as the SDK made it."""

    operation: str
    request: dict[str, Any]
    started: float
    ended: float


@dataclass
class World:
    """See the module. Every id is a plain integer; `now_ms` of an append is the real clock unless `clock` is set."""

    keys: dict[str, str] = field(default_factory=lambda: {"current": "k1", "k1": "0" * 64})
    streamed: int = 0

    # --- who exists

    def app(self, app_id: str = APP) -> str:
        directory.create_app(app_id, _now())
        return app_id

    def user(self, name: str = "somebody", app: str = APP, number: int | None = None) -> int:
        return int(directory.create(app, "user", _now(), number, title=name)["entity_id"])

    def group(self, *members: int, app: str = APP, history_visible: bool = False, number: int | None = None) -> int:
        return membership.create(app, members[0], members, history_visible, _now(), number, lambda done: None)

    def join(self, group: int, *users: int, app: str = APP) -> list[int]:
        return membership.join(app, group, users, _now(), lambda done: None)

    def leave(self, group: int, *users: int, app: str = APP) -> None:
        membership.leave(app, group, users, _now(), lambda done: None)

    def token(self, user: int, role: int = USER, app: str = APP, lives_s: float = 3600, **claims: Any) -> str:
        now = time.time()
        said: dict[str, Any] = {"app": app, "sub": str(user), "role": role, "iat": now, "exp": now + lives_s} | claims
        return tokens.sign(Claims(**said), directory.app(app))

    def key(self, app: str = APP, kid: str = "k1", value: str | None = None, generation: int = 1) -> tokens.Key:
        """The app's key that comes of one of the stack's."""
        return tokens._derived(kid, self.keys[kid] if value is None else value, directory.app(app), generation)

    def old(self, app: str = APP, **attributes: Any) -> str:
        """Makes it an app as 0.1.0 has made them: a map of revocations, no generations of a key."""
        item = store.get(directory.app_ref(app))
        assert item
        aged = {name: value for name, value in item.items() if name not in (directory.NEWEST_KEY, directory.OLDEST_KEY)}
        store.dynamodb().put_item(TableName=settings.settings().directory_table, Item=store.pack({**aged, "revoked": {}, **attributes}))
        cold()
        return app

    def admin(self, app: str = APP) -> str:
        return self.token(directory.ADMINISTRATOR_ID, ADMIN, app)

    # --- calls

    def http(self, verb: str, path: str, token: str | None, **request: Any) -> dict[str, Any]:
        """The same, its body as a client reads it."""
        return inflated(self.reply(verb, path, token, **request))

    def reply(
        self,
        verb: str,
        path: str,
        token: str | None,
        *,
        query: dict[str, Any] | None = None,
        body: Any = None,
        raw: str | None = None,
        headers: dict[str, str] | None = None,
        app: str = APP,
        base64: bool = False,
    ) -> dict[str, Any]:
        """The whole gateway reply of an HTTP event, built on the sample event of the endpoint."""
        name = ENDPOINTS[verb, path]
        event = json.loads((EVENTS / f"{name}.http.json").read_text())
        event["routeKey"] = f"{verb} {path}"
        event["requestContext"]["http"]["method"] = verb
        event["requestContext"]["routeKey"] = event["routeKey"]
        event["headers"]["app_id"] = app
        del event["headers"]["access-token"]
        if token is not None:
            event["headers"]["access-token"] = token
        event["headers"].update(headers or {})
        event.pop("queryStringParameters", None)
        event.pop("body", None)
        if query:
            event["queryStringParameters"] = {key: str(value) for key, value in query.items()}
        if raw is not None or body is not None:
            event["body"] = raw if raw is not None else json.dumps(body)
        event["isBase64Encoded"] = base64
        reply = _handler(f"endpoints.{name}")(event, Context())
        assert reply["headers"]["cache-control"] == "no-store"
        return reply

    def call(self, verb: str, path: str, token: str | None, **request: Any) -> dict[str, Any]:
        """The envelope of an HTTP request that ends with HTTP status 200."""
        reply = self.http(verb, path, token, **request)
        assert reply["statusCode"] == 200, reply
        envelope: dict[str, Any] = json.loads(reply["body"])
        assert {"code", "data", "message"} <= set(envelope)
        assert (envelope["message"] is None) == (envelope["code"] == 200)
        return envelope

    def direct(self, name: str, event: Any) -> dict[str, Any]:
        return _handler(f"endpoints.{name}")(event, Context())

    def post(self, sender: int, targets: list[Any], *, verb: str = "POST", app: str = APP, **fields: Any) -> dict[str, Any]:
        """The envelope of a send by a user's own token; `type` 1 and a TEXT unless said otherwise."""
        body = {"type": 1, "targets": targets, "content_type": 0, "content": "hello"} | fields
        return self.call(verb, "/message/send", self.token(sender, app=app), body=body, app=app)

    def send(self, sender: int, targets: list[Any], **fields: Any) -> list[int]:
        """The `msg_ids` of a send that succeeds."""
        envelope = self.post(sender, targets, **fields)
        assert envelope["code"] == 200, envelope
        return list(envelope["msg_ids"])

    def say(self, sender: int, group: int, **fields: Any) -> int:
        """The `msg_id` of a message to a group."""
        return self.send(sender, [group], type=2, **fields)[0]

    def history(self, reader: int, number: int, app: str = APP, **query: Any) -> dict[str, Any]:
        """`data` of a page of history that succeeds."""
        envelope = self.call("GET", "/message/conversation", self.token(reader, app=app), query={"opposite_id": number, **query}, app=app)
        assert envelope["code"] == 200, envelope
        return dict(envelope["data"])

    def contents(self, reader: int, number: int, app: str = APP, **query: Any) -> list[str]:
        """What a reader sees of a conversation, oldest first, through every page."""
        found: list[str] = []
        start = 0
        while True:
            page = self.history(reader, number, app, msg_id_start=start, **query)
            found += [message["content"] for message in page["messages"]]
            if page["is_last"]:
                return found[::-1]
            start = page["next_msg_id"]

    def ack(self, reader: int, number: int, app: str = APP, **query: Any) -> dict[str, Any]:
        return self.call("GET", "/message/ack", self.token(reader, app=app), query={"conversation_id": number, **query}, app=app)

    def forget(self, reader: int, number: int, app: str = APP) -> dict[str, Any]:
        return self.call("DELETE", "/message/conversation", self.token(reader, app=app), query={"conversation_id": number}, app=app)

    def unread(self, reader: int, app: str = APP, **query: Any) -> dict[int, int]:
        """Number of each conversation in the list, in its order."""
        envelope = self.call("GET", "/message/unread", self.token(reader, app=app), query=query, app=app)
        assert envelope["code"] == 200, envelope
        return {entry["conversation_id"]["uid"]: entry["num"] for entry in envelope["data"]}

    def num(self, reader: int, number: int, app: str = APP) -> int | None:
        return self.unread(reader, app).get(number)

    # --- delivery

    def stream(self) -> list[dict[str, Any]]:
        """The stream records since the last time, as Lambda gets them."""
        client = boto3.client("dynamodbstreams")
        arn = store.dynamodb().describe_table(TableName="Messages")["Table"]["LatestStreamArn"]
        shard = client.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
        iterator = client.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        records: list[Any] = []
        while page := (reply := client.get_records(ShardIterator=iterator))["Records"]:
            records += page
            iterator = reply["NextShardIterator"]
        records = records[self.streamed :]
        self.streamed += len(records)
        return [{**record, "eventSourceARN": arn} for record in records]

    def deliver(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        return _handler("workers.deliver")({"Records": records}, Context()) if records else {"batchItemFailures": []}

    def jobs(self) -> list[dict[str, Any]]:
        """Takes what is on the fan-out queue, as Lambda gets it."""
        found: list[dict[str, Any]] = []
        sqs = boto3.client("sqs")
        while messages := sqs.receive_message(QueueUrl=os.environ["FANOUT_QUEUE_URL"], MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                found.append({"messageId": message["MessageId"], "body": message["Body"], "attributes": {}})
                sqs.delete_message(QueueUrl=os.environ["FANOUT_QUEUE_URL"], ReceiptHandle=message["ReceiptHandle"])
        return found

    def fan_out(self, jobs: list[dict[str, Any]]) -> dict[str, Any]:
        return _handler("workers.fanout")({"Records": jobs}, Context()) if jobs else {"batchItemFailures": []}

    def drain(self) -> None:
        """Delivers everything that is in the log."""
        assert self.deliver(self.stream()) == {"batchItemFailures": []}
        assert self.fan_out(self.jobs()) == {"batchItemFailures": []}

    # --- what is left behind

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Every item of a table, in key order."""
        pages = store.dynamodb().get_paginator("scan").paginate(TableName=table)
        return sorted((store.unpack(item) for page in pages for item in page["Items"]), key=lambda item: json.dumps(item, sort_keys=True))

    def row(self, reader: int, number: int, app: str = APP) -> dict[str, Any] | None:
        item = store.get((settings.settings().inbox_table, {"reader": f"{app}#{reader}", "conversation": number}))
        return item

    def snapshot(self) -> dict[str, Any]:
        """Everything that is stored: equal before and after what must not leave a trace."""
        return {table: self.rows(table) for table in TABLES}

    @contextmanager
    def calls(self, slow_s: float = 0.0) -> Iterator[list[Call]]:
        """Records every AWS call made inside; `slow_s` makes each take that long, so that parallel calls are seen to overlap."""
        made: list[Call] = []
        original = BaseClient._make_api_call  # type: ignore[attr-defined]

        def recorded(client: Any, operation: str, request: dict[str, Any]) -> Any:
            started = time.perf_counter()
            time.sleep(slow_s)
            try:
                return original(client, operation, request)
            finally:
                made.append(Call(operation, request, started, time.perf_counter()))

        BaseClient._make_api_call = recorded  # type: ignore[attr-defined]
        try:
            yield made
        finally:
            BaseClient._make_api_call = original  # type: ignore[attr-defined]


def depth(calls: list[Call]) -> int:
    """How many of these calls had to wait for another: the longest chain in which each starts after the one before has ended."""
    chain, free_from = 0, float("-inf")
    for call in sorted(calls, key=lambda call: call.ended):
        if call.started >= free_from:
            chain, free_from = chain + 1, call.ended
    return chain


def _handler(module: str) -> Any:
    return importlib.import_module(module).handler


def _now() -> int:
    return time.time_ns() // 1_000_000


def create() -> World:
    """Makes the tables, the queue and the secret in the AWS that boto3 finds, and points the functions at them."""
    world = World()
    store.dynamodb().meta.events.unregister("after-call", clock.end)  # moto's `Date` does not follow a clock that a test moves
    for id, resource in resources("local", "AWS::DynamoDB::GlobalTable").items():
        properties = resource["Properties"]
        name = next(name for name in TABLES if id.startswith(f"Tables{name}"))
        request = {key: properties[key] for key in ("KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes") if key in properties}
        if "StreamSpecification" in properties:
            request["StreamSpecification"] = {**properties["StreamSpecification"], "StreamEnabled": True}
        store.dynamodb().create_table(TableName=name, BillingMode=properties["BillingMode"], **request)
        os.environ[TABLES[name]] = name
    for variable, queue_ in {"FANOUT_QUEUE_URL": "Fanout", "DELIVER_DEAD_QUEUE_URL": "DeliverDead"}.items():
        os.environ[variable] = boto3.client("sqs").create_queue(QueueName=queue_)["QueueUrl"]
    os.environ["TOKEN_SECRET"] = boto3.client("secretsmanager").create_secret(Name="TokenKeys", SecretString=json.dumps(world.keys))["ARN"]
    return world


def inflated(reply: dict[str, Any]) -> dict[str, Any]:
    """A gateway reply as a client reads it."""
    if reply.get("isBase64Encoded"):
        headers = {name: value for name, value in reply["headers"].items() if name != "content-encoding"}
        assert reply["headers"] == headers | {"content-encoding": "gzip"}
        body = gzip.decompress(b64decode(reply["body"])).decode()
        reply = {"statusCode": reply["statusCode"], "headers": headers, "body": body}
    assert set(reply) == {"statusCode", "headers", "body"}
    return reply


def cold() -> None:
    """The next invocation finds a new container, as far as what it remembers goes."""
    for memory in (directory._apps, standing._revoked, tokens._ring, tokens._refreshed, tokens._failed):
        memory.clear()
    clock.forget()
    limits.forget()


def forget_caches() -> None:
    """What a container keeps between invocations, its clients included."""
    cold()
    for cached in (settings.settings, store.dynamodb, queue._sqs, tokens._secrets):
        cached.cache_clear()
